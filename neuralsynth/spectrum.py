"""`NoteSpectrum`: one note as sinusoids plus noise, the noun that recording, model and voice share.

The description is Serra and Smith's spectral modelling synthesis (Computer Music Journal 14(4), 1990) on a
warped time grid: frames are about 2 ms apart at the attack and tens of milliseconds apart later.

Letters: `T` frames, `P` partials, `B` noise bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neuralsynth.units import hz_to_mel, mel_to_hz

LOWEST_BAND_HZ = 20.0
HIGHEST_BAND_HZ = 20_000.0


def warped_frame_seconds(n_frames: int, duration_seconds: float, first_step_seconds: float = 0.002) -> np.ndarray:
    """Frame times `[T]`, from 0 to `duration_seconds`, steps growing geometrically from `first_step_seconds`."""
    steps = n_frames - 1
    if first_step_seconds * steps >= duration_seconds:
        return np.linspace(0.0, duration_seconds, n_frames)
    low, high = 1e-9, 1.0  # growth per frame g solves first_step·(e^{g·steps} - 1)/(e^g - 1) = duration
    for _ in range(200):
        growth = 0.5 * (low + high)
        total = first_step_seconds * np.expm1(growth * steps) / np.expm1(growth)
        low, high = (growth, high) if total < duration_seconds else (low, growth)
    times = first_step_seconds * np.expm1(growth * np.arange(n_frames)) / np.expm1(growth)
    return times * (duration_seconds / times[-1])


def mel_band_edges_hz(n_bands: int, highest_hz: float = HIGHEST_BAND_HZ) -> np.ndarray:
    """Edges `[B + 1]` in Hz of bands equally wide in mel from 20 Hz to `highest_hz`."""
    return mel_to_hz(np.linspace(hz_to_mel(LOWEST_BAND_HZ), hz_to_mel(highest_hz), n_bands + 1))


@dataclass(frozen=True)
class SpectrumGrid:
    """Where the numbers of a `NoteSpectrum` stand in time and frequency."""

    frame_seconds: np.ndarray  # [T], from 0, increasing
    band_edges_hz: np.ndarray  # [B + 1], increasing
    n_partials: int

    @classmethod
    def warped(
        cls,
        n_frames: int = 128,
        duration_seconds: float = 4.0,
        n_partials: int = 80,
        n_bands: int = 40,
        first_step_seconds: float = 0.002,
    ) -> SpectrumGrid:
        """The usual grid: warped frames, mel bands."""
        times = warped_frame_seconds(n_frames, duration_seconds, first_step_seconds)
        return cls(times, mel_band_edges_hz(n_bands), n_partials)

    @property
    def n_frames(self) -> int:
        """`T`."""
        return len(self.frame_seconds)

    @property
    def n_bands(self) -> int:
        """`B`."""
        return len(self.band_edges_hz) - 1

    @cached_property
    def band_centres_hz(self) -> np.ndarray:
        """Mel centres of the bands, `[B]`."""
        mel = hz_to_mel(self.band_edges_hz)
        return mel_to_hz(0.5 * (mel[1:] + mel[:-1]))


@dataclass(frozen=True)
class NoteSpectrum:
    """One note: amplitudes of its partials and of its noise, over time."""

    grid: SpectrumGrid
    partials: np.ndarray  # [T, P] linear amplitude, full scale 1.0
    ratios: np.ndarray  # [P] partial frequency / fundamental
    cents: np.ndarray  # [T] how the fundamental moves around the played note
    noise: np.ndarray  # [T, B] linear RMS per band

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit the grid (a programming error, hence no user-facing class)."""
        t, p, b = self.grid.n_frames, self.grid.n_partials, self.grid.n_bands
        found = (self.partials.shape, self.ratios.shape, self.cents.shape, self.noise.shape)
        if found != ((t, p), (p,), (t,), (t, b)):
            raise ValueError(f"NoteSpectrum shapes {found} do not fit T={t}, P={p}, B={b}")

    def level_db(self) -> np.ndarray:
        """Level over time in dB of full-scale RMS, partials and noise together, `[T]`."""
        power = 0.5 * np.sum(self.partials**2, axis=1) + np.sum(self.noise**2, axis=1)
        return 10.0 * np.log10(np.maximum(power, 1e-20))


def stretched_ratios(n_partials: int, inharmonicity: float) -> np.ndarray:
    """Partial ratios of a stiff string, `k·sqrt((1 + B·k²)/(1 + B))`, `[P]`; the first is 1.

    Fletcher, Blackham and Stratton, "Quality of piano tones", JASA 34(6), 1962.
    """
    k = np.arange(1, n_partials + 1, dtype=np.float64)
    return k * np.sqrt((1.0 + inharmonicity * k**2) / (1.0 + inharmonicity))
