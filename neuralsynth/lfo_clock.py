"""`LfoClock`: where the LFOs of a note begin: their own start, or the turn of one that all notes share."""

from __future__ import annotations

import numpy as np

from neuralsynth.preset import Preset
from neuralsynth.sound.voices import N_CHANNELS
from neuralsynth.wiring import beats_of


class LfoClock:
    """Vibrato, LFO 1 and LFO 2 of every channel, running on while nothing sounds."""

    def __init__(self, preset: Preset) -> None:
        self._lfos = (preset.lfo_1, preset.lfo_2)
        self._clock = np.zeros((N_CHANNELS, 3, 3))  # phase, at sample, turns per sample

    def reset(self) -> None:
        """As switched on."""
        self._clock[:] = 0.0

    def move(self, now: int, number: int, turns: np.ndarray) -> None:
        """Let the LFOs of a channel go on from where they are at other speeds: turns per sample, `[3]`."""
        clock = self._clock[number]
        for lfo in np.flatnonzero(clock[:, 2] != turns):
            clock[lfo] = self._phase(now, number, int(lfo)), now, turns[lfo]

    def phases(self, now: int, number: int, beat: float) -> tuple[float, float, float]:
        """Where the LFOs of a note begin that starts at sample `now`, `beat` quarter notes into the song; turns."""
        phases = [self._phase(now, number, 0)]
        for i, lfo in enumerate(self._lfos, 1):
            beats = beats_of(lfo.sync)
            shared = beat / beats if beats is not None else self._phase(now, number, i)
            phases.append(lfo.phase if lfo.per_voice else lfo.phase + shared)
        return phases[0], phases[1], phases[2]

    def _phase(self, now: int, number: int, lfo: int) -> float:
        phase, since, turns = self._clock[number, lfo]
        return float(phase + (now - since) * turns)
