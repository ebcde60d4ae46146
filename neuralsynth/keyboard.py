"""Which voices the keys, the pedals and the voice mode of one channel ask for: logic alone, no sound.

`Keyboard` hears notes and pedals and tells a pool (`Voices`) which voices to start, move, release or catch.

Polyphonic keys and pedals follow FluidSynth (`fluid_synth.c`, `fluid_voice.c`, read in version 2.3): a re-struck key
lets its old voice go unless a pedal holds it, then voices stack; a voice that the sostenuto pedal holds hands the
latch to the next voice of its key; the sostenuto pedal takes a voice from the sustain pedal only when its key is
struck once more, or at all notes off; each sostenuto message that says "down" latches anew. On purpose otherwise:

- Sostenuto going up hands its voices to a sustain pedal that is down, as dampers do; FluidSynth releases them.
- The latch passes on only from a voice that the pedal still holds; in FluidSynth also from one that happens to be
  still in its release, so that there the length of a release decides.
- The sustain pedal catches voices that are still in their release (`KeyboardSettings.pedal_catch`), save those whose
  key was struck again since; FluidSynth catches none.
- CC84 says where the next glide starts and no more; FluidSynth also lets a sounding voice of that key move on.
- One voice is one voice: in the modes mono and legato a new key takes the place of a voice that a pedal holds too,
  and changing to them from poly releases all voices but one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, Literal, get_args

from neuralsynth.held_voices import MAX_CAUGHT, MAX_HELD, RELEASE_VELOCITY, Handle, Held, HeldVoices, Voices

__all__ = ["MAX_CAUGHT", "MAX_HELD", "RELEASE_VELOCITY", "Keyboard", "KeyboardSettings", "Voices"]

Mode = Literal["poly", "mono", "legato"]
Priority = Literal["last", "low", "high"]
Glide = Literal["off", "always", "legato"]


@dataclass(frozen=True)
class KeyboardSettings:
    """How a channel turns keys into voices.

    `mode`: "poly"; "mono", one voice, a new start for each key; "legato", one voice that moves while keys overlap.
    `priority`: which of the keys that are down sounds where there is one voice. `glide`: "always" from the last key
    that sounded, "legato" only while another key is down. `pedal_catch`: sustain holds voices still in release.

    Raises:
        ValueError: a word is unknown; the text names it and the words there are.
    """

    mode: Mode = "poly"
    priority: Priority = "last"
    glide: Glide = "off"
    pedal_catch: bool = True

    def __post_init__(self) -> None:
        for name, words in (("mode", Mode), ("priority", Priority), ("glide", Glide)):
            if getattr(self, name) not in get_args(words):
                raise ValueError(f"{name} is {getattr(self, name)!r}; use one of {', '.join(get_args(words))}")

    def switched(
        self, *, mode: Literal["poly", "mono"] | None = None, legato: bool = False, portamento: bool = False
    ) -> KeyboardSettings:
        """These settings under the channel's switches.

        Args:
            mode: what CC126 ("mono") or CC127 ("poly") asked for; "mono" leaves a preset's legato as it is.
            legato: CC68, the legato footswitch, is on: legato mode while it lasts.
            portamento: CC65 is on: glide "always" where the preset has none.
        """
        forced: Mode = self.mode if mode is None or (mode == "mono" and self.mode == "legato") else mode
        glide: Glide = "always" if portamento and self.glide == "off" else self.glide
        return replace(self, mode="legato" if legato else forced, glide=glide)


_PLAIN = KeyboardSettings()


class Keyboard(Generic[Handle]):
    """Keys, pedals and voice mode of one channel.

    In mono and legato one voice at most is held. Letting go of its key returns to a key that is still down, under a
    pedal too. The last key up leaves the voice to the pedals; the next key starts anew. A key of lower priority than
    the one that sounds waits; where that one sounds no more, it plays.
    """

    def __init__(self, voices: Voices[Handle], settings: KeyboardSettings | None = None) -> None:
        """All keys and pedals up."""
        self.settings = settings or _PLAIN
        self._held = HeldVoices(voices)
        self._down: dict[int, int] = {}  # key -> velocity, in the order pressed
        self._last_key: float | None = None  # that sounded
        self._glide_from: float | None = None  # CC84, for the next note-on that sounds

    @property
    def is_gated(self) -> bool:
        """Whether a key or a pedal holds a voice that is not over."""
        return any(True for _ in self.held())

    def held(self) -> Iterator[tuple[int, Handle]]:
        """Key and handle of each voice that a key or a pedal holds and that is not over."""
        return ((held.key, held.voice) for held in self._held.everything() if not self._held.is_over(held))

    def configure(self, settings: KeyboardSettings) -> None:
        """Go on under other settings.

        From poly to one voice, the voice of the key that priority chooses stays, or else the newest that a pedal
        holds; the others are released. Otherwise nothing that sounds changes.
        """
        many = self.settings.mode == "poly"
        self.settings = settings
        if many and settings.mode != "poly":
            self._keep_one()

    def note_on(self, key: int, velocity: int) -> None:
        """Strike a key; velocity 0 is a note-off."""
        if velocity <= 0:
            self.note_off(key)
            return
        self._down.pop(key, None)
        overlaps = bool(self._down)
        self._down[key] = velocity
        if self.settings.mode == "poly":
            self._strike(key, overlaps)
        else:
            self._strike_alone(key, overlaps)

    def note_off(self, key: int, release_velocity: int = RELEASE_VELOCITY) -> None:
        """Let a key go."""
        self._down.pop(key, None)
        if self.settings.mode != "poly" and self._down:
            self._return_from(key, release_velocity)
            return
        for held in self._held.of_key(key):
            if held.gate == "key":
                self._held.key_up(held, release_velocity)

    def sustain(self, down: bool) -> None:
        """Press the sustain pedal or let it go (CC64); a message that changes nothing does nothing."""
        max_caught = MAX_CAUGHT if self.settings.pedal_catch else 0
        if self.settings.mode != "poly":
            max_caught = min(max_caught, 0 if self.is_gated else 1)
        self._held.sustain(down, max_caught)

    def sostenuto(self, down: bool) -> None:
        """Press the sostenuto pedal or let it go (CC66); each press latches what is held then."""
        self._held.sostenuto(down)

    def portamento_from(self, key: float) -> None:
        """Let the next voice that a note-on starts or moves glide from `key`, whatever the settings (CC84)."""
        self._glide_from = key

    def all_notes_off(self) -> None:
        """Let every key go (CC123); pedals hold what they hold."""
        self._down.clear()
        for held in self._held.everything():
            self._held.key_up(held, RELEASE_VELOCITY)

    def forget(self) -> None:
        """Count every key as up and no voice as held or in release: they were silenced elsewhere. Pedals stay."""
        self._down.clear()
        self._held.forget()

    def _strike(self, key: int, overlaps: bool) -> None:
        """Poly: the old voices of the key end or stay with a pedal, a new one starts."""
        latched = False
        for held in self._held.of_key(key):
            if held.gate == "sostenuto":
                latched = latched or not self._held.is_over(held)
            elif held.gate == "key" or held.latched:  # sustain alone holds on, and such stacks grow long
                self._held.key_up(held, RELEASE_VELOCITY)
        from_key = self._glide(key, overlaps)
        self._last_key = key
        self._held.start(key, self._down[key], from_key, latched=latched)

    def _strike_alone(self, key: int, overlaps: bool) -> None:
        """One voice: the new key takes it over, unless priority leaves it with the key that sounds."""
        old = self._the_voice()
        waits = old and old.gate == "key" and self._choose(self._down) != key
        if not waits or (old and self._held.is_over(old)):
            self._play_alone(old, key, overlaps, self._glide(key, overlaps), RELEASE_VELOCITY)

    def _return_from(self, key: int, release_velocity: int) -> None:
        """One voice: where the key it plays was let go, it passes to the key that priority chooses."""
        old = self._the_voice()
        if old and old.key == key and old.gate == "key":
            from_key = self._last_key if self.settings.glide != "off" else None
            self._play_alone(old, self._choose(self._down), True, from_key, release_velocity)

    def _play_alone(
        self, old: Held[Handle] | None, key: int, overlaps: bool, from_key: float | None, release_velocity: int
    ) -> None:
        """Move the one voice (legato), or end it and start another."""
        self._last_key = key
        moves = overlaps and self.settings.mode == "legato"
        if old and moves and old.gate == "key" and not self._held.is_over(old):
            self._held.move(old, key, self._down[key], from_key)
            return
        if old:
            old.release_velocity = release_velocity
            self._held.let_go(old)
        self._held.forget_released()
        self._held.start(key, self._down[key], from_key)

    def _the_voice(self) -> Held[Handle] | None:
        """The one voice of mono and legato that is held, over or not."""
        return next(iter(self._held.everything()), None)

    def _glide(self, key: int, overlaps: bool) -> float | None:
        """Where the pitch of a key struck now comes from."""
        from_key, self._glide_from = self._glide_from, None
        if from_key is None and (self.settings.glide == "always" or (self.settings.glide == "legato" and overlaps)):
            from_key = self._last_key
        return None if from_key == key else from_key

    def _choose(self, keys: Iterable[int]) -> int:
        """The key that priority gives the one voice, of keys in the order pressed."""
        if self.settings.priority == "last":
            return list(keys)[-1]
        return (min if self.settings.priority == "low" else max)(keys)

    def _keep_one(self) -> None:
        """Let all voices go but the one that goes on alone."""
        sounding = [held for held in self._held.everything() if not self._held.is_over(held)]
        struck = {held.key for held in sounding if held.gate == "key"}
        if struck:
            chosen = self._choose([key for key in self._down if key in struck])
            sounding = [held for held in sounding if held.key == chosen]
        keep = max(sounding, key=lambda held: held.order, default=None)
        for held in self._held.everything():
            if held is not keep:
                self._held.let_go(held)
