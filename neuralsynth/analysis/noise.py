"""What is not a partial: noise between the partials, in bands."""

from __future__ import annotations

import numpy as np

from neuralsynth.analysis.clock import Spectra

#: E[log x] of a squared magnitude of Gaussian noise lies this far (natural log) below log E[x]: Euler's constant.
LOG_MEAN_BIAS = 0.5772156649015329


def noise_log_density(spectra: Spectra, ratios: np.ndarray) -> np.ndarray:
    """Natural log of the noise's mean squared bin value, partials bridged over, `[N, F]`.

    Only whole bins are looked at (a Hann window is zero there for a steady partial); padded ones lie between them.
    """
    whole = Spectra(spectra.times, spectra.values[:, :: spectra.padding], spectra.n_cycles, 1)
    log_density = _whole_bins(whole, ratios)
    if spectra.padding == 1:
        return log_density
    return np.repeat(log_density, spectra.padding, axis=1)[:, : spectra.values.shape[1]]


def _whole_bins(spectra: Spectra, ratios: np.ndarray) -> np.ndarray:
    power = np.abs(spectra.values) ** 2
    log_power = np.log(np.maximum(power, 1e-20)) + LOG_MEAN_BIAS
    free = free_bins(spectra, ratios)
    if free.all():
        return log_power
    position = np.arange(len(free))
    keep = position[free]
    right = np.clip(np.searchsorted(keep, position), 1, len(keep) - 1)
    low, high = keep[right - 1], keep[right]
    t = np.clip((position - low) / (high - low), 0.0, 1.0).astype(log_power.dtype)
    bridged = log_power[:, low] * (1 - t) + log_power[:, high] * t
    return np.where(free, log_power, bridged)


def free_bins(spectra: Spectra, ratios: np.ndarray) -> np.ndarray:
    """Bins outside the main lobe of every partial and of 0 Hz, `[F]`."""
    bins = np.arange(spectra.values.shape[1]) / spectra.padding
    lobes = ratios * spectra.n_cycles
    right = np.clip(np.searchsorted(lobes, bins), 0, len(lobes) - 1)
    left = np.clip(right - 1, 0, None)
    gap = np.minimum(np.abs(bins - lobes[right]), np.abs(bins - lobes[left]))
    gap = np.minimum(gap, bins)  # an offset is no noise either
    return gap >= 2.0 - 1e-6


def band_power(
    spectra: Spectra,
    log_density: np.ndarray,
    first: np.ndarray,
    band_edges_hz: np.ndarray,
    pitch_hz: np.ndarray,
    nyquist_hz: float,
) -> np.ndarray:
    """Mean squared noise in each band for each frame, `[T, B]`.

    A frame owns the windows from `first[i]` to the next frame's; `pitch_hz` `[T]` is the clock's pitch there. Of the
    geometric mean (deaf to stray partials, right for Gaussian noise with its known bias taken off) and the plain mean
    (right for a knock, whose spectrum is smooth) the smaller is taken.
    """
    counts = np.diff(np.append(first, len(log_density)))[:, None]
    matrix = _band_matrix(spectra, band_edges_hz, float(np.median(pitch_hz)), nyquist_hz)
    geometric = np.exp(np.add.reduceat(log_density, first, axis=0) / counts @ matrix)
    plain = np.add.reduceat(np.exp(log_density - LOG_MEAN_BIAS), first, axis=0) / counts @ matrix
    width_hz = np.diff(np.minimum(band_edges_hz, nyquist_hz))
    # A bin of a Hann window that shows amplitudes holds noise of density d per hertz as 2·d·1.5·f0/n.
    per_hz = spectra.n_cycles / (3.0 * pitch_hz[:, None])
    return np.minimum(geometric, plain) * per_hz * width_hz


def _band_matrix(spectra: Spectra, band_edges_hz: np.ndarray, pitch_hz: float, nyquist_hz: float) -> np.ndarray:
    """Weights `[F, B]` that average bins into bands (overlap of each bin with each band), 0 above `nyquist_hz`."""
    step = pitch_hz / (spectra.n_cycles * spectra.padding)
    low = (np.arange(spectra.values.shape[1]) - 0.5) * step
    edges = np.minimum(band_edges_hz, min(nyquist_hz, low[-1] + step))
    overlap = np.minimum(low[:, None] + step, edges[1:]) - np.maximum(low[:, None], edges[:-1])
    overlap = np.maximum(overlap, 0.0)
    return overlap / np.maximum(overlap.sum(axis=0), 1e-12)
