"""JACK, natively: `out_1`, `out_2` and `midi_in` in a client of our own, events at the very sample.

No server is ever started from here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
import weakref
from collections.abc import Iterable, Sequence

from neuralsynth.errors import DeviceError, one_line
from neuralsynth.events import Event
from neuralsynth.live.backend import Process
from neuralsynth.live.careful import within
from neuralsynth.live.jack_client import ANSWER_SECONDS, NEXT, import_jack, is_pipewire, let_go, new_client
from neuralsynth.live.jack_patchbay import OUTPUTS, Patchbay, other_end

STALL_SECONDS = 2.0  # a server that asks for nothing for so long is taken for dead
SETTLED_SECONDS = 0.5  # how long connections have to stand still before they are remembered
RETRY_SECONDS = 1.0
BUSY_SECONDS = 0.5
FIRST_BLOCK_SECONDS = 1.0
#: How long libjack is left to itself after it said that the server is gone. To close a client while it still tidies up
SHUTDOWN_SECONDS = 0.25  # may hang for ever.
#: Closed before the interpreter ends: a callback that comes after its end would abort the process.
_open_backends: weakref.WeakSet[JackBackend] = weakref.WeakSet()


class JackBackend:
    """A client of a running JACK server. See `Backend` for what the methods promise, `Patchbay` for connections."""

    name = "jack"

    def __init__(
        self,
        client_name: str = "neuralsynth",
        connect: bool = True,
        midi: bool = True,
        connections: Iterable[str] = (),
        server_name: str | None = None,
    ) -> None:
        """Prepare; nothing happens before `open`.

        Args:
            client_name: what other programs see; the server appends a number if it is taken.
            connect: connect the outputs to the first two physical ones, and every physical MIDI port to `midi_in`.
            midi: whether to have a port `midi_in`.
            connections: those of an earlier client, made again instead; ones whose other end is not there yet are made
                when it comes.
            server_name: which of several servers; the default one (`JACK_DEFAULT_SERVER`) without.
        """
        self.device = "JACK"
        self.sample_rate = self.block_size = 0
        self.faults = 0  # blocks that `process` failed at, against its promise: they are silent
        self.client_name = client_name  # after `open` the name that the server gave
        self._asked_name, self._server_name = client_name, server_name
        self._connects, self._has_midi = connect, midi
        self._connections = tuple(connections)
        self._client = None
        self._patchbay: Patchbay | None = None
        self._process: Process | None = None
        self._forget()

    def _forget(self) -> None:
        self._pending: tuple[str, ...] = ()
        self._registered: set[str] = set()  # ports that came since the last look at connections
        self._has_speakers = True  # or need not look for them any more
        self._is_lost = self._is_freewheeling = self._is_busy = False
        self._xruns = self._asked_samples = 0
        self._last_ns = self._changed_ns = self._tried_ns = self._ended_ns = 0

    def open(self) -> None:
        """Enter the server's client list, without ports, not yet playing.

        Raises:
            DeviceError: no JACK library, no server, or one that refuses.
            StuckError: the library hangs in this process.
        """
        self.close()
        self._connections = self.connections
        self._forget()
        client = new_client(self._asked_name, self._server_name)
        try:
            self.sample_rate, self.block_size = client.samplerate, client.blocksize
            self._nanoseconds_per_sample = 1e9 / self.sample_rate
            self._listen_to(client)
            if is_pipewire():
                self._learn_block_size(client)
        except (import_jack().JackError, TimeoutError) as error:
            let_go(client)
            raise DeviceError(f"the JACK server refuses us ({one_line(error, 80)}); restart it, {NEXT}") from error
        self._client, self.client_name = client, client.name
        _open_backends.add(self)
        server = self._server_name or os.environ.get("JACK_DEFAULT_SERVER", "default")
        self.device = f"JACK server {one_line(server, 60)!r} as {one_line(self.client_name, 60)!r}"

    def _listen_to(self, client) -> None:
        client.set_process_callback(self._on_block)
        client.set_shutdown_callback(self._on_shutdown)
        client.set_samplerate_callback(self._on_sample_rate)
        client.set_blocksize_callback(self._on_block_size)
        client.set_freewheel_callback(self._on_freewheel)
        client.set_xrun_callback(self._on_xrun)
        client.set_graph_order_callback(self._on_graph)
        client.set_port_registration_callback(self._on_port)

    def _learn_block_size(self, client) -> None:
        """Be asked for a first block, for PipeWire tells the block size that we wish for.

        It asks for that of whoever plays already, and keeps to it. The client stays active: PipeWire cancels the thread
        of the callback where it is not, and one that sits in Python then takes the interpreter with it.
        """
        self._asked_samples = 0
        within(ANSWER_SECONDS, client.activate)
        until = time.monotonic() + FIRST_BLOCK_SECONDS
        while not self._asked_samples and time.monotonic() < until:
            time.sleep(0.001)
        self.block_size = self._asked_samples or self.block_size
        self._is_lost = False  # as it seemed when the block size changed

    def start(self, process: Process) -> None:
        """Begin to ask for blocks, and connect.

        Raises:
            DeviceError: `open` was not called, or the server refuses.
        """
        client = self._client
        if client is None or self._is_lost:
            raise DeviceError("the JACK server went away before the start; open it again")
        self._process = process
        self._last_ns = time.monotonic_ns()
        try:
            within(ANSWER_SECONDS, lambda: self._activate(client))
        except (import_jack().JackError, TimeoutError) as error:
            raise DeviceError(
                f"the JACK server does not start us ({one_line(error, 80)}); restart it, {NEXT}"
            ) from error

    def _activate(self, client) -> None:
        """Play, then have ports: those of a client that does not play yet are seen, but cannot be connected."""
        client.activate()
        patchbay = Patchbay(client, self._has_midi, import_jack().JackError)
        self._patchbay = patchbay
        wanted = self._connections
        if not wanted and self._connects:
            wanted = (*patchbay.to_speakers(), *patchbay.from_keyboards())
        self._pending = patchbay.connect(wanted)
        if self._connects and not any(text.startswith(OUTPUTS) and patchbay.is_there(text) for text in wanted):
            # Another sound card than last time: still be heard.
            self._pending += patchbay.connect(patchbay.to_speakers())
        self._connections = patchbay.connections()
        self._has_speakers = not self._connects or any(text.startswith(OUTPUTS) for text in wanted)

    def close(self) -> None:
        """Leave the server; returns in seconds also when the server is dead or hangs."""
        client = self._client
        if client is None:
            return
        if self._patchbay is not None and not self.is_lost:
            self._look(self._patchbay)
        self._process, self._client = None, None
        # libjack cancels the thread of the callback. It must not sit in Python then, where it may hold the interpreter.
        until = time.monotonic() + BUSY_SECONDS
        while self._is_busy and time.monotonic() < until:
            time.sleep(0.001)
        if self._ended_ns:
            time.sleep(max(0.0, SHUTDOWN_SECONDS - (time.monotonic_ns() - self._ended_ns) * 1e-9))
        let_go(client)
        _open_backends.discard(self)
        self._patchbay = None

    @property
    def is_lost(self) -> bool:
        """Whether the server ended, asks for nothing any more, or changed its rate or to larger blocks."""
        is_playing = self._client is not None and self._process is not None
        if is_playing and time.monotonic_ns() - self._last_ns > STALL_SECONDS * 1e9:
            self._is_lost = True
        return self._is_lost

    @property
    def is_freewheeling(self) -> bool:
        """Whether the server asks for blocks as fast as they come."""
        return self._is_freewheeling

    @property
    def xruns(self) -> int:
        """How often the server was late since `open`, whoever of its clients was to blame."""
        return self._xruns

    @property
    def latency_seconds(self) -> float:
        """0: JACK-Client does not tell the latency of ports."""
        return 0.0

    @property
    def connections(self) -> tuple[str, ...]:
        """Connections as they last stood for half a second, and those that still wait for their other end.

        A dying server takes connections apart before it says that it dies; therefore the half second. Connections whose
        other end went away, or was made anew as PipeWire does when a device changes its profile, wait for it; those
        that somebody took apart are forgotten.
        """
        patchbay, now = self._patchbay, time.monotonic_ns()
        if patchbay is not None and not self.is_lost and now - self._last_ns < SETTLED_SECONDS * 1e9:
            if not self._has_speakers and now - self._tried_ns > RETRY_SECONDS * 1e9:
                self._tried_ns = now  # there was nothing to connect to: a sound card may be switched on later
                is_connected = any(text.startswith(OUTPUTS) for text in self._connections)
                found = () if is_connected else tuple(patchbay.to_speakers())
                self._pending += found
                self._has_speakers = is_connected or bool(found)
            elif self._pending and now - self._tried_ns > RETRY_SECONDS * 1e9:
                self._tried_ns = now
                waiting = patchbay.connect(self._pending)
                self._connections += tuple(text for text in self._pending if text not in waiting)
                self._pending = waiting
            self._look(patchbay)
        return tuple(dict.fromkeys((*self._connections, *self._pending)))

    def _look(self, patchbay: Patchbay) -> None:
        """Read the connections from the server's shared memory, if they changed and stand still."""
        changed = self._changed_ns
        if changed and time.monotonic_ns() - changed > SETTLED_SECONDS * 1e9:
            with contextlib.suppress(import_jack().JackError):
                before, self._connections = self._connections, patchbay.connections()
                registered, self._registered = self._registered, set()
                gone = [text for text in before if text not in self._connections and text not in self._pending]
                anew = (text for text in gone if other_end(text) in registered or not patchbay.is_there(text))
                self._pending += tuple(anew)
                if changed == self._changed_ns:
                    self._changed_ns = 0

    def _on_block(self, n_samples: int) -> None:
        """[audio thread] Play one block; silence if anything goes wrong."""
        self._is_busy = True
        now = time.monotonic_ns()
        self._last_ns = now
        try:
            self._play(n_samples, now)
        except Exception:  # noqa: BLE001 - an exception here would end the callbacks for good
            self.faults += 1
            with contextlib.suppress(Exception):  # the ports may be gone
                self._fill_silence()
        finally:
            self._is_busy = False

    def _play(self, n_samples: int, now_ns: int) -> None:
        """[audio thread] Ask `process`, and copy what it gives to the ports, whose memory is another in each cycle."""
        process, patchbay = self._process, self._patchbay
        self._asked_samples = n_samples
        if process is None or patchbay is None or n_samples > self.block_size:
            self._is_lost |= process is not None and n_samples > self.block_size
            self._fill_silence()
            return
        events: Sequence[Event] = ()
        if patchbay.midi_in is not None:  # the bytes are copied: the port's memory is used again
            events = [Event(offset, bytes(message)) for offset, message in patchbay.midi_in.incoming_midi_events()]
        audio = process(n_samples, self._began_ns(now_ns), events)
        for port, samples in zip(patchbay.outputs, audio, strict=True):
            port.get_array()[:] = samples

    def _fill_silence(self) -> None:
        """[audio thread] JACK does not clear the ports."""
        if self._patchbay is not None:
            for port in self._patchbay.outputs:
                port.get_array().fill(0.0)

    def _began_ns(self, now_ns: int) -> int:
        """[audio thread] When the server began this cycle, which is up to a period before we are called.

        JACK-Client has no `jack_get_cycle_times`, but the samples since the cycle's start: one call, good to a sample.
        While freewheeling cycles have no time of their own. A large number is one below zero.
        """
        if self._is_freewheeling or self._client is None:
            return now_ns
        samples = self._client.frames_since_cycle_start
        return now_ns - int(samples * self._nanoseconds_per_sample) if samples < self.sample_rate else now_ns

    def _on_shutdown(self, _status, _reason) -> None:
        self._ended_ns = time.monotonic_ns()
        self._is_lost = True

    def _on_sample_rate(self, sample_rate: int) -> None:
        if sample_rate != self.sample_rate:
            self._is_lost = True

    def _on_block_size(self, block_size: int) -> None:
        if block_size > self.block_size:
            self._is_lost = True

    def _on_freewheel(self, starting: bool) -> None:
        self._is_freewheeling = bool(starting)

    def _on_xrun(self, _microseconds: float) -> None:
        self._xruns += 1

    def _on_port(self, port, is_new: bool) -> None:
        if is_new:
            self._registered.add(port.name)
        self._changed_ns = time.monotonic_ns()

    def _on_graph(self) -> None:
        self._changed_ns = time.monotonic_ns()


@atexit.register
def _close_all() -> None:
    for backend in tuple(_open_backends):
        backend.close()
