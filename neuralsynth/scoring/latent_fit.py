"""Which latent comes nearest to a spectrum: the decoder inverted."""

from __future__ import annotations

import numpy as np

from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.spectrum import NoteSpectrum

_FIT_STEPS = 12
_FIT_STEP_SIZE = 0.05
_FLOOR_DB = -80.0


def fit_latent(model: InstrumentModel, spectrum: NoteSpectrum, note: float, velocity: float, start) -> np.ndarray:
    """Latent `[Z]` whose decoding is nearest to `spectrum`, by Gauss-Newton with damping (Levenberg 1944).

    Derivatives are finite differences of one decoded batch, so any family of model can be inverted.
    """
    target = _in_db(spectrum.partials, spectrum.noise)
    latent, damping = np.array(start, np.float64), 1.0
    error = _residual(model, latent[None], note, velocity, target)[0]
    for _ in range(_FIT_STEPS):
        steps = latent + _FIT_STEP_SIZE * np.eye(len(latent))
        slopes = (_residual(model, steps, note, velocity, target) - error) / _FIT_STEP_SIZE
        normal = slopes @ slopes.T + 1e-9 * np.eye(len(latent))
        damped = normal + damping * np.diag(np.diag(normal)) + 1e-3 * len(error) * np.eye(len(latent))
        proposal = np.clip(latent - np.linalg.solve(damped, slopes @ error), -4.0, 4.0)
        new_error = _residual(model, proposal[None], note, velocity, target)[0]
        if np.sum(new_error**2) < np.sum(error**2):
            latent, error, damping = proposal, new_error, damping / 3.0
        else:
            damping *= 4.0
    return latent


def _in_db(partials: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Audible numbers of a spectrum in dB below its loudest, one row per note: `[..., T·(P+B)]`."""
    both = np.concatenate([partials, noise], axis=-1)
    peak = both.max(axis=(-2, -1), keepdims=True)
    decibels = 20.0 * np.log10(np.maximum(both / peak, 10.0 ** (_FLOOR_DB / 20.0)))
    return decibels.reshape(*both.shape[:-2], -1)


def _residual(model, latents: np.ndarray, note: float, velocity: float, target: np.ndarray) -> np.ndarray:
    n = len(latents)
    batch = model.decode(latents.astype(np.float32), np.full(n, note), np.full(n, velocity))
    assert isinstance(batch, Decoded)
    return _in_db(batch.partials, batch.noise).astype(np.float64) - target
