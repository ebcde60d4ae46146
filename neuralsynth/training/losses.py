"""How far two spectra are apart, in dB, as the distance of `docs/quality.md` would hear it, and differentiable.

`MelEar` draws the mel spectrogram that a note's partials and noise would have, without making a sound: each partial
enters every mel band with the response of the FFT window at its frequency (a table), each noise band with the share of
its power. So the network is told what matters to a listener: a weak partial under breath noise is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.blocks import hats
from neuralsynth.training.config import FLOOR_DB
from neuralsynth.training.vae import HIGHEST_PARTIAL_HZ, Decoded
from neuralsynth.units import hz_to_mel, mel_to_hz

#: FFT size -> mel bands; one that resolves partials and one that resolves attacks.
RESOLUTIONS = {512: 64, 2048: 128}
SAMPLE_RATE = 44_100.0
LOUDEST_DB = 6.0  # of full scale: no recording has a partial beyond
AUDIBLE_DB = 80.0  # below a note's loudest band
TABLE_STEPS_PER_OCTAVE = 96


class MelEar(nn.Module):
    """Partials and noise in dB -> mel bands in dB, `[N, bands, T]`."""

    tones: Tensor
    noises: Tensor

    def __init__(self, grid: SpectrumGrid) -> None:
        super().__init__()
        self.grid = grid
        octaves = np.log2(22_050.0 / 15.0)
        self.n_steps = int(octaves * TABLE_STEPS_PER_OCTAVE)
        table_hz = 15.0 * 2.0 ** (np.arange(self.n_steps) / TABLE_STEPS_PER_OCTAVE)
        tones, noises = [], []
        for size, n_bands in RESOLUTIONS.items():
            weights = _mel_weights(size, n_bands)
            tones.append(_tone_response(table_hz, size) @ weights)
            noises.append(_noise_response(grid.band_edges_hz, size) @ weights)
        self.register_buffer("tones", torch.tensor(np.concatenate(tones, 1), dtype=torch.float32))
        self.register_buffer("noises", torch.tensor(np.concatenate(noises, 1), dtype=torch.float32))

    def forward(self, partials_db: Tensor, noise_db: Tensor, frequency_hz: Tensor) -> Tensor:
        """`[N, P, T]`, `[N, B, T]`, `[N, P]` -> `[N, bands, T]` in dB."""
        step = TABLE_STEPS_PER_OCTAVE * torch.log2(frequency_hz.clamp(min=15.0) / 15.0)
        index = step.round().long()
        response = self.tones[index.clamp(max=self.n_steps - 1)] * (index < self.n_steps)[:, :, None]
        tones = torch.bmm(response.transpose(1, 2), torch.exp(_bounded(partials_db) * 0.1151292546))
        noise = torch.einsum("bm,nbt->nmt", self.noises**2, torch.exp(_bounded(noise_db) * 0.2302585093))
        return 4.3429448 * torch.log(tones**2 + noise + 1e-14)


def _bounded(level_db: Tensor) -> Tensor:
    """Levels that can be made powers of; what is far too loud is held down and still pushed back."""
    return torch.minimum(level_db, LOUDEST_DB + 0.1 * (level_db - LOUDEST_DB)).clamp(-140.0, 60.0)


class HarmonicEar(nn.Module):
    """`MelEar` for single cycles, which are wanted exactly: hears every partial below 20 kHz by itself, `[N, P, T]`."""

    def __init__(self, grid: SpectrumGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, partials_db: Tensor, noise_db: Tensor, frequency_hz: Tensor) -> Tensor:  # noqa: ARG002 - as `MelEar`
        """`[N, P, T]`, `[N, B, T]`, `[N, P]` -> `[N, P, T]` in dB."""
        unheard = (frequency_hz > HIGHEST_PARTIAL_HZ)[:, :, None]
        return torch.where(unheard, torch.full_like(partials_db, 2.0 * FLOOR_DB), partials_db)


Ear = MelEar | HarmonicEar


def _mel_weights(size: int, n_bands: int) -> np.ndarray:
    corners = mel_to_hz(np.linspace(0.0, hz_to_mel(0.5 * SAMPLE_RATE), n_bands + 2))
    bins = np.arange(size // 2 + 1) * SAMPLE_RATE / size
    width = np.maximum(np.diff(corners), SAMPLE_RATE / size)
    rise = 1.0 - (corners[1:-1] - bins[:, None]) / width[:-1]
    fall = 1.0 - (bins[:, None] - corners[1:-1]) / width[1:]
    weights = np.maximum(0.0, np.minimum(rise, fall))
    return weights / weights.sum(axis=0)


def _tone_response(frequency_hz: np.ndarray, size: int) -> np.ndarray:
    """FFT magnitudes of unit sinusoids through a Hann window of sum 1 (peak 0.5), `[F, size/2 + 1]`."""
    bins = np.arange(size // 2 + 1)
    x = frequency_hz[:, None] * size / SAMPLE_RATE - bins
    with np.errstate(divide="ignore", invalid="ignore"):
        hann = np.sinc(x) / (1.0 - x**2)
    hann = np.where(np.abs(np.abs(x) - 1.0) < 1e-6, 0.5, hann)
    return 0.5 * np.abs(hann)


def _noise_response(edges_hz: np.ndarray, size: int) -> np.ndarray:
    """Mean FFT magnitudes of unit-RMS noise bands through the same window, `[B, size/2 + 1]`."""
    bins = np.arange(size // 2 + 1) * SAMPLE_RATE / size
    half = 0.75 * SAMPLE_RATE / size  # a band reaches its neighbours' bins through the window
    low, high = edges_hz[:-1, None], edges_hz[1:, None]
    inside = np.clip((np.minimum(high, bins + half) - np.maximum(low, bins - half)) / (2 * half), 0.0, 1.0)
    # E|X|² = σ²·Σw² with Σw = 1: Σw² = 1.5 / size; σ² spreads over half the rate; E|X| = 0.886·sqrt(E|X|²).
    density = 0.5 * SAMPLE_RATE / (high - low) * 1.5 / size
    return 0.886 * np.sqrt(density * inside)


@dataclass(frozen=True)
class LossWeights:
    """How much each part counts, against one dB of mel distance."""

    partials: float = 0.12
    noise: float = 0.06
    qualities: float = 0.15  # per dB of level over time and of noisiness,
    brightness_db_per_octave: float = 40.0  # and so many for brightness
    movement: float = 0.02  # per cent
    latent: float = 0.02  # of the KL divergence per latent number, when warmed up
    free_nats: float = 0.15  # per latent number that cost nothing
    recognition: float = 0.005  # of the squared way from where the encoder sees a known note to where it lies
    body: float = 0.02


def mel_distance(ear_db: Tensor, target_ear_db: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference in dB per note `[N]`, floored at `AUDIBLE_DB` below the target's loudest band."""
    weights = weights[:, None, :]
    loudest = target_ear_db.masked_fill(weights <= 0.0, -200.0).amax(dim=(1, 2), keepdim=True)
    floor = loudest - AUDIBLE_DB
    # A leaky floor: what is too loud under the floor is still pushed down a little.
    difference = (_floored(ear_db, floor) - torch.maximum(target_ear_db, floor)).abs()
    return (difference * weights).sum(dim=(1, 2)) / (weights.sum(dim=(1, 2)) * ear_db.shape[1])


def _floored(level_db: Tensor, floor: Tensor) -> Tensor:
    return torch.maximum(level_db, floor)


def partial_distance(decoded: Decoded, partials_db: Tensor, weights: Tensor) -> Tensor:
    """L1 in dB of the partials, each weighted by how far it stands above inaudibility, `[N]`."""
    target = partials_db.clamp(min=FLOOR_DB)
    loudest = target.amax(dim=(1, 2), keepdim=True)
    audible = ((target - loudest + AUDIBLE_DB) / AUDIBLE_DB).clamp(0.02, 1.0) * weights[:, None, :]
    difference = (decoded.partials_db.clamp(min=FLOOR_DB) - target).abs()
    return (difference * audible).sum(dim=(1, 2)) / audible.sum(dim=(1, 2))


def noise_distance(decoded: Decoded, noise_db: Tensor, weights: Tensor) -> Tensor:
    """L1 in dB of the noise bands, `[N]`."""
    difference = (decoded.noise_db - noise_db.clamp(min=FLOOR_DB)).abs() * weights[:, None, :]
    return difference.sum(dim=(1, 2)) / (weights.sum(dim=1) * noise_db.shape[1])


def divergence(mean: Tensor, log_variance: Tensor, free_nats: float) -> Tensor:
    """KL divergence of the posteriors from the standard normal prior, above `free_nats` per latent number."""
    kl = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).mean(dim=0)
    return functional.relu(kl - free_nats).sum()


ATTACK_SECONDS = (0.001, 0.3)
UNHEARD_DB, FADING_DB = 60.0, 30.0  # under a note's loudest moment: what counts for its course, as in `descriptors`
N_STRETCHES = 4  # of what is heard of a note, over each of which its mean level is compared
LOUDNESS = 0.0690776  # per decibel, of a loudness that doubles with 10 dB
#: Squared octaves over which the partials of a usual note are spread, and how much more at most an octave of brightness
#: counts where they are spread less: a tilt hardly moves the brightness of a note that is nearly one partial.
USUAL_SPREAD, MOST_BRIGHTNESS = 0.5, 6.0


class Qualities(nn.Module):
    """What axes are named after, told apart: brightness, noisiness, attack, decay (`analysis.descriptors`).

    A mel distance hardly notices when weak partials stand in for noise, or when a note is late by a few milliseconds;
    the turned notes of a batch differ in just that. The course of the level is compared frame by frame, as long as one
    of the two is heard, so that a note that is soon over counts as much as a long one; and in the large: the mean error
    over each quarter of the note, and that of the loudness of the attack, whatever the single frames waver by. What is
    compared in the large never counts more than the frames: no slope, and no loud frame at the far end, sets it right.
    """

    octaves: Tensor
    early: Tensor

    def __init__(self, grid: SpectrumGrid) -> None:
        super().__init__()
        self.register_buffer("octaves", torch.log2(torch.arange(1.0, grid.n_partials + 1.0)))
        # An attack is heard on a logarithmic scale of time.
        early = np.gradient(np.log2(np.clip(grid.frame_seconds, *ATTACK_SECONDS)))
        self.register_buffer("early", torch.tensor(early / max(early.sum(), 1e-9), dtype=torch.float32))

    def forward(
        self, decoded: Decoded, partials_db: Tensor, noise_db: Tensor, weights: Tensor, brightness_db_per_octave: float
    ) -> Tensor:
        """Difference of decoded notes to a batch, all together in dB: `[N]`; `weights` `[N, T]`: what frames count."""
        share = weights / weights.sum(1, keepdim=True)
        found = self._of(decoded.partials_db, decoded.noise_db, share)
        with torch.no_grad():
            heard_db = torch.where(decoded.partials_db > FLOOR_DB, partials_db, FLOOR_DB)
            wanted = self._of(heard_db, noise_db, share)
        more = (USUAL_SPREAD / (wanted[3] + 1e-6)).clamp(1.0, MOST_BRIGHTNESS)
        brightness = brightness_db_per_octave * more * (found[1] - wanted[1]).abs()
        return self._course(found[0], wanted[0], share) + brightness + (found[2] - wanted[2]).abs()

    def _course(self, found_db: Tensor, wanted_db: Tensor, share: Tensor) -> Tensor:
        """How far two courses of level `[N, T]` are apart, in dB: `[N]`."""
        highest = wanted_db.amax(dim=1, keepdim=True)
        found_db, wanted_db = (torch.maximum(x, highest - AUDIBLE_DB) for x in (found_db, wanted_db))
        missed = found_db - wanted_db
        with torch.no_grad():
            total = (_heard(wanted_db, highest) * share).sum(1, keepdim=True)
            counts = _heard(torch.maximum(found_db, wanted_db), highest) * share / total
            place = (counts.cumsum(1) - 0.5 * counts).clamp(max=1.0)  # 0..1 over what is heard
            stretches = hats(place, N_STRETCHES) * counts[:, :, None]
        frames = 2.0 * (missed.abs() * counts).sum(1) + missed.abs() @ self.early
        large = 2.0 * (missed[:, :, None] * stretches).sum(1).abs().sum(1)
        found, wanted = (torch.exp(LOUDNESS * (x - highest)) for x in (found_db, wanted_db))
        return frames + large + ((found - wanted) @ self.early).abs() / LOUDNESS

    def _of(self, partials_db: Tensor, noise_db: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Level of the partials over time in dB `[N, T]`, and of each note `[N]`: brightness, noisiness in dB, spread.

        Brightness is in octaves, the spread of the partials about it in squared octaves.
        """
        power = 0.5 * torch.exp(_bounded(partials_db) * 0.2302585093)
        noise_energy = (torch.exp(_bounded(noise_db) * 0.2302585093).sum(1) * share).sum(1)
        energy = (power * share[:, None, :]).sum(2)
        weight = torch.sqrt(energy + 1e-12)
        weight = weight / weight.sum(1, keepdim=True)
        brightness = weight @ self.octaves
        spread = weight @ self.octaves**2 - brightness**2
        level_db = 4.3429448 * torch.log(power.sum(1) + 1e-12)
        noisiness_db = 4.3429448 * torch.log((noise_energy + 1e-10) / (energy.sum(1) + 1e-10))
        return level_db, brightness, noisiness_db, spread


def _heard(level_db: Tensor, highest_db: Tensor) -> Tensor:
    """How much of each frame is heard, 0..1."""
    return ((level_db - highest_db + UNHEARD_DB) / FADING_DB).clamp(0.0, 1.0)
