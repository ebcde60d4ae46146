"""What was played, as a MIDI file: every message at its very sample."""

from __future__ import annotations

import io

import mido
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralsynth.errors import UsageError
from neuralsynth.events import TEMPO, Event
from neuralsynth.hosts.midi_file import MAX_DELTA, read_midi_file
from neuralsynth.hosts.midi_write import midi_file_bytes, sample_clock
from tests.test_midi_stream import CHANNEL, COMMON, REAL_TIME, SYSEX

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
NOTE = [Event(0, b"\x90\x3c\x40"), Event(100, b"\x80\x3c\x40")]
MESSAGE = st.one_of(CHANNEL, CHANNEL, SYSEX, COMMON, REAL_TIME)
TAKES = st.lists(
    st.tuples(st.integers(0, 5) | st.integers(0, 10_000_000), MESSAGE).map(lambda e: Event(*e)), max_size=40
)


def read_back(tmp_path, data: bytes, sample_rate: int) -> list[tuple[int, str]]:
    path = tmp_path / "take.mid"
    path.write_bytes(data)
    first, *events = read_midi_file(path).events(sample_rate)
    assert first.sample == 0 and first.message[:3] == TEMPO
    return [(event.sample, event.message.hex()) for event in events]


@pytest.mark.parametrize("rate", RATES)
def test_a_tick_is_exactly_a_sample(rate):
    division, tempo = sample_clock(rate)
    assert tempo * rate == division * 1_000_000
    assert 1 <= division <= 32767
    assert 500_000 % tempo == 0 or rate == 11_025  # 120 beats per minute or a multiple


def test_every_rate_is_exact_or_refused():
    n_exact = 0
    for rate in range(8_000, 192_001):
        try:
            division, tempo = sample_clock(rate)
        except UsageError:
            assert rate % 100  # all multiples of 100 work
            continue
        assert tempo * rate == division * 1_000_000 and 1 <= division <= 32767 and 1 <= tempo < 1 << 24
        n_exact += 1
    assert n_exact > 30_000


@pytest.mark.parametrize("rate", [0, -48_000, 7_999, 192_001, 44_100.5, 48_001, 100_003])
def test_a_rate_that_cannot_be_exact_is_refused(rate):
    with pytest.raises(UsageError, match=r"sample rate is .*; a MIDI file"):
        midi_file_bytes(NOTE, rate)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TAKES, st.sampled_from(RATES))
def test_our_reader_gives_the_same_messages_at_the_same_samples(tmp_path, take, rate):
    events = [*NOTE, *take]
    expected = [(e.sample, e.message.hex()) for e in sorted(events, key=lambda event: event.sample)]
    found = read_back(tmp_path, midi_file_bytes(events, rate), rate)
    assert found[: len(expected)] == expected
    end = expected[-1][0]  # what is held is let go at the end or a second later, as in every file
    assert all(end <= sample <= end + rate and int(m[:2], 16) < 0xC0 for sample, m in found[len(expected) :])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 34), CHANNEL), max_size=20), st.sampled_from(RATES))
def test_mido_reads_the_same_channel_messages(take, rate):
    expected = [(sample, bytes(m).hex()) for sample, m in sorted(take, key=lambda event: event[0])]
    file = mido.MidiFile(file=io.BytesIO(midi_file_bytes([Event(*event) for event in take], rate)))
    assert file.type == 0 and file.ticks_per_beat == sample_clock(rate)[0]
    now, found = 0, []
    for message in file.tracks[0]:
        now += message.time
        if not message.is_meta:
            found.append((now, bytes(message.bytes()).hex()))
    assert found == expected


def test_gaps_longer_than_a_delta_are_bridged(tmp_path):
    late = 3 * MAX_DELTA + 17  # nearly five hours at 48 kHz
    events = [*NOTE, Event(late, b"\x90\x40\x40"), Event(late + 1, b"\x80\x40\x40")]
    assert read_back(tmp_path, midi_file_bytes(events, 48_000), 48_000)[2:] == [(late, "904040"), (late + 1, "804040")]


def test_the_file_lasts_as_long_as_the_take(tmp_path):
    path = tmp_path / "take.mid"
    path.write_bytes(midi_file_bytes(NOTE, 48_000, n_samples=96_000))
    assert read_midi_file(path).duration_seconds == 2.0
    path.write_bytes(midi_file_bytes(NOTE, 48_000, n_samples=50))
    assert read_midi_file(path).duration_seconds == pytest.approx(100 / 48_000)


def test_a_reset_stays_a_reset_and_tempo_changes_are_left_out(tmp_path):
    events = [*NOTE, Event(200, b"\xff"), Event(300, TEMPO + b"\x01\x02\x03"), Event(400, b"\xf8")]
    assert read_back(tmp_path, midi_file_bytes(events, 44_100), 44_100)[2:] == [(200, "ff"), (400, "f8")]


def test_wrong_events_are_refused():
    with pytest.raises(UsageError, match="no whole MIDI message"):
        midi_file_bytes([Event(0, b"\x90\x3c")], 48_000)
    with pytest.raises(UsageError, match="tick -1"):
        midi_file_bytes([Event(-1, b"\x90\x3c\x40")], 48_000)


def test_an_empty_take_is_a_file_without_events():
    file = mido.MidiFile(file=io.BytesIO(midi_file_bytes([], 48_000)))
    assert [message.type for message in file.tracks[0]] == ["set_tempo", "end_of_track"]
