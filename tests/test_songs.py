"""Songs against a second reading of their files: the checker of `benchmarks/songs.py` on songs written here."""

from __future__ import annotations

import pytest

from benchmarks import songs
from neuralsynth.events import Event
from neuralsynth.hosts.midi_file import Song, tempo_message, write_midi_file
from neuralsynth.performer import Performer
from tests.models import tiny_instrument

RATE = 16_000
GM_ON, XG_ON = bytes.fromhex("f0 7e 7f 09 01 f7"), bytes.fromhex("f0 43 10 4c 00 00 7e 00 f7")
PROGRAMS = """
format_version = 1
name = "Two"
[channels]
default = "held.onnx"
[[programs]]
program = "1-64"
preset = "held.onnx"
[[programs]]
program = "65-128"
preset = "struck.onnx"
[[programs]]
program = 3
bank_msb = 1
preset = "struck.onnx"
"""


def notes(*keys, channel=0, start=0, length=200, step=100):
    """Overlapping notes, one every `step` ticks."""
    struck = [(start + i * step, bytes([0x90 | channel, key, 50 + i])) for i, key in enumerate(keys)]
    return struck + [(at + length, bytes([0x80 | channel, m[1], 64])) for at, m in struck]


def controls(controller, *places, channel=0):
    return [(at, bytes([0xB0 | channel, controller, value])) for at, value in places]


def bends(*places, channel=0):
    return [(at, bytes([0xE0 | channel, value & 127, value >> 7])) for at, value in places]


SONGS = {
    "pedals": [
        notes(60, 64, 67, 60, 64, 72, 60, 60, length=90)
        + controls(64, (50, 127), (250, 63), (270, 64), (480, 0), (600, 100))
        + controls(66, (110, 127), (460, 0), (520, 127), (790, 0))
        + controls(69, (300, 127), (400, 0)),
        notes(40, 41, 42, channel=3, length=30) + controls(66, (320, 127), (390, 0), channel=3) + controls(64, (10, 80), (350, 0), channel=3),
    ],
    "bends with RPN": [
        notes(60, 62, 64, 65, 67)
        + controls(101, (0, 0), (200, 0), (400, 127)) + controls(100, (0, 0), (200, 0), (400, 127))
        + controls(6, (1, 12), (201, 2), (401, 7)) + controls(38, (202, 50), (402, 7))
        + bends(*((10 * i, (i * 531) % 16384) for i in range(50)), (500, 0), (510, 8192), (520, 16383)),
        notes(60, 61, channel=9) + bends((50, 8191), (60, 8193), channel=9) + controls(121, (150, 0), channel=9),
    ],
    "tempo changes": [
        [(0, tempo_message(97.3)), (130, tempo_message(300)), (131, tempo_message(31)), (131, tempo_message(77.7)), (300, tempo_message(240))],
        notes(60, 62, 64, 65, 67, 69, step=37, length=41),
        [*notes(50, 52, 53, channel=1, start=7, step=91, length=130), (131, tempo_message(111))],
    ],
    "program changes": [
        [(0, GM_ON), (0, b"\xc0\x05"), (250, b"\xc0\x50"), *controls(0, (300, 1)), (450, b"\xc0\x02"), *notes(60, 62, 64, 65, 67, 69)],
        [(0, b"\xc4\x45"), (220, XG_ON), *notes(48, 50, 52, 53, channel=4)],
    ],
    "overlapping tracks on one channel": [
        notes(60, 64, 60, 64, 60, length=170),
        notes(64, 60, 64, 60, 64, start=30, length=190) + controls(123, (560, 0)) + controls(120, (610, 0)),
        notes(60, start=600, length=3) + notes(60, start=600, length=900),
    ],
    "notes and pedals left behind": [[(0, b"\x90\x3c\x40"), (0, b"\xb0\x40\x7f"), (90, b"\x90\x3e\x40"), (200, b"\x80\x3c\x00"), (300, b"\xb0\x42\x7f")]],
}  # fmt: skip


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    """A folder with a sustained instrument, one that decays, and a performance of both."""
    folder = tmp_path_factory.mktemp("band")
    tiny_instrument(folder / "held.onnx", sustaining=True)
    tiny_instrument(folder / "struck.onnx")
    (folder / "two.performance.toml").write_text(PROGRAMS)
    return folder


def checked(band, tmp_path, tracks):
    write_midi_file(tmp_path / "song.mid", tracks)
    return songs.check_song(tmp_path / "song.mid", RATE, band / "two.performance.toml", band / "held.onnx")


@pytest.mark.parametrize("name", SONGS)
def test_engine_and_file_agree_with_a_second_reading_after_every_event(band, tmp_path, name):
    check = checked(band, tmp_path, SONGS[name])
    assert check.mismatches == []
    assert check.n_events >= sum(message[0] != 0xFF for track in SONGS[name] for _, message in track)
    assert check.peak > 0.01


def stuck_pedal(performer, now, message, handle=Performer.handle):
    if message[0] & 0xF0 != 0xB0 or message[1] != 64 or message[2] > 0:
        handle(performer, now, message)


def coarse_bend(performer, now, message, handle=Performer.handle):
    handle(performer, now, message[:1] + b"\0" + message[2:] if message[0] & 0xF0 == 0xE0 else message)


def rough_tempo(performer, now, message, handle=Performer.handle):
    handle(performer, now, message[:5] + b"\0" if message[0] == 0xFF else message)


def late(song, sample_rate, events=Song.events):
    return (Event(event.sample + 2 * (event.message[0] == 0x83), event.message) for event in events(song, sample_rate))


def without_sysex(song, sample_rate, events=Song.events):
    return (event for event in events(song, sample_rate) if event.message[0] != 0xF0)


@pytest.mark.parametrize(
    ("name", "broken", "method", "instead", "words"),
    [
        ("pedals", Performer, "handle", stuck_pedal, "keys held after"),
        ("bends with RPN", Performer, "handle", coarse_bend, "bends after"),
        ("tempo changes", Performer, "handle", rough_tempo, "tempo after"),
        ("pedals", Song, "events", late, "sample of 83"),
        ("program changes", Song, "events", without_sysex, "message at"),
    ],
)
def test_the_checker_sees_a_planted_fault(band, tmp_path, monkeypatch, name, broken, method, instead, words):
    monkeypatch.setattr(broken, method, instead)
    assert any(mismatch.startswith(words) for mismatch in checked(band, tmp_path, SONGS[name]).mismatches)


def test_the_checker_prints_a_line_for_each_song_and_ends_with_1_where_one_differs(tmp_path, monkeypatch, capsys):
    for name in ("a.mid", "b.mid"):
        write_midi_file(tmp_path / name, [notes(60)])
    monkeypatch.setattr("sys.argv", ["songs.py", str(tmp_path)])
    found = {"a.mid": songs.SongCheck(n_events=7), "b.mid": songs.SongCheck(n_events=8, mismatches=["keys held"])}
    monkeypatch.setattr(songs, "check_song", lambda path, sample_rate: found[path.name])
    assert songs.main() == 1
    out = capsys.readouterr().out
    assert "a.mid: 7 events, 0 mismatches" in out and "b.mid: 8 events, 1 mismatches" in out
    found["b.mid"] = songs.SongCheck()
    assert songs.main() == 0
