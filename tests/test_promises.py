"""The programs that measure the promises of sound: they see what holds, and what does not."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import soundfile

from benchmarks import axes, dynamics, morph, turns
from neuralsynth.analysis.descriptors import UNITS
from neuralsynth.analysis.files import checked_digest
from neuralsynth.analysis.signal import find_onset_seconds
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.scoring.axes import JUST_HEARD
from neuralsynth.spec import LatentAxis, Provenance
from neuralsynth.training.dataset import NoteTable
from neuralsynth.units import note_to_hz
from tests.models import TINY_GRID, TINY_P, tiny_instrument, tiny_outputs
from tests.signals import synthetic_note

RATE = 44_100
BRIGHT = LatentAxis([-2.0, 0.0], [2.0, 0.0], 1.0, 2.0, "octaves", "brighter")
VIBRATO = LatentAxis([0.0, -2.0], [0.0, 2.0], 1.0, 2.0, "octaves", "slower")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("promises")


def tiny(folder, name, **changes):
    return InstrumentModel.load(tiny_instrument(folder / f"{name}.onnx", sustaining=True, **changes))


def run(program, monkeypatch, capsys, *arguments):
    """Exit code and what was printed on stdout and stderr."""
    monkeypatch.setattr("sys.argv", [program.__name__, *map(str, arguments)])
    code = program.main()
    return code, *capsys.readouterr()


# Axes


def test_an_axis_that_moves_only_its_descriptor_correlates_with_it_alone():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1.0, 1.0, (6, 64, 4))
    scale = np.array([1.0, 9.0, 2.0, 30.0])
    r = axes.correlations(positions, positions * scale * rng.uniform(0.5, 2.0, (6, 1, 4)) + rng.normal(0, 9, (6, 1, 4)))
    assert np.allclose(np.diag(r), 1.0)
    assert np.abs(r - np.eye(4)).max() < 0.15


def test_an_axis_that_moves_another_descriptor_too_is_seen():
    positions = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 64, 4))
    described = positions.copy()
    described[..., 3] += positions[..., 1]
    r = axes.correlations(positions, described)
    assert r[1, 3] == pytest.approx(0.71, abs=0.06)
    assert r[3, 3] == pytest.approx(0.71, abs=0.06)


def test_a_note_at_which_nothing_can_be_heard_to_move_hardly_counts():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1.0, 1.0, (2, 64, 4))
    described = positions.copy()
    described[1] = 1e-4 * rng.standard_normal((64, 4))
    assert np.diag(axes.correlations(positions, described)).min() > 0.99


def test_an_axis_is_judged_at_every_point_and_what_else_it_moves_is_named(folder, monkeypatch, capsys):
    """The tiny model's brightness makes the tone louder over its noise; its vibrato is no attack."""
    model = tiny(folder, "axes", axes={"brightness": BRIGHT, "attack": VIBRATO})
    found = {(r.point, r.axis): r for r in axes.measure(model, draws=32, n_notes=2)}
    assert {point for point, _ in found} == {"tiny", "bright"}
    bright, attack = found["tiny", "brightness"], found["tiny", "attack"]
    assert bright.own > 0.95 and bright.which == "noisiness" and bright.other < -0.9 and not bright.holds
    assert abs(attack.own) < 0.5 and not attack.holds
    code, out, _ = run(axes, monkeypatch, capsys, model.path, "--draws", 32, "--notes", 2)
    assert code == 1 and "| tiny | bright |" in out
    kept = axes.AxisResult("tiny", "tiny", "brightness", 0.95, -0.3, "decay")
    monkeypatch.setattr(axes, "measure", lambda *_: [kept])
    assert run(axes, monkeypatch, capsys, model.path)[0] == 0


def test_files_that_cannot_be_measured_are_told_in_one_line(folder, monkeypatch, capsys):
    nameless = tiny(folder, "nameless", axes={})
    for program, arguments in (
        (axes, [nameless.path]),
        (axes, [folder / "nothing.onnx"]),
        (morph, [folder / "nothing.onnx"]),
        (dynamics, [folder / "nothing"]),
        (dynamics, [folder, nameless.path]),
    ):
        code, _, err = run(program, monkeypatch, capsys, *arguments)
        assert code == 2 and len(err.splitlines()) == 1, err


def test_a_turn_that_moves_more_than_its_own_is_seen_on_recordings(monkeypatch):
    sustained = table_of()
    found = {r.axis: r for r in turns.measure("tiny", sustained, draws=150, n_notes=2)}
    assert all(r.own > 0.9 and abs(r.other) < 0.25 for r in found.values()), found
    right = turns.turned_note

    def hissing(levels, note, amounts, grid, sustains):
        return right(levels, note, amounts + amounts[0] * np.eye(4)[1], grid, sustains)

    monkeypatch.setattr(turns, "turned_note", hissing)
    found = {r.axis: r for r in turns.measure("tiny", sustained, draws=150, n_notes=2)}
    assert found["brightness"].which == "noisiness" and found["brightness"].other > 0.5


# Morphs


def way_of(notes, brightness):
    tones = [
        synthetic_note(note_to_hz(n), np.exp(-b * np.arange(8)), 0.5, RATE)
        for n, b in zip(notes, brightness, strict=True)
    ]
    return morph.judge("a", "b", 57, tones, RATE)


def test_an_even_way_holds_and_a_jump_does_not():
    keys = np.full(17, 57.0)
    assert way_of(keys, np.linspace(0.5, 1.5, 17)).ratio < 2.0
    jump = way_of(keys, np.r_[np.linspace(0.5, 0.7, 9), np.linspace(1.3, 1.5, 8)])
    assert jump.ratio > morph.LARGEST_OVER_MEAN and not jump.holds
    assert jump.at == pytest.approx(9 / 16)


def test_a_slow_tone_that_is_found_a_millisecond_later_is_no_jump():
    """A fade grows slower from place to place, so that the onset moves by whole milliseconds, now and then."""
    tone = synthetic_note(note_to_hz(57), np.exp(-np.arange(8.0)), 0.5, RATE, attack_seconds=1e-3, lead_seconds=0.0)
    seconds = np.arange(len(tone)) / RATE
    tone += 1e-3 * np.random.default_rng(1).standard_normal(len(tone))
    places = [tone * (1.0 - np.exp(-seconds / rise)) ** 2 for rise in np.linspace(0.03, 0.05, 17)]
    onsets = [find_onset_seconds(place, RATE) for place in places]
    assert 0 < len(set(onsets)) - 1 < 8
    assert morph.judge("a", "b", 57, places, RATE).ratio < 1.5


def test_one_place_out_of_tune_breaks_the_promise():
    keys = np.full(17, 57.0)
    keys[8] += 0.3
    way = way_of(keys, np.linspace(0.5, 1.5, 17))
    assert way.most_cents == pytest.approx(30.0, abs=2.0) and not way.holds


def test_noise_costs_nothing_on_the_way(folder):
    model = tiny(folder, "still", points={"tiny": [0.0, 0.0], "twin": [0.0, 0.0]})
    way = morph.judge("tiny", "twin", 60, morph.between_points(model, "tiny", "twin", 60, 0.3))
    assert way.largest_step_db == 0.0 and way.ratio == 1.0


def test_points_of_a_file_and_files_beside_each_other_are_walked(folder, monkeypatch, capsys):
    one, other = tiny(folder, "one"), tiny(folder, "other", points={"dark": [-2.0, 0.0]}, default_point="dark")
    found = list(morph.ways([one, other], seconds=0.4))
    assert [(w.one, w.other) for w in found] == [("tiny", "bright"), ("one", "other")]
    assert all(w.holds and w.mean_step_db > 0.01 for w in found)
    code, out, _ = run(morph, monkeypatch, capsys, one.path, other.path, "--pairs", 1, "--seconds", 0.3)
    assert code == 0 and out.count("\n") == 3


# Dynamics


def table_of(level_step_db=0.0, tilt_step_db=0.0):
    """What the tiny instrument plays, as a table of recordings; the louder layer louder or brighter than it plays."""
    note, velocity = (np.array(x, np.float32) for x in ([48, 48, 60, 60], [40, 100, 40, 100]))
    out = tiny_outputs(np.zeros((4, 2)), note, velocity / 127.0, sustaining=True)
    louder = (velocity == 100)[:, None, None]
    upper = np.arange(TINY_P)[:, None] >= dynamics.LOWER_PARTIALS
    partials, noise = (20.0 * np.log10(np.maximum(out[n].transpose(0, 2, 1), 1e-6)) for n in ("partials", "noise"))
    partials = partials + louder * (level_step_db + tilt_step_db * upper)
    everything = np.full(4, TINY_GRID.n_frames)
    return NoteTable(
        TINY_GRID, partials, noise + louder * level_step_db, out["cents"], np.zeros(4), everything, note,
        np.float32(velocity / 127.0), np.zeros(4, np.int64), ("tiny",), np.ones(4, bool), ("",) * 4,
    )  # fmt: skip


def test_an_instrument_that_plays_its_layers_holds_and_one_that_does_not_is_seen(folder):
    instrument = Instrument.load(tiny(folder, "layers").path)
    (same,) = dynamics.compare(instrument, table_of())
    assert (same.softer, same.louder, same.n_notes) == (40, 100, 2)
    assert abs(same.played_level - same.recorded_level) < 0.5
    assert abs(same.played_brightness - same.recorded_brightness) < 0.5
    assert same.holds
    (louder,) = dynamics.compare(instrument, table_of(level_step_db=4.0))
    assert louder.recorded_level - same.recorded_level == pytest.approx(4.0, abs=0.1) and not louder.holds
    (brighter,) = dynamics.compare(instrument, table_of(tilt_step_db=4.0))
    assert brighter.recorded_brightness - same.recorded_brightness == pytest.approx(4.0, abs=0.1) and not brighter.holds


def test_a_touch_that_is_not_louder_is_seen(folder):
    instrument = Instrument.load(tiny(folder, "touch").path)
    assert dynamics.least_rise_db(instrument, [60], (100, 120, 127)) > 0.1
    flat = msgspec.structs.replace(instrument.preset.sound, velocity_sensitivity=0.0)  # and nothing above 120 recorded
    preset = msgspec.structs.replace(instrument.preset, sound=flat)
    deaf = Instrument(preset, instrument.model, instrument.path)
    assert dynamics.least_rise_db(deaf, [60], (100, 120, 127)) < 1e-3


def test_recordings_are_found_by_their_digests(folder, monkeypatch, capsys):
    recordings = folder / "recordings" / "tiny"
    recordings.mkdir(parents=True)
    for note in (57, 64):
        for velocity in (40, 100):
            tone = 0.3 * synthetic_note(note_to_hz(note), velocity / 127.0 * np.exp(-0.7 * np.arange(8)), 1.2, RATE)
            soundfile.write(recordings / f"tiny_m{note:03d}_v{velocity:03d}.wav", tone, RATE)
    digests = [checked_digest(file) for file in sorted(recordings.iterdir())]
    known = Provenance("", digests[1:], 0, 1, 1.0, {})
    model = tiny(folder, "trained", provenance=known)
    found = dynamics.trained_on(model.spec, folder / "recordings")
    assert [(r.note, r.velocity, r.group) for r in found] == [(57, 100, "tiny"), (64, 40, "tiny"), (64, 100, "tiny")]
    code, out, err = run(dynamics, monkeypatch, capsys, folder / "recordings", model.path)
    assert code in (0, 1) and "| tiny | 40 to 100 | 1 |" in out, err


def test_every_promised_descriptor_has_a_just_heard_step():
    assert set(JUST_HEARD) == set(UNITS)
