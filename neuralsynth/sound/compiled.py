"""`compiled`: numba's `njit` for kernels that run without the interpreter lock and keep their machine code on disk."""

from __future__ import annotations

from collections.abc import Callable

import numba


def compiled(function: Callable) -> Callable:
    """Return `function` compiled on first call; a warm cache makes that call a load from disk.

    Without `fastmath`, so that the same samples come out on every run. Where neither the package folder
    nor the home folder can be written, numba refuses to cache; the kernel is then compiled in each process.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)
