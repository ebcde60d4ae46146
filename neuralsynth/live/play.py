"""`play`: a live session in front of a person: the terminal view, the computer's keyboard, the keys for commands."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from neuralsynth.live.computer_keyboard import ComputerKeyboard
from neuralsynth.live.keyboard_input import TerminalKeys
from neuralsynth.live.session import Choice, Session
from neuralsynth.live.take import next_take_path
from neuralsynth.live.view import Status, View, line
from neuralsynth.units import gain_to_db

FRAMES_PER_SECOND = 15
_KEYS_SECONDS = 0.004  # how long a pressed key may wait to be seen
_LINE_SECONDS = 5.0  # between two lines where there is no terminal to draw on


@dataclass(frozen=True)
class PlayReport:
    """What happened while it played."""

    seconds: float
    device: str
    sample_rate: int
    block_size: int
    start_seconds: float  # until the first block
    events: int
    late_events: int
    lost_events: int
    under_runs: int
    late_blocks: int
    median_load: float  # of the blocks, as a share of their time
    load_p999: float  # that 999 of 1,000 blocks kept to
    worst_load: float
    shed_voices: int
    muted_faults: int
    engine_restarts: int

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        return asdict(self)


class Console:
    """What a person sees and does while a session plays."""

    def __init__(self, session: Session, takes_from: Path, plain: bool, tell: Callable[[str], None]) -> None:
        """Draw nothing yet.

        Args:
            takes_from: the file of the first take; later ones are numbered.
            tell: prints a line where nothing is drawn.
        """
        self._session, self._take_path, self._tell = session, takes_from, tell
        self._view = View()
        self._draws = not plain and self._view.is_possible
        self._keyboard = ComputerKeyboard()
        self._keys: TerminalKeys | None = None
        self._next_frame = self._next_line = 0.0
        self._limited_seconds = 0.0
        self.worst_load = 0.0

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """The view is on the terminal, and keys are read, meanwhile."""
        with contextlib.ExitStack() as stack:
            if self._draws:
                stack.enter_context(self._view)
                keys = stack.enter_context(TerminalKeys(on_suspend=self._suspend, on_resume=self._view.start))
                self._keys = keys if keys.is_active else None
            yield
            self._let_go()

    def _suspend(self) -> None:
        """Ctrl-Z: the engine plays on, but nobody holds its keys."""
        self._let_go()
        self._view.stop()

    def _let_go(self) -> None:
        for message in self._keyboard.all_off():
            self._session.send(message)

    def step(self) -> bool:
        """Go on for a moment; False when the person wants to end."""
        now, goes_on = time.monotonic(), True
        if self._keys is not None:
            pressed = self._keys.poll(_KEYS_SECONDS)
            self._keyboard.has_key_up = self._keys.has_key_up
            played, commands = self._keyboard.take(pressed, now)
            for message in played:
                self._session.send(message)
            goes_on = "quit" not in commands
            for command in commands:
                self._command(command)
        else:
            time.sleep(_KEYS_SECONDS)
        self._session.poll()
        for text in self._session.news():
            self._say(text)
        if now >= self._next_frame:
            self._next_frame = now + 1.0 / FRAMES_PER_SECOND
            self._frame(now)
        return goes_on

    def _say(self, text: str) -> None:
        if self._draws:
            self._view.tell(text)
        else:
            self._tell(text)

    def _command(self, name: str) -> None:
        """Do what a key asks for."""
        session = self._session
        if name == "panic":
            self._let_go()
            session.panic()
        elif name == "next preset":
            session.go_to(session.step + 1)
        elif name == "previous preset":
            session.go_to(session.step - 1)
        elif name == "record" and session.takes.is_recording:
            session.takes.end()
        elif name == "record":
            session.takes.begin(next_take_path(self._take_path))

    def _frame(self, now: float) -> None:
        status = self._status()
        self.worst_load = max(self.worst_load, status.worst_load)
        if self._draws:
            self._view.draw(status, now)
        elif now >= self._next_line:
            self._next_line = now + _LINE_SECONDS
            self._tell(line(status, sys.stdout.encoding or "ascii"))

    def _status(self) -> Status:
        """What the engine tells now."""
        session, meters, keyboard = self._session, self._session.shared.meters, self._keyboard
        opened, steps = session.opened, session.set_list.steps if session.set_list else ()
        step = steps[session.step] if steps else None
        left, right, worst = meters.peak_left, meters.peak_right, meters.worst
        session.shared.controls.worst_asked += 1
        is_limited, self._limited_seconds = meters.limited_seconds > self._limited_seconds, meters.limited_seconds
        rate = max(meters.sample_rate, 1)
        device_seconds = opened.latency_seconds if opened else 0.0
        return Status(
            preset=step.name if step else "",
            program=step.program + 1 if step else 0,
            n_programs=len(steps),
            says=step.says if step else "",
            device=opened.device if opened else "",
            sample_rate=meters.sample_rate,
            block_size=meters.block_size,
            latency_ms=1000.0 * ((meters.block_size + meters.latency_samples) / rate + device_seconds),
            midi_ports=session.midi_ports,
            level_left_db=float(gain_to_db(max(left, 1e-10))),
            level_right_db=float(gain_to_db(max(right, 1e-10))),
            is_limited=is_limited,
            voices=meters.voices,
            load=meters.load,
            worst_load=worst,
            under_runs=meters.xruns + meters.late_blocks,
            tempo_bpm=meters.tempo_bpm,
            last_event=session.last_event,
            is_recording=session.takes.is_recording,
            take_seconds=session.takes.seconds,
            take_file=str(session.takes.path or ""),
            has_keyboard=self._keys is not None,
            octave=keyboard.octave,
            velocity=keyboard.velocity,
            is_sustained=keyboard.is_sustained,
            problems=session.problems,
        )


def _nothing(done: int, total: int) -> None:
    """Show no progress."""


def play(
    choice: Choice,
    take: Path | None = None,
    takes_from: Path = Path("take.wav"),
    seconds: float | None = None,
    plain: bool = False,
    tell: Callable[[str], None] = print,
    loading: Callable[[], AbstractContextManager[Callable[[int, int], None]]] = lambda: nullcontext(_nothing),
) -> PlayReport:
    """Play live until the person ends it (or `seconds` are over).

    Args:
        take: a file to record into from the first message on.
        takes_from: the file of the first take that a key starts.
        plain: print a line now and then instead of drawing.
        tell: prints a line.
        loading: shows how far the presets are loaded.

    Raises:
        NeuralSynthError: as `Session.open`.
    """
    began = time.monotonic()
    session = Session(choice)
    try:
        with _Ending() as ending:
            with loading() as progress:
                session.open(take, progress, tell=tell)
            started = time.monotonic()
            console = Console(session, takes_from, plain, tell)
            ending.is_playing = True
            with contextlib.suppress(KeyboardInterrupt), console.shown():
                while console.step() and not ending.is_wanted:
                    if seconds is not None and time.monotonic() - started >= seconds:
                        break
            ending.is_wanted = False  # what is left is to finish
        return _report(session, console, time.monotonic() - started, started - began)
    finally:
        session.close()
        for text in session.news():
            tell(text)


def _report(session: Session, console: Console, seconds: float, start_seconds: float) -> PlayReport:
    meters, opened = session.shared.meters, session.opened
    return PlayReport(
        seconds=round(seconds, 3),
        device=opened.device if opened else "",
        sample_rate=meters.sample_rate,
        block_size=meters.block_size,
        start_seconds=round(start_seconds, 3),
        events=meters.events,
        late_events=meters.late_events,
        lost_events=meters.lost_events,
        under_runs=meters.xruns,
        late_blocks=meters.late_blocks,
        median_load=meters.load_quantile(0.5),
        load_p999=meters.load_quantile(0.999),
        worst_load=round(max(console.worst_load, meters.worst), 3),
        shed_voices=meters.shed_voices,
        muted_faults=meters.faults,
        engine_restarts=session.restarts,
    )


class _Ending:
    """Ctrl-C and a polite kill: while it plays a wish that the loop obeys, before that and the second time at once."""

    def __init__(self) -> None:
        self.is_playing = self.is_wanted = False

    def __enter__(self) -> Self:
        self._old = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _hear(self, *_: object) -> None:
        if self.is_wanted or not self.is_playing:
            raise KeyboardInterrupt
        self.is_wanted = True
