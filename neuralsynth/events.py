"""What happens when: one MIDI 1.0 message at one sample.

The engine, the MIDI file reader and every live input speak of music as `Event`s, so that a live take and
an offline render are the same list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from neuralsynth.errors import UsageError

NOTE_OFF, NOTE_ON, POLY_PRESSURE, CONTROL_CHANGE = 0x80, 0x90, 0xA0, 0xB0
PROGRAM_CHANGE, CHANNEL_PRESSURE, PITCH_BEND, SYSTEM = 0xC0, 0xD0, 0xE0, 0xF0
#: A tempo as MIDI files write it; three bytes of microseconds per quarter note follow. On the wire FF stands alone.
TEMPO = b"\xff\x51\x03"

#: Data bytes that follow each channel status, by its high nibble.
DATA_LENGTH = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}


class Event(NamedTuple):
    """One complete message, status byte first (no running status), `sample` samples into the block."""

    sample: int
    message: bytes


def sample_at(seconds, sample_rate: float):
    """The sample nearest to a time, for a number or an array.

    Ticks of MIDI files often fall right between two samples; those go to the later one, however the last bits of
    `seconds` were rounded on their way here.
    """
    return np.floor(np.asarray(seconds) * sample_rate + (0.5 + 1e-4)).astype(np.int64)


def to_events(messages: Iterable, sample_rate: float) -> list[Event]:
    """Turn what pedalboard's instruments accept into events, sorted by time.

    Args:
        messages: mido messages with absolute `time` in seconds, or `(bytes or list of ints, seconds)` pairs.
        sample_rate: Hz.

    Raises:
        UsageError: an item is neither, or its time is negative or not finite.
    """
    events = []
    for index, item in enumerate(messages):
        message, seconds = _bytes_and_seconds(item, index)
        if not 0.0 <= seconds < 1e7:
            raise UsageError(f"MIDI message {index} is at {seconds} s; give absolute times from 0 s on, not deltas")
        events.append(Event(int(sample_at(seconds, sample_rate)), message))
    events.sort(key=lambda event: event.sample)
    return events


def _bytes_and_seconds(item, index: int) -> tuple[bytes, float]:
    try:
        if hasattr(item, "bytes") and hasattr(item, "time"):
            return bytes(item.bytes()), float(item.time)
        message, seconds = item
        return bytes(message), float(seconds)
    except (TypeError, ValueError) as error:
        raise UsageError(f"MIDI message {index} is {item!r}; give mido messages or (bytes, seconds) pairs") from error
