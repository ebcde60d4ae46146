"""A table of analysed notes on one grid, as training takes them. No torch here.

Levels are in dB of full scale, never under the floor; the loudness of single notes is smoothed over the keyboard, so
that an instrument is even although a player was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuralsynth.analysis import NoteAnalysis
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.analyses import Recording
from neuralsynth.training.config import FLOOR_DB
from neuralsynth.units import note_to_hz

#: Noise may exceed the partials by this much, over a whole note.
MOST_NOISE_DB = 3.0
#: General MIDI's level law, per decade of velocity. Layers that rise by less than `LEAST_RISE` of it were made equally
#: loud by whoever cut them; they get `KEPT_LAW` of it back.
LEVEL_LAW_DB, LEAST_RISE, KEPT_LAW = 40.0, 0.1, 0.75
UNHEARD_WEIGHT = 0.05  # of frames beyond a recording's end, which are extrapolated


@dataclass(frozen=True)
class NoteTable:
    """Notes on one grid; `M` notes."""

    grid: SpectrumGrid
    partials_db: np.ndarray  # [M, P, T] float32
    noise_db: np.ndarray  # [M, B, T] float32
    cents: np.ndarray  # [M, T] float32
    inharmonicity: np.ndarray  # [M]
    n_valid: np.ndarray  # [M] frames inside the recording
    note: np.ndarray  # [M] float32
    velocity: np.ndarray  # [M] float32, 0..1
    group: np.ndarray  # [M] int64, index into `groups`
    groups: tuple[str, ...]
    sustains: np.ndarray  # [M] bool, the same for all notes of a group
    digests: tuple[str, ...]
    ratios: np.ndarray | None = None  # [G, P] of drums, whose modes are free; None where the partials make a series

    def frame_weights(self) -> np.ndarray:
        """What each frame of each note counts, `[M, T]` float32."""
        heard = np.arange(self.grid.n_frames)[None, :] < self.n_valid[:, None]
        return (time_weights(self.grid)[None, :] * np.where(heard, 1.0, UNHEARD_WEIGHT)).astype(np.float32)

    def only(self, keep: np.ndarray) -> NoteTable:
        """The notes that a boolean mask or an index array keeps; groups stay."""
        index = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep)
        rows = ("partials_db", "noise_db", "cents", "inharmonicity", "n_valid", "note", "velocity", "group", "sustains")
        changed = {name: getattr(self, name)[index] for name in rows}
        return replace(self, **changed, digests=tuple(self.digests[i] for i in index))

    def by_group(self) -> list[NoteTable]:
        """The notes of each group, in the order of `groups`."""
        return [self.only(self.group == index) for index in range(len(self.groups))]


def held_out_notes(notes: Sequence[float], every: int) -> list[float]:
    """Every `every`-th interior pitch (neither the lowest nor the highest), from the middle of each run of `every`."""
    inner = sorted(set(notes))[1:-1]
    return [] if every <= 0 else [note for i, note in enumerate(inner) if i % every == every // 2]


def choose_grid(
    notes: Sequence[float],
    seconds: Sequence[float],
    n_frames: int,
    n_bands: int,
    n_partials: int = 0,
    duration_seconds: float = 0.0,
) -> SpectrumGrid:
    """A grid that fits recordings of these pitches and lengths: as long as most of them, at most 6 s."""
    if duration_seconds <= 0.0:
        duration_seconds = float(np.clip(np.quantile(seconds, 0.6), 0.5, 6.0))
    if n_partials <= 0:
        n_partials = int(np.clip(16 * round(16_000.0 / float(note_to_hz(min(notes))) / 16), 32, 128))
    return SpectrumGrid.warped(n_frames, duration_seconds, n_partials, n_bands)


def time_weights(grid: SpectrumGrid) -> np.ndarray:
    """What each frame counts, `[T]`, mean 1: mostly its duration, somewhat its being a frame (attacks matter)."""
    duration = np.gradient(grid.frame_seconds)
    return 0.6 * duration / duration.mean() + 0.4


def build_table(analysed: Sequence[tuple[Recording, NoteAnalysis]], grid: SpectrumGrid) -> NoteTable:
    """Put analyses into one table: dB, extrapolated ends, even levels."""
    groups = tuple(sorted({recording.group for recording, _ in analysed}))
    spectra = [a.spectrum for _, a in analysed]
    n_valid = np.array([a.n_valid_frames for _, a in analysed])
    group = np.array([groups.index(r.group) for r, _ in analysed])
    each = np.array([a.sustains for _, a in analysed])
    sustains = np.array([bool(each[group == g].mean() > 0.5) for g in range(len(groups))])[group]
    partials = np.stack([to_db(s.partials.T) for s in spectra])
    noise = np.stack([to_db(s.noise.T) for s in spectra])
    for i, n in enumerate(n_valid):
        if not sustains[i]:
            _decay_on(partials[i], int(n), grid)
            _decay_on(noise[i], int(n), grid)
    noise = _with_pitch(partials, noise, grid)
    note = np.array([r.note for r, _ in analysed], np.float32)
    velocity = np.array([r.velocity / 127.0 for r, _ in analysed], np.float32)
    correction = np.zeros(len(note))
    for g in range(len(groups)):  # each instrument has its own dynamics
        mine = group == g
        correction[mine] = _evenness(partials[mine], noise[mine], note[mine], velocity[mine], grid)
    partials, noise = partials + correction[:, None, None], noise + correction[:, None, None]
    return NoteTable(
        grid,
        np.maximum(partials, FLOOR_DB).astype(np.float32),
        np.maximum(noise, FLOOR_DB).astype(np.float32),
        np.clip(np.stack([s.cents for s in spectra]), -150, 150).astype(np.float32),
        np.array([a.inharmonicity for _, a in analysed]),
        n_valid,
        note,
        velocity,
        group,
        groups,
        sustains,
        tuple(r.digest for r, _ in analysed),
    )


def to_db(gain: np.ndarray) -> np.ndarray:
    """Decibels of full scale, not under the floor."""
    return 20.0 * np.log10(np.maximum(gain, 10.0 ** (FLOOR_DB / 20.0)))


def _decay_on(levels: np.ndarray, n_valid: int, grid: SpectrumGrid) -> None:
    """Let each row of `[C, T]` fall on, beyond the recording's end, as it fell on average before (in place)."""
    if n_valid >= grid.n_frames or n_valid < 8:
        return
    start = n_valid // 2
    times = grid.frame_seconds
    slope = (levels[:, n_valid - 1] - levels[:, start]) / (times[n_valid - 1] - times[start])
    slope = np.minimum(slope, np.median(slope) * 0.5 - 3.0)
    levels[:, n_valid:] = levels[:, n_valid - 1, None] + slope[:, None] * (times[n_valid:] - times[n_valid - 1])


def _with_pitch(partials: np.ndarray, noise: np.ndarray, grid: SpectrumGrid) -> np.ndarray:
    """Noise `[M, B, T]` in dB, lowered where it drowns the partials: a key needs a pitch, however hard its knock is."""
    duration = np.gradient(grid.frame_seconds)
    tonal, noisy = ((10.0 ** (x / 10.0)).sum(1) @ duration for x in (partials, noise))
    excess_db = 10.0 * np.log10(noisy / (0.5 * tonal) + 1e-12) - MOST_NOISE_DB
    return noise - np.maximum(excess_db, 0.0)[:, None, None]


def _evenness(
    partials: np.ndarray, noise: np.ndarray, note: np.ndarray, velocity: np.ndarray, grid: SpectrumGrid
) -> np.ndarray:
    """Decibels to add to each note of one instrument: loudness is smooth over pitch and rises with velocity, `[M]`."""
    early = grid.frame_seconds < 2.0
    duration = np.gradient(grid.frame_seconds)[early]
    power = 0.5 * (10 ** (partials[:, :, early] / 10)).sum(1) + (10 ** (noise[:, :, early] / 10)).sum(1)
    level = 10 * np.log10((power * duration).sum(1) / duration.sum() + 1e-12)
    layers = np.unique(velocity, return_inverse=True)[1].ravel()
    even = np.ones_like(level)
    place = (note - 60.0) / 24.0
    smooth = [place, place**2, place**3] if len(np.unique(note)) >= 6 else [place] if len(np.unique(note)) >= 3 else []
    law = LEVEL_LAW_DB * np.log10(np.maximum(velocity, 0.01))
    if _rise(level, [even, *smooth], law) < LEAST_RISE:
        return np.clip(KEPT_LAW * law + _fit(level - KEPT_LAW * law, [even, *smooth]) - level, -24.0, 24.0)
    tilted = [place * velocity] if len(smooth) == 3 else []
    return np.clip(_fit(level, [*np.eye(layers.max() + 1)[layers].T, *smooth, *tilted]) - level, -12.0, 12.0)


def _rise(level: np.ndarray, terms: list[np.ndarray], law: np.ndarray) -> float:
    """Share of the usual `law` by which level rises with velocity; 1 where there is one layer."""
    if np.ptp(law) == 0.0:
        return 1.0
    design = np.stack([*terms, law], 1)
    return float(np.linalg.solve(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ level)[-1])


def _fit(level: np.ndarray, terms: list[np.ndarray]) -> np.ndarray:
    """What the terms explain of `level`, by least squares."""
    design = np.stack(terms, 1)
    return design @ np.linalg.solve(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ level)
