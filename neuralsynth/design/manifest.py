"""The manifest of a batch: `manifest.jsonl` to read, `manifest.parquet` as a table. The only import of pyarrow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.errors import MissingExtra, UsageError
from neuralsynth.storage import whole_file

JSONL, PARQUET = "manifest.jsonl", "manifest.parquet"
_ROWS_AT_ONCE = 1024


def require_parquet() -> Any:
    """Import pyarrow.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("manifests need pyarrow: pip install 'neuralsynth[design]'") from error
    return pa


def write_manifest(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write both files; the same rows give the same bytes. `rows` are gone through twice, a few kept at a time.

    Raises:
        OutputError: they cannot be written.
    """
    names: dict[str, set[type]] = {}  # the columns, with the types of what is in them
    knobs: dict[str, set[type]] = {}  # each knob that any sound changed is a column
    with whole_file(folder / JSONL) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            told = {name: value for name, value in row.items() if name != "fingerprint"}
            file.write(json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n")
            for columns, values in ((names, row), (knobs, row.get("changes", {}))):
                for name, value in values.items():
                    columns.setdefault(name, set()).add(type(value))
    names.pop("changes", None)
    _write_table(folder / PARQUET, rows, names, dict(sorted(knobs.items())))


def _write_table(
    path: Path, rows: Iterable[Mapping[str, Any]], names: Mapping[str, set[type]], knobs: Mapping[str, set[type]]
) -> None:
    pyarrow, left = require_parquet(), iter(rows)
    schema = pyarrow.schema([(name, _column_type(pyarrow, kinds)) for name, kinds in {**names, **knobs}.items()])
    with whole_file(path) as part, pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        while some := list(itertools.islice(left, _ROWS_AT_ONCE)):
            columns = {name: [row.get(name) for row in some] for name in names}
            columns |= {name: [row.get("changes", {}).get(name) for row in some] for name in knobs}
            writer.write_table(pyarrow.table(columns, schema=schema))


def _column_type(pyarrow: Any, kinds: set[type]) -> Any:
    """The type of a column of these; what may be missing counts for nothing."""
    kinds = kinds - {type(None)}
    if not kinds:
        return pyarrow.null()
    if list in kinds:
        return pyarrow.list_(pyarrow.float64())
    if kinds == {bool}:
        return pyarrow.bool_()
    if kinds <= {int, bool}:
        return pyarrow.int64()
    return pyarrow.string() if str in kinds else pyarrow.float64()


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a batch with their fingerprints, in order; empty if there is no manifest."""
    path = folder / JSONL
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    if (folder / PARQUET).exists():
        found = require_parquet().parquet.read_table(folder / PARQUET, columns=["index", "fingerprint"])
        prints = dict(zip(found["index"].to_pylist(), found["fingerprint"].to_pylist(), strict=True))
        for row in rows:
            row["fingerprint"] = prints.get(row["index"])
    return rows


def read_batch(folder: Path) -> list[dict[str, Any]]:
    """`read_rows` of a folder that has to hold a batch.

    Raises:
        UsageError: it holds none.
    """
    try:
        rows = read_rows(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{folder}: its manifest is damaged ({error}); render the batch again") from error
    if not rows:
        raise UsageError(f"{folder}: holds no batch; `neuralsynth design` makes one")
    return rows


def fingerprints(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The fingerprints of rows, `[N, D]`."""
    return np.array([row["fingerprint"] for row in rows], np.float32)
