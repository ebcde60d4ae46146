"""Which sounds of a batch a person wants, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.analysis.files import read_mono
from neuralsynth.checking import one_of, shown
from neuralsynth.design.choose import most_varied, near_duplicates, nearest, rank
from neuralsynth.design.descriptors import names as descriptor_names
from neuralsynth.design.expressions import parse
from neuralsynth.design.fingerprints import fingerprint
from neuralsynth.design.manifest import fingerprints
from neuralsynth.errors import UsageError

_PLAYED = ("note", "velocity")


@dataclass(frozen=True)
class Selection:
    """What is kept, step by step in this order, and how it is sorted."""

    names: tuple[str, ...] = ()  # of sounds, or their numbers
    where: str = ""  # a condition on descriptors and knobs
    unlike_db: float | None = None  # sounds nearer than this to one before are left out
    like: Path | None = None  # the nearest to a recording come first
    sort: str = ""  # descriptors, the lowest first; -NAME the highest
    varied: int | None = None  # so many, as different as possible
    most: int | None = None  # the first so many

    @property
    def is_empty(self) -> bool:
        """Whether it keeps everything as it is."""
        return self == Selection()


def select(rows: Sequence[Mapping[str, Any]], selection: Selection) -> list[dict[str, Any]]:
    """The rows that are wanted, in their order.

    Raises:
        UsageError: a condition, a name or a number of the selection is wrong.
        RecordingError: the recording cannot be read.
    """
    kept = [dict(row) for row in rows]
    knobs = {name for row in rows for name in row.get("changes", {})}
    if not all(row.get("fingerprint") for row in rows):
        check_selection(selection, knobs, is_described=False)
    if selection.names:
        kept = _named(kept, selection.names)
    if selection.where:
        condition = parse(selection.where, {*descriptor_names(), *_PLAYED, *knobs})
        kept = [row for row in kept if condition({**row.get("changes", {}), **row})]
    if selection.unlike_db is not None and kept:
        alone = near_duplicates(fingerprints(kept), selection.unlike_db).kept
        kept = [row for row, is_alone in zip(kept, alone, strict=True) if is_alone]
    if selection.varied is not None and kept:
        kept = [kept[i] for i in most_varied(fingerprints(kept), selection.varied)]
    if selection.sort and kept:
        kept = [kept[i] for i in rank([{**row.get("changes", {}), **row} for row in kept], selection.sort)]
    if selection.like is not None and kept:
        order, away = nearest(fingerprints(kept), _target(selection.like))
        kept = [kept[i] | {"distance_db": round(float(d), 3)} for i, d in zip(order, away, strict=True)]
    return kept[: selection.most]


def check_selection(selection: Selection, knobs: Collection[str] = (), is_described: bool = True) -> None:
    """Refuse before anything is rendered what could not be selected after it.

    Args:
        knobs: those that the batch may change.
        is_described: whether its sounds are measured; else they can be chosen by what was asked for alone.

    Raises:
        UsageError, RecordingError: as `select`, as far as that is known without rows.
    """
    by_sound = selection.unlike_db is not None or selection.varied is not None or selection.like is not None
    told = {*_PLAYED, *knobs, *(descriptor_names() if is_described else ())}
    try:
        if by_sound and not is_described:
            raise UsageError("sounds that were not described cannot be compared")
        if selection.where:
            parse(selection.where, told)
        if not is_described and selection.sort and selection.sort.lstrip("-") not in told:
            raise UsageError(
                f"cannot sort by {shown(selection.sort)}; use one of {one_of(selection.sort, sorted(told))}"
            )
    except UsageError as error:
        hint = "" if is_described else " (the batch has --no-describe: make it without, to choose by what is heard)"
        raise UsageError(f"{error}{hint}") from None
    if selection.like is not None:
        _target(selection.like)
    if selection.varied is not None and selection.varied < 1:
        raise UsageError(f"{selection.varied} varied sounds; ask for at least 1")


def _target(path: Path) -> np.ndarray:
    audio, sample_rate = read_mono(path)
    return fingerprint(audio[None], sample_rate)


def _named(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by name, number, or the name of their file; each must be there."""
    by_name: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name in (str(row["index"]), row["name"], Path(row["file"]).name):
            by_name.setdefault(name, row)
    missing = [name for name in names if name not in by_name]
    if missing:
        raise UsageError(f"no sound is called {missing[0]!r}; use names or numbers of the manifest")
    return [by_name[name] for name in dict.fromkeys(names)]
