"""`Processor`: one block of live play. The back end calls it, nothing else runs in its thread.

Time stands still until the first message after power-on: a take begins with its first message, and what is heard is
what `render` gives for the same messages at the same samples.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from neuralsynth.engine import Engine
from neuralsynth.errors import one_line
from neuralsynth.events import DATA_LENGTH, NOTE_ON, PROGRAM_CHANGE, Event
from neuralsynth.live.clock import BlockClock
from neuralsynth.live.shared import LOAD_BINS, TAKE_BEGINS, TAKE_ENDS, Shared
from neuralsynth.midi.stream import MessageStream

#: Messages played in one block; more wait for the next ones, in order.
MOST_EVENTS = 48
#: Engines that may ring on after they were replaced; older ones are faded out.
MOST_LEAVING = 2
#: Overload: so many of the last blocks took longer than this share of their time.
OVERLOAD, BLOCKS_LOOKED_AT, BLOCKS_TOO_LONG = 0.8, 8, 3
_SHED_SHARE = 8  # one voice in so many ends, at least two
_SMOOTHING = 0.05  # of the load shown, per block
_FADE_SECONDS = 0.03  # in which all sound off has silenced voices and effects
_QUIET = 1e-4  # an engine that rings on below this level is not missed
_SILENCE_ALL = [Event(0, bytes([0xB0 | channel, 120, 0])) for channel in range(16)]


class Processor:
    """Plays engines that the main thread installs; everything else here belongs to the audio thread."""

    def __init__(self, shared: Shared, sample_rate: int, block_size: int) -> None:
        """Silence until `install`.

        Args:
            block_size: samples of the largest block, and how much later than they came messages with a time are
                played: a constant delay instead of jitter.
        """
        self._shared, self._meters = shared, shared.meters
        self._rate, self._block_size = sample_rate, block_size
        self._clock = BlockClock(sample_rate)
        self._stream = MessageStream()
        self._engine: Engine | None = None
        self._leaving: list[Engine] = []
        self._next: tuple[Engine, int] | None = None
        self._waiting: deque[Event] = deque()  # that found no room in their block
        self._timed: list[tuple[int, bytes]] = []  # with their stamps, ns, for later blocks
        self._time = 0  # samples since the engine's first message
        self._has_begun = False
        self._fade_left = 0  # samples until the engine has faded out and is taken away
        self._renew = False
        self._too_long: deque[bool] = deque([False] * BLOCKS_LOOKED_AT, BLOCKS_LOOKED_AT)
        self._worst_asked = 0
        #: For the main thread to look at, and to clear: engines that sound no more; what went wrong.
        self.retired: list[Engine] = []
        self.error = ""
        self.is_freewheeling = False

    # ---- called by the main thread

    def install(self, engine: Engine, take: int = 0) -> None:
        """Let an engine that has not played yet take over with the next block.

        Notes that sound end on the engine that plays them.

        Args:
            take: number of the take that begins with the engine's first message, 0 none.
        """
        self._next = (engine, take)

    def fade_out(self) -> None:
        """Silence the engine and give it back in `retired`; messages wait for the next one."""
        self._fade_left = max(1, round(_FADE_SECONDS * self._rate))

    def renew(self) -> None:
        """Let sounding voices find the directions of timbre that came in."""
        self._renew = True

    @property
    def is_playing(self) -> bool:
        """Whether an engine is installed, and the last one installed."""
        return self._engine is not None and self._next is None

    def end_take(self) -> None:
        """No more of the take that is recorded; the audio thread calls it too, the main thread when there is none."""
        if self._meters.take:
            self._meters.take = 0
            self._shared.log.put(self._shared.audio.written, TAKE_ENDS)

    # ---- called by the audio thread

    def process(self, n_samples: int, began_ns: int, events: Sequence[Event]) -> np.ndarray:
        """Play one block; see `backend.Process`.

        [audio thread] Takes no lock, touches no file, starts no inference; raises nothing.
        """
        started = time.perf_counter_ns()
        try:
            audio = self._play(n_samples, began_ns, events)
        except Exception as error:  # noqa: BLE001 - the instrument goes on: the main thread puts it right
            self.error = self.error or one_line(f"{type(error).__name__}: {error}")
            self._engine, self._leaving, self._fade_left = None, [], 0
            self.end_take()
            self._meters.faults += 1
            audio = np.zeros((2, n_samples), np.float32)
        self._measure(audio, n_samples, (time.perf_counter_ns() - started) * 1e-9)
        return audio

    def _play(self, n_samples: int, began_ns: int, native: Sequence[Event]) -> np.ndarray:
        if self._next is not None:
            self._take_over(*self._next)
        if self._meters.take and self._shared.controls.take != self._meters.take:
            self.end_take()
        events = self._collected(n_samples, began_ns, native)
        if self._engine is None or self._fade_left:
            self._waiting.extend(Event(0, event.message) for event in events)
            audio = self._faded(n_samples)
        else:
            audio = self._sounded(self._engine, events, n_samples)
        for engine in list(self._leaving):
            audio = audio + self._rung_out(engine, events, n_samples)
        return audio

    def _sounded(self, engine: Engine, events: list[Event], n_samples: int) -> np.ndarray:
        """The block of the engine that plays."""
        if not (self._has_begun or events):
            return np.zeros((2, n_samples), np.float32)
        self._has_begun = True
        if self._renew:
            self._renew = False
            engine.renew_directions()
        self._note_down(events)
        audio = engine.process(events, n_samples)
        self._time += n_samples
        self._keep(audio)
        return audio

    def _faded(self, n_samples: int) -> np.ndarray:
        """The block of an engine that is silenced, or silence."""
        engine = self._engine
        if engine is None:
            return np.zeros((2, n_samples), np.float32)
        audio = engine.process(_SILENCE_ALL, n_samples)
        self._fade_left = max(0, self._fade_left - n_samples)
        if self._fade_left == 0:
            self._engine = None
            self.retired.append(engine)
        return audio

    def _take_over(self, engine: Engine, take: int) -> None:
        """Swap engines between two blocks."""
        old, self._engine, self._next, self._fade_left = self._engine, engine, None, 0
        if old is not None:
            (self._leaving if old.n_sounding else self.retired).append(old)
        self._has_begun, self._time = False, 0
        meters = self._meters
        self.end_take()
        if take:
            meters.take = take
            self._shared.log.put(self._shared.audio.written, TAKE_BEGINS)
        meters.latency_samples = engine.latency_samples

    def _rung_out(self, engine: Engine, events: Sequence[Event], n_samples: int) -> np.ndarray:
        """What an engine still sounds that was replaced: it hears all but new notes and programs."""
        if engine not in self._leaving[-MOST_LEAVING:]:
            events = _SILENCE_ALL
        heard = [e for e in events if not _is_new_note(e.message) and e.message[0] & 0xF0 != PROGRAM_CHANGE]
        audio = engine.process(heard, n_samples)
        if engine.n_sounding == 0 and np.abs(audio).max() < _QUIET:
            self._leaving.remove(engine)
            self.retired.append(engine)
        return audio

    def _collected(self, n_samples: int, began_ns: int, native: Sequence[Event]) -> list[Event]:
        """The messages of this block in order: those that waited, then all sources by their time."""
        events = [Event(sample, m) for sample, message in native for m in self._well_formed(message)]
        came = self._shared.keys.take() + self._shared.midi.take()
        began = self._clock.began(began_ns, n_samples)
        if came or self._timed:
            events += self._due(came, began, n_samples)
            events.sort(key=_sample_of)
        if self._waiting or (len(events) > MOST_EVENTS and not self.is_freewheeling):
            self._waiting.extend(events)
            n = min(MOST_EVENTS, len(self._waiting))
            late = len(self._waiting) - len(events)  # those are from earlier blocks: at once
            events = [self._waiting.popleft() for _ in range(n)]
            events = [Event(0, e.message) if i < late else e for i, e in enumerate(events)]
            self._meters.late_events += min(late, n)
        return events

    def _due(self, came: list[tuple[int, bytes]], began: float, n_samples: int) -> list[Event]:
        """Messages with a time, a block later than they came; those of later blocks are kept."""
        events, later = [], []
        for stamp, message in (*self._timed, *came):
            sample = self._clock.offset(stamp, began) + self._block_size if stamp else 0
            if sample >= n_samples and not self.is_freewheeling:
                later.append((stamp, message))
                continue
            self._meters.late_events += sample < 0
            events.append(Event(min(max(sample, 0), n_samples - 1), message))
        self._timed = later
        return events

    def _well_formed(self, message: bytes) -> list[bytes]:
        """A message of the back end's own port as it is, or what can be read of it."""
        if 0x80 <= message[0] < 0xF0 and len(message) == 1 + DATA_LENGTH[message[0] & 0xF0] and max(message[1:]) < 0x80:
            return [message]
        return self._stream.feed(message)

    def _note_down(self, events: Sequence[Event]) -> None:
        """Tell the session what is played, and keep where the channels stand."""
        shared, meters = self._shared, self._meters
        for sample, message in events:
            shared.states.observe(message)
            if not shared.log.put(self._time + sample, message):
                meters.lost_events += 1
            if message[0] & 0xF0 == PROGRAM_CHANGE:
                meters.program = message[1]
        meters.events += len(events)

    def _keep(self, audio: np.ndarray) -> None:
        """Hand a take's audio on to the session."""
        if self._meters.take and not self._shared.audio.put(audio):
            self._meters.lost_frames += audio.shape[1]

    def _measure(self, audio: np.ndarray, n_samples: int, seconds: float) -> None:
        """Meters, and voices shed in overload."""
        meters, engine = self._meters, self._engine
        load = seconds * self._rate / max(n_samples, 1)
        meters.blocks += 1
        meters.samples += n_samples
        if not self.is_freewheeling:
            meters.load += _SMOOTHING * (min(load, 2.0) - meters.load)
            meters.late_blocks += load > 1.0
            meters.loads[min(int(100.0 * load), LOAD_BINS - 1)] += 1
            self._too_long.append(load > OVERLOAD)
        asked = self._shared.controls.worst_asked
        if asked != self._worst_asked:
            self._worst_asked = asked
            meters.worst = meters.peak_left = meters.peak_right = 0.0
        meters.worst = max(meters.worst, load)
        if engine is None:
            meters.voices = 0
            return
        meters.voices = n_voices = engine.n_sounding
        if n_voices:
            left, right = np.abs(audio).max(axis=1)
            meters.peak_left = max(meters.peak_left, float(left))
            meters.peak_right = max(meters.peak_right, float(right))
        meters.ignored, meters.limited_seconds = engine.ignored, engine.limited_seconds
        meters.tempo_bpm = engine.tempo_bpm
        if sum(self._too_long) >= BLOCKS_TOO_LONG:
            self._too_long.extend([False] * BLOCKS_LOOKED_AT)
            meters.shed_voices += engine.shed(max(2, n_voices // _SHED_SHARE))


def _sample_of(event: Event) -> int:
    return event.sample


def _is_new_note(message: bytes) -> bool:
    return message[0] & 0xF0 == NOTE_ON and len(message) > 2 and message[2] > 0
