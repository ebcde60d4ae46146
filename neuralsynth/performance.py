"""Performances: files that say which preset a channel starts with, and which one each bank and program brings.

Like a preset a performance is only data; it names shipped presets, or files beside it by their plain names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from neuralsynth.checking import shown
from neuralsynth.errors import PresetError
from neuralsynth.preset import PERFORMANCE_SUFFIX, find_file, named_preset, shipped_folder
from neuralsynth.settings import PresetName, Text, check_version, checked_line, checked_struct, checked_tables, knob
from neuralsynth.toml_file import read_toml, refuse_unknown

FORMAT_VERSION = 1
MAX_PERFORMANCE_BYTES = 256 << 10
MAX_PROGRAMS = 1024  # [[programs]] tables

_TEXTS = {"name": 100, "says": 500}  # most characters of each
_KEYS = ("format_version", *_TEXTS, "channels", "programs")
_CHANNELS = ("default", *map(str, range(1, 17)))
_RANGE = re.compile(r"([0-9]{1,3})(?: *- *([0-9]{1,3}))?")


def _programs(text: str) -> range | None:
    """The programs 0..127 that "1" or "1-8" means; None if it means none."""
    found = _RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    return range(first - 1, last) if 1 <= first <= last <= 128 else None


@dataclass(frozen=True)
class ProgramRange(Text):
    """A program as it is shown, 1 to 128, or a range of them such as "1-8"."""

    def check(self, value: object) -> str:
        """Return `value` as text if it is either."""
        text = str(value) if type(value) is int and 1 <= value <= 128 else value
        if not isinstance(text, str) or _programs(text) is None:
            raise ValueError(f'{self.name} is {shown(value)}; use a number from 1 to 128, or a range such as "1-8"')
        return text


class Program(msgspec.Struct, frozen=True):
    """Programs of one bank that bring one preset, on one channel or on any."""

    program: Annotated[str, ProgramRange("", says='a number from 1 to 128, or a range such as "1-8"')]
    preset: Annotated[str, PresetName("", says="a shipped preset, or a .toml or .onnx file beside this one")]
    bank_msb: Annotated[int, knob(0, 127, "", 1.0, "coarse number of the bank (controller 0)")] = 0
    bank_lsb: Annotated[int, knob(0, 127, "", 1.0, "fine number of the bank (controller 32)")] = 0
    channel: Annotated[int, knob(0, 16, "", 1.0, "the channel from 1 to 16; 0 is any")] = 0

    @property
    def programs(self) -> range:
        """The programs as they are sent, 0..127."""
        return _programs(self.program) or range(0)


@dataclass(frozen=True)
class Performance:
    """A checked performance, read from `path`. Channels count from 0, as they are sent."""

    name: str
    path: Path
    says: str = ""
    default: str = ""
    channels: Mapping[int, str] = field(default_factory=dict)
    programs: tuple[Program, ...] = ()

    def start_preset(self, channel: int) -> str | None:
        """What channel 0..15 plays until its first program change."""
        return self.channels.get(channel) or self.default or self.preset_for(channel, (0, 0), 0)

    def preset_for(self, channel: int, bank: tuple[int, int], program: int) -> str | None:
        """The preset that `program` 0..127 brings on channel 0..15 after bank select (msb, lsb); None: no change.

        The bank itself is asked first, then bank (0, 0); in each the channel itself first, then any channel.
        """
        for msb, lsb in (bank, (0, 0)):
            for place in (channel + 1, 0):
                found = self._table.get((place, msb, lsb, program))
                if found:
                    return found
        return None

    def presets(self) -> tuple[str, ...]:
        """Every preset that is named, once."""
        names = [self.default, *self.channels.values(), *(program.preset for program in self.programs)]
        return tuple(dict.fromkeys(name for name in names if name))

    def preset_path(self, name: str) -> Path:
        """The file of a preset that is named.

        Raises:
            PresetError: it is gone.
        """
        return named_preset(name, self.path.parent, str(self.path))

    @functools.cached_property
    def _table(self) -> dict[tuple[int, int, int, int], str]:
        """Presets by channel (1..16, 0 is any), bank and program 0..127."""
        return {
            (entry.channel, entry.bank_msb, entry.bank_lsb, number): entry.preset
            for entry in self.programs
            for number in entry.programs
        }


def load_performance(path: Path | str) -> Performance:
    """Read a performance.

    Raises:
        PresetError: the file cannot be read, is no TOML, holds a key or value that is not allowed, or names a
            preset that is not there.
    """
    path = Path(path)
    document = read_toml(path, MAX_PERFORMANCE_BYTES, PresetError)
    check_version(document, FORMAT_VERSION, path)
    refuse_unknown(document, _KEYS, f"{path}", PresetError)
    texts = {key: checked_line(document, key, limit, path) for key, limit in _TEXTS.items()}
    if not texts["name"]:
        raise PresetError(f'{path}: name is missing; give it one, such as name = "My band"')
    channels = _channels(document.get("channels", {}), path)
    tables = checked_tables(document.get("programs", []), "programs", MAX_PROGRAMS, path)
    entries = tuple(checked_struct(Program, table, f"{path}: program entry {i}") for i, table in enumerate(tables, 1))
    _refuse_doubles(entries, path)
    default = channels.pop("default", "")
    by_number = {int(channel) - 1: preset for channel, preset in channels.items()}
    performance = Performance(**texts, path=path, default=default, channels=by_number, programs=entries)
    for name in performance.presets():
        performance.preset_path(name)
    return performance


def _channels(table: Any, path: Path) -> dict[str, str]:
    """Check the presets that the channels start with, by "default" and "1" to "16"."""
    where = f"{path}: [channels]"
    if not isinstance(table, dict):
        raise PresetError(f"{where} is {shown(table)}; use a table")
    refuse_unknown(table, _CHANNELS, where, PresetError)
    try:
        return {key: PresetName(key, required=True).check(value) for key, value in table.items()}
    except ValueError as error:
        raise PresetError(f"{where}: {error}") from error


def _refuse_doubles(entries: tuple[Program, ...], path: Path) -> None:
    """Refuse two entries for one program of one bank and channel: which of them is meant?"""
    seen: dict[tuple[int, int, int, int], int] = {}
    for i, entry in enumerate(entries, 1):
        for number in entry.programs:
            first = seen.setdefault((entry.channel, entry.bank_msb, entry.bank_lsb, number), i)
            if first != i:
                raise PresetError(f"{path}: program entry {i}: program {number + 1} is in entry {first} already")


def shipped_performances() -> list[Path]:
    """The performances that come with neuralsynth, by name."""
    return sorted(shipped_folder().glob(f"*{PERFORMANCE_SUFFIX}"))


def find_performance(name_or_path: Path | str) -> Path:
    """The file that a person means: a path to a `.toml` file, or the name of a shipped performance.

    Raises:
        PresetError: there is no such file or performance; the text lists those there are, the likeliest first.
    """
    shipped = {path.name.removesuffix(PERFORMANCE_SUFFIX): path for path in shipped_performances()}
    return find_file(name_or_path, "performance", shipped, (".toml",))
