"""What a multisample consists of, and its SFZ text (https://sfzformat.com): no sound here.

A `Sample` covers some keys and some velocities; within it, every key has its own level and tuning and every velocity
its own gain, so that a player comes out where the synthesizer does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from neuralsynth.units import note_name

#: SFZ players let a release fall by this much in its time (they take e^-9), neuralsynth by 60 dB.
_SFZ_RELEASE_DB, _OUR_RELEASE_DB = 20.0 * 9.0 / math.log(10.0), 60.0
_MOST_RELEASE_SECONDS = 100.0
#: Volume in SFZ 1, dB.
_LEAST_VOLUME_DB, _MOST_VOLUME_DB = -144.0, 6.0


@dataclass(frozen=True)
class KeyRange:
    """Keys that share a sample, and the one it is taken at."""

    low: int
    centre: int
    high: int


@dataclass(frozen=True)
class VelocityRange:
    """Velocities that share a sample, and the one it is taken at."""

    low: int
    struck: int
    high: int


@dataclass(frozen=True)
class Sample:
    """One sample file and what it plays."""

    file: str  # in the folder of the .sfz
    centre: int
    velocities: VelocityRange
    volume_db: Mapping[int, float]  # by key
    cents: Mapping[int, float]  # by key: how far from an equal semitone for each key
    gains: Mapping[int, float]  # by velocity, 0..1
    loop: tuple[int, int] | None  # first and last sample


@dataclass(frozen=True)
class Zone:
    """Samples that play in one way: one layer of a preset."""

    release_seconds: float
    samples: Sequence[Sample]
    one_shot: bool = False
    choke_group: int = 0
    is_mono: bool = False  # a new note ends the last one
    is_pitched: bool = True  # follows the key
    vibrato: tuple[float, float, float] = (5.0, 0.0, 0.0)  # Hz, cents at full wheel, seconds of rest
    bend_semitones: float = 2.0


@dataclass(frozen=True)
class Multisample:
    """A whole instrument."""

    title: str
    zones: Sequence[Zone] = field(default_factory=list)

    @property
    def n_regions(self) -> int:
        """Regions in its SFZ text."""
        return sum(len(_runs(sample)) for zone in self.zones for sample in zone.samples)


def key_ranges(keys: Sequence[int], every: int) -> list[KeyRange]:
    """Cut keys (rising; gaps are allowed) into ranges of `every` keys, each sampled in its middle."""
    ranges = []
    cuts = [i for i, (a, b) in enumerate(pairwise(keys), 1) if b != a + 1]
    for first, stop in pairwise([0, *cuts, len(keys)]):
        run = keys[first:stop]
        for start in range(0, len(run), every):
            some = run[start : start + every]
            ranges.append(KeyRange(some[0], some[len(some) // 2], some[-1]))
    return ranges


def velocity_ranges(struck: Sequence[float], low: int = 1, high: int = 127) -> list[VelocityRange]:
    """Cut the velocities `low` to `high` halfway between those struck; ranges that hold nothing are left out."""
    wanted = sorted({min(max(round(velocity), low), high) for velocity in struck})
    edges = [low, *((a + b) // 2 + 1 for a, b in pairwise(wanted)), high + 1]
    return [VelocityRange(a, v, b - 1) for (a, b), v in zip(pairwise(edges), wanted, strict=True)]


def curve_points(velocities: VelocityRange) -> list[int]:
    """Velocities of a range at which its gain is written down: a straight line between them errs by 0.1 dB at most."""
    points, velocity = [], velocities.low
    while velocity < velocities.high:
        points.append(velocity)
        velocity += max(1, velocity // 6)
    return [*points, velocities.high]


def sample_name(name: str, key: int, velocity: int, layer: int | None = None) -> str:
    """A file name, without ending, in plain ASCII: `cello-064-E4-v100`, with the layer if there are several."""
    last = "" if layer is None else f"-layer{layer}"
    return f"{name}-{key:03d}-{note_name(key).replace('#', 's')}-v{velocity:03d}{last}"


def is_sample_of(name: str, file: str) -> bool:
    """Whether a file is called as one of the samples of the instrument `name`."""
    rest = r"-\d{3}-[A-G]s?-?\d-v\d{3}(-layer\d+)?\.(wav|flac)"
    return re.fullmatch(re.escape(name) + rest, file) is not None


def plain(text: str) -> str:
    """Text for a comment line: printable ASCII."""
    return re.sub(r"[^ -~]", "_", text)


def sfz_text(instrument: Multisample) -> str:
    """The SFZ file."""
    lines = [f"// {plain(instrument.title)}", "<global> amp_veltrack=100"]
    for number, zone in enumerate(instrument.zones):
        shared = _zone(zone, number)
        for sample in zone.samples:
            lines += ["", f"<group> sample={sample.file} {shared}", _placing(zone, sample), _curve(sample)]
            lines += [_region(*run) for run in _runs(sample)]
    return "\n".join(lines) + "\n"


def _zone(zone: Zone, number: int) -> str:
    """What all groups of a zone say."""
    release = min(zone.release_seconds * _SFZ_RELEASE_DB / _OUR_RELEASE_DB, _MOST_RELEASE_SECONDS)
    words = [f"ampeg_release={release:.3f}"]
    if not zone.is_pitched:
        words.append("pitch_keytrack=0")
    if zone.choke_group:
        words.append(f"group={zone.choke_group} off_by={zone.choke_group} off_mode=fast")
    elif zone.is_mono:
        words.append(f"group={100 + number} off_by={100 + number} off_mode=normal")
    bend = round(100.0 * zone.bend_semitones)
    if bend != 200:
        words.append(f"bend_up={bend} bend_down={-bend}")
    hertz, cents, rest = zone.vibrato
    if cents > 0.0:
        words.append(f"pitchlfo_freq={hertz:g} pitchlfo_depthcc1={round(cents)} pitchlfo_delay={rest:g}")
    return " ".join(words)


def _placing(zone: Zone, sample: Sample) -> str:
    velocities = sample.velocities
    line = f"pitch_keycenter={sample.centre} lovel={velocities.low} hivel={velocities.high} "
    if sample.loop is None:
        return line + f"loop_mode={'one_shot' if zone.one_shot else 'no_loop'}"
    return line + f"loop_mode=loop_continuous loop_start={sample.loop[0]} loop_end={sample.loop[1]}"


def _curve(sample: Sample) -> str:
    return " ".join(f"amp_velcurve_{velocity}={gain:.4g}" for velocity, gain in sample.gains.items())


def _region(low: int, high: int, volume_db: float, cents: int) -> str:
    semitones = round(cents / 100.0)
    tuning = f" transpose={semitones}" if semitones else ""
    tuning += f" tune={cents - 100 * semitones}" if cents != 100 * semitones else ""
    return f"<region> lokey={low} hikey={high} volume={volume_db:.1f}{tuning}"


def _runs(sample: Sample) -> list[tuple[int, int, float, int]]:
    """Keys in a row of the same level and tuning: `(low, high, dB, cents)`."""
    runs: list[tuple[int, int, float, int]] = []
    for key, volume in sorted(sample.volume_db.items()):
        level = round(float(np.clip(volume, _LEAST_VOLUME_DB, _MOST_VOLUME_DB)), 1)
        cents = round(sample.cents[key])
        if runs and runs[-1][1:] == (key - 1, level, cents):
            runs[-1] = (runs[-1][0], key, level, cents)
        else:
            runs.append((key, key, level, cents))
    return runs
