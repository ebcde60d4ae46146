"""What the session and the engine say to each other over their `Link`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from neuralsynth.midi.learn import ControllerMap
from neuralsynth.note_bank import Growth
from neuralsynth.patch import Patch
from neuralsynth.programs import Programs


@dataclass(frozen=True)
class DeviceChoice:
    """Which audio device the engine is to play on."""

    audio: str = "auto"
    sample_rate: int = 0  # Hz; 0 is the device's own
    block_size: int = 128
    native_midi: bool = False  # take MIDI from the audio system's own port (JACK)
    connect: bool = True
    connections: tuple[str, ...] = ()  # of the engine before


# ---- to the engine


@dataclass(frozen=True)
class Play:
    """Presets to play from now on."""

    generation: int
    start: Mapping[int, Patch]  # by channel 0..15
    programs: Programs | None = None
    controls: ControllerMap | None = None
    gain_db: float = 0.0

    def zones(self) -> list[Patch]:
        """Every patch of a single sound, in an order that both ends know."""
        patches = (*(self.start[channel] for channel in sorted(self.start)), *(self._programs()))
        return list({id(zone): zone for patch in patches for _, zone in patch.zones}.values())

    def _programs(self) -> Sequence[Patch]:
        return self.programs.patches if self.programs else ()


@dataclass(frozen=True)
class Grown:
    """Spectra that were asked for, by the number of the zone."""

    generation: int
    growths: Mapping[int, Growth]


@dataclass(frozen=True)
class Quit:
    """Fade out and end."""


# ---- from the engine


@dataclass(frozen=True)
class Opened:
    """A device asks for blocks."""

    backend: str
    device: str
    sample_rate: int
    block_size: int
    latency_seconds: float


@dataclass(frozen=True)
class Lost:
    """The device is gone, or could not be opened; told once until it is opened. The engine goes on trying."""

    problem: str


@dataclass(frozen=True)
class Broken:
    """Something went wrong in a block; the engine began anew, silent."""

    problem: str


@dataclass(frozen=True)
class Connected:
    """What the ports are connected to now."""

    connections: tuple[str, ...]


@dataclass(frozen=True)
class TakeBegins:
    """A take was prepared: it begins with these messages, at its first sample."""

    number: int
    messages: Sequence[bytes]
    sample_rate: int


@dataclass(frozen=True)
class Wanted:
    """Directions of timbre that sounding notes need: (number of the zone, key, direction)."""

    generation: int
    ways: Sequence[tuple[int, int, int]] = field(default_factory=list)
