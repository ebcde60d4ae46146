"""What each family of models does in its own way: one class for each, between `run` and the family's own modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from neuralsynth.errors import UsageError
from neuralsynth.spec import LatentAxis
from neuralsynth.training import kit
from neuralsynth.training.augment import APART, Mixing
from neuralsynth.training.config import TrainConfig
from neuralsynth.training.cycles import begin
from neuralsynth.training.encoder import Coder
from neuralsynth.training.fit import VaeTraining
from neuralsynth.training.gan import Gan
from neuralsynth.training.gan_fit import GanTraining
from neuralsynth.training.losses import Ear
from neuralsynth.training.optimisation import Schedule, Training
from neuralsynth.training.points import named_axes
from neuralsynth.training.prepare import Data, statistics_of
from neuralsynth.training.tuning import tune
from neuralsynth.training.vae import Vae

MOST_FUNCTIONS = 6  # of a GAN's detail, whose courses are learned: few of them say nearly all


class VaeFamily:
    """Variational autoencoders: points are learned with the network, axes by turning notes."""

    def __init__(self, config: TrainConfig, data: Data, ear: Ear) -> None:
        self.config, self.data, self.ear = config, data, ear

    def mixing(self) -> Mixing | None:
        """How notes are mixed in batches; None as usual."""
        if self.data.holds_cycles:
            return APART
        return None if self.data.train.ratios is None else kit.MIXING

    def network(self) -> Coder:
        """A new network."""
        table = self.data.train
        vae = Vae(self.config.model, table.grid, statistics_of(table), len(table.groups))
        if self.data.holds_cycles:
            begin(vae, table)
        return vae

    def training(self, network: Vae, average: Vae, schedule: Schedule) -> Training:
        """What is done in a step."""
        return VaeTraining(network, average, self.ear, schedule)

    def finish(self, vae: Vae) -> None:
        """What is left to be learned when the network is done."""
        table = self.data.train
        ranges = [(float(own.note.min()), float(own.note.max())) for own in table.by_group()]
        tune(vae.decoder, vae.group_places().detach(), table.grid, ranges)

    def axes(self, vae: Vae) -> dict[str, LatentAxis]:
        """Directions that do what they are called."""
        return named_axes(vae, self.data.train)


class GanFamily:
    """Generative adversarial networks: points and encoder are learned with the generator, axes are built into it."""

    def __init__(self, config: TrainConfig, data: Data, ear: Ear) -> None:
        if data.holds_cycles or data.train.ratios is not None:
            held = "single cycles" if data.holds_cycles else "drums"
            raise UsageError(f"a GAN learns from notes, and this folder holds {held}; use family vae")
        self.config, self.data, self.ear = config, data, ear

    def mixing(self) -> Mixing:
        """How notes are mixed in batches: not turned, since turned notes are none of the recordings."""
        return Mixing(turns=False)

    def network(self) -> Coder:
        """A new network."""
        n_functions = min(self.config.model.detail_functions, MOST_FUNCTIONS)
        table, model = self.data.train, replace(self.config.model, dropout=0.0, detail_functions=n_functions)
        return Gan(model, table.grid, statistics_of(table), table)

    def training(self, network: Gan, average: Gan, schedule: Schedule) -> Training:
        """What is done in a step."""
        watched = self.data.train if self.data.held is None else self.data.held
        return GanTraining(network, average, self.ear, schedule, self.config.gan, watched)

    def finish(self, gan: Gan) -> None:
        """The tuning of the beginnings of notes."""
        tune(gan.decoder, gan.group_places().detach(), self.data.train.grid, [])

    def axes(self, gan: Gan) -> dict[str, LatentAxis]:
        """Directions that do what they are called."""
        return named_axes(gan, self.data.train)


Family = VaeFamily | GanFamily
_FAMILIES: dict[str, Callable[[TrainConfig, Data, Ear], Family]] = {"vae": VaeFamily, "gan": GanFamily}


def family_of(config: TrainConfig, data: Data, ear: Ear) -> Family:
    """The family that a configuration names.

    Raises:
        UsageError: the family cannot learn from this kind of recordings.
    """
    return _FAMILIES[config.family](config, data, ear)
