"""Turning the four named qualities of a decoded note by known amounts, inside the generator's graph.

What a turn does is arithmetic on levels and nothing that was learned, so a named axis does the same at every latent,
and leaves the others alone because what they measure (`analysis.descriptors`) is put back frame by frame:

- *brightness*: partials and noise are tilted over frequency; the level of each is as it was at every moment. What
  another attack or decay does to it is tilted back.
- *noisiness*: all noise is raised; its energy over that of the partials moves by just that, whatever else is turned.
- *attack*: the loudness of the first 50 ms is lowered by a share, or raised.
- *decay*: the level falls by so many decibels per second less, or more where the note itself falls fast.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from neuralsynth.spectrum import SpectrumGrid

#: What a whole turn does.
BRIGHTNESS_DB_PER_OCTAVE, NOISINESS_DB, DECAY_DB_PER_SECOND = 2.5, 9.0, 3.0
DECAY_SHARE = 0.45  # of the note's own decay
ATTACK_SHARE, ATTACK_SECONDS, LEAST_LOUDNESS = 0.85, 0.05, 0.05  # of loudness that is not there at the very first
DB_PER_LOUDNESS = 20.0 / 0.6  # per decade (Stevens 1955)
MOST_RIGHTING, LEAST_SPREAD = 6.0, 0.005  # dB per octave; octaves squared per dB per octave, of a lone partial
MOST_HEARD = 1.5  # times what is heard, after which a decay goes on as it was
UNHEARD_DB, FADING_DB = 60.0, 30.0  # as `analysis.descriptors` hears a decay,
AFTER_SECONDS, AFTER_SHARE = 0.1, 0.2  # from here on


class Turning(nn.Module):
    """Levels of notes in dB and how far each quality is turned -> levels."""

    times: Tensor
    steps: Tensor
    octaves: Tensor
    band_octaves: Tensor

    def __init__(self, grid: SpectrumGrid) -> None:
        super().__init__()
        arrays = {
            "times": grid.frame_seconds,
            "steps": np.gradient(grid.frame_seconds),
            "octaves": np.log2(np.arange(1.0, grid.n_partials + 1.0)),
            "band_octaves": np.log2(grid.band_centres_hz / 440.0),
        }
        for name, values in arrays.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
        self.highest_octave = float(np.log2(grid.n_partials))

    def forward(self, partials_db: Tensor, noise_db: Tensor, note: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, P, T]`, `[N, B, T]`, `[N]`, amounts `[N, 4]` (1 is a whole turn) -> `[N, P, T]`, `[N, B, T]`."""
        bright, noisy, attack, decay = (amounts[:, i : i + 1] for i in range(4))
        tone_db, hiss_db = level_db(0.5 * power(partials_db)), level_db(power(noise_db))
        shape_db = self._decay_step(tone_db) * decay + self._attack_db(attack)
        tilt = BRIGHTNESS_DB_PER_OCTAVE * bright + self._righting(partials_db, shape_db)
        tilted = partials_db + (tilt * self.octaves)[:, :, None]
        above = (self.band_octaves - (note[:, None] - 69.0) / 12.0).clamp(0.0, self.highest_octave)
        tilted_noise = noise_db + (tilt * above)[:, :, None]
        tone_moved = tone_db - level_db(0.5 * power(tilted)) + shape_db
        hiss_moved = hiss_db - level_db(power(tilted_noise)) + shape_db
        before = self._energy_db(hiss_db) - self._energy_db(tone_db)
        after = self._energy_db(hiss_db + shape_db) - self._energy_db(tone_db + shape_db)
        louder = before - after + NOISINESS_DB * noisy
        return tilted + tone_moved[:, None], tilted_noise + (hiss_moved + louder)[:, None]

    def _righting(self, partials_db: Tensor, shape_db: Tensor) -> Tensor:
        """The tilt in dB per octave, `[N, 1]`, that leaves brightness as it is under a shape over time: Newton's."""
        powers = power(partials_db)
        wanted = self._brightness(powers @ self.steps)[0]
        shaped = (powers @ (power(shape_db) * self.steps)[:, :, None])[:, :, 0]
        tilt = torch.zeros_like(wanted)
        for _ in range(2):
            found, spread = self._brightness(shaped * power(tilt * self.octaves))
            tilt = tilt + (wanted - found) / (0.1151292546 * spread + LEAST_SPREAD)
            tilt = tilt.clamp(-MOST_RIGHTING, MOST_RIGHTING)
        return tilt

    def _brightness(self, energy: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over octaves of partials with `energy` `[N, P]`, as brightness is told: `[N, 1]` each."""
        weight = torch.sqrt(energy + 1e-14)
        weight = weight / weight.sum(dim=1, keepdim=True)
        mean = (weight @ self.octaves)[:, None]
        return mean, (weight * (self.octaves - mean) ** 2).sum(dim=1, keepdim=True)

    def _energy_db(self, course_db: Tensor) -> Tensor:
        """Energy of a whole note by its level over time: `[N, T]` -> `[N, 1]`."""
        return level_db((power(course_db) * self.steps)[:, :, None])

    def _attack_db(self, attack: Tensor) -> Tensor:
        """Gain over time, `[N, T]`, that takes a share of the loudness of the beginning."""
        loudness = 1.0 - ATTACK_SHARE * attack * torch.exp(-self.times / ATTACK_SECONDS)
        return 0.4342944819 * DB_PER_LOUDNESS * torch.log(loudness.clamp(min=LEAST_LOUDNESS))

    def _decay_step(self, course_db: Tensor) -> Tensor:
        """By how much a whole turn raises each moment of a note, `[N, T]`."""
        course_db = course_db.detach()
        unheard_db = course_db.amax(dim=1, keepdim=True) - UNHEARD_DB
        heard = ((course_db - unheard_db) / FADING_DB).clamp(0.0, 1.0) * self.steps
        seconds = heard.sum(dim=1, keepdim=True)
        start = (AFTER_SHARE * seconds).clamp(max=AFTER_SECONDS)
        weight = (self.times / start - 1.0).clamp(1e-6, 1.0) * heard
        weight = weight / weight.sum(dim=1, keepdim=True)
        away = self.times - (weight * self.times).sum(dim=1, keepdim=True)
        slope = (weight * away * course_db).sum(1, keepdim=True) / ((weight * away**2).sum(1, keepdim=True) + 1e-6)
        step = torch.sqrt(DECAY_DB_PER_SECOND**2 + (DECAY_SHARE * slope) ** 2)
        return step * torch.minimum(self.times, MOST_HEARD * seconds)


def power(level_db: Tensor) -> Tensor:
    """Squares of levels in dB that can be told in single precision."""
    return torch.exp(level_db.clamp(-140.0, 140.0) * 0.2302585093)


def level_db(powers: Tensor) -> Tensor:
    """Level of what sounds together, `[N, C, T]` -> `[N, T]`."""
    return 4.3429448 * torch.log(powers.sum(dim=1) + 1e-14)
