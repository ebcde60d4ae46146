"""The training loop: a Lightning module whose every step is a pure function of (seed, step).

Nothing depends on when a training was stopped: the batch, the random numbers, the learning rate and the weight average
of step `s` are computed from `s`, so a resumed run ends with the very weights of one that was never stopped (same
machine, same number of threads).
"""

# ruff: noqa: ARG002 - Lightning fixes the arguments of its hooks.

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import IterableDataset

from neuralsynth.training.augment import Batch, Batches
from neuralsynth.training.dataset import NoteTable
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
from neuralsynth.training.vae import Decoded, Vae
from neuralsynth.units import note_to_hz

WARM_UP_STEPS = 50
FINAL_RATE = 0.02  # of the learning rate, reached along a cosine
LATENT_WARM_UP = 0.3  # of the training until the latent costs its full price
AVERAGE_DECAY = 0.998


@dataclass(frozen=True)
class Schedule:
    """What one training was given."""

    seed: int
    steps: int
    learning_rate: float
    weight_decay: float

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / max(1, self.steps)))
        return self.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS) * (FINAL_RATE + (1.0 - FINAL_RATE) * cosine)

    def latent_price(self, step: int) -> float:
        """Share of the KL divergence's weight at a step, 0..1."""
        return min(1.0, step / max(1.0, LATENT_WARM_UP * self.steps))


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


class VaeTraining(LightningModule):
    """A VAE, its running average, and one optimisation step."""

    def __init__(self, vae: Vae, average: Vae, ear: Ear, schedule: Schedule, first_step: int = 0) -> None:
        super().__init__()
        self.vae, self.average, self.ear = vae, average, ear
        self.qualities = Qualities(ear.grid)
        self.average.load_state_dict(vae.state_dict())
        self.average.requires_grad_(False).eval()
        self.schedule, self.first_step = schedule, first_step
        self.weights = LossWeights() if isinstance(ear, MelEar) else LossWeights(qualities=0.0)  # cycles stand still
        self.last_losses: dict[str, float] = {}

    @property
    def step(self) -> int:
        """Steps done since the very start, over all resumptions."""
        return self.first_step + self.global_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases, normalisations and points do not decay."""
        matrices = [p for p in self.vae.parameters() if p.ndim >= 2 and p is not self.vae.points]
        others = [p for p in self.vae.parameters() if p.ndim < 2 or p is self.vae.points]
        decay = self.schedule.weight_decay
        groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.schedule.learning_rate, betas=(0.9, 0.99))

    def _optimizer(self) -> torch.optim.Optimizer:
        wrapped: Any = self.optimizers()
        return wrapped.optimizer

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set what belongs to this step: stiffness, learning rate and random numbers."""
        self.vae.settle()
        self._step_begun = self.step
        for group in self._optimizer().param_groups:
            group["lr"] = self.schedule.rate(self.step)
        torch.manual_seed(int(np.random.SeedSequence([self.schedule.seed, self.step, 1]).generate_state(1)[0]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """One batch: its first two thirds are played from known latents, the last through the encoder."""
        loss, self.last_losses = self.loss(batch, self.step)
        return loss

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts."""
        known = len(batch["note"]) - len(batch["note"]) // 3
        late = {name: value[known:] for name, value in batch.items()}
        mean, log_variance = self.vae.encode(late["partials_db"], late["noise_db"], late["note"], late["velocity"])
        drawn = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        places = self.vae.place(batch["group"], batch["other"], batch["share"], batch["turned"])
        latent = torch.cat([places[:known], drawn])
        decoded = self.vae.decoder.decode(latent, batch["note"], batch["velocity"])
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
        bodies = self.vae.decoder.body(self.vae.points)
        kept_small = w.body * (bodies**2).mean() * 8.0 + 0.001 * (self.vae.points**2).sum()
        prices = w.latent * self.schedule.latent_price(step) * price + w.recognition * missed
        loss = (heard + parts).mean() + prices + kept_small
        facts = {
            "loss": loss,
            "play_db": heard[: known // 2].mean(),
            "latent_db": heard[known:].mean(),
            "divergence": price,
        }
        return loss, {name: float(value.detach()) for name, value in facts.items()}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average, before any callback keeps a checkpoint of it."""
        super().optimizer_step(*args, **kwargs)
        done = self._step_begun + 1
        decay = min(AVERAGE_DECAY, (1.0 + done) / (10.0 + done))
        with torch.no_grad():
            for kept, value in zip(self.average.state_dict().values(), self.vae.state_dict().values(), strict=True):
                if kept.dtype.is_floating_point:
                    kept.lerp_(value, 1.0 - decay)
                else:
                    kept.copy_(value)

    def state(self, score: float) -> dict[str, Any]:
        """Everything a later process needs to go on from here."""
        optimizer = self._optimizer().state_dict()
        return {
            "step": self.step,
            "score": score,
            "vae": self.vae.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's weights; the optimiser follows in `restore_optimizer`."""
        self.vae.load_state_dict(state["vae"])
        self.average.load_state_dict(state["average"])
        self.first_step = int(state["step"])
        self._optimizer_state = state["optimizer"]

    def on_train_start(self) -> None:
        """Give the optimiser of a resumed run its moments back."""
        if getattr(self, "_optimizer_state", None) is not None:
            self._optimizer().load_state_dict(self._optimizer_state)
            self._optimizer_state = None


def note_distance(ear: Ear, decoded: Decoded, batch: dict[str, Tensor]) -> Tensor:
    """Mel distance in dB of decoded notes to a batch, `[N]`."""
    frequency_hz = decoded.ratios * _pitch_hz(batch["note"])[:, None]
    with torch.no_grad():
        target = ear(batch["partials_db"], batch["noise_db"], frequency_hz)
    return mel_distance(ear(decoded.partials_db, decoded.noise_db, frequency_hz), target, batch["weights"])


def _pitch_hz(note: Tensor) -> Tensor:
    return float(note_to_hz(69)) * torch.exp2((note - 69.0) / 12.0)


@torch.no_grad()
def play_score(vae: Vae, ear: Ear, table: NoteTable) -> float:
    """Mean mel distance in dB of *play* (the learned point, note and velocity alone) to the notes of a table."""
    vae.eval()
    vae.settle()
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
        latent = vae.at_points(torch.from_numpy(table.group[rows]))
        decoded = vae.decoder.decode(latent, batch["note"], torch.from_numpy(table.velocity[rows]))
        scores.append(note_distance(ear, decoded, batch))
    return float(torch.cat(scores).mean())
