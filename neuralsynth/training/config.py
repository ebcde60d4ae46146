"""What a person chooses about a training, and what comes back. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuralsynth.analysis.folder import Folder
from neuralsynth.errors import RecordingError, UsageError
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spec_checks import MAX_NAMED

FAMILIES = ("vae", "gan")
MIN_RECORDINGS = 2
N_TURNS = 4  # qualities by which a timbre is turned, see `augment`
LEAST_OWN_NUMBERS, MOST_OWN_NUMBERS = 4, 12  # of the latent besides the turns: which instrument it is
FLOOR_DB = -110.0  # of full scale: nothing softer is described


@dataclass(frozen=True)
class VaeConfig:
    """Size and shape of the variational autoencoder."""

    width: int = 64  # channels of every convolution
    latent_size: int = 0  # numbers of a sound's character, the turns included; 0 fits the number of instruments
    detail_functions: int = 10  # courses over time by which a sound's detail moves a partial or band; 0 leaves it out
    detail_partials: int = 64  # partials that have a detail of their own
    condition_size: int = 64  # numbers that carry latent, note and velocity to every block
    note_step: float = 0.0  # semitones between the soft steps in which the network sees a note; 0 fits the folder
    envelope_points: int = 40  # of the spectral envelope over frequency, moving in time
    body_points: int = 160  # of the fixed body resonance over frequency
    lowest_frames: int = 16  # frames of the seed that is grown to the full grid
    dropout: float = 0.1  # share of the condition's numbers that are silenced in training

    def fitted(self, n_groups: int, note_step: float) -> VaeConfig:
        """With the sizes that were left open fitted to what is trained on."""
        own = max(LEAST_OWN_NUMBERS, min(n_groups, MOST_OWN_NUMBERS))
        return replace(
            self,
            latent_size=self.latent_size or N_TURNS + own,
            note_step=self.note_step if self.note_step > 0.0 else note_step,
        )


@dataclass(frozen=True)
class GanConfig:
    """What holds a generative adversarial network in balance."""

    steepness: float = 0.3  # price of R1, the squared gradient of the discriminator at recorded notes
    disguise: float = 0.5  # of what recorded and generated notes are moved by before they are judged
    portrait: float = 0.5  # price of a decibel between a recording and the note at its place


@dataclass(frozen=True)
class TrainConfig:
    """One training, from a folder to an instrument file."""

    family: str = "vae"
    minutes: float = 10.0  # most wall-clock time of the whole call; a small folder needs less
    seed: int = 0
    # To measure what is learned, at most one of these three; all layers of a pitch go together:
    hold_out: int = 0  # leave out every k-th interior pitch; 0 uses every recording
    keep_every: int = 0  # train on every k-th pitch only, from the lowest on; 0 uses every recording
    only_layer: int = 0  # train on the recordings of this velocity only; 0 uses every recording
    name: str = ""  # "" takes the folder's name
    licence: str = "unknown"
    origin: str = "unknown"
    threads: int = 0  # of torch; 0 takes every core this process may use
    steps: int = 0  # a fixed number of steps instead of what fits into `minutes`
    batch_size: int = 30
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    n_frames: int = 128
    n_bands: int = 44
    n_partials: int = 0  # 0 chooses by the lowest note
    duration_seconds: float = 0.0  # 0 chooses by the recordings' lengths
    model: VaeConfig = field(default_factory=VaeConfig)
    gan: GanConfig = field(default_factory=GanConfig)

    def suited(self, training: dict[str, Any], model: dict[str, Any]) -> TrainConfig:
        """The same choices; what was left at its default becomes what suits a kind of recordings."""
        usual = TrainConfig()
        ours = {key: value for key, value in training.items() if getattr(self, key) == getattr(usual, key)}
        inner = {key: value for key, value in model.items() if getattr(self.model, key) == getattr(usual.model, key)}
        return replace(self, **ours, model=replace(self.model, **inner))

    def check(self) -> TrainConfig:
        """Return itself.

        Raises:
            UsageError: a number out of range.
        """
        if self.family not in FAMILIES:
            raise UsageError(f"family {self.family!r} is unknown; use {' or '.join(FAMILIES)}")
        _in_range("minutes", self.minutes, 0.05, 100_000)
        _in_range("seed", self.seed, 0, 2**63 - 1)
        _in_range("hold_out", self.hold_out, 0, 1000)
        _in_range("keep_every", self.keep_every, 0, 1000)
        _in_range("only_layer", self.only_layer, 0, 127)
        self._check_what_is_left_out()
        _in_range("threads", self.threads, 0, 1024)
        _in_range("steps", self.steps, 0, 10_000_000)
        _in_range("batch_size", self.batch_size, 3, 4096)
        return self

    def _check_what_is_left_out(self) -> None:
        if self.keep_every == 1:
            raise UsageError("keep_every is 1, which keeps every pitch; use 2 or more, or 0 to leave none out")
        chosen = [name for name in ("hold_out", "keep_every", "only_layer") if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} exclude one another; choose one way of leaving recordings out")


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{name} is {value}; use {low:g} to {high:g}")


def enough(understood: Folder) -> None:
    """Refuse a folder that is too small to train on, or holds more waveforms than an instrument has names for.

    Raises:
        RecordingError: fewer than `MIN_RECORDINGS` usable recordings, or more than `MAX_NAMED` single cycles.
    """
    if understood.holds_cycles and len(understood.used) > MAX_NAMED:
        raise RecordingError(
            f"{understood.path}: holds {len(understood.used)} single cycles; an instrument has at most {MAX_NAMED}; "
            "give one of its sub-folders"
        )
    if len(understood.used) < MIN_RECORDINGS:
        raise RecordingError(
            f"{understood.path}: holds {len(understood.used)} usable recording; at least {MIN_RECORDINGS} are needed"
        )


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind."""

    model_path: Path
    run_dir: Path
    spec: InstrumentSpec
    steps: int
    validation_db: float  # mel distance of *play* on the notes watched during training, see `losses`
    parity_db: float  # agreement of the torch and the exported outputs
    held_out: tuple[Path, ...]  # recordings left out of training
    warnings: tuple[str, ...] = ()
