"""`Shared`: the memory that the processes of a live session have in common. Its size never changes.

Every ring has one writer and one reader. A writer moves `head` after the data, a reader moves `tail` after it has
copied; both are single aligned stores of eight bytes, so neither side ever waits.
"""

from __future__ import annotations

import contextlib
import ctypes
from multiprocessing import shared_memory

import numpy as np

from neuralsynth.events import CHANNEL_PRESSURE, CONTROL_CHANGE, PITCH_BEND, PROGRAM_CHANGE

MIDI_RING_BYTES = 1 << 18
LOAD_BINS = 201  # the last one is for all that took longer than twice their time
AUDIO_RING_FRAMES = 1 << 20  # 22 s at 48 kHz
_HEADER_BYTES = 16
_RECORD_BYTES = 16  # time and length before the data
_SKIP = -1

#: Records of the log that are no messages; their time is the frame of the audio ring.
TAKE_BEGINS, TAKE_ENDS = b"\x00", b""

UNSET = 255
#: Controllers that a restarted engine is not told again: pedals (a note could stick), and mode messages.
_FORGOTTEN = frozenset({64, 66, 67, 69, *range(120, 128)})
_BANK, _BANK_FINE, _DATA_ENTRY, _DATA_ENTRY_FINE, _RPN_LSB, _RPN_MSB = 0, 32, 6, 38, 100, 101
_LAST_OF_ALL = (_RPN_MSB, _RPN_LSB, _DATA_ENTRY, _DATA_ENTRY_FINE)  # in this order they say one thing
_NRPN = (98, 99)


class Meters(ctypes.Structure):
    """What the engine tells. Written by the engine alone."""

    _fields_ = (
        ("beats", ctypes.c_int64),  # of the engine's main thread: it is alive
        ("blocks", ctypes.c_int64),
        ("samples", ctypes.c_int64),  # engine time
        ("sample_rate", ctypes.c_int64),
        ("block_size", ctypes.c_int64),
        ("is_playing", ctypes.c_int64),  # a device asks for blocks
        ("xruns", ctypes.c_int64),  # told by the device
        ("late_blocks", ctypes.c_int64),  # that took longer than they last
        ("shed_voices", ctypes.c_int64),  # ended because of overload
        ("voices", ctypes.c_int64),
        ("events", ctypes.c_int64),
        ("late_events", ctypes.c_int64),  # that came after their time
        ("lost_events", ctypes.c_int64),  # that found no room
        ("ignored", ctypes.c_int64),
        ("faults", ctypes.c_int64),
        ("take", ctypes.c_int64),  # number of the take that is being recorded, 0 none
        ("lost_frames", ctypes.c_int64),  # of takes: the writer was too slow
        ("generation", ctypes.c_int64),  # of the presets that are played
        ("program", ctypes.c_int64),  # last program change, -1 none
        ("latency_samples", ctypes.c_int64),  # of the effects
        ("load", ctypes.c_double),  # share of the block's time, smoothed
        ("worst", ctypes.c_double),  # the largest share since somebody asked
        ("peak_left", ctypes.c_double),  # since somebody asked
        ("peak_right", ctypes.c_double),
        ("limited_seconds", ctypes.c_double),
        ("tempo_bpm", ctypes.c_double),
        ("loads", ctypes.c_int64 * LOAD_BINS),  # blocks by the share of their time, in hundredths
    )

    def load_quantile(self, share: float) -> float:
        """The share of its time that so many of the blocks kept to."""
        counts = np.cumsum(np.array(self.loads[:]))
        return float(np.searchsorted(counts, share * counts[-1]) + 1) / 100.0 if counts[-1] else 0.0


class Controls(ctypes.Structure):
    """What the engine is asked. Written by the session alone."""

    _fields_ = (
        ("take", ctypes.c_int64),  # number of the take to be recorded, 0 none
        ("worst_asked", ctypes.c_int64),  # counts how often `worst` and the peaks were read
    )


class Ring:
    """Records of a time and some bytes, in order."""

    def __init__(self, memory: memoryview) -> None:
        """Use `memory`, as large as `MIDI_RING_BYTES`."""
        self._at = memory[:_HEADER_BYTES].cast("q")  # bytes written, bytes read, since the beginning
        self._data = memory[_HEADER_BYTES:]
        self._size = len(self._data)
        self._words = self._data[: self._size // 8 * 8].cast("q")

    def put(self, time: int, data: bytes) -> bool:
        """Append a record; False if there is no room. For the one writer."""
        head, needed = self._at[0], _RECORD_BYTES + (len(data) + 7) // 8 * 8
        room = self._size - (head - self._at[1])
        start = head % self._size
        if start + needed > self._size:
            skipped = self._size - start
            if skipped + needed > room:
                return False
            self._words[start // 8 + (1 if skipped >= _RECORD_BYTES else 0)] = _SKIP
            head, start, room = head + skipped, 0, room - skipped
        if needed > room:
            return False
        self._words[start // 8], self._words[start // 8 + 1] = time, len(data)
        self._data[start + _RECORD_BYTES : start + _RECORD_BYTES + len(data)] = data
        self._at[0] = head + needed
        return True

    def take(self, most: int = 1 << 30) -> list[tuple[int, bytes]]:
        """The records that are there, at most so many. For the one reader."""
        head, tail = self._at[0], self._at[1]
        if head == tail:
            return []
        found: list[tuple[int, bytes]] = []
        while tail < head and len(found) < most:
            start = tail % self._size
            left = self._size - start
            length = self._words[start // 8 + 1] if left >= _RECORD_BYTES else _SKIP
            if length == _SKIP:
                tail += left
                continue
            data = self._data[start + _RECORD_BYTES : start + _RECORD_BYTES + length].tobytes()
            found.append((self._words[start // 8], data))
            tail += _RECORD_BYTES + (length + 7) // 8 * 8
        self._at[1] = tail
        return found

    def release(self) -> None:
        """Let go of the memory."""
        for view in (self._at, self._words, self._data):
            view.release()


class AudioRing:
    """Stereo audio on its way to the disk. Frames are counted since the beginning."""

    def __init__(self, memory: memoryview) -> None:
        """Use `memory`."""
        self._at = memory[:_HEADER_BYTES].cast("q")
        self._frames = np.frombuffer(memory[_HEADER_BYTES:], np.float32).reshape(2, -1)
        self._size = self._frames.shape[1]

    @property
    def written(self) -> int:
        """Frames put so far."""
        return self._at[0]

    @property
    def read(self) -> int:
        """Frames taken so far."""
        return self._at[1]

    def put(self, audio: np.ndarray) -> bool:
        """Append `[2, n]`; False if there is no room. For the one writer."""
        head, n = self._at[0], audio.shape[1]
        if n > self._size - (head - self._at[1]):
            return False
        start = head % self._size
        first = min(n, self._size - start)
        self._frames[:, start : start + first] = audio[:, :first]
        self._frames[:, : n - first] = audio[:, first:]
        self._at[0] = head + n
        return True

    def take(self, most: int = 1 << 30) -> np.ndarray:
        """A copy of the frames that are there, at most so many, `[2, n]`. For the one reader."""
        tail = self._at[1]
        n = min(self._at[0] - tail, most)
        start = tail % self._size
        first = min(n, self._size - start)
        audio = np.concatenate([self._frames[:, start : start + first], self._frames[:, : n - first]], axis=1)
        self._at[1] = tail + n
        return audio

    def release(self) -> None:
        """Let go of the memory."""
        del self._frames
        self._at.release()


class ChannelStates:
    """Where programs, controllers, bend and pressure of the 16 channels stand, for an engine that is started anew."""

    N_BYTES = 16 * 136
    _PROGRAM, _PROGRAM_BANK, _PRESSURE, _BEND = 128, 129, 131, 132

    def __init__(self, memory: memoryview) -> None:
        """Use `memory`."""
        self._rows = [memory[136 * channel : 136 * (channel + 1)] for channel in range(16)]

    def clear(self) -> None:
        """Power-on."""
        for row in self._rows:
            row[:] = bytes([UNSET]) * 136

    def observe(self, message: bytes) -> None:
        """Note what a message changes.

        [audio thread] A few stores.
        """
        kind = message[0] & 0xF0
        row = self._rows[message[0] & 0x0F]
        if kind == CONTROL_CHANGE and len(message) > 2:
            if message[1] == 121:  # reset all controllers leaves bank, volume, pan and program
                for controller in (1, 2, 11, 65, 68, *_NRPN, *_LAST_OF_ALL):
                    row[controller] = UNSET
                row[self._BEND] = row[self._PRESSURE] = UNSET
            row[message[1] & 127] = message[2] & 127
        elif kind == PROGRAM_CHANGE and len(message) > 1:
            row[self._PROGRAM] = message[1] & 127
            row[self._PROGRAM_BANK], row[self._PROGRAM_BANK + 1] = row[_BANK], row[_BANK_FINE]
        elif kind == CHANNEL_PRESSURE and len(message) > 1:
            row[self._PRESSURE] = message[1] & 127
        elif kind == PITCH_BEND and len(message) > 2:
            row[self._BEND], row[self._BEND + 1] = message[1] & 127, message[2] & 127
        elif message[0] == 0xFF:
            self.clear()

    def replay(self) -> list[bytes]:
        """The messages that bring an engine at power-on to where these channels stand."""
        messages = []
        for channel, row in enumerate(self._rows):
            control = CONTROL_CHANGE | channel
            if row[self._PROGRAM] != UNSET:
                for controller, place in ((_BANK, self._PROGRAM_BANK), (_BANK_FINE, self._PROGRAM_BANK + 1)):
                    if row[place] != UNSET:
                        messages.append(bytes([control, controller, row[place]]))
                messages.append(bytes([PROGRAM_CHANGE | channel, row[self._PROGRAM]]))
            ordered = [c for c in range(128) if c not in _FORGOTTEN and c not in _LAST_OF_ALL and c not in _NRPN]
            last = _LAST_OF_ALL if row[_NRPN[0]] == UNSET else ()
            messages += [bytes([control, c, row[c]]) for c in (*ordered, *last) if row[c] != UNSET]
            if row[self._PRESSURE] != UNSET:
                messages.append(bytes([CHANNEL_PRESSURE | channel, row[self._PRESSURE]]))
            if row[self._BEND] != UNSET:
                messages.append(bytes([PITCH_BEND | channel, row[self._BEND], row[self._BEND + 1]]))
        return messages

    def release(self) -> None:
        """Let go of the memory."""
        for row in self._rows:
            row.release()


class Shared:
    """The whole block.

    `meters`, `controls`; rings `midi` (from the MIDI process, times in ns of `time.monotonic_ns`), `keys` (from the
    session, likewise; 0 is at once), `log` (every event as it was played, times in samples of engine time) and `audio`
    (the takes); `states`.
    """

    def __init__(self, memory: shared_memory.SharedMemory) -> None:
        """Lay the parts out in `memory`; `create` and `attach` give one."""
        self._memory, view, at = memory, memory.buf, 0
        assert view is not None

        def part(size: int) -> memoryview:
            nonlocal at
            start, at = at, at + (size + 63) // 64 * 64
            return view[start : start + size]

        self.meters = Meters.from_buffer(part(ctypes.sizeof(Meters)))
        self.controls = Controls.from_buffer(part(ctypes.sizeof(Controls)))
        self.states = ChannelStates(part(ChannelStates.N_BYTES))
        self.midi, self.keys, self.log = (Ring(part(MIDI_RING_BYTES)) for _ in range(3))
        self.audio = AudioRing(part(_HEADER_BYTES + 8 * AUDIO_RING_FRAMES))

    @classmethod
    def create(cls) -> Shared:
        """A new block, all zero."""
        size = 8192 + ChannelStates.N_BYTES + 3 * MIDI_RING_BYTES + _HEADER_BYTES + 8 * AUDIO_RING_FRAMES
        shared = cls(shared_memory.SharedMemory(create=True, size=size))
        shared.states.clear()
        shared.meters.program = -1
        return shared

    @classmethod
    def attach(cls, name: str) -> Shared:
        """The block of that name, made by another process."""
        return cls(shared_memory.SharedMemory(name))

    @property
    def name(self) -> str:
        """By which another process finds it."""
        return self._memory.name

    def close(self, remove: bool = False) -> None:
        """Let go of it; the process that made it removes it. Nothing of it can be used afterwards."""
        del self.meters, self.controls
        for piece in (self.states, self.midi, self.keys, self.log, self.audio):
            piece.release()
        try:
            self._memory.close()
        except BufferError:  # somebody still holds the meters: the memory goes with the process
            self._memory.close = lambda: None  # type: ignore[method-assign]
        if remove:
            with contextlib.suppress(FileNotFoundError):
                self._memory.unlink()
