"""A recording of any length, and the one note in it that is worth learning from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralsynth.analysis.files import checked_digest, read_checked, reason_without_file
from neuralsynth.analysis.note import NoteAnalysis, analyse_note
from neuralsynth.analysis.phrase import NotePlace, find_note
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import SpectrumGrid

#: No more of a note than this is compared; what sustains does so within it.
LONGEST_COMPARED_SECONDS = 8.0
_LEAST_COMPARED_SECONDS = 0.1


@dataclass(frozen=True)
class Heard:
    """The note of a recording."""

    path: Path
    audio: np.ndarray  # mono float64, the note alone
    sample_rate: int
    place: NotePlace
    analyses: dict[bytes, NoteAnalysis]  # those made so far, by grid

    def analysis(self, grid: SpectrumGrid) -> NoteAnalysis:
        """The note on a model's grid.

        Raises:
            RecordingError: it cannot be described.
        """
        key = grid.frame_seconds.tobytes() + grid.band_edges_hz.tobytes() + grid.n_partials.to_bytes(4)
        if key not in self.analyses:
            try:
                self.analyses[key] = analyse_note(self.audio, self.sample_rate, self.place.note, grid)
            except RecordingError as error:
                raise RecordingError(f"{self.path}: {error}") from error
        return self.analyses[key]

    def held(self, analysis: NoteAnalysis) -> np.ndarray:
        """What is compared: from the onset until a sustained note is let go, at most eight seconds."""
        start = round(analysis.onset_seconds * self.sample_rate)
        seconds = min(analysis.usable_seconds if analysis.sustains else np.inf, LONGEST_COMPARED_SECONDS)
        return self.audio[start : start + round(max(seconds, _LEAST_COMPARED_SECONDS) * self.sample_rate)]


def hear(path: Path | str, note: int | None = None) -> Heard:
    """Read a recording and find its note; `note` (MIDI) says which one where the ear may slip.

    Raises:
        RecordingError: the file cannot be read, is silent, too short, or has no clear pitch.
        MissingExtra: praat-parselmouth is not installed.
    """
    path = Path(path)
    try:
        checked_digest(path)
        audio, sample_rate = read_checked(path)
        place = find_note(audio, sample_rate, note)
    except (RecordingError, OSError, UnicodeError) as error:
        raise RecordingError(f"{path}: {reason_without_file(error, path)}") from error
    return Heard(path, place.cut(audio, sample_rate), sample_rate, place, {})
