"""Live MIDI over real ports: everything arrives, ports and servers come and go, nothing sticks, nothing hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from neuralsynth.errors import DeviceError
from neuralsynth.live import midi_process
from neuralsynth.live.midi_input import MidiInput
from neuralsynth.live.midi_process import VIRTUAL_PORT, Forwarder, PortWatch, Wire
from neuralsynth.live.shared import MIDI_RING_BYTES, Ring, Shared
from tests.jack_server import JackServer, require_jackd

PATIENCE_SECONDS = 20.0
RELEASES = ["40 00", "42 00", "7b 00"]  # sustain and sostenuto up, all notes off

#: A keyboard: `python -c KEYBOARD NAME`; each line on its stdin is a message in hex.
KEYBOARD = """
import sys, rtmidi
port = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, sys.argv[1])
port.open_virtual_port("out")
print("READY", flush=True)
for line in sys.stdin:
    port.send_message(list(bytes.fromhex(line)))
port.delete()
"""


class Keyboard:
    """Another program with a MIDI port."""

    def __init__(self, server, name: str) -> None:
        command = [sys.executable, "-c", KEYBOARD, name]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, env=server.environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout.readline() == "READY\n"

    def send(self, message: str) -> None:
        """Play a message, given in hex."""
        self._process.stdin.write(message + "\n")
        self._process.stdin.flush()

    def unplug(self) -> None:
        """Be gone, without a word."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """Close the port. A server with clients that were killed takes seconds to end."""
        self._process.communicate(timeout=PATIENCE_SECONDS)


class Listener:
    """A `MidiInput` and what has come of it."""

    def __init__(self, wanted: str = "all", virtual: bool = False) -> None:
        self.shared = Shared.create()
        self.input = MidiInput(self.shared.name, wanted, virtual)
        self.told, self.heard = [], []

    def __enter__(self) -> Self:
        self.input.start()
        return self

    def __exit__(self, *_) -> None:
        self.input.stop()
        self.shared.close(remove=True)

    def wait(self, condition) -> None:
        """Wait until `condition()`, collecting what comes."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < give_up, (self.input.is_alive, self.told, self.heard[-10:])
            self.told += self.input.poll()
            self.heard += self.shared.midi.take()
            time.sleep(0.01)

    def hears(self, keyboard: Keyboard, message: str) -> bool:
        """Whether it hears a message that is played again and again."""
        give_up, expected = time.monotonic() + PATIENCE_SECONDS / 4, bytes.fromhex(message).hex()
        while expected not in self.messages and time.monotonic() < give_up:
            keyboard.send(message)
            self.told += self.input.poll()
            self.heard += self.shared.midi.take()
            time.sleep(0.01)
        return expected in self.messages

    def wait_for_port(self, part: str) -> None:
        """Wait until one of that name is open."""
        self.wait(lambda: any(part in name for name in self.ports))

    def wait_for(self, *messages: str) -> None:
        """Wait for the last ones heard to be these."""
        self.wait(lambda: self.messages[-len(messages) :] == [bytes.fromhex(m).hex() for m in messages])

    @property
    def ports(self) -> list[str]:
        """Those that are open."""
        return next((names for kind, names in reversed(self.told) if kind == "ports"), [])

    @property
    def problems(self) -> list[str]:
        """All that were told."""
        return [text for kind, text in self.told if kind == "problem"]

    @property
    def messages(self) -> list[str]:
        """All that were heard, in hex."""
        return [message.hex() for _, message in self.heard]


@pytest.fixture
def server(monkeypatch):
    require_jackd()
    with JackServer(client_timeout_ms=500) as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        monkeypatch.setenv("JACK_NO_START_SERVER", "1")
        yield server


@pytest.fixture
def keyboard(server):
    keyboard = Keyboard(server, "keyboard")
    yield keyboard
    keyboard.close()


# Real ports


def test_notes_arrive_in_order_with_the_time_at_which_they_came(server, keyboard):
    sent = [f"90 {60 + i % 12:02x} {1 + i % 100:02x}" for i in range(200)]
    with Listener("KEYB") as listener:
        listener.wait_for_port("keyboard:out")
        began = time.monotonic_ns()
        for message in sent:
            keyboard.send(message)
            time.sleep(0.002)
        listener.wait(lambda: len(listener.heard) >= 200)
        ended = time.monotonic_ns()
        assert listener.messages == [bytes.fromhex(m).hex() for m in sent]
        stamps = [stamp for stamp, _ in listener.heard]
        assert stamps == sorted(stamps) and began < stamps[0] and stamps[-1] < ended
        assert stamps[-1] - stamps[0] > 200 * 1_500_000  # they were stamped as they came, not when they were fetched
        keyboard.send("f0 7e 7f 09 01 f7")
        keyboard.send("f8")
        keyboard.send("fe")
        listener.wait_for("f0 7e 7f 09 01 f7", "f8", "fe")
    assert listener.problems == []


def test_a_keyboard_that_goes_leaves_no_key_down_and_is_heard_again_when_it_returns(server):
    keyboard = Keyboard(server, "keyboard")
    with Listener() as listener:
        listener.wait_for_port("keyboard:out")
        keyboard.send("90 3c 40")
        keyboard.send("b3 40 7f")
        listener.wait_for("90 3c 40", "b3 40 7f")
        keyboard.unplug()
        listener.wait_for("b3 40 7f", *(f"b{channel} {release}" for channel in (0, 3) for release in RELEASES))
        listener.wait(lambda: listener.ports == [] and listener.problems)
        keyboard = Keyboard(server, "keyboard")
        listener.wait_for_port("keyboard:out")
        keyboard.send("91 3c 40")
        listener.wait_for("91 3c 40")
        keyboard.close()
    assert len(listener.problems) == 1 and "plug a keyboard in" in listener.problems[0]


def test_after_the_server_was_killed_and_started_again_it_goes_on(server):
    keyboard = Keyboard(server, "keyboard")
    with Listener(virtual=True) as listener:
        listener.wait_for_port("keyboard:out")
        assert VIRTUAL_PORT in listener.ports
        keyboard.send("90 3c 40")
        listener.wait_for("90 3c 40")
        server.stop(signal.SIGKILL)
        keyboard.unplug()
        listener.wait_for("90 3c 40", *(f"b0 {release}" for release in RELEASES))
        listener.wait(lambda: listener.ports == [])
        server.start()
        keyboard = Keyboard(server, "keyboard")
        listener.wait_for_port("keyboard:out")
        assert VIRTUAL_PORT in listener.ports and listener.input.is_alive
        keyboard.send("92 3c 40")
        listener.wait_for("92 3c 40")
        keyboard.close()
    assert len(listener.problems) == 1 and "no MIDI system works here" in listener.problems[0]


def test_a_killed_input_process_is_seen_and_a_new_one_releases_every_key(server, keyboard):
    with Listener("keyboard") as listener:
        listener.wait_for_port("keyboard:out")
        os.kill(listener.input.pid, signal.SIGKILL)
        listener.wait(lambda: not listener.input.is_alive)
        assert listener.input.poll() == []
        listener.told.clear()
        listener.input.restart()
        listener.wait_for_port("keyboard:out")
        listener.wait_for(*(f"b{channel:x} {release}" for channel in range(16) for release in RELEASES))
        if not listener.hears(keyboard, "90 3c 40"):
            # A client that is killed in the midst of a period, on a busy machine, leaves jackd waking nobody any more.
            server.stop(signal.SIGKILL)
            keyboard.unplug()
            server.start()
            keyboard = Keyboard(server, "keyboard")
            listener.wait(lambda: listener.hears(keyboard, "90 3c 40"))
            keyboard.unplug()
        assert listener.input.is_alive


def test_stopping_releases_what_is_down(server, keyboard):
    with Listener("keyboard") as listener:
        listener.wait_for_port("keyboard:out")
        keyboard.send("95 3c 40")
        listener.wait_for("95 3c 40")
        listener.input.stop()
        assert not listener.input.is_alive
        listener.wait_for(*(f"b5 {release}" for release in RELEASES))


def test_only_wanted_ports_are_opened_and_never_our_own(server, keyboard):
    other = Keyboard(server, "other")
    with Listener("other", virtual=True) as first, Listener(virtual=True) as second:
        first.wait(lambda: len(first.ports) == 2)
        second.wait(lambda: len(second.ports) == 3)
        assert sorted(first.ports) == sorted([VIRTUAL_PORT, "other:out"])
        assert sorted(second.ports) == sorted([VIRTUAL_PORT, "keyboard:out", "other:out"])
        time.sleep(1.2)  # two more looks, with all the ports of both there
        assert first.input.poll() == second.input.poll() == []
    other.close()


def test_a_program_can_connect_to_the_virtual_port(server, keyboard):
    with Listener("no such keyboard", virtual=True) as listener:
        listener.wait(lambda: listener.ports == [VIRTUAL_PORT] and listener.problems)
        assert listener.problems == [
            "no MIDI port is called 'no such keyboard', there are keyboard:out; it opens by itself when it comes"
        ]
        target = "neuralsynth-midi:neuralsynth"
        connect = ["jack_connect", "keyboard:out", target]
        subprocess.run(connect, env=server.environment, check=True, timeout=10)
        keyboard.send("90 3c 40")
        listener.wait_for("90 3c 40")


# No MIDI at all


def test_without_a_midi_system_one_problem_is_told_and_nothing_hangs(capfd, monkeypatch):
    monkeypatch.setenv("JACK_DEFAULT_SERVER", f"neuralsynth-absent-{os.getpid()}")
    monkeypatch.setenv("JACK_NO_START_SERVER", "1")
    with Listener("no such keyboard") as listener:
        listener.wait(lambda: listener.problems)
        time.sleep(1.2)
        listener.wait(lambda: True)
        assert listener.input.is_alive and listener.ports == [] and len(listener.problems) == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_memory_that_is_gone_is_told_and_ends_the_process():
    listener = Listener()
    listener.shared.close(remove=True)
    listener.input.start()
    give_up = time.monotonic() + PATIENCE_SECONDS
    told = []
    while not told and time.monotonic() < give_up:
        told = listener.input.poll()
        time.sleep(0.02)
    assert "MIDI input stopped (FileNotFoundError" in told[0][1]
    listener.input.stop()


def test_the_process_ends_with_the_session(tmp_path):
    code = """
import os, signal, time
from pathlib import Path
from neuralsynth.live.midi_input import MidiInput
from neuralsynth.live.shared import Shared

if __name__ == "__main__":
    shared = Shared.create()
    midi = MidiInput(shared.name)
    midi.start()
    while not midi.poll():
        time.sleep(0.01)
    print(midi.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "session.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while is_running(pid):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# The parts, without a process


class FakeSystem:
    """A MIDI system whose ports come and go as a test says."""

    name = "FAKE"

    def __init__(self) -> None:
        self.there, self.refusing, self.listeners = [], set(), {}
        self.names = lambda: self.there
        self.is_alive = lambda: True
        self.close = lambda: None

    def listen(self, name, listener):
        """Keep the listener, for the test to call."""
        if name in self.refusing:
            raise DeviceError(f"MIDI port {name!r} cannot be opened")
        self.listeners[name] = listener
        return self


@pytest.fixture
def ring():
    return Ring(memoryview(bytearray(MIDI_RING_BYTES)))


@pytest.fixture
def system(monkeypatch):
    system = FakeSystem()
    monkeypatch.setattr(midi_process, "find_system", lambda: system)
    return system


def test_each_problem_is_told_once_until_it_is_over(system, ring):
    told = []
    watch = PortWatch(Forwarder(ring), "piano", False, told.append)
    system.there, system.refusing = ["piano", "organ"], {"piano"}
    for _ in range(3):
        watch.scan()
    assert [kind for kind, _ in told] == ["problem", "ports"]
    system.refusing = set()
    watch.scan()
    system.there = ["organ"]
    for _ in range(3):
        watch.scan()
    system.there = ["organ", "Grand PIANO 2"]
    watch.scan()
    assert told[1:] == [
        ("ports", []),
        ("ports", ["piano"]),
        ("problem", "no MIDI port is called 'piano', there are organ; it opens by itself when it comes"),
        ("ports", []),
        ("ports", ["Grand PIANO 2"]),
    ]


def test_wires_do_not_mix(system, ring):
    system.there = ["a", "b"]
    PortWatch(Forwarder(ring), "all", False, lambda _: None).scan()
    system.listeners["a"]([0x90, 0x3C])
    system.listeners["b"]([0x80, 0x40, 0x00])
    system.listeners["a"]([0x41, 0x3D, 0x42])
    assert [message.hex() for _, message in ring.take()] == ["804000", "903c41", "903d42"]


def test_a_full_ring_counts_and_releases_what_it_may_have_missed(ring):
    forwarder = Forwarder(ring)
    listen = forwarder.listener(Wire())
    for _ in range(20_000):
        listen([0x92, 0x3C, 0x40])
    n_kept = len(ring.take())
    assert forwarder.lost == 20_000 - n_kept > 0
    listen([0x90, 0x3C, 0x40])
    assert [m.hex(" ") for _, m in ring.take()] == [*(f"b2 {release}" for release in RELEASES), "90 3c 40"]


def test_wires_of_several_threads_share_the_ring(ring):
    forwarder = Forwarder(ring)

    def play(channel: int) -> None:
        listen = forwarder.listener(Wire())
        for key in range(100):
            listen([0x90 | channel, key, 1])

    threads = [threading.Thread(target=play, args=(channel,)) for channel in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = ring.take()
    assert [stamp for stamp, _ in heard] == sorted(stamp for stamp, _ in heard)
    for channel in range(8):
        assert [m[1] for _, m in heard if m[0] == 0x90 | channel] == list(range(100))
