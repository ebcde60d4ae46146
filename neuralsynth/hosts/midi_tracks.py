"""The bytes of a Standard MIDI File to columns of ticks and messages: the loop that survives any byte stream.

It keeps no object per event, never looks at a byte more than a few times, and repairs what it can, with one warning
per kind of damage. Format: "Standard MIDI Files 1.0" (RP-001) and the RMID wrapper (RP-029).
"""

from __future__ import annotations

from array import array

from neuralsynth.errors import one_line
from neuralsynth.events import DATA_LENGTH
from neuralsynth.midi.stream import MAX_SYSEX_BYTES as MAX_ESCAPE_BYTES
from neuralsynth.midi.stream import REAL_TIME, MessageStream

MAX_TRACKS = 65_535
MAX_SYSEX = 10_000
MAX_SYSEX_BYTES = 1 << 20
HEADER_SEARCH_BYTES = 4096  # an RMID wrapper or an old MacBinary header may stand before the MIDI header
DEFAULT_TEMPO = 500_000  # microseconds per quarter note: 120 beats per minute
SMPTE_FRAMES_PER_SECOND = {24: 24.0, 25: 25.0, 29: 30_000 / 1001, 30: 30.0}

META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7
META_NAME, META_END, META_TEMPO = 0x03, 0x2F, 0x51
SYSTEM_DATA_LENGTH = {0xF1: 1, 0xF2: 2, 0xF3: 1}
LENGTH_OF_STATUS = bytes(DATA_LENGTH.get(status & 0xF0, 0) for status in range(256))

ENDED, AT_LIMIT, BROKEN = "ended", "at its limit", "broken"  # how the events of a track stop


class Unusable(Exception):
    """Why a file cannot be played, without its name."""


class _Unreadable(Exception):
    """The rest of a track makes no sense."""


class Repairs:
    """Warnings: one per kind of damage, with the first place and a count, so that their number stays small."""

    def __init__(self) -> None:
        self._found: dict[str, list] = {}

    def note(self, what: str, track: int | None = None, detail: str = "") -> None:
        """Count one more of a kind; `detail` is kept of the first."""
        found = self._found.get(what)
        if found is None:
            found = self._found[what] = [0, track, detail]
        found[0] += 1

    def lines(self) -> tuple[str, ...]:
        """The warnings, each on one line."""
        return tuple(
            one_line(
                ("" if track is None else f"track {track + 1}: ") + what + detail + (f" ({n} times)" if n > 1 else "")
            )
            for what, (n, track, detail) in self._found.items()
        )


class TrackReader:
    """A file's tracks as columns: `read` fills them, in file order.

    `ticks` and `packed` hold the channel messages (status | data1 << 8 | data2 << 16), `first_row` the row at which
    each track begins, `tempo_ticks` and `tempos` the tempo map, `sysex` tick, row of the next channel message, and
    message. Other system messages, which only escapes (`F7`) can hold, have columns of their own: tick, row of the next
    channel message, number of `sysex` before, and the message, packed. A type 2 file's tracks follow one another in
    ticks.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.repairs = Repairs()
        self.format = self.n_promised = 0
        self.seconds_per_tick = 0.0  # if `in_quarters`, at a tempo of one microsecond per quarter note
        self.in_quarters = True
        self.ticks, self.packed = array("Q"), array("I")
        self.first_row = array("Q")
        self.tempo_ticks, self.tempos = array("Q"), array("I")
        self.sysex: list[tuple[int, int, bytes]] = []
        self.system_ticks, self.system_rows = array("Q"), array("Q")
        self.system_turns, self.system_packed = array("I"), array("I")
        self.end_tick = 0
        self.title: str | None = None
        self._track = 0
        self._open_sysex: tuple[int, int, bytearray] | None = None

    def read(self) -> None:
        """Read header and tracks.

        Raises:
            Unusable: there is no header, or its division says nothing about time.
        """
        data, size, position = self.data, len(self.data), self._read_header()
        while position + 8 <= size and len(self.first_row) < MAX_TRACKS:
            length = int.from_bytes(data[position + 4 : position + 8], "big")
            if data.startswith(b"MTrk", position):
                position = self._read_track(position + 8, length)
            elif self._is_boundary(position):
                position += 8 + length  # a chunk of another kind
            else:
                self.repairs.note("bytes outside its tracks were skipped")
                position = data.find(b"MTrk", position)
                if position < 0:
                    break
        n_tracks = len(self.first_row)
        if n_tracks != self.n_promised:
            self.repairs.note(f"its header promises {self.n_promised} tracks, it has {n_tracks}")
        if self.format == 0 and n_tracks > 1:
            self.repairs.note(f"type 0 with {n_tracks} tracks; they are played together")

    # Chunks

    def _read_header(self) -> int:
        """Read type and division; returns where the first chunk lies."""
        data, start = self.data, self.data.find(b"MThd", 0, HEADER_SEARCH_BYTES)
        if start < 0 or len(data) < start + 14:
            raise Unusable("is no MIDI file (no whole MThd header)")
        if start > 0 and not data.startswith(b"RIFF"):
            self.repairs.note("bytes before its header were skipped")
        length, self.format, self.n_promised, division = (
            int.from_bytes(data[start + low : start + high], "big")
            for low, high in ((4, 8), (8, 10), (10, 12), (12, 14))
        )
        if self.format > 2:
            self.repairs.note(f"its type {self.format} is unknown; read as type 1")
            self.format = 1
        if self.format == 2:
            self.repairs.note("type 2: its tracks are played one after another")
        self._read_division(division)
        if length == 6:
            return start + 14
        self.repairs.note(f"its header length is {length} instead of 6")
        return start + 8 + length if length > 6 and self._is_boundary(start + 8 + length) else start + 14

    def _read_division(self, division: int) -> None:
        if division & 0x8000:
            frames, per_frame = SMPTE_FRAMES_PER_SECOND.get(256 - (division >> 8)), division & 0xFF
            if frames is None or per_frame == 0:
                raise Unusable(
                    f"its SMPTE division {division:#06x} is unknown; use 24, 25, 29 or 30 frames, 1 to 255 ticks"
                )
            self.seconds_per_tick, self.in_quarters = 1.0 / (frames * per_frame), False
        elif division == 0:
            raise Unusable("its division is 0; use 1 to 32767 ticks per quarter note")
        else:
            self.seconds_per_tick = 1e-6 / division

    def _is_boundary(self, position: int) -> bool:
        """Whether a track, the end of the file, or other chunks that lead to one of them lie at `position`."""
        data = self.data
        for _ in range(16):
            if position == len(data) or data.startswith(b"MTrk", position):
                return True
            name = data[position : position + 4]
            if len(name) < 4 or not all(32 <= byte < 127 for byte in name):
                return False
            position += 8 + int.from_bytes(data[position + 4 : position + 8], "big")
        return False

    def _read_track(self, start: int, length: int) -> int:
        """Read the track whose events begin at `start`; returns where the next chunk is expected."""
        self._track = len(self.first_row)
        self.first_row.append(len(self.ticks))
        end = start + length
        fits = self._is_boundary(end)
        following = end if fits else self.data.find(b"MTrk", start)
        limit = following if following >= 0 else len(self.data)
        if self.format == 2 and self._track > 0:  # a pattern of its own, which starts at the usual tempo
            self.tempo_ticks.append(self.end_tick)
            self.tempos.append(DEFAULT_TEMPO)
        position, tick, how = self._read_events(start, limit, self.end_tick if self.format == 2 else 0)
        self._close_sysex()
        self.end_tick = max(self.end_tick, tick)
        if how == AT_LIMIT:
            self.repairs.note("has no end-of-track", self._track)
        if fits and not (how == ENDED and position < end and self.data.startswith(b"MTrk", position)):
            return end
        after = position if how == ENDED else limit
        if after != end:
            self.repairs.note("its length is wrong", self._track, f": {length} bytes promised, {after - start} found")
        return after

    # Events

    def _read_events(self, position: int, limit: int, tick: int) -> tuple[int, int, str]:
        """The loop over events, kept in one function for speed: where it stopped, at which tick, and how."""
        data, ticks, packed, lengths = self.data, self.ticks, self.packed, LENGTH_OF_STATUS
        running, resumed, start = 0, False, position
        try:
            while position < limit:
                start = position
                if resumed:  # a status byte stood where a data byte belongs: it starts an event at once
                    resumed = False
                elif data[position] < 0x80:
                    tick += data[position]
                    position += 1
                else:
                    delta, position = self._number(position)
                    tick += delta
                status = data[position]
                if status >= 0x80:
                    position += 1
                elif running:
                    status = running
                else:
                    position, resumed = self._skip_to_status(position, limit), True
                    continue
                if status >= 0xF0:
                    position, ended = self._read_system(status, position, limit, tick)
                    if ended:
                        return position, tick, ENDED
                    continue
                running = status
                two = lengths[status] == 2
                first = data[position]
                second = data[position + 1] if two else 0
                if (first | second) & 0x80:
                    message, position = self._patched(status, position)
                    if message is None:
                        resumed = True
                        continue
                else:
                    message = status | first << 8 | second << 16
                    position += 1 + two
                if position > limit:
                    break
                ticks.append(tick)
                packed.append(message)
        except (IndexError, _Unreadable):
            position = limit + 1
        if position > limit:
            self.repairs.note("is cut or unreadable", self._track, f" from byte {start} on; what came before is played")
            return limit, tick, BROKEN
        return position, tick, AT_LIMIT

    def _number(self, position: int) -> tuple[int, int]:
        """A variable-length number of at most four bytes, and the position after it."""
        value = 0
        for index in range(position, position + 4):
            byte = self.data[index]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, index + 1
        raise _Unreadable

    def _skip_to_status(self, position: int, limit: int) -> int:
        self.repairs.note("data bytes without a status were skipped", self._track)
        while position < limit and self.data[position] < 0x80:
            position += 1
        return position

    def _patched(self, status: int, position: int) -> tuple[int | None, int]:
        """A message with foreign bytes inside: real-time bytes are taken out, any other status breaks it off."""
        message, shift = status, 8
        while shift <= 8 * LENGTH_OF_STATUS[status]:
            byte = self.data[position]
            if byte < 0x80:
                message |= byte << shift
                shift += 8
            elif 0xF8 <= byte < META:
                self.repairs.note("real-time bytes inside a message were taken out", self._track)
            else:
                self.repairs.note("a message broken off by another was skipped", self._track)
                return None, position
            position += 1
        return message, position

    def _read_system(self, status: int, position: int, limit: int, tick: int) -> tuple[int, bool]:
        """A meta event or system message; returns the position after it, and whether it ends the track."""
        if status not in (META, SYSEX, ESCAPE):
            return position + SYSTEM_DATA_LENGTH.get(status, 0), False
        kind = self.data[position] if status == META else status
        length, position = self._number(position + (status == META))
        if status == META and kind == META_END:
            return min(position + length, limit), True
        end = position + length
        if end > limit:
            raise _Unreadable
        if status == ESCAPE and (self._open_sysex is None or self.data[position] >= REAL_TIME):
            self._add_escape(position, end, tick)
        elif status != META:
            self._add_sysex(status, position, end, tick)
        elif kind == META_TEMPO:
            self._add_tempo(self.data[position:end], tick)
        elif kind == META_NAME and self._track == 0 and self.title is None:
            self.title = _text(self.data[position : min(end, position + 400)])
        return end, False

    def _add_tempo(self, value: bytes, tick: int) -> None:
        tempo = int.from_bytes(value[:3], "big") if len(value) >= 3 else 0
        if len(value) != 3:
            self.repairs.note(
                f"a tempo of {min(len(value), 4)}{' or more' * (len(value) > 3)} bytes instead of 3", self._track
            )
        elif tempo == 0:
            self.repairs.note("a tempo of 0 was ignored", self._track)
        if tempo:
            self.tempo_ticks.append(tick)
            self.tempos.append(tempo)

    def _add_sysex(self, status: int, start: int, end: int, tick: int) -> None:
        """Collect an `F0` packet and its `F7` continuations."""
        if not self._has_room_for_sysex():
            return
        if status == SYSEX:
            self._close_sysex()
            self._open_sysex = (tick, len(self.ticks), bytearray(b"\xf0"))
        if self._open_sysex is None:
            return
        began, row, message = self._open_sysex
        if len(message) + end - start > MAX_SYSEX_BYTES:
            self.repairs.note("a system exclusive message over 1 MB was left out", self._track)
            self._open_sysex = None
            return
        message += self.data[start:end]
        if message.endswith(b"\xf7"):
            self._keep_sysex(began, row, message)

    def _has_room_for_sysex(self) -> bool:
        if len(self.sysex) < MAX_SYSEX:
            return True
        self.repairs.note(f"system exclusive messages beyond the first {MAX_SYSEX} were left out")
        return False

    def _add_escape(self, start: int, end: int, tick: int) -> None:
        """Read an `F7` packet that continues nothing: its bytes mean what they mean on a wire."""
        if end - start > MAX_ESCAPE_BYTES:
            self.repairs.note(f"an escape over {MAX_ESCAPE_BYTES >> 10} KB was left out", self._track)
            return
        for message in MessageStream().feed(self.data[start:end]):
            packed = int.from_bytes(message[:3], "little")
            if message[0] < SYSEX:
                self.ticks.append(tick)
                self.packed.append(packed)
            elif message[0] > SYSEX:
                self.system_ticks.append(tick)
                self.system_rows.append(len(self.ticks))
                self.system_turns.append(len(self.sysex))
                self.system_packed.append(packed)
            elif self._has_room_for_sysex():
                self._keep_sysex(tick, len(self.ticks), bytearray(message))

    def _close_sysex(self) -> None:
        if self._open_sysex is not None:
            self.repairs.note("a system exclusive message without its end was closed", self._track)
            self._keep_sysex(*self._open_sysex, b"\xf7")

    def _keep_sysex(self, tick: int, row: int, message: bytearray, end: bytes = b"") -> None:
        self.sysex.append((tick, row, bytes(message) + end))
        self._open_sysex = None


def _text(raw: bytes) -> str | None:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return one_line(text.strip("\0 \r\n\t"), 100) or None
