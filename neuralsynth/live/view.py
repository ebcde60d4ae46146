"""What a person sees of a live session: `View` draws it on a terminal, `line` says it in one line of plain text.

Everything is drawn from a `Status`, whatever it holds; control characters in names never reach the terminal.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from neuralsynth.errors import one_line
from neuralsynth.live.computer_keyboard import COMMANDS, PLAYING, START_OCTAVE, START_VELOCITY
from neuralsynth.live.describe import describe_event
from neuralsynth.live.drawing import ASCII, BLOCKS, bar, fit, number, packed, share

__all__ = ["PeakHold", "Status", "View", "describe_event", "line"]

HOLD_SECONDS = 1.0
FALL_DB_PER_SECOND = 20.0
CLIP_SECONDS = 2.0
_LOWEST_DB, _MARK_DB, _HIGHEST_DB = -60.0, -6.0, 12.0
_BUSY, _TOO_BUSY = 0.6, 0.9  # shares of a block's time
_WIDEST = 100
_MOST_PROBLEMS = 3
_MOST_PORTS = 16
_LABEL_CELLS, _LEVEL_CELLS, _LOAD_CELLS = 7, 14, 21  # of the texts before and behind the bars
_QUIET, _LOUD, _CLIP = "green", "yellow", "bold red"

Piece = tuple[str, str]  # text and style


@dataclass(frozen=True)
class Status:
    """All that the view shows. Levels are peaks since the last frame, loads shares of a block's time."""

    preset: str = ""
    program: int = 0
    n_programs: int = 1
    says: str = ""
    device: str = ""
    sample_rate: int = 0
    block_size: int = 0
    latency_ms: float = 0.0  # of a block and the device
    midi_ports: Sequence[str] = ()
    level_left_db: float = -200.0
    level_right_db: float = -200.0
    is_limited: bool = False  # since the last frame
    voices: int = 0
    load: float = 0.0
    worst_load: float = 0.0
    under_runs: int = 0  # told by the device, and late blocks
    tempo_bpm: float = 120.0
    last_event: bytes = b""
    is_recording: bool = False
    take_seconds: float = 0.0
    take_file: str = ""
    has_keyboard: bool = True  # the computer's
    octave: int = START_OCTAVE
    velocity: int = START_VELOCITY
    is_sustained: bool = False
    problems: Sequence[str] = ()  # short texts: "audio device lost, waiting for it"


class PeakHold:
    """The highest level of late: it stays for `HOLD_SECONDS`, then falls."""

    def __init__(self) -> None:
        self._level_db = self._now_db = _LOWEST_DB
        self._at_seconds = 0.0

    def update(self, level_db: float, now_seconds: float) -> float:
        """The mark in dB, after a level that came now."""
        fallen_seconds = max(now_seconds - self._at_seconds - HOLD_SECONDS, 0.0)
        self._now_db = max(self._level_db - FALL_DB_PER_SECOND * fallen_seconds, _LOWEST_DB)
        if level_db >= self._now_db:
            self._level_db = self._now_db = min(level_db, _HIGHEST_DB)
            self._at_seconds = now_seconds
        return self._now_db


class View:
    """The terminal view, as a context manager: call `draw` for every frame.

    It needs some ten lines of 40 columns or more, is cut off below that, and takes no colour where `NO_COLOR` is set.
    """

    def __init__(self, console: Console | None = None) -> None:
        """Draw on `console`, by default stdout."""
        self._console = console or Console(highlight=False)
        self._glyphs = BLOCKS if self._console.encoding.lower().startswith("utf") else ASCII
        self._holds = (PeakHold(), PeakHold())
        self._clip_until_seconds = [0.0, 0.0]
        self._live: Live | None = None

    @property
    def is_possible(self) -> bool:
        """Whether there is a terminal that can be drawn on; else print `line` now and then."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Take the lower end of the terminal."""
        if self._live is None:
            self._live = Live(
                Text(), console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop"
            )
            with contextlib.suppress(OSError):  # the terminal is gone: nobody looks
                self._live.start()

    def stop(self) -> None:
        """Wipe it; the cursor is visible again. `start` may follow."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError):
                live.update(Text())  # or rich draws the last frame once more, uncut
                live.stop()

    def draw(self, status: Status, now_seconds: float | None = None) -> None:
        """Show `status`; `now_seconds` moves the peak marks, by default `time.monotonic()`."""
        now_seconds = time.monotonic() if now_seconds is None else now_seconds
        lines = self.lines(status, self._console.width, now_seconds)
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.update(Group(*lines), refresh=True)

    def tell(self, text: str) -> None:
        """Print a line above the picture; it stays."""
        with contextlib.suppress(OSError):
            self._console.print(Text(self._clean(text)))

    def lines(self, status: Status, width: int, now_seconds: float) -> list[Text]:
        """The picture, lines of at most `width` cells."""
        width = min(width, _WIDEST)
        if width <= 0:
            return []
        problems = [[(f"! {text}", _CLIP)] for text in status.problems[:_MOST_PROBLEMS]]
        rows = [
            self._head(status, width),
            *([[(status.says, "italic")]] if status.says else []),
            *problems,
            [_label("audio"), (self._audio(status), "")],
            [_label("midi"), (", ".join(status.midi_ports[:_MOST_PORTS]) or "no port", "")],
            self._level("left", 0, status, width, now_seconds),
            self._level("right", 1, status, width, now_seconds),
            self._load(status, width),
            [_label("voices"), (self._counts(status), _LOUD if status.under_runs else "")],
            [_label("event"), (describe_event(status.last_event), "")],
            *([[_label("take"), (self._take(status), _CLIP)]] if status.is_recording else []),
            *([[(text, "dim")] for text in self._help(width)] if status.has_keyboard else []),
        ]
        return [self._row(row, width) for row in rows]

    def _row(self, pieces: Sequence[Piece], width: int) -> Text:
        """One line; what does not fit is cut."""
        row = Text(no_wrap=True, overflow="crop")
        for text, style in pieces:
            row.append(fit(self._clean(text), width - row.cell_len, self._glyphs.ellipsis), style)
        return row

    def _clean(self, text: str) -> str:
        text = one_line(text[: 2 * _WIDEST], 1 << 16)
        return text if self._glyphs is BLOCKS else text.encode("ascii", "backslashreplace").decode("ascii")

    def _join(self, *texts: str) -> str:
        return f" {self._glyphs.dot} ".join(text for text in texts if text)

    def _head(self, status: Status, width: int) -> list[Piece]:
        there = f"{number(status.n_programs)} presets" if status.n_programs != 1 else ""
        tail = self._join(f"program {number(status.program)}", there, f"{number(status.tempo_bpm)} bpm")
        name = fit(self._clean(status.preset), max(width - len(tail) - 2, width // 3), self._glyphs.ellipsis)
        return [(name, "bold"), (f"  {tail}", "")]

    def _audio(self, status: Status) -> str:
        block = f"{number(status.sample_rate)} Hz {self._glyphs.dot} {number(status.block_size)}"
        return self._join(block, f"{number(status.latency_ms, 1)} ms", status.device or "no device")

    def _level(self, label: str, side: int, status: Status, width: int, now_seconds: float) -> list[Piece]:
        level_db = (status.level_left_db, status.level_right_db)[side]
        peak_db = self._holds[side].update(level_db, now_seconds)
        if status.is_limited or level_db >= 0.0:
            self._clip_until_seconds[side] = now_seconds + CLIP_SECONDS
        clip = " CLIP" if now_seconds < self._clip_until_seconds[side] else ""
        loud_at = _along(_MARK_DB)
        cells = bar(width - _LABEL_CELLS - _LEVEL_CELLS, _along(level_db), _along(peak_db), loud_at, self._glyphs)
        styled = [(text, _QUIET if at < loud_at else _LOUD) for text, at in cells]
        said = number(level_db, 1) if level_db > _LOWEST_DB else "-"
        return [_label(label), *styled, (f"{said:>6} dB", ""), (clip, "bold white on red")]

    def _load(self, status: Status, width: int) -> list[Piece]:
        load, worst = share(status.load), share(status.worst_load)
        style = _QUIET if load < _BUSY else _LOUD if load < _TOO_BUSY else _CLIP
        said = f"{_percent(status.load):>6}  worst {_percent(status.worst_load)}"
        cells = bar(width - _LABEL_CELLS - _LOAD_CELLS, load, worst, 1.0, self._glyphs)
        return [_label("load"), *((text, style) for text, _ in cells), (said, "")]

    def _counts(self, status: Status) -> str:
        keyboard = (
            f"octave {number(status.octave)}",
            f"velocity {number(status.velocity)}",
            "sustained" if status.is_sustained else "",
        )
        counts = (number(status.voices), f"under-runs {number(status.under_runs)}")
        return self._join(*counts, *(keyboard if status.has_keyboard else ()))

    def _take(self, status: Status) -> str:
        return self._join(f"{self._glyphs.light} {_clock(status.take_seconds)}", status.take_file)

    def _help(self, width: int) -> list[str]:
        """The keys, in as few lines as they fit."""
        first_keys: dict[str, str] = {}
        for key, name in COMMANDS.items():
            first_keys.setdefault(name, key)
        playing = [f"{keys} {does}" for keys, does in PLAYING.items()]
        return packed([*playing, *(f"{key} {name}" for name, key in first_keys.items())], width)


def line(status: Status, encoding: str = "utf-8") -> str:
    """`status` on one line that `encoding` can write, for where there is no terminal."""
    texts = [
        status.preset or "no preset",
        f"{number(status.level_left_db, 1)}/{number(status.level_right_db, 1)} dB",
        f"voices {number(status.voices)}",
        f"load {_percent(status.load)}, worst {_percent(status.worst_load)}",
        f"under-runs {number(status.under_runs)}",
        f"recording {_clock(status.take_seconds)} {status.take_file}" if status.is_recording else "",
        describe_event(status.last_event),
        *(f"problem: {text}" for text in status.problems[:_MOST_PROBLEMS]),
    ]
    text = one_line("; ".join(fit(one_line(text, 1 << 16), 80, "...") for text in texts if text), 1 << 16)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _label(text: str) -> Piece:
    return (text.ljust(_LABEL_CELLS), "dim")


def _along(level_db: float) -> float:
    """Where a level lies on its bar, 0 to 1."""
    return share((level_db - _LOWEST_DB) / -_LOWEST_DB)


def _percent(value: float) -> str:
    return f"{number(100 * value)} %"


def _clock(seconds: float) -> str:
    """Minutes and seconds: 1:05."""
    whole = int(min(max(seconds, 0.0), 359_999.0)) if seconds == seconds else 0  # noqa: PLR0124 (NaN)
    return f"{whole // 60}:{whole % 60:02}"
