"""Amplitudes of partials and noise over time, from pitch-synchronous spectra.

Windows are short at the attack and longer where the note is steady, always whole cycles: 4, 8, 16 and so on. A frame
that spans more than a few milliseconds is the mean over several windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.attack import attack_levels, band_of
from neuralsynth.analysis.clock import DenseAudio, PitchClock, Spectra, spectra_of, warp
from neuralsynth.analysis.noise import band_power, noise_log_density
from neuralsynth.spectrum import SpectrumGrid


@dataclass(frozen=True)
class WindowLengths:
    """Window length in seconds: `grow` × time since the onset, between `shortest` and `longest`."""

    grow: float
    shortest: float
    longest: float

    def cycles(self, times: np.ndarray, pitch_hz: float) -> np.ndarray:
        """Whole cycles, a power of two times 4, for frames at `times` `[T]`."""
        seconds = np.clip(self.grow * times, self.shortest, self.longest)
        return (4 * 2 ** np.maximum(0, np.round(np.log2(seconds * pitch_hz / 4)))).astype(int)


PARTIAL_WINDOWS = WindowLengths(0.5, 0.01, 0.03)
NOISE_WINDOWS = WindowLengths(0.5, 0.01, 0.08)
WINDOW_STEP_SECONDS = 0.004
#: The first windows start this share of their length ahead of the onset; the last end as far behind the end.
AHEAD = 0.1
HIGHEST_SHARE_OF_RATE = 0.48
#: The most power that noise can gain by the attack's shape.
MAX_LIFT = 30.0


@dataclass(frozen=True)
class Measured:
    """What was measured for the first `T` frames."""

    partials: np.ndarray  # [T, P]
    noise: np.ndarray  # [T, B]


def measure(
    audio: np.ndarray,
    between: DenseAudio,
    clock: PitchClock,
    pitch_hz: float,
    ratios: np.ndarray,
    grid: SpectrumGrid,
    n_frames: int,
) -> Measured:
    """Partials and noise in the first `n_frames` of the grid; `audio` `[S]` and `between` are the same sound."""
    sample_rate = between.sample_rate
    warped = warp(between, clock)
    times = grid.frame_seconds[:n_frames]
    frame_pitch = np.interp(times, clock.seconds, clock.pitch_hz)
    centres, owner = _centres(times)
    partial_cycles = PARTIAL_WINDOWS.cycles(times, pitch_hz)
    noise_cycles = NOISE_WINDOWS.cycles(times, pitch_hz)
    partials, noise = np.zeros((n_frames, len(ratios))), np.zeros((n_frames, grid.n_bands))
    for cycles in np.unique(np.concatenate([noise_cycles, partial_cycles])):
        chosen = (noise_cycles == cycles) | (partial_cycles == cycles)
        which = np.nonzero(chosen[owner])[0]
        first = np.searchsorted(owner[which], np.nonzero(chosen)[0])
        reach = (0.5 - AHEAD) * cycles / pitch_hz
        at = np.clip(centres[which], reach, max(reach, clock.seconds[-1] - reach))
        spectra = spectra_of(warped, clock, at, int(cycles), padding=2)
        log_density = noise_log_density(spectra, ratios)
        amplitude, bands = np.zeros_like(partials), np.zeros_like(noise)
        amplitude[chosen] = _partial_amplitudes(spectra, ratios, log_density, first)
        power = band_power(spectra, log_density, first, grid.band_edges_hz, frame_pitch[chosen], 0.5 * sample_rate)
        bands[chosen] = np.sqrt(power)
        partials = np.where((partial_cycles == cycles)[:, None], amplitude, partials)
        noise = np.where((noise_cycles == cycles)[:, None], bands, noise)
    partials *= frame_pitch[:, None] * ratios < HIGHEST_SHARE_OF_RATE * sample_rate
    return _shaped(audio, sample_rate, pitch_hz, grid, ratios, Measured(partials, noise), partial_cycles, noise_cycles)


def _centres(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Window centres `[N]` in seconds, and which frame each belongs to `[N]`."""
    edges = np.concatenate([times[:1], 0.5 * (times[1:] + times[:-1]), times[-1:]])
    counts = np.maximum(1, (np.diff(edges) / WINDOW_STEP_SECONDS).astype(int))
    centres = [
        np.linspace(low, high, n + 2)[1:-1] if n > 1 else np.array([t])
        for t, low, high, n in zip(times, edges[:-1], edges[1:], counts, strict=True)
    ]
    return np.concatenate(centres), np.repeat(np.arange(len(times)), counts)


def _partial_amplitudes(spectra: Spectra, ratios: np.ndarray, log_density: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Amplitudes with the noise's share taken off, mean over each frame's windows, `[T, P]`."""
    counts = np.diff(np.append(first, len(log_density)))
    index = spectra.index(ratios)
    noise = np.exp(np.add.reduceat(log_density[:, index], first, axis=0) / counts[:, None])
    power = np.abs(spectra.at(ratios)) ** 2
    power = np.maximum(power - np.repeat(noise, counts, axis=0), 0.0)
    return np.sqrt(np.add.reduceat(power, first, axis=0) / counts[:, None])


def _shaped(
    audio: np.ndarray,
    sample_rate: float,
    pitch_hz: float,
    grid: SpectrumGrid,
    ratios: np.ndarray,
    measured: Measured,
    partial_cycles: np.ndarray,
    noise_cycles: np.ndarray,
) -> Measured:
    """Partials and noise with the attack's shape put back where windows are too long to see it.

    Partials are only made quieter: a knock in their band must not lift them.
    """
    times = grid.frame_seconds[: len(partial_cycles)]
    longest = max(partial_cycles[0], noise_cycles[0]) / pitch_hz
    early = times < 2.0 * longest
    levels = attack_levels(audio, sample_rate, pitch_hz, times[early][-1] + 2.0 * longest)
    shapes = []
    for cycles in (partial_cycles, noise_cycles):
        length = cycles[early] / pitch_hz
        shapes.append(levels.shape(times[early], np.maximum(times[early], (0.5 - AHEAD) * length), length))
    partials, noise = measured.partials.copy(), measured.noise.copy()
    partials[early] *= np.sqrt(np.minimum(shapes[0], 1.0))[:, band_of(ratios * pitch_hz)]
    noise[early] *= np.sqrt(np.minimum(shapes[1], MAX_LIFT))[:, band_of(grid.band_centres_hz)]
    return Measured(partials, noise)
