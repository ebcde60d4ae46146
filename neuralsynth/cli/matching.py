"""`neuralsynth match`: from one recorded sound to a preset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neuralsynth.cli.parts import Number, as_json, progress_bar, require_new, table, warn
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.units import note_name

if TYPE_CHECKING:
    from neuralsynth.matching import Heard, Match


@click.command()
@click.argument("sound", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="preset to write (.toml)")
@click.option("-p", "--preset", metavar="MODEL.onnx|PRESET", help="whose model is used  [default: the closest shipped]")
@click.option("--note", type=Number(0, 127, whole=True), help="MIDI note of the recording  [default: heard]")
@click.option("--velocity", type=Number(1, 127, whole=True), help="MIDI velocity that plays it  [default: searched]")
@click.option("--force", is_flag=True, help="replace an existing preset")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def match(
    sound: Path, output: Path, preset: str | None, note: int | None, velocity: int | None, force: bool, json_: bool
) -> None:
    """Make a preset that sounds like a recording of one note, or of a phrase that holds a steady note.

    Numbers are distances in dB, smaller is closer; no preset can come closer than the floor.

    \b
    neuralsynth match flute.wav -o my-flute.toml
    neuralsynth match hum.wav -o hum.toml -p choir-voice --note 57
    """
    if output.suffix != ".toml":
        raise UsageError(f"{output}: unknown ending {output.suffix!r}; use .toml")
    require_new(output, force)
    if not output.parent.is_dir():
        raise OutputError(f"{output}: cannot be written (there is no folder {output.parent})")
    from neuralsynth.matching import base_preset, hear, match_all, save_match, shipped_bases

    bases = [base_preset(preset)] if preset else shipped_bases()
    heard = hear(sound, note)
    with progress_bar("matching", "instruments") as progress:
        found = match_all(heard, bases, velocity, progress)
    copies = save_match(found[0], output)
    if json_:
        place = heard.place
        where = {"start_seconds": round(place.start_seconds, 3), "end_seconds": round(place.end_seconds, 3)}
        files = {"preset": str(output), "copied": [str(copy) for copy in copies]}
        as_json({"sound": str(sound), **where, "notes_heard": place.n_notes, **files, **found[0].to_json(),
                 "tried": [one.to_json() for one in found]})  # fmt: skip
        return
    _tell(heard, found, output, copies)


def _tell(heard: Heard, found: list[Match], output: Path, copies: list[Path]) -> None:
    best, place = found[0], heard.place
    several = f", one of {place.n_notes} notes heard, from {place.start_seconds:.2f} to {place.end_seconds:.2f} s"
    click.echo(
        f"{heard.path}: note {best.note} ({note_name(best.note)}) {best.tuning_cents:+.0f} cents"
        f"{several if place.n_notes > 1 else ''}"
    )
    rows = [
        [one.instrument, one.floor_db, one.match_db, one.nearest_db, one.nearest_point, one.velocity] for one in found
    ]
    table(["instrument", "floor", "match", "nearest point", "which", "velocity"], rows)
    character, detail = best.latent[: best.character_size], best.latent[best.character_size :]
    extra = f", and {len(detail)} numbers of detail" if any(detail) else ""
    click.echo(f"latent {', '.join(f'{x:.2f}' for x in character)}{extra}")
    warn(best.remarks)
    beside = f", with {' and '.join(copy.name for copy in copies)} copied beside it" if copies else ""
    click.echo(
        f"{output}: plays {best.instrument}{beside}; play note {best.note} at velocity {best.velocity} to compare"
    )
    click.echo(f"try it: neuralsynth render SONG.mid -o out.wav -p {output}")
