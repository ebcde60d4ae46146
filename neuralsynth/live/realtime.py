"""What a process does before it may play: no garbage collection, memory that stays, priority where it is allowed."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import sys

#: How long another thread of the engine process may keep Python's lock from the audio callback.
SWITCH_SECONDS = 1e-4
#: What JACK gives its clients; and less for the engine's main thread. That one needs it too: if it were put aside by
#: another program while it holds Python's lock, the audio callback would wait for it.
AUDIO_PRIORITY, MAIN_PRIORITY = 5, 1
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def prepare() -> None:
    """Make this process ready for audio: call it when everything is loaded."""
    sys.setswitchinterval(SWITCH_SECONDS)
    collect()
    gc.disable()
    _lock_memory()


def collect() -> None:
    """Clean up after something was loaded, and never look at what is left again; only while nothing is heard of it."""
    gc.collect()
    gc.freeze()


def _lock_memory() -> None:
    """Keep pages that are in use from being swapped out, on Linux and where it is allowed."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        # On fault: locking untouched memory at once would stop the callback while megabytes are zeroed.
        library.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def raise_priority(priority: int = AUDIO_PRIORITY) -> bool:
    """Ask for real-time priority for this thread (where the audio system does not do it); whether it was granted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError):
        return False
    return True
