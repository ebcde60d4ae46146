"""How well a recording survives analysis and resynthesis: the floor under every model, per instrument.

    python benchmarks/analysis_floor.py SAMPLES_FOLDER [--every 4] [--instruments cello,trumpet] [--seconds 4]

The folder holds one folder per instrument with files named `..._m060_v100...` (MIDI note, velocity). Printed for two
grids: the mean distance of each recording to a plain resynthesis of its spectrum, the distance between two
resyntheses that differ only in their noise (no description of noise by its level gets below it), and the seconds one
analysis takes.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from neuralsynth.analysis import analyse_note, distance
from neuralsynth.analysis.signal import to_mono
from neuralsynth.audiofile import READABLE, read_audio
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import SpectrumGrid
from tests.signals import resynthesise

NOTE = re.compile(r"_m(\d{3})(?!.*_m\d{3})")


def floor_of(path: Path, grid: SpectrumGrid) -> tuple[float, float, float]:
    """Distance to the resynthesis, distance between two resyntheses, seconds the analysis took."""
    audio, rate = read_audio(path)
    mono = to_mono(audio)
    started = time.perf_counter()
    found = analyse_note(mono, rate, float(NOTE.search(path.stem)[1]), grid)
    took = time.perf_counter() - started
    onset = round(found.onset_seconds * rate)
    n = min(len(mono) - onset, round(grid.frame_seconds[found.n_valid_frames - 1] * rate))
    one, two = (resynthesise(found.spectrum, found.pitch_hz, n, rate, seed) for seed in (0, 1))
    return distance(mono[onset : onset + n], one, rate), distance(one, two, rate), took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every n-th file of an instrument")
    parser.add_argument("--instruments", default="", help="comma-separated folder names; all if left out")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the grid")
    options = parser.parse_args()
    wanted = [name for name in options.instruments.split(",") if name]
    grids = [SpectrumGrid.warped(t, options.seconds, p, b) for t, p, b in ((128, 80, 40), (160, 128, 48))]
    print("instrument          n   T128 P80 B40: floor  noise  sec   T160 P128 B48: floor  noise  sec")
    for folder in sorted(p for p in options.folder.iterdir() if p.is_dir() and (not wanted or p.name in wanted)):
        files = [p for p in sorted(folder.iterdir()) if p.suffix in READABLE and NOTE.search(p.stem)]
        files = files[options.every // 2 :: options.every]
        cells = []
        for grid in grids:
            rows = []
            for path in files:
                try:
                    rows.append(floor_of(path, grid))
                except RecordingError as error:
                    print(f"{path.name}: {error}", file=sys.stderr)
            cells.append("{:19.2f} {:6.2f} {:5.2f}".format(*np.mean(rows, axis=0)) if rows else "-")
        print(f"{folder.name:17s} {len(files):3d} {cells[0]}  {cells[1]}", flush=True)


if __name__ == "__main__":
    main()
