"""Knobs of effects that move while they sound, without a click and whatever the cut into blocks.

There are two kinds of stage for it, each put around stages that can be turned. Which effect needs which was measured
with pedalboard 0.9.26 and is held by `tests/test_effects.py`; pedalboard itself is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from neuralsynth.effect_stages import CHUNK, GRID, Direct, Stage
from neuralsynth.effect_table import EFFECTS
from neuralsynth.knobs import Knob
from neuralsynth.sound import biquad
from neuralsynth.sound.echoes import Echoes

GLIDE_SECONDS = 0.100
FADE_SECONDS = 0.020
MAX_ECHO_SECONDS = 30.0  # of an echo in time with the music

#: Effects that smooth their knobs themselves and keep a tail.
_GLIDING = ("chorus", "phaser", "reverb")

#: Effects that answer a knob with a jump, and how long they take to settle after it.
_SETTLE_SECONDS = {
    "bitcrush": 0.0, "clipping": 0.0, "compressor": 0.0, "distortion": 0.0, "gain": 0.0, "limiter": 0.050,
    "noise_gate": 0.0, "ladder": 0.060, "lowpass": 0.020, "highpass": 0.020, "low_shelf": 0.050, "high_shelf": 0.050,
    "peak": 0.050,
}  # fmt: skip
_WITHOUT_MEMORY = ("bitcrush", "clipping", "distortion", "gain")

#: Effects with knobs that may move while they sound.
MOVABLE = (*_SETTLE_SECONDS, *_GLIDING, "delay")

_FILTERS: dict[str, Callable[..., np.ndarray]] = {
    "lowpass": biquad.lowpass,
    "highpass": biquad.highpass,
    "low_shelf": biquad.low_shelf,
    "high_shelf": biquad.high_shelf,
    "peak": biquad.peak,
}


def live_knobs(effect_type: str, values: Mapping[str, Any]) -> list[Knob]:
    """The knobs that may move while they sound."""
    if effect_type not in MOVABLE:
        return []
    fixed = "delay_seconds" if is_synced(values) else "centre_delay_ms"  # the latter jumps, and has no room for two
    return [knob for name, knob in _knobs(effect_type).items() if name != fixed]


def is_synced(values: Mapping[str, Any]) -> bool:
    """Whether these are the values of a delay that goes by the tempo."""
    return values.get("sync", "off") != "off"


def movable(
    effect_type: str, values: dict[str, Any], sample_rate: float, plugin: Callable[[], Any], live: bool = True
) -> Stage:
    """A stage for one of `MOVABLE`; `plugin` makes a pedalboard plugin with these values, if one is needed.

    Unless it is `live` its knobs need not move, save the time of a delay that goes by the tempo.
    """
    knobs = _knobs(effect_type)
    if effect_type == "delay":
        longest = MAX_ECHO_SECONDS if is_synced(values) else knobs["delay_seconds"].high
        return Echoes(sample_rate, {name: values[name] for name in knobs}, longest)

    def turnable() -> Turnable:
        is_filter = effect_type in _FILTERS
        return Filter(effect_type, values, sample_rate) if is_filter else Direct(plugin(), sample_rate)

    if not live:
        return turnable()
    if effect_type in _GLIDING:
        return Gliding(turnable(), knobs, values, sample_rate)
    pair = turnable(), turnable()
    return CrossFaded(pair, sample_rate, _SETTLE_SECONDS[effect_type], effect_type not in _WITHOUT_MEMORY)


def _knobs(effect_type: str) -> dict[str, Knob]:
    return {setting.name: setting for setting in EFFECTS[effect_type].settings if isinstance(setting, Knob)}


class Turnable(Stage, Protocol):
    """A stage without latency whose knobs can be set at once, click or no click."""

    def turn(self, name: str, value: float) -> None:
        """Set a knob; heard from the next sample on."""


class Filter(biquad.Biquad):
    """One of our own filters."""

    latency_samples = 0

    def __init__(self, effect_type: str, values: dict[str, float], sample_rate: float):
        self._design, self._values, self._sample_rate = _FILTERS[effect_type], dict(values), sample_rate
        super().__init__(self._design(sample_rate, **values))

    def turn(self, name: str, value: float) -> None:
        """Set a knob at once, click or no click."""
        self._values[name] = value
        self._coefficients[:] = self._design(self._sample_rate, **self._values)


class Gliding:
    """A stage whose knobs move in small steps, one at each multiple of `GRID` samples since the last reset.

    For effects that smooth their knobs themselves from one step to the next, and keep a tail while they do.
    """

    latency_samples = 0

    def __init__(self, stage: Turnable, knobs: Mapping[str, Knob], values: Mapping[str, float], sample_rate: float):
        self._stage, self._knobs = stage, knobs
        self._n_steps = max(round(GLIDE_SECONDS * sample_rate / GRID), 1)
        self._now = {name: knob.to_position(values[name]) for name, knob in knobs.items()}
        self._target = dict(values)
        self._steps_left: dict[str, int] = {}
        self._place = 0  # on the grid

    def move(self, name: str, value: float) -> None:
        """Begin to move a knob at the next multiple of `GRID`. [audio thread]"""
        self._target[name] = value
        self._steps_left[name] = self._n_steps

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next block. [audio thread]"""
        parts, start, n = [], 0, audio.shape[1]
        while start < n:
            if self._place == 0:
                self._take_step()
            stop = min(start + GRID - self._place, n) if self._steps_left else n
            parts.append(self._stage.process(np.ascontiguousarray(audio[:, start:stop])))
            self._place = (self._place + stop - start) % GRID
            start = stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _take_step(self) -> None:
        for name, left in list(self._steps_left.items()):
            if left == 1:
                self._arrive(name)
                continue
            knob, now = self._knobs[name], self._now[name]
            self._now[name] += (knob.to_position(self._target[name]) - now) / left
            self._stage.turn(name, knob.from_position(self._now[name]))
            self._steps_left[name] = left - 1

    def _arrive(self, name: str) -> None:
        self._now[name] = self._knobs[name].to_position(self._target[name])
        self._stage.turn(name, self._target[name])
        del self._steps_left[name]

    def reset(self) -> None:
        """Start afresh, each knob where it was going."""
        for name in list(self._steps_left):
            self._arrive(name)
        self._place = 0
        self._stage.reset()


class CrossFaded:
    """Two stages of the same kind: a move turns the one that is not heard, lets it settle and fades over to it.

    For effects that answer a turned knob with a jump. Moves that come meanwhile wait for the end of the fade. Both
    stages hear all input, unless the effect has no memory: then the second one runs during a move only.
    """

    latency_samples = 0

    def __init__(
        self, stages: tuple[Turnable, Turnable], sample_rate: float, settle_seconds: float, remembers: bool = True
    ):
        self._heard, self._other = stages
        self._remembers = remembers
        self._n_settle = round(settle_seconds * sample_rate)
        n_fade = max(round(FADE_SECONDS * sample_rate), 1)
        self._rise = np.arange(1, n_fade + 1, dtype=np.float32) / np.float32(n_fade)
        self._place: int | None = None  # samples since a knob of the other stage was turned
        self._wanted: dict[str, float] = {}  # moves not yet begun
        self._turned: dict[str, float] = {}  # the move under way

    def move(self, name: str, value: float) -> None:
        """Begin to move a knob with the next sample, or when the move under way is over. [audio thread]"""
        self._wanted[name] = value

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next block. [audio thread]"""
        parts, start, n = [], 0, audio.shape[1]
        while start < n:
            if self._place is None and self._wanted:
                self._begin()
            stop = min(start + self._until_change(), n)
            parts.append(self._part(np.ascontiguousarray(audio[:, start:stop])))
            start = stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _begin(self) -> None:
        self._turned, self._wanted, self._place = self._wanted, {}, 0
        for name, value in self._turned.items():
            self._other.turn(name, value)

    def _until_change(self) -> int:
        """Samples until the stage has settled, or else until it is all that is heard."""
        if self._place is None:
            return CHUNK
        return (self._n_settle if self._place < self._n_settle else self._n_settle + len(self._rise)) - self._place

    def _part(self, audio: np.ndarray) -> np.ndarray:
        heard = self._heard.process(audio)
        if self._place is None and not self._remembers:
            return heard
        other = self._other.process(audio)
        if self._place is None:
            return heard
        faded = self._place - self._n_settle
        self._place += audio.shape[1]
        if faded < 0:
            return heard
        rise = self._rise[faded : faded + audio.shape[1]]
        if faded + len(rise) == len(self._rise):
            self._swap()
        return heard + (other - heard) * rise

    def _swap(self) -> None:
        self._heard, self._other, self._place = self._other, self._heard, None
        for name, value in self._turned.items():
            self._other.turn(name, value)

    def reset(self) -> None:
        """Start afresh, each knob where it was going."""
        for stage in (self._heard, self._other):
            for name, value in {**self._turned, **self._wanted}.items():
                stage.turn(name, value)
            stage.reset()
        self._place, self._wanted, self._turned = None, {}, {}
