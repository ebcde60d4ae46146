"""Measure how well the recipes learn, and from how little; the figures go into `measured.csv`.

::

    python export/judge.py --recordings FOLDER --work KEPT                       every recipe, protocol and seed
    python export/judge.py --recordings FOLDER cello --protocol every-fourth     one of them

For each recipe, protocol and seed a twin is trained on a part of the recordings and scored on others
(`docs/quality.md` says which). What was measured already with the same settings and the same code is not measured
again, so a broken run goes on where it stopped. Programs on different recipes may run side by side.
`python benchmarks/quality_table.py` prints the tables.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from build import Recipe, fresh, read_recipe
from measured import Row, digest_of, figures_of, keep_row, read_rows

from neuralsynth.analysis.folder import Folder
from neuralsynth.errors import NeuralSynthError
from neuralsynth.training.config import TrainConfig

HERE = Path(__file__).parent
LEAST_PITCHES = 3


class NotPossible(Exception):
    """An instrument whose recordings do not allow a protocol; the text says why."""


def left_out(recipe: Recipe, folder: Folder, config: TrainConfig) -> TrainConfig:  # noqa: ARG001
    """Without every fifth interior pitch (or what the recipe says)."""
    return replace(config, hold_out=recipe.twin_leaves_out)


def keep_every(every: int) -> Callable[[Recipe, Folder, TrainConfig], TrainConfig]:
    """On every k-th pitch only; steps between notes that were chosen for the full set are chosen anew."""

    def choose(recipe: Recipe, folder: Folder, config: TrainConfig) -> TrainConfig:  # noqa: ARG001
        pitches = sorted({r.note for r in folder.used if r.note is not None})
        kept = len(pitches[::every])
        if kept < LEAST_PITCHES:
            raise NotPossible(f"every {every}th of {len(pitches)} pitches would leave {kept}")
        return replace(config, keep_every=every, model=replace(config.model, note_step=0.0))

    return choose


def one_layer(recipe: Recipe, folder: Folder, config: TrainConfig) -> TrainConfig:  # noqa: ARG001
    """On the dynamic layer with the most recordings, of those the loudest."""
    layers = Counter(r.velocity or 0 for r in folder.used)
    if len(layers) < 2:
        raise NotPossible("it was recorded in one layer")
    return replace(config, only_layer=max(layers, key=lambda velocity: (layers[velocity], velocity)))


PROTOCOLS: dict[str, Callable[[Recipe, Folder, TrainConfig], TrainConfig]] = {
    "left-out": left_out,
    "every-fourth": keep_every(4),
    "every-eighth": keep_every(8),
    "one-layer": one_layer,
}


def main(arguments: list[str] | None = None) -> int:
    """Judge what the command line names; exit code 1 if some of it failed, 2 if it cannot be understood."""
    options = _parser().parse_args(arguments)
    names = options.recipes or sorted(path.stem for path in HERE.glob("*.toml"))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="judge-") as temporary:
        options.work = options.work or Path(temporary)
        options.work.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                failed += judge(name, options)
            except NeuralSynthError as error:
                print(f"judge: {error}", file=sys.stderr)
                return error.exit_code
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="measure how well the recipes learn, and from how little")
    parser.add_argument("recipes", nargs="*", help="names of recipes, such as cello  [default: all]")
    parser.add_argument("--recordings", type=Path, required=True, help="folder that holds the recipes' folders")
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS, help="may be given again  [default: all]")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from the recipe's own on  [default: 2]")
    parser.add_argument("--work", type=Path, help="where runs and analyses are kept  [default: a temporary folder]")
    parser.add_argument("--into", type=Path, default=HERE / "measured.csv", help="file of figures")
    parser.add_argument("--steps", type=int, help="another number of steps than the recipes', for a trial")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the figures were made with 1")
    parser.add_argument("--again", action="store_true", help="measure also what was measured already")
    return parser


def judge(name: str, options: argparse.Namespace) -> int:
    """All protocols and seeds of one recipe; returns how many failed."""
    recipe = read_recipe(name)
    folder = recipe.recordings(options.recordings)
    failed = 0
    for protocol in options.protocol or PROTOCOLS:
        try:
            config = PROTOCOLS[protocol](recipe, folder, recipe.config(options.threads))
        except NotPossible as reason:
            print(f"{name}, {protocol}: not measured, {reason}", flush=True)
            continue
        config = replace(config, steps=options.steps or recipe.steps)
        for seed in range(recipe.seed, recipe.seed + options.seeds):
            try:
                measure(name, protocol, folder, replace(config, seed=seed), options)
            except NeuralSynthError as error:
                print(f"judge: {name}, {protocol}, seed {seed}: {error}", file=sys.stderr)
                failed += 1
    return failed


def measure(name: str, protocol: str, folder: Folder, config: TrainConfig, options: argparse.Namespace) -> None:
    """Train, score and keep one row, unless it is there."""
    from neuralsynth.instrument import Instrument
    from neuralsynth.scoring import score
    from neuralsynth.training.run import train_folder

    key, digest = (name, protocol, config.seed), digest_of(config)
    if not options.again and any(row.key == key and row.digest == digest for row in read_rows(options.into)):
        print(f"{name}, {protocol}, seed {config.seed}: is there", flush=True)
        return
    model = options.work / f"{name}-{protocol}-{config.seed}.onnx"
    # One run folder for all trainings of an instrument: recordings are analysed once.
    run_dir, visible = fresh(options.work / f"{name}.run"), sys.stderr.isatty()
    result = train_folder(folder, model, config, run_dir=run_dir, show_progress=visible)
    scored = score(Instrument.load(model), folder.path)
    told: dict[str, Any] = {
        "n_trained": len(folder.used) - len(result.held_out),
        "n_judged": len(scored.recordings),
        "steps": result.steps,
        "minutes": result.spec.provenance.minutes if result.spec.provenance else None,
    }
    row = Row(*key, **figures_of(scored), **told, digest=digest)
    keep_row(options.into, row, list(PROTOCOLS))
    counts = f"{row.n_trained} trained, {row.n_judged} judged"
    print(
        f"{name}, {protocol}, seed {config.seed}: {counts}, play / sampler {scored.play_over_sampler:.3f}", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
