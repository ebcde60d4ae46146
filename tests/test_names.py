"""Note and velocity from file names: the usual styles, read over a whole folder."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.analysis.names import octave_votes, read_names
from neuralsynth.units import note_name

NOTES = range(40, 80, 3)
VELOCITIES = (40, 80, 118)
WORDS = {40: "p", 80: "mf", 118: "ff"}
LONG_WORDS = {40: "pianissimo", 80: "mezzo-forte", 118: "fortissimo"}
LAYERS = {40: 1, 80: 2, 118: 3}


def flat(note):
    """The name with flats, such as Bb3."""
    return ["C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"][note % 12] + str(note // 12 - 1)


def sharp_s(note):
    """The name with s for sharp, such as As3."""
    return note_name(note).replace("#", "s")


#: Style -> (name from note, velocity, running index; velocities expected for 40, 80, 118 or None).
STYLES = {
    "A#3": (lambda n, v, i: f"{note_name(n)}", None),
    "Bb3": (lambda n, v, i: f"{flat(n)}", None),
    "As3": (lambda n, v, i: f"{sharp_s(n)}", None),
    "c4": (lambda n, v, i: f"{note_name(n).lower()}", None),
    "060": (lambda n, v, i: f"{n:03d}", None),
    "60": (lambda n, v, i: f"{n}", None),
    "m060_v100": (lambda n, v, i: f"m{n:03d}_v{v}", VELOCITIES),
    "inst_m060_v100_r1": (lambda n, v, i: f"alto_sax_m{n:03d}_v{v}_r{i % 3}", VELOCITIES),
    "piano_60_127": (lambda n, v, i: f"piano_{n}_{v}", VELOCITIES),
    "nsynth": (lambda n, v, i: f"organ_acoustic_003-{n:03d}-{v:03d}", VELOCITIES),
    "C#4_v96": (lambda n, v, i: f"{note_name(n)}_v{v}", VELOCITIES),
    "A#3v100": (lambda n, v, i: f"{note_name(n)}v{v}", VELOCITIES),
    "Sax A#3 mf rr2": (lambda n, v, i: f"Sax {note_name(n)} {WORDS[v]} rr{i % 3}", (40, 80, 118)),
    "vel100": (lambda n, v, i: f"{note_name(n)} vel{v}", VELOCITIES),
    "vel_100": (lambda n, v, i: f"note_{n}_vel_{v}", VELOCITIES),
    "layer v2": (lambda n, v, i: f"{note_name(n)}v{LAYERS[v]}", (42, 85, 127)),
    "layer2": (lambda n, v, i: f"{note_name(n)}_layer{LAYERS[v]}", (42, 85, 127)),
    "Sax.NoVib.ff.Bb3": (lambda n, v, i: f"AltoSax.NoVib.{WORDS[v]}.{flat(n)}", (40, 80, 118)),
    "long words": (lambda n, v, i: f"cello_{sharp_s(n)}_1_{LONG_WORDS[v]}_arco-normal", (24, 80, 118)),
    "A#3mf": (lambda n, v, i: f"{note_name(n)}{WORDS[v]}", (40, 80, 118)),
    "year and rate": (lambda n, v, i: f"take{i} 2019 44.1k 24bit {note_name(n)}", None),
    "PianoC4": (lambda n, v, i: f"Piano{note_name(n)}", None),
    "piano-C4-v80": (lambda n, v, i: f"piano-{note_name(n)}-v{v}", VELOCITIES),
    "hyphen as separator": (lambda n, v, i: f"Vib-{note_name(n)[:-1]}-{note_name(n)[-1]}", None),
    "running index first": (lambda n, v, i: f"{i:03d}_{note_name(n)}_{v}", VELOCITIES),
    "number and name": (lambda n, v, i: f"RD_{n}_{note_name(n)}_{v}", VELOCITIES),
    "round robin number": (lambda n, v, i: f"{n}_{i % 3 + 1}", None),
    "sample rate behind": (lambda n, v, i: f"piano_{n}_44100_16", None),
    "constant b1 before": (lambda n, v, i: f"mic_b1_{note_name(n)}", None),
}


def folder(style):
    """Names, notes and velocities of a folder in that style."""
    make, velocities = STYLES[style]
    wanted = dict(zip(VELOCITIES, velocities or (None,) * 3, strict=True))
    cases = [(note, velocity) for note in NOTES for velocity in VELOCITIES]
    stems = [make(note, velocity, i) for i, (note, velocity) in enumerate(cases)]
    return stems, [n for n, _ in cases], [wanted[v] for _, v in cases]


def sounding(notes):
    """The notes as an ear hears them: up to 30 cents off."""
    return list(np.asarray(notes) + np.random.default_rng(3).uniform(-0.3, 0.3, len(notes)))


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
@pytest.mark.parametrize("style", STYLES)
def test_usual_style_is_read(style, heard):
    stems, notes, velocities = folder(style)
    readings = read_names(stems, sounding(notes) if heard else [None] * len(notes))
    assert [r.note for r in readings] == notes
    assert [r.velocity for r in readings] == velocities


def test_negative_octaves_are_read():
    stems = ["C-1", "G-1", "C#0", "C1", "piano_C-1_v100"]
    readings = read_names(stems, [None] * 5)
    assert [r.note for r in readings] == [0, 7, 13, 24, 0]


def test_the_sound_decides_which_number_is_the_note():
    notes = list(range(50, 74, 2))
    stems = [f"{30 + i}-{note}" for i, note in enumerate(notes)]  # a running index in the range of notes, too
    assert [r.note for r in read_names(stems, sounding(notes))] == notes
    backwards = [f"{velocity}_{note}" for note in notes for velocity in (64, 127)]
    readings = read_names(backwards, sounding([n for n in notes for _ in range(2)]))
    assert [(r.note, r.velocity) for r in readings] == [(n, v) for n in notes for v in (64, 127)]


@pytest.mark.parametrize("make", [
    lambda i: f"take {i + 40}", lambda i: f"rr{i + 40}", lambda i: f"r{i + 40}", lambda i: f"Track {i + 40}",
    lambda i: f"2019-05-{i + 10}", lambda i: f"recording_44100_{i}", lambda i: f"{i + 40}bpm", lambda i: f"{40 + i}ms",
    lambda i: "soft 24bit 48kHz", lambda i: "untitled", lambda i: f"Untitled ({i})",
])  # fmt: skip
def test_other_numbers_are_not_taken_for_notes(make):
    stems = [make(i) for i in range(12)]
    heard = [61.0, 65.1, 58.0, 70.2, 63.0, 55.0, 77.1, 52.0, 66.0, 59.9, 72.0, 50.0]
    assert [r.note for r in read_names(stems, heard)] == [None] * 12
    if make(0) != make(0).upper() and not any(c.isdigit() for c in make(0)[:2]) and "Untitled" not in make(0):
        assert all(r.note is None for r in read_names(stems, [None] * 12))


def test_a_few_wrong_names_do_not_discredit_the_others():
    notes = list(range(40, 80, 2))
    named = [n + 4 if i % 5 == 0 else n for i, n in enumerate(notes)]
    readings = read_names([f"{n:03d}" for n in named], sounding(notes))
    assert [r.note for r in readings] == named


def test_round_robins_are_no_velocities():
    readings = read_names(["C4_rr1", "C4_rr2", "D4_rr1", "D4_r2"], [None] * 4)
    assert [r.velocity for r in readings] == [None] * 4


@pytest.mark.parametrize(("word", "velocity"), [
    ("ppp", 12), ("pp", 24), ("p", 40), ("mp", 60), ("mf", 80), ("f", 100), ("ff", 118), ("fff", 127),
    ("soft", 50), ("medium", 80), ("hard", 110), ("loud", 110), ("FF", 118),
])  # fmt: skip
def test_dynamics_words_are_velocities(word, velocity):
    assert read_names([f"Horn_C4_{word}"], [60.0])[0].velocity == velocity


def test_velocities_stay_within_midi():
    readings = read_names(["C4_v0", "D4_v127", "E4_v300", "F4_v99999999999"], [None] * 4)
    assert [r.velocity for r in readings] == [1, 127, None, None]


def test_octave_votes_count_only_octaves():
    votes = octave_votes([48, 50, 52, 60, None, 55], [60.1, 62.0, 63.9, 64.0, 70.0, None])
    assert votes == {1: 3}
