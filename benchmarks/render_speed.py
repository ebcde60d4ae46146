"""Times `neuralsynth render` as a whole process on one core, start-up included, and says where the time goes.

python benchmarks/render_speed.py [SONG.mid] [-p PRESET] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def on_one_core() -> None:
    """Bind this process (and so its child) to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def render_once(song: Path, preset: str) -> tuple[float, dict]:
    """Wall-clock seconds of the process, and its report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "neuralsynth", "render", str(song), "-p", preset, "--json"]
        began = time.perf_counter()
        done = subprocess.run([*command, "-o", f"{folder}/out.wav"], check=True, capture_output=True, text=True)
        return time.perf_counter() - began, json.loads(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("song", nargs="?", type=Path, default=Path(__file__).parents[1] / "presets" / "demo-tune.mid")
    parser.add_argument("-p", "--preset", default="upright-piano")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    on_one_core()
    render_once(options.song, options.preset)  # fills numba's and the model gate's caches
    runs = [render_once(options.song, options.preset) for _ in range(options.repeats)]
    seconds, report = min(runs, key=lambda run: run[0])
    inside = report["seconds"] / report["times_real_time"]
    print(f"{options.song.name} with {options.preset}: {report['seconds']:.1f} s of music, {report['notes']} notes")
    speed = report["seconds"] / seconds
    print(f"whole process, one core, best of {options.repeats}: {seconds:.2f} s = {speed:.0f} x real time")
    print(f"of it loading Python and libraries: {seconds - inside:.2f} s")


if __name__ == "__main__":
    main()
