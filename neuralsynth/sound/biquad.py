"""The five plain filters of the effect chain: first-order low- and high-pass, two shelves and a peak.

Coefficients are those of R. Bristow-Johnson's "Audio EQ Cookbook" and of the bilinear transform, the same
that pedalboard's filters use, and the sound is the same to rounding. They are computed here because
pedalboard's (JUCE's) set a small filter state to zero at the end of each block, so that samples depend on the cut
into blocks. This kernel has no notion of a block.
"""

from __future__ import annotations

import math

import numpy as np

from neuralsynth.sound.compiled import compiled

_SILENT_STATE = 1e-20  # -400 dB: a state below it becomes zero, before it gets to slow denormal numbers


def lowpass(sample_rate: float, cutoff_frequency_hz: float) -> np.ndarray:
    """First order, 6 dB per octave above the cutoff. All five return `[b0, b1, b2, a1, a2]` with a0 = 1."""
    n = math.tan(math.pi * cutoff_frequency_hz / sample_rate)
    return np.array([n, n, 0.0, n - 1.0, 0.0]) / np.array([n + 1.0, n + 1.0, 1.0, n + 1.0, 1.0])


def highpass(sample_rate: float, cutoff_frequency_hz: float) -> np.ndarray:
    """First order, 6 dB per octave below the cutoff."""
    n = math.tan(math.pi * cutoff_frequency_hz / sample_rate)
    return np.array([1.0, -1.0, 0.0, n - 1.0, 0.0]) / np.array([n + 1.0, n + 1.0, 1.0, n + 1.0, 1.0])


def low_shelf(sample_rate: float, cutoff_frequency_hz: float, gain_db: float, q: float) -> np.ndarray:
    """`gain_db` below the cutoff, nothing above."""
    return _shelf(1.0, sample_rate, cutoff_frequency_hz, gain_db, q)


def high_shelf(sample_rate: float, cutoff_frequency_hz: float, gain_db: float, q: float) -> np.ndarray:
    """`gain_db` above the cutoff, nothing below."""
    return _shelf(-1.0, sample_rate, cutoff_frequency_hz, gain_db, q)


def _shelf(side: float, sample_rate: float, cutoff_hz: float, gain_db: float, q: float) -> np.ndarray:
    root = 10.0 ** (gain_db / 40.0)
    omega = 2.0 * math.pi * cutoff_hz / sample_rate
    cosine, beta = side * math.cos(omega), math.sin(omega) * math.sqrt(root) / q
    up, down = root + 1.0, root - 1.0
    a0 = up + down * cosine + beta
    b0, b1, b2 = up - down * cosine + beta, 2.0 * side * (down - up * cosine), up - down * cosine - beta
    a1, a2 = -2.0 * side * (down + up * cosine), up + down * cosine - beta
    return np.array([root * b0, root * b1, root * b2, a1, a2]) / a0


def peak(sample_rate: float, cutoff_frequency_hz: float, gain_db: float, q: float) -> np.ndarray:
    """`gain_db` around the cutoff, in a band `cutoff / q` wide."""
    root = 10.0 ** (gain_db / 40.0)
    omega = 2.0 * math.pi * cutoff_frequency_hz / sample_rate
    alpha, cosine = math.sin(omega) / (2.0 * q), math.cos(omega)
    numerator = [1.0 + alpha * root, -2.0 * cosine, 1.0 - alpha * root]
    return np.array([*numerator, -2.0 * cosine, 1.0 - alpha / root]) / (1.0 + alpha / root)


class Biquad:
    """One filter over `float32 [2, n]`, in double precision (transposed direct form II)."""

    def __init__(self, coefficients: np.ndarray):
        self._coefficients = np.asarray(coefficients, np.float64)
        self._state = np.zeros((2, 2))
        self.process(np.zeros((2, 0), np.float32))  # compiles here, not on the audio thread

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the filtered block as a new array. [audio thread]"""
        out = np.empty_like(audio)
        _run(audio, out, self._coefficients, self._state)
        return out

    def reset(self) -> None:
        """Forget all earlier sound, NaN included."""
        self._state[:] = 0.0


@compiled
def _run(audio, out, coefficients, state):
    """Both channels side by side: one sample waits for the last, the two channels do not wait for each other."""
    b0, b1, b2, a1, a2 = coefficients
    s1, s2, t1, t2 = state[0, 0], state[0, 1], state[1, 0], state[1, 1]
    for i in range(audio.shape[1]):
        x, u = float(audio[0, i]), float(audio[1, i])
        y, v = b0 * x + s1, b0 * u + t1
        s1, t1 = b1 * x - a1 * y + s2, b1 * u - a1 * v + t2
        s2, t2 = b2 * x - a2 * y, b2 * u - a2 * v
        s1 = s1 if abs(s1) >= _SILENT_STATE else 0.0
        s2 = s2 if abs(s2) >= _SILENT_STATE else 0.0
        t1 = t1 if abs(t1) >= _SILENT_STATE else 0.0
        t2 = t2 if abs(t2) >= _SILENT_STATE else 0.0
        out[0, i], out[1, i] = y, v
    state[0, 0], state[0, 1], state[1, 0], state[1, 1] = s1, s2, t1, t2
