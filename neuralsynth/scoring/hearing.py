"""Recordings with their analyses, and which of them are neighbours of which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralsynth.analysis import NoteAnalysis, analyse_note
from neuralsynth.analysis.folder import Recording
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import SpectrumGrid


@dataclass(frozen=True)
class Heard:
    """A recording with what analysis made of it."""

    name: str
    group: str
    note: int
    velocity: int
    audio: np.ndarray
    sample_rate: int
    analysis: NoteAnalysis


class Ears:
    """Analyses recordings when they are needed, each once."""

    def __init__(self, grid: SpectrumGrid, others: Sequence[Recording]) -> None:
        self._grid, self._others = grid, others
        self._heard: dict[Path, Heard] = {}

    def hear(self, recording: Recording) -> Heard:
        """The recording's sound and analysis."""
        if recording.note is None or recording.velocity is None:
            raise RecordingError("has no note")
        if recording.path not in self._heard:
            audio, rate = recording.load()
            analysis = analyse_note(audio, rate, recording.note, self._grid)
            self._heard[recording.path] = Heard(
                recording.name, recording.group, recording.note, recording.velocity, audio, rate, analysis
            )
        return self._heard[recording.path]

    def neighbours(self, recording: Recording) -> tuple[Heard | None, Heard | None]:
        """The nearest recordings below and above in pitch, of the nearest layer of the same instrument."""
        note, velocity = recording.note or 0, recording.velocity or 0
        same = [r for r in self._others if r.group == recording.group] or self._others
        others = [(r.note or 0, r.velocity or 0, r) for r in same if r.note != note]
        gap = min((abs(v - velocity) for _, v, _ in others), default=0)
        layer = sorted(
            ((abs(n - note), n, r) for n, v, r in others if abs(v - velocity) == gap), key=lambda row: row[0]
        )
        below = [r for _, n, r in layer if n < note]
        above = [r for _, n, r in layer if n > note]
        return self._first_usable(below), self._first_usable(above)

    def _first_usable(self, candidates: Sequence[Recording]) -> Heard | None:
        for recording in candidates:
            try:
                return self.hear(recording)
            except RecordingError:
                continue
        return None
