"""The training of the GAN: both networks learn in one step, and a training that is lost goes back to its best.

The hinge loss with R1 every few steps (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR
2020) on notes disguised alike on both sides. The gradients of both are taken from the same generated notes, so that
a step is one optimiser's step. What is kept of the generator is its running average (Yazıcı et al., "The Unusual
Effectiveness of Averaging in GAN Training", ICLR 2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralsynth.training.adversary import disguised, hinge, steepness
from neuralsynth.training.checkpoints import Run
from neuralsynth.training.collapse import Health, Reference
from neuralsynth.training.config import GanConfig
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.gan import Gan
from neuralsynth.training.losses import Ear
from neuralsynth.training.optimisation import Schedule, Training

LAZY_STEPS = 8  # between two looks at the steepness
RATE_SHARE = 0.5  # of the learning rate that a VAE would have
SLOWER, STEEPER = 0.5, 4.0  # learning rate and price of steepness, each time the training went back
MOST_RETURNS = 4  # before the end; one that is lost even then comes to its best there
COMPARED, COMPARED_VELOCITY = 48, 0.7  # latents whose notes are compared, and their velocity


class GanTraining(Training):
    """A GAN, its running average, and what is learned in a step."""

    network: Gan
    average: Gan
    score_name = "uncovered"

    def __init__(
        self, gan: Gan, average: Gan, ear: Ear, schedule: Schedule, config: GanConfig, reference: NoteTable
    ) -> None:
        super().__init__(gan, average, ear, schedule)
        self.config, self.reference = config, Reference(reference)
        self.health = Health(0.0, 0.0, 0.0, 0.0)
        self.returns, self.best_coverage = 0, 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam without momentum for generator and discriminator; the encoder learns later."""
        players = [*self.network.decoder.parameters(), *self.network.discriminator.parameters()]
        return torch.optim.Adam(players, lr=self.schedule.learning_rate, betas=(0.0, 0.99))

    def rate(self, step: int) -> float:
        """Learning rate of a step: slower than a VAE's, and slower still after each return."""
        return RATE_SHARE * self.schedule.rate(step) * SLOWER**self.returns

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """What generator and discriminator pay for one batch, together."""
        gan, note, velocity = self.network, batch["note"], batch["velocity"]
        real = gan.recorded(batch["partials_db"], batch["noise_db"], batch["cents"], note)
        latent = torch.randn(len(note), gan.points.shape[1])
        fake = gan.generated(gan.decoder.decode(latent, note, velocity))

        def verdict(rows: Tensor) -> Tensor:
            return gan.discriminator(disguised(rows, gan.n_partials, self.config.disguise), note, velocity)

        gan.discriminator.requires_grad_(False)  # the generator learns from it and moves it not
        deceived = -verdict(fake).mean()
        gan.discriminator.requires_grad_(True)
        on_real, on_fake = verdict(real), verdict(fake.detach())
        loss = deceived + hinge(on_real, on_fake)
        if self.config.steepness and step % LAZY_STEPS == 0:
            price = self.config.steepness * STEEPER**self.returns
            loss = loss + 0.5 * LAZY_STEPS * price * steepness(gan.discriminator, real, note, velocity)
        facts = {"loss": loss, "verdict_real": on_real.mean(), "verdict_generated": on_fake.mean()}
        health = {"coverage": self.health.coverage, "density": self.health.density, "spread": self.health.spread}
        return loss, {name: float(value.detach()) for name, value in facts.items()} | health

    def score(self, watched: NoteTable) -> float:  # noqa: ARG002 - the reference was chosen from it
        """Share of the watched notes that the averaged generator does not cover."""
        self.health = self._examined()
        return 1.0 - self.health.coverage if np.isfinite(self.health.coverage) else 1.0

    def told(self, score: float) -> str:
        """Coverage and density in words."""
        return f"coverage {1.0 - score:.2f} density {self.health.density:.2f}"

    @torch.no_grad()
    def _examined(self) -> Health:
        reference, gan = self.reference, self.average.eval()
        note, velocity = torch.from_numpy(reference.note), torch.from_numpy(reference.velocity)
        same = torch.Generator().manual_seed(self.schedule.seed)  # the same latents each time
        latent = torch.randn(len(note), gan.points.shape[1], generator=same)
        partials, _, _, noise = gan.decoder(latent, note, velocity)
        covered = reference.coverage(partials.numpy(), noise.numpy())
        middle, few = float(np.median(reference.note)), latent[:COMPARED]
        touch = torch.full((len(few),), COMPARED_VELOCITY)
        partials, _, _, noise = gan.decoder(few, torch.full((len(few),), middle), touch)
        spread = reference.spread(partials.numpy(), noise.numpy(), middle)
        return Health(*covered, spread, self._margin(latent, note, velocity))

    def _margin(self, latent: Tensor, note: Tensor, velocity: Tensor) -> float:
        gan, known = self.network.eval(), self.reference
        partials_db, noise_db, cents = (torch.from_numpy(x) for x in (known.partials_db, known.noise_db, known.cents))
        real = gan.recorded(partials_db, noise_db, cents, note)
        fake = gan.generated(gan.decoder.decode(latent, note, velocity))
        verdicts = [gan.discriminator(rows, note, velocity).mean() for rows in (real, fake)]
        gan.train()
        return float(verdicts[0] - verdicts[1])

    def rescue(self, run: Run) -> str | None:
        """Go back to the best checkpoint if the training is lost, and say why."""
        complaint = self.health.complaint(self.step, self.schedule.steps, self.best_coverage)
        if complaint is None or (self.returns == MOST_RETURNS and self.step < self.schedule.steps):
            self.best_coverage = max(self.best_coverage, self.health.coverage)
            return None
        self.returns += 1
        best = run.best()
        if best is None:
            return f"the training collapsed at step {self.step}: {complaint}; there is nothing to go back to yet"
        self.network.load_state_dict(best["network"])
        self.average.load_state_dict(best["average"])
        self.optimizer().load_state_dict(best["optimizer"])
        return f"the training collapsed at step {self.step}: {complaint}; back to the best, of step {best['step']}"

    def state(self, score: float) -> dict[str, Any]:
        """Everything a later process needs to go on from here."""
        return super().state(score) | {"returns": self.returns, "best_coverage": self.best_coverage}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().restore(state)
        self.returns, self.best_coverage = int(state["returns"]), float(state["best_coverage"])
