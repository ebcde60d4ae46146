"""Reading a whole file that a stranger may have made: bounded, and never waiting for a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular_file(path: Path | str, max_bytes: int, error: type[Exception]) -> bytes:
    """All bytes of `path`.

    The file is opened without blocking and asked what it is only then, so that a FIFO or a device put in its
    place can neither hang us nor slip in between the question and the reading.

    Raises:
        error: missing, no permission, a folder, FIFO or device, empty, or larger than `max_bytes`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as problem:  # ValueError: a path with a zero byte
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{_short(path)}: cannot be opened ({reason})") from problem
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}: is not a regular file")
        if status.st_size > max_bytes:
            raise error(f"{path}: is larger than {max_bytes >> 20} MB, the most that is read")
        data = _read(descriptor, status.st_size)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror or problem})") from problem
    finally:
        os.close(descriptor)
    if not data:
        raise error(f"{path}: is empty")
    return data


def _read(descriptor: int, n_bytes: int) -> bytes:
    """Up to `n_bytes`, however many pieces the system hands out."""
    pieces, left = [], n_bytes
    while left > 0 and (piece := os.read(descriptor, left)):
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _short(path: Path | str) -> str:
    """A path of a length that leaves room for the reason."""
    text = str(path).replace("\0", "\\0")
    return text if len(text) <= 200 else text[:199] + "…"
