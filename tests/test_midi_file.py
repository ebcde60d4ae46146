"""The MIDI file reader: good files as mido reads them, damaged ones repaired, hostile ones refused, none hurt."""

from __future__ import annotations

import os
import time
import tracemalloc

import mido
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralsynth.errors import MidiFileError, OutputError, UsageError
from neuralsynth.hosts.midi_file import (
    MAX_FILE_BYTES,
    MAX_SONG_SECONDS,
    name_message,
    read_midi_file,
    tempo_message,
    write_midi_file,
)
from neuralsynth.midi.stream import is_message
from tests.effort import at_most

END = b"\x00\xff\x2f\x00"
NOTE = b"\x00\x90\x3c\x40" + b"\x60\x80\x3c\x40"  # middle C, one quarter note at 96 ticks
SECONDS_PER_QUARTER = 0.5  # without a tempo: 120 beats per minute
PER_EXAMPLE_FOLDER = settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def chunk(body: bytes, length: int | None = None, name: bytes = b"MTrk") -> bytes:
    return name + (len(body) if length is None else length).to_bytes(4, "big") + body


def header(n_tracks: int = 1, kind: int = 1, division: int = 96) -> bytes:
    return chunk(b"".join(n.to_bytes(2, "big") for n in (kind, n_tracks, division)), name=b"MThd")


def read(tmp_path, data: bytes):
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    return read_midi_file(path)


def played(song) -> list[tuple[float, str]]:
    """(seconds, message in hex) of every channel message."""
    events = [event for event in song.events(1e6) if event.message[0] < 0xF0]
    assert np.allclose([e.sample / 1e6 for e in events], song.seconds, atol=1e-6)
    return [(round(float(s), 6), e.message.hex()) for s, e in zip(song.seconds, events, strict=True)]


def everything(song) -> list[tuple[int, str]]:
    """(milliseconds, message in hex) of everything an engine hears."""
    return [(event.sample, event.message.hex()) for event in song.events(1000)]


NOTE_PLAYED = [(0.0, "903c40"), (0.5, "803c40")]


# Good files


def mido_reading(path) -> list[tuple[float, str]]:
    seconds, messages = 0.0, []
    for message in mido.MidiFile(path):
        seconds += message.time
        if not message.is_meta and message.type != "sysex":
            messages.append((round(seconds, 6), bytes(message.bytes()).hex()))
    return messages


channel_messages = st.one_of(
    st.tuples(st.integers(0x80, 0xBF) | st.integers(0xE0, 0xEF), st.integers(0, 127), st.integers(0, 127)).map(bytes),
    st.tuples(st.integers(0xC0, 0xDF), st.integers(0, 127)).map(bytes),
)
written_messages = st.one_of(
    channel_messages,
    st.floats(20, 400, allow_subnormal=False).map(tempo_message),
    st.just(b"\xf0\x7e\x7f\x09\x01\xf7"),
    st.just(name_message("strings")),
)
written_tracks = st.lists(
    st.lists(st.tuples(st.integers(0, 20_000), written_messages), max_size=30), min_size=1, max_size=4
)


@PER_EXAMPLE_FOLDER
@given(written_tracks, st.sampled_from([24, 96, 480, 960, 32767]))
def test_written_files_read_back_as_mido_reads_them(tmp_path, tracks, division):
    path = tmp_path / "song.mid"
    tracks[0].append((0, b"\x90\x40\x40"))
    for ending in (121, 123):  # nothing stays held
        tracks[-1].extend((30_000, bytes([0xB0 + channel, ending, 0])) for channel in range(16))
    write_midi_file(path, tracks, division)
    song = read_midi_file(path)
    assert not song.warnings
    ours, theirs = played(song), mido_reading(path)
    assert [m for _, m in ours] == [m for _, m in theirs]
    assert np.allclose([s for s, _ in ours], [s for s, _ in theirs], atol=2e-6, rtol=1e-9)
    n_sysex = sum(message[0] == 0xF0 for track in tracks for _, message in track)
    assert [message for _, _, message in song.sysex] == [b"\xf0\x7e\x7f\x09\x01\xf7"] * n_sysex
    assert song.format == (len(tracks) > 1) and song.n_tracks == len(tracks)


def test_tempo_changes_move_all_tracks(tmp_path):
    path = tmp_path / "song.mid"
    tempi = [(0, tempo_message(60)), (480, tempo_message(240)), (960, name_message("late"))]
    notes = [(0, b"\x90\x3c\x40"), (480, b"\x80\x3c\x00"), (960, b"\x91\x3c\x40"), (1440, b"\x91\x3c\x00")]
    write_midi_file(path, [tempi, notes])
    song = read_midi_file(path)
    assert song.seconds.tolist() == pytest.approx([0.0, 1.0, 1.25, 1.5])
    assert song.n_notes == 2
    assert song.channels_used() == (0, 1)
    assert song.track.tolist() == [1, 1, 1, 1]
    assert song.duration_seconds == pytest.approx(1.5)


def test_tempo_changes_and_sysex_are_events_in_their_place(tmp_path):
    path = tmp_path / "song.mid"
    gm, volume = b"\xf0\x7e\x7f\x09\x01\xf7", b"\xf0\x7f\x7f\x04\x01\x00\x40\xf7"
    first = [(0, gm), (0, b"\xc0\x05"), (480, b"\x90\x3c\x40"), (480, volume), (480, b"\x80\x3c\x40")]
    second = [(0, b"\xc1\x06"), (480, tempo_message(60)), (480, b"\xb1\x07\x10"), (720, tempo_message(30)), (960, gm)]
    write_midi_file(path, [first, second])
    assert everything(read_midi_file(path)) == [
        (0, gm.hex()), (0, "c005"), (0, "c106"),
        (500, "ff51030f4240"), (500, "903c40"), (500, volume.hex()), (500, "803c40"), (500, "b10710"),
        (1000, "ff51031e8480"), (2000, gm.hex()),
    ]  # fmt: skip


def test_of_several_tempos_at_one_time_the_last_is_told(tmp_path):
    path = tmp_path / "song.mid"
    tempi = [(0, tempo_message(60)), (0, tempo_message(90)), (480, tempo_message(200))]
    write_midi_file(path, [tempi, [(0, b"\x90\x3c\x40"), (480, tempo_message(100)), (480, b"\x80\x3c\x40")]])
    told = [(at, message) for at, message in everything(read_midi_file(path)) if message.startswith("ff")]
    assert told == [(0, tempo_message(90).hex()), (667, tempo_message(100).hex())]


def test_what_stands_after_the_last_message_is_told_too(tmp_path):
    volume = b"\xf0\x7f\x7f\x04\x01\x00\x40\xf7"
    write_midi_file(tmp_path / "song.mid", [[(0, b"\x90\x3c\x40"), (480, b"\x80\x3c\x40"), (960, volume)]])
    song = read_midi_file(tmp_path / "song.mid")
    assert everything(song)[-1] == (1000, volume.hex())
    assert song.duration_seconds == pytest.approx(1.0)


@pytest.mark.parametrize(("frames", "rate"), [(24, 24.0), (25, 25.0), (29, 30_000 / 1001), (30, 30.0)])
def test_smpte_division_counts_frames_and_ignores_tempo(tmp_path, frames, rate):
    division = (256 - frames) << 8 | 40
    body = b"\x00" + tempo_message(30) + b"\x00\x90\x3c\x40" + b"\x81\x00\x80\x3c\x40" + END
    song = read(tmp_path, header(division=division) + chunk(body))
    assert song.seconds.tolist() == pytest.approx([0.0, 128 / (rate * 40)])


def test_running_status_outlives_metas_and_sysex(tmp_path):
    body = b"\x00\x90\x3c\x40" + b"\x00\xff\x01\x01x" + b"\x00\xf0\x02\x01\xf7" + b"\x60\x3c\x00" + END
    song = read(tmp_path, header() + chunk(body))
    assert played(song) == [(0.0, "903c40"), (0.5, "903c00")]
    assert song.sysex == ((0.0, 1, b"\xf0\x01\xf7"),)
    assert song.warnings == ()


def test_sysex_in_packets_is_joined(tmp_path):
    body = b"\x00\xf0\x02\x01\x02" + b"\x60\xf7\x02\x03\xf7" + NOTE + END
    assert read(tmp_path, header() + chunk(body)).sysex == ((0.0, 0, b"\xf0\x01\x02\x03\xf7"),)


ESCAPED = {
    "a clock": ("f8", ["f8"]),
    "start, stop": ("fa fc", ["fa", "fc"]),
    "system reset, not a tempo": ("ff 51 03", ["ff"]),
    "song position": ("f2 01 02", ["f20102"]),
    "a channel message": ("c0 05", ["c005"]),
    "a whole exclusive message": ("f0 01 02 f7", ["f00102f7"]),
    "half a message": ("b0 07", []),
    "nothing": ("", []),
}


@pytest.mark.parametrize("case", ESCAPED)
def test_an_escape_means_what_it_means_on_a_wire(tmp_path, case):
    sent, heard = ESCAPED[case]
    data = bytes.fromhex(sent)
    body = NOTE + b"\x00\xf7" + bytes([len(data)]) + data + END
    messages = [message for _, message in everything(read(tmp_path, header() + chunk(body)))]
    assert messages == ["903c40", "803c40", *heard]


def test_a_clock_inside_a_split_exclusive_message_comes_out_at_its_own_time(tmp_path):
    body = b"\x00\xf0\x01\x01" + b"\x60\xf7\x01\xf8" + b"\x60\xf7\x01\xf7" + NOTE + END
    assert everything(read(tmp_path, header() + chunk(body)))[:2] == [(0, "f001f7"), (500, "f8")]


def test_system_messages_keep_their_place_between_those_of_other_tracks(tmp_path):
    path = tmp_path / "song.mid"
    first = [(0, b"\x90\x3c\x40"), (480, b"\xf8"), (480, b"\xf0\x01\xf7"), (480, b"\xfa"), (480, b"\x80\x3c\x40")]
    second = [(0, b"\xfe"), (480, b"\xb0\x07\x01"), (480, b"\xfc"), (480, b"\xb0\x07\x02"), (960, b"\xff")]
    write_midi_file(path, [first, second])
    told = "903c40 fe f8 f001f7 fa 803c40 b00701 fc b00702 ff".split()
    assert [message for _, message in everything(read_midi_file(path))] == told


def test_rmid_wrapper_is_opened(tmp_path):
    inside = header() + chunk(NOTE + END)
    song = read(
        tmp_path,
        b"RIFF" + (len(inside) + 12).to_bytes(4, "little") + b"RMIDdata" + len(inside).to_bytes(4, "little") + inside,
    )
    assert played(song) == NOTE_PLAYED
    assert song.warnings == ()


def test_type_2_plays_its_tracks_one_after_another_each_from_its_own_tempo(tmp_path):
    first = b"\x00" + tempo_message(60) + NOTE + b"\x60\xff\x2f\x00"
    song = read(tmp_path, header(2, kind=2) + chunk(first) + chunk(NOTE + END))
    assert played(song) == [(0.0, "903c40"), (1.0, "803c40"), (2.0, "903c40"), (2.5, "803c40")]
    assert "one after another" in song.warnings[0]


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    volumes = b"\x60\xb0\x07\x00" + b"".join(bytes([0, 0x07, value]) for value in range(1, 128))
    later = b"\x60\x90\x3c\x40\x00\x80\x3c\x40" + END  # so that the tracks overlap in time
    song = read(tmp_path, header(2) + chunk(volumes + later) + chunk(volumes.replace(b"\xb0", b"\xb1") + END))
    expected = [f"b{channel}07{value:02x}" for channel in (0, 1) for value in range(128)]
    assert [m for _, m in played(song)] == [*expected, "903c40", "803c40"]
    assert song.track.tolist() == [0] * 128 + [1] * 128 + [0] * 2


def test_foreign_chunks_are_skipped_in_silence(tmp_path):
    foreign = chunk(b"anything", name=b"XFIH")
    song = read(tmp_path, header() + foreign + chunk(NOTE + END) + foreign + foreign)
    assert played(song) == NOTE_PLAYED
    assert song.warnings == ()


def test_title_is_the_first_tracks_name_on_one_line(tmp_path):
    body = b"\x00\xff\x03\x08Pr\xe9lude\n" + NOTE + END
    assert read(tmp_path, header() + chunk(body)).title == "Prélude"
    body = b"\x00\xff\x03\x06a\x1b[31m" + NOTE + END
    assert read(tmp_path, header() + chunk(body)).title == "a\\x1b[31m"


# Repairs: (bytes, what is played, a word of each warning)

TWO_TRACKS = chunk(NOTE + END) + chunk(NOTE.replace(b"\x3c", b"\x40") + END)
TWO_PLAYED = [(0.0, "903c40"), (0.0, "904040"), (0.5, "803c40"), (0.5, "804040")]
# Written so that the bytes at a wrong end look like a chunk's name: they are all printable characters.
PRINTABLE = b"\x00\x90" + b"\x3c\x40\x30" * 9 + b"\x3c\x00" + END

REPAIRS = {
    "header length 7": (chunk(header()[8:] + b"\x00", name=b"MThd") + chunk(NOTE + END), NOTE_PLAYED, ["header length is 7"]),
    "header length 0": (header()[:4] + b"\0\0\0\0" + header()[8:] + chunk(NOTE + END), NOTE_PLAYED, ["header length is 0"]),
    "header length huge": (
        header()[:4] + b"\xff\xff\xff\xff" + header()[8:] + chunk(NOTE + END), NOTE_PLAYED, ["header length is 4294967295"],
    ),
    "more tracks promised": (header(9) + TWO_TRACKS, TWO_PLAYED, ["promises 9 tracks, it has 2"]),
    "fewer tracks promised": (header(1) + TWO_TRACKS, TWO_PLAYED, ["promises 1 tracks, it has 2"]),
    "type 0 with two tracks": (header(2, kind=0) + TWO_TRACKS, TWO_PLAYED, ["type 0 with 2 tracks"]),
    "unknown type": (header(2, kind=7) + TWO_TRACKS, TWO_PLAYED, ["type 7 is unknown"]),
    "bytes before the header": (b"\0" * 128 + header() + chunk(NOTE + END), NOTE_PLAYED, ["before its header"]),
    "bytes between tracks": (header(2) + chunk(NOTE + END) + b"\0\1" + TWO_TRACKS[len(TWO_TRACKS) // 2 :], TWO_PLAYED, ["outside"]),
    "bytes after the last track": (header() + chunk(NOTE + END) + b"\0" * 50, NOTE_PLAYED, ["outside"]),
    "track length too small": (header(2) + chunk(NOTE + END, 5) + TWO_TRACKS[len(TWO_TRACKS) // 2 :], TWO_PLAYED, ["length is wrong: 5 bytes promised, 12 found"]),
    "track length zero, last track": (header() + chunk(NOTE + END, 0), NOTE_PLAYED, ["length is wrong"]),
    "track length one too big": (header(2) + chunk(NOTE + END, 13) + TWO_TRACKS[len(TWO_TRACKS) // 2 :], TWO_PLAYED, ["length is wrong"]),
    "track length over all": (header(2) + chunk(NOTE + END, 32) + TWO_TRACKS[len(TWO_TRACKS) // 2 :], TWO_PLAYED, ["length is wrong"]),
    "track length 0xFFFFFFFF": (header(2) + chunk(NOTE + END, 0xFFFFFFFF) + TWO_TRACKS[len(TWO_TRACKS) // 2 :], TWO_PLAYED, ["length is wrong"]),
    "no end-of-track": (header(2) + chunk(NOTE) + TWO_TRACKS[len(TWO_TRACKS) // 2 :], TWO_PLAYED, ["no end-of-track"]),
    "no end-of-track and a wrong length": (header() + chunk(NOTE, 99), NOTE_PLAYED, ["no end-of-track", "length is wrong"]),
    "cut inside an event": (header() + chunk(NOTE + b"\x00\x90\x3c", 99), NOTE_PLAYED, ["is cut", "length is wrong"]),
    "cut inside a meta": (header() + chunk(NOTE + b"\x00\xff\x01\x7fab", 99), NOTE_PLAYED, ["is cut", "length is wrong"]),
    "running status first": (header() + chunk(b"\x00\x3c\x40" + NOTE[1:] + END), NOTE_PLAYED, ["without a status"]),
    "tempo of 0": (header() + chunk(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE + END), NOTE_PLAYED, ["tempo of 0"]),
    "tempo of 2 bytes": (header() + chunk(b"\x00\xff\x51\x02\x01\x00" + NOTE + END), NOTE_PLAYED, ["tempo of 2 bytes"]),
    "tempo of 4 bytes": (header() + chunk(b"\x00\xff\x51\x04\x07\xa1\x20\x00" + NOTE + END), NOTE_PLAYED, ["tempo of 4 or more"]),
    "end-of-track with data": (header() + chunk(NOTE + b"\x00\xff\x2f\x02ab"), NOTE_PLAYED, []),
    "key signature of no bytes": (header() + chunk(b"\x00\xff\x59\x00" + NOTE + END), NOTE_PLAYED, []),
    "sysex without its end": (header() + chunk(b"\x00\xf0\x02\x01\x02" + NOTE + END), NOTE_PLAYED, ["without its end"]),
    "sysex beyond the track": (header() + chunk(NOTE + b"\x00\xf0\x7f\x01\x02"), NOTE_PLAYED, ["is cut"]),
    "endless number": (header() + chunk(NOTE + b"\xff" * 1000), NOTE_PLAYED, ["unreadable"]),
    "endless number, second track whole": (header(2) + chunk(b"\xff" * 99) + chunk(NOTE + END), NOTE_PLAYED, ["unreadable"]),
    "clock inside a note-on": (header() + chunk(b"\x00\x90\xf8\x3c\xfe\x40" + NOTE[4:] + END), NOTE_PLAYED, ["real-time bytes"]),
    "clock between events": (header() + chunk(b"\x00\xf8\x00\xfe" + NOTE + END), NOTE_PLAYED, []),
    "song position and song select": (header() + chunk(b"\x00\xf2\x01\x02\x00\xf3\x01\x00\xf6" + NOTE + END), NOTE_PLAYED, []),
    "a note-on broken off": (header() + chunk(b"\x00\x91\x3c" + NOTE[1:] + END), NOTE_PLAYED, ["broken off"]),
    "notes never released": (header() + chunk(b"\x00\x90\x3c\x40" + b"\x81\x40\xff\x2f\x00"), [(0.0, "903c40"), (1.0, "803c40")], ["never released"]),
    "one note-on and nothing else": (header() + chunk(b"\x00\x95\x3c\x40" + END), [(0.0, "953c40"), (1.0, "853c40")], ["never released"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REPAIRS)
def test_damage_is_repaired_with_a_warning(tmp_path, case):
    data, expected, words = REPAIRS[case]
    song = read(tmp_path, data)
    assert played(song) == expected
    assert len(song.warnings) == len(words), song.warnings
    assert all(word in warning for word, warning in zip(words, song.warnings, strict=True)), song.warnings


@pytest.mark.parametrize("length", [1, 4, 7, 12, 22])
def test_a_short_length_is_seen_even_where_music_looks_like_a_chunk_name(tmp_path, length):
    song = read(tmp_path, header() + chunk(PRINTABLE, length))
    assert song.n_notes == 9


def test_a_held_note_is_not_released_again_after_all_notes_off(tmp_path):
    song = read(tmp_path, header() + chunk(b"\x00\x90\x3c\x40" + b"\x60\xb0\x7b\x00" + END))
    assert played(song) == [(0.0, "903c40"), (0.5, "b07b00")]
    assert song.warnings == ()


@pytest.mark.parametrize("pedal", [64, 66, 69])
def test_a_pedal_that_is_never_lifted_goes_up_with_the_song(tmp_path, pedal):
    down, after_the_end = bytes([0, 0xB0, pedal, 127]), b"\x60\xff\x2f\x00"
    song = read(tmp_path, header() + chunk(down + NOTE + after_the_end))
    assert played(song)[-1] == (1.0, f"b0{pedal:02x}00")
    assert song.warnings == ("1 pedals are never lifted; they go up with the song",)
    lifted, reset, other_channel = bytes([0, 0xB0, pedal, 63]), b"\x00\xb0\x79\x00", bytes([0, 0xB3, pedal, 127])
    for body in (down + NOTE + lifted, down + NOTE + reset, other_channel + NOTE):
        assert read(tmp_path, header() + chunk(body + END)).warnings == ()


def test_a_delta_of_78_hours_does_not_make_a_song_of_78_hours(tmp_path):
    body = NOTE + (b"\xff\xff\xff\x7f" + b"\x90\x3c\x40\x00\x80\x3c\x40") + END
    song = read(tmp_path, header(division=480) + chunk(body))
    assert (1 << 28) / 480 * SECONDS_PER_QUARTER > 77 * 3600
    assert [m for _, m in played(song)] == ["903c40", "803c40"]
    assert song.duration_seconds < 1.0
    assert "after 6 hours was left out" in song.warnings[0]


# Refusals

REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"this is a text, not music\n" * 10, "no MIDI file"),
    "random": (np.random.default_rng(3).bytes(5000), "no MIDI file"),
    "header alone": (header(), "no notes"),
    "half a header": (header()[:10], "no MIDI file"),
    "division 0": (header(division=0) + chunk(NOTE + END), "division is 0"),
    "SMPTE of 0 ticks": (header(division=0xE700) + chunk(NOTE + END), "division 0xe700"),
    "SMPTE of 99 frames": (header(division=0x9D28) + chunk(NOTE + END), "division 0x9d28"),
    "controllers but no notes": (header() + chunk(b"\x00\xb0\x07\x10" + b"\x00\x90\x3c\x00" + END), "no notes"),
    "all notes after 78 hours": (header() + chunk(b"\xff\xff\xff\x7f" + NOTE[1:] + END), "no notes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unusable_files_are_refused_in_one_line_that_names_them(tmp_path, case):
    data, words = REFUSED[case]
    with pytest.raises(MidiFileError) as caught:
        read(tmp_path, data)
    assert str(tmp_path / "song.mid") in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.mid")
    started = time.monotonic()
    for path, words in (
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe.mid", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / "absent.mid", "No such file"),
        (tmp_path / "nul\0.mid", "cannot be opened"),
        (tmp_path / ("x" * 5000), "cannot be opened"),
    ):
        with pytest.raises(MidiFileError, match=words):
            read_midi_file(path)
    assert time.monotonic() - started < 2.0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(header() + chunk(NOTE + END))
    path.chmod(0)
    with pytest.raises(MidiFileError, match="ermission"):
        read_midi_file(path)


def test_a_file_over_the_size_limit_is_refused(tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(header() + chunk(NOTE + END))
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(MidiFileError, match="larger than 64 MB"):
        read_midi_file(path)


# Any byte stream


def check_any(tmp_path, data: bytes) -> None:
    """Only our own error; and a song that comes out is one that can be played."""
    try:
        song = read(tmp_path, data)
    except MidiFileError:
        return
    assert np.all(np.diff(song.seconds) >= 0) and song.seconds[0] >= 0
    assert song.seconds[-1] <= song.duration_seconds <= MAX_SONG_SECONDS + 1.0
    assert len(song.packed) == len(song.seconds) == len(song.track)
    events = list(song.events(48_000))
    assert all(first.sample <= second.sample for first, second in zip(events, events[1:], strict=False))
    for event in events:
        status, *values = event.message
        if status >= 0xF0:
            is_tempo = event.message[:3] == b"\xff\x51\x03" and len(values) == 5
            assert values[-1] == 0xF7 if status == 0xF0 else is_tempo or is_message(event.message)
            continue
        assert len(values) == (1 if 0xC0 <= status < 0xE0 else 2) and max(values) < 0x80
    assert song.n_notes > 0 and song.channels_used()
    assert all(len(warning) <= 300 and warning.isprintable() for warning in song.warnings)
    assert len(song.warnings) < 30


@PER_EXAMPLE_FOLDER
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", header(), header() + b"MTrk\0\0\1\0", header() + b"MTrk\0\0\1\0" + NOTE]),
)
def test_random_bytes_never_raise_another_error(tmp_path, data, start):
    check_any(tmp_path, start + data)


VALID = header(3, division=480) + b"".join(
    [
        chunk(b"\x00" + name_message("song") + b"\x00" + tempo_message(90) + b"\x83\x60" + tempo_message(140) + END),
        chunk(NOTE * 3 + b"\x00\xb0\x40\x7f\x10\x40\x00\x00\xe0\x00\x50" + NOTE + END),
        chunk(b"\x00\xc1\x05\x00\xf0\x03\x01\x02\xf7\x00\x91\x30\x30\x60\x30\x00" + END),
    ]
)
mutations = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat"]),
        st.integers(0, len(VALID) - 1),
        st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


@PER_EXAMPLE_FOLDER
@given(mutations)
def test_mutated_files_never_raise_another_error(tmp_path, changes):
    data = bytearray(VALID)
    for kind, at, new in changes:
        if kind == "set":
            data[at : at + len(new)] = new
        elif kind == "insert":
            data[at:at] = new
        elif kind == "delete":
            del data[at : at + len(new)]
        else:
            data[at:at] = data[at : at + 40]
    check_any(tmp_path, bytes(data))


@pytest.mark.parametrize("cut", range(0, len(VALID), 3))
def test_a_file_cut_anywhere_plays_what_is_whole(tmp_path, cut):
    whole = {message for _, message in played(read(tmp_path, VALID))}
    try:
        song = read(tmp_path, VALID[:cut])
    except MidiFileError:
        return  # cut before its first note
    kept = [m for _, m in played(song)]
    released_at_the_end = sum("never released" in warning for warning in song.warnings)
    assert set(kept[: len(kept) - released_at_the_end]) <= whole
    assert song.warnings


DENSE = {
    "note-ons in running status": b"\x00\x90\x3c\x40" + b"\x00\x3d\x41" * 350_000,
    "channel pressures": b"\x00\xd0\x40" + b"\x00\x41" * 520_000,
    "unsorted over tracks": None,
    "empty metas": b"\x00\xff\x01\x00" * 260_000,
    "tempo changes": (b"\x01" + tempo_message(100)) * 150_000,
    "tiny sysex": b"\x00\xf0\x01\xf7" * 260_000,
    "open sysex": b"\x00\xf0\x01\x01" * 260_000,
    "sysex in packets": b"\x00\xf0\x00" + b"\x00\xf7\x01\x01" * 260_000,
    "clocks": b"\x00\xf8" * 520_000,
    "clocks inside a message": b"\x00\x90" + b"\xf8" * 1_000_000,
    "broken messages": b"\x00\x90" + b"\x90" * 1_000_000,
    "data without status": b"\x00" * 1_000_000,
    "endless number": b"\xff" * 1_000_000,
    "escapes": b"\x00\xf7\x00" * 350_000,
    "clocks in escapes": b"\x00\xf7\x01\xf8" * 260_000,
    "many clocks in each escape": (b"\x00\xf7\x81\x00" + b"\xf8" * 128) * 7_500,
}


def dense_file(case: str, share: float = 1.0) -> bytes:
    """A `share` of about a megabyte of one kind of event, and a note."""
    if case == "unsorted over tracks":
        body = NOTE + b"\x01\x3d\x41" * int(30_000 * share)
        return header(12) + chunk(body + END) * 12
    body = DENSE[case][: int(len(DENSE[case]) * share)]
    return header(2) + chunk(NOTE + END) + chunk(body + END)


@pytest.mark.parametrize("case", DENSE)
def test_dense_files_cost_a_second_per_megabyte_at_most(tmp_path, case):
    data = dense_file(case)
    with at_most(len(data) / 1e6):
        check = read(tmp_path, data)
    assert check.n_notes >= 1


@pytest.mark.parametrize(
    "case",
    [
        "note-ons in running status",
        "channel pressures",
        "unsorted over tracks",
        "tempo changes",
        "tiny sysex",
        "clocks in escapes",
    ],
)
def test_dense_files_need_at_most_40_times_their_size(tmp_path, case):
    data = dense_file(case, share=0.1)
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        read_midi_file(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 40 * len(data), f"{peak / len(data):.1f} times"


def test_many_empty_tracks_are_read_once_each(tmp_path):
    nested = b"".join(chunk(END, 12 * (80_000 - i) + 4 - 8) for i in range(80_000))  # each claims all that follow
    with at_most(2.0):
        song = read(tmp_path, header(65535) + chunk(NOTE + END) + nested)
    assert song.n_tracks == 65535


def test_a_million_simultaneous_notes_are_read(tmp_path):
    song = read(tmp_path, header() + chunk(b"\x00\x90\x3c\x40" + b"\x00\x3c\x40" * 999_999 + END))
    assert song.n_notes == 1_000_000
    assert song.seconds[999_999] == 0.0
    assert len(song.packed) == 1_000_001  # one key, so one release


# Writing


def test_a_wrong_message_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "song.mid"
    for message in (
        b"",
        b"\x90\x3c",
        b"\x90\x3c\x80",
        b"\x3c\x40",
        b"\xf0\x01",
        b"\xf0\x81\xf7",
        b"\xf4",
        b"\xf8\xf8",
        b"\xff\x51",
        b"\xc0\x01\x02",
    ):
        with pytest.raises(UsageError, match="no whole MIDI message"):
            write_midi_file(path, [[(0, message)]])
    for tick in (-1, 1 << 28):
        with pytest.raises(UsageError, match="tick"):
            write_midi_file(path, [[(tick, b"\x90\x3c\x40")]])
    with pytest.raises(UsageError, match="0 tracks"):
        write_midi_file(path, [])
    with pytest.raises(UsageError, match="beats per minute"):
        tempo_message(0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OutputError, match="absent"):
        write_midi_file(tmp_path / "absent" / "song.mid", [[(0, b"\x90\x3c\x40")]])
