"""The voices that the keys and pedals of one channel hold: logic alone, no sound.

After FluidSynth (`fluid_voice_noteoff`, `fluid_synth_damp_voices_by_sustain`, read in version 2.3): a voice whose
key goes up stays with the sostenuto pedal if it was held when that pedal went down, or else with the sustain pedal.
On purpose otherwise: sostenuto going up hands its voices to a sustain pedal that is down, as dampers do, where
FluidSynth releases them; and sustain can catch voices that are still in their release, where FluidSynth cannot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Literal, Protocol, TypeVar

RELEASE_VELOCITY = 64  # what MIDI means where a note ends without saying how fast
MAX_HELD = 1024  # voices held at once; past it the oldest quarter is let go
MAX_CAUGHT = 256  # voices in release that a pedal can still catch, the newest
_MIN_LIMIT = 64  # fewer held voices than this are not searched for finished ones

Handle = TypeVar("Handle")


class Voices(Protocol[Handle]):
    """A pool of voices. A handle names one voice for good: it is never used for another."""

    def start(self, key: int, velocity: int, from_key: float | None, /) -> Handle:
        """Start a voice and return its handle; the pitch glides from `from_key`, or `None`: no glide."""

    def move(self, voice: Handle, key: int, velocity: int, from_key: float | None, /) -> None:
        """Let a sounding voice go on at another key without a new attack; `velocity` is that of the new key."""

    def release(self, voice: Handle, velocity: int, /) -> None:
        """Send a voice into its release; harmless where it is over or released already."""

    def catch(self, voice: Handle, /) -> bool:
        """Hold a voice in its release where its level stands; False: it is over or cannot be caught."""

    def is_over(self, voice: Handle, /) -> bool:
        """Whether a voice sounds no more or was stolen."""


Gate = Literal["key", "sustain", "sostenuto"]  # what holds a voice


@dataclass(slots=True, eq=False)
class Held(Generic[Handle]):
    """A voice that something holds; `latched`: it was held when the sostenuto pedal went down."""

    voice: Handle
    key: int
    order: int
    gate: Gate = "key"
    latched: bool = False
    release_velocity: int = RELEASE_VELOCITY
    released_at: int = 0


class HeldVoices(Generic[Handle]):
    """Held voices by key, the two pedals that hold them, and the voices in release that sustain may catch."""

    def __init__(self, voices: Voices[Handle]) -> None:
        """Nothing held, both pedals up."""
        self._voices = voices
        self._held: dict[int, list[Held[Handle]]] = {}  # by key, no empty lists
        self._count, self._limit = 0, _MIN_LIMIT
        self._released: deque[Held[Handle]] = deque(maxlen=MAX_CAUGHT)
        self._struck: dict[int, int] = {}  # key -> clock of its last start
        self._clock = 0  # counts starts
        self._sustain = self._sostenuto = False

    def everything(self) -> list[Held[Handle]]:
        """All held voices, those that are over included."""
        return [held for of_key in self._held.values() for held in of_key]

    def of_key(self, key: int) -> list[Held[Handle]]:
        """The held voices of a key."""
        return list(self._held.get(key, ()))

    def is_over(self, held: Held[Handle]) -> bool:
        """Whether a held voice sounds no more."""
        return self._voices.is_over(held.voice)

    def start(self, key: int, velocity: int, from_key: float | None, *, latched: bool = False) -> None:
        """Start a voice that its key holds."""
        self._clock += 1
        self._struck[key] = self._clock
        self._add(Held(self._voices.start(key, velocity, from_key), key, self._clock, latched=latched))
        if self._count > self._limit:
            self._prune()

    def move(self, held: Held[Handle], key: int, velocity: int, from_key: float | None) -> None:
        """Let a held voice go on at another key, which holds it then."""
        self._remove(held)
        held.key = key
        self._add(held)
        self._voices.move(held.voice, key, velocity, from_key)

    def key_up(self, held: Held[Handle], release_velocity: int) -> None:
        """Leave a voice to the pedals, or let it go."""
        if held.gate == "key":
            held.release_velocity = release_velocity
        if self._sostenuto and held.latched:
            held.gate = "sostenuto"
        elif self._sustain:
            held.gate = "sustain"
        else:
            self.let_go(held)

    def let_go(self, held: Held[Handle]) -> None:
        """Release a voice, whatever holds it."""
        self._remove(held)
        held.released_at = self._clock
        self._released.append(held)
        self._voices.release(held.voice, held.release_velocity)

    def sustain(self, down: bool, max_caught: int) -> None:
        """Press the sustain pedal, which catches voices in release, or let it go; no change does nothing."""
        if down == self._sustain:
            return
        self._sustain = down
        if down:
            self._catch(max_caught)
            return
        for held in self.everything():
            if held.gate == "sustain":
                self.let_go(held)

    def sostenuto(self, down: bool) -> None:
        """Press the sostenuto pedal or let it go; each press latches what is held then."""
        self._sostenuto = down
        for held in self.everything():
            held.latched = down
            if not down and held.gate == "sostenuto":
                self.key_up(held, RELEASE_VELOCITY)

    def forget_released(self) -> None:
        """Leave the voices in release alone from now on."""
        self._released.clear()

    def forget(self) -> None:
        """Hold nothing: the voices were silenced elsewhere. Pedals stay."""
        self._held.clear()
        self._released.clear()
        self._count = 0

    def _catch(self, max_caught: int) -> None:
        """Hold the newest voices in release, save those whose key was struck again since."""
        caught = (
            held
            for held in reversed(self._released)
            if self._struck.get(held.key, 0) <= held.released_at and self._voices.catch(held.voice)
        )
        for held in islice(caught, max_caught):
            held.gate, held.latched = "sustain", False
            self._add(held)
        self._released.clear()

    def _prune(self) -> None:
        """Drop voices that are over; past `MAX_HELD`, let the oldest quarter go."""
        for held in self.everything():
            if self.is_over(held):
                self._remove(held)
        if self._count > MAX_HELD:
            for held in sorted(self.everything(), key=lambda held: held.order)[: MAX_HELD // 4]:
                self.let_go(held)
        self._limit = min(max(_MIN_LIMIT, 2 * self._count), MAX_HELD)

    def _add(self, held: Held[Handle]) -> None:
        self._held.setdefault(held.key, []).append(held)
        self._count += 1

    def _remove(self, held: Held[Handle]) -> None:
        of_key = self._held[held.key]
        of_key.remove(held)
        if not of_key:
            del self._held[held.key]
        self._count -= 1
