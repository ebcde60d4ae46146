"""Turning a timbre moves the quality it is named after, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.axes import correlations
from neuralsynth.analysis.descriptors import UNITS, describe
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.turns import TURNS, Levels, turned_note

GRID = SpectrumGrid.warped(96, 3.0, 24, 12)
TIMES = GRID.frame_seconds
OCTAVES = np.log2(np.arange(1.0, 25.0))[:, None]

#: Notes on which the qualities hang together: bright beginnings, highs that die first, a knock, breath that comes first.
NOTES = {
    "plucked": (52.0, -8.0 * OCTAVES - (4.0 + 8.0 * OCTAVES) * TIMES, -45.0 - 60.0 * TIMES, False),
    "struck high": (84.0, -12.0 * OCTAVES - (30.0 + 15.0 * OCTAVES) * TIMES, -35.0 - 90.0 * TIMES, False),
    "blown": (64.0, -7.0 * OCTAVES - (30.0 + 20.0 * OCTAVES) * np.exp(-TIMES / 0.03), -50.0 + 10.0 * np.exp(-TIMES / 0.1), True),
    "organ": (60.0, -10.0 * OCTAVES + 0.0 * TIMES, -60.0 + 20.0 * np.exp(-TIMES / 0.01), True),
}  # fmt: skip


def note_of(kind):
    note, partials_db, noise_db, sustains = NOTES[kind]
    partials_db = np.maximum(partials_db - 20.0, -110.0)
    noise = np.maximum(np.broadcast_to(noise_db - 20.0, (12, len(TIMES))), -110.0)
    return note, Levels(partials_db, noise.copy(), np.zeros(len(TIMES))), sustains


def told(levels, note):
    partials, noise = (10.0 ** (x.T / 20.0) for x in (levels.partials_db, levels.noise_db))
    answer = describe(partials, np.arange(1.0, 25.0), noise, GRID, note)
    return np.array([answer[name] for name in UNITS])


def test_turns_are_named_after_the_descriptors():
    assert list(TURNS) == list(UNITS)


@pytest.mark.parametrize("kind", NOTES)
def test_a_turn_moves_its_own_descriptor_and_no_other(kind):
    note, levels, sustains = note_of(kind)
    amounts = np.random.default_rng(3).uniform(-1.0, 1.0, (160, 4))
    described = np.array([told(turned_note(levels, note, a, GRID, sustains), note) for a in amounts])
    r = correlations(amounts[None], described[None])
    assert np.diag(r).min() >= 0.95, np.round(r, 2)
    assert np.abs(r - np.diag(np.diag(r))).max() <= 0.25, np.round(r, 2)


@pytest.mark.parametrize("kind", NOTES)
@pytest.mark.parametrize("column", range(4))
def test_a_turn_alone_leaves_the_others_within_what_is_heard(kind, column):
    note, levels, sustains = note_of(kind)
    plain = told(levels, note)
    just_heard = np.array([0.1, 0.3, 0.5, max(0.3, 0.06 * abs(plain[3]))])
    for side in (-1.0, 1.0):
        amounts = np.zeros(4)
        amounts[column] = side
        moved = told(turned_note(levels, note, amounts, GRID, sustains), note) - plain
        assert side * moved[column] > just_heard[column]
        assert np.all(np.abs(np.delete(moved, column)) < np.delete(just_heard, column)), (side, np.round(moved, 2))


def test_no_turn_changes_nothing():
    note, levels, sustains = note_of("blown")
    same = turned_note(levels, note, np.zeros(4), GRID, sustains)
    for one, other in ((same.partials_db, levels.partials_db), (same.noise_db, levels.noise_db)):
        assert np.abs(one - other).max() < 0.5


def test_a_brighter_tone_is_as_loud():
    note, levels, sustains = note_of("organ")
    loudness = []
    for bright in (-1.0, 1.0):
        turned = turned_note(levels, note, np.array([bright, 0.0, 0.0, 0.0]), GRID, sustains)
        loudness.append(10.0 * np.log10((10.0 ** (turned.partials_db / 10.0)).sum(axis=0) @ np.gradient(TIMES)))
    assert abs(loudness[1] - loudness[0]) < 0.3
