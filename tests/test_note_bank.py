"""The layers of a note: each louder than the softer one, and otherwise as far apart as they were decoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from neuralsynth.note_bank import NoteBank, rising_levels_db

LEVELS = st.lists(st.floats(-80.0, 0.0, allow_subnormal=False), min_size=1, max_size=8)


@given(LEVELS, st.data())
def test_layers_rise_by_the_least_step_and_the_loudest_keeps_its_level(levels_db, data):
    steps_db = _steps(data, len(levels_db))
    found_db = rising_levels_db(np.array(levels_db), steps_db)
    assert found_db[-1] == pytest.approx(levels_db[-1], abs=1e-9)
    assert np.all(np.diff(found_db) >= steps_db - 1e-9)


@given(LEVELS, st.data())
def test_layers_are_moved_as_little_as_scipy_finds_possible(levels_db, data):
    steps_db = _steps(data, len(levels_db))
    least_db = np.concatenate([[0.0], np.cumsum(steps_db)])
    nearest_db = isotonic_regression(np.array(levels_db) - least_db).x + least_db
    assert np.diff(rising_levels_db(np.array(levels_db), steps_db)) == pytest.approx(np.diff(nearest_db), abs=1e-6)


@given(st.lists(st.floats(0.5, 20.0), max_size=7))
def test_layers_that_rise_enough_stay_where_they_are(rises_db):
    levels_db = -90.0 + np.concatenate([[0.0], np.cumsum(rises_db)])
    assert rising_levels_db(levels_db, np.full(len(rises_db), 0.5)) == pytest.approx(levels_db, abs=1e-9)


def test_a_rise_that_two_touches_lack_is_not_taken_from_the_softest_alone(sustaining):
    """Planted: from the second layer to the fifth no rise; the first lies 4 dB below, the last 2 dB above them."""
    decoded_db = np.array([-26.0, -22.0, -22.0, -22.0, -22.0, -20.0])
    gains = 10.0 ** ((decoded_db - _played_db(sustaining.model, sustaining.latent)) / 20.0)
    played_db = _played_db(_Levelled(sustaining.model, gains.astype(np.float32)), sustaining.latent)
    steps_db = np.diff(played_db)
    assert played_db[-1] == pytest.approx(-20.0, abs=0.1)
    assert steps_db[1:4].min() > 0.25  # a louder touch is louder,
    assert steps_db[0] > 4.0 - 0.9 and steps_db[4] > 2.0 - 0.9  # and what was a step is one still


class _Levelled:
    """A model whose layers have other levels; all else is the model's own."""

    def __init__(self, model, gains: np.ndarray) -> None:
        self._model, self._gains = model, gains[:, None, None]

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def decode(self, *inputs):
        decoded = self._model.decode(*inputs)
        return replace(decoded, partials=decoded.partials * self._gains, noise=decoded.noise * self._gains)


def _steps(data, n_layers: int) -> np.ndarray:
    return np.array(
        data.draw(st.lists(st.floats(0.0, 3.0, allow_subnormal=False), min_size=n_layers - 1, max_size=n_layers - 1)),
        float,
    )


def _played_db(model, latent: np.ndarray) -> np.ndarray:
    """The level of each layer of a key."""
    (layers,) = NoteBank(model, latent).layers_at(latent, [60])
    return np.array([10.0 * np.log10(np.mean(0.5 * (one.partials**2).sum(axis=1))) for one in layers])
