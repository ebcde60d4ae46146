"""Measures live play on a JACK server with its dummy driver: `python benchmarks/live.py [--seconds 300] [PART …]`.

Parts: `start`, `latency`, `callback`, `busy`, `freewheel`, `programs`; all without names. Beside every figure stands
a control: a JACK client in C that burns the same share of each period and does nothing else (`jack_control.c`), for a
shared machine loses time that no program of ours can win back. Needs jackd2 and a C compiler with JACK's headers
(Debian: apt install jackd2 libjack-jackd2-dev gcc). The server has a name of its own and disturbs no other.

`callback` is the engine with 16 voices and six effects; `busy` the same while another process computes, presets are
loaded again every few seconds, a knob of timbre sweeps all the time, and the terminal view is drawn.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuralsynth.events import Event
from neuralsynth.hosts.midi_file import read_midi_file
from neuralsynth.live.messages import DeviceChoice
from neuralsynth.live.play import Console
from neuralsynth.live.session import Choice, Session
from tests.jack_server import JackServer

HERE = Path(__file__).parent
RATE = 48_000
PARTS = ("start", "latency", "callback", "busy", "freewheel", "programs")
#: Sixteen held notes that sound on and on, through a chain of six effects.
SIX_EFFECTS = """
[[effects]]
type = "compressor"
[[effects]]
type = "chorus"
[[effects]]
type = "delay"
[[effects]]
type = "reverb"
[[effects]]
type = "high_shelf"
[[effects]]
type = "limiter"
"""


class Bench:
    """A running session on the server, polled by a thread."""

    def __init__(self, choice: Choice, draws: bool = False) -> None:
        """Open it."""
        self.session = Session(choice)
        self.session.open()
        self._is_over = False
        self._console = Console(self.session, Path("take.wav"), plain=not draws, tell=lambda _: None)
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def _poll(self) -> None:
        while not self._is_over:
            self._console.step()

    @property
    def meters(self):
        """What the engine tells."""
        return self.session.shared.meters

    def send(self, *messages: tuple[int, ...]) -> None:
        """Play now."""
        for message in messages:
            self.session.send(bytes(message))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._is_over = True
        self._thread.join()
        self.session.close()


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="measure live play on a JACK server with its dummy driver")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}  [default: all]")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run of callback and busy  [default: 60]")
    parser.add_argument("--preset", default="alto-sax", help="with six effects added")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="live-") as work:
        control = built_control(Path(work))
        preset = with_six_effects(options.preset, Path(work))
        for part in options.parts or PARTS:
            globals()[part](preset, control, options)
    return 0


def built_control(work: Path) -> Path:
    """Compile the C client."""
    path = work / "jack_control"
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    subprocess.run([compiler, "-O2", "-o", path, HERE / "jack_control.c", "-ljack"], check=True)
    return path


def with_six_effects(name: str, work: Path) -> str:
    """A preset file: a shipped instrument, neutral, with a chain of six."""
    from neuralsynth.preset import shipped_folder

    path = work / "six.toml"
    model = shipped_folder() / f"{name}.onnx"
    for file in (model, model.with_suffix(".check.npz")):
        shutil.copy(file, work)
    path.write_text(f'format_version = 1\nname = "six"\nmodel = "{model.name}"\n{SIX_EFFECTS}')
    return str(path)


def on_server(block: int):
    """A server with this period; clients of this process find it."""
    server = JackServer(RATE, block)
    os.environ |= {"JACK_DEFAULT_SERVER": server.name, "JACK_NO_START_SERVER": "1"}
    return server


def native(preset: str, **changes) -> Choice:
    """A session on the server, MIDI by its own port."""
    return Choice(presets=(preset,), midi="jack", device=DeviceChoice("jack"), **changes)


def start(preset: str, control: Path, options: argparse.Namespace) -> None:  # noqa: ARG001
    """From the command to the first block, caches warm."""
    with on_server(128):
        for name in ("upright-piano", "alto-sax", preset):
            command = [sys.executable, "-m", "neuralsynth", "play", "-p", name, "--midi", "jack", "--audio", "jack",
                       "--seconds", "0.2", "--json"]  # fmt: skip
            taken = []
            for _ in range(3):
                began = time.monotonic()
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                report = json.loads(done.stdout)
                # what the command does before `play`, Python's own start included, is in neither of its figures
                taken.append(time.monotonic() - began - report["seconds"])
            print(f"start of play to its end but for the playing, {Path(name).stem}: {min(taken):.2f} s "
                  f"(to the first block by its own clock {report['start_seconds']:.2f} s)")  # fmt: skip


def latency(preset: str, control: Path, options: argparse.Namespace) -> None:  # noqa: ARG001
    """From a note-on at a port to the first sample at the output."""
    from tests.jack_probe import Probe

    for block in (64, 128):
        with on_server(block) as server, Bench(native("alto-sax")):
            probe = Probe(server.name)
            probe.connect()
            print_delays(f"native MIDI, block {block}", block, native_delays(probe, block))
            probe.close()
        with on_server(block) as server:
            choice = Choice(presets=("alto-sax",), midi="bench", device=DeviceChoice("jack"))
            print_delays(f"rtmidi, block {block}", block, rtmidi_delays(server, choice))


def print_delays(what: str, block: int, samples: np.ndarray) -> None:
    """In periods; the onset of the sound itself is part of them."""
    periods = samples / block
    p50, p99 = np.quantile(periods, 0.5), np.quantile(periods, 0.99)
    print(f"{what}: {len(periods)} notes, median {p50:.2f} periods ({1e3 * p50 * block / RATE:.2f} ms), "
          f"p99 {p99:.2f}, most {periods.max():.2f}, jitter (p99 - p50) {p99 - p50:.2f} periods")  # fmt: skip


def native_delays(probe, block: int) -> np.ndarray:
    """Samples from the event's frame to the first sound, less the period of the loop through the probe."""
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        at = int(rng.integers(0, 4 * block))
        heard = probe.run([Event(at, bytes([0x90, 60, 127]))], 40 * block)
        found.append(first_sound(heard) - at - block)
        probe.run([Event(0, bytes([0xB0, 120, 0]))], 10 * block)
    return np.array(found)


def first_sound(audio: np.ndarray) -> int:
    """The first sample that is not silent."""
    return int(np.flatnonzero(np.abs(audio).max(axis=0) > 0)[0])


_SENDER = """
import sys, time, rtmidi
out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "bench")
out.open_virtual_port("keys")
for line in sys.stdin:
    out.send_message(list(bytes.fromhex(line)))
    print(time.monotonic_ns(), flush=True)
"""


def rtmidi_delays(server: JackServer, choice: Choice) -> np.ndarray:
    """Samples from another process's `send_message` to the first sound at a JACK client."""
    import jack

    sender = subprocess.Popen([sys.executable, "-c", _SENDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, env=server.environment)  # fmt: skip
    found = []
    with Bench(choice) as bench:
        while not bench.session.midi_ports:
            time.sleep(0.05)
        client = jack.Client("ear", no_start_server=True, servername=server.name)
        port, heard = client.inports.register("in"), []

        def listen(frames: int) -> None:  # noqa: ARG001
            loud = np.flatnonzero(port.get_array())
            if len(loud):
                ago = (client.frames_since_cycle_start - int(loud[0])) / RATE
                heard.append(time.monotonic_ns() - round(1e9 * ago))

        client.set_process_callback(listen)
        with client:
            client.connect("neuralsynth:out_1", port.name)
            rng = np.random.default_rng(0)
            for _ in range(200):
                time.sleep(0.05 + 0.01 * rng.random())
                heard.clear()
                sent = told(sender, "903c7f")
                time.sleep(0.06)
                if heard:
                    found.append((heard[0] - sent) * 1e-9 * RATE)
                told(sender, "b07800")
    sender.stdin.close()
    sender.wait()
    return np.array(found)


def told(sender: subprocess.Popen, message: str) -> int:
    """Send, and the time at which it was sent."""
    sender.stdin.write(message + "\n")
    sender.stdin.flush()
    return int(sender.stdout.readline())


def hold(bench: Bench) -> None:
    """Sixteen voices that go on sounding."""
    bench.send(*((0x90, 48 + 2 * i, 90) for i in range(16)))


def played(bench: Bench, seconds: float, during=None) -> None:
    """Let it play for a while and print how long the callbacks took."""
    hold(bench)
    time.sleep(1.0)
    meters = bench.meters
    before = np.array(meters.loads[:])
    xruns, voices, end = meters.xruns, [], time.monotonic() + seconds
    while time.monotonic() < end:
        if during is not None:
            during(bench)
        voices.append(meters.voices)
        time.sleep(0.05)
    counts = np.cumsum(np.array(meters.loads[:]) - before)
    p50, p99, p999 = ((np.searchsorted(counts, q * counts[-1]) + 1) for q in (0.5, 0.99, 0.999))
    time.sleep(1.2)  # under-runs are read once a second
    print(
        f"  engine:  {counts[-1]} blocks, {np.mean(voices):.1f} voices, p50 {p50} %, p99 {p99} %, p99.9 {p999} % "
        f"of the period, {meters.late_blocks} late, {meters.xruns - xruns} under-runs, {meters.shed_voices} shed"
    )
    bench.share = p50 / 100.0


def run_control(control: Path, share: float, seconds: float) -> None:
    """The C client alone on the server."""
    done = subprocess.run([control, str(share), str(seconds)], capture_output=True, text=True, check=True)
    periods, p50, p99, p999, worst, xruns = done.stdout.split()
    print(f"  control: {periods} blocks, p50 {float(p50):.0%}, p99 {float(p99):.0%}, p99.9 {float(p999):.0%}, most "
          f"{float(worst):.0%} of the period, {xruns} under-runs")  # fmt: skip


def callback(preset: str, control: Path, options: argparse.Namespace) -> None:
    """How long blocks of 128 take with 16 voices and six effects."""
    print("16 voices, six effects, block 128")
    with on_server(128):
        with Bench(native(preset)) as bench:
            played(bench, options.seconds)
        run_control(control, bench.share, options.seconds)


def compute() -> None:
    """What a busy neighbour does."""
    while True:
        np.linalg.svd(np.random.default_rng(0).normal(size=(200, 200)))


def busy(preset: str, control: Path, options: argparse.Namespace) -> None:
    """The same while everything else happens."""
    print("the same beside a busy process, loads of presets, a moving timbre and the view")
    neighbour = multiprocessing.get_context("spawn").Process(target=compute, daemon=True)
    state = {"load": time.monotonic() + 2.0, "position": 0}

    def during(bench: Bench) -> None:
        state["position"] = (state["position"] + 3) % 128
        bench.send((0xB0, 74, state["position"]))
        if time.monotonic() > state["load"]:
            state["load"] = time.monotonic() + 5.0
            bench.send(*((0x80, 48 + 2 * i, 0) for i in range(16)))
            bench.session.reload()
            time.sleep(0.1)
            hold(bench)

    with on_server(128):
        neighbour.start()
        with Bench(native(preset), draws=True) as bench:
            played(bench, options.seconds, during)
        run_control(control, bench.share, options.seconds)
        neighbour.kill()


def freewheel(preset: str, control: Path, options: argparse.Namespace) -> None:  # noqa: ARG001
    """A song as fast as it goes."""
    from tests.jack_probe import Probe

    song = read_midi_file(HERE.parent / "presets" / "demo-tune.mid")
    events = [event for event in song.events(RATE) if event.message[0] != 0xFF]
    with on_server(128) as server, Bench(native("upright-piano")):
        probe = Probe(server.name)
        probe.connect()
        n_samples = events[-1].sample
        began = time.monotonic()
        probe.run(events, n_samples, freewheel=True, seconds=300)
        print(f"freewheel, the demo tune on one piano: {n_samples / RATE / (time.monotonic() - began):.1f} x real time")
        probe.close()


def programs(preset: str, control: Path, options: argparse.Namespace) -> None:  # noqa: ARG001
    """Blocks in which the program changes, in a bank of all General MIDI programs, beside the same notes without."""
    choice = Choice(presets=(), bank="general-midi", midi="jack", device=DeviceChoice("jack"))
    for changes in (True, False):
        with on_server(128), Bench(choice) as bench:
            meters = bench.meters
            before = np.array(meters.loads[:])
            for number in range(128):
                bench.send(*([(0xC0, number * 7 % 128)] if changes else []), (0x90, 60, 80))
                time.sleep(0.2)
                bench.send((0x80, 60, 0))
                time.sleep(0.05)
            counts = np.cumsum(np.array(meters.loads[:]) - before)
            p999, most = np.searchsorted(counts, 0.999 * counts[-1]) + 1, np.searchsorted(counts, counts[-1]) + 1
            what = "128 program changes through General MIDI, a note after each" if changes else "the same notes alone"
            print(
                f"{what}, half a minute: p99.9 {p999} %, most {most} % of the period, {meters.late_blocks} late of "
                f"{counts[-1]}, {meters.xruns} under-runs"
            )


if __name__ == "__main__":
    sys.exit(main())
