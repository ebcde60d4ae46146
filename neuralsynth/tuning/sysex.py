"""System exclusive messages that a synthesizer should know: bytes -> what they say.

============================================ ====================================================================
F0 7F dev 04 01 ll mm F7                     `MasterVolume`
F0 7F dev 04 03 ll mm F7                     `MasterFineTuning` (CA-025)
F0 7F dev 04 04 ll mm F7                     `MasterCoarseTuning` (CA-025; ll is ignored)
F0 7E dev 09 01 F7, 02, 03                   `Reset` to "gm", "gm off", "gm2"
F0 41 dev 42 12 40 00 7F vv ck F7            `Reset` to "gs" (vv = 00), "gs off" (7F)
F0 41 dev 42 12 00 00 7F vv ck F7            `Reset` to "gs" (vv = 00 or 01: the system mode of later models)
F0 43 1n 4C 00 00 7E 00 F7, 7F               `Reset` to "xg" (XG system on, all parameters reset)
F0 7E/7F dev 08 .. F7                        tunings, see `neuralsynth.tuning.mts`
============================================ ====================================================================

A Roland message with a wrong checksum says nothing, as on Roland's own instruments and in FluidSynth. The device byte
of Roland and Yamaha messages is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuralsynth.tuning.mts import ANY_DEVICE, TUNING_ID, OctaveTuning, ProgramTuning, read_tuning, universal


@dataclass(frozen=True)
class MasterVolume:
    """Volume of the whole instrument: 0.0 to 1.0 of the control's way; its law is that of channel volume."""

    position: float


@dataclass(frozen=True)
class MasterFineTuning:
    """The whole instrument, -100 to 100 cents."""

    cents: float


@dataclass(frozen=True)
class MasterCoarseTuning:
    """The whole instrument, -64 to 63 semitones; drum kits stay."""

    semitones: int


@dataclass(frozen=True)
class Reset:
    """Everything to its default, in the manner of "gm", "gm2", "gs" or "xg"; "gm off" and "gs off" leave one."""

    standard: str


SysexMeaning = MasterVolume | MasterFineTuning | MasterCoarseTuning | Reset | ProgramTuning | OctaveTuning

_GENERAL_MIDI = {0x01: "gm", 0x02: "gm off", 0x03: "gm2"}
#: Address and value of Roland's mode messages.
_ROLAND = {
    b"\x40\x00\x7f\x00": "gs",
    b"\x40\x00\x7f\x7f": "gs off",
    b"\x00\x00\x7f\x00": "gs",
    b"\x00\x00\x7f\x01": "gs",
}
#: The XG model, then address and value; the device byte before it is 10 to 1F.
_YAMAHA = {b"\x4c\x00\x00\x7e\x00": "xg", b"\x4c\x00\x00\x7f\x00": "xg"}
_YAMAHA_DEVICES = {bytes([device]) for device in range(0x10, 0x20)}


def read_sysex(message: bytes, device_id: int = ANY_DEVICE) -> SysexMeaning | None:
    """What a SysEx message says; None for one that is unknown, broken or meant for another device. Never raises.

    Args:
        message: a whole message, F0 to F7.
        device_id: 0 to 126 to obey only universal messages to that device or to all; 127 obeys every one.
    """
    message = bytes(message)
    found = universal(message, device_id)
    if found is None:
        return _reset_of_a_maker(message)
    real_time, content = found
    if content[0] == TUNING_ID:
        return read_tuning(message, device_id)
    if real_time and content[0] == 0x04 and len(content) == 4:
        return _master(content[1], content[2], content[3])
    if not real_time and content[0] == 0x09 and len(content) == 2 and content[1] in _GENERAL_MIDI:
        return Reset(_GENERAL_MIDI[content[1]])
    return None


def _master(control: int, low: int, high: int) -> SysexMeaning | None:
    value = high << 7 | low
    if control == 0x01:
        return MasterVolume(value / 16383.0)
    if control == 0x03:
        return MasterFineTuning((value - 8192) / 8192.0 * 100.0)
    return MasterCoarseTuning(high - 64) if control == 0x04 else None


def _reset_of_a_maker(message: bytes) -> Reset | None:
    standard = None
    if message[:2] == b"\xf0\x41" and message[3:5] == b"\x42\x12" and message[10:] == b"\xf7":
        checked = sum(message[5:10]) % 128 == 0
        standard = _ROLAND.get(message[5:9]) if checked else None
    elif message[:2] == b"\xf0\x43" and message[2:3] in _YAMAHA_DEVICES and message[8:] == b"\xf7":
        standard = _YAMAHA.get(message[3:8])
    return None if standard is None else Reset(standard)
