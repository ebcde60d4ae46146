"""Work in seconds of a usual core: what is promised in seconds is tried against a yardstick run side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

#: What the yardstick takes on a usual core: a laptop of the 2020s (4 GHz, CPython 3.11).
_USUAL_SECONDS = 0.02


@contextmanager
def at_most(core_seconds: float) -> Iterator[None]:
    """What is done inside must take no more of the processor than a usual core does in `core_seconds`.

    The processor's time counts, not the clock's: other work does not. A slow core gets the time that it lacks.
    """
    before = slowness()
    began = time.process_time()
    yield
    took = time.process_time() - began
    allowed = core_seconds * max(before, slowness())
    assert took <= allowed, f"{took:.2f} s of the processor; {allowed:.2f} s would be {core_seconds} s of a usual core"


def slowness() -> float:
    """How much longer than a usual core this one takes for a fixed piece of interpreted work, 1 at least."""
    began = time.process_time()
    counts: dict[int, int] = {}
    for i in range(300_000):
        counts[i & 255] = counts.get(i & 255, 0) + i
    assert len(counts) == 256
    return max(1.0, (time.process_time() - began) / _USUAL_SECONDS)
