"""`Band`: 16 channels and the parts they play on: who has to know what when something changes.

It holds the state of the channels, their keyboards, MPE zones, tunings and patches, and what reaches all of them:
tempo, master level and tuning. Which message asks for which change, `performer` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from neuralsynth.channel_voices import ChannelVoices
from neuralsynth.keyboard import Keyboard, KeyboardSettings
from neuralsynth.midi.channel import RESET, Channel
from neuralsynth.midi.mpe import Zones
from neuralsynth.part import Part, Surroundings
from neuralsynth.patch import Patch
from neuralsynth.sound.voices import N_CHANNELS
from neuralsynth.tuning import TuningStore

_PERCUSSION = 9  # channel 10: master coarse tuning leaves it alone


class Band:
    """Channels, keyboards and parts. `now` is the absolute sample at which the next change happens."""

    def __init__(self, parts: Mapping[int, Part], start: Mapping[int, Patch], beat_at: Callable[[int], float]) -> None:
        """Seat the players; `power_on` starts them.

        Args:
            parts: `id` of a patch of a single sound -> the part that plays it.
            start: the patch that each channel starts with.
            beat_at: song position in quarter notes at a sample.
        """
        self.parts, self._start, self._beat_at = parts, dict(start), beat_at
        self.now = 0
        self.channels = [Channel() for _ in range(N_CHANNELS)]
        self.zones, self.tunings = Zones(), TuningStore()
        self._voices = [ChannelVoices(self, number) for number in range(N_CHANNELS)]
        self.keyboards: list[Keyboard] = []
        self.patches: list[Patch | None] = [None] * N_CHANNELS
        self.silenced: list[int] = []  # samples at which everything, sends included, is to fall silent

    def power_on(self, beats_per_minute: float) -> None:
        """Every channel as switched on, with the patch it starts with."""
        self.zones.reset()
        self.tunings.reset()
        self.beats_per_minute = beats_per_minute
        self.master_gain, self.fine_cents, self.coarse_cents = 1.0, 0.0, 0.0
        self.keyboards = [Keyboard(voices) for voices in self._voices]
        for number, channel in enumerate(self.channels):
            channel.power_on()
            patch = self._start.get(number)
            self.patches[number] = None
            if patch is not None:
                self.assign(number, patch)
        for part in self.parts.values():
            part.set_tempo(self.now, beats_per_minute)

    def prepare(self, number: int, patch: Patch, keys: Iterable[int]) -> None:
        """Decode ahead what these keys of a channel need in a patch."""
        self._voices[number].prepare(patch, keys)

    def held_notes(self) -> Counter[tuple[int, int]]:
        """The gated notes, by channel 0..15 and key: held by a key or by a pedal."""
        return Counter((number, key) for number, board in enumerate(self.keyboards) for key, _ in board.held())

    def leader(self, number: int) -> int:
        """The channel whose program, pedals and levels hold for a channel: its MPE master, or itself."""
        master = self.zones.master_of(number)
        return number if master is None else master

    def followers(self, number: int) -> list[int]:
        """The channels that a message on a channel concerns: itself, and the members of an MPE master."""
        return [number, *self.zones.members(number)]

    def parts_of(self, number: int) -> list[Part]:
        """The parts that the patch of a channel plays on."""
        patch = self.patches[self.leader(number)]
        return [self.parts[id(zone)] for zone in {id(z): z for _, z in (patch.zones if patch else ())}.values()]

    def part_for(self, patch: Patch) -> Part:
        """The part that plays a patch of a single sound."""
        return self.parts[id(patch)]

    def notes_of(self, number: int, patch: Patch) -> np.ndarray:
        """The pitch of every key of a channel in a patch, as note numbers; NaN for silent keys."""
        return self.tunings.tuning(number, patch.tuning).notes

    def surroundings(self, number: int) -> Surroundings:
        """What reaches a channel from outside."""
        coarse = 0.0 if number == _PERCUSSION else self.coarse_cents
        beat = self._beat_at(self.now)
        return Surroundings(self.beats_per_minute, beat, self.master_gain, self.fine_cents + coarse)

    def assign(self, number: int, patch: Patch | None) -> None:
        """Put a patch on a channel; sounding notes stay with the old one."""
        self.patches[number] = patch
        if patch is not None:
            _, first = patch.zones[0]
            spec, panel = first.model.spec, first.panel
            bend_range = first.preset.modulation.bend_range_semitones
            self.channels[number].use_preset(bend_range, tuple(spec.axes), spec.character_size, panel.travel)
        for follower in self.followers(number):
            self.configure(follower)
            self.refresh(follower)

    def configure(self, number: int) -> None:
        """Tell a keyboard how its patch and its switches want voices played."""
        leader = self.leader(number)
        patch, channel = self.patches[leader], self.channels[leader]
        if patch is None:
            return
        voices = patch.zones[0][1].preset.voices
        settings = KeyboardSettings(voices.mode, voices.priority, voices.glide, voices.pedal_catch)  # type: ignore[arg-type]
        mode = None if channel.mono is None else ("mono" if channel.mono else "poly")
        self.keyboards[number].configure(
            settings.switched(mode=mode, legato=channel.legato, portamento=channel.portamento)  # type: ignore[arg-type]
        )

    def refresh(self, number: int) -> None:
        """Hand all numbers of a channel to the parts that have to know them."""
        concerned = list(self._concerned(number))
        if not concerned:
            return
        expression, surroundings = self.zones.combined(number, self.channels), self.surroundings(number)
        for part in concerned:
            part.refresh(self.now, number, self.channels[self.leader(number)], expression, surroundings)

    def bend(self, number: int) -> None:
        """`refresh` for the pitch wheel."""
        expression, surroundings = self.zones.combined(number, self.channels), self.surroundings(number)
        for part in self._concerned(number):
            part.bend(self.now, number, self.channels[self.leader(number)], expression, surroundings)

    def press(self, number: int) -> None:
        """`refresh` for channel and key pressure."""
        expression = self.zones.combined(number, self.channels)
        for part in self._concerned(number):
            part.press(number, self.channels[number], expression)

    def reset_controllers(self, number: int) -> None:
        """Reset all controllers of one channel (CC121), its pedals and pressure too."""
        self.channels[number].control(RESET, 0)
        self.lift_pedals(number)
        self.configure(number)
        self.refresh(number)
        self.press(number)

    def lift_pedals(self, number: int) -> None:
        """Let go of what the pedals of a channel hold."""
        self.keyboards[number].sostenuto(down=False)
        self.keyboards[number].sustain(down=False)

    def end_notes(self, number: int) -> None:
        """Lift the keys and pedals of a channel."""
        self.lift_pedals(number)
        self.keyboards[number].all_notes_off()

    def silence(self, number: int) -> None:
        """All sound off on a channel; when none sounds any more, in the sends too."""
        self.keyboards[number].forget()
        for part in self.parts.values():
            part.silence_channel(self.now, number)
        if all(part.only_fades for part in self.parts.values()):
            self.silenced.append(self.now)

    def power_off(self) -> None:
        """Fade everything out."""
        for part in self.parts.values():
            part.power_off(self.now)
        self.silenced.append(self.now)

    def retune(self, channels: Iterable[int]) -> None:
        """Move the sounding notes of some channels to the pitches that their keys have now."""
        for number in channels:
            for part in self._concerned(number):
                part.retune(number, self.notes_of(number, part.patch))

    def set_tempo(self, beats_per_minute: float) -> None:
        """Tell LFOs and echoes a new tempo."""
        self.beats_per_minute = beats_per_minute
        for part in self.parts.values():
            part.set_tempo(self.now, beats_per_minute)
        for number in range(N_CHANNELS):
            if any(part.patch.panel.wiring.uses_tempo for part in self._concerned(number)):
                self.refresh(number)

    def _concerned(self, number: int) -> Iterator[Part]:
        """Parts that have to know about a channel: those it plays on, and those that still sound for it."""
        own = self.parts_of(number)
        yield from own
        for part in self.parts.values():
            if part not in own and not part.pool.is_silent and part.sounding_on(number).any():
                yield part
