"""Measures whether named axes do what they say: `python benchmarks/axes.py [INSTRUMENT …] [--json]`.

At every named point of an instrument file and at notes spread over its keyboard, positions of all axes are drawn at
once, independently and uniformly from -1 to 1, and decoded. At each note every axis is correlated (Pearson) with every
descriptor (`neuralsynth.analysis.descriptors`), and the correlations are averaged over the notes. A note at which a
descriptor hardly moves, in parts of what can just be heard, counts by as much less: a tone of one partial has no
brightness. Notes are not pooled, because a bass string and a treble string do not decay on one scale.

Promised: 0.9 with an axis's own descriptor, no more than 0.4 with any other. Exit code 1 if a point falls short.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from neuralsynth.analysis.descriptors import UNITS
from neuralsynth.errors import NeuralSynthError, UsageError
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import shipped_models
from neuralsynth.scoring.axes import JUST_HEARD, moved, qualities_of

LEAST_OWN, MOST_OTHER = 0.9, 0.4


@dataclass(frozen=True)
class AxisResult:
    """What one axis does at one point."""

    instrument: str
    point: str
    axis: str
    own: float  # correlation with the descriptor of the axis's name
    other: float  # the correlation with another descriptor that is furthest from 0
    which: str  # that other descriptor

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.own >= LEAST_OWN and abs(self.other) <= MOST_OTHER


def correlations(positions: np.ndarray, described: np.ndarray) -> np.ndarray:
    """Correlation of every axis with every descriptor, mean over notes.

    Args:
        positions: `[K, N, A]` positions of the axes at `K` notes.
        described: `[K, N, D]` the descriptors there, in the order of `UNITS`.

    Returns:
        `[A, D]`; near 0 where nothing can be heard to move at any note.
    """
    x = positions - positions.mean(axis=1, keepdims=True)
    y = described - described.mean(axis=1, keepdims=True)
    spread = y.std(axis=1)
    covariance = np.einsum("kna,knd->kad", x, y) / x.shape[1]
    r = covariance / np.maximum(x.std(axis=1)[:, :, None] * spread[:, None, :], 1e-12)
    weight = np.minimum(1.0, spread / np.array([JUST_HEARD[name] for name in UNITS]))[:, None, :]
    return (r * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1.0)


def measure(model: InstrumentModel, draws: int = 64, n_notes: int = 8, seed: int = 0) -> list[AxisResult]:
    """What every axis that is named after a descriptor does at every point.

    Raises:
        UsageError: the instrument has no such axis or no spectrum.
    """
    spec = model.spec
    axes = qualities_of(spec.axes)
    if not axes or spec.kind != "spectral":
        raise UsageError(f"{model.path}: has no axis named {', '.join(UNITS)}; only such can be measured")
    results = []
    for point in spec.points:
        results += ranked(spec.name, point, axes, correlations(*moved(model, point, n_notes, draws, seed)))
    return results


def _is_full(model: InstrumentModel) -> bool:
    """Whether a file has every axis that can be measured; drums have none, single cycles neither move nor hiss."""
    return model.spec.kind == "spectral" and set(UNITS) <= set(model.spec.axes)


def ranked(instrument: str, point: str, axes: Sequence[str], r: np.ndarray) -> list[AxisResult]:
    """Correlations `[A, D]` as results: each axis with its own descriptor and the worst other."""
    names, rows = list(UNITS), []
    for axis, row in zip(axes, r, strict=True):
        others = {name: float(value) for name, value in zip(names, row, strict=True) if name != axis}
        which = max(others, key=lambda name: abs(others[name]))
        rows.append(AxisResult(instrument, point, axis, float(row[names.index(axis)]), others[which], which))
    return rows


def table(results: Sequence[AxisResult]) -> str:
    """A Markdown table, one line per point: own correlation and worst other of every axis."""
    axes = list(dict.fromkeys(result.axis for result in results))
    lines = [f"| instrument | point | {' | '.join(axes)} |", f"| --- | --- | {' | '.join(['---'] * len(axes))} |"]
    for instrument, point in dict.fromkeys((r.instrument, r.point) for r in results):
        here = {r.axis: r for r in results if (r.instrument, r.point) == (instrument, point)}
        cells = [f"{here[a].own:.2f}, {here[a].other:+.2f} {here[a].which}" if a in here else "none" for a in axes]
        lines.append(f"| {instrument} | {point} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if a promise is broken, 2 for a file that cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "instruments", nargs="*", type=Path, help="instrument files  [default: shipped ones with every axis]"
    )
    parser.add_argument("--draws", type=int, default=64, help="positions drawn at every note  [default: 64]")
    parser.add_argument("--notes", type=int, default=8, help="notes over the keyboard  [default: 8]")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn positions  [default: 0]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    results = []
    try:
        models = [InstrumentModel.load(path) for path in options.instruments or shipped_models()]
        for model in models if options.instruments else filter(_is_full, models):
            results += measure(model, options.draws, options.notes, options.seed)
    except NeuralSynthError as error:
        print(f"axes: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps([asdict(r) for r in results], indent=1) if options.json else table(results))
    short = [r for r in results if not r.holds]
    print(f"{len(results) - len(short)} of {len(results)} axes do what they say", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
