"""Velocities for recordings whose names give none: from how loud they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from neuralsynth.analysis.recordings import Recording

DEFAULT_VELOCITY = 90
_LAYER_STEP_DB = 3.0


def with_velocities(recordings: Sequence[Recording], level_db: Mapping[Path, float]) -> list[Recording]:
    """The same recordings, those without velocity given one: by level where a note has layers, else the default."""
    by_note: dict[int, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.used and recording.note is not None and recording.velocity is None:
            by_note[recording.note].append(recording)
    chosen: dict[Path, tuple[int, str]] = {}
    for members in by_note.values():
        members.sort(key=lambda r: (level_db[r.path], r.name))
        layers: list[list[Recording]] = []
        for recording in members:
            if layers and level_db[recording.path] - level_db[layers[-1][0].path] <= _LAYER_STEP_DB:
                layers[-1].append(recording)
            else:
                layers.append([recording])
        for k, layer in enumerate(layers, 1):
            by_level = (round(127 * k / len(layers)), "level")
            chosen.update({r.path: by_level if len(layers) > 1 else (DEFAULT_VELOCITY, "default") for r in layer})
    return [
        replace(r, velocity=chosen[r.path][0], velocity_from=chosen[r.path][1]) if r.path in chosen else r
        for r in recordings
    ]
