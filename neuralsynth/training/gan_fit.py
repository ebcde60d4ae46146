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
from neuralsynth.training.collapse import MOST_MARGIN, Health, Reference
from neuralsynth.training.config import GanConfig
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.fit import note_distance
from neuralsynth.training.gan import Gan
from neuralsynth.training.losses import Ear, LossWeights, Qualities, divergence, noise_distance, partial_distance
from neuralsynth.training.optimisation import Schedule, Training
from neuralsynth.training.vae import Decoded

LAZY_STEPS = 8  # between two looks at the steepness
RATE_SHARE = 0.5  # of the learning rate that a VAE would have
SLOWER, STEEPER = 0.5, 4.0  # learning rate and price of steepness, each time the training went back
EARLY_LOOKS = 100  # at a whole training, were it looked at as often as in its first tenth
MOST_RETURNS = 4  # before the end; one that is lost even then comes to its best there
RECOGNITION = 0.1  # price of not hearing where a generated note lies
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
        self.returns, self.best_coverage, self.margin = 0, 0.0, 0.0
        self.qualities, self.weights = Qualities(ear.grid), LossWeights()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam without momentum for all networks together."""
        return torch.optim.Adam(self.network.parameters(), lr=self.schedule.learning_rate, betas=(0.0, 0.99))

    def rate(self, step: int) -> float:
        """Learning rate of a step: slower than a VAE's, and slower still after each return."""
        return RATE_SHARE * self.schedule.rate(step) * SLOWER**self.returns

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """What generator, discriminator and encoder pay for one batch, together."""
        gan, note, velocity = self.network, batch["note"], batch["velocity"]
        real = gan.recorded(batch["partials_db"], batch["noise_db"], batch["cents"], note)
        n, w = len(note), self.weights
        mean, log_variance = gan.encode(batch["partials_db"], batch["noise_db"], note, velocity)
        drawn = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        places = gan.place(batch["group"], batch["other"], batch["share"], batch["turned"])
        known = n // 2
        latent = torch.randn(n, mean.shape[1])
        every = torch.cat([latent, places[:known], drawn[known:]])
        decoded = gan.decoder.decode(every, note.repeat(2), velocity.repeat(2))
        invented, copied = (_part(decoded, rows) for rows in (slice(0, n), slice(n, None)))
        fake = gan.generated(invented)
        deceived, against = self._against_each_other(real, fake, note, velocity, step)
        heard, portrait = self._portrait(copied, batch)
        price = divergence(mean, log_variance, w.free_nats)
        missed = ((mean - places.detach()) ** 2).sum(1).mean()  # the encoder shall recognise what is known
        kept_small = w.body * (gan.decoder.body(gan.points) ** 2).mean() * 8.0 + 0.001 * (gan.points**2).sum()
        prices = w.latent * self.schedule.latent_price(step) * price + w.recognition * missed + kept_small
        guess, doubt = gan.encode(invented.partials_db.detach(), invented.noise_db.detach(), note, velocity)
        unheard = (0.5 * ((latent - guess) ** 2 * torch.exp(-doubt) + doubt)).mean()
        loss = deceived + against + self.config.portrait * (portrait + prices) + RECOGNITION * unheard
        facts = {
            "loss": loss,
            "verdict_gap": against,
            "play_db": heard[:known].mean(),
            "latent_db": heard[known:].mean(),
            "divergence": price,
            "unheard": unheard,
        }
        health = {"coverage": self.health.coverage, "density": self.health.density, "spread": self.health.spread}
        return loss, {name: float(value.detach()) for name, value in facts.items()} | health

    def _against_each_other(
        self, real: Tensor, fake: Tensor, note: Tensor, velocity: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """What the generator pays for being found out, and the discriminator for its verdicts and its steepness."""
        gan = self.network

        def verdict(rows: Tensor) -> Tensor:
            return gan.discriminator(disguised(rows, gan.n_partials, self.config.disguise), note, velocity)

        gan.discriminator.requires_grad_(False)  # the generator learns from it and moves it not
        deceived = -verdict(fake).mean()
        gan.discriminator.requires_grad_(True)
        on_real, on_fake = verdict(real), verdict(fake.detach())
        self.margin = float((on_real.mean() - on_fake.mean()).detach())
        against = hinge(on_real, on_fake)
        if self.config.steepness and step % LAZY_STEPS == 0:
            price = self.config.steepness * STEEPER**self.returns
            against = against + 0.5 * LAZY_STEPS * price * steepness(gan.discriminator, real, note, velocity)
        return deceived, against

    def _portrait(self, decoded: Decoded, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """How far notes at known places and at heard ones are from their recordings, at equal loudness.

        Mel distance in dB `[N]`, and what is paid.
        """
        gan, w, weights = self.network, self.weights, batch["weights"]
        louder_db = gan.level_db(decoded.partials_db, decoded.noise_db) - gan.level_db(
            batch["partials_db"], batch["noise_db"]
        )
        levels = {name: batch[name] + louder_db.detach()[:, None, None] for name in ("partials_db", "noise_db")}
        heard = note_distance(self.ear, decoded, batch | levels)
        parts = w.partials * partial_distance(decoded, levels["partials_db"], weights)
        parts = parts + w.noise * noise_distance(decoded, levels["noise_db"], weights)
        parts = parts + w.movement * ((decoded.cents - batch["cents"]).abs() * weights).sum(1) / weights.sum(1)
        parts = parts + w.qualities * self.qualities(decoded, *levels.values(), weights, w.brightness_db_per_octave)
        return heard, (heard + parts).mean()

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
        latent = torch.randn(len(note), gan.decoder.character_size, generator=same)
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

    def wary(self) -> bool:
        """Whether to look now: ten times in the first tenth, and as soon as the verdicts of a batch are far apart."""
        often = max(1, self.schedule.steps // EARLY_LOOKS)
        return self.step % often == 0 and (self.step <= 0.1 * self.schedule.steps or not self.margin <= MOST_MARGIN)

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


def _part(decoded: Decoded, rows: slice) -> Decoded:
    return Decoded(decoded.partials_db[rows], decoded.noise_db[rows], decoded.cents[rows], decoded.ratios[rows])
