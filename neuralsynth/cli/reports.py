"""Commands that tell: `presets`, `info`, `score`, `bench`."""

from __future__ import annotations

import math
from pathlib import Path

import click
import msgspec

from neuralsynth.cli.parts import Number, as_json, progress_bar, require_new, table, warn
from neuralsynth.errors import NeuralSynthError, PartlyFailed, UsageError
from neuralsynth.units import note_name

MOST_POINTS_IN_A_LINE = 12


@click.command()
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def presets(json_: bool) -> None:
    """List the presets that are here, and the banks for `render --bank`.

    \b
    neuralsynth presets
    """
    from neuralsynth.performance import load_performance, shipped_performances
    from neuralsynth.preset import PERFORMANCE_SUFFIX, load_preset, shipped_presets

    rows, broken = [], []
    for path in shipped_presets():
        try:
            preset = load_preset(path)
        except NeuralSynthError as error:
            broken.append(str(error))
            continue
        rows.append(
            {
                "preset": path.stem,
                "name": preset.name,
                "says": preset.says,
                "tags": list(preset.tags),
                "path": str(path),
            }
        )
    banks = []
    for path in shipped_performances():
        try:
            performance = load_performance(path)
        except NeuralSynthError as error:
            broken.append(str(error))
            continue
        name = path.name.removesuffix(PERFORMANCE_SUFFIX)
        banks.append({"bank": name, "name": performance.name, "says": performance.says, "path": str(path)})
    warn(broken)
    if json_:
        as_json({"presets": rows, "banks": banks})
    else:
        for kind, found in (("preset", rows), ("bank", banks)):
            if found:
                table([kind, "what it is"], [[row[kind], row["says"]] for row in found])
    if broken:
        raise PartlyFailed(f"{len(broken)} of {len(broken) + len(rows) + len(banks)} presets and banks cannot be read")


@click.command()
@click.argument("what", metavar="PRESET|MODEL.onnx")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def info(what: str, json_: bool) -> None:
    """Tell what a preset or an instrument file promises: range, layers, axes, effects, quality, licence.

    \b
    neuralsynth info cello
    """
    from neuralsynth.instrument import Instrument

    instrument = Instrument.load(what)
    spec, preset = instrument.model.spec, instrument.preset
    if json_:
        document = {
            "path": str(instrument.path),
            "digest": instrument.model.digest,
            "preset": msgspec.to_builtins(preset, enc_hook=str),
            "model": msgspec.to_builtins(spec),
        }
        document["model"].pop("frame_seconds")
        document["model"].pop("band_edges_hz")
        if document["model"]["quality"]:
            document["model"]["quality"] = {
                name: value if math.isfinite(value) else None for name, value in document["model"]["quality"].items()
            }
        as_json(document)
        return
    click.echo(f"{preset.name}: {preset.says}" if preset.says else preset.name)
    for label, value in _facts(instrument):
        click.echo(f"  {label:<13}{value}")


def _facts(instrument) -> list[tuple[str, str]]:
    from neuralsynth.spec import latent_size

    spec, preset = instrument.spec, instrument.preset  # of a model of several, the point that is played
    grid = spec.grid()
    layers = f"{spec.velocity_low} to {spec.velocity_high}" if spec.velocity_high > spec.velocity_low else "one layer"
    length = f"{grid.n_frames} frames over {grid.frame_seconds[-1]:.1f} s"
    spectrum = f"{length}, {grid.n_partials} partials, {grid.n_bands} noise bands"
    region = spec.sustain
    sustain = f"{region.start_seconds:.2f} to {region.end_seconds:.2f} s" if region else "none, the sound decays"
    facts = [
        ("file", str(instrument.path)),
        *(("layer", _layer(layer, zone)) for layer, zone in instrument.zones if preset.layers),
        ("model", f"{instrument.model.path.name}, {spec.family}, {spec.kind}, {latent_size(spec)}"),
        ("range", f"{note_name(spec.note_low)} to {note_name(spec.note_high)} ({spec.note_low} to {spec.note_high})"),
        *_waveform(spec),
        ("velocities", layers),
        ("spectrum", spectrum),
        ("sustain", sustain),
        *_points(spec),
    ]
    facts += [
        (name, f"axis, {axis.low_value:.4g} to {axis.high_value:.4g} {axis.unit}  {axis.says}")
        for name, axis in spec.axes.items()
    ]
    if spec.prior:
        share = spec.prior.plausibility(instrument.latent[: spec.character_size])
        facts.append(("prior", f"this place is likelier than {share:.0%} of its draws (design --random)"))
    facts.append(("effects", ", ".join(e.type for e in preset.effects) or "none"))
    if spec.quality:
        q = spec.quality
        distances = f"play {q.play_db:.2f}, sampler {q.sampler_db:.2f}, floor {q.floor_db:.2f} dB"
        facts.append(("quality", f"{distances} on {q.n_recordings} recordings left out of training"))
    facts += [("licence", spec.licence), ("origin", spec.origin)]
    return facts


def _waveform(spec) -> list[tuple[str, str]]:
    """How the audio of an adopted instrument is heard; nothing for others."""
    how = spec.waveform
    if how is None:
        return []
    note = "follows the note" if how.takes_note else f"as it is at {how.sounds_at:g}, moved to the other keys"
    heard = "as a note" if how.is_pitched else "as a hit"
    return [
        ("audio", f"{note}; {'follows the velocity' if how.takes_velocity else 'velocity is a gain'}; heard {heard}")
    ]


def _points(spec) -> list[tuple[str, str]]:
    """A model's points, with their ranges where they have their own; many numbered ones in a line for each stem."""
    if len(spec.points) <= MOST_POINTS_IN_A_LINE:
        return [("points", ", ".join(_point(spec, point) for point in spec.points))]
    lines: dict[str, str] = {}
    for name in sorted(spec.points):
        stem, dash, number = name.rpartition("-")
        numbered = bool(dash) and number.isdigit()
        key = stem if numbered else name
        lines[key] = f"{lines[key]}, {number}" if numbered and key in lines else name
    head = f"{len(spec.points)}, the default is {spec.default_point}"
    return [("points", head), *(("", line) for line in lines.values())]


def _point(spec, point: str) -> str:
    own = spec.traits.get(point)
    return point if own is None else f"{point} ({own.note_low} to {own.note_high})"


def _layer(layer, zone) -> str:
    keys = f"keys {layer.key_low} to {layer.key_high}, velocities {layer.velocity_low} to {layer.velocity_high}"
    return f"{zone.name}{f' ({layer.point})' if layer.point else ''}, {keys}"


@click.command()
@click.argument("model", metavar="MODEL.onnx|PRESET")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--neighbours", type=click.Path(path_type=Path), help="recordings the sampler may use, if not in FOLDER")
@click.option("--most", type=Number(1, 100_000, whole=True), help="score at most so many, spread over FOLDER")
@click.option("--html", type=click.Path(path_type=Path), help="also write a page to look at and listen to")
@click.option("--force", is_flag=True, help="replace an existing page")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def score(
    model: str, folder: Path, neighbours: Path | None, most: int | None, html: Path | None, force: bool, json_: bool
) -> None:
    """Measure how close an instrument comes to recordings, beside a sampler and other baselines.

    Recordings the model was trained on are recognised; if FOLDER holds others, only those are scored. Numbers
    are distances in dB, smaller is closer; below them stands a second opinion by measures that training never
    saw (docs/quality.md). --html writes one self-contained page with players and spectrograms.

    \b
    neuralsynth score cello.onnx recordings/cello
    neuralsynth score cello.onnx recordings/cello --html cello.html
    """
    if html is not None:
        _check_page(html, force)
    from neuralsynth.hosts.report_page import write_report
    from neuralsynth.hosts.report_sounds import Gallery
    from neuralsynth.instrument import Instrument
    from neuralsynth.scoring import score as measure

    instrument = Instrument.load(model)
    gallery = Gallery() if html is not None else None
    with progress_bar(f"scoring {instrument.name}", "steps") as progress:
        result = measure(instrument, folder, neighbours, progress, most, gallery)
    size = write_report(html, instrument, result, gallery) if html is not None and gallery is not None else 0
    if json_:
        as_json(result.to_json())
        return
    _print_score(result)
    if html is not None:
        click.echo(f"{html}: {size / 1e6:.1f} MB")


def _check_page(html: Path, force: bool) -> None:
    """Refuse before minutes of work what could not be written after them."""
    if html.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{html}: unknown ending {html.suffix!r}; use .html")
    if not html.parent.is_dir():
        raise UsageError(f"{html}: its folder does not exist; make {html.parent} first")
    require_new(html, force)


def _print_score(result) -> None:
    columns = ("floor_db", "reconstruct_db", "play_db", "sampler_db", "interpolated_db")
    rows = [[r.path, note_name(r.note), r.velocity, *(getattr(r, c) for c in columns)] for r in result.recordings]
    mean, ratio = result.quality(), result.play_over_sampler
    rows.append(["mean", "", None, *(getattr(mean, c) for c in columns)])
    table(["recording", "note", "velocity", *(c[:-3] for c in columns)], rows)
    _print_second_opinion(result.second_opinions())
    seen = "never seen in training" if result.held_out else "all of them seen in training"
    told = f"play / sampler {ratio:.2f}" if math.isfinite(ratio) else "there is no sampler to compare with"
    click.echo(f"{len(result.recordings)} recordings, {seen}; {told}")
    warn(result.skipped)


def _print_second_opinion(means) -> None:
    """What measures say that training never saw, or how to hear them."""
    if not means:
        warn(["no second opinion: it needs librosa: pip install 'neuralsynth[train]'"])
        return
    rows = [[name, m.constant_q_db, m.centroid_semitones, m.envelope_db] for name, m in means.items()]
    click.echo()
    table(["second opinion, means", "constant-Q dB", "centroid semitones", "envelope dB"], rows)


@click.command()
@click.option("-p", "--preset", default="upright-piano", show_default=True, help="whose model is decoded")
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def bench(preset: str, json_: bool) -> None:
    """Measure how fast this machine plays: voices per core, effects, decoding, beside libfluidsynth if installed.

    \b
    neuralsynth bench
    """
    from neuralsynth.hosts.bench import bench as measure
    from neuralsynth.instrument import Instrument

    report = measure(Instrument.load(preset))
    if json_:
        as_json(report.to_json())
        return
    period_us = 1e6 * report.block_size / report.sample_rate
    click.echo(
        f"{report.voices} voices x {report.partials} partials, {report.sample_rate} Hz, blocks of {report.block_size}: "
        f"{report.block_us:.0f} us of {period_us:.0f} us, {report.voices_per_core:.0f} voices per core"
    )
    if report.ratio_to_fluidsynth is None:
        click.echo("libfluidsynth: not installed (Debian: apt install libfluidsynth3 fluid-soundfont-gm)")
    else:
        click.echo(
            f"libfluidsynth, same run: {report.fluidsynth_voices_per_core:.0f} voices per core; "
            f"ratio {report.ratio_to_fluidsynth:.2f}"
        )
    click.echo(
        f"with both LFOs, filter and routes in use: {report.modulated_block_us:.0f} us, "
        f"{report.modulation_ratio:.2f} times as long"
    )
    click.echo(f"six effects: {report.six_effects_us:.0f} us per block")
    click.echo(
        f"decoding {report.model}: one note {report.decode_one_note_ms:.2f} ms, 128 notes "
        f"{report.decode_128_notes_ms:.0f} ms (times {report.bank_layers} velocity layers for the whole bank)"
    )
