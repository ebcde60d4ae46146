"""Standard MIDI Files in and out: a reader that survives any byte stream, and a small writer.

The reader is our own because mido, the usual one, cannot be given a stranger's file: 0.8 MB of `FF` (one endless
variable-length number) keeps it busy for over a minute, a dense megabyte takes hundreds, malformed metas leak
`IndexError` and `KeyError`, division 0 a `ZeroDivisionError`, and a clock byte inside a note-on loses the note. On
good files both read the same (the tests compare them). Here a song is a few numpy columns; `midi_tracks` reads the
bytes, this module makes ticks into seconds and keeps the limits.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuralsynth.errors import MidiFileError, UsageError
from neuralsynth.events import TEMPO, Event, sample_at
from neuralsynth.hosts.midi_ends import held_rows, is_note_on, pedal_rows
from neuralsynth.hosts.midi_tracks import (
    DEFAULT_TEMPO,
    ESCAPE,
    LENGTH_OF_STATUS,
    MAX_TRACKS,
    META,
    SYSEX,
    SYSTEM_DATA_LENGTH,
    TrackReader,
    Unusable,
)
from neuralsynth.midi.stream import is_message
from neuralsynth.regular_file import read_regular_file
from neuralsynth.storage import whole_file

MAX_FILE_BYTES = 64 << 20
MAX_SONG_SECONDS = 6 * 3600.0  # what lies later is left out, so that no delta time makes a renderer fill a disk
HELD_AT_LEAST_SECONDS = 1.0  # a note that is never released sounds this long, even if it is the last event
EVENTS_AT_ONCE = 4096
MAX_DELTA = (1 << 28) - 1  # ticks between two events


class SystemColumns(NamedTuple):
    """Clock, start, stop and the like, which a file holds in escapes: one row per message, in time order."""

    seconds: np.ndarray  # float64 [k]
    rows: np.ndarray  # int64 [k], before which channel message it stands
    turns: np.ndarray  # int64 [k], how many system exclusive messages stand before it
    packed: np.ndarray  # uint32 [k], as in `Song`

    def messages(self) -> Iterator[tuple[float, int, int, bytes]]:
        """Seconds, row, place among the system exclusive messages (even numbers; theirs are odd), message."""
        for start in range(0, len(self.seconds), EVENTS_AT_ONCE):
            columns = (column[start : start + EVENTS_AT_ONCE].tolist() for column in self)
            for seconds, row, turn, packed in zip(*columns, strict=True):
                length = 1 + SYSTEM_DATA_LENGTH.get(packed & 0xFF, 0)
                yield seconds, row, 2 * turn, packed.to_bytes(3, "little")[:length]


@dataclass(frozen=True, eq=False)
class Song:
    """A MIDI file as columns, one row per channel message, in time order; equal times keep the file's order."""

    seconds: np.ndarray  # float64 [n], from 0, never decreasing
    packed: np.ndarray  # uint32 [n], status | data1 << 8 | data2 << 16
    track: np.ndarray  # uint16 [n]
    sysex: tuple[tuple[float, int, bytes], ...]  # (seconds, row before which it stands, F0 … F7), in time order
    system: SystemColumns
    tempo_seconds: np.ndarray  # float64 [m], from 0, rising
    tempos: np.ndarray  # uint32 [m], microseconds per quarter note from then on; until the first 500000
    duration_seconds: float  # last event or end of track, whichever is later
    format: int
    n_tracks: int
    title: str | None
    warnings: tuple[str, ...]  # what was repaired

    def events(self, sample_rate: float) -> Iterator[Event]:
        """Everything that an engine is to hear, as `Event`s with absolute sample positions, made as they are asked for.

        Channel and system messages come in the order of the file, tempo changes before what is at their time.
        """
        done = 0
        between = heapq.merge(self._tempo_changes(), self._exclusives(), self.system.messages(), key=lambda m: m[:3])
        for seconds, row, _, message in between:
            yield from self._channel_events(done, row, sample_rate)
            done = row
            yield Event(int(sample_at(seconds, sample_rate)), message)
        yield from self._channel_events(done, len(self.packed), sample_rate)

    def _channel_events(self, first: int, end: int, sample_rate: float) -> Iterator[Event]:
        for start in range(first, end, EVENTS_AT_ONCE):
            rows = slice(start, min(start + EVENTS_AT_ONCE, end))
            samples = sample_at(self.seconds[rows], sample_rate).tolist()
            for sample, packed in zip(samples, self.packed[rows].tolist(), strict=True):
                yield Event(sample, packed.to_bytes(3, "little")[: 1 + LENGTH_OF_STATUS[packed & 0xFF]])

    def _exclusives(self) -> Iterator[tuple[float, int, int, bytes]]:
        for place, (seconds, row, message) in enumerate(self.sysex):
            yield seconds, row, 2 * place + 1, message

    def _tempo_changes(self) -> Iterator[tuple[float, int, int, bytes]]:
        rows = np.searchsorted(self.seconds, self.tempo_seconds)
        for seconds, row, tempo in zip(self.tempo_seconds, rows, self.tempos, strict=True):
            yield float(seconds), int(row), -1, TEMPO + int(tempo).to_bytes(3, "big")

    def channels_used(self) -> tuple[int, ...]:
        """MIDI channels 0..15 that hold notes, ascending."""
        return tuple(np.unique(self.packed[is_note_on(self.packed)] & 0x0F).tolist())

    @property
    def n_notes(self) -> int:
        """How many notes are struck."""
        return int(np.count_nonzero(is_note_on(self.packed)))


def read_midi_file(path: Path | str) -> Song:
    """Read a Standard MIDI File of type 0, 1 or 2, bare or in an RMID wrapper; `Song.warnings` tells what was repaired.

    Raises:
        MidiFileError: no MIDI file, empty, unreadable, larger than 64 MB, without notes, or of division 0.
    """
    reader = TrackReader(read_regular_file(path, MAX_FILE_BYTES, MidiFileError))
    try:
        reader.read()
        return _song(reader)
    except Unusable as error:
        raise MidiFileError(f"{path}: {error}") from None


# From columns to a song


def _song(reader: TrackReader) -> Song:
    """Sort by time, apply the tempo map, keep the limits, release what is held."""
    tempo_ticks, tempos = _tempo_map(reader)
    clock = _clock(reader, tempo_ticks, tempos)
    ticks, packed, track, order = _sorted_columns(reader)
    seconds, end = clock(ticks), float(clock(np.array([reader.end_tick], np.uint64))[0])
    n_kept = int(np.searchsorted(seconds, MAX_SONG_SECONDS, side="right"))
    if n_kept < len(seconds) or end > MAX_SONG_SECONDS:
        reader.repairs.note(f"what lies after {MAX_SONG_SECONDS / 3600:.0f} hours was left out")
        seconds, packed, track, end = seconds[:n_kept], packed[:n_kept], track[:n_kept], 0.0
    if not np.any(is_note_on(packed)):
        raise Unusable("holds no notes")
    sysex, system = _placed_system(reader, clock, ticks[:n_kept], order[:n_kept])
    tempo_seconds = clock(tempo_ticks)
    n_tempos = int(np.searchsorted(tempo_seconds, MAX_SONG_SECONDS, side="right"))
    seconds, packed, track = _with_releases(reader, seconds, packed, track, max(end, float(seconds[-1])))
    return Song(
        seconds=seconds,
        packed=packed,
        track=track,
        sysex=sysex,
        system=system,
        tempo_seconds=tempo_seconds[:n_tempos],
        tempos=tempos[:n_tempos].astype(np.uint32),
        duration_seconds=max(end, float(seconds[-1])),
        format=reader.format,
        n_tracks=len(reader.first_row),
        title=reader.title,
        warnings=reader.repairs.lines(),
    )


def _sorted_columns(reader: TrackReader) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ticks, messages, track numbers and rows in the file, in time order; equal ticks stay track by track."""
    ticks, packed = np.asarray(reader.ticks, np.uint64), np.asarray(reader.packed, np.uint32)
    bounds = np.asarray([*reader.first_row, len(ticks)], np.int64)
    track = np.repeat(np.arange(len(bounds) - 1, dtype=np.uint16), bounds[1:] - bounds[:-1])
    order = np.argsort(ticks, kind="stable").astype(np.uint32)
    if np.any(ticks[1:] < ticks[:-1]):
        ticks, packed, track = ticks[order], packed[order], track[order]
    return ticks, packed, track, order


def _tempo_map(reader: TrackReader) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and tempos, in time order; of several at one tick the last counts."""
    ticks, tempos = np.asarray(reader.tempo_ticks, np.uint64), np.asarray(reader.tempos, np.float64)
    order = np.argsort(ticks, kind="stable")
    ticks, tempos = ticks[order], tempos[order]
    last = np.append(ticks[1:] != ticks[:-1], np.ones(min(len(ticks), 1), bool))
    return ticks[last], tempos[last]


def _clock(reader: TrackReader, tempo_ticks: np.ndarray, tempos: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from ticks (uint64 array) to seconds: the tempo map, or SMPTE time."""
    if not reader.in_quarters:
        return lambda ticks: ticks * reader.seconds_per_tick
    at = np.concatenate([np.zeros(1, np.uint64), tempo_ticks])
    rates = np.concatenate([[DEFAULT_TEMPO], tempos]) * reader.seconds_per_tick
    began = np.concatenate([[0.0], np.cumsum(np.diff(at) * rates[:-1])])

    def seconds_at(ticks: np.ndarray) -> np.ndarray:
        segment = np.searchsorted(at, ticks, side="right") - 1
        seconds = (ticks - at[segment]) * rates[segment]
        seconds += began[segment]
        return seconds

    return seconds_at


def _placed_system(
    reader: TrackReader, clock: Callable, ticks: np.ndarray, order: np.ndarray
) -> tuple[tuple[tuple[float, int, bytes], ...], SystemColumns]:
    """System messages in time order, as `Song` keeps them; `ticks` and `order` are those of the rows that are kept."""
    n_sysex = len(reader.sysex)
    at = np.array([*(tick for tick, _, _ in reader.sysex), *reader.system_ticks], np.uint64)
    rows = np.array([*(row for _, row, _ in reader.sysex), *reader.system_rows], np.int64)
    turns = np.concatenate([2 * np.arange(n_sysex) + 1, 2 * np.asarray(reader.system_turns, np.int64)])
    seconds, before = clock(at), _rows_before(at, rows, ticks, order)
    which = np.lexsort((turns, before, at))
    which = which[seconds[which] <= MAX_SONG_SECONDS]
    seconds, before, is_sysex = seconds[which], before[which], which < n_sysex
    sysex = tuple(
        (time, row, reader.sysex[index][2])
        for time, row, index in zip(*(c[is_sysex].tolist() for c in (seconds, before, which)), strict=True)
    )
    packed = np.asarray(reader.system_packed, np.uint32)[which[~is_sysex] - n_sysex]
    return sysex, SystemColumns(seconds[~is_sysex], before[~is_sysex], np.cumsum(is_sysex)[~is_sysex], packed)


def _rows_before(at: np.ndarray, rows: np.ndarray, ticks: np.ndarray, order: np.ndarray) -> np.ndarray:
    """How many of the sorted rows come before what stood at tick `at`, before row `rows` of the file."""
    first, end = np.searchsorted(ticks, at), np.searchsorted(ticks, at, side="right")
    if np.all(order[1:] > order[:-1]):
        return np.clip(rows, first, end)
    ties = zip(first.tolist(), end.tolist(), rows.tolist(), strict=True)
    return np.array([low + int(np.searchsorted(order[low:high], row)) for low, high, row in ties], np.int64)


def _with_releases(reader: TrackReader, seconds: np.ndarray, packed: np.ndarray, track: np.ndarray, end: float):
    """At the end of the song let go each key whose last event is a note-on, and each pedal that is down."""
    held, down = held_rows(packed), pedal_rows(packed)
    if len(held):
        reader.repairs.note(f"notes of {len(held)} keys are never released; they end with the song")
        end = max(end, float(seconds[held].max()) + HELD_AT_LEAST_SECONDS)
    if len(down):
        reader.repairs.note(f"{len(down)} pedals are never lifted; they go up with the song")
    offs = (packed[held] & 0x7F0F) | 0x80 | 64 << 16  # same channel and key, the usual release velocity
    rows = np.concatenate([held, down])
    return (
        np.concatenate([seconds, np.full(len(rows), end)]),
        np.concatenate([packed, offs.astype(np.uint32), packed[down] & 0x7FFF]),
        np.concatenate([track, track[rows]]),
    )


# Writing


def tempo_message(beats_per_minute: float) -> bytes:
    """The meta event that sets the tempo, for `write_midi_file`."""
    if not 3.6 <= beats_per_minute <= 1000.0:
        raise UsageError(f"tempo is {beats_per_minute} beats per minute; use 3.6 to 1000")
    return b"\xff\x51\x03" + round(60e6 / beats_per_minute).to_bytes(3, "big")


def name_message(text: str) -> bytes:
    """The meta event that names a track, for `write_midi_file`; in the first track it is the song's title."""
    raw = text.encode()
    return b"\xff\x03" + _variable_length(len(raw)) + raw


def write_midi_file(
    path: Path | str, tracks: Sequence[Iterable[tuple[int, bytes]]], ticks_per_quarter: int = 480
) -> None:
    """Write tracks of `(absolute tick, message)` pairs: type 0 if there is one track, else type 1.

    A message is a channel message, a system message as a wire carries it (exclusive `F0 … F7`; others are written as
    escapes), or a meta event with its length (`tempo_message`, `name_message`). Ticks may come in any order; equal
    ticks keep theirs. The end of track is added.

    Raises:
        UsageError: no track, a negative or huge tick, or a message of the wrong form.
        OutputError: the file cannot be written.
    """
    data = midi_bytes(tracks, ticks_per_quarter, str(path))
    with whole_file(path) as part:
        part.write_bytes(data)


def midi_bytes(tracks: Sequence[Iterable[tuple[int, bytes]]], ticks_per_quarter: int, name: str) -> bytes:
    """The bytes of such a file; `name` is what errors call it.

    Raises:
        UsageError: as for `write_midi_file`.
    """
    if not 1 <= len(tracks) <= MAX_TRACKS or not 1 <= ticks_per_quarter < 1 << 15:
        raise UsageError(f"{name}: {len(tracks)} tracks, {ticks_per_quarter} ticks; use 1 to 65535 and 1 to 32767")
    header = b"".join(number.to_bytes(2, "big") for number in (int(len(tracks) > 1), len(tracks), ticks_per_quarter))
    chunks = [b"MThd" + len(header).to_bytes(4, "big") + header]
    for track in tracks:
        body = _track_bytes(name, track)
        chunks.append(b"MTrk" + len(body).to_bytes(4, "big") + body)
    return b"".join(chunks)


def _track_bytes(name: str, track: Iterable[tuple[int, bytes]]) -> bytes:
    body, now = bytearray(), 0
    for tick, message in sorted(track, key=lambda item: item[0]):
        if not 0 <= tick - now <= MAX_DELTA:
            raise UsageError(f"{name}: an event at tick {tick} after tick {now}; use steps of 0 to {MAX_DELTA}")
        body += _variable_length(tick - now) + _event_bytes(name, message)
        now = tick
    return bytes(body + b"\x00\xff\x2f\x00")


def _event_bytes(name: str, message: bytes) -> bytes:
    status = message[0] if message else 0
    if status == META and len(message) >= 3:
        return message
    if not is_message(message):
        raise UsageError(f"{name}: {message[:20].hex(' ')!r} is no whole MIDI message")
    if status < SYSEX:
        return message
    if status == SYSEX:
        return message[:1] + _variable_length(len(message) - 1) + message[1:]
    return bytes([ESCAPE]) + _variable_length(len(message)) + message


def _variable_length(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
