"""How the pitch of a drum falls after the stroke: a stretched skin, or the oscillator of a drum machine.

The frequency goes exponentially from `(1 + depth)` times to once the one it ends at. The curve is found by matched
chirps: the one along which a narrow window gathers most of the lowest mode's energy (Mann and Haykin, "The chirplet
transform", IEEE Transactions on Signal Processing 43(11), 1995, with one chirp).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

LOWEST_HZ, HIGHEST_HZ = 25.0, 400.0
#: A drum has a pitch that can fall where this share of its energy lies around one low frequency.
LEAST_SHARE = 0.4
#: A fall is believed where it gathers so much more energy than a constant pitch.
LEAST_GAIN = 1.4
_DEPTHS = (0.12, 0.25, 0.5, 0.8, 1.2, 2.0, 3.0)
_SECONDS = (0.006, 0.012, 0.025, 0.05, 0.1, 0.2)
_SEMITONES = np.linspace(-2.0, 2.0, 9)
_HEARD_SECONDS, _RATE_HZ = 0.4, 4000.0


@dataclass(frozen=True)
class Sweep:
    """The frequency `end_hz * (1 + depth * exp(-t / seconds))`."""

    end_hz: float
    depth: float = 0.0
    seconds: float = 1.0

    def cycles(self, times: np.ndarray) -> np.ndarray:
        """Cycles since time 0, at `times` in seconds."""
        return self.end_hz * (times + self.depth * self.seconds * (1.0 - np.exp(-times / self.seconds)))

    def cents(self, times: np.ndarray, reference_hz: float) -> np.ndarray:
        """Pitch at `times` above a reference."""
        hz = self.end_hz * (1.0 + self.depth * np.exp(-times / self.seconds))
        return 1200.0 * np.log2(hz / reference_hz)


def lowest_mode(audio: np.ndarray, sample_rate: float) -> tuple[float, float]:
    """Frequency in Hz of the strongest low partial of a hit `[S]` (from its onset), and its share of the energy."""
    from scipy.fft import rfft

    body = audio[int(0.015 * sample_rate) : int(0.5 * sample_rate)]
    if len(body) < 0.05 * sample_rate:
        body = audio
    size = 1 << max(16, int(np.ceil(np.log2(len(body)))))
    power = np.abs(rfft(body * np.hanning(2 * len(body))[len(body) :], size, workers=1)) ** 2
    hz = np.arange(len(power)) * sample_rate / size
    peak = float(hz[np.argmax(power * ((hz > LOWEST_HZ) & (hz < HIGHEST_HZ)))])
    near = (hz > 0.75 * peak) & (hz < 1.33 * peak)
    return peak, float(power[near].sum() / max(power.sum(), 1e-30))


def find_sweep(audio: np.ndarray, sample_rate: float, near_hz: float) -> Sweep:
    """The sweep of the lowest mode of a hit `[S]`, which ends within two semitones of `near_hz`."""
    low, rate = _lowpassed(audio, sample_rate, near_hz)
    ends = near_hz * 2.0 ** (_SEMITONES / 12.0)
    steady = max((Sweep(float(end)) for end in ends), key=lambda sweep: _gathered(low, rate, sweep))
    falling = (Sweep(float(end), depth, seconds) for end, depth, seconds in product(ends, _DEPTHS, _SECONDS))
    best = max(falling, key=lambda sweep: _gathered(low, rate, sweep))
    return best if _gathered(low, rate, best) > LEAST_GAIN * _gathered(low, rate, steady) else steady


def _lowpassed(audio: np.ndarray, sample_rate: float, near_hz: float) -> tuple[np.ndarray, float]:
    """The first moments of a hit with what lies far above its lowest mode taken off, at a lower rate."""
    from scipy.signal import butter, sosfiltfilt

    step = max(1, int(sample_rate / _RATE_HZ))
    cut = min(6.0 * near_hz, 1500.0, 0.4 * sample_rate)
    margin = int(0.02 * sample_rate)
    padded = np.pad(audio[: int(_HEARD_SECONDS * sample_rate)], margin)
    low = sosfiltfilt(butter(4, cut, fs=sample_rate, output="sos"), padded)[margin:-margin]
    return low[::step], sample_rate / step


def _gathered(low: np.ndarray, rate: float, sweep: Sweep) -> float:
    """Energy that a window of three cycles, moved along a sweep, finds at its frequency."""
    from scipy.signal import fftconvolve

    turned = low * np.exp(-2j * np.pi * sweep.cycles(np.arange(len(low)) / rate))
    window = np.hanning(max(4, int(3.0 / sweep.end_hz * rate)) + 2)[1:-1]
    return float(np.sum(np.abs(fftconvolve(turned, window / window.sum(), "same")) ** 2))
