"""`Strokes`: the low part of recorded strokes on one drum, as waveforms. numpy only; no torch, no onnxruntime.

A skin that is struck again swings the same way again: below a kilohertz or two, strokes on a tom or a snare repeat each
other's waveform (correlations of 0.95 to 1.0), the beating of close modes and what lies between them included, of which
modes and bands of noise keep levels and no phases. So a file may carry a few learned strokes of such a drum up to
`high_hz`. What is played is a mixture of them, at the level that the model decodes: a linear decoder of aligned
waveforms. Above, where strokes differ, modes and noise are the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import msgspec
import numpy as np

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.units import note_to_hz

#: Samples per second of the waveforms that voices read.
BODY_RATE_HZ = 12_000
#: Limits a file must keep.
MAX_STROKES, MAX_STROKE_SECONDS, STROKE_RATES_HZ, LOWEST_HZ = 16, 4.0, (2_000, BODY_RATE_HZ), 50.0
#: A stroke goes over to modes and noise in this last share of its time.
FADE_SHARE = 0.2
#: How far in velocity (MIDI) strokes are mixed: a stroke so far off counts 1/e of one at the played velocity.
REACH = 5.0


class Strokes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Strokes on one drum, aligned: `samples` are `K` times `S` int16, little-endian, at any level.

    They give way to modes and noise between `low_hz` and `high_hz`.
    """

    note: float  # that plays them as recorded
    rate_hz: int
    low_hz: float
    high_hz: float
    velocities: list[int]  # [K] MIDI, 1..127
    samples: bytes

    @cached_property
    def waves(self) -> np.ndarray:
        """The strokes at `BODY_RATE_HZ`, each with the energy (full scale squared times seconds) 1: `[K, S]`."""
        recorded = np.frombuffer(self.samples, "<i2").reshape(len(self.velocities), -1).astype(np.float64)
        n = round(recorded.shape[1] * BODY_RATE_HZ / self.rate_hz)
        waves = np.fft.irfft(np.fft.rfft(recorded, axis=1), n, axis=1)
        energy = np.sum(waves**2, axis=1, keepdims=True) / BODY_RATE_HZ
        return (waves / np.sqrt(np.maximum(energy, 1e-30))).astype(np.float32)

    @property
    def seconds(self) -> float:
        """How long they are."""
        return len(self.samples) / (2 * len(self.velocities) * self.rate_hz)

    def mixed(self, velocity: float, shares: np.ndarray) -> np.ndarray:
        """A stroke at a velocity (MIDI), of energy 1: those struck about as hard, in `shares` `[K]`; `[S]`."""
        away = np.abs(velocity - np.array(self.velocities, np.float64)) / REACH
        weights = (shares * np.exp(away.min() - away)).astype(np.float32)
        wave = weights @ self.waves
        return wave / np.float32(np.sqrt(max(float(wave @ wave) / BODY_RATE_HZ, 1e-30)))

    def taken(self, hz: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Share of power that the strokes play in place of modes and noise, `[T, F]`: at frequencies and times."""
        low = crossing((hz - self.low_hz) / (self.high_hz - self.low_hz))
        return (low * fading(seconds / self.seconds)[:, None]) ** 2

    def struck(
        self, partials: np.ndarray, ratios: np.ndarray, noise: np.ndarray, grid: SpectrumGrid
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """What is left of partials `[T, P]` and noise `[T, B]` beside the strokes, and the energy that these take."""
        edges, times = np.maximum(grid.band_edges_hz, 1.0), grid.frame_seconds
        from_partials = self.taken(ratios * float(note_to_hz(self.note)), times)
        from_noise = self.taken(np.sqrt(edges[:-1] * edges[1:]), times)
        power = 0.5 * np.sum(partials**2 * from_partials, axis=1) + np.sum(noise**2 * from_noise, axis=1)
        return partials * np.sqrt(1.0 - from_partials), noise * np.sqrt(1.0 - from_noise), _integral(power, times)


def crossing(way: np.ndarray) -> np.ndarray:
    """From 1 to 0 between the places 0 and 1."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(way, 0.0, 1.0))


def fading(place: np.ndarray) -> np.ndarray:
    """Gain of a stroke at a place in it, 0 its beginning and 1 its end."""
    return crossing((place - 1.0 + FADE_SHARE) / FADE_SHARE)


def _integral(values: np.ndarray, times: np.ndarray) -> float:
    return float(np.sum(0.5 * (values[1:] + values[:-1]) * np.diff(times)))


def complaints(strokes: Strokes) -> Iterator[str]:
    """What is wrong with strokes; nothing if all is right."""
    k, (slowest, fastest) = len(strokes.velocities), STROKE_RATES_HZ
    if not 1 <= k <= MAX_STROKES:
        yield f"{k} velocities; use 1 to {MAX_STROKES}"
        return
    if not all(1 <= velocity <= 127 for velocity in strokes.velocities):
        yield "a velocity is not in 1..127"
    if not 0.0 <= strokes.note <= 127.0:
        yield f"note is {strokes.note}; use 0 to 127"
    if not slowest <= strokes.rate_hz <= fastest:
        yield f"rate_hz is {strokes.rate_hz}; use {slowest} to {fastest}"
        return
    highest_hz = min(0.45 * strokes.rate_hz, 0.25 * BODY_RATE_HZ)
    if not LOWEST_HZ <= strokes.low_hz < strokes.high_hz <= highest_hz:
        given = f"low_hz is {strokes.low_hz} and high_hz {strokes.high_hz}"
        yield f"{given}; use {LOWEST_HZ:g} to {highest_hz:g}, the first below the second"
    n_bytes, most = len(strokes.samples), 2 * k * int(MAX_STROKE_SECONDS * strokes.rate_hz)
    if n_bytes % (2 * k) or not 2 * k * 16 <= n_bytes <= most:
        yield f"{n_bytes} bytes of samples; use {2 * k} for each of 16 to {MAX_STROKE_SECONDS * strokes.rate_hz:.0f}"
