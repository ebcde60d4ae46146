"""Named axes of a latent space that was not told any: directions along which one quality of notes moves.

Four qualities (`analysis.descriptors`) of notes at many drawn latents are regressed on the latents; the pseudo-inverse
gives for each quality the shortest way that moves it and, as far as the space is linear, none of the others. What it
really does is measured at other latents, and an axis that does not do what it is called is left out. (Härkönen et al.,
"GANSpace", NeurIPS 2020, and Shen et al., "InterFaceGAN", TPAMI 2020, find directions in the same spirit.)
"""

from __future__ import annotations

import numpy as np
import torch

from neuralsynth.analysis.descriptors import SAYS, UNITS
from neuralsynth.spec import LatentAxis
from neuralsynth.training.augment import TURNS
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.gan import Gan
from neuralsynth.training.points import described, rounded

DRAWN, TRIED = 192, 48  # latents that the regression sees, and others at which an axis is tried
N_NOTES = 3
LENGTH = 1.5  # of the way from the middle of an axis to its end; the prior's deviation is 1
LEAST_RIGHT = 0.9  # of the tried latents at which the quality rises from end to end
RIDGE = 0.1


def regressed_axes(gan: Gan, table: NoteTable, seed: int) -> dict[str, LatentAxis]:
    """The axes that hold, with what they do at the first group's point."""
    latents = torch.randn(DRAWN + TRIED, gan.points.shape[1], generator=torch.Generator().manual_seed(seed + 1))
    seen, tried = latents[:DRAWN], latents[DRAWN:]
    values = _qualities(gan, table, seen)
    scaled = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    x = seen.numpy().astype(np.float64)
    slopes = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ scaled)  # [Z, 4]
    ways = np.linalg.pinv(slopes.T)  # [Z, 4]
    axes = {}
    for index, name in enumerate(TURNS):
        step = torch.tensor(LENGTH * ways[:, index] / np.linalg.norm(ways[:, index]), dtype=torch.float32)
        rises = _qualities(gan, table, tried + step)[:, index] > _qualities(gan, table, tried - step)[:, index]
        low, high = (_qualities(gan, table, (gan.points[:1] + side * step))[0, index] for side in (-1.0, 1.0))
        if rises.mean() >= LEAST_RIGHT and high > low:
            ends = rounded(-step), rounded(step)
            axes[name] = LatentAxis(*ends, round(float(low), 5), round(float(high), 5), UNITS[name], SAYS[name])
    return axes


@torch.no_grad()
def _qualities(gan: Gan, table: NoteTable, latents: torch.Tensor) -> np.ndarray:
    """Medians over a few pitches of the four qualities, `[N, 4]`."""
    note = np.quantile(table.note, np.linspace(0.2, 0.8, N_NOTES)).astype(np.float32)
    velocity = torch.full((len(latents),), float(np.median(table.velocity)))
    told = []
    for pitch in note:
        outputs = gan.decoder(latents, torch.full((len(latents),), float(pitch)), velocity)
        notes = described(np.full(len(latents), pitch), outputs, table.grid)
        told.append([[one[name] for name in TURNS] for one in notes])
    return np.median(np.array(told), axis=0)
