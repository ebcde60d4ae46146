"""How the level moves inside the first windows of a note, where windows long enough to part the partials are too long.

A window of four cycles lasts 60 ms at the bottom of a cello. Within it the level in octave-wide bands is followed every
millisecond, and what the window measured is shaped by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BAND_EDGES_HZ = np.array([0.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, np.inf])
STEP_SECONDS = 0.001
WINDOW_SECONDS = 0.004


@dataclass(frozen=True)
class AttackLevels:
    """Power every `STEP_SECONDS` from the onset in a few wide bands."""

    power: np.ndarray  # [N, 6]

    def shape(self, frame: np.ndarray, centre: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Power at times `frame` over what Hann windows at `centre`, `length` long, saw (seconds, `[T]`): `[T, 6]`."""
        times = np.arange(len(self.power)) * STEP_SECONDS
        here = np.stack([np.interp(frame, times, p) for p in self.power.T], axis=1)
        x = np.clip((times - centre[:, None]) / length[:, None], -0.5, 0.5)
        weight = np.cos(np.pi * x) ** 4
        before = np.arange(-0.5, 0.0, 0.01)  # the part of a window that reaches ahead of the onset sees nothing
        missing = np.where(before * length[:, None] + centre[:, None] < 0.0, np.cos(np.pi * before) ** 4, 0.0)
        total = weight.sum(axis=1) * STEP_SECONDS + missing.sum(axis=1) * 0.01 * length
        seen = (weight @ self.power) * STEP_SECONDS / total[:, None]
        return here / np.maximum(seen, 1e-20)


def attack_levels(audio: np.ndarray, sample_rate: float, pitch_hz: float, seconds: float) -> AttackLevels:
    """Follow the level of `audio` `[S]` (from its onset) for `seconds`, smoothed over a cycle of the pitch."""
    from scipy.fft import rfft
    from scipy.ndimage import convolve1d

    size = 2 * round(0.5 * WINDOW_SECONDS * sample_rate)
    n = int(seconds / STEP_SECONDS) + 1
    start = np.round(np.arange(n) * STEP_SECONDS * sample_rate).astype(int)
    used = audio[: start[-1] + size]
    padded = np.pad(used, (size // 2, start[-1] + 2 * size - len(used)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[start]
    power = np.abs(rfft(frames * np.hanning(size), axis=1, workers=1)) ** 2
    band = np.searchsorted(BAND_EDGES_HZ, np.arange(power.shape[1]) * sample_rate / size, side="right") - 1
    power = np.stack([power[:, band == b].sum(axis=1) for b in range(len(BAND_EDGES_HZ) - 1)], axis=1)
    width = 2 * int(0.5 / pitch_hz / STEP_SECONDS) + 3
    kernel = np.hanning(width + 2)[1:-1]
    inside = convolve1d(np.ones(n), kernel, mode="constant")
    return AttackLevels(convolve1d(power, kernel, axis=0, mode="constant") / inside[:, None])


def band_of(frequency_hz: np.ndarray) -> np.ndarray:
    """Index of the wide band that holds each frequency."""
    return np.searchsorted(BAND_EDGES_HZ, frequency_hz, side="right") - 1
