"""A pitch shifter that plays live: two read heads gliding through a delay line, one fading in as the other fades out.

The method is that of M. Puckette, "The Theory and Technique of Electronic Music" (2007), section 9.3, with
cubic (Hermite) interpolation. It is used because pedalboard's own pitch shifter (0.9.26) gives silence when
fed block by block: it clears its priming delay at the start of each call.
"""

from __future__ import annotations

import math

import numpy as np

from neuralsynth.sound.compiled import compiled

WINDOW_SECONDS = 0.060


class PitchShifter:
    """Shifts `float32 [2, n]` blocks by `semitones`; the sound is half a window late on average."""

    def __init__(self, sample_rate: float, semitones: float):
        self._window = max(round(WINDOW_SECONDS * sample_rate), 8)
        self.latency_samples = self._window // 2
        self._glide = (1.0 - 2.0 ** (semitones / 12.0)) / self._window
        self._line = np.zeros((2, 1 << math.ceil(math.log2(self._window + 4))), np.float32)
        self._state = np.zeros(2)
        self.process(np.zeros((2, 0), np.float32))  # compiles here, not on the audio thread

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the shifted block as a new array. [audio thread]"""
        out = np.empty_like(audio)
        _shift(audio, out, self._line, self._state, self._window, self._glide)
        return out

    def reset(self) -> None:
        """Forget all earlier sound, NaN included."""
        self._line[:] = 0.0
        self._state[:] = 0.0


@compiled
def _read(line, delay, position):
    """Sample `delay` (at least 1) before `position`, between its neighbours by a cubic through four of them."""
    mask = line.shape[0] - 1
    whole = int(delay)
    t = delay - whole
    newest = position - whole
    a, b = line[(newest + 1) & mask], line[newest & mask]
    c, d = line[(newest - 1) & mask], line[(newest - 2) & mask]
    slope_b, slope_c = 0.5 * (c - a), 0.5 * (d - b)
    return b + t * (slope_b + t * (3.0 * (c - b) - 2.0 * slope_b - slope_c + t * (2.0 * (b - c) + slope_b + slope_c)))


@compiled
def _shift(audio, out, line, state, window, glide):
    mask = line.shape[1] - 1
    position, phase = int(state[0]), state[1]
    for i in range(audio.shape[1]):
        other = phase + 0.5 if phase < 0.5 else phase - 0.5
        weight = math.sin(math.pi * phase) ** 2  # the two weights add up to one
        for c in range(audio.shape[0]):
            line[c, position & mask] = audio[c, i]
            near = _read(line[c], 1.0 + phase * (window - 1), position)
            far = _read(line[c], 1.0 + other * (window - 1), position)
            out[c, i] = weight * near + (1.0 - weight) * far
        position = (position + 1) & mask
        phase += glide
        phase -= math.floor(phase)
    state[0], state[1] = position, phase
