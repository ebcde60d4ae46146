"""How a pedalboard plugin is run so that the cut into blocks never changes a sample: three kinds of stage.

A stage takes blocks `float32 [2, n]` of at most `CHUNK` samples and returns as many. What is worked around
was measured with pedalboard 0.9.26 and is held by `tests/test_effects.py`; pedalboard itself is not imported here.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

CHUNK = 1024  # the largest block a plugin ever sees while streaming
GRID = 64  # the block of plugins that have latency anyway
MARGIN = 8  # samples kept in reserve: resampling at an odd ratio may lag a sample more, once in a long while


class Stage(Protocol):
    """One step of the chain."""

    latency_samples: int

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next block."""

    def reset(self) -> None:
        """Forget all earlier sound, non-finite samples included."""


class Direct:
    """A plugin without latency.

    pedalboard forgets its state when a larger block arrives than any since the last reset, and takes a block
    `[2, 1]` for one channel until it has seen a longer one; so each reset is followed by `CHUNK` samples of silence.
    """

    latency_samples = 0

    def __init__(self, plugin: Any, sample_rate: float):
        self._plugin, self._sample_rate = plugin, sample_rate

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next block. [audio thread]"""
        return self._plugin.process(audio, self._sample_rate, CHUNK, False)

    def reset(self) -> None:
        """Start afresh."""
        prime(self._plugin, self._sample_rate)

    def turn(self, name: str, value: float) -> None:
        """Set a knob of the plugin at once, click or no click."""
        setattr(self._plugin, name, value)


class _Queued:
    """Input gathered into blocks of one size, output delivered from a queue that starts with `n_zeros` zeros."""

    def __init__(self, block_size: int, n_zeros: int):
        self._n_zeros = n_zeros
        self._block = np.zeros((2, block_size), np.float32)
        self._queue = np.zeros((2, 2 * (n_zeros + CHUNK + 2 * block_size)), np.float32)
        self._n_gathered, self._start, self._end = 0, 0, n_zeros

    def _run(self, block: np.ndarray) -> np.ndarray:
        """Turn one full block into what can be delivered so far."""
        raise NotImplementedError

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next block. [audio thread]"""
        n, taken, size = audio.shape[1], 0, self._block.shape[1]
        while taken < n:
            step = min(size - self._n_gathered, n - taken)
            self._block[:, self._n_gathered : self._n_gathered + step] = audio[:, taken : taken + step]
            self._n_gathered += step
            taken += step
            if self._n_gathered == size:
                self._n_gathered = 0
                self._deliver(self._run(self._block))
        out = np.zeros((2, n), np.float32)
        ready = min(n, self._end - self._start)
        out[:, n - ready :] = self._queue[:, self._start : self._start + ready]
        self._start += ready
        return out

    def _deliver(self, audio: np.ndarray) -> None:
        n = audio.shape[1]
        if self._end + n > self._queue.shape[1]:
            kept = self._queue[:, self._start : self._end].copy()
            self._start, self._end = 0, kept.shape[1]
            self._queue[:, : self._end] = kept
        self._queue[:, self._end : self._end + n] = audio
        self._end += n

    def reset(self) -> None:
        """Start afresh."""
        self._queue[:] = 0.0
        self._n_gathered, self._start, self._end = 0, 0, self._n_zeros


class OnGrid(_Queued):
    """A plugin that is given exactly `GRID` samples at a time and returns them when it likes.

    With latency, how many samples pedalboard returns depends on the cut; on the grid it does not. `lag` is what
    `measured_lag` found: the queue's zeros cover it, so that it never runs dry.
    """

    def __init__(self, plugin: Any, sample_rate: float, lag: tuple[int, int]):
        primed, later = lag
        super().__init__(GRID, later + GRID - 1 + MARGIN)
        self.latency_samples = primed + later + GRID - 1 + MARGIN
        self._plugin, self._sample_rate = plugin, sample_rate

    def _run(self, block: np.ndarray) -> np.ndarray:
        return _returned(self._plugin, block, self._sample_rate)

    def reset(self) -> None:
        """Start afresh."""
        prime(self._plugin, self._sample_rate)
        super().reset()


class InSegments(_Queued):
    """A plugin that only works in whole calls: each segment is a call of its own, cross-faded into the next.

    A call sees `CONTEXT_SECONDS` of earlier sound, which is thrown away, so that the plugin's state has settled.
    Made for the GSM codec, which hums at -66 dB when it is given nothing: what is below `SILENCE`, half a step of its
    13 bits, is not given to it.
    """

    SILENCE = 2.0**-14
    SEGMENT_SECONDS, CONTEXT_SECONDS, FADE_SECONDS = 0.040, 0.060, 0.010

    def __init__(self, plugin: Any, sample_rate: float):
        segment, context, fade = (
            round(seconds * sample_rate) for seconds in (self.SEGMENT_SECONDS, self.CONTEXT_SECONDS, self.FADE_SECONDS)
        )
        super().__init__(segment, segment - 1)
        self.latency_samples = segment + fade - 1
        self._plugin, self._sample_rate = plugin, sample_rate
        self._rise = np.linspace(0.0, 1.0, fade, dtype=np.float32)
        self._heard = np.zeros((2, context + segment + fade), np.float32)
        self._falling = np.zeros((2, fade), np.float32)

    def _run(self, block: np.ndarray) -> np.ndarray:
        n, fade = block.shape[1], self._falling.shape[1]
        self._heard[:, :-n] = self._heard[:, n:].copy()
        self._heard[:, -n:] = block
        new = np.zeros((2, n + fade), np.float32)
        if np.max(np.abs(self._heard)) >= self.SILENCE:
            size = self._heard.shape[1]
            new[:] = self._plugin.process(self._heard, self._sample_rate, size, True)[:, -(n + fade) :]
        new[:, :fade] = new[:, :fade] * self._rise + self._falling * (1.0 - self._rise)
        self._falling[:] = new[:, n:]
        return new[:, :n]

    def reset(self) -> None:
        """Start afresh."""
        super().reset()
        self._heard[:] = 0.0
        self._falling[:] = 0.0


def _returned(plugin: Any, audio: np.ndarray, sample_rate: float) -> np.ndarray:
    """What a plugin returns for a block, as `[2, k]` also when k is 0 (pedalboard then drops the channels)."""
    out = plugin.process(audio, sample_rate, CHUNK, False)
    return out if out.size else np.zeros((2, 0), np.float32)


def prime(plugin: Any, sample_rate: float) -> int:
    """Reset a plugin and show it the largest block; returns how many samples of it are still inside."""
    plugin.reset()
    return CHUNK - _returned(plugin, np.zeros((2, CHUNK), np.float32), sample_rate).shape[1]


def measured_lag(plugin: Any, sample_rate: float) -> tuple[int, int]:
    """How far a plugin's return lags on the grid: after priming, and at most from then on.

    Tried with noise until the lag has not grown for a third of a second, and four seconds at most.
    """
    primed = prime(plugin, sample_rate)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, GRID)).astype(np.float32)
    lag = later = n_steady = 0
    for _ in range(int(4.0 * sample_rate) // GRID):
        lag += GRID - _returned(plugin, noise, sample_rate).shape[1]
        n_steady = n_steady + GRID if lag <= later else 0
        later = max(later, lag)
        if 3 * n_steady > sample_rate:
            break
    return primed, later
