"""No device at all: a thread that asks for a block each period. For machines without sound hardware."""

from __future__ import annotations

import threading
import time

from neuralsynth.errors import DeviceError
from neuralsynth.live.backend import Process

RESYNCHRONISE_NS = 1_000_000_000  # later than this, blocks are left out rather than made up for
CLOSE_SECONDS = 3.0


class ClockBackend:
    """Blocks by the machine's own clock, heard by nobody. See `Backend` for what the methods promise."""

    name = "none"
    is_freewheeling = False
    latency_seconds = 0.0
    connections: tuple[str, ...] = ()

    def __init__(self, sample_rate: int = 48_000, block_size: int = 128) -> None:
        """Prepare; nothing happens before `open`."""
        self.device = "no device, takes can still be recorded"
        self.sample_rate, self.block_size = sample_rate, block_size
        self.faults = 0  # blocks that `process` failed at, against its promise
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_lost = False
        self._xruns = 0

    def open(self) -> None:
        """Always succeeds."""
        self.close()
        self._end = threading.Event()
        self._is_lost, self._xruns = False, 0

    def start(self, process: Process) -> None:
        """Begin to ask for blocks.

        Raises:
            DeviceError: it is lost, or runs already.
        """
        if self._is_lost or self._thread is not None:
            raise DeviceError("this clock cannot be started a second time; open it again")
        self._thread = threading.Thread(target=self._run, args=(process, self._end), name="block clock", daemon=True)
        self._thread.start()

    def _run(self, process: Process, end: threading.Event) -> None:
        period_ns = 1e9 * self.block_size / self.sample_rate
        origin_ns, blocks = time.monotonic_ns(), 0
        while not end.is_set():
            due_ns = origin_ns + int(blocks * period_ns)
            late_ns = time.monotonic_ns() - due_ns
            if late_ns > RESYNCHRONISE_NS:
                self._xruns += 1
                origin_ns, blocks, due_ns = due_ns + late_ns, 0, due_ns + late_ns
            elif late_ns < 0 and end.wait(-late_ns * 1e-9):
                return
            try:
                process(self.block_size, due_ns, ())
            except Exception:  # noqa: BLE001 - the clock goes on
                self.faults += 1
            blocks += 1

    def lose(self) -> None:
        """Behave as a device that was unplugged; for tests."""
        self._is_lost = True
        self._end.set()

    def close(self) -> None:
        """Stop asking."""
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)
        self._thread = None

    @property
    def is_lost(self) -> bool:
        """Whether `lose` was called."""
        return self._is_lost

    @property
    def xruns(self) -> int:
        """How often the clock had to leave blocks out since `open`."""
        return self._xruns
