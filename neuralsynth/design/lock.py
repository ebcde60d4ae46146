"""A lock on a folder that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from neuralsynth.errors import OutputError, UsageError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock `path`.

    Raises:
        UsageError: another process holds it.
        OutputError: it cannot be made.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror or error})") from error
    with file:
        try:
            _take(file)
        except OSError as error:
            raise UsageError(f"{path.parent}: another run works in it; wait for it, or name another folder") from error
        yield


def _take(file) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
