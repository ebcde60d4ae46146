"""`neuralsynth design`, `pick`, `again` and `process`: sounds by the batch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuralsynth.cli.parts import Number, as_json, progress_bar, require_new, table, warn
from neuralsynth.errors import PartlyFailed, UsageError

if TYPE_CHECKING:
    from neuralsynth.design.batch import BatchReport
    from neuralsynth.design.plan import Output
    from neuralsynth.design.selection import Selection
    from neuralsynth.design.work import Work

MOST_TOLD = 12


def _options(*options: Callable) -> Callable:
    def add(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_output_options = _options(
    click.option("--format", "format_", type=click.Choice(["wav", "flac"]), default="wav", show_default=True),
    click.option("--depth", type=click.Choice(["16", "24", "32f"]), default="24", show_default=True,
                 help="bits per sample"),
    click.option("--stereo/--mono", default=False, show_default=True),
    click.option("--loudness", type=Number(-60, 0, "LUFS"), metavar="LUFS",
                 help="bring every sound to this loudness, as far as its peaks allow"),
    click.option("--fade", type=Number(0, 10, "s"), default=0.02, show_default=True, help="seconds, at the end"),
    click.option("--describe/--no-describe", default=True, show_default=True,
                 help="measure each sound; without, files come faster, with no page and little to choose by"),
)  # fmt: skip
_run_options = _options(
    click.option("--workers", type=Number(1, 256, whole=True), help="processes  [default: one for each core]"),
    click.option("--cluster", metavar="tcp://HOST:PORT", help="run on this Dask cluster instead"),
    click.option("--force", is_flag=True, help="replace another batch that is in the folder"),
    click.option("--json", "json_", is_flag=True, help="report as JSON"),
)
_page_options = _options(
    click.option(
        "--page/--no-page", default=True, show_default=True, help="write index.html, to see and hear the batch"
    ),
    click.option("--embed", is_flag=True, help="put the sounds into the page too, which may then be sent alone"),
)
_selection_options = _options(
    click.option("--where", metavar="CONDITION", default="", help='such as "brightness > 0.7 and decay < 0.5"'),
    click.option("--unlike", type=Number(0, 100, "dB"), metavar="DB",
                 help="leave out sounds nearer than this to one before (0.9 is about what can be told apart)"),
    click.option("--varied", type=Number(1, 1_000_000, whole=True), metavar="K",
                 help="the K sounds that differ the most"),
    click.option("--sort", metavar="NAME", default="", help="by a descriptor or knob; -NAME the highest first"),
    click.option("--like", type=click.Path(path_type=Path), metavar="SOUND.wav", help="the nearest first"),
    click.option("--most", type=Number(1, 1_000_000, whole=True), metavar="N", help="the first N"),
)  # fmt: skip


@click.command()
@click.argument("presets", nargs=-1, metavar="[PRESET]...")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), required=True, help="folder of the batch")
@click.option("--random", "random_", type=Number(1, 1_000_000, whole=True), metavar="N", help="N sounds by chance")
@click.option("--sweep", "sweeps", multiple=True, metavar="KNOB=LOW:HIGH:STEPS",
              help="a knob from one value to another; several make a grid")  # fmt: skip
@click.option("--latin", type=Number(1, 1_000_000, whole=True), metavar="N",
              help="N places of the sweeps, spread evenly (Latin hypercube), instead of the grid")  # fmt: skip
@click.option("--between", nargs=2, metavar="A B", help="the way from one preset to another of the same model")
@click.option("--steps", type=Number(2, 10_000, whole=True), default=16, show_default=True, help="of --between")
@click.option("--around", metavar="PRESET", help="the preset, and others a little beside it")
@click.option("--evolve", type=click.Path(path_type=Path), metavar="FOLDER", help="children of sounds of a batch")
@click.option("--picks", default="", metavar="A,B,...", help="numbers or names of the parents, for --evolve")
@click.option("--count", type=Number(1, 100_000, whole=True), default=20, show_default=True,
              help="of --around and --evolve")  # fmt: skip
@click.option("--spread", type=Number(0, 1), default=0.1, show_default=True, help="how far beside: 0 to 1")
@click.option("--vary", multiple=True, metavar="KNOB", help="let --random turn this knob too")
@click.option("--notes", default="C4", show_default=True, metavar="NOTES", help="such as C2,G3 or 36-48")
@click.option("--velocities", default="100", show_default=True, metavar="V,V", help="1 to 127")
@click.option("--hold", type=Number(0.01, 60, "s"), default=1.5, show_default=True, help="seconds the key is down")
@click.option("--seconds", type=Number(0.05, 120, "s"), default=4.0, show_default=True, help="length of a file")
@click.option("--sample-rate", type=Number(8000, 192_000, "Hz", whole=True), default=44_100, show_default=True)
@click.option("--effects/--no-effects", default=True, show_default=True, help="with the preset's effect chain")
@click.option("--seed", type=Number(0, 2**53, whole=True), default=0, show_default=True)
@_output_options
@_page_options
@_selection_options
@_run_options
def design(
    presets, folder, random_, sweeps, latin, between, steps, around, evolve, picks, count, spread, vary, notes,
    velocities, hold, seconds, sample_rate, effects, seed, format_, depth, stereo, loudness, fade, describe, page,
    embed, where, unlike, varied, sort, like, most, workers, cluster, force, json_,
) -> None:  # fmt: skip
    """Render many sounds at once: by chance, by sweeps, between presets, around one, like a recording.

    A sound depends on its preset, the seed and its number alone: the same command gives the same files, and goes on
    where it was broken off. FOLDER/manifest.jsonl (and .parquet) tells of every sound; pick from it with
    `neuralsynth pick`.

    \b
    neuralsynth design alto-sax --random 1000 -o sax/
    neuralsynth design filter-pluck --sweep cutoff_hz=200:8000:12 --sweep resonance=0:0.9:4 -o plucks/
    neuralsynth design --between bowed-flute bowed-horn --steps 24 -o way/
    neuralsynth design --around glass-pad --count 50 --spread 0.2 --unlike 0.9 -o pads/
    neuralsynth design --evolve pads/ --picks 3,7,12 -o pads-2/
    neuralsynth design --like knock.wav -o knock/
    """
    from neuralsynth.design.asking import Asked, asked_for, read_notes
    from neuralsynth.design.manifest import read_rows, require_parquet
    from neuralsynth.design.plan import Output
    from neuralsynth.design.selection import Selection, check_selection

    require_parquet()
    output = Output(
        notes=read_notes(notes), velocities=_velocities(velocities), hold_seconds=hold, seconds=seconds,
        sample_rate=sample_rate, channels=2 if stereo else 1, effects=effects, format=format_, depth=depth,
        loudness_lufs=loudness, fade_seconds=fade, describe=describe,
    )  # fmt: skip
    _check_depth(output)
    selection = Selection(where=where, unlike_db=unlike, like=like, sort=sort, varied=varied, most=most)
    asked = Asked(
        presets=presets, random=random_, sweeps=sweeps, latin=latin, between=between or None, steps=steps,
        around=around, evolve=evolve, picks=_names(picks), count=count, spread=spread, like=like, vary=vary,
        seed=seed, output=output,
    )  # fmt: skip
    work = asked_for(asked)
    check_selection(selection, work.planner.knobs, describe)
    report = _run(folder, work, workers, cluster, force)
    rows = read_rows(folder)
    if page and describe:
        _write_page(folder, rows, embed)
    _tell_of(folder, report, rows, selection, json_)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--names", metavar="A,B,...|FILE", default="",
              help="sounds by name or number, or a file with one on each line")  # fmt: skip
@_selection_options
@click.option("--to", type=click.Path(path_type=Path), metavar="FOLDER", help="copy the files there, numbered")
@click.option("--bank", type=click.Path(path_type=Path), metavar="FOLDER",
              help="write presets there, and a performance that brings them by program")  # fmt: skip
@click.option("--zip", "zip_", type=click.Path(path_type=Path), metavar="FILE.zip",
              help="write a zip for a drum sampler: a sound on each key from C2 up")  # fmt: skip
@click.option("--force", is_flag=True, help="replace an existing zip")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def pick(folder, names, where, unlike, varied, sort, like, most, to, bank, zip_, force, json_) -> None:
    """Choose sounds of a batch: by a condition, by variety, by likeness; and take them away.

    The steps follow each other in this order: --names, --where, --unlike, --varied, --sort, --like, --most.

    \b
    neuralsynth pick sax/ --where "brightness > 0.7 and decay < 0.5" --unlike 0.9 --varied 16 --bank sax-bank/
    neuralsynth pick sax/ --like knock.wav --most 8 --to nearest/
    neuralsynth pick sax/ --names favourites.txt --zip kit.zip
    """
    from neuralsynth.design.manifest import read_batch
    from neuralsynth.design.selection import Selection, select
    from neuralsynth.design.takeaway import copied_to, work_of, write_bank, write_zip

    if zip_ is not None:
        require_new(zip_, force)
    selection = Selection(_names(names), where, unlike, like, sort, varied, most)
    rows = select(read_batch(folder), selection)
    written = [str(path) for path in copied_to(folder, rows, to)] if to is not None else []
    if bank is not None:
        written += [str(path) for path in write_bank(work_of(folder), rows, bank)]
    if zip_ is not None:
        write_zip(folder, rows, zip_)
        written.append(str(zip_))
    if json_:
        as_json({"picked": [_told(row) for row in rows], "written": written})
        return
    _print_rows(rows)
    click.echo(f"{len(rows)} sounds picked" + (f", {len(written)} files written" if written else ""))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.argument("sound", metavar="NUMBER|NAME")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True,
              help=".wav or .flac to render it again, .toml to make a preset of it")  # fmt: skip
@click.option("--force", is_flag=True, help="replace an existing file")
def again(folder, sound, output, force) -> None:
    """Render a sound of a batch again, or turn it into a preset to play.

    \b
    neuralsynth again sax/ 217 -o favourite.wav
    neuralsynth again sax/ 217 -o favourite.toml
    """
    from neuralsynth.design.manifest import read_batch
    from neuralsynth.design.selection import Selection, select
    from neuralsynth.design.takeaway import preset_of, sound_again, work_of
    from neuralsynth.preset import save_with_model

    require_new(output, force)
    [row] = select(read_batch(folder), Selection(names=(sound,)))
    work = work_of(folder)
    if output.suffix == ".toml":
        copies = save_with_model(preset_of(work, row), output)
        click.echo(f"{output}: the preset of {row['name']}" + "".join(f", {copy} beside it" for copy in copies))
        return
    is_same = sound_again(work, row, output)
    click.echo(f"{output}: {row['name']}, {'the same to the last bit' if is_same else 'NOT the same samples'}")
    if not is_same:
        raise PartlyFailed(f"{folder}: {row['name']} is rendered differently here than when the batch was made")


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--chain", required=True, metavar="CHAIN.toml|PRESET", help="a file of [[effects]], or a preset's chain")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), required=True, help="folder of the batch")
@_output_options
@_page_options
@_run_options
def process(
    source, chain, folder, format_, depth, stereo, loudness, fade, describe, page, embed, workers, cluster, force, json_
) -> None:
    """Put existing recordings through an effect chain, tails included; with a manifest, and resumable.

    \b
    neuralsynth process recordings/ --chain my-chain.toml -o wet/
    neuralsynth process recordings/ --chain cathedral-choir --stereo --loudness -18 -o wet/
    """
    from neuralsynth.design.chains import chain_work
    from neuralsynth.design.manifest import read_rows, require_parquet
    from neuralsynth.design.plan import Output
    from neuralsynth.design.selection import Selection

    require_parquet()
    output = Output(
        channels=2 if stereo else 1, format=format_, depth=depth, loudness_lufs=loudness, fade_seconds=fade,
        describe=describe,
    )  # fmt: skip
    _check_depth(output)
    if source.resolve() == folder.resolve():
        raise UsageError(f"{folder}: is the folder of the recordings; name another one")
    work, left_out = chain_work(source, chain, output)
    warn(left_out)
    report = _run(folder, work, workers, cluster, force)
    rows = read_rows(folder)
    if page and describe:
        _write_page(folder, rows, embed)
    _tell_of(folder, report, rows, Selection(), json_)


def _write_page(folder: Path, rows: list[dict[str, Any]], embed: bool) -> None:
    """The page of a batch, where it is not there yet or older than the manifest."""
    from neuralsynth.design.descriptors import DESCRIPTORS
    from neuralsynth.design.layout import map_2d
    from neuralsynth.design.manifest import JSONL, fingerprints
    from neuralsynth.design.page import write_page

    page, manifest = folder / "index.html", folder / JSONL
    if not rows or (page.exists() and not embed and page.stat().st_mtime >= manifest.stat().st_mtime):
        return
    told = [(one.name, one.unit, one.says) for one in DESCRIPTORS]
    told += [(one.position.name, "", f"{one.name} from 0 to 1") for one in DESCRIPTORS if one.position]
    write_page(folder, rows, map_2d(fingerprints(rows)), folder.resolve().name, told, embed=embed)


def _run(folder: Path, work: Work, workers: int | None, cluster: str | None, force: bool) -> BatchReport:
    from neuralsynth.design.batch import run_batch

    n_workers = min(workers or os.cpu_count() or 1, len(work))
    with progress_bar(f"{folder}", "sounds") as progress:
        return run_batch(folder, work, n_workers, cluster, force, progress)


def _tell_of(folder: Path, report: BatchReport, rows: list[dict[str, Any]], selection: Selection, json_: bool) -> None:
    from neuralsynth.design.selection import select

    picked = select(rows, selection)
    warn([f"{index}: {why}" for index, why in sorted(report.failed.items())][:MOST_TOLD])
    if json_:
        as_json({"folder": str(folder), "sounds": report.n_items, "made": report.made, "kept": report.kept,
                 "failed": {str(i): why for i, why in report.failed.items()},
                 "picked": [_told(row) for row in picked] if not selection.is_empty else None})  # fmt: skip
    else:
        if not selection.is_empty:
            _print_rows(picked)
        kept = f", {report.kept} were there" if report.kept else ""
        click.echo(f"{folder}: {report.made} sounds made{kept}; {folder / 'manifest.jsonl'} tells of them")
    if report.failed:
        raise PartlyFailed(f"{len(report.failed)} of {report.n_items} sounds could not be made")


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "fingerprint"}


def _print_rows(rows: list[dict[str, Any]]) -> None:
    columns = ("index", "name", "brightness", "noisiness", "attack_seconds", "decay_seconds", "loudness_lufs")
    shown = [c for c in (*columns, "distance_db") if any(c in row for row in rows)]
    if rows:
        table(shown, [[row.get(c) for c in shown] for row in rows[:MOST_TOLD]])
    if len(rows) > MOST_TOLD:
        click.echo(f"... and {len(rows) - MOST_TOLD} more")


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them, or those in a file."""
    path = Path(text)
    try:
        if text and path.is_file():
            return tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise UsageError(f"{text[:60]}: cannot be read ({error})") from error
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _velocities(text: str) -> tuple[int, ...]:
    try:
        velocities = tuple(int(part) for part in text.split(","))
    except ValueError:
        velocities = ()
    if not velocities or not all(1 <= velocity <= 127 for velocity in velocities):
        raise UsageError(f"velocities {text[:40]!r} are none; use numbers from 1 to 127 with commas between them")
    return velocities


def _check_depth(output: Output) -> None:
    from neuralsynth.audiofile import subtype_for

    subtype_for(Path(f"sound.{output.format}"), output.depth)
