"""`Prior`: where in an instrument's latent space plausible sounds lie. numpy only; no torch, no onnxruntime.

The places that a decoder was trained at fill little of its latent space: a standard normal draw mostly falls between
them. So a file may carry a small normalizing flow: standard normal numbers `z` go through affine coupling layers
(RealNVP: Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017) and a sigmoid into the box
that training filled, and come out as the character of a latent; further numbers weigh a few *ways* in which recorded
notes deviate from the model, the detail. The flow runs in both directions and has a density.

It differs from the paper: the networks inside have one hidden layer of `tanh`, logarithms of scales are held within
`MAX_LOG_SCALE`, and the logit that the paper puts before the flow stands, as a sigmoid, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property

import msgspec
import numpy as np

MAX_LOG_SCALE = 2.0  # of one layer, natural
#: Limits a file must keep.
MAX_COUPLINGS, MAX_HIDDEN, MAX_WAYS, MAX_WEIGHT, MAX_SIDE = 16, 128, 32, 100.0, 1000.0
NORMAL_SIDE = 8.0
_EDGE = 1e-6  # share of the box by which its inside ends before its walls
_LARGEST_Z = 8.0  # deviations
_N_RANKED = 256

Rows = list[list[float]]


class Coupling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One affine coupling: every second number stays and says how the others are scaled and shifted.

    `H` hidden numbers: `hidden` is `[H, kept]` with `hidden_bias` `[H]`, `scale` and `shift` are `[moved, H]` with
    biases `[moved]`.
    """

    hidden: Rows
    hidden_bias: list[float]
    scale: Rows
    scale_bias: list[float]
    shift: Rows
    shift_bias: list[float]


class Prior(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Where plausible sounds lie: `couplings` of a flow into the box `low`..`high`, and `detail` ways `[K, D]`."""

    low: list[float]  # [C] of each number of the character
    high: list[float]
    couplings: list[Coupling]  # the first keeps the numbers 0, 2, 4 …, the next 1, 3, 5 …
    detail: Rows = []  # [K, D] one deviation along each way

    @property
    def size(self) -> int:
        """How many standard normal numbers make a latent: `C + K`."""
        return len(self.low) + len(self.detail)

    def draw(self, seed: int) -> np.ndarray:
        """The plausible latent of a seed, `[C + D]` float32; the same one everywhere and always."""
        known, latent = self._last[0]
        if known != seed:
            latent = self.latents(np.random.default_rng(seed).standard_normal((1, self.size)))[0]
            self._last[0] = seed, latent
        return latent.copy()

    def latents(self, z: np.ndarray) -> np.ndarray:
        """Standard normal numbers `[N, C + K]` to latents `[N, C + D]` float32; finite whatever is given."""
        z = np.clip(np.nan_to_num(np.asarray(z, np.float64)), -_LARGEST_Z, _LARGEST_Z)
        x = z[:, : len(self.low)].copy()
        for kept, moved, affine in self._layers:
            log_scale, shift = affine(x[:, kept])
            x[:, moved] = x[:, moved] * np.exp(log_scale) + shift
        low, width = self._box
        parts = [low + width * _sigmoid(x)]
        if self.detail:
            parts.append(z[:, len(self.low) :] @ self._detail_ways)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def numbers(self, characters: np.ndarray) -> np.ndarray:
        """The standard normal numbers of characters `[N, C]`; those outside the box count as the nearest inside."""
        return self._inverse(characters)[0]

    def walked(self, character: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The character `[C]` a `step` `[C]`, in deviations, away from another: a walk that stays plausible."""
        here = self.numbers(character[None])
        places = self.latents(np.pad(np.concatenate([here, here + step]), ((0, 0), (0, len(self.detail)))))
        return character + (places[1] - places[0])[: len(character)]

    def log_density(self, characters: np.ndarray) -> np.ndarray:
        """Natural logarithm of how densely the prior lies at characters `[N, C]`, `[N]`; -inf outside the box."""
        z, log_volume = self._inverse(characters)
        density = -0.5 * np.sum(z**2, axis=1) - 0.5 * z.shape[1] * math.log(2.0 * math.pi) + log_volume
        low, width = self._box
        inside = np.all((characters >= low) & (characters <= low + width), axis=1)
        return np.where(inside, density, -np.inf)

    def plausibility(self, character: np.ndarray) -> float:
        """Share of the prior's own draws that are less likely than a character `[C]`; 0 outside the box."""
        draws = self.latents(np.random.default_rng(0).standard_normal((_N_RANKED, self.size)))[:, : len(self.low)]
        return float(np.mean(self.log_density(draws) < self.log_density(character[None])))

    def _inverse(self, characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers `[N, C]` of characters, and by how much the way back stretches, as a logarithm, `[N]`."""
        low, width = self._box
        share = np.clip((np.asarray(characters, np.float64) - low) / width, _EDGE, 1.0 - _EDGE)
        x = np.log(share) - np.log1p(-share)
        log_volume = -np.sum(np.log(width) + np.log(share) + np.log1p(-share), axis=1)
        for kept, moved, affine in reversed(self._layers):
            log_scale, shift = affine(x[:, kept])
            x[:, moved] = (x[:, moved] - shift) * np.exp(-log_scale)
            log_volume -= log_scale.sum(axis=1)
        return x, log_volume

    @cached_property
    def _last(self) -> list[tuple[int | None, np.ndarray]]:
        """The last seed and its latent, for whoever plans a sound asks, and then whoever plays it."""
        return [(None, np.zeros(0))]

    @cached_property
    def _detail_ways(self) -> np.ndarray:
        return np.array(self.detail)

    @cached_property
    def _box(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array(self.low), np.array(self.high)
        return low, high - low

    @cached_property
    def _layers(self) -> list[tuple[slice, slice, Callable]]:
        return [(*halves(i), _affine(coupling)) for i, coupling in enumerate(self.couplings)]


def standard_normal(size: int) -> Prior:
    """The prior of a latent of `size` numbers, at least 2, that is a standard normal distribution as it stands.

    Nearly so: a number is bent by what the box of `NORMAL_SIDE` deviations asks, 2 becomes 1.96.
    """
    raw = MAX_LOG_SCALE * math.atanh(math.log(2.0 / NORMAL_SIDE) / MAX_LOG_SCALE)
    couplings = []
    for layer in range(2):
        kept, moved = (len(range(size)[half]) for half in halves(layer))
        nothing = [[0.0]] * moved
        couplings.append(Coupling([[0.0] * kept], [0.0], nothing, [raw] * moved, nothing, [0.0] * moved))
    return Prior([-NORMAL_SIDE] * size, [NORMAL_SIDE] * size, couplings)


def halves(layer: int) -> tuple[slice, slice]:
    """Which numbers the coupling of that place keeps, and which it moves."""
    return slice(layer % 2, None, 2), slice(1 - layer % 2, None, 2)


def complaints(prior: Prior, character_size: int, detail_size: int) -> Iterator[str]:
    """What is wrong with a prior for a latent of these sizes; nothing if all is right."""
    c = character_size
    if not (len(prior.low) == len(prior.high) == c and c >= 2):
        yield f"its box has {len(prior.low)} and {len(prior.high)} sides; use {c}, at least 2"
        return
    if not all(-MAX_SIDE < low < high < MAX_SIDE for low, high in zip(prior.low, prior.high, strict=True)):
        yield f"its box must have low < high, between {-MAX_SIDE:g} and {MAX_SIDE:g}"
    if not 1 <= len(prior.couplings) <= MAX_COUPLINGS:
        yield f"it has {len(prior.couplings)} couplings; use 1 to {MAX_COUPLINGS}"
    for i, coupling in enumerate(prior.couplings[:MAX_COUPLINGS]):
        yield from _coupling_complaints(coupling, f"coupling {i + 1}", *(len(range(c)[half]) for half in halves(i)))
    if len(prior.detail) > MAX_WAYS or not _is_matrix(prior.detail, len(prior.detail), detail_size):
        yield f"its detail must be at most {MAX_WAYS} rows of {detail_size} numbers, none beyond {MAX_WEIGHT:g}"


def _coupling_complaints(coupling: Coupling, called: str, kept: int, moved: int) -> Iterator[str]:
    n = len(coupling.hidden_bias)
    shapes = {"hidden": (n, kept), "scale": (moved, n), "shift": (moved, n)}
    if not 1 <= n <= MAX_HIDDEN:
        yield f"{called} has {n} hidden numbers; use 1 to {MAX_HIDDEN}"
        return
    for name, (rows, columns) in shapes.items():
        bias = [[x] for x in getattr(coupling, f"{name}_bias")]
        if not (_is_matrix(getattr(coupling, name), rows, columns) and _is_matrix(bias, rows, 1)):
            yield f"{called}: {name} must be {rows} x {columns} numbers, none beyond {MAX_WEIGHT:g}"


def _is_matrix(rows: Rows, n_rows: int, n_columns: int) -> bool:
    shaped = len(rows) == n_rows and all(len(row) == n_columns for row in rows)
    return shaped and all(abs(x) <= MAX_WEIGHT for row in rows for x in row)


def _affine(coupling: Coupling) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The network of a coupling: kept numbers `[N, kept]` -> log scale and shift, `[N, moved]` each."""
    hidden, scale, shift = (np.array(rows) for rows in (coupling.hidden, coupling.scale, coupling.shift))
    biases = coupling.hidden_bias, coupling.scale_bias, coupling.shift_bias
    hidden_bias, scale_bias, shift_bias = (np.array(bias) for bias in biases)

    def affine(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(kept @ hidden.T + hidden_bias)
        log_scale = MAX_LOG_SCALE * np.tanh((h @ scale.T + scale_bias) / MAX_LOG_SCALE)
        return log_scale, h @ shift.T + shift_bias

    return affine


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
