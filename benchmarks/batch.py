"""Measures batches: `python benchmarks/batch.py [--count 300] [--torchsynth PYTHON] [PART …]`.

Parts: `speed` (sounds per second with one process and with two; effects off and on; wav and flac), `scale` (cost per
sound and memory at 100, 1,000 and 10,000), `likeness` (needs `--recordings` and `--twins`: whether `--like` puts the
right instrument first for recordings that its model never heard).

`--torchsynth PYTHON` names an interpreter with torchsynth and pytorch-lightning; its `Voice` then renders as many
seconds in the same run, on as many threads, at the best of some batch sizes, nothing written. Ours are written,
described and digested; beside it stands what rendering alone takes. Each batch is made twice and the better rate
counts: a virtual machine that has just been started takes a millisecond for the memory of each new file. `--folder`
says on which disk they are written.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from neuralsynth.design.asking import Asked, asked_for
from neuralsynth.design.batch import run_batch
from neuralsynth.design.manifest import read_batch
from neuralsynth.design.plan import Output
from neuralsynth.design.selection import Selection, select
from neuralsynth.preset import bare_preset, shipped_folder

PARTS = ("speed", "scale", "likeness")
SECONDS, RATE = 4.0, 44_100
_TORCHSYNTH = """
import sys, time, types
try:
    import pkg_resources
except ImportError:
    stub = types.ModuleType("pkg_resources")
    stub.get_distribution = lambda name: types.SimpleNamespace(version="0")
    sys.modules["pkg_resources"] = stub
try:
    import pytorch_lightning.core.lightning
except ImportError:  # what 1.0.2 on PyPI imports by its old name
    from pytorch_lightning import LightningModule
    moved = types.ModuleType("pytorch_lightning.core.lightning")
    moved.LightningModule = LightningModule
    sys.modules["pytorch_lightning.core.lightning"] = moved
import torch
torch.set_num_threads(int(sys.argv[1]))
from torchsynth.config import SynthConfig
from torchsynth.synth import Voice
best = 0.0
for size in (16, 32, 64):
    voice = Voice(SynthConfig(batch_size=size, reproducible=False, sample_rate=44100, buffer_size_seconds=4.0))
    with torch.no_grad():
        voice(0)
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < 6.0:
            voice(n + 1)
            n += 1
        best = max(best, n * size / (time.perf_counter() - began))
print(best)
"""


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="measure batches")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}  [default: speed]")
    parser.add_argument("--count", type=int, default=300, help="sounds of each run of speed  [default: 300]")
    parser.add_argument("--preset", default="alto-sax", help="what is drawn from  [default: alto-sax]")
    parser.add_argument("--folder", type=Path, help="where batches of speed are written  [default: a temporary folder]")
    parser.add_argument("--torchsynth", metavar="PYTHON", help="an interpreter that has torchsynth")
    parser.add_argument("--recordings", type=Path, help="folder of the recordings, for likeness")
    parser.add_argument("--twins", type=Path, help="folder of models NAME-left-out-SEED.onnx, as judge.py leaves them")
    options = parser.parse_args()
    for part in options.parts or ("speed",):
        globals()[part](options)
    return 0


def timed(work, workers: int, folder: Path, times: int = 1) -> float:
    """Sounds per second, start of the workers included; the best of some times."""
    best = 0.0
    for _ in range(times):
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        run_batch(folder, work, workers=workers)
        best = max(best, len(work) / (time.perf_counter() - began))
    return best


def speed(options: argparse.Namespace) -> None:
    """The table of speeds."""
    outputs = {
        "effects off, wav": Output(effects=False),
        "effects off, wav, not described": Output(effects=False, describe=False),
        "effects off, flac": Output(effects=False, format="flac"),
        "effects on, wav": Output(),
    }
    before = {n: torchsynth_rate(options.torchsynth, n) for n in (1, 2)} if options.torchsynth else {}
    print(f"{options.count} sounds of {SECONDS:g} s at {RATE} Hz mono, {options.preset}: written, digested, described")
    with tempfile.TemporaryDirectory(prefix="batch-", dir=options.folder) as work_folder:
        folder = Path(work_folder) / "batch"
        for name, output in outputs.items():
            work = asked_for(Asked(presets=(options.preset,), random=options.count, output=output))
            work.make(0)
            for workers in (1, 2):
                rate = timed(work, workers, folder, times=2)
                who = "one process" if workers == 1 else f"{workers} processes"
                print(f"  {name}, {who}: {rate:6.1f} sounds/s, {rate * SECONDS:6.0f} x real time")
        began = time.perf_counter()
        for index in range(100):
            work.audio(index)
        print(f"  rendering alone (effects on), one process: {100 / (time.perf_counter() - began):6.1f} sounds/s")
    if options.torchsynth:  # before and after: the speed of a machine that others share changes within minutes
        for threads in (1, 2):
            rates = (before[threads], torchsynth_rate(options.torchsynth, threads))
            print(
                f"  torchsynth Voice, {threads} threads, nothing written: {min(rates):.1f} to {max(rates):.1f} sounds/s"
            )


def torchsynth_rate(python: str, threads: int) -> float:
    """Sounds per second of torchsynth's `Voice` at its best batch size."""
    done = subprocess.run([python, "-c", _TORCHSYNTH, str(threads)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def scale(options: argparse.Namespace) -> None:
    """Cost per sound and memory as batches grow."""
    with tempfile.TemporaryDirectory(prefix="batch-") as work_folder:
        for count in (100, 1000, 10_000):
            work = asked_for(Asked(presets=(options.preset,), random=count,
                                   output=Output(effects=False, seconds=1.0, hold_seconds=0.5)))  # fmt: skip
            rate = timed(work, 1, Path(work_folder) / str(count))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
            print(f"  {count} sounds of 1 s: {1000.0 / rate:.2f} ms each, {memory:.0f} MB at most")
            shutil.rmtree(Path(work_folder) / str(count))


def likeness(options: argparse.Namespace) -> None:
    """How often the right instrument comes first."""
    from neuralsynth.analysis.files import checked_digest, find_files
    from neuralsynth.instrument import Instrument

    twins = {p.name.partition("-left-out-")[0]: p for p in sorted(options.twins.glob("*-left-out-1.onnx"))
             if ".encoder" not in p.name}  # fmt: skip
    known = {name: set(Instrument.load(path).spec.provenance.recordings) for name, path in twins.items()}
    files, _, _ = find_files(options.recordings)
    rng, right, total = np.random.default_rng(0), 0, 0
    folder = Path(tempfile.mkdtemp(prefix="like-"))
    for name, digests in known.items():
        shipped = bare_preset(shipped_folder() / f"{name}.onnx")
        all_digests = set(Instrument.load(shipped.model_path).spec.provenance.recordings)
        unheard = [file for file in files if (d := checked_digest(file)) in all_digests and d not in digests]
        for file in rng.permutation(np.array(unheard, object))[:8]:
            work = asked_for(Asked(presets=tuple(map(str, twins.values())), like=file))
            run_batch(folder / "b", work, force=True)
            best = select(read_batch(folder / "b"), Selection(like=file))[0]
            found = list(twins)[best["index"] * len(twins) // len(work)]
            right, total = right + (found == name), total + 1
            if found != name:
                print(f"  {file.name}: {found} comes first")
    shutil.rmtree(folder)
    print(f"likeness: the right instrument first for {right} of {total} recordings ({right / max(total, 1):.0%})")


if __name__ == "__main__":
    sys.exit(main())
