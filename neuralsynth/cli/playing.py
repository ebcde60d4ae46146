"""`neuralsynth render` and `neuralsynth play`."""

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


@click.command()
@click.option(
    "-p",
    "--preset",
    "presets",
    multiple=True,
    metavar="PRESET",
    help="preset name, .toml or .onnx file; several make a set list: keys and program changes go through it"
    "  [default: upright-piano]",
)
@click.option(
    "--bank", metavar="NAME|FILE", help="a performance such as general-midi, or a file (.toml), instead of -p: presets "
    "by channel, bank and program",
)  # fmt: skip
@click.option(
    "--channel",
    "channels",
    type=ChannelPreset(),
    multiple=True,
    metavar="N=PRESET",
    help="another preset for MIDI channel N (1 to 16), whatever program changes say; may be given several times",
)
@click.option(
    "--midi",
    default="auto",
    show_default=True,
    metavar="PORT",
    help="MIDI input: all or part of a port's name; all; jack for a port of the JACK client; virtual for a port that "
    "other programs connect to; none. auto is jack with a JACK server, else all",
)
@click.option(
    "--audio",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="audio output: all or part of a device's name; jack; none for no sound. auto is JACK if its server runs, "
    "else the default device",
)
@click.option("--block", "block_size", type=Number(16, 4096, "samples", whole=True), default=128, show_default=True,
              help="samples computed at a time; a JACK server has its own")  # fmt: skip
@click.option("--sample-rate", type=Number(8000, 192_000, "Hz", whole=True), help="[default: the device's own]")
@click.option("--connect/--no-connect", default=True, show_default=True,
              help="connect the JACK ports to the speakers and to every MIDI keyboard")  # fmt: skip
@click.option("--record", type=click.Path(path_type=Path), metavar="TAKE.wav",
              help="record from the first message on; the MIDI goes into TAKE.mid")  # fmt: skip
@click.option("--map", "map_", type=click.Path(path_type=Path), metavar="FILE", help="controller map (.toml)")
@click.option("--gain", "gain_db", type=Number(-60, 24, "dB"), default=0.0, show_default=True, metavar="DB",
              help="level of the mix")  # fmt: skip
@click.option("--seconds", type=Number(0.1, 1e6, "s"), help="end after so long")
@click.option("--plain", is_flag=True, help="print a line every few seconds instead of drawing")
@click.option("--force", is_flag=True, help="replace an existing take")
@click.option("--json", "json_", is_flag=True, help="report as JSON at the end")
def play(
    presets, bank, channels, midi, audio, block_size, sample_rate, connect, record, map_, gain_db, seconds, plain,
    force, json_,
) -> None:  # fmt: skip
    """Play live: MIDI keyboard in, sound out. The computer's keyboard plays too.

    \b
    neuralsynth play                                     what is connected, on the piano
    neuralsynth play -p alto-sax -p cello --midi nano    a set list, on the port whose name holds "nano"
    neuralsynth play --bank general-midi --record take.wav
    neuralsynth play --midi jack --audio jack            as a JACK client (PipeWire: pw-jack neuralsynth play ...)
    """
    from neuralsynth.live.devices import jack_is_running
    from neuralsynth.live.messages import DeviceChoice
    from neuralsynth.live.play import play as run
    from neuralsynth.live.session import Choice
    from neuralsynth.midi.learn import load_map

    _check_take(record, force)
    native = midi == "jack" or (midi == "auto" and audio in {"auto", "jack"} and jack_is_running())
    device = DeviceChoice(audio, sample_rate or 0, block_size, native, connect)
    choice = Choice(
        presets=() if bank else presets or ("upright-piano",),
        bank=bank,
        channels=dict(channels),
        controls=load_map(map_) if map_ else None,
        gain_db=gain_db,
        midi="jack" if native else {"auto": "all", "virtual": "none"}.get(midi, midi),
        virtual_port=midi == "virtual",
        device=device,
    )
    if bank and presets:
        raise click.UsageError("--bank says itself which presets there are; use -p or --bank")
    tell = (lambda text: click.echo(text, err=True)) if json_ else click.echo
    report = run(
        choice,
        take=record,
        takes_from=record or Path("take.wav"),
        seconds=seconds,
        plain=plain or json_,
        tell=tell,
        loading=lambda: progress_bar("loading presets", "sounds"),
    )
    if json_:
        as_json(report.to_json())
        return
    under_runs = f"{report.under_runs} under-runs, {report.late_blocks} late blocks"
    click.echo(
        f"{report.device}: {report.seconds:.0f} s, {report.events} messages, {under_runs}, load "
        f"{100 * report.median_load:.0f} %, 999 of 1,000 blocks within {100 * report.load_p999:.0f} %"
    )


def _check_take(record: Path | None, force: bool) -> None:
    """Refuse before anything sounds what could not be written at the end."""
    from neuralsynth.cli.parts import require_new
    from neuralsynth.errors import OutputError, UsageError

    if record is None:
        return
    if record.suffix.lower() != ".wav":
        raise UsageError(f"{record}: a take is a .wav file")
    for path in (record, record.with_suffix(".mid")):
        if not path.parent.is_dir():
            raise OutputError(f"{path}: its folder does not exist; make it first")
        require_new(path, force)
