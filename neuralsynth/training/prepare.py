"""Before the first step: what a run decided once, recordings split and analysed, what the network is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.analysis.folder import Folder
from neuralsynth.analysis.recordings import Recording
from neuralsynth.errors import CheckpointError, RecordingError
from neuralsynth.spectrum import SpectrumGrid, mel_band_edges_hz, warped_frame_seconds
from neuralsynth.training.analyses import analyse_recordings
from neuralsynth.training.augment import turnable
from neuralsynth.training.checkpoints import Run
from neuralsynth.training.config import MIN_RECORDINGS, GanConfig, TrainConfig, VaeConfig, enough
from neuralsynth.training.cycles import cycle_grid, cycle_table
from neuralsynth.training.dataset import NoteTable, build_table, choose_grid
from neuralsynth.training.kit import kit_grid, kit_table, trained_hits
from neuralsynth.training.points import sustain_region
from neuralsynth.training.split import split
from neuralsynth.training.vae import HARMONIC, Statistics

CENTRED_SECONDS = (0.15, 1.5)  # where the pitch of a decaying sound averages to the played note
#: Steps in which the network sees a note, per semitone between recorded pitches, and their limits.
NOTE_STEP_PER_GAP, LEAST_NOTE_STEP, MOST_NOTE_STEP = 2.2, 4.0, 8.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Data:
    """What a training learns from and is watched on."""

    train: NoteTable
    held: NoteTable | None
    held_paths: tuple[Path, ...]
    digest: str
    sample_rate: int
    warnings: tuple[str, ...]
    holds_cycles: bool = False
    hits: tuple[Recording, ...] = ()  # of a kit: what the notes of `train` were recorded as


def planned_config(plan: dict[str, Any], given: TrainConfig) -> TrainConfig:
    """The choices of a run that is resumed; only words about the instrument may be given anew."""
    try:
        kept = dict(plan["config"])
        kept["model"], kept["gan"] = VaeConfig(**kept["model"]), GanConfig(**kept["gan"])
        config = TrainConfig(**kept).check()
        int(plan["steps"]), int(plan["threads"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"run.json is damaged ({error}); start a new training") from error
    words = {
        key: getattr(given, key) for key in ("name", "licence", "origin") if getattr(given, key) not in ("", "unknown")
    }
    return replace(config, threads=int(plan["threads"]), **words)


def prepare(
    understood: Folder, config: TrainConfig, run: Run, plan: dict[str, Any] | None, workers: int, say: Say
) -> Data:
    """Split and analyse the recordings; single cycles need neither."""
    folder = understood.path
    used: Sequence[Any] = understood.used
    enough(understood)
    digest = hashlib.sha256("\n".join(sorted(r.digest for r in used)).encode()).hexdigest()
    if plan is not None and plan.get("data_digest") != digest:
        raise CheckpointError(f"{folder}: is not what {run.path} was trained on; start a new training")
    if understood.holds_cycles:
        say(f"{len(used)} single cycles are laid over the keyboard")
        rates = [r.load()[1] for r in used]
        table, rate = cycle_table(used, cycle_grid(config)), int(np.median(rates))
        return Data(table, None, (), digest, rate, understood.warnings, holds_cycles=True)
    if understood.holds_kit:
        return _prepared_kit(understood, config, digest, say)
    split(used, config)  # refuses before minutes of work what does not fit
    seconds, rates = _lengths(used)
    grid = (
        _grid(plan)
        if plan
        else choose_grid(
            [r.note for r in used], seconds, config.n_frames, config.n_bands, config.n_partials, config.duration_seconds
        )
    )
    say(f"{len(used)} recordings are analysed")
    analysed, bad = analyse_recordings(used, grid, run.analyses, workers)
    if len(analysed) < MIN_RECORDINGS:
        raise RecordingError(
            f"{folder}: only {len(analysed)} recording can be analysed; at least {MIN_RECORDINGS} are needed"
        )
    table = build_table(analysed, grid)
    trained, judged = split([recording for recording, _ in analysed], config)
    if trained.sum() < MIN_RECORDINGS:
        raise RecordingError(f"{folder}: only {trained.sum()} recording is left; at least {MIN_RECORDINGS} are needed")
    paths = tuple(recording.path for (recording, _), is_in in zip(analysed, trained, strict=True) if not is_in)
    held = table.only(judged) if judged.any() else None
    warned = (*understood.warnings, *bad)
    return Data(table.only(trained), held, paths, digest, int(np.median(rates)), warned)


def _prepared_kit(understood: Folder, config: TrainConfig, digest: str, say: Say) -> Data:
    """`prepare` for the hits of a drum kit."""
    used = understood.used
    trained_hits(used, config)  # refuses before the work what does not fit
    seconds, rates = _lengths(used)
    n_pieces = len({r.group for r in used})
    say(f"{len(used)} hits of {n_pieces} pieces are analysed")
    table, hits, bad = kit_table(used, kit_grid(config, seconds))
    trained = trained_hits(hits, config)
    paths = tuple(hit.path for hit, is_in in zip(hits, trained, strict=True) if not is_in)
    held, warned = None if trained.all() else table.only(~trained), (*understood.warnings, *bad)
    learned = tuple(hit for hit, is_in in zip(hits, trained, strict=True) if is_in)
    return Data(table.only(trained), held, paths, digest, int(np.median(rates)), warned, hits=learned)


def _lengths(recordings: Sequence[Any]) -> tuple[list[float], list[int]]:
    seconds, rates = [], []
    for recording in recordings:
        audio, rate = recording.load()
        seconds.append(len(audio) / rate)
        rates.append(rate)
    return seconds, rates


def _grid(plan: dict[str, Any]) -> SpectrumGrid:
    try:
        g = plan["grid"]
        times = warped_frame_seconds(int(g["n_frames"]), float(g["duration_seconds"]))
        return SpectrumGrid(times, mel_band_edges_hz(int(g["n_bands"])), int(g["n_partials"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"run.json is damaged ({error}); start a new training") from error


def statistics_of(table: NoteTable) -> Statistics:
    """Means per partial and band, and each group's smooth stiffness over the keyboard."""
    weights = table.frame_weights()
    weights = weights / weights.sum()
    partials = np.einsum("mpt,mt->p", table.partials_db, weights)
    noise = np.einsum("mbt,mt->b", table.noise_db, weights)
    if table.ratios is not None:
        return Statistics(partials, noise, None, ratios=table.ratios)
    times, sustain = table.grid.frame_seconds, sustain_region(table)
    low, high = (sustain.start_seconds, sustain.end_seconds) if sustain else CENTRED_SECONDS
    start = min(int(np.searchsorted(times, low)), len(times) - 2)
    stop = max(start + 1, int(np.searchsorted(times, high)))
    curves = [_stiffness(notes) for notes in table.by_group()]
    stiffness = np.array([HARMONIC if curve is None else curve for curve in curves])
    known = stiffness if any(c is not None for c in curves) else None
    turns = tuple(bool(means) for means in turnable(table))
    return Statistics(partials, noise, known, (start, stop), turnable=turns)


def _stiffness(table: NoteTable) -> np.ndarray | None:
    """Polynomial of log B over (note - 60) / 24, by least absolute error so that single wrong notes do not bend it.

    Three numbers, highest power first; None for sounds with exact harmonics.
    """
    stiff = table.inharmonicity > 1e-5
    if not len(stiff) or table.sustains[0] or stiff.mean() < 0.5 or stiff.sum() < 3:
        return None
    place, value = (table.note[stiff] - 60.0) / 24.0, np.log(table.inharmonicity[stiff])
    degree = min(2, len(np.unique(place)) - 1)
    weights = np.ones(len(place))
    for _ in range(20):
        curve = np.polyfit(place, value, degree, w=weights)
        weights = 1.0 / np.sqrt(np.abs(np.polyval(curve, place) - value) + 0.05)
    return np.concatenate([np.zeros(2 - degree), curve])


def note_step(table: NoteTable) -> float:
    """Width in semitones over which the network shares what it learns: more where recordings are far apart."""
    pitches = np.unique(table.note)
    gap = (pitches[-1] - pitches[0]) / max(1, len(pitches) - 1)
    return float(np.clip(NOTE_STEP_PER_GAP * gap, LEAST_NOTE_STEP, MOST_NOTE_STEP))
