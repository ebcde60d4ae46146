"""A JACK client that plays MIDI to an instrument at exact frames and records what comes out: for tests and benchmarks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import jack
import numpy as np

from neuralsynth.events import Event


class Probe:
    """A client with one MIDI output and two audio inputs, connected to the ports of `instrument`."""

    def __init__(self, server: str | None = None, instrument: str = "neuralsynth", name: str = "probe") -> None:
        self.client = jack.Client(name, no_start_server=True, servername=server)
        self._out = self.client.midi_outports.register("midi")
        self._in = [self.client.inports.register(f"in_{i}") for i in (1, 2)]
        self._instrument = instrument
        self._events: list[Event] = []
        self._audio = np.zeros((2, 0), np.float32)
        self._at = self._next = -1
        self._done = threading.Event()
        self.sent_at: list[int] = []  # JACK frame of each event
        self.xruns = 0  # how often the server was late
        self.client.set_process_callback(self._process)
        self.client.set_xrun_callback(self._late)
        self.client.activate()

    def _late(self, _microseconds: float) -> None:
        self.xruns += 1

    @property
    def period(self) -> int:
        return self.client.blocksize

    def connect(self, seconds: float = 10.0) -> None:
        """Wait for the instrument's ports, and connect them."""
        name, until = self._instrument, time.monotonic() + seconds
        wanted = {f"{name}:midi_in", f"{name}:out_1", f"{name}:out_2"}
        while not wanted <= {port.name for port in self.client.get_ports()}:
            assert time.monotonic() < until, f"no ports of {name}"
            time.sleep(0.02)
        for source, sink in (
            (self._out.name, f"{name}:midi_in"),
            (f"{name}:out_1", self._in[0].name),
            (f"{name}:out_2", self._in[1].name),
        ):
            if sink not in {port.name for port in self.client.get_all_connections(source)}:
                self.client.connect(source, sink)

    def run(self, events: Sequence[Event], n_frames: int, freewheel: bool = False, seconds: float = 60.0) -> np.ndarray:
        """Send events at their frames (from a period's beginning on) and record from the same frame on, `[2, n]`."""
        self._events, self._audio = list(events), np.zeros((2, n_frames + self.period), np.float32)
        self._next, self.sent_at = 0, []
        self._done.clear()
        if freewheel:
            self.client.set_freewheel(True)
        self._at = 0
        assert self._done.wait(seconds), "JACK does not ask for blocks"
        if freewheel:
            self.client.set_freewheel(False)
        return self._audio[:, :n_frames]

    def close(self) -> None:
        self.client.deactivate(ignore_errors=True)
        self.client.close(ignore_errors=True)

    def _process(self, frames: int) -> None:
        self._out.clear_buffer()
        at = self._at
        if at < 0:
            return
        stop = min(at + frames, self._audio.shape[1])
        for row, port in zip(self._audio, self._in, strict=True):
            row[at:stop] = port.get_array()[: stop - at]
        while self._next < len(self._events) and self._events[self._next].sample < at + frames:
            event = self._events[self._next]
            self._out.write_midi_event(max(event.sample - at, 0), event.message)
            self.sent_at.append(self.client.last_frame_time + event.sample - at)
            self._next += 1
        self._at = stop
        if stop == self._audio.shape[1]:
            self._at = -1
            self._done.set()
