"""Training on small synthetic recordings: resuming, budgets, unseen notes, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neuralsynth.analysis import NoteAnalysis
from neuralsynth.audiofile import write_audio
from neuralsynth.errors import CheckpointError, OutputError, RecordingError, UsageError
from neuralsynth.model import InstrumentModel
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid, stretched_ratios
from neuralsynth.units import note_to_hz

warnings.filterwarnings("ignore")

from neuralsynth.training import (  # noqa: E402
    analyses,
    augment,
    checkpoints,
    dataset,
    losses,
    points,
    prepare,
    run,
    tuning,
    vae,
    watch,
)
from neuralsynth.training.config import TrainConfig, VaeConfig  # noqa: E402
from neuralsynth.training.run import train_folder  # noqa: E402

RATE = 44_100
TINY = TrainConfig(
    steps=24, threads=1, batch_size=6, n_frames=32, n_bands=8, n_partials=16, duration_seconds=0.5,
    model=VaeConfig(width=16, latent_size=6, detail_functions=2, detail_partials=8, condition_size=16, envelope_points=12, note_step=4.0, body_points=24, lowest_frames=8),
)  # fmt: skip
FORMANT_HZ = 1500.0


def formant_gain(hz):
    """A resonance fixed in frequency: 24 dB at 1500 Hz, half an octave wide."""
    return 10.0 ** (24.0 / 20.0 * np.exp(-0.5 * (np.log2(np.maximum(hz, 1.0) / FORMANT_HZ) / 0.35) ** 2))


def formant_tone(note, velocity, seconds=0.8):
    """Harmonics that fall with their number under a fixed resonance, a little noise, 30 ms attack; mono."""
    n, pitch = int(seconds * RATE), float(note_to_hz(note))
    t = np.arange(n) / RATE
    k = np.arange(1, 17)
    gains = formant_gain(k * pitch) / k**1.5 * (k * pitch < 0.45 * RATE)
    tone = np.sin(2 * np.pi * pitch * t[:, None] * k + 0.7 * k) @ gains
    noise = 0.003 * np.random.default_rng(note).standard_normal(n)
    return (tone * 0.02 * velocity / 127 + noise) * np.minimum(1.0, t / 0.03) * np.minimum(1.0, (seconds - t) / 0.05)


@pytest.fixture(scope="module", autouse=True)
def _hasty_prior(hasty_prior):
    """What these trainings are asked about is not the prior."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten recordings of a formant instrument."""
    path = tmp_path_factory.mktemp("formant")
    for note in range(57, 77, 4):
        for velocity in (50, 110):
            audio = formant_tone(note, velocity).astype(np.float32)
            write_audio(path / f"tone_m{note:03d}_v{velocity}.wav", audio[None], RATE)
    return path


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """An uninterrupted tiny training: result and final checkpoint."""
    where = tmp_path_factory.mktemp("calm")
    result = train_folder(folder, where / "tone.onnx", TINY, show_progress=False)
    return result, checkpoints.Run(result.run_dir).load()[0]


def stop_after(monkeypatch, steps):
    """Let a training die, as by kill -9, once it has done `steps` steps: later ones leave no trace."""

    def die(self, trainer, module, outputs, batch, batch_idx):
        if module.step >= steps:
            raise ConnectionAbortedError("killed by the test")
        return kept(self, trainer, module, outputs, batch, batch_idx)

    kept = watch.Keeper.on_train_batch_end
    monkeypatch.setattr(watch.Keeper, "on_train_batch_end", die)


def killed_run(folder, where, monkeypatch, steps, every=5):
    """A run folder of a training that was killed; checkpoints were due every `every` steps."""
    with monkeypatch.context() as patch:
        patch.setattr(watch, "MOST_STEPS_LOST", every)
        patch.setattr(watch, "SCORES", 1)
        stop_after(patch, steps)
        with pytest.raises(ConnectionAbortedError):
            train_folder(folder, where / "tone.onnx", TINY, show_progress=False)
    assert not (where / "tone.onnx").exists()
    return where / "tone.run"


def assert_same_weights(a, b):
    for part in ("network", "average"):
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), f"{part} {name} differs"


def test_a_killed_training_resumes_to_bit_identical_weights(folder, trained, tmp_path, monkeypatch):
    killed = killed_run(folder, tmp_path, monkeypatch, steps=13)
    assert checkpoints.Run(killed).load()[0]["step"] == 10
    result = train_folder(folder, tmp_path / "tone.onnx", TINY, resume=killed, show_progress=False)
    assert result.steps == TINY.steps
    assert_same_weights(trained[1], checkpoints.Run(killed).load()[0])


def test_kill_9_at_any_moment_leaves_a_run_that_resumes_to_the_same_weights(folder, tmp_path):
    config = replace(TINY, steps=60)
    calm = train_folder(folder, tmp_path / "calm.onnx", config, show_progress=False)
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from neuralsynth.training import watch
watch.MOST_STEPS_LOST = 20
from tests.test_training import TINY, replace, train_folder
train_folder({str(folder)!r}, {str(tmp_path / "tone.onnx")!r}, replace(TINY, steps=60), show_progress=False)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "tone.run" / "checkpoints").glob("step-*.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "tone.onnx").exists()
    train_folder(folder, tmp_path / "tone.onnx", config, resume=tmp_path / "tone.run", show_progress=False)
    states = [checkpoints.Run(run_dir).load()[0] for run_dir in (calm.run_dir, tmp_path / "tone.run")]
    assert states[0]["step"] == states[1]["step"] == 60
    assert_same_weights(*states)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(folder, trained, tmp_path, monkeypatch):
    killed = killed_run(folder, tmp_path, monkeypatch, steps=13)
    newest = max((killed / "checkpoints").glob("step-*.pt"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    result = train_folder(folder, tmp_path / "tone.onnx", TINY, resume=killed, show_progress=False)
    assert any("damaged" in warning and newest.name in warning for warning in result.warnings)
    assert_same_weights(trained[1], checkpoints.Run(killed).load()[0])


def test_the_last_two_checkpoints_and_the_best_are_kept(trained):
    names = sorted(path.name for path in (trained[0].run_dir / "checkpoints").iterdir())
    assert names == ["best.pt", "step-00000023.pt", "step-00000024.pt"]


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("code was run",))

    path = tmp_path / "step-00000001.pt"
    path.write_bytes(checkpoints.pack({"step": 1, "evil": Evil()}))
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        checkpoints.unpack(path)


def test_resuming_on_other_recordings_is_refused(folder, trained, tmp_path):
    for file in sorted(folder.iterdir())[:6]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="is not what"):
        train_folder(tmp_path, tmp_path / "x.onnx", TINY, resume=trained[0].run_dir, show_progress=False)


def test_resuming_what_is_no_run_is_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match="is no training run"):
        train_folder(folder, tmp_path / "x.onnx", TINY, resume=tmp_path, show_progress=False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1}', '{"version": 1, "config": 3}'])
def test_a_damaged_plan_is_refused(folder, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match="run.json"):
        train_folder(folder, tmp_path / "x.onnx", TINY, resume=tmp_path, show_progress=False)


def test_the_budget_in_minutes_is_kept(folder, tmp_path, monkeypatch):
    """Nothing else ends this training; what comes after its last step may take as long as is kept for it."""
    monkeypatch.setattr(run, "LEAST_MOST_STEPS", 1_000_000)
    started = time.monotonic()
    config = replace(TINY, steps=0, minutes=0.4)
    result = train_folder(folder, tmp_path / "tone.onnx", config, show_progress=False)
    assert result.steps >= run.MIN_STEPS
    assert time.monotonic() - started < run.MOST_OVERRUN * 60 * config.minutes + run.RESERVE_SECONDS


def test_the_log_holds_losses_pictures_and_sounds(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(trained[0].run_dir / "tensorboard"))
    log.Reload()
    tags = log.Tags()
    assert "score_db" in tags["scalars"] and tags["images"] and tags["audio"]


def test_a_trained_instrument_has_a_prior_of_its_own_places(trained):
    spec = InstrumentModel.load(trained[0].model_path).spec
    assert spec == trained[0].spec
    characters = np.array([spec.prior.draw(seed)[: spec.character_size] for seed in range(1, 101)], np.float64)
    usual = np.quantile(spec.prior.log_density(characters), 0.1)
    assert spec.prior.log_density(np.array([spec.points["tone"]]))[0] > usual


def test_the_spec_tells_what_was_trained(folder, trained):
    spec = trained[0].spec
    assert (spec.note_low, spec.note_high, spec.velocity_low, spec.velocity_high) == (57, 73, 50, 110)
    assert spec.default_point == "tone" and spec.provenance.steps == TINY.steps
    assert len(spec.provenance.recordings) == 10 and all(len(d) == 16 for d in spec.provenance.recordings)
    assert spec.sustain is not None and spec.sustain.end_seconds <= TINY.duration_seconds


# ---- what is learned


def table_of_formants(notes, grid):
    """Analyses as a perfect analyst would make them, without noise of measurement."""
    k = np.arange(1, grid.n_partials + 1)
    analysed = []
    for note in notes:
        pitch = float(note_to_hz(note))
        gains = 0.02 * formant_gain(k * pitch) / k**1.5
        rise = np.minimum(1.0, (grid.frame_seconds + 0.01) / 0.03)
        noise = np.full((grid.n_frames, grid.n_bands), 1e-4)
        spectrum = NoteSpectrum(grid, rise[:, None] * gains, k.astype(float), np.zeros(grid.n_frames), noise)
        recording = SimpleNamespace(path=f"{note}", note=note, velocity=90, digest=f"{note:032d}", group="")
        analysed.append((recording, NoteAnalysis(spectrum, pitch, 0.0, grid.n_frames, 0.0, True)))
    return dataset.build_table(analysed, grid)


def test_an_unseen_note_is_predicted_better_than_by_its_nearest_neighbour():
    """With a resonance fixed in frequency, a neighbour's partials carry it to a wrong place; the model must not."""
    from neuralsynth.training.fit import Schedule, VaeTraining, note_distance, to_tensors

    torch.set_num_threads(1)
    torch.manual_seed(0)
    grid = SpectrumGrid.warped(32, 0.5, 16, 8)
    table = table_of_formants(range(45, 76, 3), grid)
    unseen = table.note == 60
    train, held = table.only(~unseen), table.only(unseen)
    network = [vae.Vae(TINY.model, grid, prepare.statistics_of(train)) for _ in range(2)]
    ear = losses.MelEar(grid)
    module = VaeTraining(*network, ear, Schedule(0, 150, 6e-3, 0.02))
    optimizer, batches = module.configure_optimizers(), augment.Batches(train, 0, 16)
    network[0].train()
    for step in range(150):
        optimizer.param_groups[0]["lr"] = module.schedule.rate(step)
        optimizer.zero_grad()
        module.loss(to_tensors(batches.draw(step)), step)[0].backward()
        optimizer.step()
    network[0].eval()
    truth = {"note": torch.from_numpy(held.note), "weights": torch.from_numpy(held.frame_weights())}
    truth |= {"partials_db": torch.from_numpy(held.partials_db), "noise_db": torch.from_numpy(held.noise_db)}
    decoded = network[0].decoder.decode(network[0].group_places(), truth["note"], torch.from_numpy(held.velocity))
    neighbour = train.only(train.note == 57)
    copied = replace_levels(decoded, neighbour)
    with torch.no_grad():
        played_db, copied_db = (float(note_distance(ear, x, truth)) for x in (decoded, copied))
    assert played_db < 0.7 * copied_db, (played_db, copied_db)


def replace_levels(decoded, table):
    """`decoded` with the levels of a table's only note."""
    levels = torch.from_numpy(table.partials_db), torch.from_numpy(table.noise_db)
    return vae.Decoded(*levels, decoded.cents, decoded.ratios)


def test_the_ear_hears_a_partial_where_it_is_and_as_loud_as_it_is():
    grid = SpectrumGrid.warped(4, 0.1, 1, 8)
    ear = losses.MelEar(grid)
    silent = torch.full((1, 8, 4), -140.0)
    loud, soft = (ear(torch.full((1, 1, 4), x), silent, torch.tensor([[1000.0]]))[0, :, 0] for x in (-6.0, -26.0))
    fine = slice(losses.RESOLUTIONS[512], None)
    centre = np.argmax(loud[fine].numpy())
    corners = np.linspace(0, 2595 * np.log10(1 + 22050 / 700), 130)[1:-1]
    assert abs(corners[centre] - 2595 * np.log10(1 + 1000 / 700)) < 1.5 * np.diff(corners)[0]
    assert float(loud[fine].max() - soft[fine].max()) == pytest.approx(20.0, abs=0.01)


def test_the_ear_agrees_with_the_spectrogram_of_the_sound():
    """Tones and noise through `MelEar` against the measured mel spectrogram of the same, within 1.5 dB on average."""
    from neuralsynth.analysis.distance import RESOLUTIONS, mel_spectrogram

    grid = SpectrumGrid.warped(4, 0.1, 3, 8)
    gains, noise_rms, n = np.array([0.3, 0.1, 0.05]), 0.01, 3 * RATE
    t = np.arange(n) / RATE
    noise = np.random.default_rng(0).standard_normal(n)
    audio = sum(g * np.sin(2 * np.pi * 700 * k * t) for k, g in enumerate(gains, 1)) + noise_rms * noise
    widths = np.diff(np.minimum(grid.band_edges_hz, RATE / 2))
    bands = noise_rms * np.sqrt(widths / (RATE / 2))
    partials_db = torch.tensor(20 * np.log10(gains), dtype=torch.float32)[None, :, None].expand(1, 3, 4)
    noise_db = torch.tensor(20 * np.log10(bands), dtype=torch.float32)[None, :, None].expand(1, 8, 4)
    heard = losses.MelEar(grid)(partials_db, noise_db, torch.tensor([[700.0, 1400.0, 2100.0]]))[0, :, 0].numpy()
    start = 0
    for size, n_bands in losses.RESOLUTIONS.items():
        assert RESOLUTIONS[size] == n_bands
        measured = 20 * np.log10(mel_spectrogram(audio, RATE, size, n_bands).mean(0) / (size / 2))
        inside = slice(2, int(0.85 * n_bands))  # up to 18 kHz: the bands end at 20 kHz
        difference = heard[start : start + n_bands][inside] - measured[inside]
        assert np.mean(np.abs(difference)) < 1.5, size
        start += n_bands


# ---- data


def analysed_at(levels_db, noise_db=-90.0):
    """Analyses of one tone at these levels, one per (note, velocity) or (note, velocity, instrument)."""
    grid = SpectrumGrid.warped(32, 0.5, 4, 8)
    made = []
    for (note, velocity, *group), level in levels_db.items():
        partials = np.full((32, 4), 10 ** (level / 20))
        spectrum = NoteSpectrum(
            grid, partials, np.arange(1.0, 5.0), np.zeros(32), np.full((32, 8), 10 ** (noise_db / 20))
        )
        recording = SimpleNamespace(
            path="x", note=note, velocity=velocity, digest=f"{note}{velocity}", group="".join(group)
        )
        made.append((recording, NoteAnalysis(spectrum, 1.0, 0.0, 32, 0.0, True)))
    return dataset.build_table(made, grid)


def test_layers_that_were_made_equally_loud_get_their_dynamics_back():
    table = analysed_at({(n, v): -20.0 for n in range(50, 80, 4) for v in (50, 110)})
    soft, loud = (table.partials_db[np.isclose(table.velocity, v / 127)].mean() for v in (50, 110))
    assert loud - soft == pytest.approx(0.75 * 40 * np.log10(110 / 50), abs=0.3)


def test_uneven_notes_are_evened_and_real_dynamics_kept():
    rng = np.random.default_rng(0)
    uneven = {(n, v): -30.0 + 0.15 * v + rng.normal(0, 3) for n in range(40, 80, 2) for v in (40, 100)}
    table = analysed_at(uneven)
    soft, loud = (table.partials_db[np.isclose(table.velocity, v / 127), 0, 0] for v in (40, 100))
    assert loud.mean() - soft.mean() == pytest.approx(9.0, abs=2.0)
    assert max(np.abs(np.diff(soft)).max(), np.abs(np.diff(loud)).max()) < 1.5


def test_each_instrument_of_a_folder_keeps_its_own_dynamics():
    """One was cut equally loud in all layers, one rises by 12 dB: neither takes from the other."""
    cut = {(n, v, "cut"): -20.0 for n in range(50, 80, 4) for v in (50, 110)}
    played = {(n, v, "played"): -35.0 + 12.0 * (v == 110) for n in range(50, 80, 4) for v in (50, 110)}
    table = analysed_at(cut | played)
    soft, loud = (
        [table.partials_db[np.isclose(table.velocity, v / 127) & (table.group == g)].mean() for g in (0, 1)]
        for v in (50, 110)
    )
    assert loud[0] - soft[0] == pytest.approx(0.75 * 40 * np.log10(110 / 50), abs=0.3)
    assert loud[1] - soft[1] == pytest.approx(12.0, abs=0.3)


def test_a_note_drowned_in_noise_keeps_a_pitch():
    table = analysed_at({(100, 90): -60.0, (103, 90): -60.0}, noise_db=-40.0)
    tonal, noisy = (0.5 * 10 ** (table.partials_db[0] / 10)).sum(), (10 ** (table.noise_db[0] / 10)).sum()
    assert 10 * np.log10(noisy / tonal) == pytest.approx(dataset.MOST_NOISE_DB, abs=0.1)


def test_turning_a_timbre_does_what_it_is_called():
    grid = SpectrumGrid.warped(64, 1.0, 16, 8)
    table = table_of_formants([60], grid)
    plain = augment.Batches(table, 0, 2).plain(np.zeros(1, int))
    for column, name in enumerate(augment.TURNS):
        values = []
        for side in (-1.0, 1.0):
            amounts = np.zeros((1, 4), np.float32)
            amounts[0, column] = side
            b = augment.turn(plain, amounts, grid)
            gains = [10 ** (x[0].T.astype(float) / 20) for x in (b.partials_db, b.noise_db)]
            values.append(points.describe(gains[0], np.arange(1.0, 17.0), gains[1], grid, 60.0)[name])
        assert values[1] > values[0], name


def test_batches_depend_on_seed_and_step_alone():
    table = table_of_formants(range(50, 70, 5), SpectrumGrid.warped(32, 0.5, 16, 8))
    one, other = augment.Batches(table, 3, 8), augment.Batches(table, 3, 8)
    other.draw(1)
    assert np.array_equal(one.draw(7).partials_db, other.draw(7).partials_db)
    assert not np.array_equal(one.draw(7).partials_db, one.draw(8).partials_db)


@pytest.mark.parametrize(("gap", "mixed"), [(5, True), (19, True), (30, False)])
def test_notes_between_neighbours_are_mixed_from_them_unless_they_are_too_far_apart(gap, mixed):
    table = table_of_formants([60, 60 + gap], SpectrumGrid.warped(32, 0.5, 16, 8))
    batches = augment.Batches(table, 0, 32)
    notes = np.concatenate([batches.mixed(np.random.default_rng(step)).note for step in range(4)])
    assert bool(np.any((notes > 61) & (notes < 59 + gap))) is mixed


def test_stretched_strings_are_heard_in_tune_in_the_bass():
    """By praat's tracker; without tuning the same note is heard a third of a semitone sharp."""
    import parselmouth

    grid = SpectrumGrid.warped(32, 1.0, 16, 8)
    torch.manual_seed(0)
    falling_db = -20.0 - 9.0 * np.log2(np.arange(1, 17))
    decoder = vae.Decoder(TINY.model, grid, vae.Statistics(falling_db, np.full(8, -90.0), np.array([[0.0, 0.0, -7.0]])))
    for head in (decoder.eval().by_number, decoder.by_frequency, decoder.movement):
        torch.nn.init.zeros_(head.weight)

    def heard_cents():
        with torch.no_grad():
            partials, ratios, _, _ = (
                x[0].numpy() for x in decoder(torch.zeros(1, 6), torch.tensor([28.0]), torch.ones(1))
            )
        pitch, t = float(note_to_hz(28)), np.arange(RATE) / RATE
        audio = np.sin(2 * np.pi * pitch * t[:, None] * ratios) @ partials[20]
        track = parselmouth.Sound(audio, RATE).to_pitch_ac(pitch_floor=0.7 * pitch, pitch_ceiling=1.4 * pitch)
        found = track.selected_array["frequency"]
        return 1200 * np.log2(np.median(found[found > 0]) / pitch)

    assert heard_cents() > 6.0
    tuning.tune(decoder, torch.zeros(1, 6), grid, [(24, 60)])
    assert abs(heard_cents()) < 2.0
    assert np.allclose(
        decoder.ratios(torch.zeros(1, 6), torch.tensor([60.0]))[0], stretched_ratios(16, np.exp(-7.0)), rtol=1e-5
    )


def test_a_damaged_kept_analysis_is_made_again(tmp_path):
    grid = SpectrumGrid.warped(32, 0.5, 16, 8)
    audio = formant_tone(60, 100)
    recording = SimpleNamespace(
        path="a.wav", note=60, velocity=100, digest="d" * 16, group="", load=lambda: (audio, RATE)
    )
    (first,), _ = analyses.analyse_recordings([recording], grid, tmp_path, 1)
    (kept,) = tmp_path.glob("*.npz")
    for damaged in (b"", b"PK\x03\x04", kept.read_bytes()[:2000]):
        kept.write_bytes(damaged)
        (again,), _ = analyses.analyse_recordings([recording], grid, tmp_path, 1)
        assert np.array_equal(again[1].spectrum.partials, first[1].spectrum.partials)


def test_every_fifth_interior_pitch_is_left_out():
    assert dataset.held_out_notes([40, 41, 42, 43, 44, 45, 46, 47, 48, 40], 5) == [43]
    assert dataset.held_out_notes([40, 45], 5) == [] and dataset.held_out_notes([1, 2, 3], 0) == []


@pytest.mark.parametrize(
    "change",
    [{"minutes": float("nan")}, {"minutes": -1}, {"seed": -1}, {"family": "rave"}, {"hold_out": -5}, {"batch_size": 1}],
)
def test_a_number_out_of_range_is_refused_by_name(folder, tmp_path, change):
    with pytest.raises(UsageError, match=next(iter(change))):
        train_folder(folder, tmp_path / "x.onnx", replace(TINY, **change), show_progress=False)


def test_outputs_that_cannot_be_are_refused_before_any_work(folder, tmp_path):
    with pytest.raises(UsageError, match="ends in .onnx"):
        train_folder(folder, tmp_path / "x.wav", TINY)
    with pytest.raises(OutputError, match="folder does not exist"):
        train_folder(folder, tmp_path / "no" / "x.onnx", TINY)
    with pytest.raises(RecordingError):
        train_folder(tmp_path / "nothing", tmp_path / "x.onnx", TINY)
