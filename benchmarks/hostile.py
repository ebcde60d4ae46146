"""Random and hostile MIDI by the million: `python benchmarks/hostile.py [N]` says whether the instrument stands it.

Every status, truncated messages, data bytes above 127, broken system exclusive, MPE zones that come and go, mode and
program changes, in blocks of any size. After every tenth of the events comes a panic, the three kinds in turn.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.events import Event
from neuralsynth.midi.learn import ControllerMap, Entry
from neuralsynth.preset_sections import Envelope, Layer, Lfo, Voices
from neuralsynth.programs import Programs
from neuralsynth.routes import Route
from tests.players import Shelf

RATE = 48_000
PANICS = {
    "all sound off": [bytes((0xB0 | c, 120, 0)) for c in range(16)],
    "pedals up and all notes off": [bytes((0xB0 | c, n, 0)) for c in range(16) for n in (64, 66, 69, 123)],
    "system reset": [b"\xff"],
}
#: Panics after which it is to be silent at once.
SILENCING = ("all sound off", "system reset")
SILENT_AFTER = RATE // 100

_PERFORMANCE = """
format_version = 1
name = "Storm"

[channels]
default = "poly.toml"
2 = "kit.toml"

[[programs]]
program = "1-32"
preset = "poly.toml"

[[programs]]
program = "33-64"
preset = "one.toml"

[[programs]]
program = "65-96"
bank_msb = 1
preset = "kit.toml"

[[programs]]
program = "65-127"
preset = "moving.toml"
"""


def storm_engine(folder: Path) -> Engine:
    """Four small presets of different kinds behind programs, with effects, routes and learned controllers."""
    shelf = Shelf(folder)
    echo = EffectSettings("delay", {"delay_seconds": 0.05, "feedback": 0.4})
    shelf.preset("poly", voices=Voices(polyphony=12), effects=(echo,), envelope=Envelope(release_seconds=0.3))
    shelf.preset("one", voices=Voices(polyphony=8, mode="mono", unison=3, glide="always", glide_seconds=0.2))
    shelf.preset(
        "moving",
        voices=Voices(polyphony=8, mode="legato"),
        lfo_1=Lfo(sync="1/8"),
        routes=(Route("lfo_1", "filter.cutoff_hz", 2.0), Route("pressure", "latent.1", 1.0)),
    )
    shelf.preset("drum", "struck.onnx", voices=Voices(polyphony=8))
    shelf.layered(
        "kit",
        Layer("drum.toml", key_high=59, choke_group=1, one_shot=True),
        Layer("poly.toml", key_low=50, fixed_key=70),
    )
    path = folder / "storm.performance.toml"
    path.write_text(_PERFORMANCE)
    programs = Programs.load(path)
    controls = ControllerMap([Entry(20, "effects.1.mix"), Entry(32, "sound.pan"), Entry(21, "axes.brightness")])
    return Engine(programs.start(), RATE, 2048, programs=programs, controls=controls)


class Storm:
    """An endless supply of messages, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def block(self) -> tuple[list[Event], int]:
        """Some events, several at a time, and how many samples their block has."""
        rng = self._rng
        n_samples = int(rng.choice((1, 16, 64, 64, 128, 333)))
        places = np.sort(rng.integers(0, n_samples, int(rng.integers(1, 6))))
        events = []
        for place in places:
            for _ in range(int(rng.integers(1, 14))):
                events += [Event(int(place), message) for message in self._messages()]
        return events, n_samples

    def _messages(self) -> list[bytes]:
        rng = self._rng
        kind, channel = rng.random(), int(rng.integers(0, 16)) if rng.random() < 0.6 else int(rng.integers(0, 2))
        key, value = int(rng.integers(0, 128)), int(rng.integers(0, 128))
        if kind < 0.45:
            return [bytes((0x90 if rng.random() < 0.6 else 0x80, key, value)).translate(_on(channel))]
        if kind < 0.55:
            return [bytes((0xB0 | channel, int(rng.choice((64, 64, 66, 67, 68, 69, 65))), value))]
        if kind < 0.70:
            return [bytes((0xB0 | channel, int(rng.integers(0, 120)), value))]
        if kind < 0.71:
            return [bytes((0xB0 | channel, int(rng.integers(120, 128)), value))]
        if kind < 0.83:
            return [bytes((int(rng.choice((0xA0, 0xE0))) | channel, key, value)), bytes((0xD0 | channel, value))]
        if kind < 0.84:
            return [bytes((0xC0 | channel, key))]
        if kind < 0.87:
            return self._parameter(channel, key, value)
        if kind < 0.90:
            return [self._system(value)]
        if kind < 0.93:
            return [self._sysex(key, value)]
        return [self._garbage()]

    def _parameter(self, channel: int, key: int, value: int) -> list[bytes]:
        """Data entry of a registered parameter or a knob; now and then a new MPE zone."""
        rng, status = self._rng, 0xB0 | channel
        if rng.random() < 0.1:
            master = 0xB0 | int(rng.choice((0, 15)))
            return [bytes((master, 101, 0)), bytes((master, 100, 6)), bytes((master, 6, int(rng.integers(0, 18))))]
        first, second = ((101, 100), (99, 98))[int(rng.integers(0, 2))]
        msb, number = int(rng.integers(0, 5)), int(rng.integers(0, 24))
        entry = bytes((status, int(rng.choice((6, 38, 96, 97))), key))
        return [bytes((status, first, msb)), bytes((status, second, number)), entry, bytes((status, 38, value))]

    def _system(self, value: int) -> bytes:
        rng = self._rng
        if rng.random() < 0.005:
            return b"\xff"
        if rng.random() < 0.2:
            return b"\xff\x51\x03" + rng.bytes(int(rng.integers(2, 5)))
        status = int(rng.choice((0xF1, 0xF2, 0xF3, 0xF6, 0xF8, 0xF8, 0xF8, 0xFA, 0xFB, 0xFC, 0xFE)))
        return bytes((status, value, value)[: int(rng.integers(1, 4))])

    def _sysex(self, key: int, value: int) -> bytes:
        """One that means something, often with its end or a byte broken."""
        rng = self._rng
        known = (
            bytes((0xF0, 0x7F, 0x7F, 8, 2, 0, 1, key, value, 0, 0, 0xF7)),
            bytes((0xF0, 0x7F, 0x7F, 8, 8, 3, 127, 127, *[value] * 12, 0xF7)),
            bytes((0xF0, 0x7F, 0x7F, 4, int(rng.integers(1, 6)), 0, value, 0xF7)),
            bytes((0xF0, 0x7E, 0x7F, 9, 1 + 2 * int(rng.random() < 0.01), 0xF7))
            if rng.random() < 0.02
            else b"\xf0\xf7",
        )
        message = bytearray(known[int(rng.integers(0, len(known)))])
        if rng.random() < 0.5:
            message[int(rng.integers(0, len(message)))] = int(rng.integers(0, 256))
        return bytes(message[: int(rng.integers(0, len(message) + 1))] if rng.random() < 0.3 else message)

    def _garbage(self) -> bytes:
        """Any bytes, any channel message cut short, any with data bytes above 127; no lone FF, which resets."""
        rng = self._rng
        if rng.random() < 0.5:
            status = int(rng.integers(0x80, 0xF0))
            message = bytes((status, *rng.bytes(int(rng.integers(0, 4)))))
        else:
            message = rng.bytes(int(rng.integers(0, 40)))
        return b"" if message == b"\xff" else message


def _on(channel: int) -> bytes:
    """A translation that puts note messages on a channel."""
    table = bytearray(range(256))
    table[0x80], table[0x90] = 0x80 | channel, 0x90 | channel
    return bytes(table)


def run_storm(engine: Engine, storm: Storm, n_events: int) -> int:
    """Play at least so many events; returns how many it were.

    Raises:
        AssertionError: a sample is not finite or beyond 0.99.
    """
    done = 0
    while done < n_events:
        events, n_samples = storm.block()
        audio = engine.process(events, n_samples)
        assert np.isfinite(audio).all(), "a sample is no number"
        assert np.abs(audio).max() <= 0.99, "a sample is beyond 0.99"
        done += len(events)
    return done


def panic(engine: Engine, messages: list[bytes]) -> tuple[bool, float]:
    """Send them: whether anything is held one block later, and the largest sample from 10 ms on."""
    engine.process([Event(0, message) for message in messages], 64)
    gated = engine.is_gated or any(part.pool.held().any() for part in engine.parts if not _has_one_shots(part))
    engine.process([], SILENT_AFTER - 64)
    return gated, float(np.abs(engine.process([], 4800)).max())


def _has_one_shots(part) -> bool:
    return part.patch.spec.sustain is None


def sizes(engine: Engine) -> dict[str, int]:
    """How much the engine keeps in things that could grow."""
    boards = engine.performer.band.keyboards
    return {
        "decoded spectra": sum(len(part.patch.bank) for part in engine.parts),
        "held notes": sum(1 for board in boards for _ in board._held.everything()),  # noqa: SLF001
        "changes to come": sum(len(part._tail._changes) for part in engine.parts),  # noqa: SLF001
        "silences to come": len(engine.performer.band.silenced),
    }


def resident_megabytes() -> float:
    """Memory of this process now, where the system tells; else the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(n_events: int) -> None:
    """Run it and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        engine, storm = storm_engine(Path(folder)), Storm(1)
        started, done, memory = time.perf_counter(), 0, []
        for tenth in range(10):
            done += run_storm(engine, storm, n_events // 10)
            name = list(PANICS)[tenth % len(PANICS)]
            gated, peak = panic(engine, PANICS[name])
            memory.append(resident_megabytes())
            print(f"{done:9d} events, {time.perf_counter() - started:6.1f} s, {memory[-1]:6.1f} MB, {sizes(engine)}")
            print(f"          {name}: {'NOTES HELD' if gated else 'nothing held'}, {peak:.1e} after 10 ms")
            assert not gated, "a panic left a note"
            assert peak == 0.0 or name not in SILENCING, "a panic left a sound"
        seconds = time.perf_counter() - started
        print(f"{done} events in {seconds:.0f} s, {1e6 * seconds / done:.0f} µs each; {engine.ignored} meant nothing")
        print(
            f"memory grew by {memory[-1] - memory[1]:.1f} MB from the second tenth to the last; {engine.faults} faults"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
