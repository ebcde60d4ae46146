"""Routes: what moves which knob of a preset by how much. The names of sources and destinations, as tables.

A knob is moved in its own unit, except times, rates and cutoffs: those in octaves, so that 1 doubles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec

from neuralsynth.checking import one_of, shown
from neuralsynth.knobs import Knob
from neuralsynth.midi.parameters import DESTINATIONS as MOVABLE
from neuralsynth.preset_sections import SECTIONS
from neuralsynth.settings import Text, knob, settings_of

_OCTAVES = ("_seconds", "_hz")
_OCTAVE_LIMIT = 10.0
#: The whole keyboard, and what can be heard at all; others go as far as their knob, but at least 2.
_LIMITS = {"sound.tune_cents": 9600.0, "sound.gain_db": 96.0, "sound.noise_db": 96.0}

#: What moves knobs, and what each says. A controller 0 to 119 is `ccN`.
SOURCES: dict[str, str] = {
    "lfo_1": "the first LFO, -1 to 1",
    "lfo_2": "the second LFO, -1 to 1",
    "envelope": "the first envelope, 0 to 1",
    "envelope_2": "the second envelope, 0 to 1",
    "velocity": "how firmly the key was struck, 0 to 1",
    "release_velocity": "how fast the key was released, 0 to 1",
    "key": "octaves from middle C",
    "random": "a number drawn for each note, -1 to 1",
    "pressure": "pressure on the key or the channel, the larger, 0 to 1",
    "bend": "the pitch wheel, -1 to 1",
    "timbre": "controller 74 around its centre, per note in MPE, -1 to 1",
    "wheel": "the modulation wheel (`cc1`), 0 to 1",
    "breath": "breath controller (`cc2`), 0 to 1",
    "foot": "foot controller (`cc4`), 0 to 1",
    "expression": "expression (`cc11`), 0 to 1",
    "morph": "the position of the morph, 0 to 1",
    "one": "always 1",
}
_CONTROLLERS = {"wheel": 1, "breath": 2, "foot": 4, "expression": 11}
_CC = re.compile(r"cc(0|[1-9][0-9]?|1[01][0-9])")
_LATENT = re.compile(r"latent\.[1-9][0-9]{0,2}")


@dataclass(frozen=True)
class Destination:
    """A knob that can be moved: in octaves, or else in the knob's own unit, by at most `limit` either way."""

    name: str
    knob: Knob
    octaves: bool
    limit: float

    @property
    def unit(self) -> str:
        """The unit of a movement."""
        return "octaves" if self.octaves else self.knob.unit


def _destination(name: str) -> Destination:
    section, _, key = name.partition(".")
    found = next(s for s in settings_of(SECTIONS[section]) if s.name == key)
    assert isinstance(found, Knob)
    octaves = key.endswith(_OCTAVES)
    limit = _OCTAVE_LIMIT if octaves else _LIMITS.get(name, max(2.0, found.high - found.low))
    return Destination(name, found, octaves, limit)


#: The movable knobs by name, in the order of their NRPNs. `destination` also knows `axes.NAME` and `latent.N`.
DESTINATIONS: dict[str, Destination] = {name: _destination(name) for name in MOVABLE}


@lru_cache(maxsize=512)
def destination(name: str) -> Destination | None:
    """The destination called `name`, None if there is none. Whether the model has such an axis is not known here."""
    if name in DESTINATIONS:
        return DESTINATIONS[name]
    if name.startswith("axes.") and len(name) > len("axes."):
        return Destination(name, Knob(name, -1.0, 1.0, 0.0), octaves=False, limit=2.0)
    if _LATENT.fullmatch(name):
        return Destination(name, Knob(name, -2.0, 2.0, 0.0), octaves=False, limit=4.0)
    return None


def controller_of(source: str) -> int | None:
    """The number of the controller that a source names, None if it is no controller."""
    if source in _CONTROLLERS:
        return _CONTROLLERS[source]
    number = _CC.fullmatch(source)
    return int(number[1]) if number else None


def is_source(name: str) -> bool:
    """Whether there is a source called `name`."""
    return name in SOURCES or controller_of(name) is not None


@dataclass(frozen=True)
class SourceName(Text):
    """The name of a source; one that is not required may be empty."""

    def check(self, value: object) -> str:
        """Return `value` if it names a source."""
        text = super().check(value)
        if text and not is_source(text):
            raise ValueError(f"{self.name} {shown(text)} is unknown; use {one_of(text, SOURCES)}, cc0 to cc119")
        return text


@dataclass(frozen=True)
class DestinationName(Text):
    """The name of a destination."""

    def check(self, value: object) -> str:
        """Return `value` if it names a destination."""
        text = super().check(value)
        if destination(text) is None:
            known = one_of(text, DESTINATIONS)
            raise ValueError(f"{self.name} {shown(text)} is unknown; use {known}, axes.NAME, latent.N")
        return text


class Route(msgspec.Struct, frozen=True):
    """One source that moves one knob."""

    source: Annotated[str, SourceName("", says="what moves it, such as lfo_1")]
    to: Annotated[str, DestinationName("", says="what it moves, such as filter.cutoff_hz")]
    amount: Annotated[
        float, knob(-9600.0, 9600.0, "", 1.0, "how far a source at 1 moves it; the limit is the destination's")
    ] = 1.0
    via: Annotated[str, SourceName("", says="a second source that scales the first")] = ""

    def __post_init__(self) -> None:
        """Hold the amount inside the limit of its destination."""
        target = destination(self.to)
        if target is None:
            raise ValueError(f"to {shown(self.to)} is unknown")
        Knob("amount", -target.limit, target.limit, 1.0, target.unit).check(self.amount)
