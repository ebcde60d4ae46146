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
from neuralsynth.training.gan_turns import Turning
from neuralsynth.training.prominence import Prominence, ceiling_of
from neuralsynth.training.vae import (
    HIGHEST_PARTIAL_HZ,
    NOISE_TRIM_DB,
    TURN_LENGTH,
    Decoded,
    Decoder,
    Pointed,
    Statistics,
)

LOUD_SECONDS = 0.4  # in which what is heard counts less and less for the loudness of a note
LOUDEST_DB = 6.0  # of a partial or band at any moment
#: Noise over the partials: the most that the network can say, and the most that turning it up makes of that; and how
#: gently it is held there. The wide second knee leaves a noisy sound an axis of noisiness.
MOST_NOISE_DB, MOST_TURNED_NOISE_DB = -8.0, -5.0
NOISE_KNEE_DB, TURNED_KNEE_DB = 2.0, 5.0
#: From this note on less: a high note is little more than one partial, and noise about it is heard as an octave below.
#: (Half of the recordings above note 84 have 20 dB less noise than tone.)
LESS_NOISE_NOTE, LESS_NOISE_DB = 72.0, 0.25  # per semitone
SETTLED_SECONDS, MOST_RISE_DB = 0.5, 3.0  # afterwards a note rises no further than this above what it was before
MIDDLE_VELOCITY = 0.7  # whose course of level a note has at any touch
MOST_EVENED_DB = 40.0  # by which a moment is made louder or softer for that
LEAST_LAW, MOST_LAW = 0.5, 1.0  # of General MIDI's level law
SOFTEST_SHARE = 0.08  # of the loudest touch: where the law ends, so that it rises everywhere
CENTS_PER_UNIT = 30.0


class Generator(Decoder):
    """Latent, note and velocity -> a note's spectrum, in tune and as loud as asked at every latent."""

    sees_turns = False
    learns_courses = True
    loud: Tensor
    loudness: Tensor

    def __init__(
        self,
        config: VaeConfig,
        grid: SpectrumGrid,
        statistics: Statistics,
        loudness: np.ndarray,
        ceiling_db: np.ndarray,
    ) -> None:
        super().__init__(config, grid, replace(statistics, stiffness=None))
        self.register_buffer("loud", torch.tensor(loud_weights(grid), dtype=torch.float32))
        self.register_buffer("loudness", torch.tensor(loudness, dtype=torch.float32))
        self.prominence, self.turning = Prominence(grid, ceiling_db), Turning(grid)
        self.n_settling = max(1, int(np.searchsorted(grid.frame_seconds, SETTLED_SECONDS)))

    def levelled(
        self, partials_db: Tensor, noise_db: Tensor, character: Tensor, note: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Levels turned, and moved to the wanted loudness, with single partials and the noise held down."""
        frequency_hz = self.number * (440.0 * torch.exp((note - 69.0) * 0.057762265))[:, None]
        partials_db = self.prominence(partials_db, frequency_hz)
        most_db = -LESS_NOISE_DB * functional.relu(note - LESS_NOISE_NOTE)
        noise_db = self._held(partials_db, noise_db, MOST_NOISE_DB + most_db, NOISE_KNEE_DB)
        amounts = character[:, : self.n_turns] / TURN_LENGTH
        partials_db, noise_db = self.turning(partials_db, noise_db, note, amounts)
        noise_db = self._held(partials_db, noise_db, MOST_TURNED_NOISE_DB + most_db, TURNED_KNEE_DB)
        return self._at_loudness(partials_db, noise_db, note, velocity)

    def forward(self, latent: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the instrument file gives: the colour of its touch on the course of a middle one."""
        middle, character = torch.full_like(velocity, MIDDLE_VELOCITY), latent[:, : self.character_size]
        decoded, usual = self._calm(character, note, velocity), self._calm(character, note, middle)
        evened_db = (_course_db(usual) - _course_db(decoded)).clamp(-MOST_EVENED_DB, MOST_EVENED_DB)
        louder_db = wanted_db(self.loudness, note, velocity) - wanted_db(self.loudness, note, middle)
        moved_db = (evened_db + louder_db[:, None])[:, None, :]
        partials_db, noise_db = decoded.partials_db + moved_db, decoded.noise_db + moved_db
        if latent.shape[1] > self.character_size:  # behind all laws, so that each number moves what it is fitted to
            partials_db, noise_db = self.detailed(partials_db, noise_db, latent)
        return self.played(latent, note, replace(decoded, partials_db=partials_db, noise_db=noise_db))

    def _calm(self, latent: Tensor, note: Tensor, velocity: Tensor) -> Decoded:
        """A note as decoded, but for what bursts out late in it."""
        decoded = self.decode(latent, note, velocity)
        course_db = _course_db(decoded)
        most_db = course_db[:, : self.n_settling].amax(dim=1, keepdim=True) + MOST_RISE_DB
        excess_db = functional.relu(course_db - most_db)[:, None, :]
        levels = decoded.partials_db - excess_db, decoded.noise_db - excess_db
        partials_db, noise_db = self._at_loudness(*levels, note, velocity)
        return replace(decoded, partials_db=partials_db, noise_db=noise_db)

    def _held(self, partials_db: Tensor, noise_db: Tensor, most_db: Tensor, knee_db: float) -> Tensor:
        """Noise, lowered where it drowns the partials."""
        over_db = _db(self._loud(noise_db)) - _db(0.5 * self._loud(partials_db)) - most_db
        return noise_db - (knee_db * functional.softplus(over_db / knee_db))[:, None, None]

    def _at_loudness(
        self, partials_db: Tensor, noise_db: Tensor, note: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor]:
        level_db = _db(0.5 * self._loud(partials_db) + self._loud(noise_db))
        missing_db = (wanted_db(self.loudness, note, velocity) - level_db)[:, None, None]
        return _bounded(partials_db + missing_db), _bounded(noise_db + missing_db)

    def _loud(self, level_db: Tensor) -> Tensor:
        """Power of what counts for loudness: `[N, C, T]` -> `[N]`."""
        return _power(level_db).sum(1) @ self.loud


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


class Gan(Pointed):
    """Generator, discriminator, encoder, and a place for each group of recordings."""

    decoder: Generator

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics, table: NoteTable) -> None:
        super().__init__(config, grid)
        self.decoder = Generator(config, grid, statistics, loudness_law(table), ceiling_of(table))
        self.points = self.scattered(config, len(table.groups))
        self.discriminator = Discriminator(config, grid)
        self.n_partials = grid.n_partials

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
