"""One note of a spectrum, through the voice kernel that plays."""

from __future__ import annotations

import numpy as np

from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spectrum import NoteSpectrum


def play_spectrum(
    spectrum: NoteSpectrum, note: float, n_samples: int, sample_rate: int, sustain: tuple[float, float] | None
) -> np.ndarray:
    """One held note of a spectrum through the real voice kernel: float32 `[n]`."""
    rows = SpectrumRows(spectrum.grid)
    sound = VoiceSound(spectrum.partials, spectrum.ratios, spectrum.cents, spectrum.noise)
    pool = VoicePool(rows, sample_rate, VoiceSettings(polyphony=1, sustain=sustain), 4096)
    pool.start(0, rows.add([sound]), Strike(note))
    blocks = [pool.render(at, min(4096, n_samples - at))[0].copy() for at in range(0, n_samples, 4096)]
    return np.concatenate(blocks)
