"""`compiled` and `inlined`: numba's `njit` for kernels that run without the interpreter lock and are kept on disk.

Without `fastmath`, so that the same samples come out on every run. A kernel's machine code is cached by its own
file's date: after a change to what is compiled into it (`inlined`, `simd`), delete `__pycache__`.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
from numba.core.options import DefaultOptions

#: A kernel makes no arrays, so it need not count who holds those it is given: numba would do so, atomically, several
#: hundred times per plan of a voice, and take more than twice the time.
_UNCOUNTED = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}


def _believe_in_blas() -> None:
    """Keep numba from importing `scipy.linalg`, a tenth of a second of every start, for kernels that use none of it.

    It looks for BLAS once, when what it knows of arrays is imported. It is told that BLAS is there, as our requirements
    have it; whatever code does use it, somebody else's, makes sure of it again before it is compiled.
    """
    try:
        from numba.np import linalg

        ensure, linalg.ensure_blas = linalg.ensure_blas, lambda: None
        try:
            import numba.np.arraymath  # noqa: F401 - it keeps the answer
        finally:
            linalg.ensure_blas = ensure
    except (ImportError, AttributeError):
        pass  # another numba: it imports what it wants


_believe_in_blas()


def compiled(function: Callable) -> Callable:
    """Return `function` compiled on first call; a warm cache makes that call a load from disk."""
    return _njit(function)


def inlined(function: Callable) -> Callable:
    """`compiled`, and copied into every caller: for parts of a kernel that take many arrays."""
    return _njit(function, inline="always")


def _njit(function: Callable, **options) -> Callable:
    """Where neither the package folder nor the home folder can be written, each process compiles anew."""
    options |= {"nogil": True, "error_model": "numpy", **_UNCOUNTED}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)
