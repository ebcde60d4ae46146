"""The conditional generative adversarial network whose generator is an instrument.

The generator is the VAE's source-filter decoder, with things that it cannot get wrong whatever the latent: partials are
exact harmonics of the played note, noise never drowns them, nothing bursts out late in a note, and a harder touch is
louder by a fixed law at every moment. So a place nobody has heard yet plays in tune and answers to the touch.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014; Engel et al., "GANSynth: Adversarial Neural Audio
Synthesis", ICLR 2019.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.adversary import Discriminator
from neuralsynth.training.config import FLOOR_DB, VaeConfig
from neuralsynth.training.dataset import LEVEL_LAW_DB, NoteTable
from neuralsynth.training.encoder import Coder
from neuralsynth.training.vae import HIGHEST_PARTIAL_HZ, NOISE_TRIM_DB, Decoded, Decoder, Statistics

LOUD_SECONDS = 0.4  # in which what is heard counts less and less for the loudness of a note
LOUDEST_DB = 6.0  # of a partial or band at any moment
MOST_NOISE_DB, MOST_PLAYED_NOISE_DB = 0.0, -8.0  # over the partials, while it learns and when it plays
SETTLED_SECONDS, MOST_RISE_DB = 0.5, 3.0  # afterwards a note rises no further than this above what it was before
MIDDLE_VELOCITY = 0.7  # whose course of level a note has at any touch
MOST_EVENED_DB = 40.0  # by which a moment is made louder or softer for that
LEAST_LAW, MOST_LAW = 0.5, 1.0  # of General MIDI's level law
SOFTEST_SHARE = 0.08  # of the loudest touch: where the law ends, so that it rises everywhere
CENTS_PER_UNIT = 30.0


class Generator(Decoder):
    """Latent, note and velocity -> a note's spectrum, in tune and as loud as asked at every latent."""

    n_turns = 0
    loud: Tensor
    loudness: Tensor

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics, loudness: np.ndarray) -> None:
        super().__init__(config, grid, replace(statistics, stiffness=None))
        self.register_buffer("loud", torch.tensor(loud_weights(grid), dtype=torch.float32))
        self.register_buffer("loudness", torch.tensor(loudness, dtype=torch.float32))
        self.n_settling = max(1, int(np.searchsorted(grid.frame_seconds, SETTLED_SECONDS)))

    def levelled(self, partials_db: Tensor, noise_db: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Levels moved to the wanted loudness, with the noise held under the partials."""
        return self._levelled(partials_db, noise_db, note, velocity, MOST_NOISE_DB)

    def forward(self, latent: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the instrument file gives: the colour of its touch on the course of a middle one."""
        middle = torch.full_like(velocity, MIDDLE_VELOCITY)
        decoded, usual = self._calm(latent, note, velocity), self._calm(latent, note, middle)
        evened_db = (_course_db(usual) - _course_db(decoded)).clamp(-MOST_EVENED_DB, MOST_EVENED_DB)
        louder_db = wanted_db(self.loudness, note, velocity) - wanted_db(self.loudness, note, middle)
        moved_db = (evened_db + louder_db[:, None])[:, None, :]
        return self.played(latent, note, replace(
            decoded, partials_db=decoded.partials_db + moved_db, noise_db=decoded.noise_db + moved_db
        ))  # fmt: skip

    def _calm(self, latent: Tensor, note: Tensor, velocity: Tensor) -> Decoded:
        """A note as decoded, but for what bursts out late in it and for noise that leaves it no clear pitch."""
        decoded = self.decode(latent, note, velocity)
        course_db = _course_db(decoded)
        most_db = course_db[:, : self.n_settling].amax(dim=1, keepdim=True) + MOST_RISE_DB
        excess_db = functional.relu(course_db - most_db)[:, None, :]
        levels = decoded.partials_db - excess_db, decoded.noise_db - excess_db
        partials_db, noise_db = self._levelled(*levels, note, velocity, MOST_PLAYED_NOISE_DB)
        return replace(decoded, partials_db=partials_db, noise_db=noise_db)

    def _levelled(
        self, partials_db: Tensor, noise_db: Tensor, note: Tensor, velocity: Tensor, most_noise_db: float
    ) -> tuple[Tensor, Tensor]:
        tonal = 0.5 * (_power(partials_db).sum(1) @ self.loud)
        noisy = _power(noise_db).sum(1) @ self.loud
        excess_db = functional.relu(_db(noisy) - _db(tonal) - most_noise_db)
        level_db = _db(tonal + noisy * torch.exp(-0.2302585093 * excess_db))
        missing_db = (wanted_db(self.loudness, note, velocity) - level_db)[:, None, None]
        return _bounded(partials_db + missing_db), _bounded(noise_db - excess_db[:, None, None] + missing_db)


def _bounded(level_db: Tensor) -> Tensor:
    """Levels that can be made powers of; what is far too loud is held down and still pushed back."""
    return torch.minimum(level_db, LOUDEST_DB + 0.1 * (level_db - LOUDEST_DB)).clamp(-220.0, 60.0)


def _course_db(decoded: Decoded) -> Tensor:
    """Level of a note over time as it is played, `[N, T]`."""
    return _db(0.5 * _power(decoded.partials_db).sum(1) + _power(decoded.noise_db + NOISE_TRIM_DB).sum(1))


def _power(level_db: Tensor) -> Tensor:
    return torch.exp(level_db.clamp(-140.0, 140.0) * 0.2302585093)


def _db(power: Tensor) -> Tensor:
    return 4.3429448 * torch.log(power + 1e-14)


def loud_weights(grid: SpectrumGrid) -> np.ndarray:
    """What each frame counts for the loudness of a note, `[T]`."""
    weights = np.gradient(grid.frame_seconds) * np.exp(-grid.frame_seconds / LOUD_SECONDS)
    return weights / weights.sum()


def wanted_db(loudness: Tensor, note: Tensor, velocity: Tensor) -> Tensor:
    """The law of loudness: a parabola over the keyboard, and a share of General MIDI's law over velocity, `[N]` dB."""
    place = (note.clamp(21.0, 108.0) - 60.0) / 24.0
    touch = torch.log(SOFTEST_SHARE + (1.0 - SOFTEST_SHARE) * velocity.clamp(0.0, 1.0)) * 0.4342944819
    return loudness[0] + loudness[1] * place + loudness[2] * place**2 + loudness[3] * touch


def loudness_law(table: NoteTable) -> np.ndarray:
    """The law that fits the notes of a table best, `[4]`; the numbers are those of `wanted_db`."""
    power = 0.5 * (10.0 ** (table.partials_db / 10.0)).sum(1) + (10.0 ** (table.noise_db / 10.0)).sum(1)
    level = 10.0 * np.log10(power @ loud_weights(table.grid) + 1e-14)
    place = (np.clip(table.note, 21.0, 108.0) - 60.0) / 24.0
    touch = np.log10(SOFTEST_SHARE + (1.0 - SOFTEST_SHARE) * table.velocity)
    each = np.eye(len(table.groups))[table.group]  # each instrument has a level of its own, all share the law
    design = np.column_stack([touch, place, place**2, each])
    ridge = np.diag([1e-3, 1e-3, 1.0, *np.full(len(table.groups), 1e-3)])
    found = np.linalg.solve(design.T @ design + ridge, design.T @ level)
    law = np.clip(found[0], LEAST_LAW * LEVEL_LAW_DB, MOST_LAW * LEVEL_LAW_DB)
    rest = level - law * touch
    shape = design[:, 1:3]
    curve = np.linalg.solve(shape.T @ shape + np.eye(2), shape.T @ (rest - rest.mean()))
    return np.array([np.median(rest - shape @ curve), *curve, law])


class Gan(Coder):
    """Generator, discriminator, and what is found when both are done: an encoder, and a place for each group."""

    decoder: Generator
    points: Tensor

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics, table: NoteTable) -> None:
        super().__init__(config, grid)
        self.decoder = Generator(config, grid, statistics, loudness_law(table))
        self.discriminator = Discriminator(config, grid)
        self.n_partials = grid.n_partials
        self.register_buffer("points", torch.zeros(len(table.groups), config.latent_size))

    def at_points(self, group: Tensor) -> Tensor:
        """Latents of notes of known groups `[N]`: `[N, Z]`, without detail."""
        return self.points[group]

    def group_places(self) -> Tensor:
        """The latent of each group, `[G, Z]`."""
        return self.points

    def recorded(self, partials_db: Tensor, noise_db: Tensor, cents: Tensor, note: Tensor) -> Tensor:
        """What the discriminator sees of recordings: `[N, P, T]`, `[N, B, T]`, `[N, T]`, `[N]` -> `[N, P + B + 1, T]`.

        Partials beyond hearing are taken away, since no generated note has any.
        """
        frequency_hz = self.decoder.number * (440.0 * torch.exp((note - 69.0) * 0.057762265))[:, None]
        heard = torch.where((frequency_hz > HIGHEST_PARTIAL_HZ)[:, :, None], 2.0 * FLOOR_DB, partials_db)
        return self._rows(heard, noise_db, cents)

    def generated(self, decoded: Decoded) -> Tensor:
        """The same of decoded notes."""
        return self._rows(decoded.partials_db, decoded.noise_db, decoded.cents)

    def _rows(self, partials_db: Tensor, noise_db: Tensor, cents: Tensor) -> Tensor:
        moved = (cents / CENTS_PER_UNIT).clamp(-3.0, 3.0)
        return torch.cat([self.normalised(partials_db, noise_db), moved[:, None]], dim=1)
