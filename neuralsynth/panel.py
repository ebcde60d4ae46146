"""`Panel`: every knob of a preset on a MIDI channel, as the numbers that voices read.

The preset says where knobs stand, NRPN and learned controllers put them elsewhere, controllers 70 to 79 turn them
from there, and routes move them while a note sounds. Here all that becomes one row of `sound.layout`'s `channels`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from neuralsynth.midi.channel import Channel
from neuralsynth.midi.chart import CONTROLLERS, Controller
from neuralsynth.midi.mpe import TIMBRE, Expression
from neuralsynth.preset import Preset
from neuralsynth.preset_sections import Lfo
from neuralsynth.routes import DESTINATIONS, Destination, Route, controller_of, destination
from neuralsynth.settings import settings_of
from neuralsynth.sound import layout
from neuralsynth.units import db_to_gain, note_value_beats

FIXED = tuple(DESTINATIONS)
#: One step of a latent number that a route or an NRPN moves by 1 is a standard deviation; so far it reaches.
LATENT_REACH = 2.0
_LFO_SHAPES = next(s for s in settings_of(Lfo) if s.name == "shape").options  # type: ignore[union-attr]
_VOICE_SOURCES = {
    "one": layout.S_ONE,
    "lfo_1": layout.S_LFO_1,
    "lfo_2": layout.S_LFO_2,
    "envelope": layout.S_ENVELOPE,
    "envelope_2": layout.S_ENVELOPE_2,
    "velocity": layout.S_VELOCITY,
    "release_velocity": layout.S_RELEASE_VELOCITY,
    "key": layout.S_KEY,
    "random": layout.S_RANDOM,
    "pressure": layout.S_PRESSURE,
    "morph": layout.S_MORPH,
}
#: What opens the filter without a route, and the knob that says how far.
_FILTER_SOURCES = {"key": "key_tracking", "velocity": "velocity_octaves", "envelope_2": "envelope_octaves"}
_TURNED = [row for row in CONTROLLERS.values() if row.target]
_BASE = layout.CHANNEL_BASE
#: The controller of the one knob that is turned but cannot be routed to.
_VIBRATO_DELAY = next(row for row in _TURNED if row.target == "modulation.vibrato_delay_seconds")
#: A time of zero that a controller turns up grows from here.
_FIRST_SECONDS = 0.03


def beats_of(note_value: str) -> float | None:
    """Quarter notes of one turn of an LFO, None for one that does not follow the tempo."""
    return None if note_value == "off" else note_value_beats(note_value)


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
        self._channel_sources: list[str] = []
        routes = [*preset.routes, *self._filter_routes(morph_to), *self._morph_routes(morph_to)]
        self.modulation = self._compiled([r for r in routes if r.to in self.places])
        self._routed = {r.to for r in routes}
        self.uses_tempo = any(beats_of(lfo.sync) for lfo in (preset.lfo_1, preset.lfo_2))

    @property
    def follows_bend(self) -> bool:
        """Whether a route follows the pitch wheel."""
        return "bend" in self._channel_sources

    @property
    def routed_directions(self) -> frozenset[int]:
        """Directions of timbre that routes may go."""
        return frozenset(self._directions(name for name in self._routed))

    @property
    def travel(self) -> dict[str, float]:
        """Where every knob stands on its travel, 0 to 1, before any controller."""
        return {name: knob.knob.to_position(self._own[name]) for name, knob in self._knobs.items()}

    def value(self, name: str, channel: Channel, expression: Expression) -> float:
        """A knob on a channel, in its own unit: NRPN, learned controllers and controllers 70 to 79 included."""
        knob, value = self._knobs[name], self._placed(name, channel)
        for row in _TURNED:
            span = self._span(row, name)
            if span != 0.0:
                turned = expression.timbre if row.number == TIMBRE else channel.deflection(row.number)
                value = (
                    _turned(value, turned, span, name.endswith("_seconds")) if knob.octaves else value + turned * span
                )
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
        row[layout.CHANNEL_VIBRATO_DELAY] = _turned(
            self.preset.modulation.vibrato_delay_seconds,
            channel.deflection(_VIBRATO_DELAY.number),
            _VIBRATO_DELAY.span,
            True,
        )
        for i, first in enumerate((layout.D_ENVELOPE, layout.D_ENVELOPE_2)):
            at = layout.CHANNEL_ENVELOPE + 4 * i
            row[at : at + 4] = [value(name) for name in FIXED[first : first + 4]]
        base = self._base_values(value)
        row[_BASE : _BASE + len(base)] = base
        for i, source in enumerate(self._channel_sources):
            row[layout.CHANNEL_SOURCES + i] = self._source(source, channel, expression)
        row[layout.CHANNEL_MODULATED] = float(self._is_modulated(base))

    def cents(self, channel: Channel, expression: Expression, master_cents: float) -> float:
        """How far a channel's pitch is moved: bend, tunings by RPN, fine tuning."""
        tune = self.value("sound.tune_cents", channel, expression) - self._own["sound.tune_cents"]
        return (
            expression.bend_cents
            + channel.fine_tune_cents
            + 100.0 * channel.coarse_tune_semitones
            + tune
            + master_cents
        )

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
        """What can be moved in the model: axes, the latent numbers that routes lead to, then the others, while room is."""
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

    def _span(self, row: Controller, name: str) -> float:
        """How far a controller at its end turns a knob, in octaves or the knob's unit."""
        stands_in = row.stand_in is not None and self.preset.filter.type == "off"
        if name != (row.stand_in if stands_in else row.target):
            return 0.0
        return row.stand_in_span if stands_in else row.span

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

    def _rooms(self) -> np.ndarray:
        """How far each control of timbre is from both ends of its travel."""
        own = np.array([self._own[name] for name in self.controls])
        reach = np.array([LATENT_REACH if name.startswith("latent.") else 1.0 for name in self.controls])
        return np.maximum(np.stack([reach + own, reach - own], axis=1), 1e-6)

    def _is_modulated(self, base: np.ndarray) -> bool:
        """Whether voices have more to work out than their own spectrum, envelope and vibrato."""
        moved = [layout.D_NOISE, layout.D_DYNAMICS, layout.D_MORPH, *range(layout.N_FIXED_DESTINATIONS, len(base))]
        return self.preset.filter.type != "off" or len(self.modulation.amounts) > 0 or bool(np.any(base[moved]))

    def _source(self, source: str, channel: Channel, expression: Expression) -> float:
        """What a channel's source says now."""
        if source == "bend":
            return channel.bend
        if source == "timbre":
            return expression.timbre
        number = controller_of(source)
        return 0.0 if number is None else channel.high_resolution(number)

    def _filter_routes(self, other: Preset | None) -> list[Route]:
        """What the filter's own knobs ask for, as routes; the morph takes them to what the other end asks for."""
        here, routes = self.preset.filter, []
        there = here if other is None or other.filter.type == "off" else other.filter
        for source, name in _FILTER_SOURCES.items():
            octaves = getattr(here, name)
            routes += _routes(source, "filter.cutoff_hz", octaves)
            routes += _routes(source, "filter.cutoff_hz", getattr(there, name) - octaves, via="morph")
        return [] if here.type == "off" else routes

    def _morph_routes(self, other: Preset | None) -> list[Route]:
        """The way of every knob to where the other end of the morph has it."""
        routes = []
        for name in () if other is None else FIXED:
            if name != "morph.position":
                section, _, key = name.partition(".")
                here, there = self._own[name], float(getattr(getattr(other, section), key))
                way = math.log2(max(there, 1e-3) / max(here, 1e-3)) if DESTINATIONS[name].octaves else there - here
                routes += _routes("morph", name, way, via="wheel" if name == "modulation.vibrato_depth_cents" else "")
        return routes

    def _compiled(self, routes: Sequence[Route]) -> layout.Modulation:
        """Routes and oscillators as arrays, in the order of `_stage`."""
        stages = [self._stage(route) for route in routes]
        ordered = [route for stage in range(5) for route, s in zip(routes, stages, strict=True) if s == stage]
        table = [[self._source_index(r.source), self._source_index(r.via or "one"), self.places[r.to]] for r in ordered]
        ends = np.cumsum([stages.count(stage) for stage in range(5)])
        return layout.Modulation(
            np.array(table, np.int64).reshape(-1, 3),
            np.array([route.amount for route in ordered], np.float64),
            ends.astype(np.int64),
            self._lfos(),
            np.array([len(self.controls)], np.int64),
            self._rooms(),
        )

    @staticmethod
    def _stage(route: Route) -> int:
        """When a route is followed: those that others wait for come first.

        What moves the morph (0), then LFO 1 and the second envelope (1), LFO 2 (2), the rest (3), and last what the
        morph moves (4). LFOs move the morph with the rest.
        """
        followed = (route.source, route.via)
        if route.to == "morph.position":
            return 3 if "lfo_1" in followed or "lfo_2" in followed else 0
        if route.to.startswith(("lfo_1.", "envelope_2.")):
            return 1
        if route.to.startswith("lfo_2."):
            return 2
        return 4 if "morph" in followed else 3

    def _source_index(self, source: str) -> int:
        if source in _VOICE_SOURCES:
            return _VOICE_SOURCES[source]
        if source not in self._channel_sources:
            self._channel_sources.append(source)
        return layout.N_VOICE_SOURCES + self._channel_sources.index(source)

    def _lfos(self) -> np.ndarray:
        """The fixed settings of vibrato, LFO 1 and LFO 2."""
        rows = np.zeros((3, 4))
        rows[0, layout.LFO_DELAY] = self.preset.modulation.vibrato_delay_seconds
        for i, lfo in enumerate((self.preset.lfo_1, self.preset.lfo_2), 1):
            rows[i] = _LFO_SHAPES.index(lfo.shape), lfo.delay_seconds, lfo.fade_seconds, not lfo.per_voice
        return rows


def _routes(source: str, to: str, way: float, via: str = "") -> list[Route]:
    """Routes that go all the way together: a single one has a limit."""
    count = math.ceil(abs(way) / DESTINATIONS[to].limit)
    return [Route(source, to, way / max(count, 1), via)] * count


def _turned(value: float, deflection: float, octaves: float, is_time: bool) -> float:
    """A time, rate or cutoff turned by a controller; a time of zero can be turned up too."""
    start = value + _FIRST_SECONDS * max(deflection, 0.0) if is_time else value
    return start * 2.0 ** (deflection * octaves)
