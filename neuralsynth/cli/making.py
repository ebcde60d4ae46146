"""`neuralsynth train`: the only command that imports torch."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neuralsynth.cli.parts import Number, as_json, progress_bar, require_new, table, warn
from neuralsynth.errors import Interrupted, UsageError
from neuralsynth.units import note_name

if TYPE_CHECKING:
    from neuralsynth.analysis.folder import Folder

#: How many recordings are scored at the end of a training; `neuralsynth score` takes all.
SCORED = 12


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="instrument file to make (.onnx)")
@click.option("--family", type=click.Choice(["vae", "gan"]), default="vae", show_default=True, help="kind of model")
@click.option("--minutes", type=Number(0.1, 10_000, "minutes"), default=10.0, show_default=True, help="time to spend")
@click.option(
    "--kind", type=click.Choice(["auto", "notes", "drums"]), default="auto", show_default=True,
    help="what the recordings are, where their names would mislead",
)  # fmt: skip
@click.option("--seed", type=Number(0, 2**31 - 1, whole=True), default=0, show_default=True)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="go on with an interrupted run folder")
@click.option(
    "--run", "run_dir", type=click.Path(path_type=Path), help="run folder  [default: runs/NAME beside OUTPUT]"
)
@click.option("--hold-out", type=Number(0, 100, whole=True), default=0, help="leave every Nth pitch out, to score on")
@click.option(
    "--keep-every", type=Number(0, 100, whole=True), default=0, metavar="N", help="train on every Nth pitch only"
)
@click.option(
    "--only-layer", type=Number(1, 127, whole=True), metavar="VELOCITY", help="train on this dynamic layer only"
)
@click.option("--name", default="", help="the instrument's name  [default: the folder's]")
@click.option("--licence", default="unknown", help="licence of the recordings, kept in the file")
@click.option("--origin", default="unknown", help="where the recordings come from, kept in the file")
@click.option("--dry-run", is_flag=True, help="only show what was understood of the recordings")
@click.option("--force", is_flag=True, help="replace an existing instrument file")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def train(
    folder, output, family, minutes, kind, seed, resume, run_dir, hold_out, keep_every, only_layer, name, licence,
    origin, dry_run, force, json_,
) -> None:  # fmt: skip
    """Train an instrument on a folder of recordings of single notes.

    Notes and velocities are read from file names (A#3, Bb3, 060, m060_v100, ...) or an SFZ file, checked
    against the sound, and measured where names say nothing. Any sample rate, depth and channel count. A folder
    of single-cycle waveforms (each file exactly one period) becomes an instrument with a point for each of them, a
    folder of drum hits (named kick, snare, ...) a kit with a point for each drum.

    \b
    neuralsynth train my-kalimba -o kalimba.onnx --minutes 10
    neuralsynth train my-kalimba --dry-run
    neuralsynth train my-kalimba -o few.onnx --keep-every 4     # how well does it learn from a quarter?

    --hold-out, --keep-every and --only-layer exclude one another. What they leave out is scored on at the end.
    """
    if dry_run:
        _dry_run(folder, kind, json_)
        return
    if output is None:
        raise UsageError("missing option '-o' / '--output': name the instrument file to make, such as mine.onnx")
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: unknown ending {output.suffix!r}; use .onnx")
    require_new(output, force)
    from neuralsynth.training.config import TrainConfig

    config = TrainConfig(
        family=family, minutes=minutes, seed=seed, hold_out=hold_out, keep_every=keep_every, only_layer=only_layer or 0,
        name=name, licence=licence, origin=origin,
    ).check()  # fmt: skip
    _train(folder, kind, output, config, resume, run_dir, json_)


def _dry_run(folder: Path, kind: str, json_: bool) -> None:
    from neuralsynth.analysis.folder import read_folder

    with progress_bar("listening", "files") as progress:
        found = read_folder(folder, progress, kind)
    if json_:
        as_json(found.to_json())
        return
    rows = [
        [
            recording.name,
            f"{recording.note} {note_name(recording.note)}" if recording.note is not None else "skipped",
            recording.velocity,
            recording.note_from or "",
            recording.reason or (recording.group if recording.is_hit else ""),
        ]
        for recording in found.recordings
    ]
    table(["file", "note", "velocity", "from", "remark"], rows)
    what = ", as single-cycle waveforms" if found.holds_cycles else ""
    if found.holds_kit:
        what = f", as hits of {len({r.group for r in found.used})} drums; --kind notes if they are notes"
    click.echo(f"{len(found.used)} of {len(found.recordings)} files can be used{what}")
    warn(found.warnings)


def _train(folder, kind, output, config, resume, run_dir, json_) -> None:
    from neuralsynth.analysis.folder import read_folder
    from neuralsynth.training.config import enough

    run_dir = resume or run_dir or output.parent / "runs" / output.stem
    with progress_bar("listening", "files") as progress:
        found = read_folder(folder, progress, kind)
    enough(found)
    # Only now what takes seconds to load: a folder that cannot be used is told at once.
    from neuralsynth.training.run import train_folder

    try:
        result = train_folder(found, output, config, resume, run_dir)
    except KeyboardInterrupt:
        again = f"go on with: neuralsynth train {folder} -o {output} --resume {run_dir}"
        raise Interrupted(again if (run_dir / "run.json").exists() else "nothing was trained yet") from None
    warn(result.warnings)
    report = _reconstruction if found.holds_cycles else _kit if found.holds_kit else _score
    facts, sentence = report(output, found)
    if json_:
        as_json(
            {
                "model": str(output),
                "run": str(result.run_dir),
                "steps": result.steps,
                "validation_db": round(result.validation_db, 3),
                "parity_db": round(result.parity_db, 1),
                **facts,
            }
        )
        return
    click.echo(f"{output}: {result.steps} steps; {sentence}")
    click.echo(f"try it: neuralsynth render SONG.mid -o out.wav -p {output}")


def _score(output: Path, found: Folder) -> tuple[dict, str]:
    """How close the instrument comes to its recordings: for JSON, and as a sentence."""
    from neuralsynth.instrument import Instrument
    from neuralsynth.scoring import score

    with progress_bar("scoring", "steps") as progress:
        scored = score(Instrument.load(output), found.path, progress=progress, most=SCORED)
    mean = scored.quality()
    seen = "left out of training" if scored.held_out else "it was trained on"
    return {"score": scored.to_json()}, (
        f"on {mean.n_recordings} recordings {seen}: play {mean.play_db:.2f} dB, "
        f"sampler {mean.sampler_db:.2f} dB, floor {mean.floor_db:.2f} dB"
    )


def _kit(output: Path, found: Folder) -> tuple[dict, str]:
    """How close each drum comes to its hits: for JSON, and as a sentence."""
    from neuralsynth.model import InstrumentModel
    from neuralsynth.scoring import kit_distances

    apart, unseen = kit_distances(InstrumentModel.load(output), found.used)
    worst, median_db = max(apart, key=lambda piece: apart[piece]), statistics.median(apart.values())
    seen = "left out of training" if unseen else "it was trained on"
    facts = {"pieces_db": {piece: round(value, 3) for piece, value in apart.items()}, "held_out": unseen}
    return facts, (
        f"{len(apart)} drums, each a point; from the hits {seen} the median drum is {median_db:.2f} dB away, "
        f"the worst, {worst}, {apart[worst]:.2f} dB"
    )


def _reconstruction(output: Path, found: Folder) -> tuple[dict, str]:
    """How exactly each single cycle comes back at its own point: for JSON, and as a sentence."""
    from neuralsynth.model import InstrumentModel
    from neuralsynth.training.cycles import reconstruction_db

    off = reconstruction_db(InstrumentModel.load(output), found.used)
    worst = max(off, key=lambda name: off[name])
    facts = {"reconstruction_db": {name: round(value, 3) for name, value in off.items()}}
    return facts, (
        f"{len(off)} waveforms, each a point; harmonics are off by {statistics.median(off.values()):.2f} dB in the "
        f"median waveform, by {off[worst]:.2f} dB in the worst, {worst}"
    )
