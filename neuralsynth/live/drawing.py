"""Small pieces of a terminal picture: bars, numbers that always fit, text cut to a width in cells."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

_MOST = 999_999_999


@dataclass(frozen=True)
class Glyphs:
    """The characters of a picture."""

    full: str
    empty: str
    mark: str
    peak: str
    dot: str
    light: str
    ellipsis: str


BLOCKS = Glyphs(full="█", empty="─", mark="┼", peak="▌", dot="·", light="●", ellipsis="…")
ASCII = Glyphs(full="#", empty="-", mark="+", peak="|", dot="-", light="*", ellipsis="...")


def fit(text: str, width: int, ellipsis: str) -> str:
    """`text` in at most `width` cells, with `ellipsis` where it was cut."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    if width <= len(ellipsis):
        return set_cell_size(text, width)
    return set_cell_size(text, width - len(ellipsis)) + ellipsis


def number(value: float, digits: int = 0) -> str:
    """A number in at most a dozen characters; "-" if it is none."""
    if value != value:  # noqa: PLR0124 (NaN)
        return "-"
    if abs(value) > _MOST:
        return "over" if value > 0 else "under"
    return f"{value:.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def share(value: float) -> float:
    """`value` within 0 to 1; 0 if it is no number."""
    return min(max(value, 0.0), 1.0) if value == value else 0.0  # noqa: PLR0124 (NaN)


def bar(length: int, filled: float, peak: float, mark: float, glyphs: Glyphs) -> list[tuple[str, float]]:
    """A bar of `length` cells: (text, where it begins from 0 to 1), in pieces that change style nowhere but at `mark`.

    `filled`, `peak` and `mark` are places from 0 to 1. A peak of 0 and a mark of 1 are not drawn.
    """
    if length <= 0:
        return []
    cells = [glyphs.full] * round(filled * length)
    cells += [glyphs.empty] * (length - len(cells))
    split = min(round(mark * length), length)
    if split < length and cells[split] != glyphs.full:
        cells[split] = glyphs.mark
    at = round(peak * length) - 1
    if at >= 0 and cells[at] != glyphs.full:
        cells[at] = glyphs.peak
    return [("".join(cells[:split]), 0.0), ("".join(cells[split:]), mark)]


def packed(items: list[str], width: int) -> list[str]:
    """`items` on as few lines as they take, in order; one that is too wide has a line of its own."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) <= width:
            lines[-1] += f"  {item}"
        else:
            lines.append(item)
    return lines
