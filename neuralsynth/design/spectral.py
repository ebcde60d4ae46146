"""The descriptors that are read from a sound's spectra."""

from __future__ import annotations

import numpy as np

from neuralsynth.analysis.swipe import LOWEST_HZ, candidates_hz, peak_hz
from neuralsynth.design.frames import Frames

#: Strengths of a series of harmonics from which a pitch is believed at all, and fully.
_LEAST_STRENGTH, _FULL_STRENGTH = 0.15, 0.5
#: A lone partial above this is the pitch where no series is seen: the highest notes have nothing else.
_LONE_HZ, _LONE_SHARE, _LONE_CONFIDENCE, _NO_SERIES = 1200.0, 0.35, 0.2, 0.3
#: The pitch is read at the strongest of so many harmonics,
_REFINING_HARMONICS, _HALF_SEMITONE = 4, 2.0 ** (0.5 / 12.0)  # within half a semitone.
_SPECTRUM_FLOOR_DB = 60.0  # below the strongest bin: what counts for the centroid
_NOISE_BINS, _WEAK_BINS = 32, 9  # bins side by side, and how many of them, the weakest, tell the noise
#: Mean of the weakest bins of white noise over that of all, measured for the mean of 1 to 8 windows.
_WEAK_SHARES = (0.178, 0.338, 0.433, 0.494, 0.539, 0.570, 0.597, 0.625)
_NOISE_FLOOR_DB = -80.0
_PARTIALS, _PARTIALS_DB = 24, 50.0  # strongest peaks that can be rough, so far below the strongest
_SETHARES = (3.5, 5.75, 0.24, 0.021, 19.0)
_WORST_TWO = 0.09  # roughness of two equal sines at the worst distance, over the sum of their amplitudes
_MOVING_HOPS, _MOVING_DB = 4, 50.0  # hops in a step, half a window; how far below the loudest a band is watched


def pitch(frames: Frames, evidence: np.ndarray) -> tuple[float | None, float]:
    """The fundamental in Hz and how far to trust it, 0..1; no pitch where there is no sign of one."""
    best = int(np.argmax(evidence))
    strength = float(evidence[best])
    if strength < _NO_SERIES:
        lone_hz = _lone_partial_hz(frames)
        if lone_hz is not None and lone_hz > 8.0 * candidates_hz()[best]:
            return lone_hz, _LONE_CONFIDENCE
    if strength < _LEAST_STRENGTH:
        return None, 0.0
    confidence = (strength - _LEAST_STRENGTH) / (_FULL_STRENGTH - _LEAST_STRENGTH)
    return _refined_hz(frames, peak_hz(best, evidence)), min(confidence, 1.0)


def _refined_hz(frames: Frames, near_hz: float) -> float:
    """The pitch by its strongest low harmonic, where that has a peak of its own within half a semitone."""
    power, best, found_hz = frames.fine_power, 0.0, near_hz
    for harmonic in range(1, _REFINING_HARMONICS + 1):
        centre = harmonic * near_hz / frames.fine_bin_hz
        first, last = int(centre / _HALF_SEMITONE), int(centre * _HALF_SEMITONE) + 1
        if first < 1 or last >= len(power) - 1:
            break
        top = first + int(np.argmax(power[first : last + 1]))
        left, middle, right = (float(x) for x in power[top - 1 : top + 2])
        if middle > best and middle > max(left, 0.0) and middle >= right and min(left, right) > 0.0:
            best = middle
            bend = np.log(left * right / middle**2)
            offset = 0.5 * float(np.log(left / right) / bend) if bend < 0.0 else 0.0
            found_hz = (top + offset) * frames.fine_bin_hz / harmonic
    return found_hz


def _lone_partial_hz(frames: Frames) -> float | None:
    """A high partial that stands alone once the spectrum is tilted up by 6 dB per octave."""
    tilted = np.sqrt(frames.fine_power) * np.arange(len(frames.fine_power))
    strongest = int(np.argmax(tilted))
    others = tilted.copy()
    others[int(strongest * 0.94) : int(strongest * 1.06) + 1] = 0.0
    alone = float(others.max()) < _LONE_SHARE * float(tilted[strongest])
    hz = strongest * frames.fine_bin_hz
    return hz if alone and hz > _LONE_HZ else None


def centroid_and_bandwidth_hz(frames: Frames) -> tuple[float, float]:
    """Mean and standard deviation of frequency, weighted by the magnitudes of the mean spectrum.

    Magnitudes count by what they have above a floor, so that faint noise over many bins does not outweigh a tone.
    """
    magnitude = np.sqrt(frames.power)
    weight = np.maximum(magnitude - float(magnitude.max()) * 10.0 ** (-_SPECTRUM_FLOOR_DB / 20.0), 0.0)
    hz = np.arange(len(weight)) * frames.bin_hz
    total = float(weight.sum())
    centroid = float((weight * hz).sum()) / total
    return centroid, float(np.sqrt((weight * (hz - centroid) ** 2).sum() / total))


def noise_db(frames: Frames) -> float:
    """Energy of the noise over that of everything, dB.

    The noise in each run of bins is told from its weaker bins: the power of a bin of noise averaged over a few windows
    is nearly the same for all, that of a bin between partials is nearly nothing.
    """
    power = frames.fine_power[round(LOWEST_HZ / frames.fine_bin_hz) :]
    runs = power[: len(power) // _NOISE_BINS * _NOISE_BINS].reshape(-1, _NOISE_BINS)
    weak = np.partition(runs, _WEAK_BINS - 1, axis=1)[:, :_WEAK_BINS].mean(axis=1, dtype=np.float64)
    noise = float(weak.sum()) * _NOISE_BINS / _WEAK_SHARES[frames.n_fine_windows - 1]
    share = noise / max(float(runs.sum(dtype=np.float64)), 1e-30)
    return float(np.clip(10.0 * np.log10(max(share, 1e-12)), _NOISE_FLOOR_DB, 0.0))


def roughness(frames: Frames) -> float:
    """Beating of the strongest partials: each pair by its weaker amplitude, over the sum of all amplitudes.

    Sethares, "Local consonance and the relationship between timbre and scale", JASA 94(3), 1993.
    """
    magnitude = np.sqrt(frames.fine_power.astype(np.float64))
    inner = magnitude[1:-1]
    peaks = 1 + np.flatnonzero(
        (inner > magnitude[:-2])
        & (inner >= magnitude[2:])
        & (inner > float(magnitude.max()) * 10.0 ** (-_PARTIALS_DB / 20.0))
    )
    peaks = np.sort(peaks[np.argsort(-magnitude[peaks], kind="stable")[:_PARTIALS]])
    if len(peaks) < 2:
        return 0.0
    left, middle, right = (magnitude[peaks + i] for i in (-1, 0, 1))
    offset = 0.5 * (left - right) / np.minimum(left - 2.0 * middle + right, -1e-30)
    hz = (peaks + np.clip(offset, -0.5, 0.5)) * frames.fine_bin_hz
    first, second = np.triu_indices(len(peaks), 1)
    slow, fast, scale, slope, base = _SETHARES
    away = scale * (hz[second] - hz[first]) / (slope * hz[first] + base)
    beating = np.minimum(middle[first], middle[second]) * (np.exp(-slow * away) - np.exp(-fast * away))
    return float(beating.sum() / middle.sum()) / _WORST_TWO


def movement_db_per_second(frames: Frames) -> float:
    """Mean over bands and time of how fast a band's level changes, less what it changes on average.

    From 50 ms after the onset on, while a band is within 50 dB of the loudest; what fades counts less and less.
    """
    width = 2 * _MOVING_HOPS
    if len(frames.bands) < width + 4 * _MOVING_HOPS:
        return 0.0
    # Smoothed by a Hann window, so that the periods of a low note, shorter than the hop's, are no movement.
    window = np.sin(np.pi * (np.arange(width) + 0.5) / width) ** 2 / _MOVING_HOPS
    smoothed = np.lib.stride_tricks.sliding_window_view(frames.bands, width, axis=0)[_MOVING_HOPS::_MOVING_HOPS]
    power = np.einsum("tbw,w->tb", smoothed.astype(np.float64), window)
    floor = max(float(power.max()), 1e-30) * 10.0 ** (-_MOVING_DB / 10.0)
    level_db = 10.0 * np.log10(power / floor + 1e-3)
    change = np.diff(level_db, axis=0)
    weight = np.clip(np.minimum(level_db[:-1], level_db[1:]) / 20.0, 0.0, 1.0)
    total = np.maximum(weight.sum(axis=0), 1e-9)
    steady = (weight * change).sum(axis=0) / total
    moves = float((weight * np.abs(change - steady)).sum()) / max(float(weight.sum()), 1e-9)
    return moves / (_MOVING_HOPS * frames.hop_seconds)
