"""The encoder: where in the latent space a note that is heard may lie; and the pair it makes with a decoder."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.blocks import DownConv, NoteFeatures
from neuralsynth.training.config import FLOOR_DB, VaeConfig

DB_PER_UNIT = 20.0
SOFTEST_GAIN = 10.0 ** (FLOOR_DB / 20.0)
ENCODED_DB = 90.0  # under a note's level; what is softer, the encoder does not hear
ENCODED_SECONDS = 1.0  # of a note, whose level that is


class Encoder(nn.Module):
    """A note's spectrum in decibels -> mean and log variance of its latent."""

    def __init__(self, config: VaeConfig, grid: SpectrumGrid) -> None:
        super().__init__()
        self.features = NoteFeatures(config.note_step)
        n_in, width, frames = grid.n_partials + grid.n_bands, config.width, grid.n_frames
        self.stages = nn.ModuleList()
        while frames % 2 == 0 and frames > 8:
            self.stages.append(DownConv(n_in, width))
            n_in, frames = width, frames // 2
        self.head = nn.Sequential(
            nn.Linear(n_in * frames + self.features.size, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, 2 * config.latent_size),
        )

    def forward(self, levels: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised levels `[N, P + B, T]` -> mean and log variance, `[N, Z]` each."""
        x = levels
        for stage in self.stages:
            x = stage(x)
        out = self.head(torch.cat([x.flatten(1), self.features(note, velocity)], dim=1))
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 2.0)


class Coder(nn.Module):
    """An encoder and, in classes below, the `decoder` it belongs to, which knows the means of partials and noise."""

    decoder: Any
    hearing: Tensor

    def __init__(self, config: VaeConfig, grid: SpectrumGrid) -> None:
        super().__init__()
        self.encoder = Encoder(config, grid)
        early = np.gradient(grid.frame_seconds) * (grid.frame_seconds <= ENCODED_SECONDS)
        self.register_buffer("hearing", torch.tensor(early / early.sum(), dtype=torch.float32))

    def settle(self) -> None:
        """Tell the decoder where the points lie now, where it wants to know."""

    @abstractmethod
    def at_points(self, group: Tensor) -> Tensor:
        """Latents of notes of known groups `[N]`: `[N, Z]`, without detail."""

    @abstractmethod
    def group_places(self) -> Tensor:
        """The latent of each group, `[G, Z]`."""

    def normalised(self, partials_db: Tensor, noise_db: Tensor) -> Tensor:
        """What the encoder sees: `[N, P, T]`, `[N, B, T]` -> `[N, P + B, T]`, under the note's own level, around 0."""
        level_db = self.level_db(partials_db, noise_db)[:, None, None]
        means = self.decoder.mean_partials_db, self.decoder.mean_noise_db
        usual_db = self.level_db(*(mean.expand(-1, len(self.hearing))[None] for mean in means))
        rows = [
            ((heard - level_db).clamp(min=-ENCODED_DB) - (mean - usual_db).clamp(min=-ENCODED_DB)) / DB_PER_UNIT
            for heard, mean in zip((partials_db, noise_db), means, strict=True)
        ]
        return torch.cat(rows, dim=1)

    def level_db(self, partials_db: Tensor, noise_db: Tensor) -> Tensor:
        """Level of a note's beginning, `[N]`."""
        power = 0.5 * torch.exp(partials_db * 0.2302585093).sum(1) + torch.exp(noise_db * 0.2302585093).sum(1)
        return 4.3429448 * torch.log(power @ self.hearing + 1e-14)

    def encode(self, partials_db: Tensor, noise_db: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of a note's character: mean and log variance, `[N, Z]` each."""
        return self.encoder(self.normalised(partials_db, noise_db), note, velocity)


class Listener(nn.Module):
    """The encoder as its own file takes and gives things: a note's amplitudes in, its likely character out."""

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, partials: Tensor, noise: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Linear `[N, T, P]`, `[N, T, B]`, note `[N]`, velocity `[N]` 0..1 -> mean and deviation, `[N, Z]` each."""
        partials_db, noise_db = (
            8.6858896 * torch.log(x.clamp(min=SOFTEST_GAIN)).transpose(1, 2) for x in (partials, noise)
        )
        mean, log_variance = self.coder.encode(partials_db, noise_db, note, velocity)
        return mean, torch.exp(0.5 * log_variance)
