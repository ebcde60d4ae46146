"""From what a person asks for to a `Job`: presets read, sweeps and notes understood, pitch of a target heard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.checking import shown
from neuralsynth.design.changes import changed, values_of
from neuralsynth.design.manifest import read_batch
from neuralsynth.design.plan import Job, Output, Sweep
from neuralsynth.design.selection import Selection, select
from neuralsynth.design.takeaway import preset_of, work_of
from neuralsynth.design.work import SoundWork
from neuralsynth.errors import UsageError
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import Preset, find_preset, load_preset, preset_text, shipped_presets
from neuralsynth.preset_sections import Morph
from neuralsynth.units import parse_note_name

MOST_NOTES = 128
_TOUCHES = (45, 80, 115)  # with which presets are compared with a recording, whose touch nobody knows
_FADED_DB = 30.0
_LONGEST_SECONDS = 10.0  # of a target


@dataclass(frozen=True)
class Asked:
    """What the command line says; one of the kinds."""

    presets: tuple[str, ...] = ()
    random: int | None = None
    sweeps: tuple[str, ...] = ()
    latin: int | None = None
    between: tuple[str, str] | None = None
    steps: int = 16
    around: str | None = None
    evolve: Path | None = None
    picks: tuple[str, ...] = ()
    count: int = 20
    spread: float = 0.1
    like: Path | None = None
    vary: tuple[str, ...] = ()
    seed: int = 0
    output: Output = field(default_factory=Output)


def asked_for(asked: Asked) -> SoundWork:
    """The work that a person asks for.

    Raises:
        UsageError: no kind or several are asked for, or what is asked for cannot be.
        PresetError, ModelError, RecordingError: a file is wrong.
    """
    kinds = {
        "--random": asked.random is not None, "--sweep": bool(asked.sweeps), "--between": asked.between is not None,
        "--around": asked.around is not None, "--evolve": asked.evolve is not None,
    }  # fmt: skip
    chosen = [name for name, is_asked in kinds.items() if is_asked]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are both asked for; make a batch of each")
    output = asked.output
    if asked.like is not None:
        output = _at_pitch(output, asked.like)
        if not chosen and output.velocities == Output().velocities:
            output = msgspec.structs.replace(output, velocities=_TOUCHES)
    if asked.evolve is not None:
        return _evolved(asked, output)
    if not chosen and asked.like is None:
        raise UsageError("say what the batch is to hold: --random N, --sweep KNOB=LOW:HIGH:STEPS, --between A B, "
                         "--around PRESET, --evolve FOLDER or --like SOUND.wav")  # fmt: skip
    names = asked.between or ((asked.around,) if asked.around else asked.presets)
    if not names and chosen:
        raise UsageError("name the preset to start from; `neuralsynth presets` lists those that are here")
    kind = chosen[0].removeprefix("--") if chosen else "points"
    count = {"random": asked.random, "sweep": asked.latin, "between": asked.steps, "around": asked.count}.get(kind)
    return _work(
        [str(name) for name in names] if names else _all_shipped(), asked.seed, output, kind=kind, count=count or 0,
        spread=asked.spread, sweeps=tuple(map(read_sweep, asked.sweeps)), latin=asked.latin is not None,
        vary=asked.vary,
    )  # fmt: skip


def _work(names: Sequence[str], seed: int, output: Output, **job) -> SoundWork:
    paths = [find_preset(name) for name in names]
    presets = [load_preset(path) for path in paths]
    for preset, path in zip(presets, paths, strict=True):
        if preset.layers:
            raise UsageError(f"{path}: is made of layers; name the preset of one of them")
    opened: dict[Path, InstrumentModel] = {}
    for preset in presets:
        path = preset.model_path
        opened[path] = opened.get(path) or InstrumentModel.load(path)
    digests = tuple(opened[preset.model_path].digest for preset in presets)
    if job["kind"] == "between" and len(set(digests)) > 1:
        presets[0] = _morphing(presets[0], paths)
    texts = tuple(preset_text(preset) for preset in presets)
    return SoundWork(Job(presets=texts, models=digests, seed=seed, output=output, **job), paths)


def _morphing(preset: Preset, paths: Sequence[Path]) -> Preset:
    """The first preset on its way to the second, which has another model.

    Raises:
        UsageError: the second one is neither shipped nor beside the first.
    """
    one, other = paths
    name = other.stem if other in shipped_presets() else other.name
    if other not in shipped_presets() and other.parent.resolve() != one.parent.resolve():
        raise UsageError(f"{one} and {other} have different models; put the two files side by side")
    return msgspec.structs.replace(preset, morph=Morph(to=name))


def _all_shipped() -> list[str]:
    """The shipped presets that have a model of their own and no morph: what a sound may be like."""
    names = []
    for path in shipped_presets():
        preset = load_preset(path)
        if not preset.layers:
            names.append(str(path))
    return names


def _evolved(asked: Asked, output: Output) -> SoundWork:
    """The next generation: children of the picks of an earlier batch."""
    assert asked.evolve is not None
    work, rows = work_of(asked.evolve), read_batch(asked.evolve)
    if not asked.picks:
        raise UsageError(f"{asked.evolve}: name the sounds to breed from: --picks 3,7,12 (numbers or names)")
    picked = select(rows, Selection(names=asked.picks))
    bases = {work.planner.planned(int(row["index"])).base for row in picked}
    if len(bases) > 1:
        raise UsageError(f"{asked.evolve}: the picks start from {len(bases)} presets; pick sounds of one")
    base = bases.pop()
    preset, spec = work.presets[base], work.models[base].spec
    parents = tuple(_difference(preset_of(work, row), preset, spec) for row in picked)
    job = Job(
        kind="evolve", presets=(work.job.presets[base],), models=(work.job.models[base],),
        count=max(asked.count, len(parents)), seed=asked.seed, spread=asked.spread, parents=parents, output=output,
    )  # fmt: skip
    return SoundWork(job, [Path(work.document["presets"][base])])


def _difference(preset: Preset, base: Preset, spec) -> dict[str, float]:
    """What turns one preset into another, by knob."""
    own, other = values_of(base, spec), values_of(preset, spec)
    found = {name: value for name, value in other.items() if name in own and own[name] != value}
    changed(base, spec, found)
    return found


def _at_pitch(output: Output, path: Path) -> Output:
    """The note and the length of a recording: the key is down until it has faded by `_FADED_DB`."""
    from neuralsynth.analysis.files import read_mono
    from neuralsynth.analysis.heard import hear

    note = hear(path).place.note
    audio, rate = read_mono(path)
    step = max(1, rate // 100)
    power = np.square(audio[: len(audio) // step * step], dtype=np.float64).reshape(-1, step).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10.0 ** (-_FADED_DB / 10.0))
    hold = min(max((loud[-1] + 1 - loud[0]) * 0.01, 0.05), _LONGEST_SECONDS)
    seconds = min(max(len(audio) / rate - loud[0] * 0.01, hold + 0.1), _LONGEST_SECONDS + 1.0)
    return msgspec.structs.replace(output, notes=(note,), hold_seconds=float(hold), seconds=float(seconds))


def read_sweep(text: str) -> Sweep:
    """`KNOB=LOW:HIGH:STEPS`, or `KNOB=LOW:HIGH` for a Latin hypercube.

    Raises:
        UsageError: it is not of that form.
    """
    knob, sign, rest = text.partition("=")
    parts = rest.split(":")
    try:
        low, high = float(parts[0]), float(parts[1])
        steps = int(parts[2]) if len(parts) == 3 else 1
        if not sign or not knob or len(parts) > 3 or not 1 <= steps <= 10_000 or not math.isfinite(low + high):
            raise ValueError
    except (ValueError, IndexError) as error:
        raise UsageError(f"sweep {shown(text)} is not KNOB=LOW:HIGH:STEPS, such as cutoff_hz=200:8000:12") from error
    return Sweep(knob.strip(), low, high, steps)


def read_notes(text: str) -> tuple[int, ...]:
    """Notes such as `C3,E3,60` or a range `36-48`.

    Raises:
        UsageError: one of them is no note.
    """
    notes: list[int] = []
    for part in text.split(","):
        low, sign, high = part.strip().partition("-")
        ends = [_note(low), _note(high)] if sign and low and high and low.isdecimal() and high.isdecimal() else None
        notes += range(ends[0], ends[1] + 1) if ends else [_note(part.strip())]
    if not 1 <= len(notes) <= MOST_NOTES:
        raise UsageError(f"notes {shown(text)} are {len(notes)} notes; give 1 to {MOST_NOTES}")
    return tuple(notes)


def _note(text: str) -> int:
    try:
        note = int(text) if text.isdecimal() else parse_note_name(text)
    except ValueError:
        note = -1
    if not 0 <= note <= 127:
        raise UsageError(f"note {shown(text)} is none; use names such as C3 or A#4, or numbers 0 to 127")
    return note
