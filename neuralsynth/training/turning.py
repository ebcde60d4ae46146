"""What a turn does to any note, in torch: where the network starts from when it learns what it does to this one.

The means are those of `turns`: a tilt of the partials at the same loudness, more or less noise, a fade or an accent, a
level that falls slower or faster. A network that had to find them out alone gives up where they count little against
the rest: on instruments with few recordings, on notes that are soon over, on a second partial far below the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.turns import (
    ACCENT_SECONDS,
    BRIGHTNESS_DB_PER_OCTAVE,
    DECAY_DB_PER_SECOND,
    LEAST_FADE_SECONDS,
    NOISINESS_DB,
)

SLOWER_OCTAVES = 5.5  # of the time constant of a fade in, from none to the slowest
ACCENT_DB = 6.0
LOUDEST_DB = 60.0  # of full scale: what can be made a power of
_DB = 4.3429448


class UsualTurn(nn.Module):
    """Partials and noise in dB, turned by amounts in the order of `turns.TURNS`; those not `turnable` do nothing."""

    turnable: Tensor
    octaves: Tensor
    times: Tensor
    duration: Tensor

    def __init__(self, grid: SpectrumGrid, turnable: Sequence[bool]) -> None:
        super().__init__()
        times = grid.frame_seconds
        constants = {
            "turnable": np.array(turnable, float),
            "octaves": np.log2(np.arange(1.0, grid.n_partials + 1.0)),
            "times": times,
            "duration": np.gradient(times),
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, partials_db: Tensor, noise_db: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, P, T]`, `[N, B, T]`, `[N, 4]` -> the same levels, turned."""
        bright, noisy, attack, decay = (amounts * self.turnable)[:, :, None].unbind(dim=1)  # [N, 1] each
        shape_db = (self._onset_db(attack) + DECAY_DB_PER_SECOND * decay * self.times)[:, None, :]
        partials_db = partials_db + self._tilt_db(partials_db, bright)[:, :, None] + shape_db
        return partials_db, noise_db + NOISINESS_DB * noisy[:, :, None] + shape_db

    def _tilt_db(self, partials_db: Tensor, bright: Tensor) -> Tensor:
        """A tilt over the octaves after which a note is as loud as before, `[N, P]`."""
        tilt_db = BRIGHTNESS_DB_PER_OCTAVE * bright * self.octaves
        energy = torch.matmul(torch.exp(partials_db.clamp(max=LOUDEST_DB) / _DB), self.duration)
        tilted = energy * torch.exp(tilt_db / _DB)
        louder_db = _DB * (torch.log(tilted.sum(dim=1) + 1e-14) - torch.log(energy.sum(dim=1) + 1e-14))
        return tilt_db - louder_db[:, None]

    def _onset_db(self, attack: Tensor) -> Tensor:
        """A fade in or an accent, `[N, T]`."""
        seconds = LEAST_FADE_SECONDS * torch.exp(SLOWER_OCTAVES * 0.69314718 * functional.relu(attack))
        risen = 1.0 - torch.exp(-(self.times + 0.001) / seconds)
        fade_db = 2.0 * _DB * torch.log(risen.clamp(min=1e-3))
        return fade_db + ACCENT_DB * functional.relu(-attack) * torch.exp(-self.times / ACCENT_SECONDS)
