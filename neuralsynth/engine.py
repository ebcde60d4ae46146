"""`Engine`: MIDI events in, audio out, in blocks of any size.

Live play, offline render and the benchmarks all call `Engine.process`; they differ only in where events and
blocks come from.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.events import NOTE_ON, Event
from neuralsynth.midi.learn import ControllerMap
from neuralsynth.mixer import Mixer, Voiced
from neuralsynth.part import Part
from neuralsynth.patch import Patch
from neuralsynth.performer import Performer
from neuralsynth.programs import Programs
from neuralsynth.sound.voices import N_CHANNELS

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000.0, 192_000.0
MAX_BLOCK_SIZE = 65_536
_WARM_BLOCKS = 8
_LONG_BLOCK = 4096  # samples; the work in a shorter block is not worth handing over


class Engine:
    """Patches on the 16 MIDI channels, mixed and guarded. What messages do, `performer` says."""

    def __init__(
        self,
        patches: Patch | Mapping[int, Patch],
        sample_rate: float = 48_000,
        max_block_size: int = 8192,
        programs: Programs | None = None,
        controls: ControllerMap | None = None,
        gain_db: float = 0.0,
    ) -> None:
        """Prepare everything that playing needs.

        Args:
            patches: one for all channels, or one per channel number 0..15; channels without one are silent.
                The same patch on several channels shares its voices and its effects.
            sample_rate: Hz.
            max_block_size: blocks up to this size are computed in one piece.
            programs: what program changes bring; without them they are ignored.
            controls: which controllers turn which knobs, besides those that always do.
            gain_db: level of the mix, before the output guard.

        Raises:
            UsageError: an argument out of range.
        """
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise UsageError(f"sample rate is {sample_rate!r}; use {MIN_SAMPLE_RATE:g} to {MAX_SAMPLE_RATE:g} Hz")
        if not 1 <= max_block_size <= MAX_BLOCK_SIZE:
            raise UsageError(f"block size is {max_block_size!r}; use 1 to {MAX_BLOCK_SIZE} samples")
        start = patches if isinstance(patches, Mapping) else dict.fromkeys(range(N_CHANNELS), patches)
        parts: dict[int, Part] = {}
        for patch in (*(start[channel] for channel in sorted(start)), *(programs.patches if programs else ())):
            for _, zone in patch.zones:
                if id(zone) not in parts:
                    parts[id(zone)] = Part(zone, float(sample_rate), max_block_size, controls is not None)
        self.parts = list(parts.values())
        self.sample_rate, self.max_block_size = float(sample_rate), max_block_size
        self.performer = Performer(parts, start, self.sample_rate, programs, controls)
        self._mixer = Mixer(self.parts, self.sample_rate, max_block_size, gain_db)
        self.latency_samples = self._mixer.latency_samples
        self._voiced = Voiced.room(len(self.parts), max_block_size)  # of the block that is played
        self._now = 0

    def reset(self) -> None:
        """Power-on state: what follows does not depend on what was played before."""
        for part in self.parts:
            part.reset()
        self._mixer.reset()
        self._now = 0
        self.performer.reset()

    def process(self, events: Sequence[Event], n_samples: int) -> np.ndarray:
        """Play one block: events (sorted by `sample`, offsets in this block) -> float32 `[2, n_samples]`.

        The same events at the same absolute samples give the same audio however time is cut into blocks.
        An event past the end of the block happens at its end.

        [audio thread] Takes no lock, touches no file; notes not yet in the bank are decoded here.
        """
        if n_samples <= self.max_block_size:
            self._play(events, 0, n_samples, self._voiced)
            return self._mixer.mix(self._voiced) if n_samples else np.zeros((2, 0), np.float32)
        out = np.zeros((2, n_samples), np.float32)
        done, next_event = 0, 0
        while done < n_samples:
            n = min(self.max_block_size, n_samples - done)
            stop = next_event
            while stop < len(events) and (events[stop].sample < done + n or done + n == n_samples):
                stop += 1
            self._play(events[next_event:stop], done, n, self._voiced)
            out[:, done : done + n] = self._mixer.mix(self._voiced)
            done, next_event = done + n, stop
        return out

    def voiced(self, events: Sequence[Event], n_samples: int) -> Voiced:
        """The first half of `process`, for a block of at most `max_block_size`: what the voices give.

        What it returns is written over by the call after next.
        """
        self._voiced, self._voiced_before = self._voiced_before, self._voiced
        self._play(events, 0, n_samples, self._voiced)
        return self._voiced

    def mixed(self, voiced: Voiced) -> np.ndarray:
        """The second half of `process`; another thread may do it while the next block is voiced."""
        return self._mixer.mix(voiced)

    def warm(self) -> None:
        """Let every part sound once, so that what playing needs is in memory; then as after power-on."""
        for part in self.parts:
            part.strike(self._now, 0, 60, 60.0, 100.0, (60.0, 0.0), self.performer.band.surroundings(0))
        self._mixer.warm()
        for _ in range(_WARM_BLOCKS):
            self.process([], self.max_block_size)
        self.reset()

    def prepare(self, keys_by_channel: Mapping[int, Iterable[int]]) -> None:
        """Decode these keys of each channel ahead, so that no note-on has to wait for the model."""
        self.performer.prepare(keys_by_channel)

    def shed(self, n_voices: int) -> int:
        """Let the least missed voices of the busiest parts fade out; returns how many there were to end.

        [audio thread]
        """
        for done in range(n_voices):
            busiest = max(self.parts, key=lambda part: part.pool.n_active)
            if not busiest.pool.shed():
                return done
        return n_voices

    def renew_directions(self) -> None:
        """Let sounding voices find directions of timbre that their banks did not have before.

        [audio thread]
        """
        for part in self.parts:
            if not part.pool.is_silent:
                part.renew_directions()

    def held_notes(self) -> Counter[tuple[int, int]]:
        """The notes that a key or a pedal holds, by channel 0..15 and key."""
        return self.performer.held_notes()

    @property
    def n_sounding(self) -> int:
        """Voices that sound, those in release and fading included."""
        return sum(part.pool.n_sounding for part in self.parts if not part.pool.is_silent)

    @property
    def rests(self) -> bool:
        """Whether silence follows until something is played: no voice sounds, and nothing rings."""
        return all(part.pool.is_silent for part in self.parts) and self._mixer.rests

    @cached_property
    def _voiced_before(self) -> Voiced:
        return Voiced.room(len(self.parts), self.max_block_size)

    @property
    def faults(self) -> int:
        """How often the output guard had to mute something that was no number."""
        return self._mixer.guard.faults

    @property
    def limited_seconds(self) -> float:
        """For how long the output guard had to lower the mix by 1 dB or more."""
        return self._mixer.guard.limited_samples / self.sample_rate

    @property
    def ignored(self) -> int:
        """How many messages meant nothing here."""
        return self.performer.ignored

    @property
    def tempo_bpm(self) -> float:
        """The tempo that LFOs and echoes follow."""
        return self.performer.band.beats_per_minute

    @property
    def is_gated(self) -> bool:
        """Whether any key or pedal holds a voice."""
        return any(keyboard.is_gated for keyboard in self.performer.band.keyboards)

    @property
    def tail_seconds(self) -> float:
        """How long the effects may ring from now on."""
        return self._mixer.tail_seconds

    def _play(self, events: Sequence[Event], offset: int, n: int, voiced: Voiced) -> None:
        """Let the voices play up to `max_block_size` samples; events count from `offset` samples before."""
        performer, done, index = self.performer, 0, 0
        voiced.begins_at, voiced.n = self._now, n
        voiced.is_used[:] = [False] * len(self.parts)
        while True:
            performer.check_sensing(self._now + done)  # before messages of the same sample
            index = self._dispatch(events, index, done, math.inf if done == n else offset + done)
            if done == n:
                break
            stop = min(n, max(events[index].sample - offset, done + 1)) if index < len(events) else n
            deadline = performer.sensing.deadline
            if deadline is not None:
                stop = min(stop, max(deadline - self._now, done + 1))
            for i, part in enumerate(self.parts):
                if voiced.is_used[i] or not part.pool.is_silent:
                    if not voiced.is_used[i]:  # in a block in which it sounds, all of its buffer is written
                        voiced.is_used[i] = True
                        voiced.buffers[i][:, :done] = 0.0
                    part.render(self._now + done, voiced.buffers[i][:, done:stop])
            done = stop
        voiced.feeds_sends = any(part.pool.uses_sends for part in self.parts)
        if n:
            voiced.silenced_at = tuple(performer.band.silenced)
            performer.band.silenced.clear()
            self._now += n

    def _dispatch(self, events: Sequence[Event], index: int, done: int, last: float) -> int:
        """Hand on the events up to sample `last` at block position `done`; returns the index of the first one left."""
        first = index
        while index < len(events) and events[index].sample <= last:
            index += 1
        for message in _without_doubles([event.message for event in events[first:index]]):
            self.performer.handle(self._now + done, message)
        return index


def _without_doubles(messages: list[bytes]) -> list[bytes]:
    """Of several strikes of one key at one sample only the last: a million of them cost what one does."""
    if len(messages) < 2:
        return messages
    last = {m[:2]: i for i, m in enumerate(messages) if _is_strike(m)}
    return [m for i, m in enumerate(messages) if not _is_strike(m) or last[m[:2]] == i]


def _is_strike(message: bytes) -> bool:
    return len(message) > 2 and message[0] & 0xF0 == NOTE_ON and message[2] > 0


def play_events(
    engine: Engine, events: Iterable[Event], n_samples: int, block_size: int = 8192
) -> Iterator[np.ndarray]:
    """Play events with absolute sample times (sorted) block by block: yields float32 `[2, n]`.

    Two threads share the work where blocks are long: voices run a block ahead of effects. The samples are the same.
    """
    pending = iter(events)
    event = next(pending, None)
    starts = range(0, n_samples, min(block_size, engine.max_block_size))
    with ThreadPoolExecutor(1, "mixer") if starts.step >= _LONG_BLOCK else contextlib.nullcontext() as other:
        mixing: Future[np.ndarray] | None = None
        for start in starts:
            n = min(starts.step, n_samples - start)
            block = []
            while event is not None and event.sample < start + n:
                block.append(Event(event.sample - start, event.message))
                event = next(pending, None)
            if other is None:
                yield engine.process(block, n)
                continue
            voiced = engine.voiced(block, n)
            if mixing is not None:
                yield mixing.result()
            mixing = other.submit(engine.mixed, voiced)
        if mixing is not None:
            yield mixing.result()
