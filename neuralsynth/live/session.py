"""`Session`: live play as its own process sees it: loads presets, starts the others, watches them, writes takes."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from neuralsynth.errors import DeviceError, NeuralSynthError, one_line
from neuralsynth.live import messages
from neuralsynth.live.engine_process import run_engine
from neuralsynth.live.handover import Link, link_pair
from neuralsynth.live.midi_input import MidiInput
from neuralsynth.live.setlist import SetList, load_set_list
from neuralsynth.live.shared import Shared
from neuralsynth.live.takes import TakeKeeper
from neuralsynth.midi.learn import ControllerMap

START_SECONDS = 20.0  # the longest that an engine may take to be built
#: The longest until the first one plays: on a machine that has played nothing yet, a slow one, all is compiled first.
FIRST_START_SECONDS = 300.0
_LONG_SECONDS = 4.0  # after which the wait for the first one is explained
#: An engine whose main thread gives no sign for so long otherwise is started anew. To open a device takes most of it
_DEAD_SECONDS = 12.0  # where every answer of a JACK server comes just before it is given up.
_RESTART_SECONDS = 1.0  # between two starts
_FILES_SECONDS = 1.0  # between two looks at preset files
_END_SECONDS = 2.0


@dataclass(frozen=True)
class Choice:
    """What to play, on what."""

    presets: tuple[str, ...] = ("upright-piano",)
    bank: str | None = None
    channels: Mapping[int, str] = field(default_factory=dict)
    controls: ControllerMap | None = None
    gain_db: float = 0.0
    midi: str = "all"  # "jack" is the engine's own port, "none" no MIDI, else all or part of a port's name
    virtual_port: bool = False
    device: messages.DeviceChoice = field(default_factory=messages.DeviceChoice)


class Session:
    """A running instrument. `open` it, `poll` it often, `close` it."""

    def __init__(self, choice: Choice) -> None:
        """Start nothing yet."""
        native = choice.midi == "jack"
        self.choice = replace(choice, device=replace(choice.device, native_midi=native))
        self.shared = Shared.create()
        self.set_list: SetList | None = None
        self.opened: messages.Opened | None = None
        self.midi_ports: tuple[str, ...] = ("JACK",) if native else ()
        self.step = 0  # of the set list
        self.last_event = b""
        self.restarts = 0
        self.takes = TakeKeeper(self.shared)
        self._device = self.choice.device
        self._problems: dict[str, str] = {}  # what is wrong now, by what it concerns
        self._news: list[str] = []
        self._generation = 0
        self._sent: list[int] = []  # rows of each zone that the engine has
        self._process: multiprocessing.process.BaseProcess | None = None
        self._link: Link | None = None
        self._midi: MidiInput | None = None
        self._sign, self._sign_seen = (-1, -1), time.monotonic()  # of life, from the engine's main thread
        self._started = 0.0
        self._stamps: dict[Path, float] = {}
        self._next_look = time.monotonic() + _FILES_SECONDS

    # ---- beginning and end

    def open(
        self,
        take: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
        timeout_seconds: float = FIRST_START_SECONDS,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Load the presets and wait until they can be played.

        Args:
            take: a file to record into from the first message on.
            progress: called with the number of sounds that are decoded, and of all.
            timeout_seconds: how long to wait for the engine then.
            tell: called with a line when that takes long.

        Raises:
            PresetError, ModelError, UsageError: what is to be played is wrong.
            DeviceError: there is no such audio device.
        """
        self._start_engine()  # it imports its libraries while the presets are loaded
        if self.choice.midi not in ("jack", "none") or self.choice.virtual_port:
            wanted = "none" if self.choice.midi == "jack" else self.choice.midi
            self._midi = MidiInput(self.shared.name, wanted, self.choice.virtual_port)
            self._midi.start()
        choice = self.choice
        self.set_list = load_set_list(choice.presets, choice.bank, choice.channels)
        self._note_files()
        patches = list(self.set_list.patches())
        for done, patch in enumerate(patches, 1):
            self.set_list.prepare(patch)
            if progress is not None:
                progress(done, len(patches))
        if take is not None:
            self.takes.begin(take)
        self._send_play()
        self._wait_for_engine(timeout_seconds, tell)

    def _wait_for_engine(self, timeout_seconds: float, tell: Callable[[str], None] | None) -> None:
        """Wait until it plays for the first time."""
        began = time.monotonic()
        while self.opened is None:
            self.poll()
            if "audio" in self._problems:
                raise DeviceError(self._problems["audio"])
            waited = time.monotonic() - began
            if tell is not None and waited > _LONG_SECONDS:
                tell("compiling the synthesizer for this machine: once, half a minute or so")
                tell = None
            if self.restarts or waited > timeout_seconds:
                reason = "; ".join(self.news()) or "no answer"
                raise DeviceError(f"the engine does not start ({reason}); `neuralsynth doctor` says what is missing")
            time.sleep(0.005)

    def close(self) -> None:
        """Fade out and end everything; a take that is recorded is finished."""
        self.takes.end()
        if self._process is not None and self._link is not None:
            try:
                self._link.send(messages.Quit())
            except OSError:
                pass
            self._process.join(_END_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process.close()
            self._link.close()
            self._process = self._link = None
        if self._midi is not None:
            self._midi.stop()
            self._midi = None
        self.takes.finish()
        self.shared.close(remove=True)

    # ---- what a player does

    def send(self, message: bytes) -> None:
        """Play a message now."""
        self.shared.keys.put(time.monotonic_ns(), message)

    def go_to(self, step: int) -> None:
        """Bring another preset of the set list, on all channels that follow programs; counts round."""
        assert self.set_list is not None
        if not self.set_list.steps:
            return
        self.step = step % len(self.set_list.steps)
        chosen = self.set_list.steps[self.step]
        for channel in range(16):
            if channel + 1 not in self.choice.channels:
                for controller, value in ((0, chosen.bank[0]), (32, chosen.bank[1])):
                    self.send(bytes([0xB0 | channel, controller, value]))
                self.send(bytes([0xC0 | channel, chosen.program]))

    def panic(self) -> None:
        """Silence everything and let go of all keys and pedals."""
        for controller in (64, 66, 120, 123):
            for channel in range(16):
                self.send(bytes([0xB0 | channel, controller, 0]))

    # ---- what goes on

    @property
    def problems(self) -> list[str]:
        """What is wrong now."""
        return list(self._problems.values())

    def news(self) -> list[str]:
        """What happened since this was asked last, each thing once."""
        news, self._news = self._news + self.takes.news(), []
        return news

    def poll(self) -> None:
        """Look after everything; call it at least ten times a second."""
        self._hear_engine()
        for _, message in self.takes.follow():
            self.last_event = message
        self._hear_midi()
        self._watch_engine()
        self._look_at_files()

    def _hear_engine(self) -> None:
        try:
            while self._link is not None and self._link.wait(0.0):
                self._heard(self._link.receive())
        except EOFError:
            pass  # `_watch_engine` sees to it

    def _heard(self, message: object) -> None:
        if isinstance(message, messages.Opened):
            if "audio" in self._problems:
                self._news.append(f"{message.device} is back")
            self._problems.pop("audio", None)
            self.opened = message
        elif isinstance(message, messages.Lost):
            self._problems["audio"] = message.problem
            if self.opened is not None:
                self._news.append(message.problem)
        elif isinstance(message, messages.Broken):
            self._news.append(f"the engine began anew after an error ({message.problem})")
        elif isinstance(message, messages.Connected):
            self._device = replace(self._device, connections=message.connections)
        elif isinstance(message, messages.TakeBegins):
            self.takes.prepared(message)
        elif isinstance(message, messages.Wanted) and message.generation == self._generation:
            self._grow(message.ways)

    def _grow(self, ways: Sequence[tuple[int, int, int]]) -> None:
        """Decode directions of timbre, for the keys that sound first, then for all."""
        assert self.set_list is not None
        zones = list(self.set_list.patches())
        by_zone: dict[int, tuple[set[int], set[int]]] = {}
        for number, key, direction in ways:
            keys, directions = by_zone.setdefault(number, (set(), set()))
            keys.add(key)
            directions.add(direction)
        for everything in (False, True):
            growths = {}
            for number, (keys, directions) in by_zone.items():
                bank = zones[number].bank
                bank.prepare(range(128) if everything else keys, directions)
                growths[number] = bank.growth(self._sent[number])
                self._sent[number] = len(bank)
            self._tell(messages.Grown(self._generation, growths))

    def _hear_midi(self) -> None:
        if self._midi is None:
            return
        for kind, what in self._midi.poll():
            if kind == "ports":
                gone = set(self.midi_ports) - set(what)
                self._news += [f"MIDI port {name} is gone; waiting for it" for name in sorted(gone)]
                self.midi_ports = tuple(what)
                if what:
                    self._problems.pop("midi", None)
            elif kind == "problem":
                self._problems["midi"] = str(what)
            else:
                self._news.append(f"{what} MIDI messages came faster than they can be played and were lost")
        if not self._midi.is_alive:
            self._midi.restart()  # it begins by letting all keys go

    # ---- the engine process

    def _start_engine(self) -> None:
        here, there = link_pair()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=run_engine, args=(self.shared.name, there, self._device), name="neuralsynth engine", daemon=True
        )
        self._process.start()
        there.close()
        self._link = here
        self._started = self._sign_seen = time.monotonic()

    def _send_play(self) -> None:
        assert self.set_list is not None
        self._generation += 1
        play = messages.Play(
            self._generation, self.set_list.start, self.set_list.programs, self.choice.controls, self.choice.gain_db
        )
        self._sent = [len(zone.bank) for zone in play.zones()]
        self._tell(play)

    def _tell(self, message: object) -> None:
        try:
            if self._link is not None:
                self._link.send(message)
        except OSError:
            pass  # `_watch_engine` sees to it

    def _watch_engine(self) -> None:
        """Start the engine anew when it died or hangs: silent, with the presets and controllers of before."""
        assert self._process is not None
        assert self._link is not None
        meters, now = self.shared.meters, time.monotonic()
        sign = (meters.beats, meters.generation)
        if sign != self._sign:
            self._sign, self._sign_seen = sign, now
        is_building = meters.generation != self._generation  # an engine for other presets: the main thread is busy
        building_seconds = FIRST_START_SECONDS if self.opened is None else START_SECONDS
        is_stuck = now - self._sign_seen > (building_seconds if is_building else _DEAD_SECONDS)
        if (self._process.is_alive() and not is_stuck) or now - self._started < _RESTART_SECONDS:
            return
        self._process.kill()
        self._process.join()
        how = _how_it_ended(self._process.exitcode or 0, is_stuck)
        self._process.close()
        self._link.close()
        self.restarts += 1
        self._news.append(f"the engine ended unexpectedly ({how}); it was started again, silent")
        self.takes.engine_ended()
        self._start_engine()
        if self.set_list is not None:
            self._send_play()

    # ---- presets on disk

    def _note_files(self) -> None:
        assert self.set_list is not None
        self._stamps = {path: _stamp(path) for path in self.set_list.paths}

    def _look_at_files(self) -> None:
        """Load presets again whose files were changed; what cannot be loaded leaves what is there."""
        now = time.monotonic()
        if now < self._next_look or self.set_list is None or self.takes.is_recording:
            return
        self._next_look = now + _FILES_SECONDS
        changed = [path for path, stamp in self._stamps.items() if _stamp(path) not in (stamp, 0.0)]
        if not changed:
            return
        self._stamps |= {path: _stamp(path) for path in changed}
        self.reload()

    def reload(self) -> None:
        """Load all presets anew and swap them in; notes that sound end as they began."""
        try:
            choice = self.choice
            loaded = load_set_list(choice.presets, choice.bank, choice.channels)
            for patch in loaded.patches():
                loaded.prepare(patch)
        except NeuralSynthError as error:
            self._problems["presets"] = one_line(error)
            return
        self._problems.pop("presets", None)
        self.set_list = loaded
        self._note_files()
        self._send_play()
        self._news.append("presets were loaded again")


def _how_it_ended(code: int, is_stuck: bool) -> str:
    """Why the engine had to be started anew, in words for a report."""
    if is_stuck:
        return "it gave no sign"
    names = {number.value: number.name for number in signal.Signals}
    return names.get(-code, f"code {code}")


def _stamp(path: Path) -> float:
    """When a file was changed last; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
