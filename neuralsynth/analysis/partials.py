"""Amplitudes of the partials over time, from pitch-synchronous spectra."""

from __future__ import annotations

import numpy as np

from neuralsynth.analysis.clock import Spectra


def partial_powers(spectra: Spectra, ratios: np.ndarray, noise_density: np.ndarray) -> np.ndarray:
    """Squared amplitudes of the partials in each window, noise taken off, `[N, P]`.

    `noise_density` `[N, F]` is the noise's mean squared value in each bin of `spectra`.
    """
    measured = np.abs(spectra.at(ratios)) ** 2
    return np.maximum(measured - noise_density[:, spectra.index(ratios)], 0.0)
