"""Measures what training teaches axes with: `python benchmarks/turns.py RECORDINGS [INSTRUMENT …] [--kept FOLDER]`.

The recordings of each instrument are turned by random amounts of brightness, noisiness, attack and decay at once, as
training does it (`neuralsynth.training.turns`), described, and correlated as `axes.py` does. No model is asked: what is
missing here cannot be learned, and what is there but missing in `axes.py` is the model's.

Wanted: 0.9 or more with a turn's own descriptor, no more than 0.25 with any other. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.axes import AxisResult, correlations, ranked, table
from benchmarks.dynamics import tabulated, trained_on
from neuralsynth.analysis.descriptors import UNITS, describe
from neuralsynth.errors import NeuralSynthError, UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.preset import shipped_models
from neuralsynth.spectrum import stretched_ratios
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.turns import TURNS, Levels, turned_note

LEAST_OWN, MOST_OTHER = 0.9, 0.25


def measure(name: str, notes: NoteTable, draws: int = 32, n_notes: int = 12, seed: int = 0) -> list[AxisResult]:
    """What every turn does to recordings spread over the keyboard."""
    chosen = np.argsort(notes.note, kind="stable")
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(n_notes, len(chosen))).round().astype(int)]
    amounts = np.random.default_rng(seed).uniform(-1.0, 1.0, (len(chosen), draws, len(TURNS)))
    described = np.array([[_told(notes, row, a) for a in some] for row, some in zip(chosen, amounts, strict=True)])
    return ranked(name, "recordings", TURNS, correlations(amounts, described))


def _told(notes: NoteTable, row: int, amounts: np.ndarray) -> list[float]:
    """Descriptors of a turned recording, in the order of `UNITS`."""
    plain = Levels(*(x[row].astype(np.float64) for x in (notes.partials_db, notes.noise_db, notes.cents)))
    turned = turned_note(plain, float(notes.note[row]), amounts, notes.grid, bool(notes.sustains[row]))
    partials, noise = (10.0 ** (x.T / 20.0) for x in (turned.partials_db, turned.noise_db))
    ratios = stretched_ratios(notes.grid.n_partials, float(notes.inharmonicity[row]))
    answer = describe(partials, ratios, noise, notes.grid, float(notes.note[row]))
    return [answer[name] for name in UNITS]


def main() -> int:
    """Print the table; 1 if a turn does not do what it should, 2 for files that cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="folder of the recordings' folders")
    parser.add_argument("instruments", nargs="*", type=Path, help="instrument files  [default: all shipped]")
    parser.add_argument("--kept", type=Path, help="folder in which analyses are kept  [default: none are]")
    options = parser.parse_args()
    results: list[AxisResult] = []
    try:
        with tempfile.TemporaryDirectory(prefix="turns-") as passing:
            for path in options.instruments or shipped_models():
                instrument = Instrument.load(path)
                recordings = trained_on(instrument.model.spec, options.recordings)
                if not recordings:
                    raise UsageError(f"{options.recordings}: holds no recording that {path} was trained on")
                results += measure(path.stem, tabulated(instrument, recordings, options.kept or Path(passing)))
    except NeuralSynthError as error:
        print(f"turns: {error}", file=sys.stderr)
        return error.exit_code
    print(table(results))
    return 0 if all(r.own >= LEAST_OWN and abs(r.other) <= MOST_OTHER for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
