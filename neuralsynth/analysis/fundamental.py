"""The fundamental of a note: where it lies near the nominal pitch, how stiff the string is, how it moves.

`Pitch` is the result; `find_pitch` looks at one long spectrum of the loud part, `follow` at the phase advance of the
strong partials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.clock import PitchClock, windowed_spectra
from neuralsynth.analysis.noise import noise_log_density
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import stretched_ratios

#: How far from the nominal note a fundamental is looked for.
SEARCH_CENTS = 110.0
SEARCH_STEP_CENTS = 2.0
MAX_SEARCH_PARTIALS = 40
#: Stiffness candidates of strings; thick piano strings reach about 1e-3 in the bass, 1e-2 at the top.
STIFFNESS = np.concatenate([[0.0], np.geomspace(2e-5, 1e-2, 50)])
#: A stiff string must explain the spectrum this much better than a harmonic one to be looked at closely ...
STIFFNESS_GAIN = 1.01
#: ... where its misfit to the measured partials must be this much smaller ...
STIFFNESS_MISFIT = 0.7
#: ... with at least this many clear partials, the highest of them moved at least so far.
STIFFNESS_PARTIALS = 4
STIFFNESS_MIN_CENTS = 5.0
#: A partial this far above the noise has a frequency worth fitting.
CLEAR_DB = 10.0
MISFIT_LIMIT_CENTS = 30.0


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
    found = Pitch(float(pitches[np.argmax(score[stiff])]), float(STIFFNESS[stiff]))
    return fit_stiffness(loud, sample_rate, found)


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


def fit_stiffness(loud: np.ndarray, sample_rate: float, guess: Pitch) -> Pitch:
    """Check a stiffness against the measured frequency of each partial: the refined pitch, or one with 0.0.

    Robust: partials below the noise count nothing, and none counts for more than `MISFIT_LIMIT_CENTS`.
    """
    harmonic = Pitch(guess.pitch_hz, 0.0)
    if guess.inharmonicity == 0.0:
        return harmonic
    n = int(np.clip(0.45 * sample_rate / guess.pitch_hz, 1, MAX_SEARCH_PARTIALS))
    cents, weight = _partial_offsets(loud, sample_rate, guess, n)
    clear = np.nonzero(weight > 0.0)[0]
    if len(clear) < STIFFNESS_PARTIALS:
        return harmonic
    k = clear + 1.0
    candidates = np.concatenate([[0.0], guess.inharmonicity * np.geomspace(0.6, 1.7, 241)])
    found = cents[clear] + 600.0 * np.log2(1.0 + guess.inharmonicity * k**2)
    residual = found - 600.0 * np.log2(1.0 + candidates[:, None] * k**2)
    shift = _weighted_median(residual, weight[clear])
    misfit = np.minimum(np.abs(residual - shift[:, None]), MISFIT_LIMIT_CENTS) @ weight[clear]
    best = int(np.argmin(misfit))
    moved = 600.0 * np.log2(1.0 + candidates[best] * k[-1] ** 2)
    if misfit[best] > STIFFNESS_MISFIT * misfit[0] or moved < STIFFNESS_MIN_CENTS:
        return harmonic
    base_hz = guess.pitch_hz / np.sqrt(1.0 + guess.inharmonicity) * 2.0 ** (shift[best] / 1200.0)
    return Pitch(float(base_hz * np.sqrt(1.0 + candidates[best])), float(candidates[best]))


def _partial_offsets(loud: np.ndarray, sample_rate: float, guess: Pitch, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Cents each partial lies above the guess `[n]`, and how clearly it stands out (dB, 0 for not) `[n]`."""
    length = len(loud) / sample_rate
    seconds = np.array([0.0, length])
    clock = PitchClock(seconds, np.full(2, guess.pitch_hz))
    ratios = stretched_ratios(n, guess.inharmonicity)
    cycles = 4 * max(2, round(0.08 * guess.pitch_hz / 4))
    times = np.arange(0.5 * cycles / guess.pitch_hz, length - 0.5 * cycles / guess.pitch_hz, 0.004)
    if len(times) < 2:
        return np.zeros(n), np.zeros(n)
    spectra = windowed_spectra(loud, sample_rate, clock, times, cycles)
    values = spectra.at(ratios)
    advance = np.diff(clock.cycles_at(spectra.times))
    turned = np.sum(values[1:] * np.conj(values[:-1]) * np.exp(-2j * np.pi * ratios * advance[:, None]), axis=0)
    off = np.angle(turned) / (2.0 * np.pi) / np.mean(advance)
    noise = np.exp(np.mean(noise_log_density(spectra, ratios), axis=0))[spectra.index(ratios)]
    clear_db = 10.0 * np.log10(np.mean(np.abs(values) ** 2, axis=0) / np.maximum(noise, 1e-20))
    return 1200.0 * np.log2(np.maximum(1.0 + off / ratios, 0.5)), np.clip(clear_db - CLEAR_DB, 0.0, 30.0)


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted median of each row of `[N, K]`, `[N]`."""
    order = np.argsort(values, axis=1)
    share = np.cumsum(weight[order], axis=1)
    middle = np.argmax(share >= 0.5 * share[:, -1:], axis=1)
    return np.take_along_axis(values, np.take_along_axis(order, middle[:, None], axis=1), axis=1)[:, 0]
