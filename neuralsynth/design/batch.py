"""A batch in a folder: begun, gone on with, finished; never half a file under a final name.

::

    FOLDER/job.json         what it is
    FOLDER/sounds/...       the files
    FOLDER/journal.jsonl    a line for every finished item, while it is not finished
    FOLDER/manifest.jsonl   a line for every item in order, written at the end (or where it was broken off)
    FOLDER/manifest.parquet the same as a table, with the fingerprints

An item counts when its line is in the journal and its file has the size that the line says. A run that goes on looks
at all of them; what is not whole is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralsynth.design.crew import make_all
from neuralsynth.design.lock import locked
from neuralsynth.design.manifest import read_rows, write_manifest
from neuralsynth.design.work import Made, Work
from neuralsynth.errors import Interrupted, OutputError, UsageError
from neuralsynth.storage import whole_file

JOB, JOURNAL = "job.json", "journal.jsonl"
_OWN = (JOURNAL, "manifest.jsonl", "manifest.parquet", "index.html", JOB)
_SYNC_EVERY = 64  # journal lines between two times that the disk is asked to keep them


@dataclass
class BatchReport:
    """What came of a run."""

    folder: str
    n_items: int
    made: int  # by this run
    kept: int  # of an earlier one
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every item is there."""
        return self.made + self.kept == self.n_items


def run_batch(
    folder: Path,
    work: Work,
    workers: int = 1,
    cluster: str | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BatchReport:
    """Make all items of a batch that are not there yet.

    Args:
        force: throw away what another job left in the folder.
        progress: called with (done, total).

    Raises:
        UsageError: the folder holds something else, or another run works in it.
        OutputError: it cannot be written (disk full, no permission). What is finished stays; a rerun goes on.
        Interrupted: Ctrl-C; likewise.
    """
    _prepare(folder, work, force)
    with locked(folder / "lock"):
        entries = _whole_ones(folder)
        report = BatchReport(str(folder), len(work), 0, len(entries))
        tell = progress or (lambda _done, _total: None)
        tell(len(entries), len(work))
        try:
            with _journal(folder) as note:
                missing = (index for index in range(len(work)) if index not in entries)
                for made in make_all(work, missing, workers, cluster):
                    if isinstance(made, Made):
                        entries[made.index] = note(made, _written(folder, made))
                        report.made += 1
                    else:
                        report.failed[made.index] = made.why
                    tell(len(entries) + len(report.failed), len(work))
        except KeyboardInterrupt as error:
            _finish(folder, entries, is_complete=False)
            raise Interrupted(
                f"{folder}: stopped with {len(entries)} of {len(work)} done; the same command goes on"
            ) from error
        _finish(folder, entries, report.is_complete)
        return report


def _prepare(folder: Path, work: Work, force: bool) -> None:
    """Make the folder, or see that what is in it is this batch."""
    job = folder / JOB
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder")
    if job.exists():
        if _digest_in(job) == work.digest:
            return
        if not force:
            raise UsageError(f"{folder}: holds another batch; name another folder, or add --force to replace it")
        _clear(folder)
    elif folder.exists() and any(folder.iterdir()) and not force:
        raise UsageError(f"{folder}: is not empty and holds no batch; name another folder, or add --force")
    try:
        (folder / "sounds").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror or error})") from error
    with whole_file(job) as part:
        part.write_text(json.dumps({"digest": work.digest, **work.document}, indent=1), "utf-8")


def _digest_in(job: Path) -> str:
    try:
        return str(json.loads(job.read_text("utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _clear(folder: Path) -> None:
    """Remove what another batch left: its files by its own journal and manifest, nothing else."""
    known = [row.get("file") for row in (*_lines(folder / JOURNAL), *_lines(folder / "manifest.jsonl"))]
    files = [folder / name for name in known if isinstance(name, str) and _is_inside(folder, name)]
    for path in (*files, *(folder / name for name in _OWN)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _is_inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; one that was cut off is left out."""
    try:
        text = path.read_bytes()
    except OSError:
        return []
    rows = []
    for line in text.split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _whole_ones(folder: Path) -> dict[int, dict[str, Any]]:
    """The items that are there, by index."""
    entries = {}
    finished = read_rows(folder) if not (folder / JOURNAL).exists() else []
    for row in (*finished, *_lines(folder / JOURNAL)):
        try:
            if (folder / row["file"]).stat().st_size == row["bytes"]:
                entries[int(row["index"])] = row
        except (OSError, KeyError, TypeError, ValueError):
            continue
    return entries


@contextlib.contextmanager
def _journal(folder: Path) -> Iterator[Callable[[Made, int], dict[str, Any]]]:
    """Give what notes a finished item."""
    path, count = folder / JOURNAL, 0
    try:
        with path.open("ab") as file:
            if file.tell():
                file.write(b"\n")  # after a line that may have been cut off

            def note(made: Made, n_bytes: int) -> dict[str, Any]:
                nonlocal count
                row = {**made.row, "bytes": n_bytes, "fingerprint": made.fingerprint}
                file.write(json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n")
                count += 1
                if count % _SYNC_EVERY == 0:
                    file.flush()
                    os.fsync(file.fileno())
                return row

            yield note
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _written(folder: Path, made: Made) -> int:
    """Write the file of an item; whole, or not there."""
    path = folder / made.row["file"]
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(made.data)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return len(made.data)


def _finish(folder: Path, entries: dict[int, dict[str, Any]], is_complete: bool) -> None:
    """Write the manifest; the journal goes when nothing is missing."""
    write_manifest(folder, [entries[index] for index in sorted(entries)])
    if is_complete:
        with contextlib.suppress(OSError):
            (folder / JOURNAL).unlink()
