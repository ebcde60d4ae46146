"""`ChannelVoices`: the voices of one channel as its keyboard sees them: splits, layers, tuning, glide, choke groups."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from neuralsynth.part import SOFT_PEDAL, VoiceRef, note_of
from neuralsynth.patch import Patch
from neuralsynth.preset_sections import Layer, Voices
from neuralsynth.settings import settings_of

if TYPE_CHECKING:
    from neuralsynth.band import Band

_GLIDE = next(setting for setting in settings_of(Voices) if setting.name == "glide_seconds")


class Note:
    """One struck note: a voice for each layer, and for each voice of a unison."""

    __slots__ = ("refs",)

    def __init__(self, refs: list[tuple[VoiceRef, Layer]]) -> None:
        self.refs = refs

    @property
    def is_over(self) -> bool:
        """Whether none of its voices sounds."""
        return all(ref.is_over for ref, _ in self.refs)


class ChannelVoices:
    """What a `Keyboard` drives."""

    def __init__(self, band: Band, number: int) -> None:
        self._band, self._number = band, number

    def prepare(self, patch: Patch, keys: Iterable[int]) -> None:
        """Decode what these keys of a patch need."""
        keys = list(keys)
        for layer, zone in patch.zones:
            notes = self._band.notes_of(self._number, zone)
            sounding = {note_of(layer, notes, key) for key in keys if layer.key_low <= key <= layer.key_high}
            self._band.part_for(zone).prepare(note for note in sounding if math.isfinite(note))

    def start(self, key: int, velocity: int, from_key: float | None) -> Note:
        """Start the voices of a note in every layer that its key and velocity reach."""
        band, number = self._band, self._number
        leader = band.leader(number)
        patch, channel = band.patches[leader], band.channels[leader]
        struck = velocity * SOFT_PEDAL if channel.soft else float(velocity)
        zones = [zone for zone in patch.zones if _reaches(zone[0], key, velocity)] if patch else []
        for layer, _ in zones:
            if layer.choke_group:
                for part in band.parts_of(number):
                    part.choke(number, layer.choke_group)
        own = band.channels[number]
        pressure = max(band.zones.combined(number, band.channels).pressure, own.key_pressure[key] / 127.0)
        refs = []
        for layer, zone in zones:
            note = note_of(layer, band.notes_of(number, zone), key)
            if math.isfinite(note):
                glide = self._glide(layer, zone, note, from_key)
                found = band.part_for(zone).strike(
                    band.now, number, key, note, struck, glide, band.surroundings(number), layer, pressure
                )
                refs += [(ref, layer) for ref in found]
        return Note(refs)

    def move(self, note: Note, key: int, velocity: int, from_key: float | None) -> None:  # noqa: ARG002
        """Let a note go on at another key; a legato note keeps its touch."""
        band = self._band
        for ref, layer in note.refs:
            target = note_of(layer, band.notes_of(self._number, ref.part.patch), key)
            if math.isfinite(target):
                glide = self._glide(layer, ref.part.patch, target, from_key)
                ref.part.move(band.now, ref, key, target, glide)

    def release(self, note: Note, velocity: int) -> None:
        """Send a note into its release."""
        for ref, _ in note.refs:
            ref.part.release(ref, velocity)

    def catch(self, note: Note) -> bool:
        """Hold a note in its release where its level stands."""
        caught = [ref.part.catch(ref) for ref, _ in note.refs]
        return any(caught)

    def is_over(self, note: Note) -> bool:
        """Whether a note sounds no more."""
        return note.is_over

    def _glide(self, layer: Layer, patch: Patch, note: float, from_key: float | None) -> tuple[float, float]:
        """The note number that a glide to `note` starts from, and the seconds it takes."""
        if from_key is None:
            return note, 0.0
        notes = self._band.notes_of(self._number, patch)
        start = note_of(layer, notes, round(from_key))
        if not math.isfinite(start):
            return note, 0.0
        channel = self._band.channels[self._band.leader(self._number)]
        voices, position = patch.preset.voices, channel.portamento_position
        seconds = _GLIDE.from_position(position) if position > 0.0 else voices.glide_seconds  # type: ignore[union-attr]
        if voices.glide_mode == "rate":
            seconds *= abs(start - note) / 12.0
        return start, seconds


def _reaches(layer: Layer, key: int, velocity: int) -> bool:
    return layer.key_low <= key <= layer.key_high and layer.velocity_low <= velocity <= layer.velocity_high
