"""Range and dynamics on a report page: level over velocity and a keyboard as SVG, in the colours of the page."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from neuralsynth.hosts.report_markup import facts_list
from neuralsynth.hosts.report_sounds import VELOCITIES, LevelCurve
from neuralsynth.scoring import Score
from neuralsynth.spec import InstrumentSpec
from neuralsynth.units import note_name

_BLACK = {1, 3, 6, 8, 10}  # semitones of an octave
_LOWEST_DB = -60.0


def range_and_dynamics(spec: InstrumentSpec, score: Score, curves: Sequence[LevelCurve]) -> str:
    """The section of the page."""
    kinds = ("low", "middle", "high")
    legend = "".join(
        f'<li class="{kind}">{note_name(curve.note)}</li>' for kind, curve in zip(kinds, curves, strict=False)
    )
    scored = {row.note for row in score.recordings}
    return (
        '<section id="dynamics">\n<h2>Range and dynamics</h2>\n<div class="two">\n<div class="card">'
        '<h3>Level against velocity</h3><p class="hint">RMS of the first second, played without effects. '
        "Circles: recordings of these keys, all moved by one constant.</p>"
        f'{level_chart(curves, kinds)}<ul class="legend">{legend}</ul></div>\n<div class="card"><h3>Range</h3>'
        f'<p class="hint">{note_name(spec.note_low)} to {note_name(spec.note_high)} was recorded. Marked: the pitches '
        f"scored here.</p>{keyboard_chart(spec.note_low, spec.note_high, scored)}"
        f"{facts_list(_range_facts(spec))}</div>\n</div>\n</section>\n"
    )


def _range_facts(spec: InstrumentSpec) -> dict[str, str]:
    grid, sustain = spec.grid(), spec.sustain
    layers = f"{spec.velocity_low} to {spec.velocity_high}" if spec.velocity_high > spec.velocity_low else "one layer"
    return {
        "Velocities": layers,
        "Held notes": f"wander from {sustain.start_seconds:.2f} to {sustain.end_seconds:.2f} s" if sustain else "decay",
        "Described by": f"{grid.n_partials} partials and {grid.n_bands} noise bands, {grid.n_frames} moments over "
        f"{grid.frame_seconds[-1]:.1f} s",
    }


def level_chart(curves: Sequence[LevelCurve], kinds: Sequence[str]) -> str:
    """Curves over velocity 0 to 127, with the recordings as circles; `kinds` are their classes."""
    width, height, left, bottom = 470.0, 260.0, 38.0, 24.0
    lowest = min((db for c in curves for db in c.played_db), default=_LOWEST_DB)
    lowest = max(_LOWEST_DB, 10.0 * (lowest // 10.0))
    highest = max([0.0, *(db for c in curves for _, db in c.recorded)]) + 2.0

    def x(velocity: float) -> float:
        return left + (width - left - 14.0) * velocity / 127.0

    def y(db: float) -> float:
        return 6.0 + (height - bottom - 6.0) * (highest - max(db, lowest)) / (highest - lowest)

    parts = [f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="level in dB against velocity">']
    for db in range(round(lowest), 1, 10):
        parts.append(f'<line class="grid" x1="{left:g}" x2="{width - 14:g}" y1="{y(db):.1f}" y2="{y(db):.1f}"/>')
        parts.append(f'<text x="{left - 6:g}" y="{y(db) + 4:.1f}" text-anchor="end">{db}</text>')
    parts += [f'<text x="{x(v):.1f}" y="{height - 6:g}" text-anchor="middle">{v}</text>' for v in (1, 32, 64, 96, 127)]
    for kind, curve in zip(kinds, curves, strict=False):
        points = " ".join(f"{x(v):.1f},{y(db):.1f}" for v, db in zip(VELOCITIES, curve.played_db, strict=True))
        parts.append(f'<polyline class="line {kind}" points="{points}"/>')
        parts += [f'<circle class="dot {kind}" cx="{x(v):.1f}" cy="{y(db):.1f}" r="4"/>' for v, db in curve.recorded]
    return "".join(parts) + "</svg>"


def keyboard_chart(low: int, high: int, scored: Collection[int]) -> str:
    """A keyboard: the recorded range shaded, the scored keys marked."""
    first, last = max(0, (low - 6) // 12 * 12), min(127, (high + 6) // 12 * 12 + 11)
    whites = [key for key in range(first, last + 1) if key % 12 not in _BLACK]
    step, height = 10.0, 62.0
    places = {key: i * step for i, key in enumerate(whites)}
    places |= {key: places[key - 1] + 0.68 * step for key in range(first + 1, last + 1) if key % 12 in _BLACK}
    label = f"range {note_name(low)} to {note_name(high)}"
    parts = [f'<svg viewBox="0 0 {len(whites) * step:g} {height + 18:g}" role="img" aria-label="{label}">']
    for key in sorted(places, key=lambda key: key % 12 in _BLACK):
        black, inside = key % 12 in _BLACK, " in" if low <= key <= high else ""
        kind, wide, tall = ("black", 0.64 * step, 0.62 * height) if black else ("white", step, height)
        parts.append(f'<rect class="{kind}{inside}" x="{places[key]:.1f}" y="0" width="{wide:g}" height="{tall:g}"/>')
        if key in scored:
            centre = places[key] + 0.5 * wide
            parts.append(f'<circle class="mark" cx="{centre:.1f}" cy="{tall - 6:.1f}" r="2.8"/>')
    parts += [
        f'<text x="{places[key]:.1f}" y="{height + 14:g}">{note_name(key)}</text>' for key in whites if key % 12 == 0
    ]
    return "".join(parts) + "</svg>"
