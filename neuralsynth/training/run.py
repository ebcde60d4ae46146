"""From a folder of recordings to an instrument file, within the minutes a person gives.

Order: understand the folder, analyse (parallel, kept), decide the number of steps by timing a few, train, name points
and axes, export with parity, fit the prior. Everything decided is kept in the run folder, so `resume` goes on where a
run was killed.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from neuralsynth.errors import MissingExtra, OutputError, UsageError

try:
    import torch
    from lightning.pytorch import Trainer
    from torch.utils.data import DataLoader
except ImportError as error:
    raise MissingExtra(f"training needs {error.name}: pip install 'neuralsynth[train]'") from error

from neuralsynth.analysis.folder import Folder, read_folder
from neuralsynth.spec import Detail, InstrumentSpec, Provenance, point_name
from neuralsynth.training import cycles, kit
from neuralsynth.training.augment import Batches
from neuralsynth.training.checkpoints import Run
from neuralsynth.training.config import TrainConfig, TrainResult
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.detail import learn_detail
from neuralsynth.training.encoder import Coder
from neuralsynth.training.export import export_encoder, export_instrument
from neuralsynth.training.families import family_of
from neuralsynth.training.fit import BatchStream, play_score, to_tensors
from neuralsynth.training.losses import Ear, HarmonicEar, MelEar
from neuralsynth.training.optimisation import Schedule, Training
from neuralsynth.training.points import named_points, named_traits, named_variations, traits_of
from neuralsynth.training.posterior import add_prior
from neuralsynth.training.prepare import Data, Say, note_step, planned_config, prepare
from neuralsynth.training.straighten import straighten
from neuralsynth.training.strokes import named_strokes
from neuralsynth.training.watch import Bar, Keeper, Log

#: What of the budget is kept for points, axes, export and prior: seconds, and the least and the most share of it.
RESERVE_SECONDS, LEAST_RESERVE, MOST_RESERVE = 18.0, 0.04, 0.4
#: A training that is slower than timed ends this far over its budget, with the average of what it has.
MOST_OVERRUN = 1.08
TIMED_STEPS = 8
STEP_OVERHEAD = 1.15  # checkpoints, scores and the log cost a little too
MIN_STEPS = 20
#: More steps than this make the notes between the recordings worse, so a small folder is done before its time.
MOST_STEPS_PER_RECORDING, LEAST_MOST_STEPS = 12, 500
WATCHED = 12  # notes of the training set that are scored when none is left out


def train_folder(
    folder: Folder | Path | str,
    output: Path | str,
    config: TrainConfig | None = None,
    resume: Path | str | None = None,
    run_dir: Path | str | None = None,
    show_progress: bool = True,
    say: Say | None = None,
) -> TrainResult:
    """Train on `folder` and write the instrument `output` (and its golden pair beside).

    Args:
        folder: recordings of single notes, or what `read_folder` understood of them; sub-folders are instruments
            of their own.
        output: the `.onnx` file to write.
        config: what is chosen; on `resume` the run's own choices count, and only `name`, `licence`, `origin` are read.
        resume: run folder of a training that was stopped; ends with the weights it would have had.
        run_dir: where the run is kept; by default beside `output`, as `NAME.run`.
        show_progress: draw progress bars on stderr.
        say: is told each step of the work in a sentence.

    Raises:
        UsageError, RecordingError, CheckpointError, OutputError, ModelError: see `neuralsynth.errors`.
    """
    started = time.monotonic()
    config, output = (config or TrainConfig()).check(), _checked_output(Path(output))
    say = say or (lambda _: None)
    run = Run(Path(resume or run_dir or output.with_name(f"{output.stem}.run")))
    plan = run.read_plan() if resume is not None else None
    config = config if plan is None else planned_config(plan, config)
    run.create()
    with _quiet(), _threads(config.threads):
        understood = folder if isinstance(folder, Folder) else read_folder(folder)
        if understood.holds_cycles and plan is None:
            config = cycles.suited(config)
        if understood.holds_kit and plan is None:
            config = kit.suited(config)
        data = prepare(understood, config, run, plan, config.threads or _cores(), say)
        job = _Job(output, config, run, data, started, show_progress)
        return job.run_all(plan, say)


def _checked_output(output: Path) -> Path:
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: an instrument file ends in .onnx")
    if not output.parent.is_dir():
        raise OutputError(f"{output}: its folder does not exist")
    if output.exists() and not output.is_file():
        raise OutputError(f"{output}: is not a regular file; name a file to write")
    return output


class _Job:
    """One training call, from data to file."""

    def __init__(
        self, output: Path, config: TrainConfig, run: Run, data: Data, started: float, show_progress: bool
    ) -> None:
        config = replace(config, model=config.model.fitted(len(data.train.groups), note_step(data.train)))
        self.output, self.config, self.run, self.data = output, config, run, data
        self.started, self.show_progress = started, show_progress
        self.grid = data.train.grid
        self.ear: Ear = HarmonicEar(self.grid) if data.holds_cycles else MelEar(self.grid)
        self.family: Any = family_of(config, data, self.ear)
        self.batches = Batches(data.train, config.seed, config.batch_size, self.family.mixing())

    def run_all(self, plan: dict[str, Any] | None, say: Say) -> TrainResult:
        """Train, finish and export."""
        network, average = self._network(), self._network()
        warned = list(self.data.warnings)
        steps = int(plan["steps"]) if plan else self._decide_steps(network)
        if plan is None:
            self._write_plan(steps)
        schedule = Schedule(self.config.seed, steps, self.config.learning_rate, self.config.weight_decay)
        module = self.family.training(network, average, schedule)
        best = np.inf
        if plan is not None:
            state, complaints = self.run.load()
            warned += complaints
            if state is not None:
                module.restore(state)
                best = float((self.run.best() or state)["score"])
        say(f"{steps} steps are trained" + (f" from step {module.first_step} on" if module.first_step else ""))
        cut_short, rescued = self._train(module, schedule, best, endless=plan is not None)
        warned += rescued
        if cut_short:
            warned.append(f"the machine was slower than measured: {module.step} of {steps} steps fitted into the time")
        say("the instrument is exported")
        return self._finish(module, tuple(warned))

    def _network(self) -> Coder:
        torch.manual_seed(self.config.seed)
        return self.family.network()

    def _decide_steps(self, network: Coder) -> int:
        """How many steps fit into what is left of the budget, with as many threads as are fastest just now."""
        if self.config.steps:
            return self.config.steps
        choices = {torch.get_num_threads(), self.config.threads or 1}
        seconds = {threads: self._step_seconds(network, threads) for threads in sorted(choices)}
        fastest = min(seconds, key=lambda threads: seconds[threads])
        torch.set_num_threads(fastest)
        budget = 60.0 * self.config.minutes
        reserve = min(max(RESERVE_SECONDS, LEAST_RESERVE * budget), MOST_RESERVE * budget)
        left = budget - (time.monotonic() - self.started) - reserve
        enough = max(LEAST_MOST_STEPS, MOST_STEPS_PER_RECORDING * len(self.data.train.note))
        return int(np.clip(left / (seconds[fastest] * STEP_OVERHEAD), MIN_STEPS, enough))

    def _step_seconds(self, network: Coder, threads: int) -> float:
        """Median time of a few steps on a copy of the network."""
        torch.set_num_threads(threads)
        trial = self.family.training(*(copy.deepcopy(network) for _ in range(2)), Schedule(0, 1000, 1e-4, 0.0))
        optimizer = trial.configure_optimizers()
        spent = []
        for step in range(TIMED_STEPS + 1):
            begun = time.monotonic()
            optimizer.zero_grad()
            trial.loss(to_tensors(self.batches.draw(step)), step)[0].backward()
            optimizer.step()
            spent.append(time.monotonic() - begun)
        return float(np.median(spent[1:]))

    def _write_plan(self, steps: int) -> None:
        grid = {
            "n_frames": self.grid.n_frames,
            "duration_seconds": float(self.grid.frame_seconds[-1]),
            "n_bands": self.grid.n_bands,
            "n_partials": self.grid.n_partials,
        }
        plan = {"config": asdict(self.config), "grid": grid, "steps": steps, "data_digest": self.data.digest}
        self.run.write_plan({**plan, "threads": torch.get_num_threads()})

    def _train(self, module: Training, schedule: Schedule, best: float, endless: bool) -> tuple[bool, list[str]]:
        """Run Lightning over the steps that are left; whether time ran out, and what went wrong meanwhile."""
        if module.first_step >= schedule.steps:
            return False, []
        unbounded = endless or bool(self.config.steps)
        deadline = np.inf if unbounded else self.started + 60.0 * self.config.minutes * MOST_OVERRUN
        keeper = Keeper(self.run, self._watched(), schedule.steps, deadline, best)
        log = Log(self.run, keeper, self.data.train, schedule.steps)
        trainer = Trainer(
            accelerator="cpu", devices=1, max_steps=schedule.steps - module.first_step, max_epochs=1, logger=False,
            enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False, gradient_clip_val=5.0,
            callbacks=[keeper, Bar(keeper, schedule.steps, self.show_progress), log], default_root_dir=self.run.path,
        )  # fmt: skip
        stream = BatchStream(self.batches, module.first_step, schedule.steps)
        with _interruptible(trainer):
            trainer.fit(module, DataLoader(stream, batch_size=None, num_workers=0))
        return keeper.cut_short, keeper.rescued

    def _watched(self) -> NoteTable:
        """Notes that are scored: those left out, or a few of the training's own."""
        if self.data.held is not None:
            return self.data.held
        n = len(self.data.train.note)
        return self.data.train.only(np.unique(np.linspace(0, n - 1, min(n, WATCHED)).round().astype(int)))

    def _finish(self, module: Training, warned: tuple[str, ...]) -> TrainResult:
        """Name points and axes, export, and tell."""
        coder = module.average.eval()
        self.family.finish(coder)
        score = play_score(coder, self.ear, self._watched())
        spec = self._spec(coder, module.step, learn_detail(coder, self.data.train))
        agreement = export_instrument(coder.decoder, spec, self.output)
        export_encoder(coder, spec, self.output)
        straighten(self.output)
        spec = add_prior(self.output, self.batches)
        return TrainResult(
            self.output, self.run.path, spec, module.step, score, agreement, self.data.held_paths, warned
        )

    def _spec(self, coder: Coder, steps: int, detail: Detail | None) -> InstrumentSpec:
        table, config = self.data.train, self.config
        name = config.name or point_name(self.output.stem)
        points = named_points(coder, table, name)
        return InstrumentSpec(
            family=config.family,
            name=name,
            sample_rate=self.data.sample_rate,
            frame_seconds=[float(t) for t in self.grid.frame_seconds],
            band_edges_hz=[float(f) for f in self.grid.band_edges_hz],
            n_partials=self.grid.n_partials,
            latent_size=config.model.latent_size + (detail.size if detail else 0),
            detail=detail,
            points=points,
            default_point=next(iter(points)),
            axes=self.family.axes(coder),
            traits=named_traits(table, name),
            variations=named_variations(coder, table, name),
            strokes=named_strokes(self.data.hits, table, list(points)),
            **structs.asdict(traits_of(table)),
            licence=config.licence,
            origin=config.origin,
            provenance=Provenance(
                self.data.digest, sorted({d[:16] for d in table.digests}), config.seed, steps,
                round((time.monotonic() - self.started) / 60.0, 2), _versions(),
            ),
        )  # fmt: skip


def _versions() -> dict[str, str]:
    from neuralsynth import __version__

    return {"neuralsynth": __version__, **{name: version(name) for name in ("torch", "lightning", "numpy", "onnx")}}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def _threads(n: int):
    """Let torch use `n` threads (0: every core), and put the number back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or _cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _interruptible(trainer: Trainer):
    """Ctrl-C is a KeyboardInterrupt again: Lightning ignores the signal from then on and ends the whole process."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as end:
        if trainer.interrupted:
            raise KeyboardInterrupt from end
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet():
    """Without Lightning's advice on hardware, loaders and loggers, which is not for musicians."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
