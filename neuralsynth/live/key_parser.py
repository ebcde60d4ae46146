"""What a terminal sends, as key events: plain characters, escape sequences, and the kitty keyboard protocol.

The protocol (https://sw.kovidgoyal.net/kitty/keyboard-protocol/) tells when a key comes up. Names are lower case: a
key is the same key with shift or caps lock.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: So long after an escape character alone, it was the Escape key and not the beginning of a sequence.
ESCAPE_SECONDS = 0.05
#: Name of the event "keys that are down may come up unseen": the window lost the focus.
FOCUS_OUT = "focus-out"

_LONGEST_SEQUENCE = 64
_MOST_DIGITS = 8
_SEQUENCE = re.compile(rb"\x1b(?:\[([0-?]*)[ -/]*([@-Z\\-~])|\[(\[)([A-E])|O()([!-~]))")
_BEGINNING = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\[\[|O)?")
_BROKEN = re.compile(rb"\x1b\[[0-?]*[ -/]*")

_LETTERS = {
    "A": "up", "B": "down", "C": "right", "D": "left", "E": "begin", "F": "end", "H": "home", "M": "enter",
    "P": "f1", "Q": "f2", "R": "f3", "S": "f4", "Z": "shift-tab",
}  # fmt: skip
_TILDES = {
    1: "home", 2: "insert", 3: "delete", 4: "end", 5: "page-up", 6: "page-down", 7: "home", 8: "end",
    11: "f1", 12: "f2", 13: "f3", 14: "f4", 15: "f5", 17: "f6", 18: "f7", 19: "f8", 20: "f9", 21: "f10", 23: "f11",
    24: "f12",
}  # fmt: skip
_CODES = {9: "tab", 13: "enter", 27: "escape", 32: "space", 127: "backspace", 8: "backspace", 57414: "enter"}
_CONTROLS = {0: "ctrl-space", 8: "backspace", 9: "tab", 10: "enter", 13: "enter", 27: "escape", 127: "backspace"}
_PRIVATE_USE = range(0xE000, 0xF900)  # kitty's numbers of keys that write nothing, such as shift itself
_SHIFT = 1
_MODIFIERS = ((4, "ctrl"), (2, "alt"), (8, "super"), (16, "hyper"), (32, "meta"))
_REPEATED, _RELEASED = 2, 3


class KeyEvent(NamedTuple):
    """A key that went down, or came up where the terminal tells."""

    name: str
    is_up: bool = False


class KeyParser:
    """Bytes in, key events out. Sequences may come in pieces; what nobody knows is dropped.

    Escape and a character right behind it are both given: some terminals send that for Alt and a key, but as Escape
    is what stops all sound it must never be lost.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._since_seconds = 0.0
        #: Whether the terminal has answered that it knows the kitty protocol.
        self.knows_kitty = False

    @property
    def n_waiting(self) -> int:
        """Bytes of a sequence that has begun and not ended."""
        return len(self._pending)

    def feed(self, data: bytes, now_seconds: float) -> list[KeyEvent]:
        """Events in `data`, which came now."""
        self._pending += data
        self._since_seconds = now_seconds
        events: list[KeyEvent] = []
        at = 0
        while at < len(self._pending):
            used, found = self._next(self._pending[at : at + _LONGEST_SEQUENCE])
            if not used:
                break
            at += used
            events += found
        self._pending = self._pending[at:]
        return events

    def flush(self, now_seconds: float) -> list[KeyEvent]:
        """Events when nothing came now: an escape character that has stood alone long enough."""
        if not self._pending or now_seconds - self._since_seconds < ESCAPE_SECONDS:
            return []
        pending, self._pending = self._pending, b""
        return [KeyEvent("escape")] if pending == b"\x1b" else []

    def _next(self, data: bytes) -> tuple[int, list[KeyEvent]]:
        """How many bytes the first thing in `data` takes, 0 if it has not ended yet, and its events."""
        if data[0] != 0x1B:
            return _character(data)
        match = _SEQUENCE.match(data)
        if match:
            parameters, final = (group.decode() for group in match.groups() if group is not None)
            return match.end(), self._sequence(parameters, final)
        if _BEGINNING.fullmatch(data) and len(data) < _LONGEST_SEQUENCE:
            return 0, []
        broken = _BROKEN.match(data)
        return (broken.end(), []) if broken else (1, [KeyEvent("escape")])

    def _sequence(self, parameters: str, final: str) -> list[KeyEvent]:
        if parameters == "[":
            return [KeyEvent(f"f{ord(final) - ord('A') + 1}")]  # the Linux console
        if final == "u" and parameters.startswith("?"):
            self.knows_kitty = True
            return []
        if final == "O" and not parameters:
            return [KeyEvent(FOCUS_OUT)]
        code, modifiers, kind = _numbers(parameters)
        if kind == _REPEATED:
            return []
        name = _name(code, final)
        if not name:
            return []
        if kind == _RELEASED:  # without modifiers: those may have changed while the key was down
            return [KeyEvent(name, is_up=True)]
        pressed = [prefix for bit, prefix in _MODIFIERS if modifiers & bit]
        if modifiers & _SHIFT and len(name) > 1:
            pressed.append("shift")
        return [KeyEvent("-".join([*pressed, name]))]


def _character(data: bytes) -> tuple[int, list[KeyEvent]]:
    """The key of the UTF-8 character that `data` begins with."""
    first = data[0]
    if first < 0x80:
        return 1, [KeyEvent(_plain(first))]
    length = 2 if 0xC2 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4 if 0xF0 <= first < 0xF5 else 1
    if len(data) < length and all(0x80 <= byte < 0xC0 for byte in data[1:]):
        return 0, []
    try:
        text = data[:length].decode("utf-8")
    except UnicodeDecodeError:
        return 1, []
    return length, [KeyEvent(text.lower())] if text.isprintable() else []


def _plain(code: int) -> str:
    """Name of a byte below 128."""
    if code in _CONTROLS:
        return _CONTROLS[code]
    return f"ctrl-{chr(code + 0x40).lower()}" if code < 0x20 else _CODES.get(code, chr(code).lower())


def _numbers(parameters: str) -> tuple[int, int, int]:
    """Code, bits of the modifiers and kind of event in `code:...;modifiers:kind;...`."""
    fields = [[_number(part) for part in field.split(":")] for field in parameters.split(";")]
    code = fields[0][0]
    modifiers, kind = (*fields[1], 1)[:2] if len(fields) > 1 else (1, 1)
    return code, max(modifiers, 1) - 1, kind


def _number(text: str) -> int:
    return int(text[:_MOST_DIGITS]) if text.isdecimal() else 1


def _name(code: int, final: str) -> str:
    """Name of the key without modifiers, empty if it has none."""
    if final == "~":
        return _TILDES.get(code, "")
    if final != "u":
        return _LETTERS.get(final, "")
    if code in _CODES:
        return _CODES[code]
    if code in _PRIVATE_USE or not 32 < code < 0x110000:
        return ""
    return chr(code).lower() if chr(code).isprintable() else ""
