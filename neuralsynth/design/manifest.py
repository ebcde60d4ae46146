"""The manifest of a batch: `manifest.jsonl` to read, `manifest.parquet` as a table. The only import of pyarrow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.errors import MissingExtra, UsageError
from neuralsynth.storage import whole_file

JSONL, PARQUET = "manifest.jsonl", "manifest.parquet"


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


def write_manifest(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write both files; the same rows give the same bytes.

    Raises:
        OutputError: they cannot be written.
    """
    with whole_file(folder / JSONL) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            told = {name: value for name, value in row.items() if name != "fingerprint"}
            file.write(json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n")
    pyarrow = require_parquet()
    table = pyarrow.table(_columns(rows))
    with whole_file(folder / PARQUET) as part:
        pyarrow.parquet.write_table(table, part, compression="zstd")


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list]:
    """Row by row becomes column by column; each knob that any sound changed is a column."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "changes"))
    knobs = sorted({name for row in rows for name in row.get("changes", {})})
    columns = {name: [row.get(name) for row in rows] for name in names}
    return columns | {name: [row.get("changes", {}).get(name) for row in rows] for name in knobs}


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
