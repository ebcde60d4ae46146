"""A tuning: the pitch that each of the 128 keys sounds at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.units import hz_to_note, note_to_hz

N_KEYS = 128

#: Note numbers of 1 Hz and 67 kHz. A key tuned beyond them is taken as unmapped: nobody could hear it, and every
#: pitch in a table stays a number that single precision holds.
LOWEST_NOTE, HIGHEST_NOTE = -36.0, 156.0


def _equal_notes() -> np.ndarray:
    return np.arange(N_KEYS, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Tuning:
    """Which pitch each key has.

    `notes` is float64 `[128]`, read-only: the pitch of each key as a note number with its fraction, counted in equal
    temperament at A4 = 440 Hz (60.0 is middle C). NaN is an unmapped key: it is silent. Two tunings are equal if
    their notes are, whatever their names.
    """

    notes: np.ndarray = field(default_factory=_equal_notes)
    name: str = ""

    def __post_init__(self):
        notes = np.array(self.notes, dtype=np.float64) + 0.0  # a copy, and no -0.0
        if notes.shape != (N_KEYS,):
            raise UsageError(f"a tuning has {N_KEYS} notes, one per key; this one has the shape {notes.shape}")
        audible = (notes >= LOWEST_NOTE) & (notes <= HIGHEST_NOTE)
        notes[~audible] = np.nan
        notes.setflags(write=False)
        object.__setattr__(self, "notes", notes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tuning):
            return NotImplemented
        return bool(np.array_equal(self.notes, other.notes, equal_nan=True))

    def __hash__(self) -> int:
        return hash(self.notes.tobytes())

    @staticmethod
    def equal(a4_hz: float = 440.0) -> Tuning:
        """Twelve equal steps to the octave, A4 (key 69) at `a4_hz`.

        Raises:
            UsageError: `a4_hz` is no number from 1 to 20000.
        """
        if not 1.0 <= a4_hz <= 20_000.0:
            raise UsageError(f"A4 is at {a4_hz} Hz; use a number from 1 to 20000 Hz")
        name = "equal temperament" if a4_hz == 440.0 else f"equal temperament, A4 = {a4_hz:g} Hz"
        return Tuning(_equal_notes() + (float(hz_to_note(a4_hz)) - 69.0), name)

    @staticmethod
    def of_octave(cents: Iterable[float], name: str = "") -> Tuning:
        """Equal temperament with each of the 12 keys of every octave, C first, moved by its `cents`.

        Raises:
            UsageError: there are not 12.
        """
        offsets = np.array(list(cents), dtype=np.float64)
        if offsets.shape != (12,):
            raise UsageError(f"an octave has 12 keys; {offsets.size} offsets are given")
        return Tuning(_equal_notes() + offsets[np.arange(N_KEYS) % 12] / 100.0, name)

    def shifted(self, cents: float) -> Tuning:
        """Every key `cents` higher.

        Raises:
            UsageError: `cents` is no finite number.
        """
        if not np.isfinite(cents):
            raise UsageError(f"a tuning cannot be shifted by {cents} cents; use a finite number")
        return Tuning(self.notes + cents / 100.0, self.name)

    def with_keys(self, notes: Mapping[int, float]) -> Tuning:
        """Other pitches for some keys: `{key: note number with its fraction}`; NaN makes a key silent.

        Raises:
            UsageError: a key outside 0 to 127.
        """
        changed = self.notes.copy()
        for key, note in notes.items():
            if not 0 <= key < N_KEYS:
                raise UsageError(f"there is no key {key}; keys are 0 to {N_KEYS - 1}")
            changed[key] = note
        return Tuning(changed, self.name)

    def hz(self) -> np.ndarray:
        """Pitch of every key in hertz, float64 `[128]`; NaN where a key is silent."""
        return note_to_hz(self.notes)

    def is_mapped(self, key: int) -> bool:
        """Whether a key sounds at all."""
        return bool(np.isfinite(self.notes[key]))
