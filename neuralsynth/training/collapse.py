"""Noticing that a generative adversarial training is lost, and saying why. No torch here.

Three things go wrong (Goodfellow, "NIPS 2016 Tutorial: Generative Adversarial Networks", section 5): all latents come
to sound alike, the generator forgets what it could already say, or the discriminator wins so clearly that nothing is
learned from it any more. Each shows in numbers that cost a second or two: how far features of notes
(`scoring.coverage`) spread over latents, how much of the recordings they cover, and how far the verdicts are apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.scoring.coverage import coverage, density, spectrum_features
from neuralsynth.training.augment import Batches, Mixing
from neuralsynth.training.dataset import NoteTable
from neuralsynth.units import db_to_gain

MOST_WATCHED, LEAST_WATCHED = 192, 96  # notes that coverage is measured on
#: At first nothing is covered and all latents are alike. This is no good any more when so much of the training, and so
#: many steps, are over.
LEAST_COVERAGE, COVERED_SHARE, COVERED_STEPS = 0.05, 0.1, 300
LEAST_SPREAD, SPREAD_SHARE, SPREAD_STEPS = 0.2, 0.25, 600
FORGOTTEN, LEARNED = 0.5, 0.5  # of the best coverage, once that was at least so much
MOST_MARGIN = 12.0  # between the verdicts; the hinge loss wants 2


@dataclass(frozen=True)
class Health:
    """What a generator says of the recordings, and what is said of it."""

    coverage: float  # share of the recordings that is covered, 0..1
    density: float  # how credible the notes are; 1 where they lie as recordings do
    spread: float  # over latents at one pitch, as a share of that over recordings
    margin: float  # mean verdict on recorded notes less that on generated ones

    def complaint(self, step: int, steps: int, best_coverage: float) -> str | None:
        """What is wrong, in words; None if nothing is."""
        if not np.isfinite([self.coverage, self.spread, self.margin]).all():
            return "its numbers are not finite any more"
        if self.margin > MOST_MARGIN:
            return f"the discriminator has won (its verdicts are {self.margin:.0f} apart)"
        if step >= max(COVERED_SHARE * steps, COVERED_STEPS) and self.coverage < LEAST_COVERAGE:
            return f"it has learned nothing of the recordings (coverage {self.coverage:.2f})"
        if step >= max(SPREAD_SHARE * steps, SPREAD_STEPS) and self.spread < LEAST_SPREAD:
            return f"all latents sound alike (they spread by {self.spread:.0%} of what recordings do)"
        if best_coverage >= LEARNED and self.coverage < FORGOTTEN * best_coverage:
            return f"coverage fell to {self.coverage:.2f} from {best_coverage:.2f}"
        return None


class Reference:
    """Recorded notes that generated ones are held against."""

    def __init__(self, table: NoteTable) -> None:
        """Choose notes of a table, and mix more if it has few."""
        n, self.grid = len(table.note), table.grid
        rows = np.unique(np.linspace(0, n - 1, min(n, MOST_WATCHED)).round().astype(int))
        batches = Batches(table, 0, LEAST_WATCHED, Mixing(turns=False))
        batch = batches.plain(rows) if n >= LEAST_WATCHED else batches.draw(0)
        self.partials_db, self.noise_db, self.cents = batch.partials_db, batch.noise_db, batch.cents
        self.note, self.velocity = batch.note, batch.velocity
        self.features = self._features(*(db_to_gain(x.transpose(0, 2, 1)) for x in (batch.partials_db, batch.noise_db)))

    def _features(self, partials: np.ndarray, noise: np.ndarray, note: np.ndarray | None = None) -> np.ndarray:
        ratios = np.tile(np.arange(1.0, self.grid.n_partials + 1), (len(partials), 1))
        return spectrum_features(partials, ratios, noise, self.note if note is None else note, self.grid)

    def coverage(self, partials: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
        """Coverage and density of notes `[N, T, P]`, `[N, T, B]` generated for `note` and `velocity`."""
        if not _are_finite(partials, noise):
            return float("nan"), float("nan")
        fake, k = self._features(partials, noise), min(5, len(self.note) - 1)
        return coverage(self.features, fake, k), density(self.features, fake, k)

    def spread(self, partials: np.ndarray, noise: np.ndarray, note: float) -> float:
        """How far notes of one pitch and velocity spread over latents, over what recordings near it do."""
        if not _are_finite(partials, noise):
            return float("nan")
        own = _spread(self._features(partials, noise, np.full(len(partials), note)))
        near = np.argsort(np.abs(self.note - note), kind="stable")[: max(8, len(self.note) // 8)]
        return own / max(_spread(self.features[near]), 1e-9)


def _are_finite(*arrays: np.ndarray) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _spread(features: np.ndarray) -> float:
    return float(np.sqrt(features.var(axis=0).sum()))
