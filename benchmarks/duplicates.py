"""Finds planted near-duplicates among sounds: `python benchmarks/duplicates.py [--sounds N] [--seconds S] [--json]`.

Shipped instruments play random places of their latent spaces, random notes, velocities and lengths. Of every five
sounds two are such *originals*, two repeat them as a listener would say (*near*), one is a *neighbour*, another sound
that is as like an original as sounds that should both be kept can be:

- near: 1 to 3 dB louder or softer; begun up to 8 ms later; with noise 60 dB below; moved by 0.05 in each number of the
  latent, whose values among the recordings have a deviation of about 1; the same with another seed of its texture.
- neighbours: a semitone away; from the softest to the loudest recorded layer or back; another place in the latent
  space; released after half the time. Those of the second and third kind are drawn again until they are 1.5 dB or more
  from the original in the distance of `neuralsynth.analysis.distance`: further than a note struck twice by an
  instrument with much texture, which measures up to 1.3 dB. Not every place sounds different.

All are shuffled and given to `near_duplicates` at its default distance. *Found* is a near one that is not kept beside
its original; *false* an original or neighbour dropped as a duplicate of something else. Two of so many random sounds
may be alike by chance, such as two xylophones on one note: a sound of the same note and within the same 1.5 dB of what
it was dropped for is counted as *alike*, not as false. Also printed: how the fingerprint's distance goes with that of
`analysis`, and what everything costs.

Promised: 99 % found, 1 % false. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr

from neuralsynth.analysis import distance
from neuralsynth.design.choose import DUPLICATE_DB, most_varied, near_duplicates
from neuralsynth.design.descriptors import measured
from neuralsynth.design.layout import map_2d
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import shipped_models
from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.texture import texture_arrays
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spec import InstrumentSpec

RATE, BLOCK = 44_100, 4096
LEAST_FOUND, MOST_FALSE = 0.99, 0.01
NEAR = ("gain", "shift", "noise", "latent", "texture")
NEIGHBOURS = ("semitone", "layer", "place", "length")
_LATENT_SPREAD, _TINY_MOVE = 0.7, 0.05
_OTHER_DB, _TRIES = 1.5, 6
_FAR_LAYERS = 40  # MIDI velocities between the softest and the loudest layer
_SHARES = ("found", "false", "alike")
_COMPARED = 40  # families whose distances are also measured by `analysis`


@dataclass(frozen=True)
class Note:
    """Everything a sound is made of."""

    point: str  # gives range, sustain and texture
    latent: tuple[float, ...]
    note: int
    velocity: int
    held_seconds: float
    seed: int = 0


class Player:
    """One shipped instrument."""

    def __init__(self, model: InstrumentModel, seconds: float) -> None:
        self.model, self._seconds = model, seconds
        self._pools: dict[str, VoicePool] = {}

    def traits(self, point: str) -> InstrumentSpec:
        """Range, sustain and texture at a point."""
        return self.model.spec.around(point)

    def draw(self, rng: np.random.Generator) -> Note:
        """A random note at a random place."""
        spec = self.model.spec
        point = str(rng.choice(list(spec.points)))
        own = self.traits(point)
        note = int(rng.integers(own.note_low, own.note_high + 1))
        velocity = int(rng.integers(40, 121))
        return Note(point, self.place(point, rng), note, velocity, float(rng.uniform(0.15, 0.65) * self._seconds))

    def place(self, point: str, rng: np.random.Generator) -> tuple[float, ...]:
        """A random place around a point."""
        centre = np.array(self.model.spec.points[point])
        return tuple(np.clip(centre + _LATENT_SPREAD * rng.standard_normal(len(centre)), -3.0, 3.0))

    def play(self, note: Note) -> np.ndarray:
        """The sound, mono float32 `[n]`."""
        decoded = self.model.decode(
            np.array([note.latent]), np.array([float(note.note)]), np.array([note.velocity / 127.0])
        )
        one = decoded.note(0, self.model.spec.grid())
        pool = self._pool(note.point)
        pool.reset()
        pool.rows = SpectrumRows(self.model.spec.grid())
        rows = pool.rows.add([VoiceSound(one.partials, one.ratios, one.cents, one.noise)])
        for _ in range(note.seed):  # each note begun draws another texture; these are stolen before they sound
            pool.start(0, rows, Strike(note.note, gain=0.0))
        voice = pool.start(0, rows, Strike(note.note, velocity=note.velocity / 127.0))
        n_samples, blocks = round(self._seconds * RATE), []
        release = round(note.held_seconds * RATE)
        for at in (0, release):
            if at == release:
                pool.release(voice)
            end = n_samples if at == release else release
            blocks += [pool.render(i, min(BLOCK, end - i))[0].copy() for i in range(at, end, BLOCK)]
        return np.concatenate(blocks)

    def _pool(self, point: str) -> VoicePool:
        key = point if self.model.spec.traits else ""
        if key not in self._pools:
            own = self.traits(point)
            sustain = (own.sustain.start_seconds, own.sustain.end_seconds) if own.sustain else None
            texture = texture_arrays(own.texture, own.n_partials, RATE, 1.0) if own.texture else None
            rows, settings = SpectrumRows(own.grid()), VoiceSettings(polyphony=1, sustain=sustain)
            self._pools[key] = VoicePool(rows, RATE, settings, BLOCK, texture=texture)
        return self._pools[key]


def near(kind: str, player: Player, note: Note, audio: np.ndarray, rng: np.random.Generator) -> tuple[Note, np.ndarray]:
    """A sound that a listener takes for the same."""
    if kind == "gain":
        return note, audio * np.float32(10.0 ** (rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 3.0) / 20.0))
    if kind == "shift":
        late = np.zeros(int(rng.uniform(0.001, 0.008) * RATE), np.float32)
        return note, np.concatenate([late, audio])[: len(audio)]
    if kind == "noise":
        level = 1e-3 * float(np.sqrt(np.mean(audio**2)))
        return note, audio + (level * rng.standard_normal(len(audio))).astype(np.float32)
    if kind == "latent":
        move = rng.standard_normal(len(note.latent))
        move *= _TINY_MOVE / np.sqrt(np.mean(move**2))
        other = replace(note, latent=tuple(np.array(note.latent) + move))
    else:
        other = replace(note, seed=int(rng.integers(1, 4)))
    return other, player.play(other)


def neighbour(
    kind: str, player: Player, note: Note, audio: np.ndarray, rng: np.random.Generator
) -> tuple[Note, np.ndarray] | None:
    """Another sound beside an original; None where the instrument has none of this kind."""
    own = player.traits(note.point)
    if kind == "semitone":
        other = replace(note, note=note.note + (1 if note.note < own.note_high else -1))
        return other, player.play(other)
    if kind == "length":
        other = replace(note, held_seconds=0.5 * note.held_seconds)
        return (other, player.play(other)) if own.sustain else None
    if kind == "layer":
        if own.velocity_high - own.velocity_low < _FAR_LAYERS:
            return None
        is_loud = note.velocity > 0.5 * (own.velocity_low + own.velocity_high)
        others = [replace(note, velocity=own.velocity_low if is_loud else own.velocity_high)]
    else:
        others = [replace(note, latent=player.place(note.point, rng)) for _ in range(_TRIES)]
    for other in others:
        sound = player.play(other)
        if distance(audio, sound, RATE) >= _OTHER_DB:
            return other, sound
    return None


@dataclass
class Batch:
    """What is kept of the sounds: no audio but that of a few."""

    marks: list[np.ndarray] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    families: list[int] = field(default_factory=list)  # an original and its near ones have the same
    makers: list[tuple[Player, Note]] = field(default_factory=list)  # up to gain, shift and faint noise
    audio: dict[int, np.ndarray] = field(default_factory=dict)
    measuring_seconds: float = 0.0

    def add(self, kind: str, family: int, player: Player, note: Note, audio: np.ndarray, keep_audio: bool) -> None:
        """Measure a sound."""
        start = time.perf_counter()
        mark = measured(audio[None], RATE)[1]
        self.measuring_seconds += time.perf_counter() - start
        if keep_audio:
            self.audio[len(self.marks)] = audio
        self.marks.append(mark)
        self.kinds.append(kind)
        self.families.append(family)
        self.makers.append((player, note))

    def are_alike(self, one: int, other: int) -> bool:
        """Whether two sounds are of one note and near each other in the distance of `analysis`, both played again."""
        (player, note), (other_player, other_note) = self.makers[one], self.makers[other]
        if note.note != other_note.note:
            return False
        return distance(player.play(note), other_player.play(other_note), RATE) < _OTHER_DB


def planted(n_sounds: int, seconds: float, seed: int) -> Batch:
    """About so many sounds, two originals, two near ones and a neighbour in turn."""
    rng, batch = np.random.default_rng(seed), Batch()
    players = [Player(InstrumentModel.load(path), seconds) for path in shipped_models()]
    near_kinds, other_kinds = _forever(NEAR), _forever(NEIGHBOURS)
    family = 0
    while len(batch.marks) < n_sounds:
        player = players[int(rng.integers(len(players)))]
        note = player.draw(rng)
        audio, keep = player.play(note), family < _COMPARED
        if not np.any(np.abs(audio) > 1e-4):  # some random places are silent: nothing to compare
            continue
        kind = next(near_kinds)
        if kind == "texture" and player.traits(note.point).texture is None:
            kind = next(near_kinds)
        batch.add("original", family, player, note, audio, keep)
        batch.add(kind, family, player, *near(kind, player, note, audio, rng), keep)
        own, family = family, family + 1
        if own % 2 == 0:
            for kind in (next(other_kinds), "semitone"):
                other = neighbour(kind, player, note, audio, rng)
                if other is not None:
                    batch.add(kind, family, player, *other, keep)
                    family += 1
                    break
    return batch


def _forever(kinds: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from kinds


def judged(batch: Batch, limit_db: float, seed: int) -> dict:
    """Shares found and false, by kind and in all."""
    order = np.random.default_rng(seed).permutation(len(batch.marks))
    marks, kinds = np.array(batch.marks)[order], np.array(batch.kinds)[order]
    families = np.array(batch.families)[order]
    start = time.perf_counter()
    result = near_duplicates(marks, limit_db)
    seconds = time.perf_counter() - start
    kept_of = Counter(families[result.kept].tolist())
    is_near = np.isin(kinds, NEAR)
    # Of each family one sound should be kept: both kept is a near one missed; a foreign target is a false one.
    found = np.array([kept_of[f] <= 1 for f in families.tolist()])
    foreign = (families[result.of] != families) & ~is_near
    alike = np.zeros(len(marks), bool)
    for i in np.flatnonzero(foreign).tolist():
        alike[i] = batch.are_alike(order[i], order[result.of[i]])
    false = foreign & ~alike
    table = {k: {"sounds": int(np.sum(kinds == k)), "found": float(found[kinds == k].mean())} for k in NEAR}
    for kind in ("original", *NEIGHBOURS):
        of_kind = kinds == kind
        count = max(int(of_kind.sum()), 1)
        row = {
            "sounds": int(of_kind.sum()),
            "false": false[of_kind].sum() / count,
            "alike": alike[of_kind].sum() / count,
        }
        table[kind] = {name: float(value) for name, value in row.items()}
    return {
        "kinds": table,
        "sounds": len(marks),
        "found": float(found[is_near].mean()),
        "false": float(false[~is_near].mean()),
        "alike": float(alike[~is_near].mean()),
        "near_duplicates_seconds": seconds,
    }


def correlations(batch: Batch) -> dict[str, float]:
    """Rank correlation of both distances: within neighbourhoods and between random sounds."""
    indices, rng = sorted(batch.audio), np.random.default_rng(0)
    close = [(i, j) for i, j in pairwise(indices) if j - i == 1]
    random = [tuple(rng.choice(indices, 2, replace=False)) for _ in range(len(close))]
    both = {}
    for name, pairs in (("random", random), ("all", close + random)):
        ours = [float(np.linalg.norm(batch.marks[i] - batch.marks[j])) for i, j in pairs]
        theirs = [distance(batch.audio[i], batch.audio[j], RATE) for i, j in pairs]
        both[name] = float(spearmanr(ours, theirs)[0])
    return both


def costs(marks: np.ndarray) -> dict[str, float]:
    """Seconds of the other choices."""
    start = time.perf_counter()
    most_varied(marks, 100)
    middle = time.perf_counter()
    map_2d(marks)
    return {"most_varied_100_seconds": middle - start, "map_2d_seconds": time.perf_counter() - middle}


def main() -> int:
    """Print the table; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=int, default=10_000, help="how many  [default: 10000]")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each  [default: 4]")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn  [default: 0]")
    parser.add_argument("--distance", type=float, default=DUPLICATE_DB, help=f"in dB  [default: {DUPLICATE_DB:g}]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    start = time.perf_counter()
    batch = planted(options.sounds, options.seconds, options.seed)
    making = time.perf_counter() - start
    found = judged(batch, options.distance, options.seed)
    found["measuring_ms"] = 1e3 * batch.measuring_seconds / len(batch.marks)
    found["making_seconds"] = making
    found |= costs(np.array(batch.marks)) | {"rank_correlation": correlations(batch)}
    holds = found["found"] >= LEAST_FOUND and found["false"] <= MOST_FALSE
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print("| kind | sounds | found | false | alike |\n| --- | --: | --: | --: | --: |")
        found["kinds"]["all"] = {name: found[name] for name in ("sounds", *_SHARES)}
        for kind, row in found["kinds"].items():
            cells = (f"{100.0 * row[what]:.2f} %" if what in row else "" for what in _SHARES)
            print(f"| {kind} | {row['sounds']:.0f} | {' | '.join(cells)} |")
        for name, value in found.items():
            if name not in ("kinds", "sounds", *_SHARES):
                print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
