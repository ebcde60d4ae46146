"""`measured.csv`: one row for each instrument, protocol and seed that was judged, and what the row rests on."""

from __future__ import annotations

import ast
import contextlib
import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from neuralsynth.errors import UsageError
from neuralsynth.scoring import Score
from neuralsynth.storage import whole_file
from neuralsynth.training.config import TrainConfig

try:
    import fcntl
except ImportError:  # Windows: let one program write at a time
    fcntl = None  # type: ignore[assignment]

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "neuralsynth"
#: Rooms whose code decides the figures.
ROOMS = ("analysis", "scoring", "sound", "training")
#: Words about an instrument, which change no figure.
WORDS = ("name", "licence", "origin")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One judged training; a figure is None where it was not measured. Distances are means over the judged."""

    instrument: str
    protocol: str
    seed: int
    n_trained: int | None
    n_judged: int
    floor_db: float
    reconstruct_db: float
    play_db: float
    interpolated_db: float | None
    sampler_db: float | None
    constant_q_play_db: float | None
    constant_q_sampler_db: float | None
    centroid_play_semitones: float | None
    centroid_sampler_semitones: float | None
    envelope_play_db: float | None
    envelope_sampler_db: float | None
    steps: int
    minutes: float | None
    digest: str  # of configuration and code, see `digest_of`

    @property
    def key(self) -> tuple[str, str, int]:
        """What there is one row of."""
        return self.instrument, self.protocol, self.seed


def figures_of(score: Score) -> dict[str, float | None]:
    """The measured columns of a row."""
    mean, second = score.quality(), score.second_opinions()
    names = ("floor_db", "reconstruct_db", "play_db", "interpolated_db", "sampler_db")
    figures = {name: getattr(mean, name) for name in names}
    for rival in ("play", "sampler"):
        for measure, unit in (("constant_q", "db"), ("centroid", "semitones"), ("envelope", "db")):
            value = getattr(second[rival], f"{measure}_{unit}") if second else float("nan")
            figures[f"{measure}_{rival}_{unit}"] = value
    return {name: None if value != value else round(value, 4) for name, value in figures.items()}  # noqa: PLR0124


def read_rows(path: Path) -> list[Row]:
    """All rows; none if the file is not there yet.

    Raises:
        UsageError: a row that is not one of ours; its line is told.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            return [_row(fields, f"{path}, line {reader.line_num}") for fields in reader]
    except FileNotFoundError:
        return []


def _row(fields: dict, where: str) -> Row:
    try:
        return msgspec.convert({key: value or None for key, value in fields.items() if key != "digest"}
                               | {"digest": fields["digest"] or ""}, Row, strict=False)  # fmt: skip
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise UsageError(f"{where}: is no row of figures ({error}); correct or delete it") from error


def keep_row(path: Path, row: Row, order: Sequence[str]) -> None:
    """Put a row into the file, in the place of an older one of its key; rows are sorted, protocols as in `order`.

    Programs that write at the same time wait for each other, and a reader sees the old file or the new one.
    """
    with _alone(path.parent):
        rows = [kept for kept in read_rows(path) if kept.key != row.key] + [row]
        place = {protocol: i for i, protocol in enumerate(order)}
        rows.sort(key=lambda r: (r.instrument, place.get(r.protocol, len(place)), r.seed))
        with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, Row.__struct_fields__, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: "" if v is None else v for k, v in msgspec.structs.asdict(r).items()} for r in rows)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it goes with the process that dies."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def digest_of(config: TrainConfig) -> str:
    """Twelve hex digits that change with the settings and with the code that decides the figures.

    Comments, docstrings and layout are no code. What it does not see: the recordings, and versions of libraries.
    """
    settings = {key: value for key, value in asdict(config).items() if key not in WORDS}
    told = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")):
        told.update(_code_of(path.read_text(encoding="utf-8")).encode())
    return told.hexdigest()[:12]


def _code_of(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
