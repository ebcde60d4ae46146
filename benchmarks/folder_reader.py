"""How well folders of recordings are understood, as a table.

usage: python benchmarks/folder_reader.py SAMPLES

SAMPLES holds one folder per instrument, files named `<instrument>_m<MIDI note>_v<velocity>_r<n>.<ending>` whose
numbers are true. Per instrument: as named (wrong overrules), without names (right, wrong, unclear), renamed to note
names with C3 = 60 (shift found, right), with every seventh name wrong (found), and the time of the first reading.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from pathlib import Path

from neuralsynth.analysis.folder import Folder, read_folder
from neuralsynth.units import note_name

_TRUTH = re.compile(r"_m(\d+)_v(\d+)_r(\d+)")
WRONG_STEPS = (1, -1, 2, -3, 5, -5, 7, 12, -12, 24)


def linked(files: dict[str, Path], folder: Path) -> Folder:
    """Read a folder in which `files` appear under new names."""
    folder.mkdir()
    for name, source in files.items():
        (folder / name).symlink_to(source.resolve())
    return read_folder(folder)


def count_right(folder: Folder, truth: dict[str, int]) -> int:
    """Files whose note is the true one."""
    return sum(r.note == truth[r.name] for r in folder.recordings)


def measure(instrument: Path, scratch: Path, rng: random.Random) -> tuple[list[str], list[str]]:
    """One row of the table, and a line for each mistake."""
    sources = {p.name: p for p in sorted(instrument.iterdir()) if _TRUTH.search(p.name)}
    true_note = {name: int(_TRUTH.search(name).group(1)) for name in sources}
    started = time.perf_counter()
    as_named = read_folder(instrument)
    seconds = time.perf_counter() - started
    mistakes = [f"as named: {r.name}: {r.reason}" for r in as_named.recordings if r.note != true_note[r.name]]
    n_overruled = len(mistakes)

    codes = dict(zip(sources, rng.sample("ghijklmnopqrstuvwxyz", 1) * len(sources), strict=True))
    letters = {n: "".join(rng.choices("ghijklmnopqrstuvwxyz", k=8)) + codes[n] + Path(n).suffix for n in sources}
    nameless = linked({letters[n]: p for n, p in sources.items()}, scratch / "nameless")
    truth = {letters[n]: true_note[n] for n in sources}
    right = count_right(nameless, truth)
    unclear = sum(not r.used for r in nameless.recordings)
    for r in nameless.recordings:
        if r.used and r.note != truth[r.name]:
            mistakes.append(f"nameless: note {truth[r.name]} heard as {r.note} ({r.pitch_hz:.1f} Hz)")
        elif not r.used:
            mistakes.append(f"nameless: note {truth[r.name]} unclear")

    c3 = {}
    for name in sources:
        _, velocity, robin = _TRUTH.search(name).groups()
        c3[f"{instrument.name} {note_name(true_note[name] - 12)} v{velocity} rr{robin}{Path(name).suffix}"] = name
    shifted = linked({new: sources[old] for new, old in c3.items()}, scratch / "c3")
    shifted_right = count_right(shifted, {new: true_note[old] for new, old in c3.items()})

    lies, lied = {}, {}
    for i, name in enumerate(sources):
        step = rng.choice(WRONG_STEPS) if i % 7 == 3 else 0
        new = name.replace(f"_m{true_note[name]:03d}_", f"_m{true_note[name] + step:03d}_").replace("_r", f"_r{i}0")
        lies[new], lied[new] = sources[name], (true_note[name], step)
    lying = linked(lies, scratch / "lying")
    n_lies = sum(step != 0 for _, step in lied.values())
    found = 0
    for r in lying.recordings:
        note, step = lied[r.name]
        found += bool(step) and r.note == note
        if r.note != note:
            mistakes.append(f"lying: note {note} named {note + step}: {r.note} ({r.reason})")
    n = len(sources)
    row = [instrument.name, str(n), str(n_overruled), f"{right} ({100 * right / n:.1f} %)", str(n - right - unclear),
           str(unclear), str(shifted.octave_shift), f"{shifted_right}/{n}", f"{found}/{n_lies}",
           f"{seconds:.1f}"]  # fmt: skip
    return row, mistakes


def main() -> None:
    """Print the table and the mistakes."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit(__doc__)
    rng = random.Random(1)
    head = ["instrument", "files", "overruled", "nameless right", "wrong", "unclear", "shift", "C3 right", "lies", "s"]
    rows, every = [head], []
    for instrument in sorted(p for p in Path(sys.argv[1]).iterdir() if p.is_dir()):
        with tempfile.TemporaryDirectory() as scratch:
            row, mistakes = measure(instrument, Path(scratch), rng)
        rows.append(row)
        every += [f"{instrument.name}: {line}" for line in mistakes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    print("\n".join(["", *every]))


if __name__ == "__main__":
    main()
