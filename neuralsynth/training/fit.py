"""The training of the VAE: what a batch costs, and how far *play* is from notes that are watched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from neuralsynth.training.augment import Batch, Batches
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.encoder import Coder
from neuralsynth.training.losses import (
    Ear,
    LossWeights,
    MelEar,
    Qualities,
    divergence,
    mel_distance,
    noise_distance,
    partial_distance,
)
from neuralsynth.training.optimisation import Schedule, Training
from neuralsynth.training.vae import Decoded, Vae
from neuralsynth.units import note_to_hz


class BatchStream(IterableDataset):
    """Batches of the steps `first`..`last - 1`."""

    def __init__(self, batches: Batches, first: int, last: int) -> None:
        super().__init__()
        self.batches, self.first, self.last = batches, first, last

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """One batch per step, as tensors."""
        for step in range(self.first, self.last):
            yield to_tensors(self.batches.draw(step))


def to_tensors(batch: Batch) -> dict[str, Tensor]:
    """The arrays of a batch as tensors by name."""
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(batch).items()}


class VaeTraining(Training):
    """A VAE, its running average, and what is learned in a step."""

    network: Vae

    def __init__(self, vae: Vae, average: Vae, ear: Ear, schedule: Schedule) -> None:
        super().__init__(vae, average, ear, schedule)
        self.qualities = Qualities(ear.grid)
        self.weights = LossWeights() if isinstance(ear, MelEar) else LossWeights(qualities=0.0)  # cycles stand still

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases, normalisations and points do not decay."""
        matrices = [p for p in self.network.parameters() if p.ndim >= 2 and p is not self.network.points]
        others = [p for p in self.network.parameters() if p.ndim < 2 or p is self.network.points]
        decay = self.schedule.weight_decay
        groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.schedule.learning_rate, betas=(0.9, 0.99))

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """A batch whose first two thirds are played from known latents, the last through the encoder."""
        known = len(batch["note"]) - len(batch["note"]) // 3
        late = {name: value[known:] for name, value in batch.items()}
        mean, log_variance = self.network.encode(late["partials_db"], late["noise_db"], late["note"], late["velocity"])
        drawn = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        places = self.network.place(batch["group"], batch["other"], batch["share"], batch["turned"])
        latent = torch.cat([places[:known], drawn])
        decoded = self.network.decoder.decode(latent, batch["note"], batch["velocity"])
        heard = note_distance(self.ear, decoded, batch)
        w, weights = self.weights, batch["weights"]
        movement = ((decoded.cents - batch["cents"]).abs() * weights).sum(1) / weights.sum(1)
        parts = w.partials * partial_distance(decoded, batch["partials_db"], weights)
        parts = parts + w.noise * noise_distance(decoded, batch["noise_db"], weights) + w.movement * movement
        parts = parts + w.qualities * self.qualities(
            decoded, batch["partials_db"], batch["noise_db"], weights, w.brightness_db_per_octave
        )
        price = divergence(mean, log_variance, w.free_nats)
        missed = ((mean - places[known:].detach()) ** 2).sum(1).mean()  # the encoder shall recognise what is known
        bodies = self.network.decoder.body(self.network.points)
        kept_small = w.body * (bodies**2).mean() * 8.0 + 0.001 * (self.network.points**2).sum()
        prices = w.latent * self.schedule.latent_price(step) * price + w.recognition * missed
        loss = (heard + parts).mean() + prices + kept_small
        facts = {
            "loss": loss,
            "play_db": heard[: known // 2].mean(),
            "latent_db": heard[known:].mean(),
            "divergence": price,
        }
        return loss, {name: float(value.detach()) for name, value in facts.items()}

    def score(self, watched: NoteTable) -> float:
        """Mean mel distance in dB of *play* to notes that are watched."""
        return play_score(self.average, self.ear, watched)

    def told(self, score: float) -> str:
        """The score in dB."""
        return f"score {score:.2f} dB"


def note_distance(ear: Ear, decoded: Decoded, batch: dict[str, Tensor]) -> Tensor:
    """Mel distance in dB of decoded notes to a batch, `[N]`."""
    frequency_hz = decoded.ratios * _pitch_hz(batch["note"])[:, None]
    with torch.no_grad():
        target = ear(batch["partials_db"], batch["noise_db"], frequency_hz)
    return mel_distance(ear(decoded.partials_db, decoded.noise_db, frequency_hz), target, batch["weights"])


def _pitch_hz(note: Tensor) -> Tensor:
    return float(note_to_hz(69)) * torch.exp2((note - 69.0) / 12.0)


@torch.no_grad()
def play_score(coder: Coder, ear: Ear, table: NoteTable) -> float:
    """Mean mel distance in dB of *play* (the learned point, note and velocity alone) to the notes of a table."""
    coder.eval()
    coder.settle()
    weights = table.frame_weights()
    scores = []
    for i in range(0, len(table.note), 16):
        rows = slice(i, i + 16)
        batch = {
            "partials_db": torch.from_numpy(table.partials_db[rows]),
            "noise_db": torch.from_numpy(table.noise_db[rows]),
            "note": torch.from_numpy(table.note[rows]),
            "weights": torch.from_numpy(weights[rows]),
        }
        latent = coder.at_points(torch.from_numpy(table.group[rows]))
        decoded = coder.decoder.decode(latent, batch["note"], torch.from_numpy(table.velocity[rows]))
        scores.append(note_distance(ear, decoded, batch))
    return float(torch.cat(scores).mean())
