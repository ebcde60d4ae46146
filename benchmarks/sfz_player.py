"""Exported SFZ instruments as sfizz plays them, against neuralsynth itself: every key, several velocities.

    pip install pysfizz
    python benchmarks/sfz_player.py [--effects] [PRESET ...]

For each preset, at every key of its range: does it sound, how far is its pitch from our own render's (cents: the shift
at which the two spectra agree best), and how far its level (dB, over a note held for two seconds). `again` is how far
our own render is from itself when the same note is struck a second time: textures and ensembles are drawn anew for each
note. sfizz plays with its master volume down; what a full-scale sample loses there is taken off.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.audiofile import write_audio
from neuralsynth.design.multisample import SfzOptions, export_multisample
from neuralsynth.instrument import Instrument
from neuralsynth.patch import Patch
from neuralsynth.units import gain_to_db, note_to_hz

PRESETS = (
    "alto-sax", "upright-piano", "classical-guitar", "cello", "transistor-organ", "bell-keys", "warm-poly-pad",
    "piano-and-strings",
)  # fmt: skip
RATE, BLOCK = 44_100, 512
HELD_SECONDS, DELAY_SECONDS = 2.0, 0.3
VELOCITIES = (15, 50, 80, 100, 127)
_CENTS = 60
IN_MEMORY = "<control> hint_ram_based=1\n"


@dataclass(frozen=True)
class Difference:
    """One note, sfizz less neuralsynth."""

    key: int
    velocity: int
    sounds: bool
    cents: float
    level_db: float
    again_cents: float  # of our own render, struck a second time
    again_db: float


#: sfizz rounds denormal numbers to zero, on the thread that loads it and for good: it gets one of its own.
_APART = ThreadPoolExecutor(1, "sfizz")


def apart(method: Callable) -> Callable:
    """A method that runs on sfizz's thread."""

    @functools.wraps(method)
    def call(*arguments, **named):
        return _APART.submit(method, *arguments, **named).result()

    return call


class Player:
    """sfizz with an instrument, its master volume taken off."""

    @apart
    def __init__(self, sfz: Path) -> None:
        """Load an instrument."""
        from pysfizz import Synth

        self._synth = Synth(RATE, BLOCK)
        hinted = sfz.with_name(f"{sfz.stem}.in-memory.sfz")  # from disk, the first note would be cut short
        hinted.write_text(IN_MEMORY + sfz.read_text())
        if not self._synth.load_sfz_file(hinted):
            raise ValueError(f"{sfz}: sfizz cannot read it")
        hinted.unlink()
        with tempfile.TemporaryDirectory() as folder:
            self._gain = 1.0 / _master_gain(Path(folder))

    @apart
    def note(self, key: int, velocity: int, held_seconds: float, seconds: float) -> np.ndarray:
        """One note, `[2, n]`."""
        self._synth._synth.all_sound_off()  # noqa: SLF001
        return self._gain * self._synth.render_note(key, velocity, held_seconds, seconds)

    @apart
    def phrase(self, notes: list[tuple[float, float, int, int]], seconds: float) -> np.ndarray:
        """Notes `(start, end, key, velocity)` at once, `[2, n]`, to the block."""
        raw, blocks = self._synth._synth, []  # noqa: SLF001
        raw.all_sound_off()
        moments = sorted([(a, 1, k, v) for a, _, k, v in notes] + [(b, 0, k, 0) for _, b, k, _ in notes])
        for start in range(0, round(seconds * RATE), BLOCK):
            while moments and moments[0][0] * RATE < start + BLOCK:
                moment, is_on, key, velocity = moments.pop(0)
                delay = max(0, round(moment * RATE) - start)
                raw.note_on(delay, key, velocity) if is_on else raw.note_off(delay, key, 0)
            blocks.append(np.array(raw.render_block()))
        return self._gain * np.concatenate(blocks, axis=1)

    @apart
    def control(self, controller: int, value: int) -> None:
        """Turn a controller."""
        self._synth._synth.cc(0, controller, value)  # noqa: SLF001


def _master_gain(folder: Path) -> float:
    """What sfizz leaves of a full-scale sample."""
    from pysfizz import Synth

    write_audio(folder / "full.wav", np.full((2, RATE), 0.5, np.float32), RATE)
    (folder / "full.sfz").write_text(IN_MEMORY + "<region> sample=full.wav pitch_keycenter=60 amp_veltrack=0\n")
    synth = Synth(RATE, BLOCK)
    synth.load_sfz_file(folder / "full.sfz")
    return float(np.median(synth.render_note(60, 127, 0.5, 0.5)[0])) / 0.5


def without_effects(instrument: Patch) -> Patch:
    """Take the effects of a patch and of all its layers away."""
    for _, zone in instrument.zones:
        zone.preset = msgspec.structs.replace(zone.preset, effects=())
    return instrument


def differences(
    instrument: Instrument, player: Player, keys: range | list[int], velocities: tuple[int, ...]
) -> list[Difference]:
    """Compare every key at these velocities."""
    found, n = [], round(HELD_SECONDS * RATE)
    for key in keys:
        for velocity in velocities:
            once = [(bytes([0x90, key, velocity]), 0.0), (bytes([0x80, key, 64]), HELD_SECONDS)]
            ours = instrument(once, HELD_SECONDS, RATE)
            again = ours
            if velocity == velocities[-1]:
                late = round(DELAY_SECONDS * RATE)
                first = (bytes([0x90, key, 1]), 0.0), (bytes([0xB0, 120, 0]), 0.1)
                again = instrument(
                    [*first, *((m, t + DELAY_SECONDS) for m, t in once)], HELD_SECONDS + DELAY_SECONDS, RATE
                )
                again = again[:, late:]
            theirs = player.note(key, velocity, HELD_SECONDS, HELD_SECONDS)[:, :n]
            hertz = float(note_to_hz(key))
            level, other, same = (_level_db(audio) for audio in (ours, theirs, again))
            cents, drawn = cents_between(ours, theirs, hertz), cents_between(ours, again, hertz)
            found.append(Difference(key, velocity, other > -100.0, cents, other - level, drawn, same - level))
    return found


def cents_between(ours: np.ndarray, theirs: np.ndarray, hertz: float) -> float:
    """The shift in cents at which the spectra of two notes agree best."""
    grid = 0.45 * hertz * 2.0 ** (np.arange(4800) / 1200.0)
    grid = grid[grid < 0.45 * RATE]
    spectra = [_spectrum(audio, grid) for audio in (ours, theirs)]
    shifts = np.arange(-_CENTS, _CENTS + 1)
    inside = slice(_CENTS, len(grid) - _CENTS)
    scores = np.array([np.sum(spectra[0][inside] * np.roll(spectra[1], -s)[inside]) for s in shifts])
    at = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    left, top, right = scores[at - 1 : at + 2]
    bend = left - 2.0 * top + right
    return float(shifts[at] + (0.5 * (left - right) / bend if bend else 0.0))


def _spectrum(audio: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Magnitudes at the frequencies of a grid."""
    mono = audio.mean(axis=0)
    size = 1 << (4 * len(mono)).bit_length()
    magnitude = np.abs(np.fft.rfft(mono * np.hanning(len(mono)), size))
    return np.interp(grid, np.fft.rfftfreq(size, 1.0 / RATE), magnitude)


def _level_db(audio: np.ndarray) -> float:
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))))


def main() -> None:
    """Print the table."""
    print("| preset | notes | silent | cents: median | 95 % | worst | again | dB: median | 95 % | worst | again "
          "| within 1 dB | MB |")  # fmt: skip
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |")
    effects = "--effects" in sys.argv
    for name in [argument for argument in sys.argv[1:] if argument != "--effects"] or PRESETS:
        with tempfile.TemporaryDirectory() as folder:
            report = export_multisample(name, folder, SfzOptions(sample_rate=RATE, effects=effects))
            instrument = Instrument.load(name) if effects else without_effects(Instrument.load(name))
            keys = range(report.keys[0], report.keys[1] + 1)
            found = differences(instrument, Player(Path(report.output)), keys, VELOCITIES)
        numbers = np.abs([[d.cents, d.level_db, d.again_cents, d.again_db] for d in found]).T
        cents, level, again_cents, again = numbers
        print(
            f"| {name} | {len(found)} | {sum(not d.sounds for d in found)} | {np.median(cents):.2f} "
            f"| {np.quantile(cents, 0.95):.2f} | {cents.max():.2f} | {again_cents.max():.2f} "
            f"| {np.median(level):.2f} | {np.quantile(level, 0.95):.2f} | {level.max():.2f} | {again.max():.2f} "
            f"| {100.0 * np.mean(level <= 1.0):.1f} % | {report.megabytes:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
