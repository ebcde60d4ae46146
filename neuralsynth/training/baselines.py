"""What a model must beat: plain interpolation of the recordings it was trained on. numpy only."""

from __future__ import annotations

import numpy as np

from neuralsynth.spectrum import NoteSpectrum

SILENCE_DB = -120.0


def interpolated_spectrum(lower: NoteSpectrum, upper: NoteSpectrum, share: float) -> NoteSpectrum:
    """Two notes mixed in dB, partial by partial and band by band: `share` 0 is `lower`, 1 is `upper`.

    For a note between two recorded ones, `share` is its place between them in semitones.
    """
    if lower.grid is not upper.grid and not _same_grid(lower, upper):
        raise ValueError("two spectra on different grids cannot be mixed")

    def blend(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1.0 - share) * a + share * b

    def blend_gain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        least = 10.0 ** (SILENCE_DB / 20.0)
        return np.exp(blend(np.log(np.maximum(a, least)), np.log(np.maximum(b, least))))

    return NoteSpectrum(
        lower.grid,
        blend_gain(lower.partials, upper.partials),
        blend(lower.ratios, upper.ratios),
        blend(lower.cents, upper.cents),
        blend_gain(lower.noise, upper.noise),
    )


def _same_grid(a: NoteSpectrum, b: NoteSpectrum) -> bool:
    return (
        np.array_equal(a.grid.frame_seconds, b.grid.frame_seconds)
        and np.array_equal(a.grid.band_edges_hz, b.grid.band_edges_hz)
        and a.grid.n_partials == b.grid.n_partials
    )


def neighbours(note: float, notes: np.ndarray) -> tuple[int, int, float]:
    """Indices into `notes` of the nearest at or below and at or above `note`, and its share of the way between.

    Beyond the ends both are the outermost note.
    """
    notes = np.asarray(notes, dtype=float)
    below, above = np.flatnonzero(notes <= note), np.flatnonzero(notes >= note)
    lower = int(below[np.argmax(notes[below])]) if len(below) else int(np.argmin(notes))
    upper = int(above[np.argmin(notes[above])]) if len(above) else int(np.argmax(notes))
    span = notes[upper] - notes[lower]
    return lower, upper, float((note - notes[lower]) / span) if span > 0 else 0.0
