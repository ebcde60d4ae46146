"""Pieces that several commands share: number options, JSON, tables and progress bars."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Sequence

import click

from neuralsynth.errors import UsageError, one_line


class Number(click.ParamType):
    """A finite number in a range, whole if `whole`."""

    name = "number"

    def __init__(self, low: float, high: float, unit: str = "", whole: bool = False) -> None:
        self.low, self.high, self.unit, self.whole = low, high, unit, whole

    def convert(self, value, parameter, context):
        """Parse and check; the error names value and range."""
        try:
            number = int(value) if self.whole else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not self.low <= number <= self.high:
            kind = "a whole number" if self.whole else "a number"
            unit = f" {self.unit}" if self.unit else ""
            self.fail(f"{one_line(value, 40)!r} is not {kind} from {self.low:g} to {self.high:g}{unit}")
        return number


class ChannelPreset(click.ParamType):
    """`CHANNEL=PRESET`, channel 1 to 16."""

    name = "channel=preset"

    def convert(self, value, parameter, context):
        """Split and check."""
        if isinstance(value, tuple):
            return value
        channel, sign, preset = value.partition("=")
        if not sign or not preset or not channel.isdecimal() or not 1 <= int(channel) <= 16:
            self.fail(f"{one_line(value, 60)!r} is not CHANNEL=PRESET with a channel from 1 to 16, such as 10=drums")
        return int(channel), preset


def as_json(data: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; numbers to the right."""
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *texts]) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(header))]
    for row in [list(header), *texts]:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        click.echo("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else one_line(value, 80)


@contextlib.contextmanager
def progress_bar(label: str, unit: str) -> Iterator:
    """Give `update(done, total)`: a bar with rate and time left on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(f"{{task.completed:.0f}} {unit}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def warn(messages: Sequence[str]) -> None:
    """Print warnings, a line each, on stderr."""
    for message in messages:
        click.echo(one_line(f"warning: {message}"), err=True)


def require_new(path, overwrite: bool) -> None:
    """Refuse to write over something that is there.

    Raises:
        UsageError: `path` exists and `overwrite` is off, or it is a folder.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; add --force to replace it")
