"""Takes: what was played, as audio and as the MIDI that made it."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np

from neuralsynth.audiofile import audio_writer
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.events import TEMPO, Event
from neuralsynth.hosts.midi_write import midi_file_bytes, sample_clock
from neuralsynth.midi.stream import is_message
from neuralsynth.storage import whole_file

_MAX_WAV_BYTES = (1 << 32) - (1 << 16)  # the format counts in 32 bits
_BYTES_PER_SAMPLE = {"16": 2, "24": 3, "32f": 4}


class Take:
    """`NAME.wav`, written while it is played, and beside it `NAME.mid`, in which one tick is one sample.

    Until `finish` only `NAME.wav.part-PID` is there; a process that is killed leaves that one, which is no playable
    file (its header does not say how long it is), and nothing under a final name. End each take with `finish` or
    `abandon`.
    """

    def __init__(self, path: Path, sample_rate: int, depth: str = "24") -> None:
        """Begin a take at `path`, which ends in `.wav`; `depth` is "16", "24" or "32f".

        Raises:
            UsageError: another ending or depth, or a rate at which a MIDI file cannot count samples.
            OutputError: nothing can be written there.
        """
        self.path = Path(path)
        self.midi_path = self.path.with_suffix(".mid")
        self.n_samples = 0  # audio so far
        self.dropped = 0  # events that were no whole MIDI message
        if self.path.suffix.lower() != ".wav":
            raise UsageError(f"{path}: a take is a .wav file")
        sample_clock(sample_rate)
        self._sample_rate = sample_rate
        self._events: list[Event] = []
        self._is_open = True
        self._file = contextlib.ExitStack()
        self._write = self._file.enter_context(audio_writer(self.path, sample_rate, depth))
        self._max_samples = _MAX_WAV_BYTES // (2 * _BYTES_PER_SAMPLE[depth])

    @property
    def is_full(self) -> bool:
        """Whether a wav file holds no more (hours); further audio is left out. Finish it and begin another."""
        return self.n_samples >= self._max_samples

    def add_audio(self, block: np.ndarray) -> None:
        """Append audio, `[2, n]`.

        Raises:
            OutputError: it cannot be written, or the take is over; the take is given up.
        """
        self._check_open()
        block = block[:, : self._max_samples - self.n_samples]
        try:
            self._write(block)
        except Exception:
            self._is_open = False
            with self._file:  # removes what there is, and says it in our words
                raise
        self.n_samples += block.shape[1]

    def add_event(self, sample: int, message: bytes) -> None:
        """Note what was played, `sample` samples after the take's first one; what is no MIDI message is counted."""
        if is_message(message) or message[:3] == TEMPO:
            self._events.append(Event(max(sample, 0), bytes(message)))
        else:
            self.dropped += 1

    def finish(self) -> list[Path]:
        """Give the files their names; returns those that there are: the audio, and the MIDI if anything was played.

        Raises:
            OutputError: one of them cannot be written, or the take is over. Audio that has its name stays.
        """
        self._check_open()
        self._is_open = False
        self._file.close()
        if not self._events:
            return [self.path]
        data = midi_file_bytes(self._events, self._sample_rate, self.n_samples)
        with whole_file(self.midi_path) as part:
            part.write_bytes(data)
        return [self.path, self.midi_path]

    def abandon(self) -> None:
        """Leave no file; does nothing if the take is over."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(_Abandoned), self._file:
                raise _Abandoned

    def _check_open(self) -> None:
        if not self._is_open:
            raise OutputError(f"{self.path}: this take is over; begin another")


class _Abandoned(Exception):
    """Tells the writer not to give the file its name."""


def next_take_path(path: Path) -> Path:
    """`path` if no take is there, else the first of `NAME-2`, `NAME-3` … that is free."""
    for number in itertools.count(1):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not any(other.exists() or other.is_symlink() for other in (free, free.with_suffix(".mid"))):
            return free
    raise AssertionError
