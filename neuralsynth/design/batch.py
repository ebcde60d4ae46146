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
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from neuralsynth.design.crew import make_all
from neuralsynth.design.journal import JOURNAL, Journal, lines
from neuralsynth.design.lock import locked
from neuralsynth.design.manifest import JSONL, PARQUET, write_manifest
from neuralsynth.design.work import Made, Work
from neuralsynth.errors import Interrupted, OutputError, UsageError
from neuralsynth.storage import whole_file

JOB = "job.json"
_PART = re.compile(r"\.part-\d+$")
_OWN = (JOURNAL, JSONL, PARQUET, "index.html", JOB)


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
        _sweep(folder)
        journal = Journal(folder, len(work))
        report = BatchReport(str(folder), len(work), 0, len(journal))
        tell = progress or (lambda _done, _total: None)
        tell(report.kept, len(work))
        try:
            with journal.open() as note:
                for made in make_all(work, journal.missing(), workers, cluster):
                    if isinstance(made, Made):
                        note({**made.row, "bytes": _written(folder, made), "fingerprint": made.fingerprint})
                        report.made += 1
                    else:
                        report.failed[made.index] = made.why
                    tell(report.kept + report.made + len(report.failed), len(work))
        except KeyboardInterrupt as error:
            write_manifest(folder, journal)
            raise Interrupted(
                f"{folder}: stopped with {len(journal)} of {len(work)} done; the same command goes on"
            ) from error
        write_manifest(folder, journal)
        if report.is_complete:
            journal.remove()
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
    for listing in (folder / JOURNAL, folder / JSONL):
        for _, row in lines(listing):
            name = row.get("file")
            if isinstance(name, str) and _is_inside(folder, name):
                (folder / name).unlink(missing_ok=True)
    for name in _OWN:
        (folder / name).unlink(missing_ok=True)


def _is_inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed had begun to write; whoever has the lock is the only one at work."""
    for path in (folder / "sounds").rglob("*.part-*"):
        if _PART.search(path.name):
            path.unlink(missing_ok=True)


def _written(folder: Path, made: Made) -> int:
    """Write the file of an item; whole, or not there."""
    path = folder / made.row["file"]
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        try:
            part.write_bytes(made.data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(made.data)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return len(made.data)
