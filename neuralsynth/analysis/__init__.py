"""From a recording of one note to its `NoteSpectrum`, and how far two sounds are apart. numpy and scipy only."""

from __future__ import annotations

from neuralsynth.analysis.distance import distance
from neuralsynth.analysis.note import NoteAnalysis, analyse_note

__all__ = ["NoteAnalysis", "analyse_note", "distance"]
