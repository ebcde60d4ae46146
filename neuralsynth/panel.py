"""`Panel`: every knob of a preset on a MIDI channel, as the numbers that voices read.

The preset says where knobs stand, NRPN and learned controllers put them elsewhere, controllers 70 to 79 turn them
from there, and routes move them while a note sounds. Here all that becomes one row of `sound.layout`'s `channels`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from neuralsynth.midi.channel import Channel
from neuralsynth.midi.chart import CONTROLLERS
from neuralsynth.midi.mpe import TIMBRE, Expression
from neuralsynth.preset import Preset
from neuralsynth.routes import DESTINATIONS, Destination, destination
from neuralsynth.sound import layout
from neuralsynth.units import db_to_gain
from neuralsynth.wiring import Wiring, beats_of

FIXED = tuple(DESTINATIONS)
_TURNED = [row for row in CONTROLLERS.values() if row.target]
_BASE = layout.CHANNEL_BASE
#: The controller of the one knob that is turned but cannot be routed to.
_VIBRATO_DELAY = next(row for row in _TURNED if row.target == "modulation.vibrato_delay_seconds")
#: A time of zero that a controller turns up grows from here.
_FIRST_SECONDS = 0.03


class Panel:
    """The knobs of one preset and its model; `row` works out a channel's numbers."""

    def __init__(self, preset: Preset, axes: Iterable[str], latent_size: int, morph_to: Preset | None = None) -> None:
        """Gather knobs, controls of timbre and routes.

        Args:
            axes: the names of the model's axes.
            latent_size: how many numbers its latent has.
            morph_to: the preset at the other end of the morph, whose knobs the morph moves to.
        """
        self.preset = preset
        self.controls = self._named_controls(axes, latent_size)
        self.places = {name: i for i, name in enumerate((*FIXED, *self.controls))}
        self._own = {name: self._own_value(name) for name in self.places}
        self._knobs: dict[str, Destination] = {name: found for name in self.places if (found := destination(name))}
        has_filter = preset.filter.type != "off"
        self._turners = {name: _turners_of(name, has_filter) for name in self.places}
        #: Where every knob stands on its travel, 0 to 1, before any controller.
        self.travel = {name: knob.knob.to_position(self._own[name]) for name, knob in self._knobs.items()}
        self.wiring = Wiring(preset, self.places, self._own, self.controls, morph_to)

    @property
    def follows_bend(self) -> bool:
        """Whether a route follows the pitch wheel."""
        return "bend" in self.wiring.channel_sources

    @property
    def routed_directions(self) -> frozenset[int]:
        """Directions of timbre that routes may go."""
        return frozenset(self._directions(name for name in self.wiring.routed))

    @property
    def own_directions(self) -> frozenset[int]:
        """Directions of timbre that the preset goes before any controller, and those that its routes may go."""
        morphs = {"morph.position"} if self._own["morph.position"] != 0.0 else set()
        return self.routed_directions | frozenset(self._directions(morphs))

    def value(self, name: str, channel: Channel, expression: Expression) -> float:
        """A knob on a channel, in its own unit: NRPN, learned controllers and controllers 70 to 79 included."""
        value, turners = self._placed(name, channel), self._turners[name]
        if not turners:
            return value
        octaves = self._knobs[name].octaves
        for number, span in turners:
            turned = expression.timbre if number == TIMBRE else channel.deflection(number)
            if turned != 0.0:
                value = _turned(value, turned, span, name.endswith("_seconds")) if octaves else value + turned * span
        return value

    def _placed(self, name: str, channel: Channel) -> float:
        """Where the preset, an NRPN or a learned controller puts a knob."""
        position = channel.knobs.get(name)
        return self._own[name] if position is None else self._knobs[name].knob.from_position(position)

    def row(
        self, channel: Channel, expression: Expression, levels: tuple[float, float], tempo_bpm: float, row: np.ndarray
    ) -> None:
        """Write a channel's numbers into `row` of `VoicePool.channels`.

        Args:
            expression: bend, pressure and timbre, those of an MPE master included.
            levels: master volume as a gain, and master tuning in cents.
        """

        def value(name: str) -> float:
            return self.value(name, channel, expression)

        self._write_levels(channel, value, levels[0], row)
        row[layout.CHANNEL_CENTS] = self.cents(channel, expression, levels[1])
        full = self._placed("modulation.vibrato_depth_cents", channel)
        extra = value("modulation.vibrato_depth_cents") - full
        reach = full if channel.modulation_depth_cents is None else channel.modulation_depth_cents
        row[layout.CHANNEL_VIBRATO_CENTS] = max(0.0, reach * channel.high_resolution(1) + extra)
        for lfo, hertz in enumerate(self.lfo_hz(channel, expression, tempo_bpm)):
            row[layout.CHANNEL_LFO_HZ + lfo] = hertz
        own, turned = self.preset.modulation.vibrato_delay_seconds, channel.deflection(_VIBRATO_DELAY.number)
        row[layout.CHANNEL_VIBRATO_DELAY] = _turned(own, turned, _VIBRATO_DELAY.span, is_time=True)
        for i, first in enumerate((layout.D_ENVELOPE, layout.D_ENVELOPE_2)):
            at = layout.CHANNEL_ENVELOPE + 4 * i
            row[at : at + 4] = [value(name) for name in FIXED[first : first + 4]]
        base = self._base_values(value)
        row[_BASE : _BASE + len(base)] = base
        sources = self.wiring.read(channel, expression)
        row[layout.CHANNEL_SOURCES : layout.CHANNEL_SOURCES + len(sources)] = sources
        row[layout.CHANNEL_MODULATED] = float(self._is_modulated(base))

    def cents(self, channel: Channel, expression: Expression, master_cents: float) -> float:
        """How far a channel's pitch is moved: bend, tunings by RPN, fine tuning."""
        tune = self.value("sound.tune_cents", channel, expression) - self._own["sound.tune_cents"]
        registered = channel.fine_tune_cents + 100.0 * channel.coarse_tune_semitones
        return expression.bend_cents + registered + tune + master_cents

    def lfo_hz(self, channel: Channel, expression: Expression, tempo_bpm: float) -> tuple[float, float, float]:
        """Speeds of vibrato, LFO 1 and LFO 2."""
        speeds = [self.value("modulation.vibrato_rate_hz", channel, expression)]
        for name, lfo in (("lfo_1", self.preset.lfo_1), ("lfo_2", self.preset.lfo_2)):
            beats = beats_of(lfo.sync)
            own = self.value(f"{name}.rate_hz", channel, expression)
            speeds.append(own if beats is None else tempo_bpm / 60.0 / beats)
        return speeds[0], speeds[1], speeds[2]

    def directions_gone(self, row: np.ndarray) -> frozenset[int]:
        """The directions of timbre that a channel's own numbers go."""
        base = row[_BASE : _BASE + len(self.places)]
        return frozenset(self._directions(name for name, i in self.places.items() if base[i] != 0.0))

    def _directions(self, names) -> list[int]:
        found = []
        for name in names:
            if name == "morph.position":
                found.append(0)
            elif name in self.controls:
                found += [1 + 2 * self.controls.index(name), 2 + 2 * self.controls.index(name)]
        return found

    def _named_controls(self, axes: Iterable[str], latent_size: int) -> tuple[str, ...]:
        """What can be moved in the model: axes, latent numbers of routes, then others, while there is room."""
        latents = [f"latent.{i}" for i in range(1, latent_size + 1)]
        routed = [route.to for route in self.preset.routes if route.to in latents]
        names = [*(f"axes.{name}" for name in axes), *routed, *latents]
        return tuple(dict.fromkeys(names))[: layout.MAX_CONTROLS]

    def _own_value(self, name: str) -> float:
        """Where the preset puts a knob."""
        section, _, key = name.partition(".")
        if section == "axes":
            return self.preset.sound.axes.get(key, 0.0)
        return 0.0 if section == "latent" else float(getattr(getattr(self.preset, section), key))

    def _write_levels(self, channel: Channel, value, master_gain: float, row: np.ndarray) -> None:
        """Gains to left and right and to the sends: 40·log10 law, constant-power pan, centre 1.0."""
        level = channel.level() * master_gain * float(db_to_gain(value("sound.gain_db")))
        left, right = channel.balance()
        pan = min(max(channel.pan() + value("sound.pan"), -1.0), 1.0)
        angle = (pan + 1.0) * math.pi / 4.0
        row[layout.CHANNEL_LEVEL_LEFT], row[layout.CHANNEL_LEVEL_RIGHT] = level * left, level * right
        row[layout.CHANNEL_LEFT] = level * left * math.sqrt(2.0) * math.cos(angle)
        row[layout.CHANNEL_RIGHT] = level * right * math.sqrt(2.0) * math.sin(angle)
        row[layout.CHANNEL_PAN] = pan
        row[layout.CHANNEL_REVERB] = level * channel.reverb_send()
        row[layout.CHANNEL_CHORUS] = level * channel.chorus_send()

    def _base_values(self, value) -> np.ndarray:
        """Where every destination stands before the routes, in the units of `sound.layout`."""
        base = np.zeros(len(self.places))
        base[layout.D_NOISE] = value("sound.noise_db")
        base[layout.D_DYNAMICS] = value("sound.dynamics")
        base[layout.D_CUTOFF] = math.log2(max(value("filter.cutoff_hz"), 8.0))
        base[layout.D_RESONANCE] = value("filter.resonance")
        for lfo in (1, 2):
            base[layout.D_LFO_DEPTH[lfo - 1]] = value(f"lfo_{lfo}.depth")
        base[layout.D_MORPH] = value("morph.position")
        for name in self.controls:
            base[self.places[name]] = value(name) - self._own[name]
        return base

    def _is_modulated(self, base: np.ndarray) -> bool:
        """Whether voices have more to work out than their own spectrum, envelope and vibrato."""
        moved = [layout.D_NOISE, layout.D_DYNAMICS, layout.D_MORPH, *range(layout.N_FIXED_DESTINATIONS, len(base))]
        return self.preset.filter.type != "off" or len(self.wiring.modulation.amounts) > 0 or bool(np.any(base[moved]))


@lru_cache(maxsize=1024)
def _turners_of(name: str, has_filter: bool) -> tuple[tuple[int, float], ...]:
    """The controllers that turn a knob, and how far at their end: octaves or the knob's unit."""
    found = []
    for row in _TURNED:
        stands_in = row.stand_in is not None and not has_filter
        if name == (row.stand_in if stands_in else row.target):
            found.append((row.number, row.stand_in_span if stands_in else row.span))
    return tuple(found)


def _turned(value: float, deflection: float, octaves: float, is_time: bool) -> float:
    """A time, rate or cutoff turned by a controller; a time of zero can be turned up too."""
    start = value + _FIRST_SECONDS * max(deflection, 0.0) if is_time else value
    return start * 2.0 ** (deflection * octaves)
