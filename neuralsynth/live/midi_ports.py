"""The MIDI ports of this machine. The only module that imports `rtmidi`."""

from __future__ import annotations

from dataclasses import dataclass

from neuralsynth.errors import DeviceError, one_line
from neuralsynth.live.careful import quietly


@dataclass(frozen=True)
class MidiInterface:
    """One way of the system to speak MIDI, with the ports that a keyboard may be at."""

    name: str  # as rtmidi calls it: "ALSA", "Jack", "CoreMidi", "WinMM"
    ports: tuple[str, ...]
    problem: str = ""  # why it cannot be used


def import_rtmidi():
    """Import `rtmidi`.

    Raises:
        DeviceError: it is not installed or does not fit this machine.
    """
    try:
        import rtmidi
    except (ImportError, OSError) as error:
        raise DeviceError("python-rtmidi is not installed: pip install python-rtmidi") from error
    return rtmidi


def midi_ports() -> list[MidiInterface]:
    """All interfaces that rtmidi knows on this system, and their input ports now.

    Raises:
        DeviceError: python-rtmidi is not installed.
    """
    rtmidi = import_rtmidi()
    return [_interface(rtmidi, api) for api in rtmidi.get_compiled_api() if api != rtmidi.API_RTMIDI_DUMMY]


def _interface(rtmidi, api: int) -> MidiInterface:
    name = rtmidi.get_api_display_name(api)
    try:
        with quietly():
            midi_in = rtmidi.MidiIn(rtapi=api, name="neuralsynth-probe")
            try:
                return MidiInterface(name, tuple(midi_in.get_ports()))
            finally:
                midi_in.delete()
    except Exception as error:  # noqa: BLE001 - rtmidi raises SystemError and kinds of its own
        return MidiInterface(name, (), one_line(error, 120))
