"""The computer keyboard as a piano: keys in, MIDI out. Pure logic; times are given by who drives it.

Two rows lie as in trackers and DAWs: Z is C of the octave, Q the C above it. Most terminals do not tell when a key
comes up; there a note lasts while its key repeats by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from neuralsynth.events import CONTROL_CHANGE, NOTE_OFF, NOTE_ON
from neuralsynth.live.key_parser import FOCUS_OUT, KeyEvent

#: Key -> what the session does. The help line shows the first key of each.
COMMANDS: dict[str, str] = {
    "tab": "next preset",
    "shift-tab": "previous preset",
    "escape": "panic",
    "enter": "record",
    "ctrl-c": "quit",
    "ctrl-q": "quit",
}
#: Keys -> what they play, for the help line.
PLAYING: dict[str, str] = {"z-/ q-p": "notes", "[ ]": "octave", "- =": "velocity", "space": "sustain"}

_ROWS = ("zsxdcvgbhnjm,l.;/", "q2w3er5t6y7ui9o0p")
SEMITONES: dict[str, int] = {key: 12 * row + n for row, keys in enumerate(_ROWS) for n, key in enumerate(keys)}
OCTAVE_STEPS: dict[str, int] = {"[": -1, "]": 1, "left": -1, "right": 1}
VELOCITY_STEPS: dict[str, int] = {"-": -8, "_": -8, "=": 8, "+": 8}
SUSTAIN_KEY = "space"

LOWEST_OCTAVE, HIGHEST_OCTAVE = -1, 8
START_OCTAVE, START_VELOCITY = 3, 96
#: A note ends so long after the last repeat of its key ...
NOTE_SECONDS = 0.4
#: ... and so long after its strike if no repeat follows: systems wait 0.25 to 0.7 s before the first.
FIRST_REPEAT_SECONDS = 0.8
#: Repeats follow each other faster than this (systems: 0.03 to 0.1 s), and strikes of one finger do not.
REPEAT_SECONDS = 0.15
_FIRST_DELAYS = (0.2, 1.2)
_DELAY_TOLERANCE_SECONDS = 0.06  # a frame of the view
_SUSTAIN = 64


class AutoRepeat:
    """Tells a key that repeats because it is held from one that is struck again, by the times of its presses.

    Only the key pressed last repeats: after the system's delay, then fast. The delay is learned from the first key
    that is held.
    """

    def __init__(self) -> None:
        self._key = ""
        self._at_seconds = self._gap_seconds = -math.inf
        self._is_repeating = False
        self.delay_seconds: float | None = None

    def press(self, key: str, now_seconds: float, unsure: bool) -> bool:
        """Whether this press is a repeat; `unsure` if it may be the first one and the delay is not known."""
        gap_seconds = now_seconds - self._at_seconds
        is_same, is_fast = key == self._key, gap_seconds <= REPEAT_SECONDS
        may_be_first = _FIRST_DELAYS[0] <= gap_seconds <= _FIRST_DELAYS[1] and not self._is_repeating
        if is_same and is_fast:
            if _FIRST_DELAYS[0] <= self._gap_seconds <= _FIRST_DELAYS[1]:
                self.delay_seconds = self._gap_seconds
            is_repeat = True
        elif self.delay_seconds is None:
            is_repeat = is_same and may_be_first and unsure
        else:
            is_near = abs(gap_seconds - self.delay_seconds) <= _DELAY_TOLERANCE_SECONDS
            is_repeat = is_same and may_be_first and is_near
        self._gap_seconds = gap_seconds if is_same else -math.inf
        self._key, self._at_seconds, self._is_repeating = key, now_seconds, is_repeat
        return is_repeat


@dataclass
class _Held:
    """A key that is down: the note that it struck, and when that ends by itself."""

    note: int
    due_seconds: float


class ComputerKeyboard:
    """Notes, octave, velocity and sustain pedal. A note that was struck is the one that is released, whatever moved."""

    def __init__(self, channel: int = 0, has_key_up: bool = False) -> None:
        """Play on `channel`, 0 to 15; `has_key_up` if `release` will be called, and no press is a repeat."""
        self.channel = channel
        self.has_key_up = has_key_up
        self.octave = START_OCTAVE
        self.velocity = START_VELOCITY
        self.is_sustained = False
        self._held: dict[str, _Held] = {}
        self._repeats = AutoRepeat()

    def take(self, events: Iterable[KeyEvent], now_seconds: float) -> tuple[list[bytes], list[str]]:
        """Messages and commands of all that happened until now: what `poll` of `TerminalKeys` gave, and time itself."""
        messages = self.tick(now_seconds)
        commands = []
        for name, is_up in events:
            messages += self.release(name, now_seconds) if is_up else self.press(name, now_seconds)
            command = None if is_up else self.command(name, now_seconds)
            if command:
                commands.append(command)
        return messages, commands

    def press(self, key: str, now_seconds: float) -> list[bytes]:
        """Messages of a key that goes down, or repeats."""
        key = key.lower()
        if key in SEMITONES:
            return self._strike(key, now_seconds)
        if key == FOCUS_OUT:
            return self._let_go(list(self._held))
        if key in OCTAVE_STEPS:
            self.octave = min(max(self.octave + OCTAVE_STEPS[key], LOWEST_OCTAVE), HIGHEST_OCTAVE)
        elif key in VELOCITY_STEPS:
            self.velocity = min(max(self.velocity + VELOCITY_STEPS[key], 1), 127)
        elif key == SUSTAIN_KEY and not self._is_repeat(key, now_seconds, unsure=False):
            self.is_sustained = not self.is_sustained
            return [self._pedal()]
        return []

    def release(self, key: str, now_seconds: float) -> list[bytes]:
        """Messages of a key that comes up."""
        del now_seconds
        return self._let_go([key.lower()])

    def tick(self, now_seconds: float) -> list[bytes]:
        """Note-offs that are due."""
        if not self.has_key_up:
            for held in self._held.values():  # the terminal told of key-ups when they were struck, and no longer does
                held.due_seconds = min(held.due_seconds, now_seconds + self._first_seconds())
        return self._let_go([key for key, held in self._held.items() if held.due_seconds <= now_seconds])

    def all_off(self) -> list[bytes]:
        """Messages that end every note and lift the pedal."""
        messages = self._let_go(list(self._held))
        if self.is_sustained:
            self.is_sustained = False
            messages.append(self._pedal())
        return messages

    def command(self, key: str, now_seconds: float) -> str | None:
        """The command of a key, None if it has none or only repeats because it is held."""
        name = COMMANDS.get(key)
        return None if name is None or self._is_repeat(key, now_seconds, unsure=False) else name

    def _is_repeat(self, key: str, now_seconds: float, unsure: bool) -> bool:
        return not self.has_key_up and self._repeats.press(key, now_seconds, unsure)

    def _strike(self, key: str, now_seconds: float) -> list[bytes]:
        note = 12 * (self.octave + 1) + SEMITONES[key]
        held = self._held.get(key)
        if self._is_repeat(key, now_seconds, unsure=held is not None) and held and held.note == note:
            held.due_seconds = now_seconds + NOTE_SECONDS
            return []
        messages = self._let_go([key])
        if not 0 <= note <= 127:
            return messages
        if self._is_on(note):  # by its twin in the other row
            messages.append(self._off(note))
        self._held[key] = _Held(note, math.inf if self.has_key_up else now_seconds + self._first_seconds())
        return [*messages, bytes([NOTE_ON | self.channel, note, self.velocity])]

    def _first_seconds(self) -> float:
        """How long a note waits for the first repeat."""
        delay_seconds = self._repeats.delay_seconds
        return FIRST_REPEAT_SECONDS if delay_seconds is None else delay_seconds + REPEAT_SECONDS

    def _let_go(self, keys: list[str]) -> list[bytes]:
        """Note-offs of `keys`; a note that another key holds goes on."""
        released = [held.note for held in (self._held.pop(key, None) for key in keys) if held]
        return [self._off(note) for note in dict.fromkeys(released) if not self._is_on(note)]

    def _is_on(self, note: int) -> bool:
        return any(held.note == note for held in self._held.values())

    def _off(self, note: int) -> bytes:
        return bytes([NOTE_OFF | self.channel, note, 64])

    def _pedal(self) -> bytes:
        return bytes([CONTROL_CHANGE | self.channel, _SUSTAIN, 127 if self.is_sustained else 0])
