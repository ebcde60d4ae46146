"""One note of a spectrum, through the voice kernel that plays."""

from __future__ import annotations

import numpy as np

from neuralsynth.model import Decoded
from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spectrum import NoteSpectrum
from neuralsynth.struck import Struck


def play_spectrum(
    spectrum: NoteSpectrum, note: float, n_samples: int, sample_rate: int, sustain: tuple[float, float] | None
) -> np.ndarray:
    """One held note of a spectrum through the real voice kernel: float32 `[n]`."""
    sound = VoiceSound(spectrum.partials, spectrum.ratios, spectrum.cents, spectrum.noise)
    return _played(SpectrumRows(spectrum.grid), sound, note, n_samples, sample_rate, sustain)


def play_hit(
    decoded: Decoded, spec: InstrumentSpec, point: str, touch: tuple[int, int], n_samples: int, sample_rate: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:  # fmt: skip
    """A decoded hit of a kit as it is played, with the strokes of its drum: float32 `[n]`.

    Args:
        decoded: one hit of the drum `point`.
        touch: the drum's key and the MIDI velocity.
        rng: draws how strokes are mixed; without it all have equal shares.
    """
    grid, strokes = spec.grid(), spec.strokes.get(point)
    key, velocity = touch
    sound = VoiceSound(decoded.partials[0], decoded.ratios[0], decoded.cents[0], decoded.noise[0])
    rows = SpectrumRows(grid)
    if strokes is not None:
        struck = Struck.drawn(strokes, rng, 1) if rng else Struck(strokes, np.ones((1, len(strokes.velocities))))
        rows, sound = struck.rows(grid), struck.sound(sound, grid, velocity, 0)
    return _played(rows, sound, float(key), n_samples, sample_rate, None)


def _played(
    rows: SpectrumRows, sound: VoiceSound, note: float, n_samples: int, sample_rate: int,
    sustain: tuple[float, float] | None,
) -> np.ndarray:  # fmt: skip
    pool = VoicePool(rows, sample_rate, VoiceSettings(polyphony=1, sustain=sustain), 4096)
    pool.start(0, rows.add([sound]), Strike(note))
    blocks = [pool.render(at, min(4096, n_samples - at))[0].copy() for at in range(0, n_samples, 4096)]
    return np.concatenate(blocks)
