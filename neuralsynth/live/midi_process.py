"""The MIDI input process: hands on what MIDI ports say, with the time at which it came, and nothing else.

Ports come and go: every half second it looks which are there. A port that vanishes can no longer release its keys, so
that is done in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection

from neuralsynth.errors import EnvironmentProblem, one_line
from neuralsynth.events import CONTROL_CHANGE, SYSTEM
from neuralsynth.live.rtmidi_ports import OWN_NAME, MidiPort, MidiSystem, find_system
from neuralsynth.live.shared import Ring, Shared
from neuralsynth.midi.stream import MessageStream

SCAN_SECONDS = 0.5
ALL, NONE = "all", "none"
VIRTUAL_PORT = f"{OWN_NAME} (virtual)"
QUIT = "quit"
_ALL_CHANNELS = 0xFFFF
#: Sustain and sostenuto up, all notes off.
_RELEASE = ((64, 0), (66, 0), (123, 0))


def run_midi_input(shared_name: str, wanted: str, virtual: bool, stop: Connection, release_all: bool = False) -> None:
    """Forward MIDI ports to `Shared.midi` until "quit" comes through `stop` or its other end is closed.

    Args:
        shared_name: of the `Shared`.
        wanted: "all", "none", or what the names of the ports contain; upper and lower case are the same.
        virtual: whether to make a port "neuralsynth" too, to which other programs connect (not on Windows).
        stop: through it this process tells `("ports", [names])` when other ports are open than before,
            `("problem", text)` once per problem, and `("lost", n)` when more messages found no room in the ring.
        release_all: begin by releasing every key, for a process before this one may have left some down.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _silence_libraries()
    with contextlib.suppress(OSError):  # nobody listens any more
        try:
            _forward(shared_name, wanted, virtual, stop, release_all)
        except Exception as error:  # noqa: BLE001 the session has to hear of anything
            stop.send(("problem", one_line(f"MIDI input stopped ({type(error).__name__}: {error})")))


def _forward(shared_name: str, wanted: str, virtual: bool, stop: Connection, release_all: bool) -> None:
    shared = Shared.attach(shared_name)
    forwarder = Forwarder(shared.midi)
    watch = PortWatch(forwarder, wanted, virtual and sys.platform != "win32", stop.send)
    n_lost = 0
    try:
        forwarder.release(_ALL_CHANNELS if release_all else 0)
        watch.scan()
        while not _is_over(stop):
            watch.scan()
            forwarder.release(0)
            if forwarder.lost > n_lost:
                n_lost = forwarder.lost
                stop.send(("lost", n_lost))
    finally:
        watch.close()
        shared.close()


def _is_over(stop: Connection) -> bool:
    """Whether the session says so, or is gone; waits for half a second."""
    try:
        return stop.poll(SCAN_SECONDS) and stop.recv() == QUIT
    except EOFError:
        return True


def _silence_libraries() -> None:
    """Send what C libraries print to nowhere: it would fall into the middle of the terminal view."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


class Wire:
    """What came through one port: a half message, and the channels that it used, one bit each."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.stream = MessageStream()
        self.channels = 0


class Forwarder:
    """Puts the messages of all wires into the one ring. Wires may speak in different threads."""

    def __init__(self, ring: Ring) -> None:
        """Write to `ring`, of which this must be the only writer."""
        self._ring, self._lock = ring, threading.Lock()
        self._owed = 0  # channels that still have to be released, one bit each
        self.lost = 0

    def listener(self, wire: Wire) -> Callable[[Sequence[int]], None]:
        """What a port calls with the bytes that it has received."""
        return lambda data: self._take(wire, data)

    def release(self, channels: int) -> None:
        """Let go keys and pedals of these channels, one bit each, and of those for which there was no room before."""
        with self._lock:
            self._owed |= channels
            self._pay()

    def _take(self, wire: Wire, data: Sequence[int]) -> None:
        now = time.monotonic_ns()
        with self._lock:
            for message in wire.stream.feed(data):
                channel = 1 << (message[0] & 0x0F) if message[0] < SYSTEM else 0
                wire.channels |= channel
                if not (self._pay() and self._ring.put(now, message)):
                    self.lost += 1
                    self._owed |= channel  # what was lost may have been a release

    def _pay(self) -> bool:
        """Put the releases that are owed; whether all found room."""
        while self._owed:
            channel = (self._owed & -self._owed).bit_length() - 1
            now = time.monotonic_ns()
            messages = (bytes([CONTROL_CHANGE | channel, *control]) for control in _RELEASE)
            if not all(self._ring.put(now, message) for message in messages):
                return False
            self._owed &= ~(1 << channel)
        return True


class PortWatch:
    """Keeps the wanted ports open while they come and go, and with them the MIDI system."""

    def __init__(self, forwarder: Forwarder, wanted: str, virtual: bool, tell: Callable[[tuple], None]) -> None:
        """Nothing is opened before the first `scan`; `wanted` and `virtual` as for `run_midi_input`."""
        self._forwarder, self._wanted, self._virtual, self._tell = forwarder, wanted, virtual, tell
        self._system: MidiSystem | None = None
        self._open: dict[str, tuple[MidiPort, Wire]] = {}
        self._told: list[str] | None = None
        self._problems: set[str] = set()  # that were told and are not over

    def scan(self) -> None:
        """Look once: open what is wanted and there, close what is gone, tell what changed."""
        if self._system is not None and not self._system.is_alive():
            self.close()  # and look for it anew: it may be back, or have been held up only
        if self._system is None:
            self._find_system()
        if self._system is not None:
            self._follow(self._system)
        if self._told != list(self._open):
            self._told = list(self._open)
            self._tell(("ports", self._told))

    def close(self) -> None:
        """Close all ports, releasing what they hold, and the system."""
        for name in list(self._open):
            self._close_port(name)
        if self._system is not None:
            self._system.close()
            self._system = None

    def _find_system(self) -> None:
        try:
            self._system = find_system()
        except EnvironmentProblem as error:
            self._problem("system", str(error))
        else:
            self._problems.discard("system")

    def _follow(self, system: MidiSystem) -> None:
        names = system.names()
        for name in set(self._open) - {*names, VIRTUAL_PORT}:
            self._close_port(name)
        if self._virtual:
            self._open_port(VIRTUAL_PORT, system.listen_virtual)
        wanted = [name for name in names if self._is_wanted(name)]
        for name in wanted:
            self._open_port(name, partial(system.listen, name))
        if wanted or self._wanted == NONE or (self._virtual and self._wanted == ALL):
            self._problems.discard("ports")
        else:
            self._problem("ports", self._nothing_wanted(names))

    def _is_wanted(self, name: str) -> bool:
        return self._wanted == ALL or (self._wanted != NONE and self._wanted.casefold() in name.casefold())

    def _nothing_wanted(self, names: list[str]) -> str:
        if self._wanted == ALL:
            return "no MIDI port is there; plug a keyboard in, it opens by itself"
        there = f"there are {', '.join(names)}" if names else "there is none at all"
        return f"no MIDI port is called {self._wanted!r}, {there}; it opens by itself when it comes"

    def _open_port(self, name: str, listen: Callable[[Callable], MidiPort]) -> None:
        if name in self._open:
            return
        wire = Wire()
        try:
            self._open[name] = listen(self._forwarder.listener(wire)), wire
        except EnvironmentProblem as error:
            self._problem(name, str(error))
        else:
            self._problems.discard(name)

    def _close_port(self, name: str) -> None:
        port, wire = self._open.pop(name)
        port.close()
        self._forwarder.release(wire.channels)

    def _problem(self, kind: str, text: str) -> None:
        """Tell it, unless it was told and still lasts."""
        if kind not in self._problems:
            self._problems.add(kind)
            self._tell(("problem", one_line(text)))
