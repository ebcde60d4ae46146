"""The computer keyboard: notes never stick, keys are told apart, and the terminal is left as it was found."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralsynth.live.computer_keyboard import (
    COMMANDS,
    FIRST_REPEAT_SECONDS,
    NOTE_SECONDS,
    OCTAVE_STEPS,
    SEMITONES,
    VELOCITY_STEPS,
    ComputerKeyboard,
)
from neuralsynth.live.key_parser import ESCAPE_SECONDS, FOCUS_OUT, KeyEvent, KeyParser
from neuralsynth.live.keyboard_input import PosixKeys, TerminalKeys, WindowsKeys

KEYS = [*SEMITONES, *OCTAVE_STEPS, *VELOCITY_STEPS, *COMMANDS, "space", FOCUS_OUT, "up", "é", ""]
STEPS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.booleans(), st.sampled_from([0.0, 0.03, 0.07, 0.2, 0.5, 0.53, 1.0, 5.0])),
    max_size=80,
)


def on(note, velocity=96, channel=0):
    return bytes([0x90 | channel, note, velocity])


def off(note, channel=0):
    return bytes([0x80 | channel, note, 64])


class Ledger:
    """Which notes are on; a note struck twice, or released without a strike, is an error."""

    def __init__(self):
        self.notes = set()
        self.pedal = 0

    def read(self, messages):
        """Follow `messages`."""
        for kind, number, value in messages:
            if kind & 0xF0 == 0x90:
                assert number not in self.notes and 1 <= value <= 127
                self.notes.add(number)
            elif kind & 0xF0 == 0x80:
                self.notes.remove(number)
            else:
                assert kind & 0xF0 == 0xB0 and number == 64
                self.pedal = value


@given(steps=STEPS, has_key_up=st.booleans(), channel=st.integers(0, 15))
def test_every_strike_has_its_release_and_all_off_leaves_nothing(steps, has_key_up, channel):
    keyboard, ledger, now = ComputerKeyboard(channel, has_key_up), Ledger(), 100.0
    for key, is_up, wait in steps:
        now += wait
        messages, _ = keyboard.take([KeyEvent(key, is_up)], now)
        assert all(message[0] & 0x0F == channel for message in messages)
        ledger.read(messages)
    ledger.read(keyboard.all_off())
    assert not ledger.notes and not ledger.pedal


@given(steps=STEPS)
def test_without_key_ups_every_note_ends_by_itself(steps):
    keyboard, ledger, now = ComputerKeyboard(), Ledger(), 0.0
    for key, _, wait in steps:
        now += wait
        ledger.read(keyboard.take([KeyEvent(key)], now)[0])
    ledger.read(keyboard.tick(now + 1.4))
    assert not ledger.notes


@given(steps=STEPS)
def test_with_key_ups_releasing_what_is_down_ends_every_note_whatever_moved(steps):
    keyboard, ledger, now = ComputerKeyboard(has_key_up=True), Ledger(), 0.0
    for key, is_up, wait in steps:
        now += wait
        ledger.read(keyboard.take([KeyEvent(key, is_up)], now)[0])
    for key in KEYS:
        ledger.read(keyboard.release(key, now))
    assert not ledger.notes


def test_rows_lie_as_on_a_piano():
    keyboard = ComputerKeyboard(has_key_up=True)
    assert keyboard.press("z", 0.0) == [on(48)]  # C3
    assert keyboard.press("s", 0.0) == [on(49)]
    assert keyboard.press("m", 0.0) == [on(59)]
    assert keyboard.press("q", 0.0) == [on(60)]  # C4
    assert keyboard.press("P", 0.0) == [on(76)]  # with caps lock on
    assert keyboard.press("/", 0.0) == [on(64)]


def test_a_note_is_released_as_it_was_struck_after_the_octave_moved():
    keyboard = ComputerKeyboard(has_key_up=True)
    assert keyboard.press("z", 0.0) == [on(48)]
    assert keyboard.press("]", 0.0) == []
    assert keyboard.octave == 4
    assert keyboard.release("z", 0.0) == [off(48)]
    assert keyboard.press("z", 0.0) == [on(60)]


def test_two_keys_of_one_note_hold_it_until_the_last_comes_up():
    keyboard = ComputerKeyboard(has_key_up=True)
    assert keyboard.press("q", 0.0) == [on(60)]
    assert keyboard.press(",", 0.0) == [off(60), on(60)]
    assert keyboard.release("q", 0.0) == []
    assert keyboard.release(",", 0.0) == [off(60)]


def test_octave_and_velocity_stay_in_range_and_notes_beyond_midi_are_silent():
    keyboard = ComputerKeyboard(has_key_up=True)
    for _ in range(20):
        keyboard.press("right", 0.0)
        keyboard.press("=", 0.0)
    assert (keyboard.octave, keyboard.velocity) == (8, 127)
    assert keyboard.press("p", 0.0) == []  # would be note 136
    for _ in range(20):
        keyboard.press("[", 0.0)
        keyboard.press("-", 0.0)
    assert (keyboard.octave, keyboard.velocity) == (-1, 1)
    assert keyboard.press("z", 0.0) == [on(0, 1)]


def test_space_presses_and_lifts_the_pedal_once_however_long_it_is_held():
    keyboard = ComputerKeyboard()
    assert keyboard.press("space", 0.0) == [bytes([0xB0, 64, 127])]
    assert keyboard.press("space", 0.03) == []
    assert keyboard.press("space", 0.06) == []
    assert keyboard.press("space", 0.5) == [bytes([0xB0, 64, 0])]


def held_key(keyboard, key, start, delay, n_repeats, step=0.03):
    """Messages of a key that is held: its strike, and repeats after the system's delay."""
    times = [start, *(start + delay + step * n for n in range(n_repeats))]
    return [m for now in times for m in keyboard.take([KeyEvent(key)], now)[0]]


@pytest.mark.parametrize("delay", [0.25, 0.5, 0.66])
def test_a_held_key_is_one_note_that_ends_soon_after_the_last_repeat(delay):
    keyboard = ComputerKeyboard()
    assert held_key(keyboard, "z", 0.0, delay, 20) == [on(48)]
    last = delay + 19 * 0.03
    assert keyboard.tick(last + NOTE_SECONDS - 0.01) == []
    assert keyboard.tick(last + NOTE_SECONDS + 0.01) == [off(48)]


def test_a_tapped_key_waits_for_its_first_repeat_and_then_ends():
    keyboard = ComputerKeyboard()
    keyboard.press("z", 0.0)
    assert keyboard.tick(FIRST_REPEAT_SECONDS - 0.01) == []
    assert keyboard.tick(FIRST_REPEAT_SECONDS + 0.01) == [off(48)]


def test_repeated_notes_are_struck_again_once_the_delay_of_the_system_is_known():
    keyboard = ComputerKeyboard()
    held_key(keyboard, "z", 0.0, 0.5, 5)
    keyboard.tick(5.0)
    messages = [m for n in range(4) for m in keyboard.press("c", 10.0 + 0.3 * n)]
    assert messages == [on(52), *[off(52), on(52)] * 3]
    keyboard.tick(20.0)
    assert held_key(keyboard, "c", 30.0, 0.5, 5) == [on(52)]


def test_keys_in_turn_are_never_taken_for_repeats():
    keyboard = ComputerKeyboard()
    messages = [m for n, key in enumerate("zxzxz") for m in keyboard.press(key, 0.25 * n)]
    assert [m for m in messages if m[0] == 0x90] == [on(48), on(50), on(48), on(50), on(48)]


def test_a_terminal_that_stops_telling_key_ups_leaves_no_note():
    keyboard = ComputerKeyboard(has_key_up=True)
    keyboard.press("z", 0.0)
    assert keyboard.tick(60.0) == []
    keyboard.has_key_up = False
    assert keyboard.tick(60.0) == []
    assert keyboard.tick(61.0) == [off(48)]


def test_a_window_that_loses_the_focus_lets_every_key_go():
    keyboard = ComputerKeyboard(has_key_up=True)
    keyboard.press("z", 0.0)
    keyboard.press("c", 0.0)
    assert keyboard.press(FOCUS_OUT, 1.0) == [off(48), off(52)]


def test_commands_are_told_once_and_play_nothing():
    keyboard = ComputerKeyboard()
    events = [KeyEvent(key) for key in ("tab", "enter", "enter", "escape", "ctrl-c")]
    assert keyboard.take(events, 1.0) == ([], ["next preset", "record", "panic", "quit"])
    assert not set(COMMANDS) & {*SEMITONES, *OCTAVE_STEPS, *VELOCITY_STEPS, "space"}


SEQUENCES = {
    b"a": ["a"], b"A": ["a"], b" ": ["space"], b"\r": ["enter"], b"\n": ["enter"], b"\t": ["tab"], b"\x7f": ["backspace"],
    b"\x03": ["ctrl-c"], b"\x11": ["ctrl-q"], b"\x00": ["ctrl-space"], b"\x1b[Z": ["shift-tab"], b"\x1b[D": ["left"],
    b"\x1bOC": ["right"], b"\x1b[5~": ["page-up"], b"\x1b[6~": ["page-down"], b"\x1b[1;5D": ["ctrl-left"],
    b"\x1b[1;2A": ["shift-up"], b"\x1bOP": ["f1"], b"\x1b[[E": ["f5"], b"\x1b[15~": ["f5"], "éß".encode(): ["é", "ß"],
    b"\x1bz": ["escape", "z"], b"\x1b\x1b[A": ["escape", "up"], b"[": ["["], b"\xff\xc3a": ["a"], b"\x1b[999~": [],
    b"\x1b[O": [FOCUS_OUT], b"\x1b[I": [], b"\x1b[?1;2c": [], b"\x1b[<0;1;1;1;1m": [],
    b"\x1b[97u": ["a"], b"\x1b[97;2u": ["a"], b"\x1b[99;5u": ["ctrl-c"], b"\x1b[9;2u": ["shift-tab"], b"\x1b[27u": ["escape"],
    b"\x1b[32;1:1u": ["space"], b"\x1b[97;1:2u": [], b"\x1b[97:65;2:1u": ["a"], b"\x1b[57441;2u": [], b"\x1b[13u": ["enter"],
    b"\x1b[97;65u": ["a"], b"\x1b[1;1:1D": ["left"], b"\x1b[9999999999999999u": [], b"\x1b[u": [],
}  # fmt: skip


@pytest.mark.parametrize("data", SEQUENCES)
def test_keys_are_known_by_what_terminals_send_however_it_is_cut(data):
    for cut in range(len(data)):
        parser = KeyParser()
        names = [e.name for piece in (data[:cut], data[cut:]) for e in parser.feed(piece, 0.0)] + [
            e.name for e in parser.flush(1.0)
        ]
        assert names == SEQUENCES[data], cut


def test_key_ups_have_the_name_of_the_key_alone():
    parser = KeyParser()
    assert parser.feed(b"\x1b[99;5:3u\x1b[97;2:3u\x1b[1;1:3D\x1b[5;1:3~", 0.0) == [
        KeyEvent(name, is_up=True) for name in ("c", "a", "left", "page-up")
    ]


def test_escape_alone_is_told_after_a_moment_and_not_before():
    parser = KeyParser()
    assert parser.feed(b"\x1b", 1.0) == []
    assert parser.flush(1.0 + ESCAPE_SECONDS / 2) == []
    assert parser.flush(1.0 + ESCAPE_SECONDS) == [KeyEvent("escape")]
    assert parser.flush(9.0) == []


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\x1b[", b";:3u", b"\x1b[" + b"1" * 99])), max_size=9)
)
def test_any_bytes_give_printable_names_and_nothing_grows(pieces):
    parser = KeyParser()
    for piece in pieces:
        for event in parser.feed(piece, 0.0):
            assert event.name and event.name.isprintable() and len(event.name) < 40
        assert parser.n_waiting < 64
    parser.flush(1.0)
    assert not parser.n_waiting


class Console:
    """The `msvcrt` of a Windows console at which somebody types."""

    def __init__(self, text):
        self.text = list(text)

    def kbhit(self):
        """Whether a key waits."""
        return bool(self.text)

    def getwch(self):
        """The next character."""
        return self.text.pop(0)


def test_a_windows_console_gives_the_same_names(monkeypatch):
    monkeypatch.setitem(sys.modules, "msvcrt", Console("zé\r\t\x1b\x03\xe0K\xe0\x99\x00\x0f "))
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    with WindowsKeys() as keys:
        assert keys.is_active
        assert names(keys) == ["z", "é", "enter", "tab", "escape", "ctrl-c", "left", "shift-tab", "space"]
        assert names(keys, 0.01) == []


posix = pytest.mark.skipif(sys.platform == "win32", reason="terminals as POSIX has them")


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo terminal: (what the person's side is, what the program reads)."""
    import pty

    monkeypatch.setenv("TERM", "xterm-256color")
    person, program = pty.openpty()
    yield person, program
    for end in (person, program):
        with contextlib.suppress(OSError):
            os.close(end)


def mode_of(fd):
    import termios

    iflag, oflag, cflag, lflag, *_, cc = termios.tcgetattr(fd)
    return iflag, oflag, cflag, lflag, cc


def names(keys, wait=0.2):
    return [event.name for event in keys.poll(wait)]


@posix
def test_keys_come_singly_without_echo_and_the_terminal_is_put_back(terminal):
    person, program = terminal
    before = mode_of(program)
    with contextlib.suppress(RuntimeError), TerminalKeys(program, program) as keys:
        assert os.read(person, 99) == b"\x1b[?u"
        assert mode_of(program) != before
        assert names(keys, 0.0) == []
        os.write(person, b"z\x03\x11\x1b[5~")
        assert names(keys) == ["z", "ctrl-c", "ctrl-q", "page-up"]
        os.write(person, b"\x1b")
        assert names(keys) == []
        time.sleep(ESCAPE_SECONDS)
        assert names(keys, 0.0) == ["escape"]
        raise RuntimeError
    assert mode_of(program) == before
    os.set_blocking(person, False)
    with pytest.raises(BlockingIOError):  # nothing was echoed
        os.read(person, 99)


@posix
def test_a_terminal_that_tells_key_ups_is_asked_to_and_told_to_stop(terminal):
    person, program = terminal
    with PosixKeys(program, program) as keys:
        assert os.read(person, 99) == b"\x1b[?u"
        assert not keys.has_key_up
        os.write(person, b"\x1b[?0u")
        assert keys.poll(0.2) == []
        assert keys.has_key_up
        assert os.read(person, 99) == b"\x1b[>11u\x1b[?1004h"
        os.write(person, b"\x1b[122;1:1u\x1b[122;1:2u\x1b[122;1:3u")
        assert keys.poll(0.2) == [KeyEvent("z"), KeyEvent("z", is_up=True)]
    assert os.read(person, 99) == b"\x1b[?1004l\x1b[<u"


@posix
def test_a_terminal_that_vanishes_ends_the_keys_quietly(terminal):
    person, program = terminal
    with PosixKeys(program, program) as keys:
        os.close(person)
        assert keys.poll(0.2) == []
        assert not keys.is_active
        assert keys.poll(0.0) == []


@posix
def test_where_there_is_no_terminal_no_key_comes(tmp_path):
    with (tmp_path / "file").open("w+") as file, PosixKeys(file.fileno(), file.fileno()) as keys:
        assert not keys.is_active
        assert keys.poll(0.01) == []
        assert file.tell() == 0


#: A shell with job control: it runs PLAYER in the foreground, waits until that stops, and continues it.
SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
def echoes():
    return bool(termios.tcgetattr(0)[3] & termios.ECHO)
def say(*words):
    print(*words, file=sys.stderr, flush=True)
say("shell", echoes())
player = subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=0)
os.tcsetpgrp(0, player.pid)
_, status = os.waitpid(player.pid, os.WUNTRACED)
say("stopped", os.WIFSTOPPED(status), echoes())
os.tcsetpgrp(0, os.getpgrp())
os.kill(player.pid, signal.SIGCONT)  # bg
import time; time.sleep(0.3)
say("background", os.waitpid(player.pid, os.WUNTRACED | os.WNOHANG)[0] == 0, echoes())
os.tcsetpgrp(0, player.pid)
os.kill(player.pid, signal.SIGCONT)  # fg
_, status = os.waitpid(player.pid, 0)
say("ended", os.waitstatus_to_exitcode(status), echoes())
"""
PLAYER = """
import signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_DFL)
from neuralsynth.live.keyboard_input import PosixKeys
def say(*words):
    print(*words, file=sys.stderr, flush=True)
with PosixKeys(on_suspend=lambda: say("suspend"), on_resume=lambda: say("resume")) as keys:
    say("ready")
    while True:
        for name, _ in keys.poll(0.02):
            say("key", name)
            if name == "q":
                sys.exit(7)
"""


@posix
def test_ctrl_z_gives_the_terminal_back_and_keys_come_again_when_continued(terminal):
    person, program = terminal
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "dumb"}
    shell = subprocess.Popen(
        [sys.executable, "-c", SHELL, PLAYER], stdin=program, stdout=program, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=environment,
    )  # fmt: skip
    said = []
    watchdog = threading.Timer(20.0, shell.kill)
    watchdog.start()

    def until(words):
        while not said or said[-1] != words:
            text = shell.stderr.readline()
            assert text, said
            said.append(text.strip())

    try:
        until("ready")
        os.write(person, b"a")
        until("key a")
        os.write(person, b"\x1a")
        until("background True True")
        time.sleep(0.2)
        os.write(person, b"b")
        until("key b")
        os.write(person, b"q")
        until("ended 7 True")
    finally:
        watchdog.cancel()
        shell.kill()
        shell.wait()
        shell.stderr.close()
    assert said == [
        "shell True", "ready", "key a", "suspend", "stopped True True", "background True True",
        "resume", f"key {FOCUS_OUT}", "key b", "key q", "ended 7 True",
    ]  # fmt: skip
