"""The fundamental of a note: where it lies near the nominal pitch, and how it moves.

`find_pitch` looks at one long spectrum of the loud part; `follow` then corrects a `PitchClock` by the phase advance of
the strong partials, as a phase vocoder does (Flanagan and Golden, Bell System Technical Journal 45, 1966).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.clock import DenseAudio, PitchClock, windowed_spectra
from neuralsynth.spectrum import stretched_ratios

#: How far from the nominal note a fundamental is looked for.
SEARCH_CENTS = 110.0
SEARCH_STEP_CENTS = 2.0
MAX_SEARCH_PARTIALS = 40
#: Stiffness candidates of strings: bass guitars from about 5e-5, the top of a piano up to 1e-2.
STIFFNESS = np.concatenate([[0.0], np.geomspace(2e-5, 1e-2, 50)])
#: A stiff string must explain the spectrum this much better than a harmonic one to be looked at closely.
STIFFNESS_GAIN = 1.01
CLOCK_STEP_SECONDS = 0.004
#: Each pass: smoothing of the correction, and how far off the clock may be (sets which partials cannot slip a cycle).
PASSES = ((0.020, 0.020), (0.010, 0.006))


@dataclass(frozen=True)
class Pitch:
    """One estimate for the loud part of a note."""

    pitch_hz: float
    inharmonicity: float


def find_pitch(loud: np.ndarray, sample_rate: float, nominal_hz: float) -> Pitch:
    """Fundamental and stiffness that explain the spectrum of `loud` `[S]` best, near `nominal_hz`."""
    bins, spectrum = _compressed_spectrum(loud, sample_rate)
    n = n_followed(sample_rate, nominal_hz)
    cents = np.arange(-SEARCH_CENTS, SEARCH_CENTS + 1, SEARCH_STEP_CENTS)
    pitches = nominal_hz * 2.0 ** (cents / 1200.0)
    ratios = np.stack([stretched_ratios(n, b) for b in STIFFNESS])
    weight = 1.0 / np.sqrt(np.arange(1, n + 1))
    score = np.interp(ratios[:, None, :] * pitches[None, :, None], bins, spectrum) @ weight
    best = score.max(axis=1)
    stiff = int(np.argmax(best))
    if best[stiff] < STIFFNESS_GAIN * best[0] or n < 3:
        stiff = 0
    return Pitch(float(pitches[np.argmax(score[stiff])]), float(STIFFNESS[stiff]))


def n_followed(sample_rate: float, pitch_hz: float) -> int:
    """How many partials are worth following."""
    return int(np.clip(0.45 * sample_rate / pitch_hz, 1, MAX_SEARCH_PARTIALS))


def _compressed_spectrum(loud: np.ndarray, sample_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and log magnitudes over their local mean, so that each partial has a say."""
    from scipy.fft import next_fast_len, rfft
    from scipy.ndimage import uniform_filter1d

    size = next_fast_len(4 * len(loud), real=True)
    magnitude = np.abs(rfft(loud * np.hanning(len(loud)), size, workers=1))
    floor = uniform_filter1d(magnitude, max(1, round(300.0 * size / sample_rate)), mode="nearest")
    return np.arange(len(magnitude)) * sample_rate / size, np.log1p(magnitude / np.maximum(floor, 1e-12))


def constant_clock(pitch_hz: float, seconds: float) -> PitchClock:
    """A clock of one pitch for the first `seconds`, ready to be corrected."""
    times = np.arange(0.0, seconds + CLOCK_STEP_SECONDS, CLOCK_STEP_SECONDS)
    return PitchClock(times, np.full(len(times), pitch_hz))


def follow(audio: DenseAudio, clock: PitchClock, inharmonicity: float) -> PitchClock:
    """The clock with its pitch corrected to what the partials of `audio` do, in two passes."""
    pitch_hz = float(np.median(clock.pitch_hz))
    ratios = stretched_ratios(n_followed(audio.sample_rate, pitch_hz), inharmonicity)
    for smooth_seconds, wander in PASSES:
        slip = ratios * wander * pitch_hz * CLOCK_STEP_SECONDS
        usable = ratios[: max(1, int(np.sum(slip < 0.4)))]
        times, cents = _correction(audio, clock, usable, smooth_seconds)
        moved = 2.0 ** (np.interp(clock.seconds, times, cents) / 1200.0)
        clock = PitchClock(clock.seconds, clock.pitch_hz * moved)
    return clock


def _correction(
    audio: DenseAudio, clock: PitchClock, ratios: np.ndarray, smooth_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times `[N]` and the cents `[N]` by which the clock is too low, from partials at `ratios`.

    Weighted least squares of the partials' phase errors, power as weight, smoothed in time; where nothing sounds
    the correction is 0.
    """
    from scipy.ndimage import gaussian_filter1d

    times = clock.seconds[:-1] + 0.5 * CLOCK_STEP_SECONDS
    times = times if len(times) > 1 else clock.seconds
    spectra = windowed_spectra(audio, clock, times, cycles=4)
    values = spectra.at(ratios)
    advance = np.diff(clock.cycles_at(spectra.times))
    turned = values[1:] * np.conj(values[:-1]) * np.exp(-2j * np.pi * ratios * advance[:, None])
    power = np.abs(turned)
    error = np.sum(power * ratios * np.angle(turned), axis=1) / (2.0 * np.pi)
    scale = np.sum(power * ratios**2, axis=1) * advance
    ridge = 1e-5 * scale.max(initial=0.0) + 1e-30
    sigma = smooth_seconds / CLOCK_STEP_SECONDS
    ratio = gaussian_filter1d(error, sigma) / (gaussian_filter1d(scale, sigma) + ridge)
    middle = 0.5 * (spectra.times[1:] + spectra.times[:-1])
    return middle, 1200.0 * np.log2(np.clip(1.0 + ratio, 0.9, 1.1))
