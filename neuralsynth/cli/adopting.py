"""`neuralsynth adopt`: somebody else's generator becomes an instrument."""

from __future__ import annotations

from pathlib import Path

import click

from neuralsynth.cli.parts import as_json, require_new
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.units import note_name


@click.command()
@click.argument("model", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), required=True, help="what it takes (.toml)")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="instrument file to make (.onnx)")
@click.option("--force", is_flag=True, help="replace an existing instrument file")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def adopt(model: Path, spec_path: Path, output: Path, force: bool, json_: bool) -> None:
    """Make an instrument of any generator of single sounds in ONNX, such as a WaveGAN.

    SPEC.toml says which inputs are latent, note and velocity, and which output is the audio (docs/adopt.md has a
    complete one). The graph is kept as it is. A generator that takes no note is moved over the keyboard from the key
    at which it sounds; one that takes no velocity is played softer and louder.

    \b
    neuralsynth adopt wavegan.onnx --spec wavegan.toml -o laser.onnx
    neuralsynth play -p laser.onnx
    """
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: unknown ending {output.suffix!r}; use .onnx")
    if output.exists() and model.exists() and output.samefile(model):
        raise UsageError(f"{output}: is the generator itself; give the instrument another name")
    require_new(output, force)
    if not output.parent.is_dir():
        raise OutputError(f"{output}: cannot be written (there is no folder {output.parent})")
    from neuralsynth.adoption import adopt as make

    made = make(model, spec_path, output)
    spec = made.spec
    how = spec.waveform
    assert how is not None  # an adopted instrument has one
    if json_:
        facts = {"takes_note": how.takes_note, "takes_velocity": how.takes_velocity, "is_pitched": how.is_pitched}
        as_json({"model": str(output), **facts, "sounds_at": how.sounds_at, "points": list(spec.points)})
        return
    heard = "a pitched sound" if how.is_pitched else "a sound without pitch"
    where = (
        "follows the note" if how.takes_note else f"as it is at {how.sounds_at:g} ({note_name(round(how.sounds_at))})"
    )
    touch = "follows the velocity" if how.takes_velocity else "velocity is a gain"
    click.echo(f"{output}: {heard}, {where}; {touch}; {len(spec.points)} points: {', '.join(list(spec.points)[:8])}")
    click.echo(f"try it: neuralsynth render SONG.mid -o out.wav -p {output}")
