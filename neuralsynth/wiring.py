"""`Wiring`: a preset's routes, filter, morph and oscillators as the arrays that voices follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from neuralsynth.midi.channel import Channel
from neuralsynth.midi.mpe import Expression
from neuralsynth.preset import Preset
from neuralsynth.preset_sections import Lfo
from neuralsynth.routes import DESTINATIONS, Route, controller_of
from neuralsynth.settings import settings_of
from neuralsynth.sound import layout
from neuralsynth.units import note_value_beats

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


def beats_of(note_value: str) -> float | None:
    """Quarter notes of one turn of an LFO, None for one that does not follow the tempo."""
    return None if note_value == "off" else note_value_beats(note_value)


class Wiring:
    """What moves what in one preset."""

    def __init__(
        self,
        preset: Preset,
        places: Mapping[str, int],
        own: Mapping[str, float],
        controls: Sequence[str],
        morph_to: Preset | None,
    ) -> None:
        """Lay the routes.

        Args:
            places: destination -> its number in `sound.layout`.
            own: destination -> where the preset puts it.
            controls: the destinations that are controls of timbre.
            morph_to: the preset at the other end of the morph, whose knobs the morph moves to.
        """
        self.preset, self._places, self._own, self._controls = preset, places, own, controls
        self.channel_sources: list[str] = []
        routes = [*preset.routes, *self._filter_routes(morph_to), *self._morph_routes(morph_to)]
        self.modulation = self._compiled([route for route in routes if route.to in places])
        self.routed = frozenset(route.to for route in routes)
        self.uses_tempo = any(beats_of(lfo.sync) for lfo in (preset.lfo_1, preset.lfo_2))

    def read(self, channel: Channel, expression: Expression) -> list[float]:
        """What the sources of a channel say now, in the order of their numbers."""
        return [self._source(source, channel, expression) for source in self.channel_sources]

    def _source(self, source: str, channel: Channel, expression: Expression) -> float:
        """What a channel's source says now."""
        if source == "bend":
            return channel.bend
        if source == "timbre":
            return expression.timbre
        number = controller_of(source)
        return 0.0 if number is None else channel.high_resolution(number)

    def _rooms(self) -> np.ndarray:
        """How far each control of timbre is from both ends of its travel."""
        own = np.array([self._own[name] for name in self._controls])
        reach = np.array([LATENT_REACH if name.startswith("latent.") else 1.0 for name in self._controls])
        return np.maximum(np.stack([reach + own, reach - own], axis=1), 1e-6)

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
        for name in () if other is None else DESTINATIONS:
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
        table = [
            [self._source_index(r.source), self._source_index(r.via or "one"), self._places[r.to]] for r in ordered
        ]
        ends = np.cumsum([stages.count(stage) for stage in range(5)])
        return layout.Modulation(
            np.array(table, np.int64).reshape(-1, 3),
            np.array([route.amount for route in ordered], np.float64),
            ends.astype(np.int64),
            self._lfos(),
            np.array([len(self._controls)], np.int64),
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
        if source not in self.channel_sources:
            self.channel_sources.append(source)
        return layout.N_VOICE_SOURCES + self.channel_sources.index(source)

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
