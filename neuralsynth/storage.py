"""Files that are either whole or absent: write beside, flush, rename.

The order (temporary name in the same folder, fsync, `os.replace`, fsync of the folder) is what survives a
`kill -9` or a power cut; see Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from neuralsynth.errors import OutputError


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path`, on failure it is removed.

    Raises:
        OutputError: the folder is missing or read-only, the disk is full, or `path` is no regular file.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a regular file; name a file to write")
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
