"""Pieces of HTML that the sections of a report page are made of. Text is escaped here."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from html import escape

from neuralsynth.hosts.report_sounds import Clip


def text(value: object) -> str:
    """Text for the page: escaped, and control characters, which HTML forbids, replaced."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return escape(shown, quote=True)


def decibels(value: float) -> str:
    """Two digits, a dash for what is not known."""
    return f"{value:.2f}" if math.isfinite(value) else "\N{EN DASH}"


def short_digest(digest: str) -> str:
    """Enough of a digest to tell files apart."""
    return f"{digest[:12]}…" if len(digest) > 12 else digest


def facts_list(facts: dict[str, str]) -> str:
    """Names and values, one line each."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items())
    return f'<dl class="facts">{rows}</dl>\n'


def bar(value: float, largest: float) -> str:
    """A bar as long as `value` is of `largest`; empty where it is not known."""
    share = 100.0 * value / largest if math.isfinite(value) and largest > 0.0 else 0.0
    return f'<span class="bar"><i style="--w:{share:.1f}%"></i></span>'


def listening_row(anchor: str, title: str, remark: str, seconds: float, figures: Iterable[str], kind: str) -> str:
    """A card whose versions can be switched while they play; `title` is ours, `remark` from files."""
    return (
        f'<article class="card listen" id="{anchor}" tabindex="0" data-seconds="{seconds:.4f}">\n'
        f'<header><h3>{text(title)}</h3><span class="soft">{text(remark)}</span></header>\n'
        f'<div class="{kind}">\n{"".join(figures)}</div>\n'
        '<div class="transport"><button type="button" class="toggle">Play</button>'
        f'<input type="range" min="0" max="1" step="0.001" value="0" aria-label="position in {text(title)}">'
        '<output></output><label><input type="checkbox" checked> loop</label></div>\n</article>\n'
    )


def version(clip: Clip, key: int, label: str, value: str) -> str:
    """One sound of a row: its key, label and value, its spectrogram, and the browser's own player."""
    return (
        f'<figure class="version {text(clip.label)}"><figcaption><button type="button"><kbd>{key}</kbd>{text(label)}'
        f'</button><span class="value">{text(value)}</span></figcaption>'
        f'<div class="picture"><img alt="spectrogram, {text(label)}" width="320" height="160" '
        f'src="data:image/png;base64,{_base64(clip.png)}"><i class="head"></i></div>'
        f'<audio controls preload="none" src="data:audio/flac;base64,{_base64(clip.flac)}"></audio></figure>\n'
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
