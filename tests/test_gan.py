"""The GAN family's trainings: what is learned, collapse named and undone, an instrument like any."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuralsynth.analysis.heard import hear
from neuralsynth.audiofile import write_audio
from neuralsynth.cli import main
from neuralsynth.errors import UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.scoring import play_spectrum
from neuralsynth.units import note_to_hz
from tests.signals import synthetic_note

warnings.filterwarnings("ignore")

from neuralsynth.training import checkpoints, collapse, watch  # noqa: E402
from neuralsynth.training.config import GanConfig, TrainConfig, VaeConfig  # noqa: E402
from neuralsynth.training.run import train_folder  # noqa: E402

RATE = 44_100
SMALL = TrainConfig(
    family="gan", steps=300, seed=1, threads=1, batch_size=16, learning_rate=8e-3,
    n_frames=32, n_bands=8, n_partials=16, duration_seconds=0.6,
    model=VaeConfig(width=24, latent_size=8, detail_functions=2, detail_partials=8, condition_size=24, envelope_points=12, note_step=6.0, body_points=24, lowest_frames=8),
    gan=GanConfig(steepness=0.1),
)  # fmt: skip
KINDS = {"bright": (0.5, 3.0), "dull": (2.2, 3.0), "long": (1.0, 0.8), "short": (1.2, 9.0)}


def pluck(kind, note, velocity, rng):
    """A note of one kind, no two alike: partials that fall by so much per octave, decaying so fast, and a little noise."""
    slope, decay = KINDS[kind]
    k = np.arange(1, 13)
    gains = 0.2 * (velocity / 127) ** 1.2 / k ** (slope + 0.3 * rng.standard_normal()) * 10 ** (rng.normal(0, 0.1, 12))
    audio = synthetic_note(float(note_to_hz(note)), gains, 0.7, decay_per_second=decay * (1 + 0.2 * rng.random()))
    noise = 1e-3 * rng.standard_normal(len(audio)) * np.exp(-decay * np.arange(len(audio)) / RATE)
    return (0.5 * (audio + noise)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four instruments of plucks."""
    path, rng = tmp_path_factory.mktemp("plucks"), np.random.default_rng(0)
    for kind in KINDS:
        (path / kind).mkdir()
        for note in range(48, 73, 4):
            for velocity in (50, 110):
                write_audio(
                    path / kind / f"p_m{note:03d}_v{velocity}.wav", pluck(kind, note, velocity, rng)[None], RATE
                )
    return path


@pytest.fixture(scope="module")
def few(folder):
    """The bright one alone."""
    return folder / "bright"


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A small GAN of the plucks, trained to the end."""
    return train_folder(folder, tmp_path_factory.mktemp("gan") / "plucks.onnx", SMALL, show_progress=False)


@pytest.fixture(scope="module")
def model(trained):
    """The instrument file as a player opens it."""
    return InstrumentModel.load(trained.model_path)


# ---- what is learned


def scalars(result, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(result.run_dir / "tensorboard"))
    log.Reload()
    return [event.value for event in log.Scalars(f"loss/{name}")]


def test_coverage_of_the_recordings_grows_and_the_latents_come_apart(trained):
    coverage, spread = scalars(trained, "coverage"), scalars(trained, "spread")
    assert coverage[-1] > 0.55 > coverage[1] and spread[-1] > 0.35
    assert not trained.warnings


def test_a_gan_instrument_is_in_the_contract_like_any_other(trained, model):
    assert trained.parity_db >= 90.0
    assert model.spec.family == "gan" and list(model.spec.points) == sorted(KINDS)
    assert (model.spec.note_low, model.spec.note_high) == (48, 72)
    audio = Instrument.load(trained.model_path)([(bytes([0x90, 60, 100]), 0.0)], duration=0.5)
    assert np.isfinite(audio).all() and np.sqrt(np.mean(audio**2)) > 1e-3


def test_random_latents_are_heard_in_tune(model):
    """By praat's tracker, free to be two octaves off in either direction."""
    import parselmouth

    rng, n = np.random.default_rng(0), 30
    note = rng.integers(50, 72, n).astype(np.float32)
    latent = np.zeros((n, model.spec.latent_size), np.float32)
    latent[:, :8] = rng.standard_normal((n, 8))
    notes, off = model.decode(latent, note, np.full(n, 0.7)), []
    for i in range(n):
        audio = play_spectrum(notes.note(i, model.spec.grid()), float(note[i]), RATE // 2, RATE, None)
        hz = float(note_to_hz(note[i]))
        track = parselmouth.Sound(audio.astype(float), RATE).to_pitch_ac(pitch_floor=hz / 4, pitch_ceiling=hz * 4)
        heard = track.selected_array["frequency"]
        off.append(1200 * np.log2(np.median(heard[heard > 0]) / hz) if (heard > 0).any() else 9999.0)
    assert np.mean(np.abs(off) < 50.0) >= 0.95


def test_each_point_is_nearer_to_its_own_recordings_than_the_other_points_are(model):
    """Among dull and bright, and among long and short: by the descriptor that tells them apart."""
    from neuralsynth.analysis.descriptors import describe

    told = {}
    for name, point in model.spec.points.items():
        found = model.decode(model.spec.place(point)[None], np.array([60.0]), np.array([0.7]))
        arrays = (x[0].astype(float) for x in (found.partials, found.ratios, found.noise))
        told[name] = describe(*arrays, model.spec.grid(), 60.0)
    assert told["bright"]["brightness"] > told["dull"]["brightness"] + 0.3
    assert told["long"]["decay"] > told["short"]["decay"] + 15.0


def test_named_axes_do_what_they_are_called_at_latents_they_were_not_made_from(model):
    from neuralsynth.analysis.descriptors import describe

    rng = np.random.default_rng(9)
    assert model.spec.axes
    for name, axis in model.spec.axes.items():
        rises = []
        for latent in rng.standard_normal((20, 8)):
            values = []
            for end in (axis.low, axis.high):
                found = model.decode(model.spec.place(latent + end)[None], np.array([60.0]), np.array([0.7]))
                arrays = (x[0].astype(float) for x in (found.partials, found.ratios, found.noise))
                values.append(describe(*arrays, model.spec.grid(), 60.0)[name])
            rises.append(values[1] > values[0])
        assert np.mean(rises) >= 0.75, name


def test_a_recording_is_matched_without_an_encoder_and_with_the_one_that_was_learned(folder, trained):
    from neuralsynth.matching import base_preset, match
    from neuralsynth.model_encoder import encoder_path

    heard = hear(folder / "bright" / "p_m060_v110.wav")
    encoder = encoder_path(trained.model_path)
    found = match(heard, base_preset(trained.model_path))
    assert found.match_db < found.nearest_db and found.match_db < found.floor_db + 6.0
    kept = encoder.read_bytes()
    encoder.unlink()
    try:
        alone = match(heard, base_preset(trained.model_path))
    finally:
        encoder.write_bytes(kept)
    assert alone.match_db < alone.nearest_db


def test_the_encoder_hears_where_generated_notes_lie(trained, model):
    from neuralsynth.model_encoder import Encoder

    encoder, rng = Encoder.beside(trained.model_path), np.random.default_rng(5)
    latents, heard = rng.standard_normal((40, 8)), []
    for latent in latents:
        note = model.decode(model.spec.place(latent)[None], np.array([60.0]), np.array([0.7])).note(
            0, model.spec.grid()
        )
        heard.append(encoder.encode(note, 60.0, 0.7)[0])
    error = np.mean((np.array(heard) - latents) ** 2)
    assert error < 0.8 * np.mean(latents**2)


# ---- when it goes wrong


RUINED = replace(SMALL, steps=60, learning_rate=0.4, gan=GanConfig(steepness=0.0, disguise=0.0))


def test_a_training_without_regularisation_that_collapses_is_named_within_a_tenth_of_its_steps(few, tmp_path, capfd):
    result = train_folder(few, tmp_path / "ruined.onnx", RUINED, show_progress=True)
    named = [warning for warning in result.warnings if "collapsed at step" in warning]
    assert named and int(named[0].split("at step ")[1].split(":")[0]) <= RUINED.steps // 10
    assert "the training collapsed at step" in capfd.readouterr().err  # while it happens
    assert np.isfinite(result.validation_db) and result.parity_db >= 90.0  # what is exported is the best there was


GOOD = collapse.Health(coverage=0.8, density=0.9, spread=0.9, margin=2.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coverage": 0.3}, "coverage fell to 0.30 from 0.80"),
        ({"spread": 0.05}, "all latents sound alike"),
        ({"margin": 40.0}, "the discriminator has won"),
        ({"coverage": 0.01}, "learned nothing"),
        ({"coverage": float("nan")}, "not finite"),
    ],
)
def test_each_way_to_collapse_has_its_words(change, words):
    assert GOOD.complaint(1500, 3000, 0.8) is None
    assert words in replace(GOOD, **change).complaint(1500, 3000, 0.8)


@pytest.mark.parametrize(("step", "steps"), [(150, 3000), (200, 500)])  # a short one is young for 300 steps
def test_a_young_training_may_cover_nothing_and_sound_the_same_everywhere(step, steps):
    young = collapse.Health(coverage=0.0, density=0.0, spread=0.03, margin=3.0)
    assert young.complaint(step, steps, 0.0) is None


def test_after_a_collapse_the_best_weights_are_back_and_learning_is_slower(few, tmp_path, monkeypatch):
    kept = collapse.Health.complaint

    monkeypatch.setattr(
        collapse.Health, "complaint", lambda self, step, *rest: "planted" if step == 21 else kept(self, step, *rest)
    )
    rates, weights, end = [], {}, watch.Keeper.on_train_batch_end

    def spying(self, trainer, module, outputs, batch, batch_idx):
        rates.append(module.optimizer().param_groups[0]["lr"])
        end(self, trainer, module, outputs, batch, batch_idx)
        weights[module.step] = module.average.decoder.noise.weight.clone()

    monkeypatch.setattr(watch.Keeper, "on_train_batch_end", spying)
    result = train_folder(few, tmp_path / "a.onnx", replace(SMALL, steps=30), show_progress=False)
    (told,) = result.warnings
    assert told.startswith("the training collapsed at step 21: planted; back to the best, of step ")
    best = int(told.rsplit(" ", 1)[1])
    assert torch.equal(weights[21], weights[best]) and not torch.equal(weights[20], weights[best])
    assert rates[21] == pytest.approx(0.5 * rates[20], rel=0.15)  # the schedule goes on falling


@pytest.mark.parametrize("lost", [False, True])
def test_a_killed_training_resumes_to_bit_identical_weights(few, tmp_path, monkeypatch, lost):
    """Also when it had gone back to its best before."""
    config = replace(SMALL, steps=15)
    kept, calm = collapse.Health.complaint, watch.Keeper.on_train_batch_end
    monkeypatch.setattr(watch, "MOST_STEPS_LOST", 5)
    monkeypatch.setattr(watch, "SCORES", 1)
    if lost:
        monkeypatch.setattr(
            collapse.Health,
            "complaint",
            lambda self, step, steps, best: "planted" if step == 10 else kept(self, step, steps, best),
        )
    train_folder(few, tmp_path / "calm.onnx", config, show_progress=False)

    def die(self, trainer, module, outputs, batch, batch_idx):
        if module.step >= 13:
            raise ConnectionAbortedError("killed by the test")
        return calm(self, trainer, module, outputs, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(watch.Keeper, "on_train_batch_end", die)
        with pytest.raises(ConnectionAbortedError):
            train_folder(few, tmp_path / "tone.onnx", config, show_progress=False)
    train_folder(few, tmp_path / "tone.onnx", config, resume=tmp_path / "tone.run", show_progress=False)
    states = [checkpoints.Run(tmp_path / run).load()[0] for run in ("calm.run", "tone.run")]
    assert states[0]["step"] == states[1]["step"] == 15 and states[0]["returns"] == states[1]["returns"] == int(lost)
    for part in ("network", "average"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), f"{part} {name} differs"


# ---- how it is asked for


def test_the_command_knows_both_families(capsys):
    assert main(["train", "--help"]) == 0
    assert "[vae|gan]" in capsys.readouterr().out


def test_single_cycles_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        wave = np.sin(2 * np.pi * np.arange(600) / 600 + rng.random()) * 0.5
        write_audio(tmp_path / f"akwf_{i}_m038_v100.wav", wave.astype(np.float32)[None], RATE)
    with pytest.raises(UsageError, match="single cycles; use family vae"):
        train_folder(tmp_path, tmp_path / "x.onnx", SMALL, show_progress=False)
