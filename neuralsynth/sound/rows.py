"""`SpectrumRows`: the spectra that voices play, kept once and shared by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuralsynth.sound import padded
from neuralsynth.sound.layout import RowArrays
from neuralsynth.sound.tone import FAINT
from neuralsynth.spectrum import SpectrumGrid

_FIRST_ROOM = 32
_LEAST_TAIL_RATE = 1.5  # per second: 13 dB/s, how fast a decaying sound fades once its frames are over
_ROWS = ("partials", "ratios", "cents", "noise", "bodies")  # the arrays of a table that have a place for each row
_MOST_OCTAVES = 20.0  # of amplitude, 120 dB: how far a direction leads


@dataclass(frozen=True)
class VoiceSound:
    """One spectrum to play, arrays as in `NoteSpectrum`."""

    partials: np.ndarray
    ratios: np.ndarray
    cents: np.ndarray
    noise: np.ndarray
    tail_rate: float = _LEAST_TAIL_RATE  # per second, how it fades once its frames are over
    body: np.ndarray | None = None  # [S], what is played beside: the low part of a drum's stroke


@dataclass(frozen=True)
class NoteRows:
    """Where the spectra of one note lie."""

    row: int  # of the softest layer; the others follow
    n_layers: int
    tail_rate: float
    body_hz: float = 0.0  # the pitch at which the body sounds as it is, 0 without one


class SpectrumRows:
    """A growing table of spectra on one grid.

    Rows never move: when the table grows it is copied, and `arrays` is replaced as a whole, so that a voice kernel
    that runs meanwhile goes on with the old one.
    """

    def __init__(self, grid: SpectrumGrid, body_size: int = 0, body_hz: float = 0.0) -> None:
        """Begin empty; every row has room for a body of `body_size` samples, which sounds as it is at `body_hz`."""
        self.grid, self.body_hz = grid, body_hz
        self._size = 0
        band_hz = np.full(padded(grid.n_bands), grid.band_edges_hz[-1], np.float32)
        band_hz[: grid.n_bands] = np.sqrt(np.maximum(grid.band_edges_hz[:-1], 1.0) * grid.band_edges_hz[1:])
        self.arrays = _room_for(_FIRST_ROOM, grid, band_hz, 1 + body_size)

    def __len__(self) -> int:
        """Rows in use."""
        return self._size

    def add(self, layers: Sequence[VoiceSound]) -> NoteRows:
        """Keep the velocity layers of a note, softest first."""
        first = self._grow(len(layers))
        for row, sound in enumerate(layers, first):
            self._put(row, sound.partials, sound.ratios, sound.cents, sound.noise)
            if sound.body is not None:
                self.arrays.bodies.reshape(len(self.arrays.cents), -1)[row, 1 : 1 + len(sound.body)] = sound.body
        tail_rate = max(float(np.mean([sound.tail_rate for sound in layers])), _LEAST_TAIL_RATE)
        has_body = any(sound.body is not None for sound in layers)
        return NoteRows(first, len(layers), tail_rate, self.body_hz if has_body else 0.0)

    def layers(self, note: NoteRows) -> list[VoiceSound]:
        """The velocity layers of a note as they were added; views, not copies."""
        arrays, grid = self.arrays, self.grid
        partials = arrays.partials.reshape(-1, grid.n_frames, padded(grid.n_partials))[:, :, : grid.n_partials]
        noise = arrays.noise.reshape(-1, grid.n_frames, padded(grid.n_bands))[:, :, : grid.n_bands]
        ratios = arrays.ratios.reshape(-1, padded(grid.n_partials))[:, : grid.n_partials]
        rows = range(note.row, note.row + note.n_layers)
        return [VoiceSound(partials[r], ratios[r], arrays.cents[r], noise[r], note.tail_rate) for r in rows]

    def add_direction(self, base: Sequence[VoiceSound], end: Sequence[VoiceSound]) -> int:
        """Keep the way from the layers of a note to those of another sound; returns the first row."""
        first = self._grow(len(base))
        for row, (here, there) in enumerate(zip(base, end, strict=True), first):
            self._put(
                row,
                _octaves(here.partials, there.partials),
                there.ratios - here.ratios,
                there.cents - here.cents,
                _octaves(here.noise, there.noise),
            )
        return first

    def since(self, first: int) -> RowArrays:
        """The rows from `first` on, as views."""
        arrays, room = self.arrays, len(self.arrays.cents)
        used = {name: getattr(arrays, name).reshape(room, -1)[first : self._size] for name in _ROWS}
        return arrays._replace(**{name: rows.reshape(-1) if name != "cents" else rows for name, rows in used.items()})

    def extend(self, first: int, rows: RowArrays) -> None:
        """Append what `since` gave for another table with the same rows before.

        Raises:
            ValueError: this table does not end where those rows begin.
        """
        if first != self._size:
            raise ValueError(f"rows from {first} on do not follow a table of {self._size}")
        n = len(rows.cents)
        if n == 0:
            return
        self._grow(n)
        for name in _ROWS:
            room = len(self.arrays.cents)
            getattr(self.arrays, name).reshape(room, -1)[first : first + n] = getattr(rows, name).reshape(n, -1)

    def _put(self, row: int, partials, ratios, cents, noise) -> None:
        arrays, grid = self.arrays, self.grid
        shape = (-1, grid.n_frames)
        arrays.partials.reshape(*shape, padded(grid.n_partials))[row, :, : grid.n_partials] = partials
        arrays.noise.reshape(*shape, padded(grid.n_bands))[row, :, : grid.n_bands] = noise
        arrays.ratios.reshape(-1, padded(grid.n_partials))[row, : grid.n_partials] = ratios
        arrays.cents[row] = cents

    def _grow(self, n_rows: int) -> int:
        """Make room for more rows; returns the first of them."""
        first, self._size = self._size, self._size + n_rows
        room = len(self.arrays.cents)
        if self._size > room:
            old = self.arrays
            new = _room_for(max(2 * room, self._size), self.grid, old.band_hz, len(old.bodies) // room)
            for name in _ROWS:
                getattr(new, name)[: len(getattr(old, name))] = getattr(old, name)
            self.arrays = new
        return first


def _octaves(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """By how many powers of two amplitudes differ."""
    octaves = np.log2((there + FAINT) / (here + FAINT))
    return np.clip(octaves, -_MOST_OCTAVES, _MOST_OCTAVES)


def _room_for(n_rows: int, grid: SpectrumGrid, band_hz: np.ndarray, body_size: int) -> RowArrays:
    n_partials, n_bands = padded(grid.n_partials), padded(grid.n_bands)
    return RowArrays(
        partials=np.zeros(n_rows * grid.n_frames * n_partials, np.float32),
        ratios=np.zeros(n_rows * n_partials, np.float32),
        cents=np.zeros((n_rows, grid.n_frames), np.float32),
        noise=np.zeros(n_rows * grid.n_frames * n_bands, np.float32),
        frame_seconds=np.ascontiguousarray(grid.frame_seconds, np.float64),
        band_hz=band_hz,
        bodies=np.zeros(n_rows * body_size, np.float32),
    )
