"""Whether the partials of a note are those of a stiff string, and how stiff it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.clock import DenseAudio, PitchClock, windowed_spectra
from neuralsynth.analysis.fundamental import n_followed
from neuralsynth.analysis.noise import noise_log_density
from neuralsynth.spectrum import stretched_ratios

#: A stiff string is believed when its misfit to the measured partials is this much smaller than a harmonic one's ...
MISFIT_SHARE = 0.7
#: ... which is itself not smaller than this, over at least so many clear partials,
MIN_MISFIT_CENTS = 1.0
MIN_PARTIALS = 4
#: and the highest of them is moved at least this far.
MIN_MOVE_CENTS = 5.0
#: A partial this far above the noise has a frequency worth fitting.
CLEAR_DB = 10.0
#: A peak this far below the strongest partial may be its leakage.
WEAK_DB = 70.0
#: No partial counts for more than this.
MISFIT_LIMIT_CENTS = 30.0


@dataclass(frozen=True)
class Stiffness:
    """`inharmonicity` B, and the cents by which the clock it was measured on is then too low."""

    inharmonicity: float
    shift_cents: float


def fit_stiffness(
    audio: DenseAudio, clock: PitchClock, guess: float, start_seconds: float, stop_seconds: float
) -> Stiffness:
    """Fit B to the measured frequency of each partial between two times; 0.0 unless a stiff string fits clearly better.

    `clock` must have been followed with the `guess` of B. Partials near the noise count nothing, and the fit is by
    least absolute deviation, so that single wrong partials do no harm.
    """
    if guess == 0.0:
        return Stiffness(0.0, 0.0)
    n = n_followed(audio.sample_rate, float(np.median(clock.pitch_hz)))
    cents, weight = _partial_offsets(audio, clock, stretched_ratios(n, guess), start_seconds, stop_seconds)
    clear = np.nonzero(weight > 0.0)[0]
    if len(clear) < MIN_PARTIALS:
        return Stiffness(0.0, 0.0)
    k = clear + 1.0
    weight = weight[clear] / weight[clear].sum()
    candidates = np.concatenate([[0.0], guess * np.geomspace(0.6, 1.7, 241)])
    stretched = 600.0 * np.log2((1.0 + guess * k**2) / (1.0 + guess))
    b = candidates[:, None]
    residual = cents[clear] + stretched - 600.0 * np.log2((1.0 + b * k**2) / (1.0 + b))
    shift = _weighted_median(residual, weight)
    misfit = np.minimum(np.abs(residual - shift[:, None]), MISFIT_LIMIT_CENTS) @ weight
    best = int(np.argmin(misfit))
    moved = 600.0 * np.log2(1.0 + candidates[best] * k[-1] ** 2)
    if misfit[best] > MISFIT_SHARE * misfit[0] or misfit[0] < MIN_MISFIT_CENTS or moved < MIN_MOVE_CENTS:
        return Stiffness(0.0, float(shift[0]))
    return Stiffness(float(candidates[best]), float(shift[best]))


def _partial_offsets(
    audio: DenseAudio, clock: PitchClock, ratios: np.ndarray, start: float, stop: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cents each partial lies above the clock `[K]`, and how clearly it stands out (dB, 0 for not) `[K]`."""
    pitch_hz = float(np.median(clock.pitch_hz))
    cycles = 4 * max(2, round(0.08 * pitch_hz / 4))
    half = 0.5 * cycles / pitch_hz
    times = np.arange(start + half, stop - half, 0.004)
    if len(times) < 2:
        return np.zeros(len(ratios)), np.zeros(len(ratios))
    spectra = windowed_spectra(audio, clock, times, cycles)
    values = spectra.at(ratios)
    advance = np.diff(clock.cycles_at(spectra.times))
    turned = values[1:] * np.conj(values[:-1]) * np.exp(-2j * np.pi * ratios * advance[:, None])
    off = np.angle(turned.sum(axis=0)) / (2.0 * np.pi) / np.mean(advance)
    noise = np.exp(noise_log_density(spectra, ratios).mean(axis=0))[spectra.index(ratios)]
    power = np.maximum(np.mean(np.abs(values) ** 2, axis=0), 1e-20)
    clear_db = 10.0 * np.log10(power / np.maximum(noise, 1e-20))
    clear_db = np.where(power > 10.0 ** (-WEAK_DB / 10.0) * power.max(), clear_db, 0.0)
    return 1200.0 * np.log2(np.maximum(1.0 + off / ratios, 0.5)), np.clip(clear_db - CLEAR_DB, 0.0, 30.0)


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted median of each row of `[N, K]`, `[N]`."""
    order = np.argsort(values, axis=1)
    share = np.cumsum(weight[order], axis=1)
    middle = np.argmax(share >= 0.5 * share[:, -1:], axis=1)
    return np.take_along_axis(values, np.take_along_axis(order, middle[:, None], axis=1), axis=1)[:, 0]
