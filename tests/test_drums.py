"""Drums: told from notes, described by modes and noise, trained to one kit, played so that no two hits are alike."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from neuralsynth.analysis import distance
from neuralsynth.analysis.folder import read_folder
from neuralsynth.analysis.hit import analyse_piece
from neuralsynth.analysis.kit import drum_key
from neuralsynth.analysis.sweep import find_sweep
from neuralsynth.engine import Engine, play_events
from neuralsynth.errors import ModelError, PresetError, RecordingError, UsageError
from neuralsynth.events import Event
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import bare_preset
from neuralsynth.scoring import kit_distances, play_spectrum, score
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.unison import HIT_DB, hit_of
from neuralsynth.units import gain_to_db, note_to_hz
from tests.signals import SECONDS_OF_DRUM, synthetic_hit, synthetic_note

warnings.filterwarnings("ignore")

from neuralsynth.training import kit, run  # noqa: E402
from neuralsynth.training.config import TrainConfig, VaeConfig  # noqa: E402

RATE = 44_100
KEYS = {"kick": 36, "snare": 38, "hat": 42, "tom": 47, "cymbal": 49}
VELOCITIES = (30, 60, 90, 120)
GRID = SpectrumGrid.warped(96, 1.5, 32, 64, 0.001)
OPEN, CLOSED, KICK = 49, 42, 36


def write(path, audio, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), audio, rate, subtype="FLOAT")


@pytest.fixture(scope="module", autouse=True)
def _hasty_prior(hasty_prior):
    """What these trainings are asked about is not the prior."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two strokes on each of five drums at each of four velocities."""
    folder = tmp_path_factory.mktemp("hits")
    for drum, key in KEYS.items():
        for velocity in VELOCITIES:
            for stroke in (1, 2):
                name = f"{drum}/{drum}_m{key:03d}_v{velocity}_r{stroke}.wav"
                write(folder / name, synthetic_hit(drum, velocity, stroke))
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A small kit that was trained for seconds, every fourth hit left out."""
    output = tmp_path_factory.mktemp("kit") / "kit.onnx"
    config = TrainConfig(
        hold_out=4, steps=250, seed=1, threads=1, batch_size=20, n_frames=64, learning_rate=6e-3,
        model=VaeConfig(width=48, condition_size=48),
    )  # fmt: skip
    return run.train_folder(folder, output, config, show_progress=False)


@pytest.fixture(scope="module")
def model(trained):
    return InstrumentModel.load(trained.model_path)


@pytest.fixture(scope="module")
def drums(trained):
    """A preset of layers, each a drum of the kit."""
    layers = [
        f'[[layers]]\npreset = "kit.onnx"\npoint = "{drum}"\nkey_low = {key}\nkey_high = {key}\nfixed_key = {key}\n'
        f"one_shot = true\nchoke_group = {int(drum in ('hat', 'cymbal'))}\n"
        for drum, key in KEYS.items()
    ]
    path = trained.model_path.with_name("drums.toml")
    path.write_text('format_version = 1\nname = "Drums"\n' + "\n".join(layers))
    return Instrument.load(path)


def struck(*strokes):
    """Events of strokes, each `(seconds, key, velocity)`."""
    return [Event(round(seconds * RATE), bytes([0x99, key, velocity])) for seconds, key, velocity in strokes]


def played(patch, events, seconds, block=4096):
    """Audio `[2, n]` of a patch, or of an engine that has played before."""
    engine = patch if isinstance(patch, Engine) else Engine(patch, RATE, 8192)
    return np.concatenate(list(play_events(engine, events, round(seconds * RATE), block)), axis=1)


def level_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio)) + 1e-20)))


# ---- analysis


def test_a_falling_pitch_is_found():
    sweep = find_sweep(synthetic_hit("kick"), RATE, 52.0)
    times = np.array([0.0, 0.01, 0.03, 0.1])
    wanted = 1200.0 * np.log2(1.0 + 2.0 * np.exp(-times / 0.025))
    np.testing.assert_allclose(sweep.cents(times, 50.0), wanted, atol=110.0)  # the grid of sweeps is that fine


def test_a_pitch_that_does_not_fall_is_left_alone():
    assert find_sweep(synthetic_hit("tom"), RATE, 142.0).depth == 0.0


def test_modes_are_found_at_free_ratios_and_shared_by_all_hits():
    analyses = analyse_piece([(synthetic_hit("tom", v, v), RATE) for v in VELOCITIES], 47, GRID)
    ratios = np.array([a.spectrum.ratios for a in analyses])
    assert np.all(ratios == ratios[0])
    ringing = analyses[-1].spectrum.partials[np.searchsorted(GRID.frame_seconds, 0.05)]
    strongest = np.argsort(-ringing)[:3]
    found_hz = np.sort(ratios[0][strongest]) * note_to_hz(47)
    np.testing.assert_allclose(found_hz, [140.0, 222.6, 299.6], rtol=0.01)


@pytest.mark.parametrize(
    ("drum", "most_db"), [("kick", 1.0), ("tom", 1.0), ("snare", 3.5), ("hat", 3.5), ("cymbal", 3.5)]
)
def test_a_hit_sounds_like_its_analysis_played_back(drum, most_db):
    hits = [synthetic_hit(drum, v, v) for v in VELOCITIES]
    for hit, analysis in zip(hits, analyse_piece([(hit, RATE) for hit in hits], KEYS[drum], GRID), strict=True):
        again = play_spectrum(analysis.spectrum, KEYS[drum], len(hit), RATE, None)
        assert distance(hit, again, RATE) < most_db


def test_a_stroke_is_over_as_fast_in_the_description_as_in_the_recording():
    """1 ms frames and 3 ms windows: no smear ahead of a stroke, and a click of 2 ms stays one."""
    (analysis,) = analyse_piece([(synthetic_hit("kick", 127), RATE)], 36, GRID)
    high = analysis.spectrum.noise[:, GRID.band_centres_hz > 3000.0].max(axis=1)
    assert np.interp(0.012, GRID.frame_seconds, high) < 0.05 * high.max()


def test_a_recording_that_cannot_be_used_is_told_and_the_others_are_described():
    hits = [(synthetic_hit("snare"), RATE), (np.zeros(RATE), RATE), (synthetic_hit("snare", 60), RATE)]
    good, silent, other = analyse_piece(hits, 38, GRID)
    assert isinstance(silent, RecordingError)
    assert "silent" in str(silent)
    assert good.spectrum.partials.shape == other.spectrum.partials.shape


# ---- folders


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Kick 01", 36), ("BD", 36), ("snare_hard", 38), ("SD-2", 38), ("hat_closed", 42), ("HiHat Open", 46), ("OH", 46),
        ("hat_pedal", 44), ("tom_low", 43), ("FloorTom", 41), ("HT", 50), ("crash2", 49), ("ride_bell", 53), ("Clap", 39),
        ("cowbell", 56), ("piano", None), ("Tomato", None), ("kicker", None),
    ],
)  # fmt: skip
def test_drums_are_known_by_their_names(name, key):
    assert drum_key(name) == key


def test_a_folder_of_drum_hits_is_recognised(folder):
    found = read_folder(folder)
    assert found.holds_kit
    assert {(r.group, r.note, r.note_from) for r in found.used} == {(d, k, "name") for d, k in KEYS.items()}
    assert {r.velocity for r in found.used} == set(VELOCITIES)


def test_names_without_keys_and_velocities_are_enough(tmp_path):
    for stroke, velocity in enumerate(VELOCITIES, 1):
        write(tmp_path / f"Kick {stroke:02d}.wav", synthetic_hit("kick", velocity))
        write(tmp_path / f"Snare Hard {stroke:02d}.wav", synthetic_hit("snare", velocity))
        write(tmp_path / f"thing {stroke:02d}.wav", synthetic_hit("cymbal", velocity))
        write(tmp_path / f"Hat {stroke:02d}.wav", synthetic_hit("hat", velocity))
    found = read_folder(tmp_path)
    keys = {r.group: (r.note, r.note_from) for r in found.used}
    assert keys == {"kick": (36, "drum"), "snare": (38, "drum"), "hat": (42, "drum"), "thing": (82, "free")}
    kicks = [r.velocity for r in sorted(found.used, key=lambda r: r.name) if r.group == "kick"]
    assert kicks == sorted(kicks)
    assert kicks[0] < kicks[-1]


def test_notes_are_no_drums_whatever_the_folder_is_called(tmp_path):
    for note in (48, 52, 55, 60):
        write(tmp_path / "tom" / f"tom_m{note:03d}_v90.wav", synthetic_note(note_to_hz(note), 0.3 / np.arange(1, 9)))
    assert not read_folder(tmp_path).holds_kit
    assert read_folder(tmp_path, kind="drums").holds_kit


def test_the_kind_can_be_said(tmp_path):
    for i, drum in enumerate(KEYS):
        write(tmp_path / f"take{i}.wav", synthetic_hit(drum))
    assert read_folder(tmp_path, kind="drums").holds_kit
    with_names = tmp_path / "named"
    for note in (40, 47):
        write(with_names / f"kick_m{note:03d}.wav", synthetic_note(note_to_hz(note) * 1.3, 0.3 / np.arange(1, 9)))
    assert read_folder(with_names).holds_kit
    assert not read_folder(with_names, kind="notes").holds_kit
    with pytest.raises(UsageError, match="use auto, notes, drums"):
        read_folder(with_names, kind="bells")


def test_two_drums_of_one_name_are_told_apart_by_their_keys(tmp_path):
    for key in (49, 57):
        for stroke in (1, 2):
            write(tmp_path / f"crash_m0{key}_r{stroke}.wav", synthetic_hit("cymbal", 100, key + stroke))
    assert {(r.group, r.note) for r in read_folder(tmp_path).used} == {("crash-49", 49), ("crash-57", 57)}


def test_a_dry_run_says_that_it_understood_drums(folder):
    from neuralsynth.cli import app

    result = CliRunner().invoke(app, ["train", str(folder), "--dry-run"])
    assert result.exit_code == 0
    assert "40 of 40 files can be used, as hits of 5 drums" in result.output
    as_notes = CliRunner().invoke(app, ["train", str(folder), "--dry-run", "--kind", "notes"])
    assert "drums" not in as_notes.output


# ---- training


def test_every_drum_is_a_point_with_its_own_key_and_modes(model):
    spec = model.spec
    assert set(spec.points) == set(KEYS)
    assert spec.default_point == "kick"
    for drum, key in KEYS.items():
        own = spec.around(drum)
        assert (own.note_low, own.note_high, own.velocity_low, own.velocity_high) == (key, key, 30, 120)
        assert own.sustain is None
    tom = model.decode(spec.place(spec.points["tom"])[None], np.array([47]), np.array([0.9]))
    modes_hz = tom.ratios[0] * note_to_hz(47)
    for hz in (140.0, 222.6, 299.6):
        assert np.abs(modes_hz / hz - 1.0).min() < 0.01


def test_what_makes_no_sense_for_drums_is_left_out(model, folder, tmp_path):
    assert model.spec.axes == {}
    with pytest.raises(UsageError, match="drums have none"):
        run.train_folder(folder, tmp_path / "x.onnx", TrainConfig(keep_every=2), show_progress=False)
    with pytest.raises(RecordingError, match="no pitch"):
        score(Instrument.load(model.path), folder)


def test_hits_are_left_out_of_every_drum_and_judged_by(trained, model, folder):
    left_out = [path.parent.name for path in trained.held_out]
    assert sorted(set(left_out)) == sorted(KEYS)
    assert len(left_out) == 10
    apart, unseen = kit_distances(model, read_folder(folder).used)
    assert unseen
    assert set(apart) == set(KEYS)


def test_a_training_on_drums_tells_how_close_each_drum_comes(tmp_path):
    from neuralsynth.cli import app

    for drum in ("kick", "hat"):
        for stroke in (1, 2):
            write(tmp_path / "few" / f"{drum}_r{stroke}.wav", synthetic_hit(drum, 60 * stroke, stroke))
    asked = ["train", str(tmp_path / "few"), "-o", str(tmp_path / "few.onnx"), "--minutes", "0.1", "--json"]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert set(facts["pieces_db"]) == {"kick", "hat"}
    assert not facts["held_out"]
    assert all(
        0.0 < value < 80.0 for value in facts["pieces_db"].values()
    )  # how near it comes so soon, the machine says


def test_only_one_layer_can_be_trained_on(folder):
    hits = read_folder(folder).used
    assert kit.trained_hits(hits, TrainConfig(only_layer=60)).sum() == 10
    with pytest.raises(UsageError, match="no recording has that velocity"):
        kit.trained_hits(hits, TrainConfig(only_layer=61))


def variation(model, drum, rng, amount=1.0, velocity=100):
    """A drawn hit, `[n]`."""
    spec = model.spec
    latent = spec.place(spec.points[drum]) + spec.vary(drum, rng, amount)
    decoded = model.decode(latent[None], np.array([KEYS[drum]]), np.array([velocity / 127.0]))
    n = round(SECONDS_OF_DRUM[drum] * RATE)
    return play_spectrum(decoded.note(0, spec.grid()), float(KEYS[drum]), n, RATE, None)


def test_drawn_hits_differ_and_each_is_still_that_drum(model):
    rng = np.random.default_rng(3)
    recorded = {drum: [synthetic_hit(drum, 90, stroke) for stroke in (1, 2)] for drum in KEYS}
    for drum in KEYS:
        made = [variation(model, drum, rng) for _ in range(4)]
        assert all(np.abs(one - other).max() > 1e-4 for one, other in zip(made, made[1:], strict=False))
        for hit in made:
            apart = {name: min(distance(one, hit, RATE) for one in hits) for name, hits in recorded.items()}
            assert min(apart, key=lambda name: apart[name]) == drum, apart


def test_the_mean_of_the_variations_of_a_drum_is_its_point(model):
    """All hits of these drums are kept, so nothing of what they have in common is left in how they differ."""
    for drum in KEYS:
        hits = np.array(model.spec.variations[drum])
        assert np.abs(hits).max() > 0.1
        assert np.abs(hits.mean(axis=0)).max() < 0.006  # they are written with two decimals


def test_variations_that_do_not_fit_the_model_are_refused(model):
    spec = model.spec
    for wrong in (
        {"bongo": [[0.0] * spec.latent_size]},
        {"kick": [[0.0] * 3]},
        {"kick": [[np.nan] * spec.latent_size]},
    ):
        text = msgspec.json.encode(msgspec.structs.replace(spec, variations=wrong))
        with pytest.raises(ModelError, match="variation|null|spec is wrong"):
            InstrumentSpec.from_json(text, "kit.onnx")


# ---- playing


def test_no_two_strokes_are_alike(drums):
    """The noise of two strokes differs anyway, so it is left out: the tom alone, at the same place of each second."""
    strokes = struck(*[(i * 1.0, KEYS["tom"], 100) for i in range(6)])
    audio = played(drums, strokes, 6.0)[0].reshape(6, RATE)
    likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip(audio, audio[1:], strict=False)]
    levels = [level_db(one) for one in audio]
    assert np.ptp(levels) > 0.05
    assert np.ptp(levels) < 2 * HIT_DB + 3.0
    assert max(likeness) < 0.9999


def test_variation_is_a_knob_of_the_preset(model):
    still = msgspec.structs.replace(bare_preset(model.path).sound, point="tom", variation=0.0)
    alike = Instrument(msgspec.structs.replace(bare_preset(model.path), sound=still), model, model.path)
    assert len(alike.bank.steps) == 1
    lively = msgspec.structs.replace(still, variation=1.0)
    varied = Instrument(msgspec.structs.replace(bare_preset(model.path), sound=lively), model, model.path)
    assert len(varied.bank.steps) > 4
    assert len({varied.bank.note(47, variant).row for variant in range(8)}) == 8


def test_successive_strokes_never_take_the_same_variant():
    variants = [hit_of(serial, 8, 1.0).variant for serial in range(200)]
    assert all(one != other for one, other in zip(variants, variants[1:], strict=False))
    assert set(variants) == set(range(8))
    assert hit_of(5, 1, 1.0) == (0, 1.0, 0.0)


GROOVE = struck(
    *[(i * 0.12, CLOSED, 60 + 7 * (i % 3)) for i in range(8)],
    (0.0, KICK, 110), (0.31, KEYS["snare"], 100), (0.5, OPEN, 90), (0.55, KICK, 70),
)  # fmt: skip


@pytest.mark.parametrize("block", [64, 65, 1000, 8192])
def test_the_same_strokes_give_the_same_samples_at_any_block_size(drums, block):
    events = sorted(GROOVE, key=lambda e: e.sample)
    whole = played(drums, events, 1.2, 4096)
    assert np.array_equal(played(drums, events, 1.2, block), whole)


def test_a_reset_engine_plays_the_same_again(drums):
    engine, events = Engine(drums, RATE, 8192), sorted(GROOVE, key=lambda e: e.sample)
    first = played(engine, events, 1.0)
    engine.reset()
    assert np.array_equal(played(engine, events, 1.0), first)


def test_a_closed_hat_silences_an_open_one_and_leaves_the_others(drums):
    ringing = played(drums, struck((0.0, OPEN, 110)), 1.0)
    choked = played(drums, struck((0.0, OPEN, 110), (0.2, CLOSED, 20)), 1.0)
    after = slice(round(0.45 * RATE), RATE)
    assert level_db(ringing[:, after]) > -60.0
    assert level_db(choked[:, after]) < level_db(ringing[:, after]) - 40.0
    beside = played(drums, struck((0.0, OPEN, 110), (0.2, KICK, 20)), 1.0)
    assert level_db(beside[:, after]) > level_db(ringing[:, after]) - 1.0


def test_a_drum_is_louder_the_harder_it_is_struck(model):
    for drum, key in KEYS.items():
        sound = msgspec.structs.replace(bare_preset(model.path).sound, point=drum, variation=0.0)
        patch = Instrument(msgspec.structs.replace(bare_preset(model.path), sound=sound), model, model.path)
        levels = [level_db(played(patch, struck((0.0, key, v)), 0.4)) for v in range(1, 128, 14)]
        assert np.all(np.diff(levels) > 0.0), (drum, levels)


def test_a_layer_at_a_point_that_is_not_there_is_refused(trained):
    path = trained.model_path.with_name("wrong.toml")
    path.write_text('format_version = 1\nname = "Wrong"\n[[layers]]\npreset = "kit.onnx"\npoint = "gong"\n')
    with pytest.raises(PresetError, match="'gong' is unknown; use one of cymbal, hat"):
        Instrument.load(path)


def test_what_a_kit_is_made_of_is_told(drums):
    from neuralsynth.cli import app

    told = CliRunner().invoke(app, ["info", str(drums.path)]).output
    assert all(f"({drum}), keys {key} to {key}" in told for drum, key in KEYS.items())


def test_layers_at_points_of_one_model_share_it(drums):
    assert len(drums.zones) == len(KEYS)
    assert len({id(zone.model) for _, zone in drums.zones}) == 1
    assert {zone.preset.sound.point for _, zone in drums.zones} == set(KEYS)


def test_resuming_a_kit_gives_the_weights_it_would_have_had(tmp_path):
    folder = tmp_path / "few"
    for stroke in (1, 2):
        write(folder / f"kick_r{stroke}.wav", synthetic_hit("kick", 60 * stroke, stroke))
        write(folder / f"hat_r{stroke}.wav", synthetic_hit("hat", 60 * stroke, stroke))
    config = TrainConfig(steps=8, seed=2, threads=1, n_frames=16, model=VaeConfig(width=16, condition_size=16))
    whole = run.train_folder(folder, tmp_path / "a.onnx", config, show_progress=False)
    again = run.train_folder(folder, tmp_path / "b.onnx", replace(config), resume=whole.run_dir, show_progress=False)
    assert again.spec.points == whole.spec.points
    assert again.spec.frame_seconds == whole.spec.frame_seconds


# ---- the shipped kit

GENERAL_MIDI_KEYS = range(35, 82)


@pytest.fixture(scope="module")
def shipped():
    return Instrument.load("drum-kit")


def test_every_percussion_key_of_general_midi_has_one_drum(shipped):
    mapped = [key for layer, _ in shipped.zones for key in range(layer.key_low, layer.key_high + 1)]
    assert sorted(mapped) == list(GENERAL_MIDI_KEYS)
    assert all(layer.one_shot and layer.fixed_key >= 0 for layer, _ in shipped.zones)
    unused = set(shipped.model.spec.points) - {zone.preset.sound.point for _, zone in shipped.zones}
    assert unused == {"kick-electronic"}  # General MIDI has no key for it


def test_every_percussion_key_of_general_midi_sounds_and_none_is_far_too_loud(shipped):
    engine, peaks = Engine(shipped, RATE, 8192), {}
    for key in GENERAL_MIDI_KEYS:
        engine.reset()
        peaks[key] = float(gain_to_db(np.abs(played(engine, struck((0.0, key, 100)), 0.2)).max()))
    assert min(peaks.values()) > -36.0, peaks
    assert max(peaks.values()) < -2.0, peaks


@pytest.mark.parametrize("by", [42, 44])
def test_the_open_hat_is_silenced_by_the_closed_and_the_pedal_hat_and_by_nothing_else(shipped, by):
    after = slice(round(0.75 * RATE), RATE)
    ringing = level_db(played(shipped, struck((0.0, 46, 110)), 1.0)[:, after])
    choked = level_db(played(shipped, struck((0.0, 46, 110), (0.1, by, 1)), 1.0)[:, after])
    beside = level_db(played(shipped, struck((0.0, 46, 110), (0.1, 49, 1)), 1.0)[:, after])
    assert choked < ringing - 20.0
    assert beside > ringing - 1.0


def test_a_song_plays_its_drums_on_the_kit_without_being_asked(tmp_path):
    from neuralsynth import render
    from neuralsynth.hosts.midi_file import write_midi_file

    write_midi_file(tmp_path / "drums.mid", [[(0, bytes([0x99, 38, 100])), (480, bytes([0x89, 38, 0]))]])
    plain = render(tmp_path / "drums.mid")
    assert np.array_equal(plain, render(tmp_path / "drums.mid", channels={10: "drum-kit"}))
    assert not np.array_equal(plain, render(tmp_path / "drums.mid", preset="upright-piano"))
