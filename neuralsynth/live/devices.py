"""Which back end a person means."""

from __future__ import annotations

from collections.abc import Iterable

from neuralsynth.errors import DeviceError
from neuralsynth.live.backend import Backend
from neuralsynth.live.clock_backend import ClockBackend
from neuralsynth.live.jack_backend import JackBackend
from neuralsynth.live.jack_client import jack_server
from neuralsynth.live.portaudio_backend import PortAudioBackend

SAMPLE_RATE = 48_000


def make_backend(
    audio: str,
    sample_rate: int = 0,
    block_size: int = 128,
    native_midi: bool = True,
    connect: bool = True,
    connections: Iterable[str] = (),
) -> Backend:
    """A back end, not opened yet.

    Args:
        audio: "auto" (a running JACK server, else the default output), "jack", "portaudio" (the default output),
            "none" (no sound), or the name of a device or a part of it.
        sample_rate: Hz, the device's own with 0; a JACK server has its own.
        block_size: samples; a JACK server has its own.
        native_midi: whether a JACK client has a MIDI port.
        connect: whether a JACK client connects itself to the physical ports.
        connections: of an earlier JACK client, to be made again.
    """
    if audio == "none":
        return ClockBackend(sample_rate or SAMPLE_RATE, block_size)
    if audio == "jack" or (audio == "auto" and jack_is_running()):
        return JackBackend(connect=connect, midi=native_midi, connections=connections)
    return PortAudioBackend("" if audio in {"auto", "portaudio"} else audio, sample_rate, block_size)


def jack_is_running() -> bool:
    """Whether a JACK server answers."""
    try:
        return jack_server() is not None
    except DeviceError:
        return False
