"""Which recordings are scored, what analysis makes of them, and which are neighbours of which."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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


@dataclass(frozen=True)
class Chosen:
    """How a folder is divided."""

    targets: tuple[Recording, ...]  # to be scored
    others: tuple[Recording, ...]  # that the sampler may use
    beyond: tuple[Recording, ...]  # unseen, but lower or higher than all that was seen
    seen: frozenset[str]  # digests
    held_out: bool  # the model never saw the targets


def choose(used: Sequence[Recording], seen_digests: Collection[str]) -> Chosen:
    """Score what the model has not seen, between the lowest and the highest pitch that it has; if nothing, all.

    A folder in which nothing was seen is scored whole: how far the model reaches is for its reader to know.
    """
    seen = frozenset(seen_digests)
    known = tuple(r for r in used if r.digest in seen)
    unseen = tuple(r for r in used if r.digest not in seen)
    targets = tuple(r for r in unseen if _is_inside(r, known)) or unseen or tuple(used)
    beyond = tuple(r for r in unseen if r not in targets)
    return Chosen(targets, known if unseen and known else tuple(used), beyond, seen, bool(unseen))


def _is_inside(recording: Recording, known: Sequence[Recording]) -> bool:
    pitches = [r.note or 0 for r in known if r.group == recording.group] or [r.note or 0 for r in known]
    return not pitches or min(pitches) <= (recording.note or 0) <= max(pitches)


class Ears:
    """Analyses recordings when they are needed, each once; `seen` are digests of what the model was trained on."""

    def __init__(self, grid: SpectrumGrid, others: Sequence[Recording], seen: Collection[str] = ()) -> None:
        self._grid, self._others, self._seen = grid, others, seen
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

    def neighbours(self, recording: Recording) -> tuple[Heard, ...]:
        """The nearest recordings below and above in pitch, of the nearest layer of the same instrument.

        A recording that the model has not seen may have a seen one of its own pitch, in another layer: then that alone.
        """
        note, velocity = recording.note or 0, recording.velocity or 0
        same = [r for r in self._others if r.group == recording.group] or self._others
        others = [(r.note or 0, r.velocity or 0, r) for r in same if r.note != note or self._tells(r, recording)]
        gap = min((abs(v - velocity) for _, v, _ in others), default=0)
        layer = sorted(
            ((abs(n - note), n, r) for n, v, r in others if abs(v - velocity) == gap), key=lambda row: row[0]
        )
        own = self._first_usable([r for _, n, r in layer if n == note])
        if own:
            return (own,)
        below = self._first_usable([r for _, n, r in layer if n < note])
        above = self._first_usable([r for _, n, r in layer if n > note])
        return tuple(n for n in (below, above) if n)

    def _tells(self, other: Recording, recording: Recording) -> bool:
        """Whether a recording of the same pitch may be used: the model knows it, and it is not the one scored."""
        return other.digest in self._seen and recording.digest not in self._seen

    def _first_usable(self, candidates: Sequence[Recording]) -> Heard | None:
        for recording in candidates:
            try:
                return self.hear(recording)
            except RecordingError:
                continue
        return None
