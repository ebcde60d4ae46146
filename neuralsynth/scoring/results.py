"""What a score says: distances of each recording, their means, and the sounds they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from neuralsynth.spec import Quality


@dataclass(frozen=True)
class RecordingScore:
    """Distances in dB of one recording; NaN where there is no neighbour to compare with."""

    path: str
    note: int
    velocity: int
    floor_db: float
    reconstruct_db: float
    play_db: float
    sampler_db: float
    interpolated_db: float


@dataclass(frozen=True)
class Score:
    """Distances of a folder."""

    instrument: str
    held_out: bool  # True when the model never saw the scored recordings
    recordings: tuple[RecordingScore, ...]
    skipped: tuple[str, ...]

    def quality(self) -> Quality:
        """Means over the recordings, as the spec keeps them."""
        names = [name for name in Quality.__struct_fields__ if name.endswith("_db")]
        means = {name: _mean([getattr(r, name) for r in self.recordings]) for name in names}
        return Quality(**means, n_recordings=len(self.recordings))

    def to_json(self) -> dict:
        """Plain values for `--json`; missing numbers are null."""
        mean = self.quality()
        return {
            "instrument": self.instrument,
            "held_out": self.held_out,
            "mean": {f: _plain(getattr(mean, f)) for f in mean.__struct_fields__},
            "play_over_sampler": _plain(mean.play_db / mean.sampler_db),
            "recordings": [{k: _plain(v) for k, v in asdict(r).items()} for r in self.recordings],
            "skipped": list(self.skipped),
        }


@dataclass(frozen=True)
class Sounds:
    """What one recording was compared by: mono float32 `[S]` from the onset on, at its own pitch and rate."""

    sample_rate: int
    recording: np.ndarray
    floor: np.ndarray
    play: np.ndarray
    sampler: np.ndarray | None  # None where there is no neighbour


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _plain(value):
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value
