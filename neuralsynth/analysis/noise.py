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


def band_matrix(spectra: Spectra, band_edges_hz: np.ndarray, pitch_hz: float, nyquist_hz: float) -> np.ndarray:
    """Weights `[F, B]` that average bins into bands (overlap of each bin with each band), 0 above `nyquist_hz`."""
    step = pitch_hz / (spectra.n_cycles * spectra.padding)
    n = spectra.values.shape[1]
    low = (np.arange(n) - 0.5) * step
    top = min(nyquist_hz, low[-1] + step)
    edges = np.minimum(band_edges_hz, top)
    overlap = np.minimum(low[:, None] + step, edges[1:]) - np.maximum(low[:, None], edges[:-1])
    overlap = np.maximum(overlap, 0.0)
    return overlap / np.maximum(overlap.sum(axis=0), 1e-12)


def bin_to_density(spectra: Spectra, pitch_hz: np.ndarray) -> np.ndarray:
    """Factor from a bin's mean squared value to power per hertz, for each window `[N]`.

    A bin of a Hann window scaled to amplitudes holds noise of density `d` (one-sided, per Hz) as `d·2·1.5·f0/n`.
    """
    return spectra.n_cycles / (3.0 * pitch_hz)
