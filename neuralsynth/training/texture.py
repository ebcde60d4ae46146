"""Texture: how the partials and the pitch of held notes move at random around their smooth course."""

from __future__ import annotations

import numpy as np

from neuralsynth.spec import Sustain, Texture
from neuralsynth.spec_checks import MAX_TEXTURE
from neuralsynth.training.dataset import NoteTable

#: What moves faster than this is texture, what moves slower is the note's own course.
COURSE_SECONDS = 0.4
#: Weaker partials (below the strongest) tell more of the room's noise than of the note.
HEARD_DB = 45.0
#: Deviations are held below these: beyond, the analysis has lost the partial, or vibrato has been taken for jitter.
MOST_PARTIAL_DB, MOST_LEVEL_DB, MOST_CENTS = 3.0, 2.0, 3.0
#: Partials move by so much at least, which nobody hears: where recordings stand still, a held note would repeat itself.
LEAST_PARTIAL_DB = 0.12
SHORTEST_SECONDS, LONGEST_SECONDS = 0.02, 0.15
_FEWEST_FRAMES, _FEWEST_NOTES = 12, 3


def measure_texture(table: NoteTable, sustain: Sustain | None) -> Texture | None:
    """The texture of the notes of a table in their sustain region; None where notes decay or are too short.

    Deviations are medians over notes. The forgetting time comes from neighbouring frames, taking the course of an
    Ornstein-Uhlenbeck process.
    """
    if sustain is None:
        return None
    times = table.grid.frame_seconds
    partials = [[] for _ in range(table.grid.n_partials)]  # type: list[list[float]]
    levels, cents, forgets = [], [], []
    for note in range(len(table.note)):
        frames = np.flatnonzero((times >= sustain.start_seconds) & (np.arange(len(times)) < table.n_valid[note] - 2))
        if len(frames) < _FEWEST_FRAMES:
            continue
        width = max(3, round(COURSE_SECONDS / float(np.median(np.diff(times[frames]))))) | 1
        heard = table.partials_db[note][:, frames]
        strong = np.flatnonzero(heard.mean(axis=1) > heard.mean(axis=1).max() - HEARD_DB)
        moves = _around_course(heard[strong], width)
        common = np.average(moves, axis=0, weights=10.0 ** (heard[strong].mean(axis=1) / 20.0))
        alone = moves - common
        likeness, taken = _likeness(alone, width)
        for partial, deviation in zip(strong, alone.std(axis=1), strict=True):
            partials[partial].append(float(deviation) / taken)
        levels.append(float(common.std()) / taken)
        cents.append(float(_around_course(table.cents[note][None, frames], width).std()) / taken)
        forgets.append(float(np.median(np.diff(times[frames])) / -np.log(likeness)))
    if len(levels) < _FEWEST_NOTES:
        return None
    return Texture(
        partials_db=[round(float(x), 2) for x in _filled(partials)],
        level_db=round(min(float(np.median(levels)), MOST_LEVEL_DB), 2),
        cents=round(min(float(np.median(cents)), MOST_CENTS), 2),
        seconds=round(float(np.clip(np.median(forgets), SHORTEST_SECONDS, LONGEST_SECONDS)), 3),
    )


def _around_course(rows: np.ndarray, width: int) -> np.ndarray:
    """What is left of each row `[C, T]` when a moving mean is taken away."""
    ends = np.pad(rows, ((0, 0), (width // 2, width // 2)), mode="edge")
    return rows - np.apply_along_axis(np.convolve, 1, ends, np.ones(width) / width, "valid")


def _likeness(rows: np.ndarray, width: int) -> tuple[float, float]:
    """Correlation of neighbouring frames, and the share of the deviation that the moving mean has left.

    The mean of `width` frames takes a part of the movement with it, the larger the more frames resemble each other:
    ``m = (1 + 2·Σ (1 - j/width)·r^j) / width`` of the variance, so that ``(r - m) / (1 - m)`` is what is seen of `r`.
    """
    seen = float(np.sum(rows[:, 1:] * rows[:, :-1]) / max(float(np.sum(rows**2)), 1e-12))
    lags, likeness, mean = np.arange(1, width), max(seen, 0.01), 1.0 / width
    for _ in range(30):
        mean = (1.0 + 2.0 * float(np.sum((1.0 - lags / width) * likeness**lags))) / width
        likeness = float(np.clip(seen * (1.0 - mean) + mean, 0.01, 0.98))
    return likeness, float(np.sqrt(max(1.0 - mean, 0.1)))


def _filled(partials: list[list[float]]) -> np.ndarray:
    """Medians per partial, smoothed over neighbours; those that few notes have go on like the last good one."""
    medians = [float(np.median(found)) if len(found) >= _FEWEST_NOTES else np.nan for found in partials]
    good = np.flatnonzero(np.isfinite(medians))
    if len(good) == 0:
        return np.zeros(1)
    filled = np.interp(np.arange(good[-1] + 1), good, np.array(medians)[good])
    smooth = [np.median(filled[max(0, i - 1) : i + 2]) for i in range(len(filled))]
    return np.clip(smooth, LEAST_PARTIAL_DB, min(MOST_PARTIAL_DB, MAX_TEXTURE))
