"""`map_2d`: sounds as points of a square, like beside like, the same for the same fingerprints."""

from __future__ import annotations

import numpy as np

from neuralsynth.errors import UsageError

_NEIGHBOURS = 12
_ROUNDS, _FIRST_RATE = 200, 1.0
_REPELLED = 8  # drawn others that push a point away, in a round
_SPREAD = 10.0  # of the start, against the unit in which neighbours attract
_LONGEST_STEP = 1.0
_BLOCK = 512


def map_2d(fingerprints: np.ndarray, seed: int = 0) -> np.ndarray:
    """A place in the unit square for each sound, float64 `[N, 2]`.

    From the two principal components on, near neighbours are drawn together and drawn others pushed apart, with the
    forces of UMAP (McInnes, Healy and Melville, arXiv:1802.03426, 2018) for `a = b = 1`, all points at once.

    Raises:
        UsageError: fingerprints that are no finite `[N, D]`.
    """
    rows = np.asarray(fingerprints, np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise UsageError(f"fingerprints have shape {rows.shape}; give finite numbers [sounds, size]")
    if len(rows) < 2:
        return np.full((len(rows), 2), 0.5)
    places = _principal(rows)
    if len(rows) > 3:
        places = _refined(places, *_neighbours(rows), np.random.default_rng(seed))
    low, high = places.min(axis=0), places.max(axis=0)
    return np.where(high > low, (places - low) / np.where(high > low, high - low, 1.0), 0.5)


def _principal(rows: np.ndarray) -> np.ndarray:
    """The two principal components, rounded, so that a last digit that depends on the machine moves nothing."""
    centred = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(np.einsum("ni,nj->ij", centred, centred))
    axes = vectors[:, ::-1][:, :2]
    axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    strongest = np.argmax(np.abs(np.round(axes, 6)), axis=0)
    axes = axes * np.where(axes[strongest, [0, 1]] < 0.0, -1.0, 1.0)
    places = np.einsum("nd,dk->nk", centred, axes)
    return np.round(_SPREAD * places / max(float(np.abs(places).max()), 1e-12), 4)


def _neighbours(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges from each sound to its nearest ones: both ends `[E]` and weights 0..1, after UMAP's fuzzy simplicial set.

    Twice as many candidates are found by quick products; which of them are nearest is decided by exact distances.
    """
    n, k = len(rows), min(_NEIGHBOURS, len(rows) - 1)
    centred = (rows - rows.mean(axis=0)).astype(np.float32)
    squares = np.square(centred).sum(axis=1)
    near = np.empty((n, k), np.int64)
    away = np.empty((n, k))
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        quick = squares[start:stop, None] + squares - 2.0 * (centred[start:stop] @ centred.T)
        quick[np.arange(stop - start), np.arange(start, stop)] = np.inf
        some = np.sort(np.argpartition(quick, min(2 * k, n - 1) - 1, axis=1)[:, : 2 * k], axis=1)
        exact = np.sqrt(np.square(rows[some] - rows[start:stop, None]).sum(axis=2))
        exact[some == np.arange(start, stop)[:, None]] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        near[start:stop] = np.take_along_axis(some, order, axis=1)
        away[start:stop] = np.take_along_axis(exact, order, axis=1)
    beyond = away - away[:, :1]
    scale = np.maximum(beyond.mean(axis=1, keepdims=True), 1e-9)
    weights = np.exp(-beyond / scale)
    return np.repeat(np.arange(n), k), near.ravel(), weights.ravel()


def _refined(
    places: np.ndarray, first: np.ndarray, second: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Move all points by the forces of their neighbours and of drawn others, in ever smaller steps."""
    n, places = len(places), places.copy()
    ends, others = np.concatenate([first, second]), np.concatenate([second, first])
    weights = np.concatenate([weights, weights])
    push = float(weights.sum()) / (n * _REPELLED)
    mine = np.repeat(np.arange(n), _REPELLED)
    for step in range(_ROUNDS):
        apart = places[ends] - places[others]
        pull = -2.0 * weights / (1.0 + np.square(apart).sum(axis=1))
        drawn = rng.integers(0, n, len(mine))
        gap = places[mine] - places[drawn]
        square = np.square(gap).sum(axis=1)
        away = 2.0 * push / ((0.01 + square) * (1.0 + square))
        force = np.empty_like(places)
        for axis in (0, 1):
            drawn_together = np.bincount(ends, pull * apart[:, axis], n)
            force[:, axis] = drawn_together + np.bincount(mine, away * gap[:, axis], n)
        rate = _FIRST_RATE * (1.0 - step / _ROUNDS) / _NEIGHBOURS
        places += np.clip(rate * force, -_LONGEST_STEP, _LONGEST_STEP)
    return places
