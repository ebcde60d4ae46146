"""The modes of a drum: which frequencies ring in all its hits, and how loud each is over time in one of them.

The partials of a skin, a bar or a plate follow no series. So the frequencies are peaks of the mean spectrum of all
hits of a piece, along their pitch sweeps, and the piece has them in common: a drum that is struck harder or elsewhere
has the same modes at other levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.sweep import Sweep

LOWEST_HZ, HIGHEST_HZ = 25.0, 12_000.0
#: A mode stands out of the spectrum around it (half an octave to both sides) by so much, and from others so far.
LEAST_DB, LEAST_HZ, LEAST_RATIO = 1.0, 12.0, 0.03
_SPECTRUM_SIZE = 1 << 17
_SKIPPED_SECONDS, _HEARD_SECONDS, _RISE_SECONDS = 0.004, 0.6, 0.01
_STEPS, _STEPS_AROUND = 1200, 91  # of a logarithmic scale over the audible range
#: The window in which a mode's level is measured: this share of the time since the stroke, between these.
_GROW, _SHORTEST_CYCLES, _LONGEST_SECONDS, _LONGEST_CYCLES = 0.5, 2.0, 0.06, 4.0
_AHEAD = 0.42  # of a window: so near to the stroke its middle may come


@dataclass(frozen=True)
class Hit:
    """One recorded stroke, from its onset on."""

    audio: np.ndarray  # [S]
    sample_rate: float
    sweep: Sweep

    @property
    def cycles(self) -> np.ndarray:
        """Cycles of the lowest mode at each sample, `[S]`."""
        return self.sweep.cycles(np.arange(len(self.audio)) / self.sample_rate)


def find_modes(hits: Sequence[Hit], reference_hz: float, n_most: int, first_hz: float = 0.0) -> np.ndarray:
    """Frequencies in Hz of the modes that hits of one piece share, the clearest first, at most `n_most`.

    Args:
        reference_hz: what the lowest mode of each hit is moved to.
        first_hz: a mode that is known; 0 is none.
    """
    hz, level_db = _mean_spectrum(hits, reference_hz)
    around_db = _around(hz, level_db)
    peaks = 1 + np.flatnonzero((level_db[1:-1] > level_db[:-2]) & (level_db[1:-1] > level_db[2:]))
    clear = level_db[peaks] - around_db[peaks] > LEAST_DB
    peaks = peaks[clear & (hz[peaks] > LOWEST_HZ) & (hz[peaks] < HIGHEST_HZ)]
    found = [first_hz] if first_hz else []
    for peak in peaks[np.argsort(0.5 * around_db[peaks] - level_db[peaks])]:
        if len(found) == n_most:
            break
        if all(abs(hz[peak] - other) > max(LEAST_HZ, LEAST_RATIO * other) for other in found):
            found.append(float(hz[peak]))
    return np.array(found)


def _mean_spectrum(hits: Sequence[Hit], reference_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies `[F]` and the mean spectrum in dB `[F]` of hits as loud as each other, their sweeps taken out."""
    from scipy.fft import rfft

    rate = max(hit.sample_rate for hit in hits)
    total = np.zeros(_SPECTRUM_SIZE // 2 + 1)
    for hit in hits:
        seconds = hit.cycles / reference_hz
        even = np.interp(np.arange(_SKIPPED_SECONDS, min(seconds[-1], _HEARD_SECONDS), 1.0 / rate), seconds, hit.audio)
        window = np.hanning(2 * len(even))[len(even) :].copy()
        n_rise = min(int(_RISE_SECONDS * rate), len(even) // 4)
        window[:n_rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(n_rise) / max(n_rise, 1))
        power = np.abs(rfft(even * window, _SPECTRUM_SIZE, workers=1)) ** 2
        total += power / max(power.sum(), 1e-30)
    hz = np.arange(len(total)) * rate / _SPECTRUM_SIZE
    return hz, 10.0 * np.log10(total / len(hits) + 1e-20)


def _around(hz: np.ndarray, level_db: np.ndarray) -> np.ndarray:
    """The median level around each frequency of a spectrum, `[F]`."""
    from scipy.ndimage import median_filter, uniform_filter1d

    scale = np.geomspace(20.0, 20_000.0, _STEPS)
    smooth = np.interp(scale, hz, uniform_filter1d(level_db, 3))
    return np.interp(hz, scale, median_filter(smooth, _STEPS_AROUND))


def mode_levels(hit: Hit, ratios: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes `[T, K]` of modes at `times` in seconds, and the sound `[S]` that is left without them.

    Args:
        ratios: mode frequency over that of the lowest mode, `[K]`; those first are taken off before the next.
    """
    rest, cycles = hit.audio.copy(), hit.cycles
    samples, at = np.arange(len(rest)), times * hit.sample_rate
    amplitudes = np.zeros((len(times), len(ratios)))
    for k, ratio in enumerate(ratios):
        turn = np.exp(-2j * np.pi * ratio * cycles)
        hz = ratio * hit.sweep.end_hz
        longest = max(_LONGEST_SECONDS, _LONGEST_CYCLES / hz)
        lengths = np.clip(_GROW * times, min(_SHORTEST_CYCLES / hz, longest), longest) * hit.sample_rate
        values = _windowed_means(rest * turn, at, np.maximum(lengths, 8.0))
        amplitudes[:, k] = np.abs(values)
        course = np.interp(samples, at, values.real) + 1j * np.interp(samples, at, values.imag)
        rest -= np.real(course * np.conj(turn))
    return amplitudes, rest


def _windowed_means(signal: np.ndarray, at: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Twice the mean of a complex signal under Hann windows around sample positions, `[T]`."""
    values = np.zeros(len(at), complex)
    for i, (place, length) in enumerate(zip(np.maximum(at, _AHEAD * lengths), lengths, strict=True)):
        start = int(place - 0.5 * length)
        inside = np.arange(max(start, 0), min(start + int(length), len(signal)))
        if len(inside) >= 4:
            window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (inside - start + 0.5) / int(length))
            values[i] = 2.0 * np.dot(signal[inside], window) / window.sum()
    return values
