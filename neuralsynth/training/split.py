"""Which recordings are learned from, and which of the others say how well that went. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.training.analyses import Recording
from neuralsynth.training.config import TrainConfig
from neuralsynth.training.dataset import held_out_notes

LEAST_PITCHES = 2


def split(recordings: Sequence[Recording], config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Two masks over the recordings, `[M]` bool: those that are trained on, and those that it is judged by.

    What is left out is judged as far as it lies between the lowest and the highest trained pitch: beyond them nobody
    can know. Without a choice in the configuration all are trained on and none is left to judge by.

    Raises:
        UsageError: the choice does not fit these recordings.
    """
    note = np.array([r.note for r in recordings], dtype=float)
    trained = _trained(recordings, note, config)
    inside = (note >= note[trained].min()) & (note <= note[trained].max())
    return trained, ~trained & inside


def _trained(recordings: Sequence[Recording], note: np.ndarray, config: TrainConfig) -> np.ndarray:
    if config.only_layer:
        return _layer(recordings, config.only_layer)
    if config.keep_every:
        return np.isin(note, kept_notes(note.tolist(), config.keep_every))
    return ~np.isin(note, held_out_notes(note.tolist(), config.hold_out))


def kept_notes(notes: Sequence[float], every: int) -> list[float]:
    """Every `every`-th pitch from the lowest on.

    Raises:
        UsageError: fewer than two would be kept.
    """
    pitches = sorted(set(notes))
    kept = pitches[::every]
    if len(kept) < LEAST_PITCHES:
        most = len(pitches) - 1
        allowed = f"use 2 to {most}" if most >= LEAST_PITCHES else "they are too few to leave any out"
        raise UsageError(f"keep_every is {every}, which keeps {len(kept)} of {len(pitches)} pitches; {allowed}")
    return kept


def _layer(recordings: Sequence[Recording], velocity: int) -> np.ndarray:
    inside = np.array([r.velocity == velocity for r in recordings])
    if not inside.any():
        layers = Counter(r.velocity or 0 for r in recordings)
        told = ", ".join(f"{layer} ({count} recordings)" for layer, count in sorted(layers.items()))
        raise UsageError(f"only_layer is {velocity}, but no recording has that velocity; there are {told}")
    return inside
