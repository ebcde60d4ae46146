"""Scala files: a scale (.scl) and, if there is one, how it lies on the keys (.kbm) -> `Tuning`.

The formats are those of the Scala program (huygens-fokker.org/scala/scl_format.html and its help on mappings):

- Lines that begin with `!` are comments. Text is UTF-8 or Latin-1; lines end in any of the usual ways.
- .scl: one line of description (may be empty), the number of pitches N (0 is allowed), then N pitches. A value with
  a point is cents (`701.955`, `408.`, `-5.0`), any other a ratio (`3/2`, `2`); what follows it is ignored. Degree 0,
  the 1/1, is not in the file; the last pitch is the period at which the scale repeats, an octave or not.
- .kbm: map size, first and last key to retune, middle key (where the map starts), reference key, its frequency in
  hertz, formal octave degree, then one scale degree per key of the map, or `x` for a key that stays silent. Entries
  left out at the end are `x`. Size 0 is a linear map: one degree per key. Formal octave 0 is the scale's last degree.

Where the formats leave a choice: without .kbm, middle C (key 60) is degree 0 and sounds at its usual 261.6256 Hz.
Keys outside the first and last key to retune keep equal temperament at A4 = 440 Hz. Degrees above the scale's size
go on into the next period. Lines after the last pitch or map entry, and blank lines before it, are ignored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuralsynth.checking import shown
from neuralsynth.errors import PresetError, one_line
from neuralsynth.regular_file import read_regular_file
from neuralsynth.tuning.table import N_KEYS, Tuning
from neuralsynth.units import hz_to_note, note_to_hz

MAX_BYTES = 1 << 20
MAX_DEGREES = 65_536
MAX_CENTS = 120_000.0
MAX_DIGITS = 1_000

#: A pitch, then anything that cannot be read as more of it (a decimal comma, an exponent, a second slash).
_AFTER = r"(?![\d./]|,\d|[eE][-+]?\d)"
_CENTS = re.compile(rf"\s*([-+]?(?:\d+\.\d*|\.\d+)){_AFTER}")
_RATIO = re.compile(rf"\s*(\d+)(?:\s*/\s*(\d+))?{_AFTER}(?!\s*/)")
_WHOLE = re.compile(r"\s*(\d{1,9})(?=[\s!]|$)")
_HERTZ = re.compile(r"\s*((?:\d{1,9}\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?)(?=[\s!]|$)")
_UNMAPPED = re.compile(r"\s*[xX](?=[\s!]|$)")


@dataclass(frozen=True)
class Scale:
    """Pitches above 1/1 in cents, degree 1 first; the last is the period."""

    cents: tuple[float, ...]
    description: str = ""

    def degree_cents(self, degree: int) -> float:
        """Pitch of any degree above degree 0, negative ones and those beyond the period included."""
        if not self.cents:
            return 0.0
        periods, step = divmod(degree, len(self.cents))
        return periods * self.cents[-1] + (self.cents[step - 1] if step else 0.0)


@dataclass(frozen=True)
class KeyMap:
    """How a scale lies on the keys; `degrees` holds None for a silent key and may be shorter than `size`."""

    size: int = 0
    first_key: int = 0
    last_key: int = N_KEYS - 1
    middle_key: int = 60
    reference_key: int = 60
    reference_hz: float = float(note_to_hz(60))
    octave_degree: int = 0
    degrees: tuple[int | None, ...] = ()

    def key_cents(self, scale: Scale, key: int) -> float | None:
        """Pitch of a key above degree 0 at the middle key; None if it is silent."""
        if self.size == 0:
            return scale.degree_cents(key - self.middle_key)
        repeats, index = divmod(key - self.middle_key, self.size)
        degree = self.degrees[index] if index < len(self.degrees) else None
        if degree is None:
            return None
        return repeats * scale.degree_cents(self.octave_degree or len(scale.cents)) + scale.degree_cents(degree)


def read_scala(scl: Path | str, kbm: Path | str | None = None) -> Tuning:
    """The tuning that a Scala scale gives, laid on the keys by `kbm` or else from middle C up.

    Raises:
        PresetError: a file cannot be read or breaks its format; the text names file, line and what is allowed.
    """
    scale = read_scale(Path(scl))
    key_map = KeyMap() if kbm is None else read_key_map(Path(kbm))
    reference = key_map.key_cents(scale, key_map.reference_key)
    if reference is None:
        raise PresetError(
            f"{kbm}: the reference key {key_map.reference_key} is unmapped; "
            f"give the frequency of a key that has a scale degree"
        )
    origin = float(hz_to_note(key_map.reference_hz)) - reference / 100.0
    notes = np.arange(N_KEYS, dtype=np.float64)
    for key in range(key_map.first_key, key_map.last_key + 1):
        cents = key_map.key_cents(scale, key)
        notes[key] = np.nan if cents is None else origin + cents / 100.0
    return Tuning(notes, one_line(scale.description, 80) or Path(scl).stem)


def read_scale(path: Path) -> Scale:
    """A .scl file.

    Raises:
        PresetError: as for `read_scala`.
    """
    lines = _lines(path)
    if not lines:
        raise PresetError(f"{path}: holds comments only; a scale needs a description and a number of pitches")
    description = lines[0][1].strip()
    content = _not_blank(lines[1:])
    if not content:
        raise PresetError(f"{path}: ends before the number of pitches")
    count = _whole(path, content[0], "number of pitches", 0, MAX_DEGREES)
    pitches = content[1 : 1 + count]
    if len(pitches) < count:
        raise PresetError(f"{path}: promises {count} pitches and holds {len(pitches)}")
    return Scale(tuple(_pitch_cents(path, line) for line in pitches), description)


def read_key_map(path: Path) -> KeyMap:
    """A .kbm file.

    Raises:
        PresetError: as for `read_scala`.
    """
    lines = _not_blank(_lines(path))
    names = ("map size", "first key", "last key", "middle key", "reference key", "reference frequency", "formal octave")
    if len(lines) < len(names):
        raise PresetError(f"{path}: ends before the {names[len(lines)]}; a key map starts with {len(names)} numbers")
    size = _whole(path, lines[0], names[0], 0, MAX_DEGREES)
    keys = [_whole(path, line, name, 0, N_KEYS - 1) for line, name in zip(lines[1:5], names[1:5], strict=True)]
    first, last, middle, reference = keys
    if first > last:
        raise PresetError(f"{path}: line {lines[2][0]}: the last key {last} is below the first key {first}")
    octave = _whole(path, lines[6], names[6], 0, MAX_DEGREES)
    key_map = KeyMap(size, first, last, middle, reference, _hertz(path, lines[5]), octave)
    return replace(key_map, degrees=tuple(_degree(path, line) for line in lines[7 : 7 + size]))


def _lines(path: Path) -> list[tuple[int, str]]:
    """Line numbers, from 1, and texts of all lines that are no comments."""
    data = read_regular_file(path, MAX_BYTES, PresetError)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = re.split(r"\r\n|\r|\n", text)
    if not lines[-1]:
        lines.pop()  # what follows the last line end is no line
    return [(number, line) for number, line in enumerate(lines, 1) if not line.startswith("!")]


def _not_blank(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [line for line in lines if line[1].strip() and not line[1].lstrip().startswith("!")]


def _whole(path: Path, line: tuple[int, str], name: str, low: int, high: int) -> int:
    number, text = line
    match = _WHOLE.match(text)
    if match is None or not low <= int(match[1]) <= high:
        raise PresetError(f"{path}: line {number}: {name} is {_said(text)}; use a whole number from {low} to {high}")
    return int(match[1])


def _hertz(path: Path, line: tuple[int, str]) -> float:
    number, text = line
    match = _HERTZ.match(text)
    if match is None or not 1.0 <= float(match[1]) <= 20_000.0:
        raise PresetError(
            f"{path}: line {number}: reference frequency is {_said(text)}; use a number from 1 to 20000 Hz"
        )
    return float(match[1])


def _degree(path: Path, line: tuple[int, str]) -> int | None:
    number, text = line
    if _UNMAPPED.match(text):
        return None
    match = _WHOLE.match(text)
    if match is None or int(match[1]) > MAX_DEGREES:
        raise PresetError(
            f"{path}: line {number}: map entry is {_said(text)}; use a scale degree from 0 to {MAX_DEGREES}, or x"
        )
    return int(match[1])


def _pitch_cents(path: Path, line: tuple[int, str]) -> float:
    number, text = line
    cents = _cents(text)
    if cents is None or not abs(cents) <= MAX_CENTS:
        raise PresetError(
            f"{path}: line {number}: pitch is {_said(text)}; use cents with a point, such as 701.955, "
            f"or a ratio of positive whole numbers, such as 3/2"
        )
    return cents


def _cents(text: str) -> float | None:
    """Cents of a pitch as written; None if it is none."""
    match = _CENTS.match(text)
    if match is not None and len(match[1]) <= MAX_DIGITS:
        return float(match[1])
    match = _RATIO.match(text)
    if match is None or max(len(match[1]), len(match[2] or "")) > MAX_DIGITS:
        return None
    over, under = int(match[1]), int(match[2] or 1)
    return 1200.0 * (math.log2(over) - math.log2(under)) if over and under else None


def _said(text: str) -> str:
    return shown(text.strip())
