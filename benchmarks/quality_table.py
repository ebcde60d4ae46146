"""Prints how close the instruments come, from `export/measured.csv` (made by `export/judge.py`), as Markdown tables.

python benchmarks/quality_table.py             all tables
python benchmarks/quality_table.py --write     puts them between their markers in README.md and docs/quality.md

Every figure is the mean over the seeds; a dash stands where nothing was measured.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "export" / "measured.csv"
#: Protocol -> the head of its column.
PROTOCOLS = {
    "left-out": "every fifth left out",
    "every-fourth": "every fourth only",
    "every-eighth": "every eighth only",
    "one-layer": "one layer only",
}
DISTANCES = ("floor", "reconstruct", "play", "interpolated", "sampler")
MEASURES = (("constant_q", "db"), ("centroid", "semitones"), ("envelope", "db"))

Figures = dict[str, dict[str, list[dict[str, str]]]]  # instrument -> protocol -> one row for each seed


def read(path: Path = MEASURED) -> Figures:
    """The rows of the file, by instrument and protocol."""
    found: Figures = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["instrument"], {}).setdefault(row["protocol"], []).append(row)
    return dict(sorted(found.items()))


def mean(rows: list[dict[str, str]], *columns: str) -> float:
    """Mean over the seeds of a column, or of the ratio of two; NaN where nothing was measured."""
    values = [[float(row[column]) if row[column] else math.nan for column in columns] for row in rows]
    known = [v[0] / v[1] if len(v) > 1 else v[0] for v in values if all(map(math.isfinite, v)) and v[-1] != 0.0]
    return math.fsum(known) / len(known) if known else math.nan


def play_over_sampler(figures: Figures) -> str:
    """What a reader wants to know first: the distances, and play / sampler for each protocol."""
    header = ("instrument", "floor", "play", "sampler", *PROTOCOLS.values())
    rows = [
        [
            name,
            *(mean(of.get("left-out", []), f"{d}_db") for d in ("floor", "play", "sampler")),
            *(mean(of.get(protocol, []), "play_db", "sampler_db") for protocol in PROTOCOLS),
        ]
        for name, of in figures.items()
    ]
    worst = ["worst", math.nan, math.nan, math.nan, *(_largest(rows, i) for i in range(4, 8))]
    return markdown(header, [*rows, _means(rows), worst])


def all_distances(figures: Figures) -> str:
    """All five distances on left-out pitches."""
    header = ("instrument", "recordings", "seeds", *DISTANCES, "play / sampler", "reconstruct / floor")
    rows = []
    for name, of in figures.items():
        left_out = of.get("left-out", [])
        ratios = [mean(left_out, *pair) for pair in (("play_db", "sampler_db"), ("reconstruct_db", "floor_db"))]
        counts = [round(mean(left_out, "n_judged")) if left_out else 0, len(left_out)]
        rows.append([name, *counts, *(mean(left_out, f"{d}_db") for d in DISTANCES), *ratios])
    return markdown(header, [*rows, _means(rows, 3)])


def second_opinions(figures: Figures) -> str:
    """What measures say that training never saw: play and sampler side by side, on left-out pitches."""
    says = ("spectrum, dB", "centroid, semitones", "envelope, dB")
    header = ("instrument", *(f"{words}: {rival}" for words in says for rival in ("play", "sampler")))
    columns = [f"{measure}_{rival}_{unit}" for measure, unit in MEASURES for rival in ("play", "sampler")]
    rows = [[name, *(mean(of.get("left-out", []), column) for column in columns)] for name, of in figures.items()]
    return markdown(header, [*rows, _means(rows)])


#: Marker -> the page it stands on, and what stands there.
TABLES: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "quality table": ("README.md", play_over_sampler),
    "all distances": ("docs/quality.md", all_distances),
    "second opinions": ("docs/quality.md", second_opinions),
}


def markdown(header: tuple[str, ...], rows: list[list]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [header, ("---", *["--:"] * (len(header) - 1)), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if math.isfinite(value) else "\N{EN DASH}"
    return str(value)


def _means(rows: list[list], first: int = 1) -> list:
    """The last row: the mean over the instruments of each column from `first` on."""
    columns = ([row[i] for row in rows if math.isfinite(row[i])] for i in range(first, len(rows[0])))
    return ["mean", *[math.nan] * (first - 1), *(math.fsum(c) / len(c) if c else math.nan for c in columns)]


def _largest(rows: list[list], i: int) -> float:
    return max((row[i] for row in rows if math.isfinite(row[i])), default=math.nan)


def between(page: str, marker: str, table: str) -> str:
    """A page with a table put between its markers."""
    begin, end = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"quality_table: {begin} and {end} must stand in the page once")
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n{end}", page, flags=re.DOTALL)


def main() -> int:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description="tables of how close the instruments come")
    parser.add_argument("--write", action="store_true", help="renew the tables in README.md and docs/quality.md")
    write, figures = parser.parse_args().write, read()
    for marker, (page, table) in TABLES.items():
        if write:
            path = ROOT / page
            path.write_text(between(path.read_text(encoding="utf-8"), marker, table(figures)), encoding="utf-8")
        else:
            print(f"{marker} ({page}):\n\n{table(figures)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
