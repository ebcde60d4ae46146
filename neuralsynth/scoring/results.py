"""What a score says: distances of each recording, their means, and the sounds they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from neuralsynth.spec import Quality

#: What is compared with a recording, from the best that can be hoped for to what a player would have otherwise.
RIVALS = ("floor", "reconstruct", "play", "interpolated", "sampler")


@dataclass(frozen=True)
class SecondOpinion:
    """Three measures that training never saw (`scoring.second_opinion`); 0 for equal sounds, NaN if unknown."""

    constant_q_db: float
    centroid_semitones: float
    envelope_db: float


NOTHING_HEARD = SecondOpinion(float("nan"), float("nan"), float("nan"))


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
    second: tuple[SecondOpinion, ...] = ()  # one for each of `RIVALS`, or none without librosa


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

    @property
    def play_over_sampler(self) -> float:
        """The figure to judge by; NaN without a neighbour, or where the sampler plays the very same sound."""
        mean = self.quality()
        return mean.play_db / mean.sampler_db if mean.sampler_db > 0.0 else float("nan")

    def second_opinions(self) -> dict[str, SecondOpinion]:
        """Means over the recordings for each of `RIVALS`; empty if there is no second opinion."""
        heard = [r.second for r in self.recordings if r.second]
        measures = [f.name for f in fields(SecondOpinion)]
        return {
            rival: SecondOpinion(**{name: _mean([getattr(row[i], name) for row in heard]) for name in measures})
            for i, rival in enumerate(RIVALS)
            if heard
        }

    def to_json(self) -> dict:
        """Plain values for `--json`; missing numbers are null, a missing second opinion is absent."""
        mean, second = self.quality(), self.second_opinions()
        return {
            "instrument": self.instrument,
            "held_out": self.held_out,
            "mean": {f: _plain(getattr(mean, f)) for f in mean.__struct_fields__},
            "play_over_sampler": _plain(self.play_over_sampler),
            **({"second_opinion": _opinions_json(second)} if second else {}),
            "recordings": [_row_json(r) for r in self.recordings],
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


def _row_json(row: RecordingScore) -> dict:
    plain = {k: _plain(v) for k, v in asdict(row).items() if k != "second"}
    second = dict(zip(RIVALS, row.second, strict=True)) if row.second else {}
    return {**plain, **({"second_opinion": _opinions_json(second)} if second else {})}


def _opinions_json(opinions: dict[str, SecondOpinion]) -> dict:
    return {rival: {k: _plain(v) for k, v in asdict(opinion).items()} for rival, opinion in opinions.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _plain(value):
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value
