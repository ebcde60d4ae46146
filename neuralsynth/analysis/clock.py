"""Pitch-synchronous spectra: the recording resampled to a clock that ticks with its own fundamental.

On that clock a note keeps a constant pitch whatever its vibrato, a Hann window of `n` whole cycles has its zeros on the
neighbouring partials, and the middle between two partials shows the noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class PitchClock:
    """Cycles of the fundamental since time 0, on a dense grid of times."""

    seconds: np.ndarray  # [N], increasing from 0
    pitch_hz: np.ndarray  # [N]

    @cached_property
    def cycles(self) -> np.ndarray:
        """Cycles since time 0, `[N]`."""
        step = np.diff(self.seconds) * 0.5 * (self.pitch_hz[1:] + self.pitch_hz[:-1])
        return np.concatenate([[0.0], np.cumsum(step)])

    def cycles_at(self, seconds: np.ndarray) -> np.ndarray:
        """Cycles at any times; beyond the ends at the end's pitch."""
        inside = np.interp(seconds, self.seconds, self.cycles)
        before, after = np.minimum(seconds - self.seconds[0], 0.0), np.maximum(seconds - self.seconds[-1], 0.0)
        return inside + before * self.pitch_hz[0] + after * self.pitch_hz[-1]

    def seconds_at(self, cycles: np.ndarray) -> np.ndarray:
        """The inverse of `cycles_at`."""
        inside = np.interp(cycles, self.cycles, self.seconds)
        before, after = np.minimum(cycles - self.cycles[0], 0.0), np.maximum(cycles - self.cycles[-1], 0.0)
        return inside + before / self.pitch_hz[0] + after / self.pitch_hz[-1]


@dataclass(frozen=True)
class Spectra:
    """Spectra of windows of whole cycles; bin `j` is the frequency `j / (n_cycles * padding)` per cycle."""

    times: np.ndarray  # [N] seconds of the window centres
    values: np.ndarray  # [N, F] complex, scaled so that a sinusoid of amplitude a peaks at a
    n_cycles: int
    padding: int

    def index(self, ratios: np.ndarray) -> np.ndarray:
        """Nearest bins of frequencies given per cycle, `[K]`; the last bin for those beyond."""
        nearest = np.round(ratios * (self.n_cycles * self.padding)).astype(int)
        return np.minimum(nearest, self.values.shape[1] - 1)

    def at(self, ratios: np.ndarray) -> np.ndarray:
        """Complex amplitudes at frequencies given per cycle, `[N, K]`; beyond the spectrum 0."""
        step = self.n_cycles * self.padding
        index = np.round(ratios * step).astype(int)
        inside = index < self.values.shape[1]
        index = np.where(inside, index, 0)
        gain = _hann_response(self.n_cycles * ratios - index / self.padding)
        return self.values[:, index] * (inside / gain)


def _hann_response(offset_bins: np.ndarray) -> np.ndarray:
    """Response of a Hann window at a distance from its peak in bins, 1 at 0."""
    x = np.clip(offset_bins, -0.9, 0.9)
    return np.sinc(x) / (1.0 - x * x)


@dataclass(frozen=True)
class WarpedAudio:
    """A recording on its pitch clock: `per_cycle` samples in each cycle, from cycle 0."""

    samples: np.ndarray  # [S]
    per_cycle: int


@dataclass(frozen=True)
class DenseAudio:
    """A recording ready to be read between its samples: cubic spline coefficients at twice its rate."""

    coefficients: np.ndarray  # [2·S + padding]
    sample_rate: float
    seconds: float


def dense(audio: np.ndarray, sample_rate: float) -> DenseAudio:
    """Oversample `audio` `[S]` by two (FFT) and fit a cubic spline."""
    from scipy.fft import next_fast_len
    from scipy.ndimage import spline_filter1d
    from scipy.signal import resample

    size = next_fast_len(len(audio) + 64)
    twice = resample(np.pad(audio, (0, size - len(audio))), 2 * size)
    coefficients = spline_filter1d(twice, order=3, output=np.float32, mode="mirror")
    return DenseAudio(coefficients, sample_rate, len(audio) / sample_rate)


def warp(audio: DenseAudio, clock: PitchClock) -> WarpedAudio:
    """Resample a recording to the clock."""
    from scipy.fft import next_fast_len
    from scipy.ndimage import map_coordinates

    per_cycle = next_fast_len(int(np.ceil(audio.sample_rate / clock.pitch_hz.min())), real=True)
    end = clock.cycles_at(np.array([audio.seconds]))[0]
    cycles = np.arange(int(end * per_cycle)) / per_cycle
    where = clock.seconds_at(cycles) * (2.0 * audio.sample_rate)
    samples = map_coordinates(
        audio.coefficients, where[None], order=3, mode="mirror", output=np.float32, prefilter=False
    )
    return WarpedAudio(samples, per_cycle)


def windowed_spectra(audio: DenseAudio, clock: PitchClock, times: np.ndarray, cycles: int, padding: int = 2) -> Spectra:
    """Warp and take spectra in one go (see `spectra_of`)."""
    return spectra_of(warp(audio, clock), clock, times, cycles, padding)


def spectra_of(warped: WarpedAudio, clock: PitchClock, times: np.ndarray, cycles: int, padding: int = 2) -> Spectra:
    """Spectra of Hann windows `cycles` long centred at `times` `[N]` (moved onto samples of the clock)."""
    from scipy.fft import rfft

    length = cycles * warped.per_cycle
    centre = np.round(clock.cycles_at(times) * warped.per_cycle).astype(int)
    padded = np.pad(warped.samples, (length, length))
    start = np.clip(centre + length - length // 2, 0, len(padded) - length)
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[start]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length, dtype=np.float32) / length)
    values = rfft(frames * (window * (4.0 / length)), padding * length, axis=1, workers=1)
    # Phase counts from the middle of the window.
    turn = np.exp(2j * np.pi * np.arange(values.shape[1]) * (length // 2) / (padding * length)).astype(np.complex64)
    actual = clock.seconds_at(centre / warped.per_cycle)
    return Spectra(actual, values * turn, cycles, padding)
