"""What every audio back end is: a clock that asks for blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from neuralsynth.errors import DeviceError
from neuralsynth.events import Event

#: Plays one block: (samples, `time.monotonic_ns()` when the block began, events of the back end's own MIDI port with
#: offsets in the block) -> float32 `[2, n]`. It never raises.
Process = Callable[[int, int, Sequence[Event]], np.ndarray]


class StuckError(DeviceError):
    """The audio library hangs in this process for good: only another process can open the device."""


class Backend(Protocol):
    """One opened audio device. `open`, `start`, then `process` is called until `close` or until `is_lost`.

    All methods are called by the main thread of the engine process; `process` by the device's own thread.
    """

    #: What a person calls it: "jack", "portaudio", "none".
    name: str
    #: The device it is, in words; known after `open`.
    device: str
    #: Hz and samples; known after `open`. Blocks have at most `block_size` samples.
    sample_rate: int
    block_size: int

    def open(self) -> None:
        """Find the device and learn its sample rate and block size.

        Raises:
            DeviceError: it is not there or refuses; the text says what is there and what to do.
            StuckError: it cannot be opened from this process any more.
        """

    def start(self, process: Process) -> None:
        """Begin to ask for blocks.

        Raises:
            DeviceError: the device refuses.
        """

    def close(self) -> None:
        """Stop asking, and let the device go; never raises, also when it is lost, and may be called again."""

    @property
    def is_lost(self) -> bool:
        """Whether the device vanished, stopped asking, or changed so much that it has to be opened anew."""

    @property
    def is_freewheeling(self) -> bool:
        """Whether blocks are asked for as fast as they come, so that being late means nothing."""

    @property
    def xruns(self) -> int:
        """How often the device says that sound was lost since `open`."""

    @property
    def latency_seconds(self) -> float:
        """From the end of a block to the ear, as far as the device says; 0 where it does not."""

    @property
    def connections(self) -> tuple[str, ...]:
        """What our ports are connected to, for `open` of a later one; empty where a device has no such thing."""
