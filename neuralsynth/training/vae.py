"""The conditional variational autoencoder whose decoder is an instrument.

The decoder is a source-filter model inside: one head speaks of partials by their *number* (what moves with the
pitch), one of a spectral envelope over *frequency* (what stays where it is: formants), and a fixed body resonance is
finely resolved in frequency. A partial's level is the sum of the three at its number and frequency, so that notes
nobody recorded fall on the same resonances as their neighbours.

The latent has three parts: how far the timbre is *turned* along each of `augment.TURNS`, numbers of the instrument's
*own* (one learned point per group of recordings), together its character; and the *detail* (`training.detail`), by
which one sound deviates from what the network says of it. Body, stiffness and tuning lie between those of the groups
as the own numbers do, so that a path from one instrument to another is even, and in tune.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014; Sohn et al., "Learning Structured Output
Representation using Deep Conditional Generative Models", NeurIPS 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.blocks import BetweenPlaces, GrowingTrunk, NearPlaces, NoteFeatures, hats
from neuralsynth.training.config import FLOOR_DB, N_TURNS, VaeConfig
from neuralsynth.training.encoder import DB_PER_UNIT, Coder
from neuralsynth.training.turning import UsualTurn
from neuralsynth.units import hz_to_mel

CEILING_DB = 0.0
HIGHEST_PARTIAL_HZ = 20_000.0
TURN_LENGTH = 2.0  # latent numbers to a whole turn: two deviations of the standard normal prior
#: A predicted noise level is a guess; too loud is heard between the partials, too soft is hidden. This much less is
#: nearer to unseen recordings (cello 0.2 dB, saxophone 0.1 dB, piano equal).
NOISE_TRIM_DB = -2.0
LOWEST_TUNED_NOTE, TUNED_STEP, N_TUNED_NOTES = 12.0, 3.0, 37  # 12 … 120
HARMONIC = np.array([0.0, 0.0, -16.0])  # the stiffness curve of exact harmonics
MOST_BASS_STIFFNESS, BASS_NOTE = -8.0, 40.0  # log B, and the note from which on it may be more
MOST_CENTS, MOST_DRUM_CENTS = 200.0, 2400.0  # by which a sound moves around its pitch
MOST_SHARPER = 0.7  # what a stiffer string is heard sharper by, as the logarithm of a factor
HIGHEST_RATIO = 900.0  # such partials are beyond hearing at any note


@dataclass(frozen=True)
class Statistics:
    """What the network takes from the notes before training: means, and the stiffness of the strings."""

    partials_db: np.ndarray  # [P] mean over notes and frames
    noise_db: np.ndarray  # [B]
    stiffness: np.ndarray | None  # [G, 3] log B as polynomials in (note - 60) / 24; None where all are harmonic
    centred_frames: tuple[int, int] = (0, 0)  # frames over which `cents` average to zero
    ratios: np.ndarray | None = None  # [G, P] of drums, whose modes are free
    turnable: tuple[bool, ...] = (True,) * N_TURNS  # which turns mean something for these notes


@dataclass
class Decoded:
    """One batch of notes in decibels."""

    partials_db: Tensor  # [N, P, T]
    noise_db: Tensor  # [N, B, T]
    cents: Tensor  # [N, T]
    ratios: Tensor  # [N, P]


class Decoder(nn.Module):
    """Latent, note and velocity -> a note's spectrum; `forward` gives what the instrument file promises."""

    n_turns = N_TURNS  # of the latent's first numbers, which are not the instrument's own
    sees_turns = True  # whether the network is told of them
    learns_courses = False  # of the detail, instead of a span of time for each
    number: Tensor
    mean_partials_db: Tensor
    mean_noise_db: Tensor
    centring: Tensor
    detail_functions: Tensor
    detail_scale_db: Tensor

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics) -> None:
        super().__init__()
        self.features = NoteFeatures(config.note_step)
        size, self.character_size = config.condition_size, config.latent_size
        own = config.latent_size - self.n_turns
        self.condition = nn.Sequential(
            nn.Linear((config.latent_size if self.sees_turns else own) + self.features.size, size),
            nn.LeakyReLU(0.1),
            nn.Linear(size, size),
            nn.LeakyReLU(0.1),
            nn.Dropout(config.dropout),
        )
        self.trunk = GrowingTrunk(config.width, size, grid.n_frames, config.lowest_frames)
        self.by_number = nn.Conv1d(config.width, grid.n_partials, 1)
        self.by_frequency = nn.Conv1d(config.width, config.envelope_points, 1)
        self.noise = nn.Conv1d(config.width, grid.n_bands, 1)
        self.movement = nn.Conv1d(config.width, 1, 1)
        self.body = nn.Linear(own, config.body_points)
        nn.init.zeros_(self.body.weight)
        nn.init.zeros_(self.body.bias)
        for head in (self.by_number, self.by_frequency, self.noise, self.movement):
            nn.init.normal_(head.weight, std=0.3 / config.width**0.5)
            if head.bias is not None:
                nn.init.zeros_(head.bias)
        self.modes = None
        if statistics.ratios is not None:
            log_ratios = torch.log(torch.tensor(statistics.ratios, dtype=torch.float32))
            self.modes = NearPlaces(torch.zeros(len(log_ratios), own), log_ratios)
        turns = self.sees_turns and self.n_turns and self.modes is None
        self.usual_turn = UsualTurn(grid, statistics.turnable) if turns else None
        self.most_cents = MOST_CENTS if self.modes is None else MOST_DRUM_CENTS
        self.is_harmonic = statistics.stiffness is None and self.modes is None
        stiffness = statistics.stiffness
        self.group_stiffness = None if stiffness is None else torch.tensor(stiffness, dtype=torch.float32)
        self.stiffness = BetweenPlaces(own, 3)
        if self.group_stiffness is not None:
            self.stiffness.bias.copy_(self.group_stiffness.mean(0))
        # Cents by which stretched notes are heard sharp of their first partial, every few semitones; see `tuning`.
        self.sharp = BetweenPlaces(own, N_TUNED_NOTES)
        self._keep(grid, statistics)
        self.n_detailed = min(config.detail_partials, grid.n_partials)
        n_functions = min(config.detail_functions, grid.n_frames)
        self.n_stiffness = 0 if self.is_harmonic or self.modes is not None else min(1, n_functions)
        self.register_buffer("detail_functions", torch.zeros(n_functions, grid.n_frames))
        self.register_buffer("detail_scale_db", torch.zeros(n_functions, self.n_detailed + grid.n_bands))

    def _keep(self, grid: SpectrumGrid, statistics: Statistics) -> None:
        """Constants of the graph."""
        number = torch.arange(1, grid.n_partials + 1, dtype=torch.float32)
        self.register_buffer("number", number)
        self.register_buffer("mean_partials_db", torch.tensor(statistics.partials_db, dtype=torch.float32)[:, None])
        self.register_buffer("mean_noise_db", torch.tensor(statistics.noise_db, dtype=torch.float32)[:, None])
        steps = np.gradient(grid.frame_seconds)
        start, stop = statistics.centred_frames
        inside = np.zeros(grid.n_frames)
        inside[start:stop] = steps[start:stop] / max(steps[start:stop].sum(), 1e-9)
        self.register_buffer("centring", torch.tensor(inside, dtype=torch.float32))
        self.lowest_mel = float(hz_to_mel(20.0))
        self.highest_mel = float(hz_to_mel(HIGHEST_PARTIAL_HZ))

    def settle(self, points: Tensor) -> None:
        """Learn where the groups' own numbers `[G, own]` lie, and with them what partials the places between have."""
        if self.modes is not None:
            self.modes.move_(points)
        if self.group_stiffness is not None:
            self.stiffness.set_(points, self.group_stiffness.to(points.device))

    def own(self, latent: Tensor) -> Tensor:
        """The instrument's own numbers of latents."""
        return latent[:, self.n_turns : self.character_size]

    def ratios(self, latent: Tensor, note: Tensor) -> Tensor:
        """Partial frequencies over the first partial's, `[N, P]`: 1, 2, 3 … or `k·sqrt((1 + B·k²)/(1 + B))`.

        Of drums: the frequencies of their modes over the pitch of the key.
        """
        if self.modes is not None:
            return torch.exp(self.modes(self.own(latent).detach())).clamp(max=HIGHEST_RATIO)  # known, not learned
        number = self.number[None, :]
        if self.is_harmonic:
            return number.expand(note.shape[0], -1) * torch.ones_like(note)[:, None]
        place = (note.clamp(21.0, 108.0) - 60.0) / 24.0
        curve = self.stiffness(self.own(latent))
        exponent = (curve[:, 0] * place + curve[:, 1]) * place + curve[:, 2]
        if self._is_detailed(latent):
            exponent = exponent + latent[:, -1]
        # In the bass a stiffer string has no pitch a listener would agree on.
        most = MOST_BASS_STIFFNESS + 0.5 * functional.relu(note - BASS_NOTE)
        inharmonicity = torch.exp(torch.minimum(exponent, most).clamp(-16.0, -3.0))[:, None]
        ratios = number * torch.sqrt((1.0 + inharmonicity * number**2) / (1.0 + inharmonicity))
        return ratios.clamp(max=HIGHEST_RATIO)

    def tuned_ratios(self, latent: Tensor, note: Tensor) -> Tensor:
        """Partial frequencies over the played pitch, `[N, P]`: `ratios` moved to where the note is heard in tune.

        Where its detail makes a string less stiff, there is less to tune.
        """
        ratios = self.ratios(latent, note)
        if self.is_harmonic or self.modes is not None:
            return ratios
        place = ((note - LOWEST_TUNED_NOTE) / (TUNED_STEP * (N_TUNED_NOTES - 1))).clamp(0.0, 1.0)
        sharp_cents = (hats(place[:, None], N_TUNED_NOTES)[:, 0] * self.sharp(self.own(latent))).sum(dim=1)
        if self._is_detailed(latent):
            sharp_cents = sharp_cents * torch.exp(latent[:, -1].clamp(max=MOST_SHARPER))
        tuned = ratios * torch.exp(-0.00057762265 * sharp_cents.clamp(-200.0, 200.0))[:, None]
        return tuned.clamp(max=HIGHEST_RATIO)

    def _is_detailed(self, latent: Tensor) -> bool:
        """Whether the last number of latents says how much stiffer a string is."""
        return self.n_stiffness > 0 and latent.shape[1] > self.character_size

    def decode(self, latent: Tensor, note: Tensor, velocity: Tensor) -> Decoded:
        """`[N, Z]`, `[N]`, `[N]` (0..1) -> decibels; the detail of the latent may be left out."""
        character = latent[:, : self.character_size]
        seen = character if self.sees_turns else self.own(latent)
        condition = self.condition(torch.cat([seen, self.features(note, velocity)], dim=1))
        x = self.trunk(condition)
        ratios = self.ratios(latent, note)
        frequency_hz = ratios * (440.0 * torch.exp((note - 69.0) * 0.057762265))[:, None]
        by_number, by_frequency = self.by_number(x), self._formants(x, latent, frequency_hz)
        partials_db = self.mean_partials_db + DB_PER_UNIT * (by_number + by_frequency)
        noise_db = self.mean_noise_db + DB_PER_UNIT * self.noise(x)
        if self.usual_turn is not None:
            partials_db, noise_db = self.usual_turn(partials_db, noise_db, latent[:, : self.n_turns] / TURN_LENGTH)
        silent = (frequency_hz > HIGHEST_PARTIAL_HZ)[:, :, None]
        partials_db = partials_db.masked_fill(silent, 2.0 * FLOOR_DB)
        partials_db, noise_db = self.levelled(partials_db, noise_db, character, note, velocity)
        if latent.shape[1] > self.character_size:
            partials_db, noise_db = self.detailed(partials_db, noise_db, latent)
        cents = 0.1 * self.most_cents * self.movement(x)[:, 0]
        cents = cents - (cents * self.centring).sum(dim=1, keepdim=True)
        return Decoded(partials_db, noise_db, cents, ratios)

    def levelled(
        self,
        partials_db: Tensor,
        noise_db: Tensor,
        character: Tensor,  # noqa: ARG002 - for classes below
        note: Tensor,  # noqa: ARG002
        velocity: Tensor,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """The levels as they are played, detail apart: here, as the network says them."""
        return partials_db, noise_db

    def _formants(self, x: Tensor, latent: Tensor, frequency_hz: Tensor) -> Tensor:
        """What partials have by their frequency `[N, P]`: the moving envelope and the fixed body, `[N, P, T]`."""
        mel = 1127.0104898 * torch.log(1.0 + frequency_hz / 700.0)
        place = ((mel - self.lowest_mel) / (self.highest_mel - self.lowest_mel)).clamp(0.0, 1.0)
        envelope = torch.bmm(hats(place, self.by_frequency.out_channels), self.by_frequency(x))
        body = torch.bmm(hats(place, self.body.out_features), self.body(self.own(latent))[:, :, None])
        return envelope + body

    def detailed(self, partials_db: Tensor, noise_db: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Levels moved by the detail of latents `[N, Z]`: the first partials, and all bands."""
        n = self.n_detailed
        numbers = latent[:, self.character_size : latent.shape[1] - self.n_stiffness]
        scaled = numbers.reshape(-1, *self.detail_scale_db.shape) * self.detail_scale_db
        moved = torch.matmul(scaled.transpose(1, 2), self.detail_functions)
        partials_db = torch.cat([partials_db[:, :n] + moved[:, :n], partials_db[:, n:]], dim=1)
        return partials_db, noise_db + moved[:, n:]

    def forward(self, latent: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the instrument file gives: partials `[N, T, P]`, ratios `[N, P]`, cents `[N, T]`, noise `[N, T, B]`."""
        return self.played(latent, note, self.decode(latent, note, velocity))

    def played(self, latent: Tensor, note: Tensor, decoded: Decoded) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A decoded note as the instrument file gives it."""
        partials = _gain(decoded.partials_db).transpose(1, 2)
        noise = _gain(decoded.noise_db + NOISE_TRIM_DB).transpose(1, 2)
        return partials, self.tuned_ratios(latent, note), decoded.cents.clamp(-self.most_cents, self.most_cents), noise


def _gain(level_db: Tensor) -> Tensor:
    """Decibels to linear amplitude; nothing at or under the floor."""
    gain = torch.exp(level_db.clamp(2.0 * FLOOR_DB, CEILING_DB) * 0.1151292546)
    return gain.masked_fill(level_db <= FLOOR_DB, 0.0)


class Pointed(Coder):
    """A coder with one learned latent point per group of recordings, whose first numbers are the turns."""

    decoder: Decoder
    points: nn.Parameter  # [G, own]

    @staticmethod
    def scattered(config: VaeConfig, n_groups: int) -> nn.Parameter:
        """Points where nothing was learned yet."""
        apart = 0.3 if n_groups == 1 else 1.0
        return nn.Parameter(apart * torch.randn(n_groups, config.latent_size - N_TURNS))

    def place(self, group: Tensor, other: Tensor, share: Tensor, turned: Tensor) -> Tensor:
        """Latents of notes mixed from known groups `[N]`, by known shares of the other, and turned by known amounts.

        `[N]`, `[N]`, `[N]` 0..1, `[N, 4]` -> `[N, Z]`, without detail.
        """
        own = torch.lerp(self.points[group], self.points[other], share[:, None])
        return torch.cat([TURN_LENGTH * turned, own], dim=1)

    def at_points(self, group: Tensor) -> Tensor:
        """Latents of notes of known groups `[N]`, not turned: `[N, Z]`, without detail."""
        return self.place(group, group, torch.zeros(len(group)), torch.zeros(len(group), N_TURNS))

    def group_places(self) -> Tensor:
        """The latent of each group, not turned, `[G, Z]`."""
        return self.at_points(torch.arange(len(self.points)))

    def turn_step(self, index: int, amount: float) -> Tensor:
        """The way in the latent to a turn by `amount`, `[Z]`."""
        step = torch.zeros(self.decoder.character_size)
        step[index] = TURN_LENGTH * amount
        return step

    def settle(self) -> None:
        """Tell the decoder where the points lie now."""
        self.decoder.settle(self.points.detach())


class Vae(Pointed):
    """Encoder, decoder, and points.

    A note turned by known amounts (`augment.TURNS`) is decoded at its group's point with just these amounts as its
    first numbers: so the turns do what they are called, each by itself.
    """

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics, n_groups: int = 1) -> None:
        super().__init__(config, grid)
        self.decoder = Decoder(config, grid, statistics)
        self.points = self.scattered(config, n_groups)
