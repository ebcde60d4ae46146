"""What a song leaves sounding: keys that are never released and pedals that are never lifted.

Messages are columns of packed numbers: status | data1 << 8 | data2 << 16.
"""

from __future__ import annotations

import numpy as np

SUSTAINING_PEDALS, RESET_CONTROLLERS = (64, 66, 69), 121


def is_note_on(packed: np.ndarray) -> np.ndarray:
    """Which messages strike a key, bool `[n]`."""
    return ((packed & 0xF0) == 0x90) & (packed >> 16 > 0)


def held_rows(packed: np.ndarray) -> np.ndarray:
    """Rows of the note-ons that nothing releases later (note-off, all sound off, all notes off), in order."""
    kind = packed & 0xF0
    notes = np.flatnonzero((kind == 0x90) | (kind == 0x80))
    last_row = np.full(16 * 128, -1)
    last_row[(packed[notes] & 0x0F) << 7 | (packed[notes] >> 8) & 0x7F] = notes  # of equal keys the last one stays
    last = last_row[last_row >= 0]
    held = last[is_note_on(packed[last])]
    controller = (packed >> 8) & 0x7F
    last_silence = _last_rows(packed, (kind == 0xB0) & ((controller == 120) | (controller >= 123)))
    return np.sort(held[held > last_silence[packed[held] & 0x0F]])


def pedal_rows(packed: np.ndarray) -> np.ndarray:
    """Rows of the messages that put down a sustaining pedal which nothing lifts later, for channels with notes."""
    is_control, controller = (packed & 0xF0) == 0xB0, (packed >> 8) & 0x7F
    has_notes = _last_rows(packed, is_note_on(packed)) >= 0
    last_reset = _last_rows(packed, is_control & (controller == RESET_CONTROLLERS))
    found = []
    for pedal in SUSTAINING_PEDALS:
        last = _last_rows(packed, is_control & (controller == pedal))
        last = last[(last > last_reset) & has_notes]
        found.append(last[packed[last] >> 16 >= 64])
    return np.sort(np.concatenate(found))


def _last_rows(packed: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The last chosen row of each channel, int64 `[16]`; -1 where there is none."""
    rows, last = np.flatnonzero(chosen), np.full(16, -1)
    last[packed[rows] & 0x0F] = rows
    return last
