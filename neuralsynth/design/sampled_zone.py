"""One layer of a preset on its way to a sampler: which notes, how loud, looped where, written to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralsynth.audiofile import subtype_for, write_audio
from neuralsynth.design.loops import Loop, find_loop, sealed
from neuralsynth.design.mapping import (
    KeyRange,
    Sample,
    VelocityRange,
    Zone,
    curve_points,
    key_ranges,
    sample_name,
    velocity_ranges,
)
from neuralsynth.design.sampling import NoteSource, level_db, stays
from neuralsynth.errors import UsageError

#: Velocity layers where a firmer touch changes more than the level.
DEFAULT_LAYERS = 3
LEAST_SECONDS, MOST_SECONDS = 2.0, 60.0
_FADE_SECONDS = 0.2
#: Samples are stored with this peak; the mapping restores their levels.
_PEAK = 10.0 ** (-1.0 / 20.0)

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class SfzOptions:
    """How a preset is cut into samples.

    `every`: semitones from sample to sample. `layers`: velocity layers, None for as many as the instrument deserves.
    `seconds`: the longest sample. `keys`: lowest and highest key, None for the instrument's range.
    """

    every: int = 3
    layers: int | None = None
    seconds: float = 10.0
    effects: bool = False
    file_format: str = "wav"
    depth: str = "24"
    sample_rate: int = 44_100
    keys: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Hold the ranges.

        Raises:
            UsageError: an option is out of range.
        """
        limits = {"every": (1, 24), "layers": (1, 16), "seconds": (LEAST_SECONDS, MOST_SECONDS)}
        for name, (low, high) in (limits | {"sample_rate": (8000, 192_000)}).items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value!r}; use {low:g} to {high:g}")
        if self.keys is not None and not 0 <= self.keys[0] <= self.keys[1] <= 127:
            raise UsageError(f"keys are {self.keys!r}; use (lowest, highest) within 0 to 127")
        subtype_for(Path(f"sample.{self.file_format}"), self.depth)


class Job:
    """What all zones share while they work."""

    def __init__(self, options: SfzOptions, folder: Path, n_notes: int, progress: Progress | None) -> None:
        self.options, self.folder, self.written = options, folder, list[Path]()
        self._total, self._done, self._progress = n_notes, 0, progress
        self.seconds, self.n_cut = 0.0, 0

    def step(self) -> None:
        """Another note was played."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)

    def write(self, name: str, audio: np.ndarray, loop: tuple[int, int] | None, key: int) -> str:
        """Write a sample; returns its path in the folder."""
        path = self.folder / "samples" / f"{name}.{self.options.file_format}"
        write_audio(path, audio, self.options.sample_rate, self.options.depth, loop, key)
        self.written.append(path)
        self.seconds += audio.shape[1] / self.options.sample_rate
        return f"samples/{path.name}"

    def warnings(self) -> tuple[str, ...]:
        """What went otherwise than one would wish."""
        if not self.n_cut:
            return ()
        return (f"{self.n_cut} notes ring for longer than {self.options.seconds:g} s and are faded out; use --seconds",)


class ZoneWork:
    """One layer of the preset, from notes to a `Zone`."""

    def __init__(self, source: NoteSource, keys: Sequence[int], options: SfzOptions) -> None:
        self.source, layer = source, source.layer
        self.ranges = key_ranges(keys, options.every)
        if layer.fixed_key >= 0:
            self.ranges = [KeyRange(keys[0], keys[len(keys) // 2], keys[-1])]
        n_layers = options.layers or (DEFAULT_LAYERS if source.has_dynamics else 1)
        self.touches = velocity_ranges(source.touches(n_layers), layer.velocity_low, layer.velocity_high)
        self.is_stereo, self._levels = False, dict[tuple[int, int], float]()
        self._to_measure = sorted({note for cell in self._cells() for note in _probes(*cell)})
        self.n_notes = len(self._to_measure) + len(self.ranges) * len(self.touches)
        self._keys = list(keys)

    def measure(self, job: Job) -> None:
        """How loud every key is at each layer's velocity, and every sampled key at several more."""
        source = self.source
        source.prepare(self._keys)
        for key, velocity in self._to_measure:
            audio = source.held(key, velocity, source.level_seconds)
            self._levels[key, velocity] = level_db(audio, source.level_seconds, source.sample_rate)
            self.is_stereo = self.is_stereo or not np.array_equal(audio[0], audio[1])
            job.step()

    def build(self, job: Job, is_stereo: bool, name: str, number: int | None) -> Zone:
        """Play, loop and write all samples of the zone; its `number` is None where it is the only one."""
        source, wheel = self.source, self.source.zone.preset.modulation
        samples = []
        for keys, touch in self._cells():
            file = sample_name(name, keys.centre, touch.struck, number)
            samples.append(self._sample(job, keys, touch, is_stereo, file))
            job.step()
        return Zone(
            release_seconds=source.release_seconds(self.ranges[len(self.ranges) // 2].centre, job.options.effects),
            samples=samples,
            one_shot=source.layer.one_shot,
            choke_group=source.layer.choke_group,
            is_mono=source.is_mono,
            is_pitched=source.layer.fixed_key < 0,
            vibrato=(wheel.vibrato_rate_hz, wheel.vibrato_depth_cents, wheel.vibrato_delay_seconds),
            bend_semitones=wheel.bend_range_semitones,
        )

    def _cells(self) -> Iterator[tuple[KeyRange, VelocityRange]]:
        return ((keys, touch) for keys in self.ranges for touch in self.touches)

    def _sample(self, job: Job, keys: KeyRange, touch: VelocityRange, is_stereo: bool, name: str) -> Sample:
        audio, loop = self._played(job, keys.centre, touch.struck)
        audio = audio if is_stereo else audio[:1]
        audio = audio * np.float32(_PEAK / max(float(np.max(np.abs(audio))), 1e-9))
        ends = (loop.start, loop.last) if loop else None
        gains, gain_db = self._gains(keys.centre, touch)
        source = self.source
        cents, volume = {}, {}
        for key in range(keys.low, keys.high + 1):
            semitones = source.note(key) - source.note(keys.centre)
            own = level_db(audio, source.level_seconds * 2.0 ** (semitones / 12.0), source.sample_rate, ends)
            volume[key] = self._levels[key, touch.struck] - own + gain_db
            cents[key] = 100.0 * (semitones - (key - keys.centre)) if source.layer.fixed_key < 0 else 0.0
        return Sample(job.write(name, audio, ends, keys.centre), keys.centre, touch, volume, cents, gains, ends)

    def _played(self, job: Job, key: int, velocity: int) -> tuple[np.ndarray, Loop | None]:
        """A note as it is stored, at its own level."""
        source, rate = self.source, self.source.sample_rate
        if source.sustains:
            shortest, longest = source.loop_seconds
            shortest = min(shortest, 0.5 * job.options.seconds)
            settled = min(source.settled_seconds, job.options.seconds - shortest - 3.0 * _FADE_SECONDS)
            seconds = min(settled + longest + 2.0 * _FADE_SECONDS, job.options.seconds)
            n_fade, n_least = round(_FADE_SECONDS * rate), round(shortest * rate)
            audio, first = source.held(key, velocity, seconds), round(settled * rate)
            loop = find_loop(audio, first, n_fade, n_least) if stays(audio, first, rate) else None
            if loop is not None:
                return sealed(audio, loop, n_fade, rate), loop
        audio, is_whole = source.until_quiet(key, velocity, job.options.seconds)
        job.n_cut += not is_whole
        return audio, None

    def _gains(self, key: int, touch: VelocityRange) -> tuple[dict[int, float], float]:
        """The gain of each velocity of a layer, 1 for the loudest, and how far that lies above the sampled one, dB."""
        velocities = _touches_of(touch)
        levels = np.array([self._levels[key, velocity] for velocity in velocities])
        levels -= self._levels[key, touch.struck]
        points = curve_points(touch)
        wanted = np.interp(np.log(points), np.log(velocities), levels)
        loudest = float(np.max(wanted))
        return dict(zip(points, 10.0 ** ((wanted - loudest) / 20.0), strict=True)), loudest


def _touches_of(touch: VelocityRange) -> list[int]:
    """Velocities of a layer at which the level of the sampled key is measured."""
    low, struck, high = touch.low, touch.struck, touch.high
    return sorted({low, round((low * struck) ** 0.5), struck, (struck + high) // 2, high})


def _probes(keys: KeyRange, touch: VelocityRange) -> Iterator[tuple[int, int]]:
    """The notes whose level says how loud a sample is to be at each key and velocity."""
    for key in range(keys.low, keys.high + 1):
        yield key, touch.struck
    for velocity in _touches_of(touch):
        yield keys.centre, velocity
