"""Measures the way from one sound to another: `python benchmarks/morph.py [INSTRUMENT …] [--pairs N] [--json]`.

Between any two named points of an instrument file, and between any two of the files at their default points, the way is
walked in 32 equal steps, and a note that both have is played at each of the 33 places: along the straight line through
latent space between points (with `--played` through the morph of a preset, as the morph's knob goes), through the morph
of a preset between files. Reported are the largest step over the mean step, in the distance of
`neuralsynth.analysis.distance`, and how far any place is from its key by Praat's tracker.
The noise of all places is drawn from the same numbers, so that the way is measured and not the dice; and all begin at
their first sample, so they are not trimmed to their onsets: a slow tone's onset is found a millisecond later from one
place to the next, and that would count for more than all that can be heard to change.

Promised: the largest step is at most 3 times the mean one, and every place is within 10 cents. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.pitch import loud_part, praat_cents
from neuralsynth.analysis import distance
from neuralsynth.errors import NeuralSynthError
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import bare_preset, shipped_models
from neuralsynth.preset_sections import Morph
from neuralsynth.scoring import play_spectrum
from neuralsynth.spec import InstrumentSpec

STEPS = 32
LARGEST_OVER_MEAN, MOST_CENTS = 3.0, 10.0
RATE, VELOCITY = 44_100, 90


@dataclass(frozen=True)
class Way:
    """What lies between two sounds."""

    one: str
    other: str
    note: int
    mean_step_db: float
    largest_step_db: float
    at: float  # where the largest step ends, 0..1
    most_cents: float  # furthest from the key

    @property
    def ratio(self) -> float:
        """The largest step over the mean one; 1 for two equal sounds."""
        return self.largest_step_db / self.mean_step_db if self.mean_step_db > 0.0 else 1.0

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.ratio <= LARGEST_OVER_MEAN and self.most_cents <= MOST_CENTS


def judge(one: str, other: str, note: int, places: Sequence[np.ndarray], sample_rate: int = RATE) -> Way:
    """Measure a way from the sounds at its places, mono `[S]` each, all of `note`."""
    steps = [distance(a, b, sample_rate, trimmed=False) for a, b in pairwise(places)]
    cents = [abs(praat_cents(loud_part(audio, note, sample_rate), note, sample_rate)) for audio in places]
    most = max(cents) if np.isfinite(cents).all() else float("inf")  # a place without a pitch is out of tune
    largest = int(np.argmax(steps))
    return Way(one, other, note, float(np.mean(steps)), steps[largest], (largest + 1) / len(steps), float(most))


def between_points(model: InstrumentModel, one: str, other: str, note: int, seconds: float = 1.0) -> list[np.ndarray]:
    """A note at every place of the straight line between two named points of an instrument file."""
    spec = model.spec
    share = np.linspace(0.0, 1.0, STEPS + 1)[:, None]
    latents = (1.0 - share) * np.array(spec.points[one]) + share * np.array(spec.points[other])
    batch = model.decode(latents, np.full(STEPS + 1, note), np.full(STEPS + 1, VELOCITY / 127.0))
    sustain = (spec.sustain.start_seconds, spec.sustain.end_seconds) if spec.sustain else None
    n_samples = round(seconds * RATE)
    return [play_spectrum(batch.note(i, spec.grid()), note, n_samples, RATE, sustain) for i in range(STEPS + 1)]


def played(model: InstrumentModel, one: str, morph: Morph, note: int, seconds: float = 1.0) -> list[np.ndarray]:
    """A note at every place of a preset's morph that leads from a named point of an instrument file, "" its default."""
    bare = bare_preset(model.path)
    still = msgspec.structs.replace(bare.sound, texture=0.0, point=one)
    preset = msgspec.structs.replace(bare, sound=still, morph=morph)
    instrument = Instrument(preset, model, model.path)
    messages = [[*_morphed(i / STEPS), (bytes([0x90, note, VELOCITY]), 0.0)] for i in range(STEPS + 1)]
    return [instrument(m, seconds, RATE, num_channels=1)[0] for m in messages]


def _morphed(position: float) -> list[tuple[bytes, float]]:
    """The NRPN that sets the morph's position."""
    coarse, fine = divmod(round(position * 16383), 128)
    pairs = ((99, 1), (98, 21), (6, coarse), (38, fine))
    return [(bytes([0xB0, controller, value]), 0.0) for controller, value in pairs]


def note_of_both(one: InstrumentSpec, other: InstrumentSpec) -> int:
    """A note in the middle of what two instruments have in common (between them, if that is nothing)."""
    return (max(one.note_low, other.note_low) + min(one.note_high, other.note_high)) // 2


def ways(
    models: Sequence[InstrumentModel], pairs: int = 0, seconds: float = 1.0, seed: int = 0, is_played: bool = False
) -> Iterator[Way]:
    """Measure the ways between all points of every file and between all files of a folder, or some `pairs` of them.

    Args:
        is_played: between points go the way of a preset's morph, not the straight line through latent space.
    """
    jobs: list[tuple] = []
    for model in models:
        jobs += [(model, *names) for names in combinations(model.spec.points, 2)]
    jobs += [(a, b) for a, b in combinations(models, 2) if a.path.parent == b.path.parent]
    if 0 < pairs < len(jobs):
        chosen = np.sort(np.random.default_rng(seed).choice(len(jobs), pairs, replace=False))
        jobs = [jobs[i] for i in chosen]
    for model, *ends in jobs:
        if len(ends) == 2:
            one, other = ends
            note = note_of_both(*(model.spec.around(point) for point in ends))
            if is_played:
                places = played(model, one, Morph(point=other), note, seconds)
            else:
                places = between_points(model, one, other, note, seconds)
            yield judge(one, other, note, places)
        else:
            note = note_of_both(model.spec, ends[0].spec)
            names = (model.path.stem, ends[0].path.stem)
            yield judge(*names, note, played(model, "", Morph(to=ends[0].path.name), note, seconds))


def table(found: Sequence[Way]) -> str:
    """A Markdown table, one line per way."""
    lines = ["| from | to | note | mean step, dB | largest / mean | furthest from the key, cents |"]
    lines.append("| --- | --- | --: | --: | --: | --: |")
    lines += [
        f"| {w.one} | {w.other} | {w.note} | {w.mean_step_db:.2f} | {w.ratio:.2f} | {w.most_cents:.1f} |" for w in found
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if a promise is broken, 2 for a file that cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instruments", nargs="*", type=Path, help="instrument files  [default: all shipped]")
    parser.add_argument("--pairs", type=int, default=0, help="measure so many, drawn at random  [default: all]")
    parser.add_argument("--played", action="store_true", help="between points, go the way of a preset's morph")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the notes  [default: 1]")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn pairs  [default: 0]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        models = [InstrumentModel.load(p) for p in options.instruments or shipped_models()]
        found = list(ways(models, options.pairs, options.seconds, options.seed, options.played))
    except NeuralSynthError as error:
        print(f"morph: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps([asdict(w) | {"ratio": w.ratio} for w in found], indent=1) if options.json else table(found))
    print(f"{sum(w.holds for w in found)} of {len(found)} ways are even and in tune", file=sys.stderr)
    return 0 if all(w.holds for w in found) else 1


if __name__ == "__main__":
    sys.exit(main())
