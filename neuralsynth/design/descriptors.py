"""What a rendered sound is like, in numbers that can be sorted, filtered and drawn: a pure function of its samples.

`DESCRIPTORS` is the table of them. Most have a second name without a unit, their *position* from 0 to 1, so that
`brightness > 0.7` can be said without thinking in hertz. `fingerprint` is what duplicates, variety and maps go by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from neuralsynth.design import fingerprints, spectral
from neuralsynth.design.fingerprints import fingerprint
from neuralsynth.design.frames import Frames
from neuralsynth.design.loudness import SOFTEST_LUFS, integrated_lufs
from neuralsynth.units import gain_to_db

__all__ = ["DESCRIPTORS", "Descriptor", "Descriptors", "Position", "describe", "fingerprint", "measured"]

_RISE_FROM, _RISE_TO = 0.1, 10.0 ** (-3.0 / 20.0)  # shares of the highest level
_LONGEST_DECAY_SECONDS = 30.0
_CREST_STEPS = 10  # after the attack, in which a sudden sound is at its highest
_DECADES_TO_NEPERS = 6.0 * math.log(10.0)  # of energy, in 60 dB


@dataclass(frozen=True)
class Position:
    """How a descriptor is mapped to 0..1, under a name of its own; what lies outside the range is at its end."""

    name: str
    low: float
    high: float
    is_log: bool = False

    def of(self, value: float) -> float:
        """Where `value` lies between `low` (0) and `high` (1)."""
        if self.is_log:
            share = math.log(max(value, 1e-9) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(min(max(share, 0.0), 1.0), 4)


@dataclass(frozen=True)
class Descriptor:
    """One number of `Descriptors`."""

    name: str
    unit: str
    says: str
    digits: int  # after the point, that are kept
    position: Position | None = None


DESCRIPTORS = (
    Descriptor("loudness_lufs", "LUFS", "integrated loudness (ITU-R BS.1770-4); -70 is silence", 2),
    Descriptor("peak_db", "dBFS", "highest sample; -200 is silence", 2),
    Descriptor("duration_seconds", "s", "from the onset until the level is 60 dB below its highest for good", 3),
    Descriptor(
        "attack_seconds",
        "s",
        "time to rise, as if along a straight ramp (read between 10 % and 71 % of the highest level)",
        4,
        Position("attack", 0.005, 2.0, is_log=True),
    ),
    Descriptor(
        "decay_seconds",
        "s",
        "time to fall by 60 dB after the attack, from where its energy lies; 30 does not fall",
        3,
        Position("decay", 0.05, _LONGEST_DECAY_SECONDS, is_log=True),
    ),
    Descriptor("pitch_hz", "Hz", "fundamental, where there is one", 2),
    Descriptor("pitch_confidence", "", "trust in the pitch, 0 to 1", 3),
    Descriptor(
        "centroid_hz",
        "Hz",
        "centre of the magnitudes of the mean spectrum",
        1,
        Position("brightness", 100.0, 10_000.0, is_log=True),
    ),
    Descriptor(
        "bandwidth_hz",
        "Hz",
        "standard deviation of the magnitudes around the centroid",
        1,
        Position("bandwidth", 50.0, 10_000.0, is_log=True),
    ),
    Descriptor(
        "noise_db",
        "dB",
        "energy between the peaks of the spectrum, of all energy; 0 is noise",
        2,
        Position("noisiness", -60.0, 0.0),
    ),
    Descriptor(
        "roughness", "", "beating of partials (Sethares 1993); 1 is two equal sines that beat as roughly as two can", 3
    ),
    Descriptor(
        "movement_db_per_second",
        "dB/s",
        "change of the spectrum besides a steady rise or fall, mean over bands",
        2,
        Position("movement", 2.0, 100.0, is_log=True),
    ),
    Descriptor("stereo_width", "", "energy of the side signal, of all: 0 mono, 0.5 unrelated sides, 1 opposite", 4),
)
_DIGITS = {one.name: one.digits for one in DESCRIPTORS}


class Descriptors(msgspec.Struct, frozen=True):
    """What was measured of a sound; None where there is nothing to measure. Units and meanings in `DESCRIPTORS`."""

    loudness_lufs: float = SOFTEST_LUFS
    peak_db: float = -200.0
    duration_seconds: float = 0.0
    attack_seconds: float | None = None
    decay_seconds: float | None = None
    pitch_hz: float | None = None
    pitch_confidence: float = 0.0
    centroid_hz: float | None = None
    bandwidth_hz: float | None = None
    noise_db: float | None = None
    roughness: float | None = None
    movement_db_per_second: float | None = None
    stereo_width: float = 0.0

    def row(self) -> dict[str, float | None]:
        """All numbers and positions by name: what expressions are asked about."""
        values: dict[str, float | None] = msgspec.structs.asdict(self)
        for one in DESCRIPTORS:
            if one.position is not None:
                value = values[one.name]
                values[one.position.name] = None if value is None else one.position.of(value)
        return values


def names() -> tuple[str, ...]:
    """The names that `Descriptors.row` gives, in their order."""
    return tuple(Descriptors().row())


def describe(audio: np.ndarray, sample_rate: int) -> Descriptors:
    """Measure a sound, float32 `[C, n]` of one or two channels.

    Raises:
        UsageError: another shape, a rate out of range, or numbers that are not finite.
    """
    return measured(audio, sample_rate)[0]


def measured(audio: np.ndarray, sample_rate: int) -> tuple[Descriptors, np.ndarray]:
    """`describe` and `fingerprint` in one go, which takes less time than both.

    Raises:
        UsageError: as `describe`.
    """
    frames = Frames.of(audio, sample_rate)
    evidence = fingerprints.pitch_evidence(frames)
    return _described(frames, evidence), fingerprints.of_frames(frames, evidence)


def _described(frames: Frames, evidence: np.ndarray) -> Descriptors:
    if frames.is_silent:
        return Descriptors()
    pitch_hz, confidence = spectral.pitch(frames, evidence)
    centroid_hz, bandwidth_hz = spectral.centroid_and_bandwidth_hz(frames)
    first, last = frames.heard
    found: dict[str, float | None] = {
        "loudness_lufs": integrated_lufs(frames.audio, frames.sample_rate),
        "peak_db": float(gain_to_db(frames.peak)),
        "duration_seconds": (last - first) * frames.step_seconds,
        "attack_seconds": _attack_seconds(frames),
        "decay_seconds": _decay_seconds(frames),
        "pitch_hz": pitch_hz,
        "pitch_confidence": confidence,
        "centroid_hz": centroid_hz,
        "bandwidth_hz": bandwidth_hz,
        "noise_db": spectral.noise_db(frames),
        "roughness": spectral.roughness(frames),
        "movement_db_per_second": spectral.movement_db_per_second(frames),
        "stereo_width": _stereo_width(frames.audio),
    }
    rounded: dict[str, Any] = {k: v if v is None else round(v, _DIGITS[k]) for k, v in found.items()}
    return Descriptors(**rounded)


def _attack_seconds(frames: Frames) -> float:
    begins, ends = (_first_above(frames, share) for share in (_RISE_FROM, _RISE_TO))
    return (ends - begins) * frames.step_seconds / (_RISE_TO - _RISE_FROM)


def _first_above(frames: Frames, share: float) -> int:
    """The step where the level first exceeds that share of its highest."""
    return int(np.argmax(frames.level > share * float(frames.level.max())))


def _decay_seconds(frames: Frames) -> float:
    """60 dB over the rate of the exponential whose energy, cut off where the sound ends, has the same mean time.

    The mean time of a decay `exp(-k·t)` between 0 and 1 is `1/k - 1/(exp(k) - 1)`: 0.5 where it does not fall.
    """
    risen = _first_above(frames, _RISE_TO)
    start = risen + int(np.argmax(frames.level[risen : risen + _CREST_STEPS]))
    energy = np.square(frames.level[start : frames.heard[1]])
    if len(energy) < 2:
        return 0.0
    mean_time = float((energy * (np.arange(len(energy)) + 0.5)).sum() / energy.sum()) / len(energy)
    seconds = len(energy) * frames.step_seconds
    slowest = _DECADES_TO_NEPERS * seconds / _LONGEST_DECAY_SECONDS
    low, high = slowest, 1e5
    for _ in range(50):  # the mean time falls with k, so halving the range (of its logarithm) finds it
        middle = math.sqrt(low * high)
        expected = 1.0 / middle - (1.0 / math.expm1(middle) if middle < 700.0 else 0.0)
        low, high = (middle, high) if expected > mean_time else (low, middle)
    return _DECADES_TO_NEPERS * seconds / low


def _stereo_width(audio: np.ndarray) -> float:
    if audio.shape[0] == 1:
        return 0.0
    middle = float(np.square(audio[0] + audio[1]).sum(dtype=np.float64))
    side = float(np.square(audio[0] - audio[1]).sum(dtype=np.float64))
    return side / (middle + side)
