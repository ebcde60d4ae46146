"""TOML files that a stranger may have made: read with bounds, refused in one sentence; and values written as TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neuralsynth.checking import one_of, shown
from neuralsynth.regular_file import read_regular_file

MAX_DOTS = 32  # on one line


def read_toml(path: Path | str, max_bytes: int, error: type[Exception]) -> dict[str, Any]:
    """The document in a TOML file, its values unchecked.

    Raises:
        error: the file cannot be read, is no regular file, empty, larger than `max_bytes`, no UTF-8 or no TOML.
    """
    # A file a little too large is told its limit in kB; a huge one is not even read.
    data = read_regular_file(path, max(4 * max_bytes, 1 << 20), error)
    if len(data) > max_bytes:
        raise error(f"{path}: is larger than {max_bytes >> 10} kB, the most such a file may have")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path}: is no UTF-8 text (byte {problem.start}); save it as UTF-8") from problem
    _refuse_long_keys(text, path, error)
    try:
        return tomllib.loads(text)
    except RecursionError as problem:
        raise error(f"{path}: is nested too deeply") from problem
    except ValueError as problem:  # TOMLDecodeError, and Python's own for a number of thousands of digits
        raise error(f"{path}: is no TOML: {problem}") from problem


def _refuse_long_keys(text: str, path: Path | str, error: type[Exception]) -> None:
    """Refuse a line such as `a.a.a.a… = 1`: tomllib's time grows with the square of the dots (minutes for 100 kB)."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MAX_DOTS:
            raise error(f"{path}: line {number} has more than {MAX_DOTS} dots; write one value per line")


def refuse_unknown(table: Mapping[str, Any], allowed: Iterable[str], where: str, error: type[Exception]) -> None:
    """Check that `table` has no key but those `allowed`.

    Raises:
        error: it has one; the text names it and those allowed, the likeliest first.
    """
    allowed = tuple(allowed)
    for key in table:
        if key not in allowed:
            raise error(f"{where}: {shown(key)} is unknown; use {one_of(key, allowed)}")


def toml_value(value: Any) -> str:
    """One text, number, switch or list of these as TOML. JSON's strings are TOML's for printable text."""
    if isinstance(value, (list, tuple)):
        items = [toml_value(item) for item in value]
        line = "[" + ", ".join(items) + "]"
        return line if line.count(".") <= MAX_DOTS else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else repr(value)


def toml_lines(name: str, values: Mapping[str, Any]) -> list[str]:
    """The lines below the heading of table `name`: one per value (None is left out), tables within it last."""
    lines = [f"{key} = {toml_value(v)}" for key, v in values.items() if v is not None and not isinstance(v, Mapping)]
    for key, table in values.items():
        if isinstance(table, Mapping) and table:
            lines += [f"[{name}.{key}]", *(f"{toml_value(str(k))} = {toml_value(v)}" for k, v in table.items())]
    return lines
