"""Calls into audio libraries, which may print on the terminal or never return."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call()` gives. It runs in a thread of its own, which is left behind when it takes longer than `seconds`.

    Raises:
        TimeoutError: it took longer.
        BaseException: whatever `call` raised.
    """
    result: list[T] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            problem.append(error)

    thread = threading.Thread(target=run, name="careful call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if problem:
        raise problem.pop()
    return result.pop()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep C libraries from writing to stderr meanwhile; what Python writes there is lost as well."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
