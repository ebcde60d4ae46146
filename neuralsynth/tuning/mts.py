"""MIDI Tuning Standard messages: bytes -> what they say (MMA CA-012, CA-020, CA-021; RP-020).

====== ============================= ============ =========================================================
08 nn  message                       header       data
====== ============================= ============ =========================================================
08 01  bulk dump                     7E           tt, name[16], (xx yy zz)[128], checksum
08 02  note change                   7F or 7E     tt, count, (key xx yy zz)[count]
08 04  bulk dump with bank           7E           bb, tt, name[16], (xx yy zz)[128], checksum
08 05  scale/octave dump, 1 byte     7E           bb, tt, name[16], (ss)[12], checksum
08 06  scale/octave dump, 2 bytes    7E           bb, tt, name[16], (ss tt)[12], checksum
08 07  note change with bank         7F or 7E     bb, tt, count, (key xx yy zz)[count]
08 08  scale/octave tuning, 1 byte   7F or 7E     channels[3], (ss)[12]
08 09  scale/octave tuning, 2 bytes  7F or 7E     channels[3], (ss tt)[12]
====== ============================= ============ =========================================================

`xx yy zz` is a note number and 14 bits of a semitone; 7F 7F 7F leaves a key as it is. Octave values are cents from
equal temperament: one byte -64 to 63, two bytes -100 to 100 (14 bits, high byte first).

The header tells whether sounding notes move (7F, real time) or only later ones change (7E, a setup message).
A dump with a wrong checksum is taken, and says so: instruments and programs in use compute it in different ways, and
a byte that lost its way would break the message's length or its seven bits, which are refused. The requests 08 00
and 08 03 are not answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor

UNIVERSAL_SETUP, UNIVERSAL_REAL_TIME = 0x7E, 0x7F
ANY_DEVICE = 0x7F
TUNING_ID = 0x08
_NAME_BYTES = 16
_NO_CHANGE = b"\x7f\x7f\x7f"


@dataclass(frozen=True)
class ProgramTuning:
    """New pitches for keys of one tuning program; channels that play this program follow.

    `notes` are pairs of key and note number with its fraction; `name` is None unless it was a dump.
    """

    bank: int
    program: int
    notes: tuple[tuple[int, float], ...]
    real_time: bool
    name: str | None = None
    checksum_ok: bool = True


@dataclass(frozen=True)
class OctaveTuning:
    """The same 12 offsets from equal temperament, C first, in every octave of some channels (0 to 15)."""

    channels: tuple[int, ...]
    cents: tuple[float, ...]
    real_time: bool


def universal(message: bytes, device_id: int = ANY_DEVICE) -> tuple[bool, bytes] | None:
    """Real time or not, and what follows the device ID up to F7, of a universal SysEx message that is meant for us.

    None: anything else, broken messages included. With `device_id` 7F messages to all devices are ours.
    """
    if len(message) < 6 or message[0] != 0xF0 or message[-1] != 0xF7 or max(message[1:-1]) > 0x7F:
        return None
    if message[1] not in {UNIVERSAL_SETUP, UNIVERSAL_REAL_TIME}:
        return None
    if ANY_DEVICE not in {device_id, message[2]} and message[2] != device_id:
        return None
    return message[1] == UNIVERSAL_REAL_TIME, message[3:-1]


def read_tuning(message: bytes, device_id: int = ANY_DEVICE) -> ProgramTuning | OctaveTuning | None:
    """What an MTS message says; None for any other bytes. Never raises.

    Args:
        message: a whole SysEx message, F0 to F7.
        device_id: 0 to 126 to obey only messages to that device or to all; 127 obeys every message.
    """
    message = bytes(message)
    found = universal(message, device_id)
    if found is None or found[1][0] != TUNING_ID:
        return None
    real_time, content = found
    kind, data = content[1], content[2:]
    match kind:
        case 0x01 | 0x04 | 0x05 | 0x06 if not real_time:
            # the checksum counts everything between F0 and itself
            return _dump(kind, data, checksum_ok=reduce(xor, message[1:-2]) == message[-2])
        case 0x02:
            return _note_change(0, data, real_time)
        case 0x07 if data:
            return _note_change(data[0], data[1:], real_time)
        case 0x08 | 0x09:
            return _octave_tuning(kind == 0x09, data, real_time)
    return None


def _dump(kind: int, data: bytes, *, checksum_ok: bool) -> ProgramTuning | None:
    if kind == 0x01 and len(data) == 1 + _NAME_BYTES + 3 * 128 + 1:  # FluidSynth sends dumps with a bank as 08 01 too
        data = b"\x00" + data
    n_values = {0x01: 3 * 128, 0x04: 3 * 128, 0x05: 12, 0x06: 24}[kind]
    if len(data) != 2 + _NAME_BYTES + n_values + 1:
        return None
    values = data[2 + _NAME_BYTES : -1]
    if n_values == 3 * 128:
        entries = [(key, values[3 * key : 3 * key + 3]) for key in range(128)]
        notes = _notes(entries)
    else:
        cents = _octave_cents(values)
        notes = tuple((key, key + cents[key % 12] / 100.0) for key in range(128))
    return ProgramTuning(data[0], data[1], notes, False, _name(data[2 : 2 + _NAME_BYTES]), checksum_ok)


def _note_change(bank: int, data: bytes, real_time: bool) -> ProgramTuning | None:
    if len(data) < 2 or len(data) != 2 + 4 * data[1]:
        return None
    entries = [(data[at], data[at + 1 : at + 4]) for at in range(2, len(data), 4)]
    return ProgramTuning(bank, data[0], _notes(entries), real_time)


def _octave_tuning(two_bytes: bool, data: bytes, real_time: bool) -> OctaveTuning | None:
    if len(data) != 3 + (24 if two_bytes else 12):
        return None
    mask = data[0] << 14 | data[1] << 7 | data[2]  # the rest of the first byte is reserved
    channels = tuple(channel for channel in range(16) if mask >> channel & 1)
    return OctaveTuning(channels, _octave_cents(data[3:]), real_time)


def _octave_cents(values: bytes) -> tuple[float, ...]:
    """Cents of the 12 keys of an octave, from one or two bytes each."""
    if len(values) == 12:
        return tuple(float(value - 64) for value in values)
    return tuple((values[at] << 7 | values[at + 1]) / 8192.0 * 100.0 - 100.0 for at in range(0, 24, 2))


def _notes(entries: list[tuple[int, bytes]]) -> tuple[tuple[int, float], ...]:
    """Keys and note numbers, those left as they are left out."""
    return tuple((key, xx[0] + (xx[1] << 7 | xx[2]) / 16384.0) for key, xx in entries if xx != _NO_CHANGE)


def _name(characters: bytes) -> str:
    return "".join(chr(c) if 0x20 <= c < 0x7F else " " for c in characters).strip()
