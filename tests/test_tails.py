"""Effects rest in silence and begin anew with the next sound, at the same sample wherever blocks end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.tails import REST_AFTER_SECONDS, Resting

RATE = 1000.0
TAIL_SECONDS = 0.05
N_ON = round((TAIL_SECONDS + REST_AFTER_SECONDS) * RATE)


class Counter:
    """Gives its input and, in the second row, how many samples it has run since it was reset."""

    tail_seconds = TAIL_SECONDS

    def __init__(self):
        self.resets = 0
        self.reset()

    def reset(self):
        self.resets += 1
        self.at = 0

    def process(self, audio):
        n = audio.shape[1]
        out = np.stack([audio[0], np.arange(self.at + 1, self.at + n + 1)]).astype(np.float32)
        self.at += n
        return out


def through(signal, sizes):
    resting, pieces, at = Resting(Counter(), RATE), [], 0
    for size in sizes:
        pieces.append(resting.process(signal[:, at : at + size]))
        at += size
    return np.concatenate([*pieces, resting.process(signal[:, at:])], axis=1)


def clicks(n, places):
    signal = np.zeros((2, n), np.float32)
    signal[0, list(places)] = 1.0
    return signal


def test_a_processor_runs_from_the_first_sample_with_sound_to_a_while_after_its_tail():
    out = through(clicks(4000, [100]), [])
    running = np.flatnonzero(out[1])
    assert (running[0], running[-1]) == (100, 100 + N_ON)
    assert out[1, 100] == 1  # anew


def test_sound_within_that_while_keeps_it_running_and_later_sound_begins_anew():
    out = through(clicks(4000, [0, N_ON, 2 * N_ON + 2]), [])
    assert out[1, N_ON] == N_ON + 1
    assert out[1, 2 * N_ON + 2] == 1
    assert out[1, 2 * N_ON + 1] == 0


@settings(max_examples=80, deadline=None)
@given(
    places=st.lists(st.integers(0, 3999), max_size=6),
    sizes=st.lists(st.integers(0, 900), max_size=12),
)
def test_when_it_rests_does_not_depend_on_where_blocks_end(places, sizes):
    signal = clicks(4000, places)
    np.testing.assert_array_equal(through(signal, sizes), through(signal, []))


def test_a_resting_processor_is_not_called():
    class Broken(Counter):
        def process(self, audio):
            raise AssertionError("called in silence")

    out = Resting(Broken(), RATE).process(np.zeros((2, 64), np.float32))
    assert not out.any()
    with pytest.raises(AssertionError):
        Resting(Broken(), RATE).process(np.ones((2, 64), np.float32))
