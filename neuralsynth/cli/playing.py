"""`neuralsynth render`."""

from __future__ import annotations

from pathlib import Path

import click

from neuralsynth.cli.parts import ChannelPreset, Number, as_json, progress_bar, warn


@click.command()
@click.argument("song", type=click.Path(path_type=Path), metavar="SONG.mid")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="audio file: .wav or .flac")
@click.option(
    "-p",
    "--preset",
    metavar="PRESET",
    help="preset name, .toml or .onnx file for all channels, whatever programs the song asks for"
    "  [default: upright-piano]",
)
@click.option(
    "--channel",
    "channels",
    type=ChannelPreset(),
    multiple=True,
    metavar="N=PRESET",
    help="another preset for MIDI channel N (1 to 16), whose program changes are then ignored; "
    "may be given several times",
)
@click.option(
    "--bank",
    metavar="NAME|FILE",
    help="follow the song's program changes and bank selects: a performance such as general-midi, or a file "
    "(.toml) that says what channels start with and what programs bring; instead of -p",
)
@click.option(
    "--map",
    "map_",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="controller map (.toml): which controllers of the song turn which knobs",
)
@click.option(
    "--gain",
    "gain_db",
    type=Number(-60, 24, "dB"),
    metavar="DB",
    help="level of the mix  [default: 0 dB for one channel, 10 log10(N) lower for N channels]",
)
@click.option("--sample-rate", type=Number(8000, 192_000, "Hz", whole=True), default=48_000, show_default=True)
@click.option(
    "--depth", type=click.Choice(["16", "24", "32f"]), default="24", show_default=True, help="bits per sample"
)
@click.option("--picture", type=click.Path(path_type=Path), help="also write a spectrogram picture (.png)")
@click.option("--stems", type=click.Path(path_type=Path), help="also write each channel to a file in this folder")
@click.option("--force", is_flag=True, help="replace existing files")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def render(
    song, output, preset, channels, bank, map_, gain_db, sample_rate, depth, picture, stems, force, json_
) -> None:
    """Render a MIDI file through an instrument and its effects to an audio file.

    \b
    neuralsynth render song.mid -o song.wav -p cello
    neuralsynth render band.mid -o band.flac -p upright-piano --channel 2=alto-sax --channel 3=cello
    neuralsynth render band.mid -o band.flac --bank general-midi --channel 10=my-kit.toml --stems band/
    neuralsynth render song.mid -o song.wav -p cello --map my-knobs.toml
    """
    from neuralsynth.cli.parts import require_new
    from neuralsynth.hosts.cast import DEFAULT_PRESET
    from neuralsynth.hosts.picture import check_picture_name
    from neuralsynth.hosts.render import render_file, render_stems

    if picture is not None:
        check_picture_name(picture)
        require_new(picture, force)
    options = {"preset": preset, "channels": dict(channels), "programs": bank, "controls": map_, "gain_db": gain_db}
    options |= {"sample_rate": sample_rate, "depth": depth, "overwrite": force}
    with progress_bar(f"rendering {song.name}", "s") as progress:
        report = render_file(song, output, progress=progress, **options)
    if stems is not None:
        render_stems(song, stems, **options)
    if picture is not None:
        _draw(output, picture, f"{song.name} with {preset or bank or DEFAULT_PRESET}")
    warn(report.warnings)
    if json_:
        as_json(report.to_json())
        return
    click.echo(
        f"{output}: {report.seconds:.1f} s, peak {report.peak_db:.1f} dBFS, {report.notes} notes, "
        f"{report.times_real_time:.0f} x real time"
    )
    if picture is not None:
        click.echo(f"{picture}: spectrogram")


def _draw(audio_path: Path, picture: Path, title: str) -> None:
    from neuralsynth.audiofile import read_audio
    from neuralsynth.hosts.picture import save_spectrogram

    audio, sample_rate = read_audio(audio_path, max_seconds=6 * 3600)
    save_spectrogram(picture, audio, sample_rate, title)
