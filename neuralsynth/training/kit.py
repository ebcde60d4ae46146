"""The hits of a drum kit as training takes them: every piece a group, and so a learned point. No torch here.

A piece has one key, modes of its own and no pitch. So no two pieces are mixed, nothing is turned (turns tell brightness
by the numbers of harmonics), and nothing is tuned; hits of one piece are mixed from layer to layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuralsynth.analysis.hit import analyse_piece
from neuralsynth.analysis.note import NoteAnalysis
from neuralsynth.analysis.recordings import Recording
from neuralsynth.errors import RecordingError, UsageError
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.augment import Mixing
from neuralsynth.training.config import FLOOR_DB, TrainConfig
from neuralsynth.training.dataset import NoteTable, to_db

FIRST_STEP_SECONDS = 0.001
LONGEST_SECONDS = 6.0
MOST_CENTS = 2400.0
SLOWEST_DB_PER_SECOND, FASTEST_DB_PER_SECOND = -20.0, -400.0  # in which a hit falls on beyond its recording's end
MIXING = Mixing(neighbours=0.0, layers=0.4, instruments=0.0)
#: What a training of a kit has where nothing else was chosen.
_TRAINING: dict[str, Any] = {"n_bands": 64, "n_partials": 64}
_MODEL: dict[str, Any] = {"width": 96, "condition_size": 96, "dropout": 0.0, "detail_functions": 6}


def suited(config: TrainConfig) -> TrainConfig:
    """The same choices; what was left at its default becomes what suits drums.

    Raises:
        UsageError: pitches are to be chosen by.
    """
    if config.keep_every:
        raise UsageError("keep_every keeps pitches, but drums have none; use hold_out to leave every Nth hit out")
    return config.suited(_TRAINING, _MODEL)


def kit_grid(config: TrainConfig, seconds: Sequence[float]) -> SpectrumGrid:
    """Frames a millisecond apart at the stroke, as long as nearly all of the recordings."""
    longest = config.duration_seconds or float(np.clip(np.quantile(seconds, 0.95), 0.5, LONGEST_SECONDS))
    return SpectrumGrid.warped(config.n_frames, longest, config.n_partials, config.n_bands, FIRST_STEP_SECONDS)


def trained_hits(recordings: Sequence[Recording], config: TrainConfig) -> np.ndarray:
    """Which hits are learned from, `[M]` bool: all, those of one layer, or all but every Nth of each piece.

    Of a piece with fewer than three hits none is left out.

    Raises:
        UsageError: no hit is of the wanted layer.
    """
    trained = np.ones(len(recordings), bool)
    if config.only_layer:
        trained[:] = [r.velocity == config.only_layer for r in recordings]
        if not trained.any():
            raise UsageError(f"only_layer is {config.only_layer}, but no recording has that velocity")
    if config.hold_out:
        for piece in {r.group for r in recordings}:
            mine = [i for i, r in enumerate(recordings) if r.group == piece]
            mine.sort(key=lambda i: (recordings[i].velocity or 0, recordings[i].name))
            if len(mine) >= 3:
                trained[mine[min(config.hold_out // 2, len(mine) - 1) :: config.hold_out]] = False
    return trained


def kit_table(recordings: Sequence[Recording], grid: SpectrumGrid) -> tuple[NoteTable, list[Recording], list[str]]:
    """Hits by piece in the order of keys, those that can be used, and a sentence for each that cannot.

    Raises:
        RecordingError: a file can no longer be read, or none is usable.
    """
    pieces = sorted({(r.note or 0, r.group) for r in recordings})
    good: list[tuple[Recording, NoteAnalysis]] = []
    bad = []
    for key, piece in pieces:
        mine = sorted((r for r in recordings if r.group == piece), key=lambda r: (r.velocity or 0, r.name))
        for recording, answer in zip(mine, analyse_piece([r.load() for r in mine], key, grid), strict=True):
            if isinstance(answer, RecordingError):
                bad.append(f"{recording.path}: {answer}")
            else:
                good.append((recording, answer))
    if not good:
        raise RecordingError(f"none of {len(recordings)} recordings can be analysed; the first says: {bad[0]}")
    return _table(good, grid), [recording for recording, _ in good], bad


def _table(good: Sequence[tuple[Recording, NoteAnalysis]], grid: SpectrumGrid) -> NoteTable:
    groups = tuple(dict.fromkeys(r.group for r, _ in good))
    spectra = [analysis.spectrum for _, analysis in good]
    n_valid = np.array([analysis.n_valid_frames for _, analysis in good])
    partials, noise = (np.stack([to_db(levels.T) for levels in rows]) for rows in (
        [s.partials for s in spectra], [s.noise for s in spectra]))  # fmt: skip
    for levels in (partials, noise):
        for row, n in zip(levels, n_valid, strict=True):
            _fall_on(row, int(n), grid)
    group = np.array([groups.index(r.group) for r, _ in good])
    first = np.unique(group, return_index=True)[1]
    return NoteTable(
        grid,
        np.maximum(partials, FLOOR_DB).astype(np.float32),
        np.maximum(noise, FLOOR_DB).astype(np.float32),
        np.clip(np.stack([s.cents for s in spectra]), -MOST_CENTS, MOST_CENTS).astype(np.float32),
        np.zeros(len(good)),
        n_valid,
        np.array([r.note for r, _ in good], np.float32),
        np.array([(r.velocity or 0) / 127.0 for r, _ in good], np.float32),
        group,
        groups,
        sustains=np.zeros(len(good), bool),
        digests=tuple(r.digest for r, _ in good),
        ratios=np.stack([spectra[i].ratios for i in first]).astype(np.float32),
    )


def _fall_on(levels: np.ndarray, n_valid: int, grid: SpectrumGrid) -> None:
    """Let each row of `[C, T]` fall on, beyond the recording's end, as it fell in its second half (in place)."""
    times, last = grid.frame_seconds, n_valid - 1
    half = int(np.searchsorted(times, 0.5 * times[last]))
    if half >= last:
        half = max(last - 1, 0)
    slope = (levels[:, last] - levels[:, half]) / max(float(times[last] - times[half]), 1e-6)
    slope = np.clip(slope, FASTEST_DB_PER_SECOND, SLOWEST_DB_PER_SECOND)
    levels[:, n_valid:] = levels[:, last, None] + slope[:, None] * (times[n_valid:] - times[last])
