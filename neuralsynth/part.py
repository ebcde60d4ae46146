"""`Part`: one patch at work: its voices, its knobs on each channel, its effect chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from neuralsynth.effects import EffectChain
from neuralsynth.lfo_clock import LfoClock
from neuralsynth.midi.channel import Channel
from neuralsynth.midi.mpe import Expression
from neuralsynth.patch import Patch
from neuralsynth.preset_sections import Layer
from neuralsynth.sound import layout
from neuralsynth.sound.envelope import KILL, OFF
from neuralsynth.sound.texture import texture_arrays
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.tails import Timed
from neuralsynth.unison import begins_at, hit_of, players

_FILTERS = ("off", "lowpass", "bandpass", "highpass")
#: How many times as long a release gets with the pedal just short of holding: 2 to this power.
_HALF_PEDAL_OCTAVES = 4.0
#: What the soft pedal leaves of a velocity.
SOFT_PEDAL = 0.7
_WHOLE = Layer("")


@dataclass(frozen=True)
class Surroundings:
    """What reaches a part from outside its channels."""

    beats_per_minute: float = 120.0
    beat: float = 0.0  # song position in quarter notes
    master_gain: float = 1.0
    master_cents: float = 0.0


class VoiceRef(NamedTuple):
    """One voice for good: places are used again, serial numbers are not."""

    part: Part
    voice: int
    serial: int

    @property
    def is_over(self) -> bool:
        """Whether it is silent, stolen, or another note plays in its place."""
        return self.part.pool.serial(self.voice) != self.serial or self.part.pool.is_over(self.voice)


def note_of(layer: Layer, notes: np.ndarray, key: int) -> float:
    """The note number that a layer sounds for a key, where the keys have these `notes`."""
    return float(notes[layer.fixed_key]) if layer.fixed_key >= 0 else float(notes[key]) + layer.transpose_semitones


class Part:
    """A patch's voices, its knobs on each channel, and its effect chain."""

    def __init__(self, patch: Patch, sample_rate: float, max_block_size: int, live_effects: bool = False) -> None:
        """Allocate voices and effects for blocks of at most `max_block_size` samples.

        Args:
            live_effects: whether knobs of effects may be turned while they sound.
        """
        preset, sustain = patch.preset, patch.spec.sustain
        settings = VoiceSettings(
            polyphony=preset.voices.polyphony,
            sustain=(sustain.start_seconds, sustain.end_seconds) if sustain else None,
            filter_kind=_FILTERS.index(preset.filter.type),
            filter_poles=preset.filter.poles,
        )
        self.patch, self.sample_rate = patch, sample_rate
        spec, amount = patch.spec, preset.sound.texture
        texture = texture_arrays(spec.texture, spec.n_partials, sample_rate, amount)
        modulation = patch.panel.wiring.modulation
        self.pool = VoicePool(patch.bank.rows, sample_rate, settings, max_block_size, modulation, texture)
        self.chain = EffectChain(
            preset.effects, sample_rate, max_block_size, patch.path.parent, str(patch.path), live_effects
        )
        self._tail, self._effect_knobs = Timed(self.chain, sample_rate), self.chain.knobs()
        n_slots = len(self.pool.voices.states)
        self._key = np.full(n_slots, -1)
        self._choke = np.zeros(n_slots, np.int64)
        self._one_shot = np.zeros(n_slots, bool)
        self._layers = [_WHOLE] * n_slots
        self._gone: frozenset[int] = patch.panel.routed_directions
        self._lfos = LfoClock(preset)
        #: Channels whose numbers wait for a note that needs them, and what they are worked out from.
        self._waiting: dict[int, tuple[Channel, Expression, Surroundings]] = {}

    def reset(self) -> None:
        """Power-on state: silence. Channels are refreshed by whoever resets."""
        self.pool.reset()
        self.pool.use_sends(False)
        self._tail.reset()
        self.chain.restore()
        self._key[:] = -1
        self._lfos.reset()
        self._waiting.clear()
        self._gone = self.patch.panel.routed_directions

    def prepare(self, keys: Iterable[float]) -> None:
        """Decode these keys ahead."""
        for number in tuple(self._waiting):
            self._settle(number)
        self.patch.bank.prepare((round(key + self.patch.shift) for key in keys), self._gone)

    def refresh(
        self, now: int, number: int, channel: Channel, expression: Expression, surroundings: Surroundings
    ) -> None:
        """Hand a channel's numbers to the voices; they take them up from sample `now` on.

        While no voice sounds they wait for the next one: a kit has a part for each drum, and a song moves controllers
        by the hundred. Only LFOs run on meanwhile.
        """
        self._waiting[number] = channel, expression, surroundings
        if self.pool.is_silent:
            hertz = np.array(self.patch.panel.lfo_hz(channel, expression, surroundings.beats_per_minute))
        else:
            self._settle(number)
            hertz = self.pool.channels[number, layout.CHANNEL_LFO_HZ : layout.CHANNEL_LFO_HZ + 3]
        self._lfos.move(now, number, hertz / self.sample_rate)

    def _settle(self, number: int) -> None:
        """Work out the numbers of a channel that wait."""
        if number not in self._waiting:
            return
        channel, expression, surroundings = self._waiting.pop(number)
        row = self.pool.channels[number]
        self.patch.panel.row(
            channel,
            expression,
            (surroundings.master_gain, surroundings.master_cents),
            surroundings.beats_per_minute,
            row,
        )
        is_half = self.patch.preset.voices.half_pedal and not channel.sustained
        row[layout.CHANNEL_RELEASE_FACTOR] = (
            2.0 ** (_HALF_PEDAL_OCTAVES * channel.pedal_depth / 63.0) if is_half else 1.0
        )
        if row[layout.CHANNEL_REVERB] > 0.0 or row[layout.CHANNEL_CHORUS] > 0.0:
            self.pool.use_sends(True)
        self._reach(self.patch.panel.directions_gone(row))
        self.pool.touch(number)

    def bend(self, now: int, number: int, channel: Channel, expression: Expression, surroundings: Surroundings) -> None:
        """`refresh` for a pitch bend alone, which comes by the hundred."""
        panel = self.patch.panel
        if panel.follows_bend or number in self._waiting or self.pool.is_silent:
            self.refresh(now, number, channel, expression, surroundings)
            return
        cents = panel.cents(channel, expression, surroundings.master_cents)
        self.pool.channels[number, layout.CHANNEL_CENTS] = cents
        self.pool.touch(number)

    def press(self, number: int, channel: Channel, expression: Expression) -> None:
        """Hand channel and key pressure to the voices of a channel."""
        for voice in np.flatnonzero(self.sounding_on(number)):
            self.pool.voices.numbers[voice, layout.PRESSURE] = self._pressure(int(voice), channel, expression)
            self.pool.nudge(int(voice))

    def strike(
        self,
        now: int,
        number: int,
        key: int,
        note: float,
        velocity: float,
        glide: tuple[float, float],
        surroundings: Surroundings,
        layer: Layer = _WHOLE,
        pressure: float = 0.0,
    ) -> list[VoiceRef]:
        """Start the voices of one note: several in unison.

        Args:
            key: the key struck, by which it is known afterwards.
            note: the pitch to sound, a MIDI note number with its fraction.
            velocity: MIDI, 0..127, pedals and curve not yet applied.
            glide: (the note number that a glide starts from, seconds it takes).
            layer: what a layered preset adds.
        """
        self._settle(number)
        voices, bank = self.patch.preset.voices, self.patch.bank
        velocity, sounding = self.patch.curved(velocity), note + self.patch.shift
        gain = self.patch.velocity_gain(velocity) * 10.0 ** (layer.gain_db / 20.0) / np.sqrt(voices.unison)
        whole = Strike(
            note=sounding,
            channel=number,
            gain=gain,
            layer=bank.layer_of(velocity),
            velocity=velocity / 127.0,
            glide_cents=100.0 * (glide[0] - note),
            glide_seconds=glide[1],
            directions=bank.direction_rows(round(sounding), tuple(self._gone)),
        )
        started = []
        hit = hit_of(self.pool.n_started, len(bank.steps), self.patch.preset.sound.variation)
        whole = replace(whole, gain=whole.gain * hit.gain, detune_cents=hit.cents)
        for begin, strike in self._players(now, whole, surroundings, layer):
            voice = self.pool.start(begin, bank.note(round(sounding), hit.variant), strike)
            self._key[voice], self._choke[voice], self._layers[voice] = key, layer.choke_group, layer
            self._one_shot[voice] = layer.one_shot and self.patch.spec.sustain is None
            self.pool.voices.numbers[voice, layout.PRESSURE] = pressure
            started.append(VoiceRef(self, voice, self.pool.serial(voice)))
        return started

    def move(self, now: int, ref: VoiceRef, key: int, note: float, glide: tuple[float, float]) -> None:
        """Let a sounding voice go on at another key (legato); without a glide it changes pitch at once."""
        if ref.is_over:
            return
        sounding, bank = note + self.patch.shift, self.patch.bank
        directions = bank.direction_rows(round(sounding), tuple(self._gone))
        numbers = self.pool.voices.numbers[ref.voice]
        strike = Strike(
            note=sounding,
            glide_cents=100.0 * (glide[0] - note),
            glide_seconds=glide[1],
            detune_cents=numbers[layout.DETUNE_CENTS],
            pan=numbers[layout.VOICE_PAN],
            directions=directions,
        )
        self.pool.move(now, ref.voice, bank.note(round(sounding)), strike)
        self._key[ref.voice] = key

    def release(self, ref: VoiceRef, velocity: int) -> None:
        """Let a voice go into its release; a one-shot sounds on."""
        if not ref.is_over and not self._one_shot[ref.voice]:
            self.pool.release(ref.voice, velocity / 127.0)

    def catch(self, ref: VoiceRef) -> bool:
        """Hold a voice in its release where its level stands."""
        return not ref.is_over and self.pool.catch(ref.voice)

    def set_tempo(self, now: int, beats_per_minute: float) -> None:
        """Tell the effects the tempo from sample `now` on."""
        if self.patch.preset.effects:
            self._tail.change(now, lambda: self.chain.set_tempo(beats_per_minute))

    def turn_effect(self, now: int, target: str, position: float) -> None:
        """Turn a knob of the effect chain, such as "effects.1.room_size", to a place 0..1 of its travel."""
        knob = self._effect_knobs.get(target)
        if knob is not None:
            _, index, name = target.split(".")
            value = knob.from_position(position)
            self._tail.change(now, lambda: self.chain.set_parameter(int(index), name, value))

    def choke(self, number: int, group: int) -> None:
        """End the voices of a choke group on a channel."""
        for voice in np.flatnonzero(self.sounding_on(number) & (self._choke == group)):
            self.pool.kill(int(voice))

    def retune(self, number: int, notes: np.ndarray) -> None:
        """Move the sounding notes of a channel to new pitches: `notes` by key, `[128]`; silent keys stay."""
        for voice in np.flatnonzero(self.sounding_on(number)):
            note = note_of(self._layers[voice], notes, int(self._key[voice]))
            if np.isfinite(note):
                self.pool.voices.numbers[voice, layout.NOTE] = note + self.patch.shift
                self.pool.nudge(int(voice))

    def sounding_on(self, number: int) -> np.ndarray:
        """Which voices sound on a channel, fading ones included, bool `[V]`."""
        states = self.pool.voices.states
        return (states[:, layout.PLAN_START] >= 0) & (states[:, layout.CHANNEL] == number)

    def silence_channel(self, now: int, number: int) -> None:
        """Fade out the voices of a channel; effect tails too, unless another channel sounds through them."""
        self.pool.end(self.sounding_on(number))
        if self.only_fades and self.patch.preset.effects:
            self._tail.silence(now)

    def power_off(self, now: int) -> None:
        """Fade voices and effect tails out within a few milliseconds; effects go back to the preset."""
        self.pool.end(self.pool.voices.states[:, layout.PLAN_START] >= 0)
        if self.patch.preset.effects:
            self._tail.silence(now, self.chain.restore)

    @property
    def only_fades(self) -> bool:
        """Whether no voice sounds but such as fade out because they were silenced or stolen."""
        states = self.pool.voices.states
        return not np.any((states[:, layout.PLAN_START] >= 0) & ~np.isin(states[:, layout.STAGE], (OFF, KILL)))

    def render(self, now: int, out: np.ndarray) -> None:
        """Play the voices from absolute sample `now` on into `out` `[4, n]`: both sides, then the sends."""
        if self.pool.is_silent:
            out[:] = 0.0
        else:
            out[:] = self.pool.render(now, out.shape[1])

    @property
    def effects_rest(self) -> bool:
        """Whether no effect rings, and nothing is to happen to one."""
        return self._tail.rests

    def apply_effects(self, now: int, audio: np.ndarray) -> np.ndarray:
        """Run a rendered block `[2, n]` that begins at `now` through the chain; without effects it stays as it is."""
        return audio if not self.patch.preset.effects else self._tail.process(now, audio)

    def _pressure(self, voice: int, channel: Channel, expression: Expression) -> float:
        return max(expression.pressure, channel.key_pressure[self._key[voice]] / 127.0)

    def _players(
        self, now: int, whole: Strike, surroundings: Surroundings, layer: Layer
    ) -> Iterator[tuple[int, Strike]]:
        """The voices of a note: the sample at which each begins, and how."""
        for player in players(self.patch.preset.voices, self.pool.n_started):
            begin = begins_at(now, player.delay_seconds * self.sample_rate)
            beat = surroundings.beat + (begin - now) / self.sample_rate * surroundings.beats_per_minute / 60.0
            vibrato, first, second = self._lfos.phases(begin, whole.channel, beat)
            yield (
                begin,
                replace(
                    whole,
                    detune_cents=whole.detune_cents + player.detune_cents,
                    pan=layer.pan + player.pan,
                    phase=player.phase,
                    lfo_phases=(vibrato + player.lfo_turns, first + player.lfo_turns, second + player.lfo_turns),
                ),
            )

    def _reach(self, directions: frozenset[int]) -> None:
        """Let the sounding voices know the directions of timbre that are used from now on."""
        new = directions - self._gone
        if not new:
            return
        self._gone |= new
        self.renew_directions()

    def renew_directions(self) -> None:
        """Let the sounding voices look up where their directions of timbre lie."""
        numbers, states = self.pool.voices.numbers, self.pool.voices.states
        for voice in np.flatnonzero(states[:, layout.PLAN_START] >= 0):
            rows = self.patch.bank.direction_rows(round(numbers[voice, layout.NOTE]), tuple(self._gone))
            self.pool.voices.directions[voice, : len(rows)] = rows
