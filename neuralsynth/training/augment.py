"""More notes than were recorded: mixtures of neighbours, moved pitches, turned timbres. numpy only.

Each batch is a pure function of (seed, step), so a resumed training sees the same data.

- *Mixing* two recordings of neighbouring pitch or of neighbouring velocity in dB gives the notes between them.
- *Turning* brightness, noisiness, attack and decay of a note by known amounts gives the latent something to say
  about a small, uniform folder, and teaches the named latent axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.config import FLOOR_DB
from neuralsynth.training.dataset import NoteTable
from neuralsynth.units import note_to_hz

#: Names of the turns and how far 1.0 goes.
TURNS = ("brightness", "noisiness", "attack", "decay")
BRIGHTNESS_DB_PER_OCTAVE = 2.5
NOISINESS_DB = 9.0
ATTACK_OCTAVES = 1.6  # of time, near the onset
ATTACK_FADE_SECONDS = 0.06
TURNED_SHARE = 0.6  # of the amounts in a turned batch that are not zero
DECAY_OCTAVES = 0.7  # of time, for sounds that decay
DECAY_DB_PER_SECOND = 3.0  # for sounds that sustain
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
    turned: np.ndarray  # [N, 4] how far each of `TURNS` was turned


@dataclass(frozen=True)
class Mixing:
    """How often notes are mixed, and how far the pitch label of a kept spectrum may move."""

    neighbours: float = 0.45  # share of notes mixed from two pitches
    layers: float = 0.2  # share mixed from two velocities
    widest_semitones: float = 13.0
    label_semitones: float = 0.0  # standard deviation by which a note's label strays from its spectrum


class Batches:
    """Draws training batches from a table of notes."""

    def __init__(self, table: NoteTable, seed: int, size: int, mixing: Mixing | None = None) -> None:
        self.table, self.seed, self.size = table, seed, size
        self.mixing = mixing or Mixing()
        self.weights = table.frame_weights()
        self._pitch_pairs, self._layer_pairs = _pairs(table, self.mixing.widest_semitones)
        notes, counts = np.unique(np.stack([table.group, table.note], 1), axis=0, return_counts=True)
        share = {tuple(n): 1.0 / c**0.5 for n, c in zip(notes, counts, strict=True)}
        chance = np.array([share[g, n] for g, n in zip(table.group, table.note, strict=True)])
        self._chance = chance / chance.sum()
        self._turnable = turnable(table)

    def draw(self, step: int) -> Batch:
        """The batch of one step; its first third is plain, the others have turned timbres."""
        rng = np.random.default_rng([self.seed, step])
        first = rng.choice(len(self.table.note), self.size, p=self._chance)
        second, share = first.copy(), np.zeros(self.size, np.float32)
        kind = rng.random(self.size)
        position = rng.random(self.size)
        for i in range(self.size):
            pairs = self._pitch_pairs if kind[i] < self.mixing.neighbours else self._layer_pairs
            if kind[i] >= self.mixing.neighbours + self.mixing.layers or not pairs[first[i]]:
                continue
            second[i] = pairs[first[i]][rng.integers(len(pairs[first[i]]))]
            share[i] = position[i]
        batch = self._mixed(first, second, share)
        stray = self.mixing.label_semitones * rng.standard_normal(self.size).astype(np.float32)
        batch = replace(batch, note=batch.note + stray)
        turned = np.zeros((self.size, len(TURNS)), np.float32)
        plain = (self.size - self.size // 3) // 2
        amounts = rng.uniform(-1.0, 1.0, (self.size - plain, len(TURNS)))
        amounts = np.sign(amounts) * np.sqrt(np.abs(amounts))  # more often far than near: the ends are what is named
        turned[plain:] = amounts * (rng.random(amounts.shape) < TURNED_SHARE) * self._turnable
        return turn(batch, turned, self.table.grid, self.table.sustains)

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


def _beside(among: np.ndarray, values: np.ndarray, i: int, widest: float) -> list[int]:
    found = []
    for side in (values[among] - values[i], values[i] - values[among]):
        ahead = side > 0
        if ahead.any() and side[ahead].min() <= widest:
            found += [int(j) for j in among[side == side[ahead].min()]]
    return found


def turnable(table: NoteTable) -> np.ndarray:
    """Which of `TURNS` mean something for these notes, `[4]` bool: without noise or movement, only brightness."""
    noisy = bool(np.any(table.noise_db > FLOOR_DB))
    moving = bool(np.any(np.ptp(table.partials_db, axis=2) > 0.0))
    return np.array([True, noisy, moving, moving])


def turn(batch: Batch, turned: np.ndarray, grid: SpectrumGrid, sustains: bool) -> Batch:
    """Turn brightness, noisiness, attack and decay of each note by `turned` `[N, 4]` (-1..1 each)."""
    partials, noise, cents = batch.partials_db.copy(), batch.noise_db.copy(), batch.cents.copy()
    times = grid.frame_seconds
    octave_noise = np.log2(grid.band_centres_hz)[None, :]
    number = np.arange(1, grid.n_partials + 1)[None, :]
    for i in np.flatnonzero(np.any(turned != 0.0, axis=1)):
        bright, noisy, attack, decay = (float(x) for x in turned[i])
        source = _warped_time(times, attack, decay if not sustains else 0.0)
        rows = np.interp(source, times, np.arange(len(times)))
        partials[i], noise[i] = _at_rows(partials[i], rows), _at_rows(noise[i], rows)
        cents[i] = _at_rows(cents[i][None], rows)[0]
        pivot = np.log2(3.0 * note_to_hz(float(batch.note[i])))
        octave = np.log2(number * note_to_hz(float(batch.note[i])))
        slope = bright * BRIGHTNESS_DB_PER_OCTAVE
        shape = (DECAY_DB_PER_SECOND * decay * times if sustains else 0.0) + _fade_in(times, attack)
        partials[i] += (slope * np.clip(octave - pivot, -4.0, 4.0)).T + shape
        noise[i] += (slope * np.clip(octave_noise - pivot, -4.0, 4.0)).T + NOISINESS_DB * noisy + shape
    np.maximum(partials, NOISE_FLOOR_DB, out=partials)
    np.maximum(noise, NOISE_FLOOR_DB, out=noise)
    return Batch(partials, noise, cents, batch.weights, batch.note, batch.velocity, batch.group, turned)


def _warped_time(times: np.ndarray, attack: float, decay: float) -> np.ndarray:
    """Where in the recording each frame looks: slower or faster near the onset, and overall."""
    near_onset = np.exp(-times / 0.25)
    return times * 2.0 ** (-ATTACK_OCTAVES * attack * near_onset - DECAY_OCTAVES * decay * (1.0 - near_onset))


def _fade_in(times: np.ndarray, attack: float) -> np.ndarray:
    """Gain in dB of a slower attack."""
    if attack <= 0.0:
        return np.zeros(len(times))
    return 20.0 * np.log10(np.maximum(1.0 - np.exp(-(times + 0.002) / (ATTACK_FADE_SECONDS * attack)), 1e-3))


def _at_rows(levels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Columns `[C, T]` at fractional positions `[T]`."""
    low = np.minimum(rows.astype(int), levels.shape[1] - 2)
    share = rows - low
    return levels[:, low] * (1.0 - share) + levels[:, low + 1] * share
