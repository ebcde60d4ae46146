"""`Engine`: MIDI events in, audio out, in blocks of any size.

Live play, offline render and the benchmarks all call `Engine.process`; they differ only in where events and
blocks come from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.events import NOTE_ON, Event
from neuralsynth.midi.learn import ControllerMap
from neuralsynth.part import Part
from neuralsynth.patch import Patch
from neuralsynth.performer import Performer
from neuralsynth.programs import Programs
from neuralsynth.sends import KINDS, SendBus
from neuralsynth.sound.guard import OutputGuard
from neuralsynth.sound.layout import N_OUTPUTS
from neuralsynth.sound.voices import N_CHANNELS
from neuralsynth.tails import Timed
from neuralsynth.units import db_to_gain

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000.0, 192_000.0
MAX_BLOCK_SIZE = 65_536
_WARM_BLOCKS = 8


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
        self.latency_samples = max((part.chain.latency_samples for part in self.parts), default=0)
        self._delays = [_Delay(self.latency_samples - part.chain.latency_samples) for part in self.parts]
        self.sample_rate, self.max_block_size = float(sample_rate), max_block_size
        self.performer = Performer(parts, start, self.sample_rate, programs, controls)
        self._sends = [_Send(kind, self.sample_rate, max_block_size, self.latency_samples) for kind in KINDS]
        self._guard, self._gain = OutputGuard(sample_rate), np.float32(db_to_gain(gain_db))
        self._buffers = [np.zeros((N_OUTPUTS, max_block_size), np.float32) for _ in self.parts]
        self._is_used = [False] * len(self.parts)  # in this block
        self._now = 0

    def reset(self) -> None:
        """Power-on state: what follows does not depend on what was played before."""
        for part, delay in zip(self.parts, self._delays, strict=True):
            part.reset()
            delay.reset()
        for send in self._sends:
            send.reset()
        self._guard.reset()
        self._is_used[:] = [False] * len(self.parts)
        self._now = 0
        self.performer.reset()

    def process(self, events: Sequence[Event], n_samples: int) -> np.ndarray:
        """Play one block: events (sorted by `sample`, offsets in this block) -> float32 `[2, n_samples]`.

        The same events at the same absolute samples give the same audio however time is cut into blocks.
        An event past the end of the block happens at its end.

        [audio thread] Takes no lock, touches no file; notes not yet in the bank are decoded here.
        """
        out = np.zeros((2, n_samples), np.float32)
        if n_samples == 0:
            self._play(events, 0, 0)
        done, next_event = 0, 0
        while done < n_samples:
            n = min(self.max_block_size, n_samples - done)
            stop = next_event
            while stop < len(events) and (events[stop].sample < done + n or done + n == n_samples):
                stop += 1
            self._play(events[next_event:stop], done, n)
            out[:, done : done + n] = self._mixed(n)
            done, next_event = done + n, stop
        return out

    def warm(self) -> None:
        """Let every part sound once, so that what playing needs is in memory; then as after power-on."""
        for part in self.parts:
            part.strike(self._now, 0, 60, 60.0, 100.0, (60.0, 0.0), self.performer.band.surroundings(0))
        for send in self._sends:
            send.warm()
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
        parts_rest = all(part.rests and delay.is_empty for part, delay in zip(self.parts, self._delays, strict=True))
        return parts_rest and all(send.rests for send in self._sends)

    @property
    def faults(self) -> int:
        """How often the output guard had to mute something that was no number."""
        return self._guard.faults

    @property
    def limited_seconds(self) -> float:
        """For how long the output guard had to lower the mix by 1 dB or more."""
        return self._guard.limited_samples / self.sample_rate

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
        sends = [send.tail_seconds for send in self._sends]
        return max([*(part.chain.tail_seconds for part in self.parts), *sends], default=0.0)

    def _play(self, events: Sequence[Event], offset: int, n: int) -> None:
        """Play up to `max_block_size` samples into the buffers; events count from `offset` samples before."""
        performer, done, index = self.performer, 0, 0
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
                if self._is_used[i] or not part.pool.is_silent:
                    self._use(i, part, done, stop)
            done = stop

    def _use(self, i: int, part: Part, done: int, stop: int) -> None:
        """Render a stretch of a part; in a block in which it sounds, all of its buffer is written."""
        buffer = self._buffers[i]
        if not self._is_used[i]:
            self._is_used[i] = True
            buffer[:, :done] = 0.0
        part.render(self._now + done, buffer[:, done:stop])

    def _dispatch(self, events: Sequence[Event], index: int, done: int, last: float) -> int:
        """Hand on the events up to sample `last` at block position `done`; returns the index of the first one left."""
        first = index
        while index < len(events) and events[index].sample <= last:
            index += 1
        for message in _without_doubles([event.message for event in events[first:index]]):
            self.performer.handle(self._now + done, message)
        return index

    def _mixed(self, n: int) -> np.ndarray:
        """Run the rendered block of every part through its effects and add up; then the sends and the guard."""
        mix = np.zeros((2, n), np.float32)
        sent = np.zeros((2, n), np.float32) if any(part.pool.uses_sends for part in self.parts) else None
        for i, (part, delay) in enumerate(zip(self.parts, self._delays, strict=True)):
            buffer = self._buffers[i][:, :n]
            if not self._is_used[i]:
                if part.rests and delay.is_empty:
                    continue
                buffer[:] = 0.0
            mix += delay.process(part.apply_effects(self._now, buffer[:2]))
            if sent is not None:
                sent += buffer[2:]
        self._is_used[:] = [False] * len(self.parts)
        for at in self.performer.band.silenced:
            for send in self._sends:
                send.silence(at)
        self.performer.band.silenced.clear()
        for i, send in enumerate(self._sends):
            signal = np.zeros(n, np.float32) if sent is None else sent[i]
            if not send.rests or signal.any():
                mix += send.process(self._now, signal)
        self._now += n
        mix *= self._gain
        self._guard.process(mix)
        if self._guard.found_fault:
            for part in self.parts:
                part.chain.reset()
            for send in self._sends:
                send.reset()
        return mix


def _without_doubles(messages: list[bytes]) -> list[bytes]:
    """Of several strikes of one key at one sample only the last: a million of them cost what one does."""
    if len(messages) < 2:
        return messages
    last = {m[:2]: i for i, m in enumerate(messages) if _is_strike(m)}
    return [m for i, m in enumerate(messages) if not _is_strike(m) or last[m[:2]] == i]


def _is_strike(message: bytes) -> bool:
    return len(message) > 2 and message[0] & 0xF0 == NOTE_ON and message[2] > 0


class _Send:
    """A shared effect. It is made when something is first sent to it; `warm` makes it ahead."""

    def __init__(self, kind: str, sample_rate: float, max_block_size: int, latency_samples: int) -> None:
        self._kind, self._sample_rate, self._max_block_size = kind, sample_rate, max_block_size
        self._delay = _Delay(latency_samples)
        self._timed: Timed | None = None

    @property
    def rests(self) -> bool:
        """Whether it gives silence until something is sent to it."""
        return self._timed is None or (self._timed.rests and self._delay.is_empty)

    @property
    def tail_seconds(self) -> float:
        """How long it may go on ringing: not at all while it rests."""
        return 0.0 if self._timed is None or self.rests else self._timed.tail_seconds

    def warm(self) -> Timed:
        """Make it, if it is not yet there."""
        if self._timed is None:
            bus = SendBus(self._kind, self._sample_rate, self._max_block_size)
            self._timed = Timed(bus, self._sample_rate)
        return self._timed

    def process(self, now: int, signal: np.ndarray) -> np.ndarray:
        """What comes back, `[2, n]`, for a mono signal `[n]` that begins at sample `now`."""
        return self._delay.process(self.warm().process(now, np.repeat(signal[None], 2, axis=0)))

    def silence(self, now: int) -> None:
        """Fade out what rings, from sample `now` on."""
        if self._timed is not None:
            self._timed.silence(now)

    def reset(self) -> None:
        """Forget all earlier sound."""
        if self._timed is not None:
            self._timed.reset()
        self._delay.reset()


class _Delay:
    """Holds a part back until those with slower effects have caught up."""

    def __init__(self, n_samples: int) -> None:
        self._held = np.zeros((2, n_samples), np.float32)

    @property
    def is_empty(self) -> bool:
        return not self._held.any()

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
