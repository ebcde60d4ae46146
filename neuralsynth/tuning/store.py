"""The tunings an instrument holds while it plays: tuning programs, and which tuning each channel has.

A channel starts with tuning program 0 of bank 0, as instruments do that are sent note changes without a word about
programs. A key that no message has tuned in a program sounds as in the tuning of the channel's own sound, so an empty
store changes nothing. RPN 3 chooses another program, of the bank that RPN 4 named. A scale/octave tuning takes the
place of the program on its channels, and a choice of program that of the scale/octave tuning: the later wins.
Stretch (`neuralsynth.tuning.stretch`) and master tuning belong on top of what this gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.tuning.mts import ANY_DEVICE, OctaveTuning, ProgramTuning, read_tuning
from neuralsynth.tuning.table import N_KEYS, Tuning

N_CHANNELS = 16


@dataclass(frozen=True)
class Change:
    """What a message changed.

    `channels` (0 to 15) are those whose tuning is another one now; `keys` those of their keys that it concerns.
    `real_time`: sounding notes move to their new pitch; otherwise only notes that start later have it.
    `program` is the bank and program that was written, None for a scale/octave tuning or a choice of program.
    """

    channels: tuple[int, ...]
    keys: tuple[int, ...]
    real_time: bool
    program: tuple[int, int] | None = None


ALL_KEYS = tuple(range(N_KEYS))


class TuningStore:
    """Tuning programs and the tuning of each channel.

    Args:
        device_id: 0 to 126 obeys messages to that device or to all; 127 obeys every message.
    """

    def __init__(self, device_id: int = ANY_DEVICE):
        self.device_id = device_id
        self.reset()

    def reset(self) -> None:
        """Forget every message: as switched on."""
        #: (bank, program) -> note numbers `[128]`, NaN where no message has tuned the key, and the program's name.
        self._programs: dict[tuple[int, int], tuple[np.ndarray, str]] = {}
        self._chosen = [(0, 0)] * N_CHANNELS
        self._banks = [0] * N_CHANNELS
        self._octaves: list[Tuning | None] = [None] * N_CHANNELS

    def apply(self, message: bytes | ProgramTuning | OctaveTuning) -> Change | None:
        """Do what an MTS message says; None, and nothing done, for any other bytes. Never raises."""
        if not isinstance(message, (ProgramTuning, OctaveTuning)):
            meaning = read_tuning(message, self.device_id)
            return None if meaning is None else self.apply(meaning)
        if isinstance(message, OctaveTuning):
            octave = Tuning.of_octave(message.cents, "scale/octave tuning")
            for channel in message.channels:
                self._octaves[channel] = octave
            return Change(message.channels, ALL_KEYS, message.real_time)
        return self._write(message)

    def choose_bank(self, channel: int, bank: int) -> None:
        """A channel's tuning bank (RPN 4), 0 to 127; like a bank of sounds it waits for the choice of a program."""
        self._banks[channel] = bank

    def choose_program(self, channel: int, program: int) -> Change:
        """A channel's tuning program (RPN 3), 0 to 127; sounding notes follow, as MTS asks and FluidSynth does.

        A program that was never written sounds as the channel's own tuning.
        """
        self._chosen[channel] = (self._banks[channel], program)
        self._octaves[channel] = None
        return Change((channel,), ALL_KEYS, real_time=True)

    def chosen(self, channel: int) -> tuple[int, int]:
        """Bank and program of a channel, whether a scale/octave tuning hides them or not."""
        return self._chosen[channel]

    def tuning(self, channel: int, own: Tuning) -> Tuning:
        """The tuning a channel plays in, `own` being that of its sound: `own` itself where no message changes it."""
        octave = self._octaves[channel]
        if octave is not None:
            return octave
        return self.program(*self._chosen[channel], own)

    def program(self, bank: int, program: int, own: Tuning) -> Tuning:
        """A tuning program on top of `own`: `own` itself if it was never written."""
        written = self._programs.get((bank, program))
        if written is None:
            return own
        notes, name = written
        return Tuning(np.where(np.isnan(notes), own.notes, notes), name or own.name)

    def _write(self, change: ProgramTuning) -> Change:
        place = (change.bank, change.program)
        keys = tuple(sorted({key for key, _ in change.notes}))
        if keys or change.name is not None:
            old_notes, old_name = self._programs.get(place, (np.full(N_KEYS, np.nan), ""))
            notes = old_notes.copy()
            for key, note in change.notes:
                notes[key] = note
            self._programs[place] = (notes, old_name if change.name is None else change.name)
        playing = (c for c in range(N_CHANNELS) if self._chosen[c] == place and self._octaves[c] is None)
        return Change(tuple(playing) if keys else (), keys, change.real_time, place)
