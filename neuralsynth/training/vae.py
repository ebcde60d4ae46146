"""The conditional variational autoencoder whose decoder is an instrument.

The decoder is a source-filter model inside: one head speaks of partials by their *number* (what moves with the
pitch), one of a spectral envelope over *frequency* (what stays where it is: formants), and a fixed body resonance is
finely resolved in frequency. A partial's level is the sum of the three at its number and frequency, so that notes
nobody recorded fall on the same resonances as their neighbours.

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
from neuralsynth.training.blocks import DownConv, GrowingTrunk, NoteFeatures
from neuralsynth.training.config import FLOOR_DB, N_TURNS, VaeConfig
from neuralsynth.units import hz_to_mel

CEILING_DB = 0.0
HIGHEST_PARTIAL_HZ = 20_000.0
DB_PER_UNIT = 20.0
AXIS_LENGTH = 2.0  # of a fresh latent axis; a short one is learned slowly
#: A predicted noise level is a guess; too loud is heard between the partials, too soft is hidden. This much less is
#: nearer to unseen recordings (cello 0.2 dB, saxophone 0.1 dB, piano equal).
NOISE_TRIM_DB = -2.0
LOWEST_TUNED_NOTE, TUNED_STEP, N_TUNED_NOTES = 12.0, 3.0, 37  # 12 … 120
MOST_BASS_STIFFNESS, BASS_NOTE = -8.0, 40.0  # log B, and the note from which on it may be more
HIGHEST_RATIO = 900.0  # such partials are beyond hearing at any note


@dataclass(frozen=True)
class Statistics:
    """What the network takes from the notes before training: means, and the stiffness of the strings."""

    partials_db: np.ndarray  # [P] mean over notes and frames
    noise_db: np.ndarray  # [B]
    log_inharmonicity: np.ndarray  # polynomial in (note - 60) / 24, highest power first; empty for exact harmonics
    centred_frames: tuple[int, int] = (0, 0)  # frames over which `cents` average to zero


@dataclass
class Decoded:
    """One batch of notes in decibels."""

    partials_db: Tensor  # [N, P, T]
    noise_db: Tensor  # [N, B, T]
    cents: Tensor  # [N, T]
    ratios: Tensor  # [N, P]


class Decoder(nn.Module):
    """Latent, note and velocity -> a note's spectrum; `forward` gives what the instrument file promises."""

    number: Tensor
    mean_partials_db: Tensor
    mean_noise_db: Tensor
    stiffness: Tensor
    sharp_cents: Tensor
    centring: Tensor

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics) -> None:
        super().__init__()
        self.features = NoteFeatures(config.note_step)
        size = config.condition_size
        self.condition = nn.Sequential(
            nn.Linear(config.latent_size + self.features.size, size),
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
        self.body = nn.Parameter(torch.zeros(config.body_points))
        for head in (self.by_number, self.by_frequency, self.noise, self.movement):
            nn.init.normal_(head.weight, std=0.3 / config.width**0.5)
            if head.bias is not None:
                nn.init.zeros_(head.bias)
        self._keep(grid, statistics)

    def _keep(self, grid: SpectrumGrid, statistics: Statistics) -> None:
        """Constants of the graph."""
        number = torch.arange(1, grid.n_partials + 1, dtype=torch.float32)
        self.register_buffer("number", number)
        self.register_buffer("mean_partials_db", torch.tensor(statistics.partials_db, dtype=torch.float32)[:, None])
        self.register_buffer("mean_noise_db", torch.tensor(statistics.noise_db, dtype=torch.float32)[:, None])
        stiffness = torch.tensor(np.asarray(statistics.log_inharmonicity), dtype=torch.float32)
        self.register_buffer("stiffness", stiffness)
        # Cents by which stretched notes are heard sharp of their first partial, every few semitones; see `tuning`.
        self.register_buffer("sharp_cents", torch.zeros(N_TUNED_NOTES))
        steps = np.gradient(grid.frame_seconds)
        start, stop = statistics.centred_frames
        inside = np.zeros(grid.n_frames)
        inside[start:stop] = steps[start:stop] / max(steps[start:stop].sum(), 1e-9)
        self.register_buffer("centring", torch.tensor(inside, dtype=torch.float32))
        self.lowest_mel = float(hz_to_mel(20.0))
        self.highest_mel = float(hz_to_mel(HIGHEST_PARTIAL_HZ))

    def ratios(self, note: Tensor) -> Tensor:
        """Partial frequencies over the first partial's, `[N, P]`: 1, 2, 3 … or `k·sqrt((1 + B·k²)/(1 + B))`."""
        number = self.number[None, :]
        if self.stiffness.shape[0] == 0:
            return number.expand(note.shape[0], -1) * torch.ones_like(note)[:, None]
        place = (note.clamp(21.0, 108.0) - 60.0) / 24.0
        exponent = torch.zeros_like(place)
        for i in range(self.stiffness.shape[0]):
            exponent = exponent * place + self.stiffness[i]
        # In the bass a stiffer string has no pitch a listener would agree on.
        most = MOST_BASS_STIFFNESS + 0.5 * functional.relu(note - BASS_NOTE)
        inharmonicity = torch.exp(torch.minimum(exponent, most).clamp(-16.0, -3.0))[:, None]
        ratios = number * torch.sqrt((1.0 + inharmonicity * number**2) / (1.0 + inharmonicity))
        return ratios.clamp(max=HIGHEST_RATIO)

    def tuned_ratios(self, note: Tensor) -> Tensor:
        """Partial frequencies over the played pitch, `[N, P]`: `ratios` moved to where the note is heard in tune."""
        ratios = self.ratios(note)
        if self.stiffness.shape[0] == 0:
            return ratios
        place = ((note - LOWEST_TUNED_NOTE) / (TUNED_STEP * (N_TUNED_NOTES - 1))).clamp(0.0, 1.0)
        sharp_cents = _hats(place[:, None], N_TUNED_NOTES)[:, 0] @ self.sharp_cents
        return ratios * torch.exp(-0.00057762265 * sharp_cents)[:, None]

    def decode(self, latent: Tensor, note: Tensor, velocity: Tensor) -> Decoded:
        """`[N, Z]`, `[N]`, `[N]` (0..1) -> decibels."""
        condition = self.condition(torch.cat([latent, self.features(note, velocity)], dim=1))
        x = self.trunk(condition)
        ratios = self.ratios(note)
        pitch_hz = 440.0 * torch.exp((note - 69.0) * 0.057762265)
        frequency_hz = ratios * pitch_hz[:, None]
        mel = 1127.0104898 * torch.log(1.0 + frequency_hz / 700.0)
        place = ((mel - self.lowest_mel) / (self.highest_mel - self.lowest_mel)).clamp(0.0, 1.0)
        envelope = torch.bmm(_hats(place, self.by_frequency.out_channels), self.by_frequency(x))
        body = (_hats(place, self.body.shape[0]) @ self.body)[:, :, None]
        partials_db = self.mean_partials_db + DB_PER_UNIT * (self.by_number(x) + envelope + body)
        noise_db = self.mean_noise_db + DB_PER_UNIT * self.noise(x)
        cents = 20.0 * self.movement(x)[:, 0]
        cents = cents - (cents * self.centring).sum(dim=1, keepdim=True)
        silent = (frequency_hz > HIGHEST_PARTIAL_HZ)[:, :, None]
        partials_db = torch.where(silent, torch.full_like(partials_db, 2.0 * FLOOR_DB), partials_db)
        return Decoded(partials_db, noise_db, cents, ratios)

    def forward(self, latent: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the instrument file gives: partials `[N, T, P]`, ratios `[N, P]`, cents `[N, T]`, noise `[N, T, B]`."""
        decoded = self.decode(latent, note, velocity)
        partials = _gain(decoded.partials_db).transpose(1, 2)
        noise = _gain(decoded.noise_db + NOISE_TRIM_DB).transpose(1, 2)
        return partials, self.tuned_ratios(note), decoded.cents.clamp(-200.0, 200.0), noise


def _hats(place: Tensor, n_points: int) -> Tensor:
    """Weights of linear interpolation between `n_points` over 0..1: `[N, P]` -> `[N, P, n_points]`."""
    points = torch.arange(n_points, dtype=torch.float32, device=place.device)
    return functional.relu(1.0 - torch.abs(place[:, :, None] * (n_points - 1) - points))


def _gain(level_db: Tensor) -> Tensor:
    """Decibels to linear amplitude; nothing at or under the floor."""
    gain = torch.exp(level_db.clamp(2.0 * FLOOR_DB, CEILING_DB) * 0.1151292546)
    return torch.where(level_db > FLOOR_DB, gain, torch.zeros_like(gain))


class Encoder(nn.Module):
    """A note's spectrum in decibels -> mean and log variance of its latent."""

    def __init__(self, config: VaeConfig, grid: SpectrumGrid) -> None:
        super().__init__()
        self.features = NoteFeatures(config.note_step)
        n_in, width, frames = grid.n_partials + grid.n_bands, config.width, grid.n_frames
        self.stages = nn.ModuleList()
        while frames % 2 == 0 and frames > 8:
            self.stages.append(DownConv(n_in, width))
            n_in, frames = width, frames // 2
        self.head = nn.Sequential(
            nn.Linear(n_in * frames + self.features.size, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, 2 * config.latent_size),
        )

    def forward(self, levels: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised levels `[N, P + B, T]` -> mean and log variance, `[N, Z]` each."""
        x = levels
        for stage in self.stages:
            x = stage(x)
        out = self.head(torch.cat([x.flatten(1), self.features(note, velocity)], dim=1))
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 2.0)


class Vae(nn.Module):
    """Encoder, decoder, one learned latent point per group of recordings, and a learned direction per kind of turn.

    A note turned by known amounts (`augment.TURNS`) is decoded at `points[group] + amounts @ axes`: so the axes do what
    they are called, each by itself.
    """

    def __init__(self, config: VaeConfig, grid: SpectrumGrid, statistics: Statistics, n_groups: int = 1) -> None:
        super().__init__()
        self.encoder = Encoder(config, grid)
        self.decoder = Decoder(config, grid, statistics)
        self.points = nn.Parameter(0.3 * torch.randn(n_groups, config.latent_size))
        self.axes = nn.Parameter(AXIS_LENGTH * nn.init.orthogonal_(torch.empty(N_TURNS, config.latent_size)))

    def place(self, group: Tensor, turned: Tensor) -> Tensor:
        """Latents of notes of known groups `[N]` turned by known amounts `[N, 4]`: `[N, Z]`."""
        return self.points[group] + turned @ self.axes

    def normalised(self, partials_db: Tensor, noise_db: Tensor) -> Tensor:
        """What the encoder sees: `[N, P, T]`, `[N, B, T]` -> `[N, P + B, T]`, each row around 0."""
        partials = (partials_db.clamp(min=FLOOR_DB) - self.decoder.mean_partials_db) / DB_PER_UNIT
        noise = (noise_db.clamp(min=FLOOR_DB) - self.decoder.mean_noise_db) / DB_PER_UNIT
        return torch.cat([partials, noise], dim=1)

    def encode(self, partials_db: Tensor, noise_db: Tensor, note: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of a note: mean and log variance, `[N, Z]` each."""
        return self.encoder(self.normalised(partials_db, noise_db), note, velocity)
