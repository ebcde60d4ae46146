"""PortAudio: whatever outputs the system has (ALSA, Core Audio, WASAPI, JACK through PortAudio).

The only module that imports `sounddevice`. MIDI comes in by another way.
"""

from __future__ import annotations

import atexit
import sys
import time
from dataclasses import dataclass

import numpy as np

from neuralsynth.errors import DeviceError, one_line
from neuralsynth.live.backend import Process
from neuralsynth.live.careful import quietly, within

STALL_SECONDS = 2.0  # a device that asks for nothing for so long is taken for unplugged
CLOSE_SECONDS = 3.0
MOST_NAMED = 6
_NEXT = "`neuralsynth doctor` lists what is there"
#: Streams of this process: those that are open, and those that did not close, which make PortAudio useless.
_open_streams: set[int] = set()
_stuck_streams: set[int] = set()


@dataclass(frozen=True)
class PortAudioDevice:
    """One output of this machine."""

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate: int  # Hz, its own
    is_default: bool

    @property
    def full_name(self) -> str:
        """Name and host API: what tells devices of one name apart."""
        return f"{self.name}, {self.host_api}"


def import_sounddevice():
    """Import `sounddevice`; the devices are those that are there at this moment.

    Raises:
        DeviceError: the PortAudio library is not installed, or does not start.
    """
    if _stuck_streams:
        raise DeviceError(
            "PortAudio waits for ever for a device that went away; start neuralsynth again, or use --audio jack "
            "or --audio none"
        )
    try:
        if "sounddevice" not in sys.modules:
            with quietly():
                import sounddevice
            return sounddevice
        import sounddevice

        if not _open_streams:
            with quietly():  # PortAudio looks for devices only when it is initialised
                sounddevice._terminate()  # noqa: SLF001 - there is no public way
                sounddevice._initialize()  # noqa: SLF001
        return sounddevice
    except (ImportError, OSError) as error:
        raise DeviceError(
            "the PortAudio library is not installed (Debian: apt install libportaudio2); install it, "
            f"or use --audio jack or --audio none; {_NEXT}"
        ) from error
    except Exception as error:
        raise DeviceError(f"PortAudio does not start ({one_line(error, 80)}); {_NEXT}") from error


def portaudio_devices() -> list[PortAudioDevice]:
    """The outputs that PortAudio finds now. Its JACK outputs are there only while a server is running.

    Raises:
        DeviceError: the PortAudio library is not installed, or does not start.
    """
    return _devices(import_sounddevice())


def _devices(library) -> list[PortAudioDevice]:
    default = library.default.device[1]
    return [
        PortAudioDevice(
            index=index,
            name=str(device["name"]),
            host_api=str(library.query_hostapis(device["hostapi"])["name"]),
            channels=int(device["max_output_channels"]),
            sample_rate=round(device["default_samplerate"]),
            is_default=index == default,
        )
        for index, device in enumerate(library.query_devices())
        if device["max_output_channels"] > 0
    ]


def choose_device(name: str, devices: list[PortAudioDevice]) -> PortAudioDevice:
    """The device that a person means by (a part of) its name, the default one by "".

    Raises:
        DeviceError: there is none or more than one; the text lists them.
    """
    if not devices:
        asked = f"audio device {one_line(name, 60)!r}: " if name else ""
        raise DeviceError(
            f"{asked}PortAudio finds no audio output; plug one in, start a JACK server and use --audio jack, "
            f"or use --audio none; {_NEXT}"
        )
    if not name:
        return next((device for device in devices if device.is_default), devices[0])
    wanted = name.casefold()
    for same in ("full_name", "name"):
        exact = [device for device in devices if getattr(device, same).casefold() == wanted]
        if len(exact) == 1:
            return exact[0]
    found = [device for device in devices if wanted in device.full_name.casefold()]
    if not found:
        raise DeviceError(
            f"audio device {one_line(name, 60)!r} is not there; use one of {_listed(devices)}, jack or none; {_NEXT}"
        )
    if len(found) > 1:
        raise DeviceError(
            f"audio device {one_line(name, 60)!r} may be {_listed(found)}; give more of the name; {_NEXT}"
        )
    return found[0]


def _listed(devices: list[PortAudioDevice]) -> str:
    names = [f"[{one_line(device.full_name, 40)}]" for device in devices[:MOST_NAMED]]
    return " ".join(names) + (f" and {len(devices) - MOST_NAMED} more" if len(devices) > MOST_NAMED else "")


class PortAudioBackend:
    """An output of the system. See `Backend` for what the methods promise."""

    name = "portaudio"
    is_freewheeling = False
    connections: tuple[str, ...] = ()

    def __init__(self, device: str = "", sample_rate: int = 0, block_size: int = 128) -> None:
        """Prepare; nothing happens before `open`.

        Args:
            device: its name or a part of it; the system's default output without.
            sample_rate: Hz; the device's own without.
            block_size: samples.
        """
        self.device = device or "the default output"
        self.sample_rate, self.block_size = sample_rate, block_size
        self.faults = 0  # blocks that `process` failed at, against its promise: they are silent
        self._wanted_device, self._wanted_rate = device, sample_rate
        self._stream = None
        self._process: Process | None = None
        self._forget()

    def _forget(self) -> None:
        self._is_lost = self._is_started = False
        self._xruns = self._last_ns = 0
        self._latency_seconds = 0.0

    def open(self) -> None:
        """Look for the device among those that are there now, and take it.

        Raises:
            DeviceError: no PortAudio, no such device, or it refuses.
        """
        self.close()
        self._forget()
        library = import_sounddevice()
        device = choose_device(self._wanted_device, _devices(library))
        sample_rate = self._wanted_rate or device.sample_rate
        try:
            with quietly():
                stream = library.OutputStream(
                    samplerate=sample_rate,
                    blocksize=self.block_size,
                    device=device.index,
                    channels=min(device.channels, 2),
                    dtype="float32",
                    latency="low",
                    callback=self._on_block,
                    finished_callback=self._on_finished,
                )
        except (library.PortAudioError, ValueError) as error:
            raise DeviceError(
                f"audio device {one_line(device.full_name, 60)!r} refuses {sample_rate} Hz in blocks of "
                f"{self.block_size} ({one_line(error, 60)}); its own rate is {device.sample_rate} Hz; {_NEXT}"
            ) from error
        self._stream = stream
        _open_streams.add(id(stream))
        self.device, self.sample_rate = device.full_name, round(stream.samplerate)
        self._latency_seconds = float(stream.latency)

    def start(self, process: Process) -> None:
        """Begin to ask for blocks.

        Raises:
            DeviceError: `open` was not called, or the device refuses.
        """
        if self._stream is None:
            raise DeviceError("the audio device is not open; open it before the start")
        self._process = process
        self._last_ns = time.monotonic_ns()
        try:
            with quietly():
                within(CLOSE_SECONDS, self._stream.start)
        except Exception as error:
            raise DeviceError(f"{one_line(self.device, 60)} does not start ({one_line(error, 80)}); {_NEXT}") from error
        self._last_ns = time.monotonic_ns()
        self._is_started = True

    def close(self) -> None:
        """Let the device go; one that does not answer any more is left behind."""
        stream = self._stream
        self._stream, self._process = None, None
        if stream is None:
            return
        try:
            with quietly():
                within(CLOSE_SECONDS, lambda: _end(stream))
        except TimeoutError:
            _leave_behind(stream)
        except Exception:  # noqa: BLE001 - it is gone, which is what was wanted
            _open_streams.discard(id(stream))

    @property
    def is_lost(self) -> bool:
        """Whether the stream ended by itself, or the device asks for nothing any more."""
        is_playing = self._stream is not None and self._is_started
        if is_playing and time.monotonic_ns() - self._last_ns > STALL_SECONDS * 1e9:
            self._is_lost = True
        return self._is_lost

    @property
    def xruns(self) -> int:
        """How often PortAudio says that the output ran dry since `open`."""
        return self._xruns

    @property
    def latency_seconds(self) -> float:
        """What PortAudio says."""
        return self._latency_seconds

    def _on_block(self, out: np.ndarray, n_samples: int, _time, status) -> None:
        """[audio thread] Play one block into `[n, channels]`; silence if anything goes wrong."""
        self._last_ns = began_ns = time.monotonic_ns()
        if status.output_underflow:
            self._xruns += 1
        process = self._process
        try:
            if process is None:
                out.fill(0.0)
                return
            audio = process(n_samples, began_ns, ())
            if out.shape[1] == 1:
                np.mean(audio, axis=0, out=out[:, 0])
            else:
                out[:, 0], out[:, 1] = audio[0], audio[1]
        except Exception:  # noqa: BLE001 - an exception here would end the stream
            self.faults += 1
            out.fill(0.0)

    def _on_finished(self) -> None:
        if self._stream is not None:
            self._is_lost = True


def _end(stream) -> None:
    stream.abort()  # PortAudio may hang in `close` of a running stream
    stream.close()
    _open_streams.discard(id(stream))


def _leave_behind(stream) -> None:
    """Take note of a stream that does not close, as those of PortAudio's JACK outputs after the server's death."""
    _stuck_streams.add(id(stream))
    import sounddevice

    atexit.unregister(sounddevice._exit_handler)  # noqa: SLF001 - it would hang the end of the process as well
