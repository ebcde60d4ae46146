"""What is known of the recordings of a folder: `Recording`, one file, and `Folder`, all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralsynth.analysis.files import read_mono


@dataclass(frozen=True)
class Recording:
    """One file of the folder, used or not."""

    path: Path
    name: str  # relative to the folder, with forward slashes
    used: bool
    note: int | None = None  # MIDI, C4 = 60
    velocity: int | None = None  # 1..127
    note_from: str | None = None  # "name", "sfz", "measured", "cycle"; of a drum also "drum" or "free", see `kit`
    velocity_from: str | None = None  # "name", "sfz", "level" or "default"
    pitch_hz: float | None = None  # measured
    reason: str | None = None  # why it is skipped; if used, what is odd about it
    digest: str = ""  # first 16 hex digits of the file's SHA-256
    group: str = ""  # sub-folder, that is instrument, "" at the top; of a cycle, its own name; of a hit, the drum
    is_cycle: bool = False  # exactly one period of a waveform, see `cycles`
    is_hit: bool = False  # a stroke on a drum: `note` is the key that plays it, not its pitch

    def load(self) -> tuple[np.ndarray, int]:
        """The audio, mono float32 `[samples]`, and its sample rate in Hz.

        Raises:
            RecordingError: the file can no longer be read.
        """
        return read_mono(self.path)

    def to_json(self) -> dict:
        """The facts a user wants to see, as plain values."""
        keys = (
            "used",
            "note",
            "velocity",
            "note_from",
            "velocity_from",
            "reason",
            "group",
            "digest",
            "is_cycle",
            "is_hit",
        )
        pitch_hz = None if self.pitch_hz is None else round(self.pitch_hz, 2)
        return {"path": self.name, **{key: getattr(self, key) for key in keys}, "pitch_hz": pitch_hz}


@dataclass(frozen=True)
class Folder:
    """All recordings of a folder, sorted by name."""

    path: Path
    recordings: tuple[Recording, ...]
    octave_shift: int  # octaves added to the names; 1 in a folder that calls middle C "C3"
    warnings: tuple[str, ...]

    @property
    def used(self) -> tuple[Recording, ...]:
        """The recordings that can be trained on."""
        return tuple(r for r in self.recordings if r.used)

    @property
    def holds_cycles(self) -> bool:
        """Whether what can be trained on are single-cycle waveforms, not notes."""
        return any(r.is_cycle for r in self.used)

    @property
    def holds_kit(self) -> bool:
        """Whether what can be trained on are the hits of a drum kit, not notes."""
        return any(r.is_hit for r in self.used)

    def to_json(self) -> dict:
        """`{"files": [...], "octave_shift": 0, "warnings": [...]}`."""
        files = [r.to_json() for r in self.recordings]
        return {"files": files, "octave_shift": self.octave_shift, "warnings": list(self.warnings)}
