"""The terminal view: it says what is so, fits, and survives whatever it is given."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from neuralsynth.live.computer_keyboard import COMMANDS, PLAYING
from neuralsynth.live.view import CLIP_SECONDS, HOLD_SECONDS, PeakHold, Status, View, describe_event, line

PLAYED = Status(
    preset="upright-piano",
    program=3,
    n_programs=12,
    says="a felted upright, played softly",
    device="JACK system:playback_1",
    sample_rate=48000,
    block_size=128,
    latency_ms=8.04,
    midi_ports=("Keystation 49",),
    level_left_db=-12.3,
    level_right_db=-30.0,
    voices=12,
    load=0.23,
    worst_load=0.55,
    under_runs=2,
    last_event=bytes([0x90, 60, 96]),
    is_recording=True,
    take_seconds=65.0,
    take_file="takes/one.wav",
    problems=("audio device lost, waiting for it",),
)
NUMBERS = st.one_of(st.floats(allow_subnormal=False), st.integers(-(10**12), 10**12))
TEXTS = st.one_of(st.text(), st.just("\x1b[2J\x07\r\n\u202e漢字" * 9), st.just("名" * 5000), st.just("\udcff\x9b"))
NUMBERED = """program n_programs sample_rate block_size latency_ms level_left_db level_right_db voices load worst_load
under_runs tempo_bpm take_seconds octave velocity"""
STATUSES = st.builds(
    Status,
    **dict.fromkeys("preset says device take_file".split(), TEXTS),
    **dict.fromkeys(("midi_ports", "problems"), st.lists(TEXTS, max_size=3)),
    **dict.fromkeys("is_limited is_recording has_keyboard is_sustained".split(), st.booleans()),
    **dict.fromkeys(NUMBERED.split(), NUMBERS),
    last_event=st.binary(max_size=20),
)


def console(width=80, encoding="utf-8", **other):
    return Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), width=width, height=30, **other)


def printed(view_console):
    view_console.file.flush()
    return view_console.file.buffer.getvalue().decode(view_console.encoding)


def text_of(status, width=80, encoding="utf-8", now=0.0):
    return "\n".join(row.plain for row in View(console(width, encoding)).lines(status, width, now))


@given(status=STATUSES, encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_any_status_is_drawn_printable_and_within_the_width(status, encoding):
    for width in (40, 80, 200):
        plain = console(width, encoding, color_system=None)
        rows = View(plain).lines(status, width, 1.0)
        assert all(row.cell_len <= width for row in rows)
        for row in rows:
            plain.print(row)
        text = printed(plain)
        assert text.count("\n") == len(rows)
        assert all(c.isprintable() or c == "\n" for c in text)
        assert encoding == "utf-8" or text.isascii()


@given(status=STATUSES, width=st.integers(-1, 30), now=st.floats(0, 1e9, allow_subnormal=False))
def test_terminals_too_narrow_for_anything_do_no_harm(status, width, now):
    view = View(console(width))
    assert all(row.cell_len <= width for row in view.lines(status, width, now))
    assert all(row.cell_len <= max(width, 0) for row in view.lines(PLAYED, width, now))


@given(status=STATUSES, encoding=st.sampled_from(["utf-8", "ascii", "cp1252"]))
def test_any_status_is_one_plain_line(status, encoding):
    said = line(status, encoding)
    assert said.isprintable() and len(said) < 1000
    said.encode(encoding)


@given(st.binary(max_size=9))
def test_any_bytes_are_described_on_one_short_line(message):
    said = describe_event(message)
    assert said.isprintable() and len(said) < 60 and bool(said) == bool(message)


EVENTS = {
    (0x90, 60, 96): "note C4 on, velocity 96, channel 1",
    (0x9F, 61, 0): "note C#4 off, channel 16",
    (0x80, 69, 64): "note A4 off, channel 1",
    (0xB0, 64, 127): "sustain pedal down, channel 1",
    (0xB0, 64, 0): "sustain pedal up, channel 1",
    (0xB1, 65, 64): "portamento on, channel 2",
    (0xB0, 7, 100): "volume 100, channel 1",
    (0xB0, 20, 64): "controller 20 at 64, channel 1",
    (0xB0, 120, 0): "all sound off, channel 1",
    (0xC0, 5): "program 5, channel 1",
    (0xD0, 9): "pressure 9, channel 1",
    (0xA0, 60, 9): "pressure 9 on C4, channel 1",
    (0xE0, 0, 64): "bend +0 %, channel 1",
    (0xE0, 127, 127): "bend +100 %, channel 1",
    (0xE0, 0, 0): "bend -100 %, channel 1",
    (0xE0, 87, 71): "bend +12 %, channel 1",
    (0x90, 60): "incomplete message 90 3c",
    (0x40, 1, 2): "incomplete message 40 01 02",
    (0xF0, 0x7E, 0xF7): "SysEx, 3 bytes",
    (0xF8,): "clock",
    (0xFF,): "system reset",
    (0xFF, 0x51, 3, 7, 161, 32): "tempo 120 bpm",
}


@pytest.mark.parametrize("message", EVENTS)
def test_events_are_told_in_words(message):
    assert describe_event(bytes(message)) == EVENTS[message]


def test_the_view_says_everything_it_knows_in_about_a_dozen_lines():
    text = text_of(PLAYED)
    for words in (
        "upright-piano", "program 3", "12 presets", "120 bpm", "a felted upright", "48000 Hz · 128 · 8.0 ms",
        "JACK system:playback_1", "Keystation 49", "-12.3 dB", "-30.0 dB", "23 %", "worst 55 %", "voices 12",
        "under-runs 2", "octave 3", "note C4 on, velocity 96", "● 1:05 · takes/one.wav", "! audio device lost",
    ):  # fmt: skip
        assert words in text, words
    assert text.count("\n") < 14


def test_the_keys_come_from_the_tables_that_the_keyboard_obeys():
    for width in (40, 80):
        text = text_of(Status(), width)
        assert all(f"{keys} {does}" in text for keys, does in PLAYING.items())
        assert {name for name in COMMANDS.values() if f" {name}" in text} == set(COMMANDS.values())
    assert "ctrl-c quit" not in text_of(Status(has_keyboard=False))


def bar_of(level_db, width=80):
    rows = View(console(width)).lines(Status(level_left_db=level_db), width, 0.0)
    return next(row.plain for row in rows if row.plain.startswith("left"))


def test_a_bar_grows_by_the_decibel_and_marks_minus_6():
    assert bar_of(-math.inf).count("█") == bar_of(-60.0).count("█") == bar_of(math.nan).count("█") == 0
    full = bar_of(0.0).count("█")
    assert bar_of(math.inf).count("█") == full
    assert bar_of(-30.0).count("█") == pytest.approx(full / 2, abs=1)
    mark = bar_of(-60.0).index("┼")
    assert mark - len("left   ") == pytest.approx(full * 54 / 60, abs=1)
    assert "█" in bar_of(-5.0)[mark] and "█" not in bar_of(-7.5)[mark]


def test_the_clip_light_burns_for_a_while_on_the_side_that_clipped():
    view = View(console())

    def lights(now, **levels):
        rows = view.lines(Status(**levels), 80, now)
        return [row.plain.split()[0] for row in rows if "CLIP" in row.plain]

    assert lights(0.0, level_left_db=-0.1) == []
    assert lights(1.0, level_left_db=0.0) == ["left"]
    assert lights(1.0 + CLIP_SECONDS / 2) == ["left"]
    assert lights(1.1 + CLIP_SECONDS) == []
    assert lights(9.0, is_limited=True) == ["left", "right"]


def test_the_peak_stays_and_then_falls():
    peak = PeakHold()
    assert peak.update(-10.0, 0.0) == -10.0
    assert peak.update(-50.0, HOLD_SECONDS) == -10.0
    assert peak.update(-50.0, HOLD_SECONDS + 1.0) == pytest.approx(-30.0)  # 20 dB a second
    assert peak.update(-20.0, HOLD_SECONDS + 1.1) == -20.0
    assert peak.update(math.nan, 99.0) == -60.0


def test_frames_replace_each_other_and_the_last_one_is_wiped():
    terminal = console(force_terminal=True)
    with View(terminal) as view:
        assert view.is_possible
        for n in range(3):
            view.draw(PLAYED, 0.1 * n)
    written = printed(terminal)
    assert written.count("upright-piano") == 3
    assert "\x1b[?1049h" not in written  # the alternate screen
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back
    assert written.rstrip().endswith("\x1b[2K")


def test_no_colour_reaches_the_terminal_that_wants_none(monkeypatch):
    def drawn():
        terminal = console(force_terminal=True, color_system="standard")
        with View(terminal) as view:
            view.draw(PLAYED, 0.0)
        return printed(terminal)

    colours = [f"\x1b[{n}m" for n in (*range(30, 38), *range(40, 48))] + ["\x1b[1;31m", "\x1b[1;37;41m"]
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert any(code in drawn() for code in colours)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(code in drawn() for code in colours)


@pytest.mark.parametrize("width", [0, 1, 7])
def test_a_live_view_survives_a_terminal_of_no_size_and_one_that_is_gone(width):
    terminal = Console(file=io.StringIO(), width=width, height=width, force_terminal=True)
    with View(terminal) as view:
        view.draw(PLAYED, 0.0)
        view.stop()
        view.draw(PLAYED, 0.1)  # stopped: nothing happens
        view.start()
        view.draw(PLAYED, 0.2)

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError("hung up")

    with View(Console(file=Gone(), width=80, height=30, force_terminal=True)) as view:
        view.draw(PLAYED, 0.0)


def test_a_pipe_gets_no_view():
    assert not View(console()).is_possible


def test_the_plain_line_says_the_same():
    assert line(PLAYED) == (
        "upright-piano; -12.3/-30.0 dB; voices 12; load 23 %, worst 55 %; under-runs 2; recording 1:05 takes/one.wav; "
        "note C4 on, velocity 96, channel 1; problem: audio device lost, waiting for it"
    )
