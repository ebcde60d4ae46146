"""The network that tells recorded notes from generated ones, and what both learn from that.

Notes are seen as the encoder sees them: levels in dB under the note's own, so that loudness is no matter of taste. Note
and velocity enter by projection (Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018), and the spread
of a batch is seen too (Karras et al., "Progressive Growing of GANs", ICLR 2018). What holds it back is the price of its
steepness; spectrally normalised weights besides made learning two times slower and nothing better.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.blocks import NoteFeatures
from neuralsynth.training.config import VaeConfig

LAST_FRAMES = 8
#: Standard deviations of what is done to recorded and generated notes alike before they are judged, in units of 20 dB.
TILT, BEND = 0.15, 0.15
PER_OCTAVE = 2  # groups of neighbouring partials
N_BENDS = 6  # corners of the curve over partials, and over bands, that is added


class Discriminator(nn.Module):
    """How real notes look, given note and velocity."""

    near: Tensor

    def __init__(self, config: VaeConfig, grid: SpectrumGrid) -> None:
        super().__init__()
        self.features = NoteFeatures(config.note_step)
        self.register_buffer("near", torch.tensor(neighbourhoods(grid.n_partials), dtype=torch.float32))
        n_in, width, frames = grid.n_partials + grid.n_bands + 1 + len(self.near), config.width, grid.n_frames
        self.stages = nn.ModuleList()
        while frames % 2 == 0 and frames > LAST_FRAMES:
            self.stages.append(nn.Conv1d(n_in, width, 4, stride=2, padding=1))
            n_in, frames = width, frames // 2
        self.summary = nn.Linear(n_in * frames + 1, width)
        self.verdict = nn.Linear(width, 1)
        self.projection = nn.Linear(self.features.size, width, bias=False)

    def forward(self, rows: Tensor, note: Tensor, velocity: Tensor) -> Tensor:
        """Rows `[N, P + B + 1, T]`, note `[N]`, velocity `[N]` 0..1 -> above 0 where they look real, `[N]`."""
        x = torch.cat([rows, self.near @ standing_out(rows[:, : self.near.shape[1]])], dim=1)
        for stage in self.stages:
            x = functional.leaky_relu(stage(x), 0.2)
        spread = torch.sqrt(x.var(dim=0, unbiased=False) + 1e-6).mean().expand(len(x), 1)
        x = functional.leaky_relu(self.summary(torch.cat([x.flatten(1), spread], dim=1)), 0.2)
        fits = (x * self.projection(self.features(note, velocity))).sum(dim=1) / x.shape[1] ** 0.5
        return self.verdict(x)[:, 0] + fits


def standing_out(levels: Tensor) -> Tensor:
    """By how much each partial is louder than the mean of its neighbours, `[N, P, T]`; 0 where it is softer."""
    around = functional.pad(levels, (0, 0, 1, 1), mode="replicate")
    return functional.relu(levels - 0.5 * (around[:, 2:] + around[:, :-2]))


def neighbourhoods(n_partials: int) -> np.ndarray:
    """Means over partials of `PER_OCTAVE` groups per octave, `[G, P]`."""
    group = np.floor(PER_OCTAVE * np.log2(np.arange(1, n_partials + 1))).astype(int)
    members = np.unique(group)[:, None] == group
    return members / members.sum(axis=1, keepdims=True)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator pays for its verdicts (Lim and Ye, "Geometric GAN", 2017)."""
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean()


def steepness(discriminator: Discriminator, rows: Tensor, note: Tensor, velocity: Tensor) -> Tensor:
    """R1: mean squared gradient of the verdict on real notes (Mescheder, Geiger and Nowozin, ICML 2018)."""
    rows = rows.detach().requires_grad_()
    verdict = discriminator(rows, note, velocity).sum()
    (slope,) = torch.autograd.grad(verdict, rows, create_graph=True)
    return (slope**2).sum(dim=(1, 2)).mean()


def disguised(rows: Tensor, n_partials: int, strength: float) -> Tensor:
    """Rows whose colour was moved at random, by a tilt and a smooth curve over partials and bands.

    Done to both sides, and with gradients, it keeps the discriminator from learning the recordings by heart without
    telling the generator to imitate it (Zhao et al., "Differentiable Augmentation", NeurIPS 2020).
    """
    n, parts = len(rows), []
    for part in (rows[:, :n_partials], rows[:, n_partials:-1]):
        size = part.shape[1]
        curve = functional.interpolate(BEND * torch.randn(n, 1, N_BENDS), size, mode="linear", align_corners=True)
        tilt = TILT * torch.randn(n, 1, 1) * torch.linspace(-2.0, 2.0, size)[None, None]
        parts.append(part + strength * (curve + tilt)[:, 0, :, None])
    return torch.cat([*parts, rows[:, -1:]], dim=1)
