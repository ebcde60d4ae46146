"""SWIPE': how much a spectrum looks like the harmonics of each pitch, 25 Hz to 5.2 kHz.

Camacho and Harris, "A sawtooth waveform inspired pitch estimator for speech and music", JASA 124(3), 2008. Does the
spectrum have its peaks at the first and the prime harmonics, and its valleys between? Here on the spectrum averaged
over the sound given, on candidates 1/48 octave apart, without interpolated frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

LOWEST_HZ, HIGHEST_HZ = 25.0, 5200.0
STEPS_PER_OCTAVE = 48
_GRID_TOP_HZ = 10_000.0


@lru_cache(maxsize=1)
def candidates_hz() -> np.ndarray:
    """The pitches that are tried, `[K]`, increasing."""
    steps = int(STEPS_PER_OCTAVE * np.log2(HIGHEST_HZ / LOWEST_HZ)) + 1
    return LOWEST_HZ * 2.0 ** (np.arange(steps) / STEPS_PER_OCTAVE)


@lru_cache(maxsize=1)
def _erb_grid_hz() -> np.ndarray:
    """Frequencies a tenth of an equivalent rectangular bandwidth apart, 12.5 Hz to 10 kHz."""
    low, high = 21.4 * np.log10(1.0 + np.array([LOWEST_HZ / 2.0, _GRID_TOP_HZ]) / 229.0)
    return 229.0 * (10.0 ** (np.arange(low, high, 0.1) / 21.4) - 1.0)


@lru_cache(maxsize=1)
def _kernels() -> np.ndarray:
    """Kernels `[K, F]`: cosine lobes at harmonics 1, 2, 3, 5, 7, 11 …, half negative lobes between."""
    grid, kernels = _erb_grid_hz(), []
    primes = [1] + [n for n in range(2, 400) if all(n % d for d in range(2, int(n**0.5) + 1))]
    for pitch_hz in candidates_hz():
        q = grid / pitch_hz
        kernel = np.zeros_like(grid)
        for harmonic in primes:
            if harmonic > max(q[-1] - 0.75, 1.0):
                break
            away = np.abs(q - harmonic)
            kernel[away < 0.25] = np.cos(2.0 * np.pi * q[away < 0.25])
            valley = (away > 0.25) & (away < 0.75)
            kernel[valley] += np.cos(2.0 * np.pi * q[valley]) / 2.0
        kernel /= np.sqrt(grid)
        kernels.append(kernel / np.linalg.norm(kernel[kernel > 0]))
    return np.array(kernels)


def series_evidence(
    audio: np.ndarray, sample_rate: int, sizes: Sequence[int] | None = None, most_windows: int = 32
) -> np.ndarray:
    """Strength of every candidate, `[K]`: one at most, each read at the window eight of its periods long.

    Args:
        audio: mono `[S]`, no shorter than the smallest size.
        sizes: window lengths, powers of two, increasing  [default: all that fit].
        most_windows: about so many are averaged.
    """
    wanted = sizes or [2**k for k in range(6, 18)]
    sizes = [size for size in wanted if size <= len(audio) and size < 0.6 * sample_rate]
    octaves = np.log2(8.0 * sample_rate / candidates_hz())
    position = np.interp(octaves, np.log2(sizes), np.arange(len(sizes)))
    evidence = np.zeros(len(position))
    for number, size in enumerate(sizes):
        weight = 1.0 - np.abs(position - number)
        read = np.flatnonzero(weight > 0.0)  # neighbours: candidates grow, positions fall
        if len(read):
            spectrum = _loudness_spectrum(audio, sample_rate, size, most_windows)
            some = slice(read[0], read[-1] + 1)
            evidence[some] += weight[some] * _strength(spectrum, some)
    return evidence


def _strength(spectrum: np.ndarray, candidates: slice) -> np.ndarray:
    """The spectrum against some kernels, `[K']`; summed without BLAS, whose last digits depend on its threads."""
    return np.einsum("kf,f->k", _kernels()[candidates], spectrum)


def _loudness_spectrum(audio: np.ndarray, sample_rate: int, size: int, most_windows: int) -> np.ndarray:
    """Square root of the magnitudes on the ERB grid, mean over at most about `most_windows`, norm 1, `[F]`."""
    from scipy.fft import rfft

    n_windows = (len(audio) - size) // (size // 2) + 1
    starts = (size // 2) * np.arange(0, n_windows, max(1, n_windows // (most_windows // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(audio, size)[starts] * _window(size).astype(audio.dtype)
    spectra = rfft(windows, axis=1, workers=1)
    root = np.sqrt(np.sqrt(spectra.real**2 + spectra.imag**2)).mean(axis=0)  # a third of the time of `abs`
    on_grid = np.interp(_erb_grid_hz(), np.arange(size // 2 + 1) * (sample_rate / size), root, right=0.0)
    return on_grid / max(float(np.linalg.norm(on_grid)), 1e-12)


@lru_cache(maxsize=16)
def _window(size: int) -> np.ndarray:
    return np.hanning(size)


def peak_hz(best: int, series: np.ndarray) -> float:
    """The top of the parabola through the highest series evidence within 3/8 semitone of candidate `best`."""
    first = max(best - 1, 0)
    top = first + int(np.argmax(series[first : best + 2]))
    offset = 0.0
    if 0 < top < len(series) - 1:
        left, middle, right = series[top - 1 : top + 2]
        bend = left - 2.0 * middle + right
        offset = float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
    return float(candidates_hz()[top] * 2.0 ** (offset / STEPS_PER_OCTAVE))
