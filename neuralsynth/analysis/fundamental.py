"""The fundamental of a note: where it lies near the nominal pitch, how stiff the string is, how it moves.

`Pitch` is the result; `find_pitch` looks at one long spectrum of the loud part, `follow` at the phase advance of the
strong partials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.clock import PitchClock, windowed_spectra
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import stretched_ratios

#: How far from the nominal note a fundamental is looked for.
SEARCH_CENTS = 110.0
SEARCH_STEP_CENTS = 2.0
MAX_SEARCH_PARTIALS = 40
#: Stiffness candidates of strings; thick piano strings reach about 1e-3 in the bass, 1e-2 at the top.
STIFFNESS = np.concatenate([[0.0], np.geomspace(2e-5, 1e-2, 50)])
#: A stiff string must explain the spectrum this much better than a harmonic one.
STIFFNESS_GAIN = 1.03


@dataclass(frozen=True)
class Pitch:
    """One estimate for the loud part of a note."""

    pitch_hz: float
    inharmonicity: float


def find_pitch(loud: np.ndarray, sample_rate: float, nominal_hz: float) -> Pitch:
    """Fundamental and stiffness that explain the spectrum of `loud` `[S]` best, near `nominal_hz`.

    Raises:
        RecordingError: no partial stands out of the noise near the nominal pitch.
    """
    bins, spectrum = _compressed_spectrum(loud, sample_rate)
    n = int(np.clip(0.45 * sample_rate / nominal_hz, 1, MAX_SEARCH_PARTIALS))
    cents = np.arange(-SEARCH_CENTS, SEARCH_CENTS + 1, SEARCH_STEP_CENTS)
    pitches = nominal_hz * 2.0 ** (cents / 1200.0)
    ratios = np.stack([stretched_ratios(n, b) for b in STIFFNESS])  # [S, K]
    weight = 1.0 / np.sqrt(np.arange(1, n + 1))
    score = np.interp(ratios[:, None, :] * pitches[None, :, None], bins, spectrum) @ weight
    best = score.max(axis=1)
    stiff = int(np.argmax(best))
    if best[stiff] < STIFFNESS_GAIN * best[0] or n < 3:
        stiff = 0
    return Pitch(float(pitches[np.argmax(score[stiff])]), float(STIFFNESS[stiff]))


def _compressed_spectrum(loud: np.ndarray, sample_rate: float) -> tuple[np.ndarray, np.ndarray]:
    from scipy.fft import next_fast_len, rfft

    size = next_fast_len(4 * len(loud))
    magnitude = np.abs(rfft(loud * np.hanning(len(loud)), size, workers=1))
    width = max(1, round(4 * 300.0 / sample_rate * len(loud)))
    floor = _running_mean(magnitude, width)
    return np.arange(len(magnitude)) * sample_rate / size, np.log1p(magnitude / np.maximum(floor, 1e-9))


def _running_mean(x: np.ndarray, width: int) -> np.ndarray:
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(x, width, mode="nearest")


def follow(audio: np.ndarray, sample_rate: float, clock: PitchClock, ratios: np.ndarray, step_seconds: float,
           max_step_cycles: float, smooth_seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far the clock's pitch is off, from the phase advance of the partials.

    Returns times `[N]` in seconds, the correction in cents `[N]`, and its weight (power) `[N]`.
    """
    from scipy.ndimage import gaussian_filter1d

    n_steps = max(2, int(clock.seconds[-1] / step_seconds))
    times = (np.arange(n_steps) + 0.5) * step_seconds
    spectra = windowed_spectra(audio, sample_rate, clock, times, cycles=4)
    cycles = clock.cycles_at(spectra.times)
    advance = np.diff(cycles)
    usable = ratios[ratios * max_step_cycles < 0.4]
    usable = usable if len(usable) else ratios[:1]
    values = spectra.at(usable)  # [N, K] complex
    turned = values[1:] * np.conj(values[:-1]) * np.exp(-2j * np.pi * usable * advance[:, None])
    off = np.angle(turned) / (2 * np.pi)  # cycles
    power = np.abs(turned)
    numerator = np.sum(power * usable * off, axis=1)
    denominator = np.sum(power * usable**2, axis=1) * advance
    sigma = smooth_seconds / step_seconds
    ridge = 1e-5 * denominator.max(initial=0.0) + 1e-30
    ratio = gaussian_filter1d(numerator, sigma) / (gaussian_filter1d(denominator, sigma) + ridge)
    middle = 0.5 * (spectra.times[1:] + spectra.times[:-1])
    return middle, 1200.0 * np.log2(np.clip(1.0 + ratio, 0.9, 1.1)), power.sum(axis=1)
