"""More notes than were recorded: mixtures of neighbours, moved pitches, turned timbres. numpy only.

Each batch is a pure function of (seed, step), so a resumed training sees the same data.

- *Mixing* two recordings of neighbouring pitch or of neighbouring velocity in dB gives the notes between them; mixing
  two instruments gives the sounds between their points, so that a morph is an even way.
- *Turning* brightness, noisiness, attack and decay of a note by known amounts gives the latent something to say
  about a small, uniform folder, and teaches the named latent axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.config import FLOOR_DB
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.turns import TURNS, Levels, turned_note

TURNED_SHARE = 0.6  # of the amounts in a turned batch that are not zero
MOST_STRANGERS = 16  # other instruments that one note is mixed with
NOISE_FLOOR_DB = FLOOR_DB - 10.0


@dataclass(frozen=True)
class Batch:
    """Notes as the networks take them; float32, `N` notes."""

    partials_db: np.ndarray  # [N, P, T]
    noise_db: np.ndarray  # [N, B, T]
    cents: np.ndarray  # [N, T]
    weights: np.ndarray  # [N, T] what each frame counts
    note: np.ndarray  # [N]
    velocity: np.ndarray  # [N] 0..1
    group: np.ndarray  # [N] int64
    other: np.ndarray  # [N] int64, the group that was mixed in
    share: np.ndarray  # [N] how much of it, 0..1
    sustains: np.ndarray  # [N] bool
    turned: np.ndarray  # [N, 4] how far each of `TURNS` was turned


@dataclass(frozen=True)
class Mixing:
    """How often notes are mixed, and how far the pitch label of a kept spectrum may move."""

    neighbours: float = 0.45  # share of notes mixed from two pitches
    layers: float = 0.2  # share mixed from two velocities
    instruments: float = 0.15  # share mixed from two instruments, where there are several
    turns: bool = True  # whether two thirds of a batch are turned
    widest_gap: float = 24.0  # semitones between pitches that are mixed: without, a network leaves the way between them
    widest_semitones: float = 13.0  # the same between the pitches of two instruments
    label_semitones: float = 0.0  # standard deviation by which a note's label strays from its spectrum


#: For single cycles, of which each is wanted exactly.
APART = Mixing(instruments=0.0)


class Batches:
    """Draws training batches from a table of notes."""

    def __init__(self, table: NoteTable, seed: int, size: int, mixing: Mixing | None = None) -> None:
        self.table, self.seed, self.size = table, seed, size
        self.mixing = mixing or Mixing()
        self.weights = table.frame_weights()
        self._pitch_pairs, self._layer_pairs = _pairs(table, self.mixing.widest_gap)
        self._strangers = _strangers(table, self.mixing.widest_semitones)
        notes, counts = np.unique(np.stack([table.group, table.note], 1), axis=0, return_counts=True)
        share = {tuple(n): 1.0 / c**0.5 for n, c in zip(notes, counts, strict=True)}
        chance = np.array([share[g, n] for g, n in zip(table.group, table.note, strict=True)])
        of_group = np.bincount(table.group, chance)[table.group]
        chance /= np.sqrt(of_group)  # an instrument of few recordings is not drowned by the others
        self._chance = chance / chance.sum()
        self._turnable = turnable(table) & self.mixing.turns

    def draw(self, step: int) -> Batch:
        """The batch of one step; its first third is plain, the others have turned timbres."""
        rng = np.random.default_rng([self.seed, step])
        batch = self.mixed(rng)
        turned = np.zeros((self.size, len(TURNS)), np.float32)
        plain = (self.size - self.size // 3) // 2
        amounts = rng.uniform(-1.0, 1.0, (self.size - plain, len(TURNS)))
        amounts = np.sign(amounts) * np.sqrt(np.abs(amounts))  # more often far than near: the ends are what is named
        turned[plain:] = amounts * (rng.random(amounts.shape) < TURNED_SHARE) * self._turnable
        return turn(batch, turned, self.table.grid)

    def mixed(self, rng: np.random.Generator) -> Batch:
        """Notes drawn and mixed, with their timbres as they were recorded."""
        first = rng.choice(len(self.table.note), self.size, p=self._chance)
        second, share = first.copy(), np.zeros(self.size, np.float32)
        kind = rng.random(self.size)
        position = rng.random(self.size)
        for i in range(self.size):
            partners = self._partners(first[i], kind[i])
            if partners:
                second[i] = partners[rng.integers(len(partners))]
                share[i] = position[i]
        batch = self._mixed(first, second, share)
        stray = self.mixing.label_semitones * rng.standard_normal(self.size).astype(np.float32)
        return replace(batch, note=batch.note + stray)

    def _partners(self, note: int, kind: float) -> list[int]:
        """The notes one of which a note is mixed with; `kind` is drawn from 0..1."""
        mixing, most = self.mixing, 0.0
        for share, pairs in (
            (mixing.neighbours, self._pitch_pairs),
            (mixing.layers, self._layer_pairs),
            (mixing.instruments, self._strangers),
        ):
            most += share
            if kind < most:
                return pairs[note]
        return []

    def plain(self, rows: np.ndarray) -> Batch:
        """Notes of the table as they are."""
        return self._mixed(rows, rows, np.zeros(len(rows), np.float32))

    def _mixed(self, first: np.ndarray, second: np.ndarray, share: np.ndarray) -> Batch:
        t = self.table

        def blend(x: np.ndarray) -> np.ndarray:
            s = share.reshape(-1, *[1] * (x.ndim - 1))
            return ((1.0 - s) * x[first] + s * x[second]).astype(np.float32)

        return Batch(
            blend(t.partials_db),
            blend(t.noise_db),
            blend(t.cents),
            np.where(share[:, None] > 0, np.minimum(self.weights[first], self.weights[second]), self.weights[first]),
            blend(t.note),
            blend(t.velocity),
            t.group[first],
            t.group[second],
            np.where(t.group[first] == t.group[second], 0.0, share).astype(np.float32),
            np.where(share < 0.5, t.sustains[first], t.sustains[second]),
            np.zeros((len(first), len(TURNS)), np.float32),
        )


def _pairs(table: NoteTable, widest: float) -> tuple[list[list[int]], list[list[int]]]:
    """For each note the nearest lower and higher pitches of its layer, and the nearest layers of its pitch."""
    by_pitch: list[list[int]] = []
    by_layer: list[list[int]] = []
    for i in range(len(table.note)):
        same = table.group == table.group[i]
        layer = np.flatnonzero(same & (table.velocity == table.velocity[i]))
        pitch = np.flatnonzero(same & (table.note == table.note[i]))
        by_pitch.append(_beside(layer, table.note, i, widest))
        by_layer.append(_beside(pitch, table.velocity, i, 1.0))
    return by_pitch, by_layer


def _strangers(table: NoteTable, widest: float) -> list[list[int]]:
    """For each note the notes of other groups (some of them, if there are many) that are nearest in pitch."""
    rows = [np.flatnonzero(table.group == g) for g in range(len(table.groups))]
    apart = max(1, len(rows) // MOST_STRANGERS)
    found = []
    for note, group in zip(table.note, table.group, strict=True):
        others = [rows[(group + step) % len(rows)] for step in range(1, len(rows), apart)]
        nearest = [other[np.argmin(np.abs(table.note[other] - note))] for other in others if len(other)]
        found.append([int(i) for i in nearest if abs(table.note[i] - note) <= widest])
    return found


def _beside(among: np.ndarray, values: np.ndarray, i: int, widest: float) -> list[int]:
    found = []
    for side in (values[among] - values[i], values[i] - values[among]):
        ahead = side > 0
        if ahead.any() and side[ahead].min() <= widest:
            found += [int(j) for j in among[side == side[ahead].min()]]
    return found


def turnable(table: NoteTable) -> np.ndarray:
    """Which of `TURNS` mean something for these notes, `[4]` bool: without noise or movement, only brightness.

    None does for drums: turns tell brightness by the numbers of harmonics.
    """
    if table.ratios is not None:
        return np.zeros(len(TURNS), bool)
    noisy = bool(np.any(table.noise_db > FLOOR_DB))
    moving = bool(np.any(np.ptp(table.partials_db, axis=2) > 0.0))
    return np.array([True, noisy, moving, moving])


def turn(batch: Batch, turned: np.ndarray, grid: SpectrumGrid) -> Batch:
    """Turn brightness, noisiness, attack and decay of each note by `turned` `[N, 4]` (-1..1 each); see `turns`."""
    partials, noise, cents = batch.partials_db.copy(), batch.noise_db.copy(), batch.cents.copy()
    for i in np.flatnonzero(np.any(turned != 0.0, axis=1)):
        levels = Levels(*(x[i].astype(np.float64) for x in (partials, noise, cents)))
        note = turned_note(levels, float(batch.note[i]), turned[i], grid, bool(batch.sustains[i]))
        partials[i], noise[i], cents[i] = note.partials_db, note.noise_db, note.cents
    np.maximum(partials, NOISE_FLOOR_DB, out=partials)
    np.maximum(noise, NOISE_FLOOR_DB, out=noise)
    return replace(batch, partials_db=partials, noise_db=noise, cents=cents, turned=turned)
