"""How far single partials of a generated note may stand out, so that none of them whistles at any latent.

A discriminator forgives one loud high partial among a hundred; an ear does not. Two limits are taken from recordings:
no partial is louder, against the loudest of the low ones, than all but one of a hundred recorded partials of its
frequency are (of twelve instruments: from 4 dB below at 2 kHz to 38 dB at 16 kHz), and no high number is louder by more
than `MOST_ABOVE_DB` than the loudest of the eight numbers around it (nine of ten recorded notes have none that is).
Levels are those of whole notes, so how each partial moves in time is left alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.blocks import hats
from neuralsynth.training.dataset import NoteTable
from neuralsynth.units import note_to_hz

LOW_HZ, HIGH_HZ, N_CORNERS = 1000.0, 16_000.0, 13  # of the ceiling, every third of an octave
LOW_PARTIALS = 3  # that have no ceiling, however high the note
CEILING_QUANTILE = 0.99
LEAST_PARTIALS = 20  # of recorded notes that a corner of the ceiling is taken from
AROUND, MOST_ABOVE_DB, FIRST_NUMBER = 4, 6.0, 8
UNHEARD_DB = 60.0
KNEE_DB = 1.5  # how gently partials are held


class Prominence(nn.Module):
    """Levels of partials -> levels of which none stands out too far."""

    steps: Tensor
    ceiling_db: Tensor
    is_low: Tensor
    is_high: Tensor

    def __init__(self, grid: SpectrumGrid, ceiling_db: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(np.gradient(grid.frame_seconds), dtype=torch.float32))
        self.register_buffer("ceiling_db", torch.tensor(ceiling_db, dtype=torch.float32))
        number = torch.arange(1, grid.n_partials + 1)
        self.register_buffer("is_low", number <= LOW_PARTIALS, persistent=False)
        self.register_buffer("is_high", (number >= FIRST_NUMBER).to(torch.float32), persistent=False)

    def forward(self, partials_db: Tensor, frequency_hz: Tensor) -> Tensor:
        """`[N, P, T]`, `[N, P]` -> `[N, P, T]`."""
        power = torch.exp(partials_db.clamp(-140.0, 140.0) * 0.2302585093)
        level_db = 4.3429448 * torch.log(power @ self.steps + 1e-14)
        low = self.is_low | (frequency_hz < LOW_HZ)
        loudest_db = torch.where(low, level_db, torch.full_like(level_db, -300.0)).amax(dim=1, keepdim=True)
        place = torch.log(frequency_hz.clamp(LOW_HZ, HIGH_HZ) / LOW_HZ) / float(np.log(HIGH_HZ / LOW_HZ))
        most_db = loudest_db + hats(place, N_CORNERS) @ self.ceiling_db
        held_db = torch.where(low, level_db, level_db - _over(level_db - most_db))
        around = functional.pad(held_db, (AROUND, AROUND), value=-300.0)
        n, sides = held_db.shape[1], [s for s in range(2 * AROUND + 1) if s != AROUND]
        near_db = torch.stack([around[:, s : s + n] for s in sides]).amax(dim=0)
        near_db = torch.maximum(near_db, loudest_db - UNHEARD_DB)
        held_db = held_db - self.is_high * _over(held_db - near_db - MOST_ABOVE_DB)
        return partials_db - (level_db - held_db)[:, :, None]


def _over(excess_db: Tensor) -> Tensor:
    return KNEE_DB * functional.softplus(excess_db / KNEE_DB)


def ceiling_of(table: NoteTable) -> np.ndarray:
    """The ceiling of partials against the loudest of a note, at the corners over frequency, `[N_CORNERS]` dB."""
    power = 10.0 ** (table.partials_db / 10.0) @ np.gradient(table.grid.frame_seconds)
    level_db = 10.0 * np.log10(power + 1e-14)
    level_db -= level_db.max(axis=1, keepdims=True)
    number = np.arange(1, level_db.shape[1] + 1)
    octaves = np.log2(np.asarray(note_to_hz(table.note.astype(np.float64)))[:, None] * number / LOW_HZ)
    corners = np.linspace(0.0, np.log2(HIGH_HZ / LOW_HZ), N_CORNERS)
    found = np.zeros(N_CORNERS)
    for i, corner in enumerate(corners):
        near = level_db[(np.abs(octaves - corner) <= corners[1]) & (number > LOW_PARTIALS)]
        found[i] = np.quantile(near, CEILING_QUANTILE) if len(near) >= LEAST_PARTIALS else found[i - 1] if i else 0.0
    return np.minimum.accumulate(found)
