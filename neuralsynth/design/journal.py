"""The journal of a batch: a line for every finished item, so that a run that was broken off can go on.

Only where each line begins is kept in memory, eight bytes an item: a batch of a million sounds needs no more memory
than one of a hundred.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.design.manifest import read_rows
from neuralsynth.errors import OutputError
from neuralsynth.storage import whole_file

JOURNAL = "journal.jsonl"
_SYNC_EVERY = 64  # lines between two times that the disk is asked to keep them
_NOT_THERE = -1


class Journal:
    """Which items of the batch in `folder` are there, with their rows; iterate to read those in order."""

    def __init__(self, folder: Path, n_items: int) -> None:
        """Look which items are there: those whose line is whole, and whose file has the size that the line says."""
        self._folder, self._path = folder, folder / JOURNAL
        self._places = np.full(n_items, _NOT_THERE, np.int64)
        self._scan()

    def __len__(self) -> int:
        """How many items are there."""
        return int(np.count_nonzero(self._places != _NOT_THERE))

    def missing(self) -> Iterator[int]:
        """The numbers of the items that are not there, in order; what is added meanwhile makes no difference."""
        return iter(np.flatnonzero(self._places == _NOT_THERE).tolist())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows of the items that are there, in order, one at a time."""
        here = self._places[self._places != _NOT_THERE].tolist()
        if here:
            with self._path.open("rb") as file:
                for place in here:
                    file.seek(place)
                    yield json.loads(file.readline())

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Give what notes the row of a finished item.

        Raises:
            OutputError: the journal cannot be written.
        """
        with self._writing():
            file = self._path.open("ab")
        count = 0

        def note(row: dict[str, Any]) -> None:
            nonlocal count
            with self._writing():
                place = file.tell()
                file.write(_line(row))
                self._places[row["index"]] = place
                count += 1
                if count % _SYNC_EVERY == 0:
                    file.flush()
                    os.fsync(file.fileno())

        try:
            with self._writing():
                if file.tell():
                    file.write(b"\n")  # after a line that may have been cut off
            yield note
        finally:
            with self._writing(), file:
                file.flush()
                os.fsync(file.fileno())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Say whose fault a refusal of the system is."""
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from error

    def remove(self) -> None:
        """Remove the file: everything is in the manifest."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _scan(self) -> None:
        if not self._path.exists():
            self._begin_from_manifest()
        for place, row in lines(self._path):
            try:
                index = int(row["index"])
                if 0 <= index < len(self._places) and (self._folder / row["file"]).stat().st_size == row["bytes"]:
                    self._places[index] = place
            except (OSError, KeyError, TypeError, ValueError):
                continue

    def _begin_from_manifest(self) -> None:
        """A finished batch whose files may have gone: its manifest says as much as a journal."""
        rows = read_rows(self._folder)
        if rows:
            with whole_file(self._path) as part, part.open("wb") as file:
                file.writelines(map(_line, rows))


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Where each whole line of a file of JSON objects begins, and its object; what was cut off is left out."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        place = 0
        for line in file:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield place, row
            place += len(line)


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n"
