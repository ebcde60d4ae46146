"""Settings: what a person may write under a name, each with its check, default and sentence.

`knobs.Knob` is the setting that is a number; here are the others, and the way to hang them on the fields of a
struct so that range, default and meaning stand in one place:

    class Lfo(msgspec.Struct, frozen=True):
        rate_hz: Annotated[float, knob(0.01, 40.0, "Hz", 0.2, "speed")] = 5.0

`settings_of(Lfo)` gives the settings with the names and defaults of the fields.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from neuralsynth.checking import checked_number, one_of, plain_file_name, shown
from neuralsynth.errors import PresetError
from neuralsynth.knobs import Knob
from neuralsynth.toml_file import refuse_unknown

MAX_TEXT = 200
MAX_NUMBERS = 64  # names in a table of numbers
#: Lengths at the song's tempo: d is dotted, t a triplet; "off" is a length in seconds or a rate in Hz.
NOTE_VALUES = ("off", "4/1", "2/1", "1/1", *(f"1/{n}{part}" for n in (2, 4, 8, 16) for part in ("", "d", "t")), "1/32")


@dataclass(frozen=True)
class Choice:
    """A setting with a few possible values."""

    name: str
    options: tuple[str | bool | int, ...]
    default: str | bool | int
    says: str = ""

    def check(self, value: object) -> str | bool | int:
        """Return `value` if it is one of the options; ValueError names them otherwise."""
        for option in self.options:
            if type(value) is type(option) and value == option:
                return option
        raise ValueError(f"{self.name} is {shown(value)}; use {one_of(value, self.options)}")


@dataclass(frozen=True)
class Switch:
    """A setting that is true or false."""

    name: str
    default: bool = False
    says: str = ""

    def check(self, value: object) -> bool:
        """Return `value` if it is true or false."""
        if not isinstance(value, bool):
            raise ValueError(f"{self.name} is {shown(value)}; use true or false")
        return value


@dataclass(frozen=True)
class Text:
    """A setting that is a short text; `required` ones have no default."""

    name: str
    required: bool = False
    says: str = ""
    default: str | None = ""

    def check(self, value: object) -> str:
        """Return `value` if it is a printable text of at most 200 characters."""
        long = not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable()
        if long or (self.required and not value):
            raise ValueError(f"{self.name} is {shown(value)}; use a text of 1 to {MAX_TEXT} characters")
        assert isinstance(value, str)
        return value


@dataclass(frozen=True)
class FileName(Text):
    """The plain name of a file that lies beside the preset; one that is not required may be empty."""

    suffixes: tuple[str, ...] = ()

    def check(self, value: object) -> str:
        """Return `value` if it names a file in the preset's own folder and nothing else."""
        text = super().check(value)
        if not text and not self.required:
            return text
        if self.suffixes and not text.lower().endswith(self.suffixes):
            raise ValueError(
                f"{self.name} is {shown(text)}; name a {' or '.join(self.suffixes)} file beside the preset"
            )
        return plain_file_name(text, self.name)


@dataclass(frozen=True)
class PresetName(Text):
    """Another preset: the name of a shipped one, or the plain name of a .toml or .onnx file beside this one."""

    def check(self, value: object) -> str:
        """Return `value` if it can be either, or is empty where none is required."""
        text = super().check(value)
        return plain_file_name(text, self.name) if text or self.required else text


@dataclass(frozen=True)
class Numbers:
    """A table of names and numbers, all within one range."""

    name: str
    low: float
    high: float
    says: str = ""
    default: None = None

    def check(self, value: object) -> dict[str, float]:
        """Return a copy of `value` with every number checked."""
        if not isinstance(value, Mapping) or len(value) > MAX_NUMBERS:
            raise ValueError(f"{self.name} is {shown(value)}; use a table of at most {MAX_NUMBERS} names and numbers")
        if not all(isinstance(k, str) and k and k.isprintable() and len(k) <= MAX_TEXT for k in value):
            raise ValueError(f"{self.name} has a name that is empty, too long or not printable")
        return {k: checked_number(Knob(f"{self.name}.{k}", self.low, self.high, 0.0), v) for k, v in value.items()}


@dataclass(frozen=True)
class NumberList:
    """A list of numbers, all within one range."""

    name: str
    low: float
    high: float
    most: int  # numbers
    says: str = ""
    default: None = None

    def check(self, value: object) -> tuple[float, ...]:
        """Return `value` as a tuple with every number checked."""
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.most:
            raise ValueError(f"{self.name} is {shown(value)}; use a list of 1 to {self.most} numbers")
        knobs = (Knob(f"{self.name}.{i}", self.low, self.high, 0.0) for i in range(1, len(value) + 1))
        return tuple(float(checked_number(knob, number)) for knob, number in zip(knobs, value, strict=True))


@dataclass(frozen=True)
class Parameters:
    """A table of a plugin's own parameters; their ranges are the plugin's and are checked when it is loaded."""

    name: str
    says: str = ""
    default: None = None

    def check(self, value: object) -> dict[str, float | str | bool]:
        """Return a copy of `value` if it maps names to finite numbers, texts or booleans."""
        if not isinstance(value, Mapping) or len(value) > 4096:
            raise ValueError(f"{self.name} is {shown(value)}; use a table of parameter names and values")
        for key, item in value.items():
            finite = not isinstance(item, (int, float)) or math.isfinite(item)
            if not isinstance(key, str) or not isinstance(item, (int, float, str, bool)) or not finite:
                raise ValueError(f"{self.name}.{key} is {shown(item)}; use a finite number, a text, true or false")
        return dict(value)


Setting: TypeAlias = Knob | Choice | Switch | Text | Numbers | NumberList | Parameters


def checked_value(setting: Setting, value: object) -> Any:
    """`value` as `setting` takes it; ValueError says what is allowed."""
    return checked_number(setting, value) if isinstance(setting, Knob) else setting.check(value)


# ---- settings on the fields of a struct: the field gives name and default


def knob(low: float, high: float, unit: str, curve: float, says: str) -> Knob:
    """A number for a field; whole if the field is an `int`."""
    return Knob("", low, high, math.nan, unit, curve, says)


def choice(options: tuple[str | int, ...], says: str) -> Choice:
    """One of `options` for a field."""
    return Choice("", options, options[0], says)


def switch(says: str) -> Switch:
    """True or false for a field."""
    return Switch("", False, says)


@functools.cache
def settings_of(struct: type[msgspec.Struct]) -> tuple[Setting, ...]:
    """The settings on the fields of `struct`, in order; a text without a default is required."""
    hints = typing.get_type_hints(struct, include_extras=True)
    settings = []
    for field in msgspec.structs.fields(struct):
        kind, setting = typing.get_args(hints[field.name])
        changes: dict[str, Any] = {"name": field.name}
        if field.required:
            assert isinstance(setting, Text), f"{struct.__name__}.{field.name} needs a default"
            changes["required"] = True
        elif field.default is not msgspec.NODEFAULT:
            changes["default"] = field.default
        if isinstance(setting, Knob):
            changes["whole"] = kind is int
        settings.append(dataclasses.replace(setting, **changes))
    return tuple(settings)


def checked_struct(struct: type[msgspec.Struct], table: Any, where: str) -> Any:
    """Build `struct` from a table a person wrote; what is not given has its default.

    Raises:
        PresetError: no table, an unknown key, a missing one or a value that is not allowed; the text starts
            with `where`.
    """
    if not isinstance(table, Mapping):
        raise PresetError(f"{where} is {shown(table)}; use a table")
    settings = {setting.name: setting for setting in settings_of(struct)}
    refuse_unknown(table, settings, where, PresetError)
    for name, setting in settings.items():
        if isinstance(setting, Text) and setting.required and name not in table:
            raise PresetError(f"{where}: {name} is missing; {setting.says}")
    try:
        return struct(**{name: checked_value(settings[name], value) for name, value in table.items()})
    except ValueError as error:
        raise PresetError(f"{where}: {error}") from error


# ---- parts of a document


def check_version(document: Mapping[str, Any], known: int, path: Path) -> None:
    """Refuse a file whose `format_version` is missing, no number or newer than `known`.

    Raises:
        PresetError: it is; the text of a newer one advises to update.
    """
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PresetError(f"{path}: format_version is {shown(version)}; use {known}")
    if version > known:
        raise PresetError(
            f"{path}: is of format version {shown(version)}, this neuralsynth reads up to {known}; "
            "update with: pip install -U neuralsynth"
        )


def checked_line(document: Mapping[str, Any], key: str, limit: int, path: Path) -> str:
    """The text under `key`, "" if there is none.

    Raises:
        PresetError: it is no text, too long or not on one line.
    """
    value = document.get(key, "")
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise PresetError(f"{path}: {key} is {shown(value)}; use a text of at most {limit} characters on one line")
    return value


def checked_tables(tables: Any, name: str, most: int, path: Path) -> list[dict[str, Any]]:
    """A list of tables such as `[[effects]]`, their content unchecked.

    Raises:
        PresetError: it is no such list, or longer than `most`.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise PresetError(f"{path}: {name} is {shown(tables)}; write each of the {name} as a [[{name}]] table")
    if len(tables) > most:
        raise PresetError(f"{path}: has {len(tables)} {name}; use at most {most}")
    return tables
