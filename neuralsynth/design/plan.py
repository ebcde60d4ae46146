"""What a batch is to hold: `Job` says it as a person asked for it, `planned` says each sound exactly.

A sound is a pure function of its job and its number: whatever is drawn for it is drawn from (seed, number) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from neuralsynth.design.changes import changed, full_name, knobs_of, values_of
from neuralsynth.errors import UsageError
from neuralsynth.preset import Preset
from neuralsynth.preset_sections import MOST_RANDOM
from neuralsynth.prior import Prior
from neuralsynth.spec import InstrumentSpec
from neuralsynth.units import note_name

MOST_SOUNDS = 1_000_000
FORMAT_VERSION = 1
#: Knobs that `random` draws besides the place in the model: what shapes a sound without making it unusable.
DRAWN = (
    "envelope.attack_seconds", "envelope.release_seconds", "filter.cutoff_hz", "filter.resonance", "sound.noise_db",
)  # fmt: skip
_KEPT = ("sound.pan", "sound.transpose_semitones", "sound.gain_db", "sound.random")  # by what is a little elsewhere
_NEAR = 0.35  # `random` goes that share of the travel from where the preset stands, as a standard deviation
_WORDS = ("dark", "bright"), ("clear", "airy"), ("quick", "slow"), ("short", "long")
_AXES = ("brightness", "noisiness", "attack", "decay")


class Sweep(msgspec.Struct, frozen=True):
    """A knob that goes from one value to another in equal steps of its travel."""

    knob: str
    low: float
    high: float
    steps: int


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """How each sound is played and written. Times in seconds, levels in dB."""

    notes: tuple[int, ...] = (60,)
    velocities: tuple[int, ...] = (100,)
    hold_seconds: float = 1.5
    seconds: float = 4.0
    sample_rate: int = 44_100
    channels: int = 1
    effects: bool = True
    format: str = "wav"
    depth: str = "24"
    loudness_lufs: float | None = None  # None leaves the level as it is
    fade_seconds: float = 0.02  # at the end, where a tail is cut
    describe: bool = True  # measure descriptors and fingerprint, by which sounds are chosen


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what a batch holds."""

    kind: str  # random, sweep, between, around, evolve, points
    presets: tuple[str, ...]  # texts of the presets that it starts from, as TOML
    models: tuple[str, ...]  # digest of the model of each
    count: int = 0
    seed: int = 0
    spread: float = 0.1
    sweeps: tuple[Sweep, ...] = ()
    latin: bool = False  # a Latin hypercube of `count` sounds instead of a grid
    vary: tuple[str, ...] = ()  # knobs that are drawn, besides the usual ones
    parents: tuple[dict[str, float], ...] = ()  # what the picks of an earlier batch changed
    output: Output = Output()
    format_version: int = FORMAT_VERSION

    @property
    def digest(self) -> str:
        """By which a folder knows whether it holds this job."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One sound, exactly."""

    index: int
    name: str
    base: int  # number of the preset that it starts from
    changes: dict[str, float]  # knobs by full name
    note: int
    velocity: int


class Planner:
    """Plans the sounds of a job, one by one and in any order."""

    def __init__(self, job: Job, presets: Sequence[Preset], specs: Sequence[InstrumentSpec]) -> None:
        """Check what can be checked before anything is rendered.

        Raises:
            UsageError: the job asks for nothing, for too much, or for knobs that are not there.
        """
        self.job, self._presets, self._specs = job, list(presets), list(specs)
        self._knobs = [knobs_of(preset, spec) for preset, spec in zip(presets, specs, strict=True)]
        self._values = [values_of(preset, spec) for preset, spec in zip(presets, specs, strict=True)]
        self._sweeps = [
            msgspec.structs.replace(sweep, knob=full_name(sweep.knob, self._knobs[0])) for sweep in job.sweeps
        ]
        self._vary = [full_name(name, self._knobs[0]) for name in job.vary]
        self._draw: Callable[[int], tuple[int, dict[str, float], str]] = getattr(self, f"_{job.kind}")
        self._n_played = len(job.output.notes) * len(job.output.velocities)
        self._latin = _latin_hypercube(job.count, len(self._sweeps), job.seed) if job.latin else None
        if not 1 <= len(self) <= MOST_SOUNDS:
            raise UsageError(f"this would be {len(self)} sounds; ask for 1 to {MOST_SOUNDS:,}")
        for sweep in self._sweeps:
            for end in (sweep.low, sweep.high):
                changed(presets[0], specs[0], {sweep.knob: end})

    @property
    def knobs(self) -> set[str]:
        """Names of everything that can be changed."""
        return {name for knobs in self._knobs for name in knobs}

    def __len__(self) -> int:
        """How many sounds: places times notes times velocities."""
        return self._n_places() * self._n_played

    def planned(self, index: int) -> Planned:
        """The sound of that number."""
        place, played = divmod(index, self._n_played)
        base, changes, words = self._draw(place)
        notes, velocities = self.job.output.notes, self.job.output.velocities
        note, velocity = notes[played // len(velocities)], velocities[played % len(velocities)]
        spec = self._specs[base].around(self._presets[base].sound.point or self._specs[base].default_point)
        note = int(min(max(note, spec.note_low), spec.note_high)) if self.job.kind == "points" else note
        parts = [f"{index:0{len(str(max(len(self) - 1, 1)))}d}", words, note_name(note).replace("#", "s")]
        parts += [f"v{velocity}"] if len(velocities) > 1 else []
        return Planned(
            index=index, name="-".join(part for part in parts if part), base=base, changes=changes, note=note,
            velocity=velocity,
        )  # fmt: skip

    def preset(self, sound: Planned) -> Preset:
        """The preset of a sound."""
        base = sound.base
        preset = changed(self._presets[base], self._specs[base], sound.changes, self._knobs[base])
        return msgspec.structs.replace(preset, name=sound.name)

    def _n_places(self) -> int:
        job = self.job
        if job.kind == "sweep" and not job.latin:
            return int(np.prod([sweep.steps for sweep in self._sweeps])) if self._sweeps else 0
        if job.kind == "points":
            return len(self._presets)
        return job.count

    # ---- kinds of job: (preset, changes, words for the name) of a place

    def _random(self, place: int) -> tuple[int, dict[str, float], str]:
        """A plausible place in the model, with another envelope and filter."""
        rng = np.random.default_rng([self.job.seed, place])
        base = int(rng.integers(len(self._presets)))
        spec, knobs, values = self._specs[base], self._knobs[base], self._values[base]
        changes, turned = _from_prior(spec, spec.prior, rng) if spec.prior else _from_points(spec, rng)
        for name in dict.fromkeys((*DRAWN, *self._vary)):
            if name in knobs:
                position = knobs[name].to_position(values[name]) + _NEAR * rng.standard_normal()
                changes[name] = _rounded(knobs[name].from_position(float(np.clip(position, 0.0, 1.0))))
        return base, changes, _words(turned)

    def _around(self, place: int) -> tuple[int, dict[str, float], str]:
        """The preset, with every knob a little elsewhere; the first one is the preset itself."""
        if place == 0:
            return 0, {}, "itself"
        rng = np.random.default_rng([self.job.seed, place])
        return 0, self._mutated(rng, self._values[0], self.job.spread), f"near-{place}"

    def _evolve(self, place: int) -> tuple[int, dict[str, float], str]:
        """A child of two of the picks: each knob from one of them, then a little elsewhere. The picks come first."""
        parents = self.job.parents
        if place < len(parents):
            return 0, dict(parents[place]), f"parent-{place + 1}"
        rng = np.random.default_rng([self.job.seed, place])
        one, other = (self._values[0] | parents[int(i)] for i in rng.integers(len(parents), size=2))
        mixed = {name: (one if rng.random() < 0.5 else other)[name] for name in self._values[0]}
        return 0, self._mutated(rng, mixed, self.job.spread), f"child-{place - len(parents) + 1}"

    def _sweep(self, place: int) -> tuple[int, dict[str, float], str]:
        """A place of the grid, or of the Latin hypercube."""
        changes = {}
        for number, sweep in enumerate(self._sweeps):
            if self._latin is not None:
                share = float(self._latin[place, number])
            else:
                place, step = divmod(place, sweep.steps)
                share = step / max(sweep.steps - 1, 1)
            knob = self._knobs[0][sweep.knob]
            low, high = knob.to_position(sweep.low), knob.to_position(sweep.high)
            changes[sweep.knob] = _rounded(knob.from_position(low + share * (high - low)))
            if share in (0.0, 1.0):
                changes[sweep.knob] = sweep.high if share else sweep.low
        return 0, changes, "-".join(f"{name.rpartition('.')[2]}-{value:g}" for name, value in changes.items())[:80]

    def _between(self, place: int) -> tuple[int, dict[str, float], str]:
        """A step of the way from the first preset to the second: every knob by its travel, the latent straight."""
        share = place / max(self.job.count - 1, 1)
        own, other = self._values
        has_one_model = len(set(self.job.models)) == 1
        changes = {} if has_one_model else {"morph.position": share}
        for name, knob in self._knobs[0].items():
            if not has_one_model and name.startswith(("latent.", "axes.", "effects.", "morph.")):
                continue  # what leads into another model is the morph
            if name == "sound.random":
                continue  # there is nothing between two draws; the latent has their ends
            if name in other and other[name] != own[name]:
                if name.startswith("latent."):
                    changes[name] = _rounded(own[name] + share * (other[name] - own[name]))
                else:
                    low, high = knob.to_position(own[name]), knob.to_position(other[name])
                    changes[name] = _rounded(knob.from_position(low + share * (high - low)))
        base = 0 if share < 0.5 or not has_one_model else 1  # what is no number changes in the middle
        return base, {n: v for n, v in changes.items() if n in self._knobs[base]}, f"step-{place + 1}"

    def _points(self, place: int) -> tuple[int, dict[str, float], str]:
        """The presets as they are."""
        return place, {}, self._presets[place].name.lower().replace(" ", "-")

    def _mutated(self, rng: np.random.Generator, values: Mapping[str, float], spread: float) -> dict[str, float]:
        changes, steps = {}, {}
        for name, knob in self._knobs[0].items():
            step = spread * rng.standard_normal()
            if name.startswith("latent."):
                steps[name] = 2.0 * step
            elif name.startswith(("effects.", *_KEPT)):
                changes[name] = values[name]
            else:
                position = float(np.clip(knob.to_position(values[name]) + step, 0.0, 1.0))
                changes[name] = _rounded(knob.from_position(position))
        here, away = np.array([values[name] for name in steps]), np.array(list(steps.values()))
        prior = self._specs[0].prior
        there = here + away if prior is None else prior.walked(here, away)
        changes |= {name: _rounded(x) for name, x in zip(steps, there, strict=True)}
        return {name: value for name, value in changes.items() if value != self._values[0][name]}


def _from_prior(
    spec: InstrumentSpec, prior: Prior, rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, float]]:
    """A draw of the file's prior, and how far it is turned along each axis from the nearest point."""
    random = int(rng.integers(1, MOST_RANDOM, endpoint=True))
    character = prior.draw(random)[: spec.character_size]
    changes = {f"latent.{i}": _rounded(x) for i, x in enumerate(character, 1)}
    changes |= {"sound.random": float(random), **{f"axes.{name}": 0.0 for name in spec.axes}}
    away, turned = character - np.array(spec.points[spec.nearest_point(character)]), {}
    for name, axis in spec.axes.items():
        high = np.array(axis.high)
        turned[name] = float(away @ high / max(high @ high, 1e-9))
    return changes, turned


def _from_points(spec: InstrumentSpec, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Somewhere between two of the model's points, turned along its axes, and how far along each."""
    points = sorted(spec.points)
    one, other, share = spec.points[rng.choice(points)], spec.points[rng.choice(points)], rng.random()
    character = (1.0 - share) * np.array(one) + share * np.array(other)
    turned = {name: _rounded(rng.uniform(-1.0, 1.0)) for name in spec.axes}
    changes = {f"latent.{i}": _rounded(x) for i, x in enumerate(character, 1)}
    return changes | {f"axes.{name}": x for name, x in turned.items()}, turned


def _rounded(value: float) -> float:
    """To the digits that a file keeps: a sound made from its manifest is the same sound."""
    return float(f"{float(value):.7g}")


def _words(turned: Mapping[str, float]) -> str:
    """One or two words for how far a sound is turned along each axis."""
    amounts = [turned.get(axis, 0.0) for axis in _AXES]
    words = sorted(((abs(x), pair[x > 0]) for x, pair in zip(amounts, _WORDS, strict=True)), reverse=True)
    return "-".join(word for amount, word in words[:2] if amount > 0.3) or "plain"


def _latin_hypercube(n: int, n_dimensions: int, seed: int) -> np.ndarray:
    """One sound in each of `n` slices of every dimension, `[n, dimensions]` in 0..1.

    McKay, Beckman and Conover, "A comparison of three methods for selecting values of input variables", 1979.
    """
    rng = np.random.default_rng([seed, 0x1A71])
    slices = np.stack([rng.permutation(n) for _ in range(n_dimensions)], axis=1) if n_dimensions else np.zeros((n, 0))
    return (slices + rng.random(slices.shape)) / max(n, 1)
