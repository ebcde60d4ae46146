"""`Engine`: MIDI events in, audio out, in blocks of any size.

Live play, offline render and the benchmarks all call `Engine.process`; they differ only in where events and
blocks come from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.events import NOTE_ON, SYSTEM, Event
from neuralsynth.part import Part
from neuralsynth.patch import Patch
from neuralsynth.sound.guard import OutputGuard
from neuralsynth.sound.voices import N_CHANNELS

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000.0, 192_000.0
MAX_BLOCK_SIZE = 65_536


class Engine:
    """One or several patches on the 16 MIDI channels, mixed and guarded."""

    def __init__(
        self,
        patches: Patch | Mapping[int, Patch],
        sample_rate: float = 48_000,
        max_block_size: int = 8192,
    ) -> None:
        """Prepare everything that playing needs.

        Args:
            patches: one for all channels, or one per channel number 0..15; channels without one are silent.
                The same patch on several channels shares its voices and its effects.
            sample_rate: Hz.
            max_block_size: blocks up to this size are computed in one piece.

        Raises:
            UsageError: an argument out of range.
        """
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise UsageError(f"sample rate is {sample_rate!r}; use {MIN_SAMPLE_RATE:g} to {MAX_SAMPLE_RATE:g} Hz")
        if not 1 <= max_block_size <= MAX_BLOCK_SIZE:
            raise UsageError(f"block size is {max_block_size!r}; use 1 to {MAX_BLOCK_SIZE} samples")
        by_channel = patches if isinstance(patches, Mapping) else dict.fromkeys(range(N_CHANNELS), patches)
        parts: dict[int, Part] = {}
        self._part_of: list[Part | None] = [None] * N_CHANNELS
        for channel, patch in sorted(by_channel.items()):
            if id(patch) not in parts:
                parts[id(patch)] = Part(patch, float(sample_rate), max_block_size)
            self._part_of[channel] = parts[id(patch)]
        self.parts = list(parts.values())
        self.latency_samples = max((part.chain.latency_samples for part in self.parts), default=0)
        self._delays = [_Delay(self.latency_samples - part.chain.latency_samples) for part in self.parts]
        self.sample_rate, self.max_block_size = float(sample_rate), max_block_size
        self._guard = OutputGuard(sample_rate)
        self._buffer = np.zeros((2, max_block_size), np.float32)
        self._now = 0

    def reset(self) -> None:
        """Power-on state: what follows does not depend on what was played before."""
        for part, delay in zip(self.parts, self._delays, strict=True):
            part.reset()
            delay.reset()
        self._guard.reset()
        self._now = 0

    def process(self, events: Sequence[Event], n_samples: int) -> np.ndarray:
        """Play one block: events (sorted by `sample`, offsets in this block) -> float32 `[2, n_samples]`.

        The same events at the same absolute samples give the same audio however time is cut into blocks.
        An event past the end of the block happens at its end.

        [audio thread] Takes no lock, touches no file; notes not yet in the bank are decoded here.
        """
        out = np.zeros((2, n_samples), np.float32)
        done, next_event = 0, 0
        while done < n_samples:
            n = min(self.max_block_size, n_samples - done)
            stop = next_event
            while stop < len(events) and (events[stop].sample < done + n or done + n == n_samples):
                stop += 1
            out[:, done : done + n] = self._block(events[next_event:stop], done, n)
            done, next_event = done + n, stop
        return out

    def prepare(self, keys_by_channel: Mapping[int, Iterable[int]]) -> None:
        """Decode these keys of each channel ahead, so that no note-on has to wait for the model."""
        for channel, keys in keys_by_channel.items():
            part = self._part_of[channel]
            if part is not None:
                part.prepare(keys)

    @property
    def n_sounding(self) -> int:
        """Voices that sound, those in release and fading included."""
        return sum(part.pool.n_sounding for part in self.parts)

    @property
    def faults(self) -> int:
        """How often the output guard had to mute something that was no number."""
        return self._guard.faults

    @property
    def is_gated(self) -> bool:
        """Whether any key or pedal holds a voice."""
        return any(part.is_gated for part in self.parts)

    @property
    def tail_seconds(self) -> float:
        """How long the effects may ring after the last voice."""
        return max((part.chain.tail_seconds for part in self.parts), default=0.0)

    def _block(self, events: Sequence[Event], offset: int, n: int) -> np.ndarray:
        cuts = sorted({0, n, *(min(max(event.sample - offset, 0), n) for event in events)})
        bounds = list(itertools.pairwise(cuts))
        mix = np.zeros((2, n), np.float32)
        for part, delay in zip(self.parts, self._delays, strict=True):
            buffer = self._buffer[:, :n]
            index = 0
            for start, stop in bounds:
                index = self._dispatch(part, events, index, start, offset)
                part.render(self._now + start, buffer[:, start:stop])
            self._dispatch(part, events, index, n, offset)
            mix += delay.process(part.apply_effects(self._now, buffer))
        self._now += n
        mix = self._guard.process(mix)
        if self._guard.found_fault:
            for part in self.parts:
                part.chain.reset()
        return mix

    def _dispatch(self, part: Part, events: Sequence[Event], index: int, start: int, offset: int) -> int:
        """Hand `part` its events up to block position `start`; returns the index of the first one left."""
        messages = []
        while index < len(events) and events[index].sample - offset <= start:
            message = events[index].message
            if message and (message[0] >= SYSTEM or self._part_of[message[0] & 0x0F] is part):
                messages.append(message)
            index += 1
        for message in _without_doubles(messages):
            part.handle(self._now + start, message)
        return index


def _without_doubles(messages: list[bytes]) -> list[bytes]:
    """Of several strikes of one key at one sample only the last: a million of them cost what one does."""
    if len(messages) < 2:
        return messages
    last = {m[:2]: i for i, m in enumerate(messages) if _is_strike(m)}
    return [m for i, m in enumerate(messages) if not _is_strike(m) or last[m[:2]] == i]


def _is_strike(message: bytes) -> bool:
    return message[0] & 0xF0 == NOTE_ON and len(message) > 2 and message[2] > 0


class _Delay:
    """Holds a part back until those with slower effects have caught up."""

    def __init__(self, n_samples: int) -> None:
        self._held = np.zeros((2, n_samples), np.float32)

    def process(self, audio: np.ndarray) -> np.ndarray:
        if self._held.shape[1] == 0:
            return audio
        both = np.concatenate([self._held, audio], axis=1)
        self._held = both[:, audio.shape[1] :]
        return both[:, : audio.shape[1]]

    def reset(self) -> None:
        self._held = np.zeros_like(self._held)


def play_events(
    engine: Engine, events: Iterable[Event], n_samples: int, block_size: int = 8192
) -> Iterator[np.ndarray]:
    """Play events with absolute sample times (sorted) block by block: yields float32 `[2, n]`."""
    pending = iter(events)
    event = next(pending, None)
    for start in range(0, n_samples, block_size):
        n = min(block_size, n_samples - start)
        block = []
        while event is not None and event.sample < start + n:
            block.append(Event(event.sample - start, event.message))
            event = next(pending, None)
        yield engine.process(block, n)
