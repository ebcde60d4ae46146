"""`Instrument`: a patch that plays by itself, with the call of pedalboard's instrument plugins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from neuralsynth.engine import Engine, play_events
from neuralsynth.errors import UsageError
from neuralsynth.events import to_events
from neuralsynth.model import InstrumentModel
from neuralsynth.patch import Patch
from neuralsynth.preset import Preset

MAX_SECONDS = 86_400.0


class Instrument(Patch):
    """What a player holds. `Instrument.load("cello")` gives one; calling it plays MIDI."""

    def __init__(self, preset: Preset, model: InstrumentModel, path: Path) -> None:
        """As `Patch`."""
        super().__init__(preset, model, path)
        self._engines: dict[tuple[float, int], Engine] = {}

    def __call__(
        self,
        midi_messages: Iterable,
        duration: float,
        sample_rate: float = 48_000,
        num_channels: int = 2,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> np.ndarray:
        """Play MIDI offline, with the call of pedalboard's instrument plugins: float32 `[channels, samples]`.

        Args:
            midi_messages: mido messages with absolute `time` in seconds, or `(bytes, seconds)` pairs.
            duration: seconds of audio to return.
            num_channels: 1 (both sides averaged) or 2.
            buffer_size: samples computed at a time; it does not change the sound.
            reset: start from silence; with False the sound of the last call goes on.

        Raises:
            UsageError: an argument out of range.
        """
        if num_channels not in (1, 2):
            raise UsageError(f"num_channels is {num_channels!r}; use 1 or 2")
        if not 0.0 <= duration <= MAX_SECONDS:
            raise UsageError(f"duration is {duration!r}; use 0 to {MAX_SECONDS:g} seconds")
        key = (float(sample_rate), int(buffer_size))
        if key not in self._engines:
            self._engines = {key: Engine(self, sample_rate, max_block_size=buffer_size)}
        engine = self._engines[key]
        if reset:
            engine.reset()
        n_samples = round(duration * sample_rate)
        blocks = list(play_events(engine, to_events(midi_messages, sample_rate), n_samples, buffer_size))
        audio = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0), np.float32)
        return audio if num_channels == 2 else audio.mean(axis=0, keepdims=True)
