"""`neuralsynth sfz`."""

from __future__ import annotations

from pathlib import Path

import click

from neuralsynth.cli.parts import Number, as_json, progress_bar, warn


@click.command()
@click.argument("preset", metavar="PRESET")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="folder for the .sfz and its samples")  # fmt: skip
@click.option("--every", type=Number(1, 24, "semitones", whole=True), default=3, show_default=True, metavar="N",
              help="semitones from sample to sample")  # fmt: skip
@click.option("--layers", type=Number(1, 16, whole=True), metavar="N",
              help="velocity layers  [default: 3, or 1 where a firmer touch is only louder]")  # fmt: skip
@click.option("--seconds", type=Number(2, 60, "s"), default=10.0, show_default=True, metavar="S",
              help="longest sample; what rings on is faded out")  # fmt: skip
@click.option("--effects/--no-effects", default=False, show_default=True,
              help="record the preset's effects too, echoes and reverb included")  # fmt: skip
@click.option("--format", "file_format", type=click.Choice(["wav", "flac"]), default="wav", show_default=True)
@click.option("--depth", type=click.Choice(["16", "24"]), default="24", show_default=True, help="bits per sample")
@click.option("--sample-rate", type=Number(8000, 192_000, "Hz", whole=True), default=44_100, show_default=True)
@click.option("--force", is_flag=True, help="write into a folder that holds something already")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def sfz(preset, folder, every, layers, seconds, effects, file_format, depth, sample_rate, force, json_) -> None:
    """Export a preset as an SFZ multisample, which any sampler plays: mapped over keys and velocities, looped.

    docs/sfz.md says what comes along and what does not.

    \b
    neuralsynth sfz alto-sax -o alto-sax-sfz
    neuralsynth sfz upright-piano -o piano --every 2 --layers 5 --seconds 20 --format flac
    """
    from neuralsynth.design.multisample import SfzOptions, check_folder, export_multisample

    check_folder(folder, force)
    options = SfzOptions(every, layers, seconds, effects, file_format, depth, sample_rate)
    with progress_bar(f"sampling {Path(preset).name}", "notes") as progress:
        report = export_multisample(preset, folder, options, force, progress)
    warn(report.warnings)
    if json_:
        as_json(report.to_json())
        return
    from neuralsynth.units import note_name

    keys = f"{note_name(report.keys[0])} to {note_name(report.keys[1])}"
    click.echo(
        f"{report.output}: {keys}, {report.layers} velocity layers, {report.samples} samples ({report.looped} looped), "
        f"{report.megabytes:.1f} MB"
    )
