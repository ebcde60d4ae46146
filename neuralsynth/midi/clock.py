"""Time that comes by MIDI: clock and transport become a tempo and a song position; active sensing a deadline.

All times are absolute samples, so the same messages at the same samples give the same answers however the
blocks are cut. The tempo is the slope of a straight line fitted to the last ticks, which leaves little of the
jitter of cables and drivers; the song position is steered towards that line and never leaps to it.
"""

from __future__ import annotations

import math
from collections import deque

SONG_POSITION, TICK, START, CONTINUE, STOP, ACTIVE_SENSING, SYSTEM_RESET = 0xF2, 0xF8, 0xFA, 0xFB, 0xFC, 0xFE, 0xFF
TICKS_PER_BEAT = 24
TICKS_PER_SONG_POSITION = 6  # it counts sixteenths
DEFAULT_BEATS_PER_MINUTE = 120.0
CLOCK_BEATS_PER_MINUTE = (20.0, 400.0)  # what ticks are believed
FILE_BEATS_PER_MINUTE = (3.0, 6000.0)  # a file's slowest tempo is 3.58
CLOCK_LOST_SECONDS = 0.5
SENSING_SECONDS = 0.3

_FEW_TICKS, _SHORT_TICKS, _LONG_TICKS = 6, 24, 48
_JITTER_SECONDS = 1.5e-3  # to either side, what one tick may be off
_STEP_SECONDS = 4e-3  # two ticks further off than this on the same side are a new tempo
_DISAGREE_SECONDS = 1e-4  # per tick; four times what jitter makes the short and the long line differ (root mean square)
_PULL = 1.0 / 12.0  # share of the error of position that is taken back by the next tick


class _Line:
    """A least-squares line through the samples of the last `most` ticks; the sums are whole numbers, so exact."""

    __slots__ = ("_most", "_plain", "_weighted", "samples")

    def __init__(self, most: int):
        self._most = most
        self.clear()

    def clear(self) -> None:
        self.samples: deque[int] = deque()
        self._plain = self._weighted = 0

    def add(self, sample: int) -> None:
        if len(self.samples) == self._most:
            oldest = self.samples.popleft()
            self._plain -= oldest
            self._weighted -= self._plain  # every tick left counts one place lower
        self._weighted += len(self.samples) * sample
        self._plain += sample
        self.samples.append(sample)

    def samples_per_tick(self) -> float:
        """Slope; needs two ticks."""
        n = len(self.samples)
        return (12 * self._weighted - 6 * (n - 1) * self._plain) / (n * (n * n - 1))

    def end(self) -> float:
        """Where the line has the latest tick, in samples."""
        n = len(self.samples)
        return self._plain / n + self.samples_per_tick() * (n - 1) / 2


class _Ticks:
    """The ticks of late: their spacing and where the latest belongs, robust against jitter, stray and lost ticks."""

    def __init__(self, sample_rate: float):
        self._jitter, self._step = _JITTER_SECONDS * sample_rate, _STEP_SECONDS * sample_rate
        self._disagree = _DISAGREE_SECONDS * sample_rate
        slowest, fastest = (60.0 * sample_rate / TICKS_PER_BEAT / bpm for bpm in CLOCK_BEATS_PER_MINUTE)
        self._longest, self._shortest = slowest + 2 * self._jitter, fastest - 2 * self._jitter
        self._lines = _Line(_SHORT_TICKS), _Line(_LONG_TICKS)
        self.clear()

    def clear(self) -> None:
        for line in self._lines:
            line.clear()
        self.last: int | None = None
        self._outlier: tuple[int, bool] | None = None  # where the last tick came, and whether late, if it came amiss

    def is_lost(self, now: int) -> bool:
        """Whether no clock of a believed tempo leaves so long a gap."""
        return self.last is None or now - self.last > self._longest

    def is_stray(self, now: int, samples_per_tick: float) -> bool:
        """Whether a tick comes too soon after the last, and nowhere near where the next is due: a doubled clock."""
        if self.last is None or now - self.last >= self._shortest:
            return False
        spacing, latest = self.fit() or (samples_per_tick, self.last)
        return latest + spacing - now > 0.5 * spacing

    def add(self, now: int) -> None:
        """Count a tick. One far off counts as if it had come in time; two in a row on one side begin new lines."""
        fit = self.fit()
        off = now - (fit[0] + fit[1]) if fit else 0.0
        outlier = (now, off > 0.0) if abs(off) > self._step else None
        if outlier and self._outlier and outlier[1] == self._outlier[1]:
            first = self._outlier[0]
            self.clear()
            self._add(first)
            outlier = None
        self._add(now - round(off) if outlier else now)
        self.last, self._outlier = now, outlier

    def _add(self, sample: int) -> None:
        for line in self._lines:
            line.add(sample)

    def fit(self) -> tuple[float, float] | None:
        """Samples per tick, and the sample where the latest tick belongs; None before a few ticks.

        The long line is the steadier one; where they disagree, the tempo has changed and the short one is right.
        """
        short, long = self._lines
        if len(short.samples) < _FEW_TICKS:
            return None
        line = short if abs(short.samples_per_tick() - long.samples_per_tick()) > self._disagree else long
        return line.samples_per_tick(), line.end()


class MidiClock:
    """Tempo and song position, from MIDI clock or from the tempo events of a file.

    Until a first start, continue or stop the position runs by itself. After start (position 0) and continue it
    stands until the next tick, which is the beat, or for `CLOCK_LOST_SECONDS` where none comes; after stop it
    stands. A clock that is lost leaves its tempo behind, and a clock found again goes on from there.
    """

    def __init__(self, sample_rate: float, beats_per_minute: float = DEFAULT_BEATS_PER_MINUTE):
        self._sample_rate = sample_rate
        self._lost = math.ceil(CLOCK_LOST_SECONDS * sample_rate)
        self._first_beats_per_minute = beats_per_minute
        self._ticks = _Ticks(sample_rate)
        self.ignored = 0  # ticks and messages that made no sense
        self.reset(0)

    def reset(self, now: int) -> None:
        """As after power-on: the first tempo, position 0, running by itself."""
        self.beats_per_minute = self._first_beats_per_minute
        self.is_running = False  # whether start or continue came, and no stop since
        self._moves = True
        self._waits = False  # for the tick that continues the count
        self._cue: int | None = None  # a song position given while the transport is unknown, for continue
        self._next_tick = 0  # song position of the tick to come, in ticks
        self._ticks.clear()
        self._go(now, 0.0)

    def handle(self, now: int, message: bytes) -> bool:
        """Take one message; whether it was one that a clock obeys. Times must not go backwards."""
        status = message[0] if message else 0
        if status == TICK:
            self._tick(now)
        elif status in {START, CONTINUE, STOP}:
            self._transport(now, status)
        elif status == SONG_POSITION:
            self._locate(now, message)
        elif status == SYSTEM_RESET:
            self.reset(now)
        else:
            return False
        return True

    def beat_at(self, sample: int) -> float:
        """Song position in quarter notes at a sample not before the last message; between jumps it never runs back."""
        passed = sample - self._sample
        if passed <= 0 or not self._moves:
            return self._beat
        moved = max(min(passed, self._leash), passed - self._lost)
        return self._beat + self._speed * moved + self._pull * min(moved, self._pull_samples)

    def follows_clock(self, now: int) -> bool:
        """Whether a tick came within the last `CLOCK_LOST_SECONDS`."""
        last = self._ticks.last
        return last is not None and now - last <= self._lost

    def set_tempo(self, now: int, beats_per_minute: float) -> None:
        """The tempo that a file gives from `now` on; kept within `FILE_BEATS_PER_MINUTE`."""
        if not math.isfinite(beats_per_minute):
            self.ignored += 1
            return
        low, high = FILE_BEATS_PER_MINUTE
        self.beats_per_minute = min(max(float(beats_per_minute), low), high)
        self._ticks.clear()
        # A position that waits for its first tick goes on waiting.
        self._go(max(now, self._sample), self.beat_at(now))

    @property
    def _samples_per_tick(self) -> float:
        return 60.0 * self._sample_rate / (TICKS_PER_BEAT * self.beats_per_minute)

    def _go(self, sample: int, beat: float, error: float = 0.0) -> None:
        """From `sample` on go at the tempo from `beat`, taking back a share of `error` (beats) until the next tick."""
        self._sample, self._beat = sample, beat
        self._leash = math.inf  # samples of way after which the position waits for the next tick
        self._pull_samples = self._samples_per_tick
        self._speed = 1.0 / (TICKS_PER_BEAT * self._pull_samples)
        self._pull = min(max(error * _PULL / self._pull_samples, -0.5 * self._speed), self._speed)

    def _wait(self, now: int, beat: float, next_tick: int) -> None:
        """Stand at `beat` until the next tick, or until it is plain that none comes."""
        self._next_tick, self._waits = next_tick, True
        self._go(now + self._lost, beat)

    def _transport(self, now: int, status: int) -> None:
        beat = self.beat_at(now)
        if status == STOP:
            self._go(now, beat)
            self._moves, self._waits = False, False
        elif status == START:
            self._wait(now, 0.0, 0)
        elif not self.is_running:
            if self._cue is not None:
                beat, self._next_tick = self._cue / TICKS_PER_BEAT, self._cue
            self._wait(now, beat, self._next_tick)
        self.is_running = status != STOP
        self._moves, self._cue = self.is_running, None

    def _locate(self, now: int, message: bytes) -> None:
        if len(message) != 3 or message[1] > 127 or message[2] > 127:
            self.ignored += 1
            return
        tick = (message[1] | message[2] << 7) * TICKS_PER_SONG_POSITION
        if self._moves and not self.is_running:
            self._cue = tick
        self._wait(now, tick / TICKS_PER_BEAT, tick)

    def _tick(self, now: int) -> None:
        if not self._waits and self._ticks.is_stray(now, self._samples_per_tick):
            self.ignored += 1
            return
        beat = self.beat_at(now)
        if self._ticks.is_lost(now):
            self._ticks.clear()
            if now > self._sample:
                self._recount(beat)
        follows = self._waits or self._ticks.last is not None
        self._ticks.add(now)
        fit = self._ticks.fit()
        if fit and not self._believe(fit[0]):
            self.ignored += 1
            self._recount(beat)
        if self._moves:
            error = self._next_tick / TICKS_PER_BEAT - beat if fit else 0.0
            self._next_tick, self._waits = self._next_tick + 1, False
            self._go(now, beat, error)
            if not fit and follows:  # a slower clock than before must not be run away from
                self._leash = max(0.0, (self._next_tick / TICKS_PER_BEAT - beat) / self._speed)

    def _recount(self, beat: float) -> None:
        """Take the tick to come for the one nearest to where the position has come by itself."""
        if self._moves:
            self._next_tick = round(beat * TICKS_PER_BEAT)

    def _believe(self, samples_per_tick: float) -> bool:
        """Take a spacing of ticks as tempo if it is one that clocks have; the last few per cent are jitter."""
        low, high = CLOCK_BEATS_PER_MINUTE
        bpm = 60.0 * self._sample_rate / (TICKS_PER_BEAT * max(samples_per_tick, 1e-3))
        if not 0.95 * low <= bpm <= 1.05 * high:
            return False
        self.beats_per_minute = min(max(bpm, low), high)
        return True


class ActiveSensing:
    """Notices that the cable is gone: after a first FE, 300 ms without any message.

    Ask `expired` before handing over a message of the same sample; an expiry that nobody asked for in time is kept.
    """

    def __init__(self, sample_rate: float):
        self._patience = math.ceil(SENSING_SECONDS * sample_rate)
        self._overdue = False
        self.deadline: int | None = None  # sample at which the silence has lasted too long; None while switched off

    def observe(self, now: int, message: bytes) -> None:
        """Take any message at all."""
        if message[:1] == bytes([SYSTEM_RESET]):
            self.deadline, self._overdue = None, False
            return
        if self.deadline is not None and now >= self.deadline:
            self.deadline, self._overdue = None, True
        if self.deadline is not None or message[:1] == bytes([ACTIVE_SENSING]):
            self.deadline = now + self._patience

    def expired(self, now: int) -> bool:
        """Whether the sender fell silent; true once, then switched off until the next FE."""
        overdue = self._overdue
        if self.deadline is not None and now >= self.deadline:
            self.deadline, overdue = None, True
        self._overdue = False
        return overdue
