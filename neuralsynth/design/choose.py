"""Choosing among many sounds by their fingerprints and descriptors: duplicates, variety, order, neighbours.

Fingerprints are `[N, D]`, one row per sound; where two sounds are equally good, the one with the lower index is taken.
Distances that decide are summed in float64 by numpy's own loops, so that the same fingerprints give the same choice
whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from neuralsynth.checking import one_of, shown
from neuralsynth.errors import UsageError

#: Two sounds nearer than this, in dB, are one to a listener: see `benchmarks/duplicates.py`.
DUPLICATE_DB = 1.0
_BLOCK = 512  # rows compared at a time
_MARGIN = 1e-3  # relative error allowed to the quick products, which only sort out what is far away


@dataclass(frozen=True)
class Duplicates:
    """Which sounds are kept, and what each of the others repeats."""

    kept: np.ndarray  # bool [N]
    of: np.ndarray  # int64 [N]: the kept sound that it repeats; its own index if it is kept
    distance: np.ndarray  # float64 [N]: to that sound


def near_duplicates(fingerprints: np.ndarray, distance: float = DUPLICATE_DB) -> Duplicates:
    """Keep each sound that is further than `distance` from all kept sounds before it.

    No two kept sounds are within `distance`, and every dropped one is within `distance` of the kept one it is said to
    repeat: the nearest before it.

    Raises:
        UsageError: fingerprints that are no finite `[N, D]`, or a distance below 0.
    """
    rows = _checked(fingerprints)
    if not (isinstance(distance, Real) and 0.0 <= distance < math.inf):
        raise UsageError(f"distance is {shown(distance)}; use a number of dB from 0, such as {DUPLICATE_DB:g}")
    n = len(rows)
    kept, of, away = np.ones(n, bool), np.arange(n), np.zeros(n)
    centred = rows - rows.mean(axis=0) if n else rows
    squares = np.einsum("nd,nd->n", centred, centred)
    limit = float(distance) ** 2
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        before = np.concatenate([np.flatnonzero(kept[:start]), np.arange(start, stop)])
        quick = squares[start:stop, None] + squares[before] - 2.0 * (centred[start:stop] @ centred[before].T)
        near = quick <= limit + _MARGIN * (limit + 1e-6 * (squares[start:stop, None] + squares[before]))
        for i in range(start, stop):
            candidates = before[near[i - start]]
            candidates = candidates[(candidates < i) & kept[candidates]]
            if len(candidates) == 0:
                continue
            exact = _squared(rows[candidates], rows[i])
            nearest = int(np.argmin(exact))
            if exact[nearest] <= limit:
                kept[i], of[i], away[i] = False, candidates[nearest], math.sqrt(exact[nearest])
    return Duplicates(kept, of, away)


def most_varied(fingerprints: np.ndarray, k: int, start: int | None = None) -> np.ndarray:
    """Indices `[min(k, N)]` of sounds as different as possible, in the order picked: each the furthest from all before.

    The first is `start`, or the one nearest to the mean of all. Gonzalez, "Clustering to minimize the maximum
    intercluster distance", Theoretical Computer Science 38, 1985: the closest two of the picked are at least half as
    far apart as in the best choice.

    Raises:
        UsageError: fingerprints that are no finite `[N, D]`, `k` below 1, or a start that is no index.
    """
    rows = _checked(fingerprints)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"k is {shown(k)}; use a whole number from 1")
    if start is not None and not 0 <= start < len(rows):
        raise UsageError(f"start is {shown(start)}; use an index from 0 to {len(rows) - 1}")
    if len(rows) == 0:
        return np.zeros(0, np.int64)
    first = int(np.argmin(_squared(rows, rows.mean(axis=0)))) if start is None else int(start)
    picked, away = [first], _squared(rows, rows[first])
    away[first] = -1.0
    for _ in range(min(int(k), len(rows)) - 1):
        furthest = int(np.argmax(away))
        picked.append(furthest)
        np.minimum(away, _squared(rows, rows[furthest]), out=away)
        away[furthest] = -1.0
    return np.array(picked, np.int64)


def rank(rows: Sequence[Mapping[str, object]], by: str) -> np.ndarray:
    """Indices `[N]` of rows, the lowest `by` first; `-NAME` the highest first, `A,-B` by A and then by B.

    Rows without a value come last, either way.

    Raises:
        UsageError: a name that no row has.
    """
    known = dict.fromkeys(name for row in rows for name in row)
    keys = []
    for part in by.split(","):
        name = part.strip()
        falling, name = name.startswith("-"), name.removeprefix("-").strip()
        if name not in known:
            raise UsageError(f"cannot rank by {shown(name)}; use one of {one_of(name, known)}")
        values = np.array([_number(row.get(name)) for row in rows])
        keys.append(np.where(np.isnan(values), np.inf, -values if falling else values))
    return np.lexsort(keys[::-1]).astype(np.int64)


def nearest(fingerprints: np.ndarray, target: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the sounds nearest to the fingerprint `target` `[D]`, nearest first, and their distances.

    Raises:
        UsageError: fingerprints that are no finite `[N, D]`, or a target of another size.
    """
    rows = _checked(fingerprints)
    goal = np.asarray(target, np.float64)
    if goal.shape != (rows.shape[1],) or not np.isfinite(goal).all():
        raise UsageError(f"the target has shape {goal.shape}; give {rows.shape[1]} finite numbers")
    away = np.sqrt(_squared(rows, goal))
    order = np.argsort(away, kind="stable")[:k]
    return order, away[order]


def _checked(fingerprints: np.ndarray) -> np.ndarray:
    rows = np.asarray(fingerprints, np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise UsageError(f"fingerprints have shape {rows.shape}; give finite numbers [sounds, size]")
    return np.ascontiguousarray(rows)


def _squared(rows: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Squared distances of `rows` `[N, D]` to `one` `[D]`, `[N]`."""
    return np.square(rows - one).sum(axis=1)


def _number(value: object) -> float:
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    return math.nan
