"""What the trainings of all families have in common: a Lightning module whose every step is a function of (seed, step).

Nothing depends on when a training was stopped: the batch, the random numbers, the learning rate and the weight average
of step `s` are computed from `s`, so a resumed run ends with the very weights of one that was never stopped (same
machine, same number of threads).
"""

# ruff: noqa: ARG002 - Lightning fixes the arguments of its hooks.

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from neuralsynth.training.checkpoints import Run
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.encoder import Coder
from neuralsynth.training.losses import Ear

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


class Training(LightningModule):
    """A network, its running average, and one optimisation step; classes below say what is learned."""

    #: What `score` gives, as the log names it; less is better.
    score_name = "score_db"

    def __init__(self, network: Coder, average: Coder, ear: Ear, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.average, self.ear = network, average, ear
        self.average.load_state_dict(network.state_dict())
        self.average.requires_grad_(False).eval()
        self.schedule, self.first_step = schedule, 0
        self.last_losses: dict[str, float] = {}
        self._optimizer_state: dict[str, Any] | None = None

    @abstractmethod
    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts."""

    @abstractmethod
    def score(self, watched: NoteTable) -> float:
        """How far the average is from notes that are watched; less is better."""

    @abstractmethod
    def told(self, score: float) -> str:
        """A score in words, for the progress line."""

    def rescue(self, run: Run) -> str | None:
        """Called after each score: go back to the best checkpoint if the training is lost; says why, else None."""
        return None

    def wary(self) -> bool:
        """Called after each step: whether the training is to be scored now, out of turn."""
        return False

    @property
    def step(self) -> int:
        """Steps done since the very start, over all resumptions."""
        return self.first_step + self.global_step

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.schedule.rate(step)

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser, without Lightning's wrapping."""
        wrapped: Any = self.optimizers()
        return wrapped.optimizer

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set what belongs to this step: stiffness, learning rate and random numbers."""
        self.network.settle()
        self._step_begun = self.step
        for group in self.optimizer().param_groups:
            group["lr"] = self.rate(self.step)
        torch.manual_seed(int(np.random.SeedSequence([self.schedule.seed, self.step, 1]).generate_state(1)[0]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        loss, self.last_losses = self.loss(batch, self.step)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average, before any callback keeps a checkpoint of it."""
        super().optimizer_step(*args, **kwargs)
        done = self._step_begun + 1
        decay = min(AVERAGE_DECAY, (1.0 + done) / (10.0 + done))
        with torch.no_grad():
            for kept, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if kept.dtype.is_floating_point:
                    kept.lerp_(value, 1.0 - decay)
                else:
                    kept.copy_(value)

    def state(self, score: float) -> dict[str, Any]:
        """Everything a later process needs to go on from here."""
        return {
            "step": self.step,
            "score": score,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer().state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's weights; the optimiser follows in `on_train_start`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.first_step = int(state["step"])
        self._optimizer_state = state["optimizer"]

    def on_train_start(self) -> None:
        """Give the optimiser of a resumed run its moments back."""
        if self._optimizer_state is not None:
            self.optimizer().load_state_dict(self._optimizer_state)
            self._optimizer_state = None
