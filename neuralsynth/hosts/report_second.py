"""The second opinion on a report page: one row for each rival."""

from __future__ import annotations

from collections.abc import Mapping

from neuralsynth.hosts.report_markup import decibels
from neuralsynth.scoring import SecondOpinion

_SAYS = (
    "Measures of another package that training never saw, means over the scored recordings: an A-weighted constant-Q "
    "spectrum, how much too bright or dull, and how much too loud or soft from moment to moment."
)


def second_opinion_section(means: Mapping[str, SecondOpinion]) -> str:
    """The section of the page; nothing without a second opinion."""
    if not means:
        return ""
    head = "".join(f'<th class="number">{name}</th>' for name in ("spectrum", "centroid", "envelope"))
    rows = "".join(_row(name, opinion) for name, opinion in means.items())
    return (
        f'<section id="second">\n<h2>A second opinion</h2>\n<p class="soft">{_SAYS}</p>\n<div class="card scroll">'
        f"<table>\n<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )


def _row(name: str, opinion: SecondOpinion) -> str:
    values = (
        f"{decibels(opinion.constant_q_db)} dB",
        f"{decibels(opinion.centroid_semitones)} semitones",
        f"{decibels(opinion.envelope_db)} dB",
    )
    cells = "".join(f'<td class="number">{value}</td>' for value in values)
    return f'<tr data-second="{name}"><td>{name}</td>{cells}</tr>\n'
