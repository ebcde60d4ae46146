"""`write_page`: a batch as one web page to look at, listen to and choose from; it works from disk without a server.

Everything is in the page but the sounds, which lie beside it (with `embed`, they are in it as well). It loads nothing
else: its content security policy lets it take sounds from its own folder, fetch nothing and run no script but its own.
Names come from anywhere: they travel as JSON in which no `<` stands, and become text, never markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth import __version__
from neuralsynth.audiofile import encoded_small, read_audio
from neuralsynth.design.batch import JOB
from neuralsynth.design.thumbnails import packed, thumbnail_of_file
from neuralsynth.errors import RecordingError
from neuralsynth.hosts.report_markup import text
from neuralsynth.storage import whole_file
from neuralsynth.units import note_name

PAGE = "index.html"
_SCRIPTS = ("data.js", "player.js", "map.js", "filters.js", "grid.js", "favourites.js", "app.js")
_DIGITS = 7  # of a number in the page


def write_page(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    positions: np.ndarray,
    title: str,
    descriptors: Sequence[tuple[str, str, str]],
    *,
    embed: bool = False,
    thumbnails: Sequence[np.ndarray | None] | None = None,
) -> int:
    """Write `index.html` into the folder of a batch; returns its size in bytes.

    Args:
        folder: where the sounds lie; it is named in the command lines that the page gives.
        rows: of the manifest; a descriptor may be missing or None.
        positions: `[N, 2]`, where each sound lies on the map, 0..1 to the right and up.
        descriptors: (name, unit, what it says) of the numbers to show, filter, sort and colour by, in their order.
        embed: put the sounds into the page, so that it can be sent as one file.
        thumbnails: of each row, from `thumbnails.thumbnail`; where there is none, it is made from the file.

    Raises:
        OutputError: the file cannot be written.
        ValueError: as many positions, or thumbnails, as rows were not given.
    """
    folder, places = Path(folder), np.asarray(positions, np.float64).reshape(-1, 2)
    given = list(thumbnails) if thumbnails is not None else [None] * len(rows)
    if not len(rows) == len(places) == len(given):
        raise ValueError(f"{len(rows)} rows, {len(places)} positions, {len(given)} thumbnails; give as many of each")
    head, pictures = packed(
        thumbnail_of_file(folder / str(row["file"])) if pixels is None else pixels
        for row, pixels in zip(rows, given, strict=True)
    )
    job = _job(folder)
    data = {
        "title": title,
        "digest": str(job.get("digest") or _digest(rows)),
        "folder": str(folder),
        "canAgain": "job" in job,  # what went through a chain was not rendered
        **_sounds(rows, places),
        "columns": _columns(rows, descriptors),
        "pictureHead": head,
        "pictures": pictures,
        "audio": [_embedded(folder / str(row["file"])) for row in rows] if embed else None,
    }
    page = _page(title, data, len(rows)).encode()
    with whole_file(folder / PAGE) as part:
        part.write_bytes(page)
    return len(page)


def _job(folder: Path) -> dict[str, Any]:
    """What the folder says that it holds; empty if nothing."""
    try:
        job = json.loads((folder / JOB).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return job if isinstance(job, dict) else {}


def _digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """By which a browser keeps the favourites of these sounds and no others, where there is no job."""
    told = json.dumps([[str(row["name"]), row.get("digest")] for row in rows])
    return hashlib.sha256(told.encode()).hexdigest()


def _sounds(rows: Sequence[Mapping[str, Any]], places: np.ndarray) -> dict[str, Any]:
    """What each sound is, column by column."""
    presets = list(dict.fromkeys(str(row.get("preset", "")) for row in rows))
    knobs = list(dict.fromkeys(str(knob) for row in rows for knob in row.get("changes") or {}))
    numbers = {knob: i for i, knob in enumerate(knobs)}
    return {
        "indices": [int(row.get("index", i)) for i, row in enumerate(rows)],
        "names": [str(row["name"]) for row in rows],
        "files": [str(row["file"]) for row in rows],
        "keys": [_key(row) for row in rows],
        "presets": presets,
        "presetOf": [presets.index(str(row.get("preset", ""))) for row in rows],
        "knobs": knobs,
        "changes": [
            [x for k, v in (row.get("changes") or {}).items() for x in (numbers[k], _number(v))] for row in rows
        ],
        "x": [_number(x) for x in np.round(places[:, 0], 5)],
        "y": [_number(y) for y in np.round(places[:, 1], 5)],
    }


def _key(row: Mapping[str, Any]) -> str:
    note = row.get("note")
    return note_name(int(note)) if isinstance(note, int | float) and 0 <= note <= 127 else ""


def _columns(rows: Sequence[Mapping[str, Any]], descriptors: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """The descriptors that some sound has, and note and velocity where they differ."""
    played = [("note", "", "MIDI note"), ("velocity", "", "MIDI velocity")]
    described = {name for name, _, _ in descriptors}
    columns = []
    for name, unit, says in (*descriptors, *(one for one in played if one[0] not in described)):
        values = [_number(row.get(name)) for row in rows]
        different = {value for value in values if value is not None}
        if len(different) > 1 or (different and name in described):
            columns.append({"name": name, "unit": unit, "says": says, "values": values})
    return columns


def _number(value: Any) -> float | int | None:
    """A number as JSON can hold it, short; None for what is none."""
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return None
    short = float(f"{float(value):.{_DIGITS}g}")
    return int(short) if short.is_integer() else short


def _embedded(path: Path) -> str | None:
    """A sound as a data URI; None where it cannot be read."""
    try:
        kind, data = encoded_small(*read_audio(path))
    except RecordingError:
        return None
    return f"data:audio/{kind};base64,{base64.b64encode(data).decode()}"


def _json(data: Any) -> str:
    """JSON that can stand in a page: ASCII, and no `<` or `&`, so that nothing in it ends or begins an element."""
    told = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return told.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _page(title: str, data: Mapping[str, Any], count: int) -> str:
    script = "(() => {\n" + '"use strict";\n' + "".join(_resource(name) for name in _SCRIPTS) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src 'self' file: data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    filled = {
        "policy": policy,
        "title": text(title),
        "style": _resource("style.css"),
        "count": f"{count:,}",
        "version": text(__version__),
        "data": _json(data),
        "script": script,
    }
    parts = _resource("body.html").split("@@")
    return "".join(filled[part] if i % 2 else part for i, part in enumerate(parts))


def _resource(name: str) -> str:
    return files("neuralsynth.design").joinpath("web", name).read_text(encoding="utf-8")
