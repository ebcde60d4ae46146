"""`write_report`: a score as one web page that needs nothing else: figures, notes to listen to, range, axes, training.

The page loads nothing: pictures and sounds are in it, and its content security policy lets it fetch nothing and run
no script but its own. Names come from files and are escaped wherever they appear. The same input gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from neuralsynth import __version__
from neuralsynth.hosts.report_charts import range_and_dynamics
from neuralsynth.hosts.report_markup import bar, decibels, facts_list, listening_row, short_digest, text, version
from neuralsynth.hosts.report_second import second_opinion_section
from neuralsynth.hosts.report_sounds import (
    CLIP_SECONDS,
    AxisClips,
    Gallery,
    LevelCurve,
    NoteClips,
    axis_clips,
    level_curves,
)
from neuralsynth.instrument import Instrument
from neuralsynth.scoring import RecordingScore, Score
from neuralsynth.spec import InstrumentSpec, Provenance, Quality, latent_size
from neuralsynth.storage import whole_file
from neuralsynth.units import note_name

MAX_BYTES = 8_000_000
_LEAST_SECONDS = 0.5

#: What each distance is: its name, and what it means.
_DISTANCES = {
    "floor": "The recording's own analysis, played back: the best that this description of sound can do.",
    "reconstruct": "The model at the latent that fits the recording best: what it could say if it were asked well.",
    "play": "The model given only note and velocity: what a player hears.",
    "interpolated": "The nearest lower and upper recordings mixed in dB. A model should beat this.",
    "sampler": "The nearest other recording of the same layer, resampled to pitch: what a player would have otherwise.",
}


def write_report(path: Path | str, instrument: Instrument, score: Score, gallery: Gallery) -> int:
    """Write the page of a score; `gallery` has listened to it (`scoring.score(..., listen=gallery)`).

    Returns the size in bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    page = report_page(instrument, score, gallery).encode("utf-8", "backslashreplace")
    with whole_file(path) as part:
        part.write_bytes(page)
    return len(page)


def report_page(instrument: Instrument, score: Score, gallery: Gallery) -> str:
    """The page as text: its notes cut as short as `MAX_BYTES` wants, but not below half a second."""
    axes, curves = axis_clips(instrument, score), level_curves(instrument, score, gallery.levels_db)
    seconds = CLIP_SECONDS
    while True:
        page = _page(instrument, score, gallery.notes(seconds), axes, curves)
        share = MAX_BYTES / len(page.encode("utf-8", "backslashreplace"))
        if share >= 1.0 or seconds <= _LEAST_SECONDS:
            return page
        seconds = max(_LEAST_SECONDS, 0.98 * share * seconds)


def _page(
    instrument: Instrument,
    score: Score,
    notes: Sequence[NoteClips],
    axes: Sequence[AxisClips],
    curves: Sequence[LevelCurve],
) -> str:
    style, script = _resource("report.css"), _resource("report.js")
    script_digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_digest}'; base-uri 'none'; form-action 'none'"
    )
    spec = instrument.model.spec
    sections = (
        _figures(score),
        second_opinion_section(score.second_opinions()),
        _listening(notes),
        _table(score, notes),
        range_and_dynamics(spec, score, curves),
        _axes(instrument.spec, axes),
        _training(instrument),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(instrument.name)} · how close it comes</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{_header(instrument, score)}<main>\n{''.join(sections)}</main>\n"
        f"<footer>Made by neuralsynth {text(__version__)}: <code>neuralsynth score MODEL FOLDER --html PAGE</code>. "
        "Nothing on this page is loaded from elsewhere.</footer>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _header(instrument: Instrument, score: Score) -> str:
    spec = instrument.model.spec
    layers = f"velocities {spec.velocity_low} to {spec.velocity_high}"
    facts = {
        "Licence": spec.licence,
        "Origin": spec.origin,
        "Range": f"{note_name(spec.note_low)} to {note_name(spec.note_high)}, "
        + (layers if spec.velocity_high > spec.velocity_low else "one dynamic layer"),
        "File": f"{instrument.model.path.name}, SHA-256 {short_digest(instrument.model.digest)}",
    }
    says = f'<p class="says">{text(instrument.preset.says)}</p>\n' if instrument.preset.says else ""
    return (
        '<header class="top">\n<p class="eyebrow">neuralsynth instrument report</p>\n'
        f'<h1>{text(score.instrument)}</h1>\n{says}<p class="verdict">{_verdict(score)}</p>\n'
        f"{facts_list(facts)}</header>\n"
    )


def _verdict(score: Score) -> str:
    mean, count = score.quality(), len(score.recordings)
    one = count == 1
    what = "1 recording" if one else f"{count} recordings"
    seen = " that it never heard in training" if score.held_out else f", {'which' if one else 'all of which'} it knows"
    ratio = _ratio(mean)
    plays = f"it plays {'it' if one else 'them'} at <strong>{decibels(mean.play_db)} dB</strong>"
    told = f"Scored on <strong>{what}</strong>{seen}: {plays}"
    if not math.isfinite(ratio):
        return f"{told}. There was no other pitch for a sampler to use."
    side = f"{100 * abs(1 - ratio):.0f} % {'closer' if ratio <= 1 else 'farther'}"
    told += f", <strong>{side}</strong> than a sampler with the nearest recording ({decibels(mean.sampler_db)} dB)."
    return told if score.held_out else f"{told} Notes it was trained on show what it remembers, not what it can guess."


def _figures(score: Score) -> str:
    mean = score.quality()
    largest = max((v for v in (getattr(mean, f"{n}_db") for n in _DISTANCES) if math.isfinite(v)), default=1.0)
    cards = [
        f'<div class="card figure {name}"><div class="name"><span>{name}</span>'
        f'<span class="value" data-figure="{name}">{decibels(value)} <small>dB</small></span></div>'
        f"{bar(value, largest)}<p>{says}</p></div>\n"
        for name, says in _DISTANCES.items()
        for value in [getattr(mean, f"{name}_db")]
    ]
    cards.append(
        '<div class="card figure main"><div class="name"><span>play / sampler</span>'
        f'<span class="value {_side(mean)}" data-figure="play_over_sampler">{decibels(_ratio(mean))}</span></div>'
        "<p>Below 1 the instrument is closer to the recording than a sampler is. This is the figure to judge by.</p>"
        "</div>\n"
    )
    return (
        '<section id="figures">\n<h2>Distances</h2>\n<p class="soft">Means over the scored recordings, in dB of '
        "multi-resolution mel spectrograms. Smaller is closer; 0 is the recording itself. Level and tuning are matched "
        f'first.</p>\n<div class="figures">\n{"".join(cards)}</div>\n</section>\n'
    )


def _listening(notes: Sequence[NoteClips]) -> str:
    rows = "".join(_note_row(index, note) for index, note in enumerate(notes, 1))
    return (
        '<section id="listen">\n<h2>Listen</h2>\n<p class="soft">Notes spread over the range and its layers, at equal '
        "level and pitch. Keys <kbd>1</kbd> to <kbd>4</kbd> switch between the versions at the same position, "
        "<kbd>space</kbd> plays and pauses. Spectrograms: 40 Hz to 16 kHz upwards, 90 dB below the recording's loudest "
        f"moment to 0.</p>\n{rows}</section>\n"
    )


def _note_row(index: int, note: NoteClips) -> str:
    row = note.score
    values = {name: getattr(row, f"{name}_db") for name in ("floor", "play", "sampler")}
    figures = [
        version(
            clip, key, clip.label.capitalize(), f"{decibels(values[clip.label])} dB" if clip.label in values else ""
        )
        for key, clip in enumerate(note.clips, 1)
    ]
    title = f"{note_name(row.note)}, velocity {row.velocity}"
    return listening_row(f"note-{index}", title, row.path, note.seconds, figures, "versions")


def _table(score: Score, notes: Sequence[NoteClips]) -> str:
    columns = [f"{name}_db" for name in _DISTANCES]
    finite = [getattr(r, c) for r in score.recordings for c in columns if math.isfinite(getattr(r, c))]
    largest = max(finite, default=1.0)
    anchors = {id(note.score): f"note-{index}" for index, note in enumerate(notes, 1)}
    ordered = sorted(score.recordings, key=lambda r: (r.note, r.velocity, r.path))
    body = "".join(_table_row(row, anchors.get(id(row)), columns, largest) for row in ordered)
    mean = score.quality()
    cells = "".join(_table_cell(name, getattr(mean, f"{name}_db"), largest) for name in _DISTANCES)
    return (
        '<section id="notes">\n<h2>Every scored note</h2>\n<p class="soft">Bars share one scale. A linked note can be '
        'heard above.</p>\n<div class="card scroll"><table>\n<thead><tr><th>note</th><th class="number">velocity</th>'
        f"{''.join(f'<th>{name}</th>' for name in _DISTANCES)}"
        f'<th class="number">play / sampler</th></tr></thead>\n<tbody>\n{body}'
        f"</tbody>\n<tfoot><tr><th>mean</th><td></td>{cells}{_ratio_cell(mean)}</tr></tfoot>\n</table></div>\n"
        f"{_skipped(score.skipped)}</section>\n"
    )


def _table_row(row: RecordingScore, anchor: str | None, columns: Sequence[str], largest: float) -> str:
    name = f'<a href="#{anchor}">{note_name(row.note)}</a>' if anchor else note_name(row.note)
    cells = "".join(_table_cell(column[:-3], getattr(row, column), largest) for column in columns)
    return (
        f'<tr data-path="{text(row.path)}"><td><strong>{name}</strong><span class="file">{text(row.path)}</span></td>'
        f'<td class="number">{row.velocity}</td>{cells}{_ratio_cell(row)}</tr>\n'
    )


def _table_cell(name: str, value: float, largest: float) -> str:
    return f'<td class="db {name}"><b>{decibels(value)}</b>{bar(value, largest)}</td>'


def _ratio_cell(row: RecordingScore | Quality) -> str:
    return f'<td class="number {_side(row)}">{decibels(_ratio(row))}</td>'


def _skipped(skipped: Sequence[str]) -> str:
    if not skipped:
        return ""
    items = "".join(f"<li>{text(reason)}</li>" for reason in skipped)
    return f"<details><summary>{len(skipped)} could not be scored</summary><ul>{items}</ul></details>\n"


def _axes(spec: InstrumentSpec, axes: Sequence[AxisClips]) -> str:
    if not axes:
        return '<section id="axes">\n<h2>Axes</h2>\n<p class="soft">This model names none.</p>\n</section>\n'
    rows = []
    for index, clips in enumerate(axes, 1):
        axis = spec.axes[clips.name]
        values = [f"{value:.4g} {axis.unit}" if value is not None else "" for value in clips.measured]
        figures = [
            version(clip, key, f"at {clip.label}", value)
            for key, (clip, value) in enumerate(zip(clips.clips, values, strict=True), 1)
        ]
        told = f"{axis.says}; when it was made: {axis.low_value:.4g} to {axis.high_value:.4g} {axis.unit}"
        rows.append(listening_row(f"axis-{index}", clips.name, told, clips.seconds, figures, "versions three"))
    rest = len(spec.axes) - len(axes)
    more = f'<p class="hint">and {rest} more</p>\n' if rest > 0 else ""
    return (
        '<section id="axes">\n<h2>Axes</h2>\n<p class="soft">What each named direction does, from its low end at '
        "-1 to its high end at +1: its descriptor, the median over up to six scored pitches, and the middle pitch to "
        f"hear. Keys <kbd>1</kbd> to <kbd>3</kbd>.</p>\n{''.join(rows)}{more}</section>\n"
    )


def _training(instrument: Instrument) -> str:
    spec = instrument.model.spec
    facts = {"Model": f"{spec.family}, {spec.kind}, {latent_size(spec)}", "Points": ", ".join(spec.points)}
    facts |= _provenance(spec.provenance) if spec.provenance else {"Provenance": "not told by the file"}
    if spec.quality:
        q = spec.quality
        facts["Figures it ships with"] = (
            f"play {decibels(q.play_db)}, sampler {decibels(q.sampler_db)}, floor {decibels(q.floor_db)} dB "
            f"on {q.n_recordings} recordings left out of training"
        )
    return f'<section id="training">\n<h2>Training</h2>\n<div class="card">{facts_list(facts)}</div>\n</section>\n'


def _provenance(told: Provenance) -> dict[str, str]:
    return {
        "Recordings": f"{len(told.recordings)}, SHA-256 over all {short_digest(told.data_digest)}",
        "Seed": str(told.seed),
        "Steps": f"{told.steps} in {told.minutes:.1f} minutes",
        "Versions": ", ".join(f"{name} {version}" for name, version in told.versions.items()),
    }


def _ratio(row: RecordingScore | Quality) -> float:
    return row.play_db / row.sampler_db if row.sampler_db > 0.0 else math.nan


def _side(row: RecordingScore | Quality) -> str:
    """How play compares with the sampler, as a class; "" where there is none."""
    if not math.isfinite(row.sampler_db):
        return ""
    return "good" if row.play_db <= row.sampler_db else "warn"


def _resource(name: str) -> str:
    return files("neuralsynth.hosts").joinpath(name).read_text(encoding="utf-8")
