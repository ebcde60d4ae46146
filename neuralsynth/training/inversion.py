"""The way back through a generator: where in its latent space the recordings lie, and an encoder that hears it.

A group's point is the latent whose notes come nearest to the group's own: the best of many drawn ones, refined by
gradient descent (Zhu et al., "Generative Visual Manipulation on the Natural Image Manifold", ECCV 2016). The encoder
learns from notes of the generator, whose latents are known ("latent regressor": Donahue, Krähenbühl and Darrell,
"Adversarial Feature Learning", ICLR 2017).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.fit import note_distance
from neuralsynth.training.gan import Gan
from neuralsynth.training.losses import Ear

DRAWN, REFINED = 64, 3  # latents that are tried for a group, and the best of them that are refined
COMPARED, GLANCED = 8, 4  # notes of a group that are compared, and at which drawn latents are tried
REFINING_STEPS, REFINING_RATE = 90, 0.08
FAR_PRICE_DB = 0.02  # of the squared latent: places far out were seldom trained
ENCODER_STEPS, ENCODER_BATCH, ENCODER_RATE = 500, 32, 2e-3
LABEL_SEMITONES = 3.0  # by which the notes that the encoder hears stray from recorded ones


def learn_points(gan: Gan, table: NoteTable, ear: Ear, seed: int) -> None:
    """Set a GAN's point of each group."""
    gan.eval().requires_grad_(False)
    drawn = torch.randn(DRAWN, gan.points.shape[1], generator=torch.Generator().manual_seed(seed))
    for group, own in enumerate(table.by_group()):
        glance, whole = _Notes(own, GLANCED), _Notes(own, COMPARED)
        with torch.no_grad():
            first = torch.cat([glance.distances(gan, ear, some) for some in drawn.split(16)])
        gan.points[group] = _refined(gan, ear, whole, drawn[first.argsort()[:REFINED]])


def _refined(gan: Gan, ear: Ear, notes: _Notes, latents: Tensor) -> Tensor:
    """The best of some latents `[N, Z]` after descent, `[Z]`."""
    latents = latents.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=REFINING_RATE)
    for _ in range(REFINING_STEPS):
        optimizer.zero_grad()
        (notes.distances(gan, ear, latents) + FAR_PRICE_DB * (latents**2).sum(1)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return latents[notes.distances(gan, ear, latents).argmin()].detach()


class _Notes:
    """A few notes of a group, evenly over its pitches, to be compared with what latents decode to."""

    def __init__(self, table: NoteTable, most: int) -> None:
        order = np.argsort(table.note, kind="stable")
        rows = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
        own = table.only(rows)
        self.velocity = torch.from_numpy(own.velocity)
        arrays = {"partials_db": own.partials_db, "noise_db": own.noise_db, "note": own.note}
        self.batch = {name: torch.from_numpy(x) for name, x in (arrays | {"weights": own.frame_weights()}).items()}

    def distances(self, gan: Gan, ear: Ear, latents: Tensor) -> Tensor:
        """Mean mel distance in dB of what each latent `[N, Z]` decodes to, at equal loudness: `[N]`."""
        n, m = len(latents), len(self.velocity)
        batch = {name: x.repeat(n, *[1] * (x.ndim - 1)) for name, x in self.batch.items()}
        decoded = gan.decoder.decode(latents.repeat_interleave(m, 0), batch["note"], self.velocity.repeat(n))
        louder_db = gan.level_db(decoded.partials_db, decoded.noise_db) - gan.level_db(
            batch["partials_db"], batch["noise_db"]
        )
        for name in ("partials_db", "noise_db"):
            batch[name] = batch[name] + louder_db.detach()[:, None, None]
        return note_distance(ear, decoded, batch).reshape(n, m).mean(1)


def learn_encoder(gan: Gan, table: NoteTable, seed: int, most_steps: int) -> None:
    """Teach a GAN's encoder to hear latents, by the generator's own notes near those of a table."""
    gan.eval()
    encoder = gan.encoder.train().requires_grad_(True)
    steps, rng = min(ENCODER_STEPS, most_steps), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=ENCODER_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(seed)
    for _ in range(steps):
        rows = rng.integers(0, len(table.note), ENCODER_BATCH)
        stray = LABEL_SEMITONES * rng.standard_normal(ENCODER_BATCH)
        note = torch.tensor(np.clip(table.note[rows] + stray, table.note.min(), table.note.max()), dtype=torch.float32)
        velocity, latent = torch.from_numpy(table.velocity[rows]), torch.randn(ENCODER_BATCH, gan.points.shape[1])
        with torch.no_grad():
            heard = gan.decoder.decode(latent, note, velocity)
        mean, log_variance = gan.encode(heard.partials_db, heard.noise_db, note, velocity)
        optimizer.zero_grad()
        (0.5 * ((latent - mean) ** 2 * torch.exp(-log_variance) + log_variance)).mean().backward()
        optimizer.step()
        schedule.step()
    gan.eval().requires_grad_(False)
