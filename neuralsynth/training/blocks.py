"""Building blocks of the networks: 1-D convolutions over time, `[N, C, T]`, with normalisation and activation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class NoteFeatures(nn.Module):
    """Soft steps along the keyboard and along velocity: `[N]`, `[N]` -> `[N, size]`.

    Gaussian bumps every `step` semitones that sum to one, so what is learned at one note fades into its neighbours
    and stays constant beyond the trained range.
    """

    LOWEST, HIGHEST = 12.0, 120.0
    centres: Tensor

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("centres", torch.arange(self.LOWEST, self.HIGHEST + 0.5 * step, step), persistent=False)

    @property
    def size(self) -> int:
        """Numbers per note."""
        return len(self.centres) + 3

    def forward(self, note: Tensor, velocity: Tensor) -> Tensor:
        """Features of notes (MIDI numbers) and velocities (0..1)."""
        note = note.clamp(self.LOWEST, self.HIGHEST)
        bumps = torch.exp(-0.5 * ((note[:, None] - self.centres) / self.step) ** 2)
        bumps = 3.0 * bumps / bumps.sum(dim=1, keepdim=True)
        line = (note[:, None] - 60.0) / 24.0
        level = velocity[:, None].clamp(0.0, 1.0)
        return torch.cat([bumps, line, 2.0 * level - 1.0, (2.0 * level - 1.0) ** 2], dim=1)


class ModulatedConv(nn.Module):
    """Convolution, normalisation, a scale and shift from the condition, activation; residual where shapes allow.

    Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
    """

    def __init__(self, width: int, condition_size: int, kernel: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(width, momentum=0.02)
        self.modulation = nn.Linear(condition_size, 2 * width)
        nn.init.normal_(self.modulation.weight, std=0.5 / condition_size**0.5)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`[N, C, T]`, `[N, condition_size]` -> `[N, C, T]`."""
        scale, shift = self.modulation(condition)[:, :, None].chunk(2, dim=1)
        y = self.norm(self.convolution(x)) * (1.0 + scale) + shift
        return x + functional.leaky_relu(y, 0.1)


class GrowingTrunk(nn.Module):
    """From a condition to `[N, C, T]`: a learned seed of few frames, doubled and refined until it has `n_frames`."""

    def __init__(self, width: int, condition_size: int, n_frames: int, lowest_frames: int) -> None:
        super().__init__()
        doublings = 0
        while n_frames % 2 ** (doublings + 1) == 0 and n_frames // 2 ** (doublings + 1) >= lowest_frames:
            doublings += 1
        self.seed = nn.Parameter(0.5 * torch.randn(1, width, n_frames // 2**doublings))
        self.first = ModulatedConv(width, condition_size)
        self.stages = nn.ModuleList(ModulatedConv(width, condition_size) for _ in range(2 * doublings))

    def forward(self, condition: Tensor) -> Tensor:
        """`[N, condition_size]` -> `[N, C, T]`."""
        x = self.first(self.seed.expand(condition.shape[0], -1, -1), condition)
        for index, stage in enumerate(self.stages):
            if index % 2 == 0:
                x = functional.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False)
            x = stage(x, condition)
        return x


class DownConv(nn.Module):
    """Half the frames: strided convolution, normalisation, activation."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_in, n_out, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(n_out, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, n_in, T]` -> `[N, n_out, T / 2]`."""
        return functional.leaky_relu(self.norm(self.convolution(x)), 0.1)


class BetweenPlaces(nn.Module):
    """Numbers known at a few places, and lying between them as the places do: an affine map fitted to them.

    Exact while there are no more places than dimensions and one; then it is the flattest such map, else the nearest.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, n_dimensions: int, n_numbers: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_dimensions, n_numbers))
        self.register_buffer("bias", torch.zeros(n_numbers))

    def forward(self, places: Tensor) -> Tensor:
        """`[N, n_dimensions]` -> `[N, n_numbers]`."""
        return places @ self.weight + self.bias

    @torch.no_grad()
    def set_(self, places: Tensor, numbers: Tensor) -> None:
        """Fit the map to `numbers` `[G, n_numbers]` at `places` `[G, n_dimensions]`."""
        centre, mean = places.mean(0), numbers.mean(0)
        self.weight.copy_(torch.linalg.pinv(places - centre, rtol=1e-4) @ (numbers - mean))
        self.bias.copy_(mean - centre @ self.weight)


class NearPlaces(nn.Module):
    """Numbers known at a few places: near each of them its own, on the way from one to another a mean of both."""

    SHARPNESS = 8.0
    places: Tensor
    numbers: Tensor
    sharpness: Tensor

    def __init__(self, places: Tensor, numbers: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places.detach().clone())
        self.register_buffer("numbers", numbers)
        self.register_buffer("sharpness", torch.ones(()))

    def forward(self, places: Tensor) -> Tensor:
        """`[N, n_dimensions]` -> `[N, n_numbers]`."""
        away = ((places[:, None, :] - self.places) ** 2).sum(dim=2)
        return torch.softmax(-self.sharpness * away, dim=1) @ self.numbers

    @torch.no_grad()
    def move_(self, places: Tensor) -> None:
        """Tell where the places `[G, n_dimensions]` are now."""
        self.places.copy_(places)
        if len(places) > 1:
            away = ((places[:, None] - places) ** 2).sum(dim=2) + torch.diag(torch.full((len(places),), torch.inf))
            self.sharpness.fill_(self.SHARPNESS / float(away.amin().clamp(min=1e-6)))


def hats(place: Tensor, n_points: int) -> Tensor:
    """Weights of linear interpolation between `n_points` over 0..1: `[N, P]` -> `[N, P, n_points]`."""
    points = torch.arange(n_points, dtype=torch.float32, device=place.device)
    return functional.relu(1.0 - torch.abs(place[:, :, None] * (n_points - 1) - points))
