"""What else a player could have: a neighbour resampled to pitch, or two neighbours mixed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuralsynth.scoring.hearing import Heard
from neuralsynth.spectrum import NoteSpectrum


def held(one: Heard) -> np.ndarray:
    """The recording from its onset on; a sustained note only until it is let go: held keys are compared."""
    start = round(one.analysis.onset_seconds * one.sample_rate)
    if not (one.analysis.sustains and np.isfinite(one.analysis.usable_seconds)):
        return one.audio[start:]
    return one.audio[start : start + round(one.analysis.usable_seconds * one.sample_rate)]


def resampled(source: Heard, target: Heard) -> np.ndarray:
    """What a sampler does: the other recording played faster or slower until its pitch fits."""
    from scipy.signal import resample

    audio = held(source)
    speed = target.analysis.pitch_hz / source.analysis.pitch_hz * source.sample_rate / target.sample_rate
    padded = np.concatenate([audio, np.zeros(len(audio) // 20 + 16, audio.dtype)])  # keeps the ends apart
    return resample(padded, round(len(padded) / speed))[: round(len(audio) / speed)].astype(np.float32)


def mixed_spectrum(neighbours: Sequence[Heard], note: int) -> NoteSpectrum | None:
    """What can be guessed from the neighbours: two of them mixed, the only one, or nothing."""
    if len(neighbours) == 2:
        return interpolated_spectrum(neighbours[0], neighbours[1], note)
    return neighbours[0].analysis.spectrum if neighbours else None


def interpolated_spectrum(lower: Heard, upper: Heard, note: int) -> NoteSpectrum:
    """The spectra of two recordings mixed in dB by distance in pitch, for a note between them."""
    a, b = lower.analysis.spectrum, upper.analysis.spectrum
    share = (note - lower.note) / (upper.note - lower.note)

    def mix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp((1.0 - share) * np.log(np.maximum(x, 1e-6)) + share * np.log(np.maximum(y, 1e-6)))

    return NoteSpectrum(a.grid, mix(a.partials, b.partials), mix(a.ratios, b.ratios), a.cents, mix(a.noise, b.noise))
