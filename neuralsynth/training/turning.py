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
    """Partials and noise in dB, turned by amounts in the order of `turns.TURNS`; those not `turnable` do nothing.

    What is known before is in the constants: one note at a time takes as long as there are operations, not numbers.
    """

    tilt_db: Tensor
    duration: Tensor
    fade: Tensor
    accent_db: Tensor
    slope_db: Tensor

    def __init__(self, grid: SpectrumGrid, turnable: Sequence[bool]) -> None:
        super().__init__()
        bright, noisy, attack, decay = (float(is_turned) for is_turned in turnable)
        times = grid.frame_seconds
        constants = {
            "tilt_db": BRIGHTNESS_DB_PER_OCTAVE * bright * np.log2(np.arange(1.0, grid.n_partials + 1.0)),
            "duration": np.gradient(times)[:, None],
            "fade": -(times + 0.001) / LEAST_FADE_SECONDS,
            "accent_db": ACCENT_DB * attack * np.exp(-times / ACCENT_SECONDS),
            "slope_db": DECAY_DB_PER_SECOND * decay * times,
        }
        self.faster = -SLOWER_OCTAVES * attack * float(np.log(2.0))
        self.noise_db = NOISINESS_DB * noisy
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, partials_db: Tensor, noise_db: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, P, T]`, `[N, B, T]`, `[N, 4]` -> the same levels, turned."""
        bright, noisy, attack, decay = (amounts[:, i : i + 1] for i in range(4))
        shape_db = (self._onset_db(attack) + decay * self.slope_db)[:, None, :]
        partials_db = partials_db + self._tilted_db(partials_db, bright) + shape_db
        return partials_db, noise_db + (shape_db + self.noise_db * noisy[:, :, None])

    def _tilted_db(self, partials_db: Tensor, bright: Tensor) -> Tensor:
        """A tilt over the octaves after which a note is as loud as before, `[N, P, 1]`."""
        tilt_db = (bright * self.tilt_db)[:, :, None]
        power = torch.exp(partials_db.clamp(max=LOUDEST_DB) * (1.0 / _DB))
        energy = torch.matmul(power, self.duration)  # a column: with a vector, it is eight times slower
        tilted = energy * torch.exp(tilt_db * (1.0 / _DB))
        louder = (tilted.sum(dim=1, keepdim=True) + 1e-14) / (energy.sum(dim=1, keepdim=True) + 1e-14)
        return tilt_db - _DB * torch.log(louder)

    def _onset_db(self, attack: Tensor) -> Tensor:
        """A fade in or an accent, `[N, T]`."""
        slower = functional.relu(attack)
        risen = 1.0 - torch.exp(torch.exp(self.faster * slower) * self.fade)
        return 2.0 * _DB * torch.log(risen.clamp(min=1e-3)) + (slower - attack) * self.accent_db
