"""`describe_event`: a MIDI message in words."""

from __future__ import annotations

from neuralsynth.events import (
    CHANNEL_PRESSURE,
    CONTROL_CHANGE,
    DATA_LENGTH,
    NOTE_OFF,
    NOTE_ON,
    PITCH_BEND,
    POLY_PRESSURE,
    PROGRAM_CHANGE,
    SYSTEM,
    TEMPO,
)
from neuralsynth.midi.chart import CONTROLLERS
from neuralsynth.units import note_name

_SYSTEM_WORDS = {
    0xF1: "time code", 0xF2: "song position", 0xF3: "song select", 0xF6: "tune request", 0xF7: "end of SysEx",
    0xF8: "clock", 0xFA: "start", 0xFB: "continue", 0xFC: "stop", 0xFE: "active sensing", 0xFF: "system reset",
}  # fmt: skip
_CENTRE, _SHOWN_BYTES = 8192, 3


def describe_event(message: bytes) -> str:
    """Words such as "note C4 on, velocity 96, channel 1", printable for any bytes; empty for none."""
    if not message:
        return ""
    status = message[0]
    if status >= SYSTEM:
        return _system(message)
    length = DATA_LENGTH.get(status & 0xF0)
    if length is None or len(message) <= length:
        return f"incomplete message {message[:_SHOWN_BYTES].hex(' ')}"
    data = [byte & 0x7F for byte in message[1 : 1 + length]]
    return f"{_channel_message(status & 0xF0, data[0], data[-1])}, channel {(status & 0x0F) + 1}"


def _channel_message(kind: int, first: int, last: int) -> str:
    if kind == NOTE_OFF or (kind == NOTE_ON and last == 0):
        return f"note {note_name(first)} off"
    if kind == NOTE_ON:
        return f"note {note_name(first)} on, velocity {last}"
    if kind == POLY_PRESSURE:
        return f"pressure {last} on {note_name(first)}"
    if kind == CONTROL_CHANGE:
        return _controller(first, last)
    if kind == PITCH_BEND:
        bend = first + 128 * last - _CENTRE
        return f"bend {100 * bend / (_CENTRE - (bend > 0)):+.0f} %"
    assert kind in {PROGRAM_CHANGE, CHANNEL_PRESSURE}
    return f"program {first}" if kind == PROGRAM_CHANGE else f"pressure {first}"


def _controller(number: int, value: int) -> str:
    row = CONTROLLERS.get(number)
    if row is None:
        return f"controller {number} at {value}"
    if row.kind == "action":
        return row.name
    if row.kind != "switch":
        return f"{row.name} {value}"
    words = ("up", "down") if row.name.endswith("pedal") else ("off", "on")
    return f"{row.name} {words[value >= 64]}"


def _system(message: bytes) -> str:
    if message[0] == SYSTEM:
        return f"SysEx, {len(message)} bytes"
    if message[:3] == TEMPO and len(message) == 6:
        return f"tempo {60e6 / max(int.from_bytes(message[3:], 'big'), 1):.4g} bpm"
    return _SYSTEM_WORDS.get(message[0], f"undefined message {message[0]:02x}")
