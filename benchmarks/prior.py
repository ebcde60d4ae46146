"""Measures what a prior is worth: `python benchmarks/prior.py --recordings FOLDER --work KEPT [SET …] [--steps N]`.

A set is recipes of `export/`, joined by commas: `orchestra`, `cello,alto-sax`. For each a *twin* is trained without
every fifth pitch (`KEPT/NAME-left-out-SEED.onnx`, as `export/judge.py` leaves it; one that is there is taken). Then
notes at random latents, and recordings the twin was trained on, are compared with the recordings it never saw by
coverage and density (`neuralsynth.scoring.coverage`). Each way of drawing gives as many notes as were left out, at the
keys and velocities of trained recordings chosen by chance; the mean of `ROUNDS` such choices counts. The trained
recordings themselves are the ceiling.

At random latents also: the share of notes heard within 50 cents of their key by YIN and by Praat (searching half an
octave either way), on keys of the instrument that is nearest; and the share of latents at which every louder velocity
layer is louder, as the graph decodes it and as the note bank plays it.

Wanted of the prior: coverage of at least 0.8 of the ceiling, 99.5 % in tune, 99 % rising as played. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

from build import read_recipe

from benchmarks.pitch import RATE, loud_part, praat_cents, yin_cents
from neuralsynth.errors import NeuralSynthError
from neuralsynth.model import InstrumentModel
from neuralsynth.note_bank import NoteBank
from neuralsynth.scoring import play_spectrum
from neuralsynth.scoring.coverage import coverage, density, spectrum_features
from neuralsynth.spectrum import stretched_ratios
from neuralsynth.training.augment import Batches
from neuralsynth.training.checkpoints import Run
from neuralsynth.training.config import TrainConfig
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.posterior import add_prior
from neuralsynth.training.prepare import Data, prepare
from neuralsynth.training.run import train_folder

ROUNDS = 20
N_PITCHES, N_LATENTS = 500, 500
LEAST_COVERAGE, MOST_CENTS, LEAST_IN_TUNE, LEAST_RISING = 0.8, 50.0, 0.995, 0.99
_AT_LATENTS = ("in tune, YIN", "in tune, Praat", "rises, decoded", "rises, played")
_KEYS = 3  # at which levels are compared

Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Twin:
    """An instrument trained on a part of its recordings, and both parts."""

    model: InstrumentModel
    data: Data


def twin(name: str, recordings: Path, work: Path, steps: int) -> Twin:
    """The twin of a recipe: trained, or taken from `work`; with a prior in any case."""
    recipe = read_recipe(name)
    config: TrainConfig = replace(recipe.config(1), hold_out=recipe.twin_leaves_out)
    config = replace(config, steps=steps or config.steps)
    folder, run = recipe.recordings(recordings), Run(work / f"{name}.run")
    path = work / f"{name}-left-out-{config.seed}.onnx"
    if not path.exists():
        train_folder(folder, path, config, run_dir=run.path)
    run.create()
    data = prepare(folder, config, run, None, 1, lambda _: None)
    if InstrumentModel.load(path).spec.prior is None:
        add_prior(path, Batches(data.train, config.seed, config.batch_size))
    return Twin(InstrumentModel.load(path), data)


def ways(model: InstrumentModel) -> dict[str, Draw]:
    """How latents are drawn, by name."""
    spec = model.spec
    prior = spec.prior
    assert prior is not None
    normal = {
        "N(0, I)": lambda rng, n: rng.standard_normal((n, spec.latent_size)),
        "N(0, I), no detail": lambda rng, n: rng.standard_normal((n, spec.character_size)),
    }
    return normal | {"prior": lambda rng, n: prior.latents(rng.standard_normal((n, prior.size)))}


def table_features(table: NoteTable) -> np.ndarray:
    """Features of recordings, `[M, F]`."""
    gains = [10.0 ** (np.swapaxes(x, 1, 2) / 20.0) for x in (table.partials_db, table.noise_db)]
    ratios = np.stack([stretched_ratios(table.grid.n_partials, float(b)) for b in table.inharmonicity])
    return spectrum_features(gains[0], ratios, gains[1], table.note, table.grid)


def drawn_features(one: Twin, draw: Draw, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of notes at drawn latents, at the keys and velocities of trained recordings."""
    table = one.data.train
    decoded = one.model.decode(draw(rng, len(rows)), table.note[rows], table.velocity[rows])
    grid = one.model.spec.grid()
    return spectrum_features(decoded.partials, decoded.ratios, decoded.noise, table.note[rows], grid)


def compared(twins: list[Twin]) -> dict[str, tuple[float, float]]:
    """Coverage and density of each way of drawing, and of the trained recordings, means over the rounds."""
    held = [table_features(one.data.held) for one in twins if one.data.held is not None]
    real, trained = np.concatenate(held), [table_features(one.data.train) for one in twins]
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in range(ROUNDS):
        rng = np.random.default_rng(turn)
        rows = [rng.permutation(len(t))[: len(h)] for t, h in zip(trained, held, strict=True)]
        fake = {"trained recordings": np.concatenate([t[r] for t, r in zip(trained, rows, strict=True)])}
        for way in ways(twins[0].model):
            parts = [drawn_features(one, ways(one.model)[way], r, rng) for one, r in zip(twins, rows, strict=True)]
            fake[way] = np.concatenate(parts)
        for way, features in fake.items():
            found.setdefault(way, []).append((coverage(real, features), density(real, features)))
    return {way: tuple(float(x) for x in np.mean(values, axis=0)) for way, values in found.items()}  # type: ignore[misc]


def in_tune(model: InstrumentModel, draw: Draw, n: int) -> tuple[float, float]:
    """Share of `n` notes at drawn latents heard within 50 cents, by YIN and by Praat."""
    rng, spec, right = np.random.default_rng(0), model.spec, []
    for latent in draw(rng, n):
        place = spec.place(latent)
        own = spec.around(spec.nearest_point(place))
        key = int(rng.integers(own.note_low, own.note_high, endpoint=True))
        decoded = model.decode(place[None], np.array([key]), np.array([rng.uniform(0.3, 1.0)]))
        region = (own.sustain.start_seconds, own.sustain.end_seconds) if own.sustain else None
        audio = loud_part(play_spectrum(decoded.note(0, spec.grid()), float(key), RATE, RATE, region), key, RATE)
        right.append([abs(cents(audio, key)) <= MOST_CENTS for cents in (yin_cents, praat_cents)])
    return tuple(np.mean(right, axis=0))


def rising(model: InstrumentModel, draw: Draw, n: int) -> tuple[float, float]:
    """Share of `n` drawn latents at which level rises with velocity at some keys: as decoded, and as played."""
    rng, spec, right = np.random.default_rng(1), model.spec, []
    velocities = np.linspace(max(spec.velocity_low, 1), max(spec.velocity_high, spec.velocity_low + 1), 6)
    for latent in draw(rng, n):
        place = spec.place(latent)
        own = spec.around(spec.nearest_point(place))
        keys = np.linspace(own.note_low, own.note_high, _KEYS).round()
        notes, layers = np.repeat(keys, len(velocities)), np.tile(velocities / 127.0, _KEYS)
        decoded = model.decode(np.tile(place, (len(notes), 1)), notes, layers)
        raw = _levels(decoded.partials, decoded.noise, spec.frame_seconds).reshape(_KEYS, -1)
        bank = NoteBank(model, place, spec.at(place))
        played = [
            _levels(np.stack([s.partials for s in sounds]), np.stack([s.noise for s in sounds]), spec.frame_seconds)
            for sounds in bank.layers_at(place, keys.astype(int).tolist())
        ]
        right.append([bool(np.all(np.diff(raw, axis=1) > 0)), all(bool(np.all(np.diff(x) > 0)) for x in played)])
    return tuple(np.mean(right, axis=0))


def _levels(partials: np.ndarray, noise: np.ndarray, frame_seconds: list[float]) -> np.ndarray:
    """Level of the first second of notes, `[N]` dB."""
    weight = np.gradient(frame_seconds) * (np.array(frame_seconds) <= 1.0)
    power = 0.5 * (partials.astype(np.float64) ** 2).sum(axis=2) + (noise.astype(np.float64) ** 2).sum(axis=2)
    return 10.0 * np.log10(power @ weight + 1e-20)


def report(names: str, twins: list[Twin], n_pitches: int, n_latents: int) -> bool:
    """Print the table of one set; whether the prior does as promised."""
    found = compared(twins)
    n_held = sum(len(one.data.held.note) for one in twins if one.data.held is not None)
    ceiling = found["trained recordings"][0]
    print(f"\n{names}: {n_held} recordings left out\n")
    head = ("latents", "coverage", "of the ceiling", "density", *_AT_LATENTS)
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    kept = True
    for way, (covered, dense) in found.items():
        row = [way, f"{covered:.3f}", f"{covered / ceiling:.2f}", f"{dense:.2f}"]
        if way != "trained recordings":
            shares = [(*in_tune(one.model, ways(one.model)[way], n_pitches // len(twins)),
                       *rising(one.model, ways(one.model)[way], n_latents // len(twins))) for one in twins]  # fmt: skip
            told = np.mean(shares, axis=0)
            row += [f"{share:.1%}" for share in told]
            if way == "prior":
                kept = covered >= LEAST_COVERAGE * ceiling and told[3] >= LEAST_RISING
                kept = kept and min(told[:2]) >= LEAST_IN_TUNE
        print("| " + " | ".join(row + [""] * (len(head) - len(row))) + " |", flush=True)
    return bool(kept)


def main() -> int:
    """Print a table for each set; 1 if a prior does less than promised, 2 for files that cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["orchestra", "cello,alto-sax,upright-piano"])
    parser.add_argument("--recordings", type=Path, required=True, help="folder that holds the recipes' folders")
    parser.add_argument("--work", type=Path, required=True, help="folder in which twins and analyses are kept")
    parser.add_argument("--steps", type=int, default=0, help="of a twin  [default: the recipe's]")
    parser.add_argument("--notes", type=int, default=N_PITCHES, help="at which pitch is heard")
    parser.add_argument("--latents", type=int, default=N_LATENTS, help="at which levels are compared")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        kept = [
            report(names, [twin(n, options.recordings, options.work, options.steps) for n in names.split(",")],
                   options.notes, options.latents)
            for names in options.sets
        ]  # fmt: skip
    except NeuralSynthError as error:
        print(f"prior: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
