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
    except (OSError, ValueError) as problem:
        if Path(path).is_dir() if "\0" not in str(path) else False:  # opening a folder is "permission denied" on Windows
            raise error(f"{path}: is not a regular file") from problem
        raise error(f"{path}: cannot be opened ({getattr(problem, 'strerror', None) or problem})") from problem
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path}: is not a regular file")
            data = file.read(max_bytes + 1)
    except OSError as problem:
        if isinstance(problem, IsADirectoryError):
            raise error(f"{path}: is not a regular file") from problem
        raise error(f"{path}: cannot be read ({problem.strerror or problem})") from problem
    if not data:
        raise error(f"{path}: is empty")
    if len(data) > max_bytes:
        raise error(f"{path}: is larger than {max_bytes >> 20} MB, the most that is read")
    return data
