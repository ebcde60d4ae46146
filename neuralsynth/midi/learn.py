"""Which controller turns which knob: learned by moving one, kept in a TOML file.

A map only names controllers and targets. Whether an axis, a latent number or an effect exists is for the instrument
that plays to find out; the same map may serve several.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralsynth.checking import checked_number, one_of, shown
from neuralsynth.errors import PresetError
from neuralsynth.knobs import Knob, by_name
from neuralsynth.midi.parameters import (
    DATA_ENTRY,
    DATA_ENTRY_FINE,
    DECREMENT,
    DESTINATIONS,
    INCREMENT,
    NRPN_LSB,
    NRPN_MSB,
    RPN_LSB,
    RPN_MSB,
)
from neuralsynth.storage import whole_file
from neuralsynth.toml_file import read_toml, refuse_unknown, toml_lines

FORMAT_VERSION = 1
MAX_MAP_BYTES = 256 << 10
MAX_ENTRIES = 512
MAX_TARGET_LENGTH = 200
N_CHANNELS = 16
N_CONTROLLERS = 120  # those from here on are modes, no controllers

_ANY = N_CHANNELS  # where entries for any channel stand in the table

BANK, BANK_FINE = 0, 32
PEDALS = range(64, 70)
#: Controllers that say something else than where a knob stands; learning passes them over, a file may map them.
NOT_LEARNED = frozenset(
    (BANK, BANK_FINE, DATA_ENTRY, DATA_ENTRY_FINE, INCREMENT, DECREMENT, NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB, *PEDALS)
)

_WHOLE_NUMBERS = by_name(
    (
        Knob("controller", 0, N_CONTROLLERS - 1, 0, "", 1.0, "number of the control change (whole number)"),
        Knob("channel", 0, N_CHANNELS, 0, "", 1.0, "as shown, 1 to 16; 0 is any (whole number)"),
    )
)
_POSITIONS = by_name(
    (
        Knob("low", 0.0, 1.0, 0.0, "", 1.0, "where the knob stands at value 0, along its travel"),
        Knob("high", 0.0, 1.0, 1.0, "", 1.0, "where it stands at value 127; below `low` it turns backwards"),
    )
)
_KEYS = ("controller", "channel", "to", "low", "high")
_NUMBERED = re.compile(r"latent\.[1-9]\d{0,2}|effects\.[1-9]\d{0,2}\..+")


@dataclass(frozen=True)
class Entry:
    """One controller turning one target. `channel` is 0..15, or None for any.

    Raises:
        PresetError: a number is out of range, or `target` is nothing that can be turned.
    """

    controller: int
    target: str
    channel: int | None = None
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _whole("controller", self.controller)
        if self.channel is not None and (type(self.channel) is not int or not 0 <= self.channel < N_CHANNELS):
            raise PresetError(f"channel is {shown(self.channel)}; use 0 to {N_CHANNELS - 1}, or None for any")
        _position("low", self.low)
        _position("high", self.high)
        checked_target(self.target)

    def position(self, value: int) -> float:
        """Where along its travel (0..1) the knob stands at controller value 0..127."""
        return self.low + (self.high - self.low) * min(max(value, 0), 127) / 127.0


class ControllerMap:
    """Entries by controller and channel, and learning of new ones.

    Several controllers may turn one target, and one controller several targets. Where two entries have the same
    controller and target, that of a single channel counts before that of any channel.

    Raises:
        PresetError: more entries than `MAX_ENTRIES`.
    """

    def __init__(self, entries: Iterable[Entry] = ()):
        self.learning: str | None = None  # target that waits for a controller to be moved
        self._range = (0.0, 1.0)
        self._any_channel = False
        self._set(_limited({_what(entry): entry for entry in entries}.values()))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, in the order they were added."""
        return self._entries

    def lookup(self, channel: int, controller: int) -> tuple[Entry, ...]:
        """What a controller 0..127 on a channel 0..15 turns."""
        table = self._table
        found = table.get((channel << 7) | controller)
        return table.get((_ANY << 7) | controller, ()) if found is None else found

    def add(self, entry: Entry) -> None:
        """Add an entry, in place of one of the same controller, channel and target.

        Raises:
            PresetError: the map is full.
        """
        self._set(_limited([*(e for e in self._entries if _what(e) != _what(entry)), entry]))

    def remove(self, entry: Entry) -> bool:
        """Take an entry out; whether it was there."""
        found = entry in self._entries
        self._set(tuple(e for e in self._entries if e != entry))
        return found

    def learn(self, target: str, low: float = 0.0, high: float = 1.0, *, any_channel: bool = False) -> None:
        """Bind `target` to the next controller that is moved, in place of what turned it before.

        The binding holds for the channel that the controller was heard on, or for all with `any_channel`.

        Raises:
            PresetError: `target` is nothing that can be turned, or a position is out of range.
        """
        entry = Entry(0, target, None, low, high)
        self._range, self._any_channel = (entry.low, entry.high), any_channel
        self.learning = target

    def cancel(self) -> None:
        """Stop learning; what turned the target before still does."""
        self.learning = None

    def observe(self, channel: int, controller: int, value: int) -> Entry | None:  # noqa: ARG002  # any move counts
        """Take a control change; the entry it made if a target was waiting for it, else None. Never raises."""
        if self.learning is None or controller in NOT_LEARNED:
            return None
        if not 0 <= controller < N_CONTROLLERS or not 0 <= channel < N_CHANNELS:
            return None
        entry = Entry(controller, self.learning, None if self._any_channel else channel, *self._range)
        self.learning = None
        kept = tuple(e for e in self._entries if e.target != entry.target)
        if len(kept) >= MAX_ENTRIES:
            return None
        self._set((*kept, entry))
        return entry

    def _set(self, entries: tuple[Entry, ...]) -> None:
        """Put a new table in place of the old one at once: another thread may be looking things up."""
        table: dict[int, dict[str, Entry]] = {}
        for entry in sorted(entries, key=lambda e: e.channel is not None):
            any_channel = (_ANY << 7) | entry.controller
            key = any_channel if entry.channel is None else (entry.channel << 7) | entry.controller
            if key not in table:
                table[key] = dict(table.get(any_channel, {}))
            table[key][entry.target] = entry
        self._table = {key: tuple(by_target.values()) for key, by_target in table.items()}
        self._entries = entries


def checked_target(target: object) -> str:
    """Return `target` if it is the name of something a controller can turn.

    Raises:
        PresetError: it is not; the text names the likeliest.
    """
    named = isinstance(target, str) and target.isprintable() and len(target) <= MAX_TARGET_LENGTH
    if named and (target in DESTINATIONS or _NUMBERED.fullmatch(str(target)) or _is_axis(str(target))):
        return str(target)
    options = (*DESTINATIONS, "axes.NAME", "latent.N", "effects.N.NAME")
    raise PresetError(f"to is {shown(target)}; use {one_of(shown(target).strip(chr(39)), options)}")


def _is_axis(target: str) -> bool:
    return target.startswith("axes.") and bool(target.removeprefix("axes.").strip())


def _limited(entries: Collection[Entry]) -> tuple[Entry, ...]:
    if len(entries) > MAX_ENTRIES:
        raise PresetError(f"the controller map has {len(entries)} entries; use at most {MAX_ENTRIES}, remove some")
    return tuple(entries)


def _what(entry: Entry) -> tuple[int | None, int, str]:
    return entry.channel, entry.controller, entry.target


def load_map(path: Path | str) -> ControllerMap:
    """Read a controller map.

    Raises:
        PresetError: the file cannot be read, is no TOML, or holds a key or value that is not allowed.
    """
    document = read_toml(path, MAX_MAP_BYTES, PresetError)
    refuse_unknown(document, ("format_version", "map"), f"{path}", PresetError)
    version = document.get("format_version", FORMAT_VERSION)
    if type(version) is not int or version != FORMAT_VERSION:
        raise PresetError(f"{path}: format_version is {shown(version)}; use {FORMAT_VERSION}")
    tables = document.get("map", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise PresetError(f"{path}: map is {shown(tables)}; write each entry as a [[map]] table")
    if len(tables) > MAX_ENTRIES:
        raise PresetError(f"{path}: has {len(tables)} entries; use at most {MAX_ENTRIES}")
    seen: dict[tuple[int | None, int, str], int] = {}
    entries = []
    for i, table in enumerate(tables, 1):
        entry = _entry(table, f"{path}: map {i}")
        if _what(entry) in seen:
            raise PresetError(f"{path}: map {i} binds what map {seen[_what(entry)]} binds; remove one of them")
        seen[_what(entry)] = i
        entries.append(entry)
    return ControllerMap(entries)


def save_map(controllers: ControllerMap, path: Path | str) -> None:
    """Write a map that `load_map` reads back as it was.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole_file(path) as part:
        part.write_text(map_text(controllers), "utf-8", newline="\n")


def map_text(controllers: ControllerMap) -> str:
    """The map as TOML, every value written out."""
    lines = [f"format_version = {FORMAT_VERSION}"]
    for entry in controllers.entries:
        channel = 0 if entry.channel is None else entry.channel + 1
        values = (entry.controller, channel, entry.target, float(entry.low), float(entry.high))
        lines += ["", "[[map]]", *toml_lines("map", dict(zip(_KEYS, values, strict=True)))]
    return "\n".join(lines) + "\n"


def _entry(table: dict[str, Any], where: str) -> Entry:
    """Check one [[map]] table; `channel`, `low` and `high` may be left out."""
    refuse_unknown(table, _KEYS, where, PresetError)
    try:
        channel = _whole("channel", table.get("channel", 0))
        return Entry(
            controller=_whole("controller", table.get("controller")),
            target=checked_target(table.get("to")),
            channel=channel - 1 if channel else None,
            low=_position("low", table.get("low", 0.0)),
            high=_position("high", table.get("high", 1.0)),
        )
    except PresetError as error:
        raise PresetError(f"{where}: {error}") from error


def _position(name: str, value: object) -> float:
    try:
        return checked_number(_POSITIONS[name], value)
    except ValueError as error:
        raise PresetError(str(error)) from error


def _whole(name: str, value: object) -> int:
    knob = _WHOLE_NUMBERS[name]
    if type(value) is not int or not knob.low <= value <= knob.high:
        raise PresetError(f"{name} is {shown(value)}; use a whole number from {knob.low:g} to {knob.high:g}")
    return value
