"""Which pitch a key has: tables, Scala files, MIDI Tuning Standard messages and the stretched octaves of pianos."""

from __future__ import annotations

from neuralsynth.tuning.scala import read_scala
from neuralsynth.tuning.store import Change, TuningStore
from neuralsynth.tuning.stretch import stretched
from neuralsynth.tuning.sysex import SysexMeaning, read_sysex
from neuralsynth.tuning.table import Tuning

__all__ = ["Change", "SysexMeaning", "Tuning", "TuningStore", "read_scala", "read_sysex", "stretched"]
