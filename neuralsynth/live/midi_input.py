"""The session's hold on the MIDI input process."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from neuralsynth.live.midi_process import ALL, QUIT, run_midi_input

_STOP_SECONDS = 3.0  # closing ports of a dead JACK server takes one


class MidiInput:
    """Forwards MIDI ports to the ring `midi` of a `Shared`, in a process of its own.

    It never raises for want of a port or a MIDI system: `poll` tells, and what comes later is opened by itself.
    """

    def __init__(self, shared_name: str, wanted: str = ALL, virtual: bool = False) -> None:
        """Nothing runs before `start`; the arguments are those of `run_midi_input`."""
        self._arguments = shared_name, wanted, virtual
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def start(self, release_all: bool = False) -> None:
        """Start the process; `release_all` lets every key go first."""
        self.stop()
        context = multiprocessing.get_context("spawn")
        self._connection, far_end = context.Pipe()
        self._process = context.Process(
            target=run_midi_input, args=(*self._arguments, far_end, release_all), name="MIDI input", daemon=True
        )
        with _interrupts_held_back():
            self._process.start()
        far_end.close()  # so that either side sees when the other is gone

    def poll(self) -> list[tuple]:
        """What the process has told since: `("ports", [names])`, `("problem", text)`, `("lost", n)`."""
        told: list[tuple] = []
        with contextlib.suppress(EOFError, OSError):
            while self._connection is not None and self._connection.poll():
                told.append(self._connection.recv())
        return told

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Of the process, if it was started."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """End the process; keys that are down are let go. Does nothing if it does not run."""
        if self._process is None or self._connection is None:
            return
        with contextlib.suppress(OSError):
            self._connection.send(QUIT)
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._connection.close()
        self._process = self._connection = None

    def restart(self) -> None:
        """Stop what is left of it and start anew, letting every key go: a process that died has released none."""
        self.start(release_all=True)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A child started meanwhile does not die of Ctrl-C before it can say that it ignores it; ours comes afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
