"""`Struck`: decoded hits of a drum with the strokes of its file in place of their low part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.strokes import BODY_RATE_HZ, Strokes, fading
from neuralsynth.units import note_to_hz


@dataclass(frozen=True)
class Struck:
    """The strokes of one drum, and how each variant of a hit mixes them: `shares` `[V, K]`."""

    strokes: Strokes
    shares: np.ndarray

    @classmethod
    def drawn(cls, strokes: Strokes, rng: np.random.Generator, n_variants: int) -> Struck:
        """Shares drawn evenly from all that there are (a flat Dirichlet distribution)."""
        return cls(strokes, rng.dirichlet(np.ones(len(strokes.velocities)), n_variants))

    def rows(self, grid: SpectrumGrid) -> SpectrumRows:
        """An empty table with room for the waveforms."""
        return SpectrumRows(grid, self.strokes.waves.shape[1], float(note_to_hz(self.strokes.note)))

    def sound(self, sound: VoiceSound, grid: SpectrumGrid, velocity: float, variant: int) -> VoiceSound:
        """A decoded hit (velocity in MIDI) as one of the variants is struck: as loud as it was decoded."""
        partials, noise, energy = self.strokes.struck(sound.partials, sound.ratios, sound.noise, grid)
        wave = self.strokes.mixed(velocity, self.shares[variant % len(self.shares)])
        fade = fading(np.arange(len(wave)) / len(wave)).astype(np.float32)
        kept = float(np.sum((wave * fade) ** 2)) / BODY_RATE_HZ
        body = wave * fade * np.float32(np.sqrt(energy / max(kept, 1e-12)))
        return replace(sound, partials=partials.astype(np.float32), noise=noise.astype(np.float32), body=body)
