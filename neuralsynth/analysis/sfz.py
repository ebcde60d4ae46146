"""What SFZ files beside the recordings say: which note and velocity each sample is.

Read: headers `<control> <global> <master> <group> <region>` with inheritance, `sample`, `key`, `pitch_keycenter`,
`lokey`, `hikey`, `lovel`, `hivel`, `default_path`, `note_offset`, `octave_offset`, `#define`, `#include`
(https://sfzformat.com). Paths never leave the folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from neuralsynth.units import parse_note_name

MAX_BYTES = 2_000_000
MAX_INCLUDES, MAX_DEFINITIONS, MAX_SAMPLES = 32, 256, 10_000
_LEVELS = ("control", "global", "master", "group", "region")
# Every repetition is bounded or ends at a line, so that no text takes more than linear time.
_COMMENT = re.compile(r"/\*(?:.*?\*/|.*\Z)|//[^\n]*", re.DOTALL)
_PIECE = re.compile(r"<(\w{1,64})>|(?<!\w)(\w{1,64})=([^\n<]{0,1000}?)(?=[ \t]{1,64}\$?\w{1,64}=|<|\n|\Z)")
_DEFINE = re.compile(r"^[ \t]*#define[ \t]+(\$\w{1,64})[ \t]+(\S{1,1000})[^\n]*$", re.MULTILINE)
_INCLUDE = re.compile(r'^[ \t]*#include[ \t]+"([^"\n]+)"[^\n]*$', re.MULTILINE)


@dataclass(frozen=True)
class SfzReading:
    """Note and velocity (upper end of the region's layer) of a sample, None where the SFZ is silent."""

    note: int | None
    velocity: int | None


def read_sfz_files(folder: Path, sfz_files: list[Path]) -> tuple[dict[Path, SfzReading], list[str]]:
    """Readings by resolved sample path, and a warning for each SFZ file that cannot be read."""
    readings: dict[Path, SfzReading] = {}
    warnings = []
    for path in sfz_files:
        try:
            for sample, reading in _regions(folder, path):
                readings.setdefault(sample, reading)
        except (OSError, ValueError) as error:
            warnings.append(f"{path.relative_to(folder).as_posix()}: is ignored ({error})")
    return readings, warnings


def _regions(folder: Path, path: Path):
    """Yield (resolved sample path, reading) for every region of one SFZ file."""
    opcodes: dict[str, dict[str, str]] = {level: {} for level in _LEVELS}
    found: dict[tuple[str, str], Path | None] = {}
    level = None
    for match in _PIECE.finditer(_text(folder, path) + "\n<end>"):
        header, name, value = match.groups()
        if header is None:
            if level is not None:
                opcodes[level][name.lower()] = value.strip()
            continue
        if level == "region":
            merged = {k: v for one in _LEVELS for k, v in opcodes[one].items()}
            where = (merged.get("default_path", ""), merged.get("sample", ""))
            if where not in found and len(found) < MAX_SAMPLES:
                found[where] = _sample(folder, path.parent, *where)
            sample = found.get(where)
            if sample is not None:
                yield sample, _reading(merged)
        level = header.lower() if header.lower() in _LEVELS else None
        if level not in (None, "control"):
            for lower in _LEVELS[_LEVELS.index(level) :]:
                opcodes[lower] = {}


def _text(folder: Path, path: Path) -> str:
    """The text of an SFZ file without comments, its definitions and at most `MAX_INCLUDES` included files put in."""
    text = _plain(path)
    for _ in range(MAX_INCLUDES):
        match = _INCLUDE.search(text)
        if match is None:
            break
        inner = _inside(folder, path.parent, match.group(1))
        text = _limited(text[: match.start()] + (_plain(inner) if inner else "") + text[match.end() :])
    text = _INCLUDE.sub("", text)
    defined = dict(_DEFINE.findall(text)[:MAX_DEFINITIONS])
    text = _DEFINE.sub("", text)
    for name in sorted(defined, key=len, reverse=True):
        text = _limited(text.replace(name, defined[name]))
    return text


def _plain(path: Path) -> str:
    """One file's text without comments."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB")
    return _COMMENT.sub("", path.read_text("utf-8", errors="replace").replace("\r", "\n"))


def _limited(text: str) -> str:
    if len(text) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB with its includes and definitions")
    return text


def _sample(folder: Path, base: Path, default_path: str, sample: str) -> Path | None:
    """The sample's file, or None if there is none, it is a built-in wave, or it lies outside the folder."""
    return _inside(folder, base, default_path + sample) if sample and not sample.startswith("*") else None


def _inside(folder: Path, base: Path, name: str) -> Path | None:
    """The existing file `name`, case ignored if need be, when it lies inside `folder`; else None."""
    relative = Path(name.replace("\\", "/"))
    if relative.is_absolute() or "\0" in name:
        return None
    root = folder.resolve()
    try:
        path = (base / relative).resolve()
        if not path.is_relative_to(root) or path.is_file():
            return path if path.is_relative_to(root) else None
        here = root
        for part in path.relative_to(root).parts:
            here = next((p for p in sorted(here.iterdir()) if p.name.lower() == part.lower()), here / part)
        return here if here.is_file() else None
    except OSError:
        return None


def _reading(opcodes: dict[str, str]) -> SfzReading:
    """Note and velocity of one region; `pitch_keycenter` before `key` before a range of one key."""
    keys = {name: _note(opcodes.get(name)) for name in ("pitch_keycenter", "key", "lokey", "hikey")}
    note = keys["pitch_keycenter"] if keys["pitch_keycenter"] is not None else keys["key"]
    if note is None and keys["lokey"] == keys["hikey"]:
        note = keys["lokey"]
    if note is not None:
        note += _integer(opcodes.get("note_offset"), 0) + 12 * _integer(opcodes.get("octave_offset"), 0)
    low, high = _integer(opcodes.get("lovel"), 1), _integer(opcodes.get("hivel"), 127)
    velocity = None if (low <= 1 and high >= 127) or not 1 <= high <= 127 else high
    return SfzReading(note if note is not None and 0 <= note <= 127 else None, velocity)


def _note(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text) if text.lstrip("-").isdigit() else parse_note_name(text)
    except ValueError:
        return None


def _integer(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None else default
    except ValueError:
        return default
