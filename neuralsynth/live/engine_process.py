"""The engine process: a `Processor` in the callback of a device, and a main thread that hardly ever wakes up."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import replace

from neuralsynth.engine import Engine
from neuralsynth.errors import DeviceError, NeuralSynthError, one_line
from neuralsynth.events import Event
from neuralsynth.live import messages, realtime
from neuralsynth.live.backend import Backend, StuckError
from neuralsynth.live.devices import make_backend
from neuralsynth.live.handover import Link
from neuralsynth.live.processor import Processor
from neuralsynth.live.shared import Shared

POLL_SECONDS = 0.02  # how often the main thread looks around
RETRY_SECONDS = 0.5  # between two tries to open a device that is gone
_CONNECTIONS_SECONDS = 1.0
_FADE_SECONDS = 0.5  # the longest a fade may take before the engine is taken away all the same


def run_engine(shared_name: str, link: Link, choice: messages.DeviceChoice) -> None:
    """Play until told to quit, or until the session is gone. The target of the engine process."""
    for name in ("SIGINT", "SIGTSTP"):  # Ctrl-C and Ctrl-Z are for the session
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    shared = Shared.attach(shared_name)
    host = EngineHost(shared, link, choice)
    try:
        host.run()
    except (EOFError, BrokenPipeError):
        pass  # the session is gone
    except Exception as error:  # noqa: BLE001 - the session starts another engine, and says why
        with contextlib.suppress(OSError):
            link.send(messages.Broken(one_line(f"{type(error).__name__}: {error}")))
    finally:
        host.close()
        del host
        shared.close()
        os._exit(0)  # a client of a server that hangs cannot be closed, and would keep the process


class EngineHost:
    """The main thread of the engine process."""

    def __init__(
        self,
        shared: Shared,
        link: Link,
        choice: messages.DeviceChoice,
        poll_seconds: float = POLL_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Open nothing yet."""
        self._poll_seconds, self._retry_seconds = poll_seconds, retry_seconds
        self._shared, self._link, self._choice = shared, link, choice
        self._is_prepared = False
        self._play: messages.Play | None = None
        self._zones: list = []
        self._engine: Engine | None = None
        self._generation = 0  # of the presets it was built for
        self._backend: Backend | None = None
        self._processor: Processor | None = None
        self._next_try = self._next_look = 0.0
        self._is_told = False
        self._is_over = False
        self._take = 0  # the last one begun

    def run(self) -> None:
        """Obey the session and look after the device until the end."""
        while not self._is_over:
            if self._link.wait(self._poll_seconds):
                self._obey(self._link.receive())
            self._shared.meters.beats += 1
            if self._play is None or self._is_over:
                continue
            self._look_after_device()
            self._look_after_engine()

    def close(self) -> None:
        """Fade out, and let the device go."""
        if self._backend is not None and self._processor is not None and not self._backend.is_lost:
            self._fade()
        if self._backend is not None:
            self._backend.close()
        self._link.close()

    # ---- what the session says

    def _obey(self, message: object) -> None:
        if isinstance(message, messages.Quit):
            self._is_over = True
        elif isinstance(message, messages.Play):
            self._play, self._zones = message, message.zones()
            if self._processor is not None and self._backend is not None:
                self._install(self._built(self._backend))
        elif isinstance(message, messages.Grown) and self._play and message.generation == self._play.generation:
            for number, growth in message.growths.items():
                self._zones[number].bank.admit(growth)
            if self._processor is not None:
                self._processor.renew()

    # ---- the device

    def _look_after_device(self) -> None:
        now = time.monotonic()
        if self._backend is not None:
            if self._backend.is_lost:
                self._lose(f"{self._backend.device} is gone; waiting for it")
            elif now >= self._next_look:
                self._next_look = now + _CONNECTIONS_SECONDS
                self._remember_connections()
        elif now >= self._next_try:
            self._next_try = now + self._retry_seconds
            self._open()

    def _open(self) -> None:
        """Try to open the device and to play on it; a failure is told once."""
        choice = self._choice
        try:
            backend = make_backend(
                choice.audio, choice.sample_rate, choice.block_size, choice.native_midi, choice.connect,
                choice.connections,
            )  # fmt: skip
            backend.open()
        except StuckError:
            raise  # another process can
        except DeviceError as error:
            self._tell_lost(str(error))
            return
        try:
            processor = Processor(self._shared, backend.sample_rate, backend.block_size)
            self._backend, self._processor = backend, processor
            meters = self._shared.meters
            meters.sample_rate, meters.block_size = backend.sample_rate, backend.block_size
            self._install(self._built(backend))
            if not self._is_prepared:
                realtime.prepare()
                self._is_prepared = True
                realtime.raise_priority(realtime.MAIN_PRIORITY)
            else:
                realtime.collect()
            backend.start(self._process_of(processor, backend))
        except NeuralSynthError as error:
            self._lose(str(error))
            return
        self._is_told = False
        meters.is_playing = 1
        self._link.send(
            messages.Opened(
                backend.name,
                backend.device,
                backend.sample_rate,
                backend.block_size,
                backend.latency_seconds,
            )
        )

    def _process_of(self, processor: Processor, backend: Backend):
        has_priority = backend.name == "jack"  # which sees to it itself

        def process(n_samples, began_ns, events):
            nonlocal has_priority
            if not has_priority:
                has_priority = realtime.raise_priority() or True
            processor.is_freewheeling = backend.is_freewheeling
            return processor.process(n_samples, began_ns, events)

        return process

    def _lose(self, problem: str) -> None:
        """Let a device go that is lost: nothing sounds or is held when it returns."""
        backend, self._backend = self._backend, None
        processor, self._processor = self._processor, None
        self._shared.meters.is_playing = 0
        if backend is not None:
            self._choice = replace(self._choice, connections=backend.connections or self._choice.connections)
            backend.close()
        if processor is not None:
            processor.end_take()
        self._next_try = time.monotonic() + self._retry_seconds
        self._tell_lost(problem)

    def _tell_lost(self, problem: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._link.send(messages.Lost(one_line(problem)))

    def _remember_connections(self) -> None:
        assert self._backend is not None
        self._shared.meters.xruns = self._backend.xruns
        connections = self._backend.connections
        if connections and connections != self._choice.connections:
            self._choice = replace(self._choice, connections=connections)
            self._link.send(messages.Connected(connections))

    # ---- the engine

    def _built(self, backend: Backend) -> Engine:
        """An engine for the presets of now and this device, warm, as after power-on."""
        play, old = self._play, self._engine
        assert play is not None
        is_same = self._generation == play.generation
        if (
            old is not None
            and is_same
            and old.sample_rate == backend.sample_rate
            and old.max_block_size == backend.block_size
        ):
            old.reset()
            return old
        engine = Engine(
            dict(play.start), backend.sample_rate, backend.block_size, play.programs, play.controls, play.gain_db
        )
        self._generation = play.generation
        engine.warm()
        return engine

    def _install(self, engine: Engine, take: int = 0) -> None:
        """Let an engine at power-on play: programs and controllers go to where they stood."""
        assert self._processor is not None
        told = self._shared.states.replay()
        engine.process([Event(0, message) for message in told], 0)
        wanted = self._shared.controls.take
        if self._engine is None and wanted:  # a take from the beginning
            take = wanted
        if take:
            self._take = take
            self._link.send(messages.TakeBegins(take, told, round(engine.sample_rate)))
        self._engine = engine
        self._processor.install(engine, take)
        assert self._play is not None
        self._shared.meters.generation = self._play.generation

    def _look_after_engine(self) -> None:
        processor, engine = self._processor, self._engine
        if processor is None or engine is None:
            return
        if processor.error:
            problem, processor.error = processor.error, ""
            self._link.send(messages.Broken(problem))
            engine.reset()
            self._install(engine)
        processor.retired.clear()
        wanted = self._shared.controls.take
        if wanted and wanted != self._take:
            self._fade()
            engine.reset()
            self._install(engine, take=wanted)
        self._ask_for_ways()

    def _fade(self) -> None:
        """Silence the engine, and wait for it."""
        processor = self._processor
        assert processor is not None
        processor.fade_out()
        until = time.monotonic() + _FADE_SECONDS
        while processor.is_playing and time.monotonic() < until:
            time.sleep(0.002)

    def _ask_for_ways(self) -> None:
        assert self._play is not None
        ways = []
        for number, zone in enumerate(self._zones):
            if zone.bank.wanted:
                wanted, zone.bank.wanted = zone.bank.wanted, set()
                ways += [(number, key, direction) for key, direction in list(wanted)]
        if ways:
            self._link.send(messages.Wanted(self._play.generation, ways))
