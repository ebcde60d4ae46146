"""Checks of what people write in files, and the words to say what is wrong with it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from pathlib import Path

from neuralsynth.errors import PresetError
from neuralsynth.knobs import Knob

#: A list of choices in a message ends here; the longest of our own, the effects, fits.
MAX_LISTED = 30


def shown(value: object) -> str:
    """`value` for an error message, cut short when long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a huge number"
    return text if len(text) <= 60 else text[:59] + "…"


def one_of(given: object, options: Iterable[object]) -> str:
    """List `options` for an error message, those most like `given` first."""
    names = [str(option).lower() if isinstance(option, bool) else str(option) for option in options]
    close = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
    listed = [*close, *(name for name in names if name not in close)]
    more = ["…"] if len(listed) > MAX_LISTED else []
    return ", ".join([*listed[:MAX_LISTED], *more])


def checked_number(knob: Knob, value: object) -> float:
    """`knob.check(value)`, safe and brief for values of any type and size."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1_000_000_000:
        value = math.inf if value > 0 else -math.inf  # no knob goes so far, and a float may not hold it
    if not isinstance(value, (int, float)):
        unit = f" {knob.unit}" if knob.unit else ""
        raise ValueError(f"{knob.name} is {shown(value)}; use a number from {knob.low:g} to {knob.high:g}{unit}")
    return knob.check(value)


def plain_file_name(name: str, what: str) -> str:
    """Return `name` if it is the name of a file in the same folder: no path, no address, no hidden file."""
    if any(c in name for c in "/\\:") or name.startswith((".", "~")) or not name or not name.isprintable():
        raise ValueError(f"{what} is {shown(name)}; use the plain name of a file beside the preset")
    return name


def file_beside(folder: Path | None, name: str, where: str) -> Path:
    """The path of a file that lies in `folder` under a plain name, wherever links may lead.

    Raises:
        PresetError: no plain name, no such file, or a link that leads out of the folder.
    """
    if folder is None:
        raise PresetError(f"{where}: {shown(name)} lies beside the preset, but the preset has no folder")
    try:
        path = Path(folder) / plain_file_name(name, "file")
        real, home = path.resolve(strict=True), Path(folder).resolve(strict=True)
    except ValueError as error:
        raise PresetError(f"{where}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise PresetError(f"{where}: there is no file {shown(name)} beside it") from error
    if real.parent != home or not real.is_file():
        raise PresetError(f"{where}: {shown(name)} is not a file of the preset's own folder")
    return path
