"""The detail of a latent that brings a model's note closest to one given spectrum.

Each number of the detail raises one partial or noise band along a course over time, so each row is a small linear
problem of its own: least absolute deviations with a ridge, by iteratively reweighted least squares (Schlossmacher,
J. Amer. Statist. Assoc. 68, 1973). The courses are read off the decoder by playing each of them once. How stiff the
string is in this sound is read off the frequencies of its partials.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.model import InstrumentModel
from neuralsynth.spectrum import NoteSpectrum

HEARD_DB = 85.0  # under the loudest partial or band of the target
_SOFTEST = 10.0 ** (-110.0 / 20.0)  # of the decoder
_SILENT_DB, _LOUDEST_DB = -109.5, -0.1  # beyond them a level may be held, and says nothing
_RIDGE = 0.3  # what a detail of one deviation costs, against one dB over a frame
_REACH = 7.0  # deviations; a model reads up to `latent_reach`
_REFITS, _REWEIGHTINGS, _ROBUST_DB = 2, 6, 0.7
_STIFFNESS_STEPS = (0.5, 0.05, 0.005)  # of the logarithm of B: over the whole reach, then about the best


def fit_detail(
    model: InstrumentModel,
    spectrum: NoteSpectrum,
    n_valid_frames: int,
    latent: np.ndarray,
    note: float,
    velocity: float,
) -> np.ndarray:
    """A latent `[Z]` whose detail is fitted to `spectrum` (on the model's grid) where its character stays.

    Levels are compared at equal loudness. A model without detail gives the latent back.
    """
    detail, start = model.spec.detail, np.array(latent, np.float32)
    if detail is None:
        return start
    size = model.spec.character_size
    start[size:] = 0.0
    if detail.n_stiffness:
        start[-1] = _stiffness(model, spectrum, start, note, velocity)
    target = _levels_db(spectrum.partials[:n_valid_frames], spectrum.noise[:n_valid_frames], detail.n_partials)
    weights = _frame_weights(spectrum.grid.frame_seconds, n_valid_frames)
    rows = detail.n_partials + detail.n_bands
    plain, courses = (levels[..., :n_valid_frames, :] for levels in _courses_db(model, start, note, velocity))
    found = np.zeros((detail.n_functions, rows))
    for _ in range(_REFITS):
        missed, heard = _missed(target, plain + np.einsum("kr,ktr->tr", found, courses), weights)
        found = np.clip(found + _solved(courses, missed, heard * weights[:, None], found), -_REACH, _REACH)
    start[size : size + found.size] = found.ravel()
    return start


def _courses_db(
    model: InstrumentModel, latent: np.ndarray, note: float, velocity: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a latent without detail decodes to, `[T, R]`, and what one of each number adds, `[K, T, R]`, in dB.

    What is silent without detail may be heard with it, so the courses are read twice: as they are, and where every
    number of the detail is as high as it may be. What is too loud there is known from the first reading.
    """
    detail, size = model.spec.detail, model.spec.character_size
    assert detail is not None
    rows, n = detail.n_partials + detail.n_bands, detail.n_functions
    ways = np.zeros((n + 1, len(latent)), np.float32)
    for k in range(n):
        ways[k + 1, size + k * rows : size + (k + 1) * rows] = 1.0
    raised = latent + _REACH * ways.sum(axis=0)
    low = _played_db(model, latent + ways, note, velocity)
    high = _played_db(model, raised - ways, note, velocity)
    known = (low[:1] > _SILENT_DB) & (low[1:] < _LOUDEST_DB)
    courses = np.where(known, low[1:] - low[:1], np.where(high[1:] > _SILENT_DB, high[:1] - high[1:], 0.0))
    return np.where(low[0] > _SILENT_DB, low[0], high[0] - _REACH * courses.sum(axis=0)), courses


def _stiffness(
    model: InstrumentModel, spectrum: NoteSpectrum, latent: np.ndarray, note: float, velocity: float
) -> float:
    """The last number of the latent with which the partials lie over the first one as those of `spectrum` do."""
    wanted = np.log(spectrum.ratios / spectrum.ratios[0])
    counts = np.sqrt((spectrum.partials.astype(np.float64) ** 2).sum(axis=0))  # what is hardly there may lie anywhere
    best, reach = 0.0, _REACH
    for step in _STIFFNESS_STEPS:
        tried = np.clip(best + step * np.arange(-round(reach / step), round(reach / step) + 1), -_REACH, _REACH)
        latents = np.tile(latent, (len(tried), 1))
        latents[:, -1] = tried
        ratios = model.decode(latents, np.full(len(tried), note), np.full(len(tried), velocity)).ratios
        missed = np.abs(np.log(ratios.astype(np.float64) / ratios[:, :1]) - wanted) @ counts
        best, reach = float(tried[np.argmin(missed)]), step
    return best


def _played_db(model: InstrumentModel, latents: np.ndarray, note: float, velocity: float) -> np.ndarray:
    """What latents decode to, `[N, T, R]` in dB."""
    n, detail = len(latents), model.spec.detail
    decoded = model.decode(latents.astype(np.float32), np.full(n, note), np.full(n, velocity))
    assert detail is not None
    return _levels_db(decoded.partials, decoded.noise, detail.n_partials)


def _levels_db(partials: np.ndarray, noise: np.ndarray, n_partials: int) -> np.ndarray:
    both = np.concatenate([partials[..., :n_partials], noise], axis=-1).astype(np.float64)
    return 20.0 * np.log10(np.maximum(both, _SOFTEST))


def _frame_weights(frame_seconds: np.ndarray, n_valid: int) -> np.ndarray:
    """What each frame counts: somewhat its length, somewhat its being one."""
    lengths = np.gradient(frame_seconds)[:n_valid] if n_valid > 1 else np.ones(1)
    return 0.6 * lengths / lengths.mean() + 0.4


def _missed(target: np.ndarray, base: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much `base` misses the target at the same level, `[T, R]` in dB, and where either is heard.

    First both are made equally loud, then their usual difference is taken off: a few strong partials that the detail
    will raise shall not count for the level of all. What is not heard of the target shall not be heard; how soft it is
    does not matter.
    """
    offset = _loudness_db(target, weights) - _loudness_db(base, weights)
    floor = target.max() - HEARD_DB
    both = (target > floor) & (base + offset > floor)
    if both.any():
        offset = float(np.median((target - base)[both]))
    missed = np.where(target > floor, target - base - offset, np.minimum(floor - base - offset, 0.0))
    return missed, (np.maximum(target, base + offset) > floor).astype(np.float64)


def _loudness_db(levels_db: np.ndarray, weights: np.ndarray) -> float:
    return 10.0 * float(np.log10(np.average((10.0 ** (levels_db / 10.0)).sum(axis=1), weights=weights)))


def _solved(courses: np.ndarray, missed: np.ndarray, counts: np.ndarray, before: np.ndarray) -> np.ndarray:
    """What to add to the detail `before` `[K, R]`: for courses `[K, T, R]` and misses `[T, R]`."""
    design, ridge = courses.transpose(2, 1, 0), _RIDGE * np.eye(len(courses))
    wanted, weights = missed.T[..., None], counts.T[..., None]
    step = np.zeros((missed.shape[1], len(courses), 1))
    reweighted = weights
    for _ in range(_REWEIGHTINGS):
        weighted = design * reweighted
        step = np.linalg.solve(
            weighted.transpose(0, 2, 1) @ design + ridge,
            weighted.transpose(0, 2, 1) @ wanted - _RIDGE * before.T[..., None],
        )
        reweighted = weights / np.maximum(np.abs(wanted - design @ step), _ROBUST_DB)
    return step[..., 0].T
