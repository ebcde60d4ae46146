"""Measures dynamics against recordings: `python benchmarks/dynamics.py RECORDINGS [INSTRUMENT …] [--kept FOLDER]`.

RECORDINGS holds the folders that the instruments were trained on; they are found by the digests that an instrument
file carries. Between neighbouring dynamic layers of a note two differences are taken, from the recordings and from the
instrument at the same notes and velocities, and averaged over the notes: the level of the first second, and the level
of the partials above the third against that of the first three in that second (brightness). The recordings count as
training sees them: uneven notes evened, layers that somebody made equally loud given most of General MIDI's law back
(`training.dataset`). The instrument counts as its note bank plays it.

And for every instrument, layers or not: how the level of a key moves over the velocities 1 to 127.

Promised: both differences within 1.5 dB, each pair of layers on average; every key louder with every velocity. Exit
code 1 if not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.analysis.files import checked_digest, find_files
from neuralsynth.analysis.folder import Recording, read_folder
from neuralsynth.errors import NeuralSynthError, UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.note_bank import NoteBank
from neuralsynth.preset import shipped_models
from neuralsynth.spec import InstrumentSpec, point_name
from neuralsynth.training.analyses import analyse_recordings
from neuralsynth.training.dataset import NoteTable, build_table

MOST_DB = 1.5
RATE, SECONDS = 24_000, 0.7
LOWER_PARTIALS = 3
_UNHEARD = 1e-5  # upper partials that much weaker in power than the lower ones count as such


@dataclass(frozen=True)
class Layers:
    """The step from one dynamic layer to the next louder one, means over the notes that have both, in dB."""

    instrument: str
    point: str
    softer: int
    louder: int
    n_notes: int
    recorded_level: float
    played_level: float
    recorded_brightness: float
    played_brightness: float

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        level, brightness = self.played_level - self.recorded_level, self.played_brightness - self.recorded_brightness
        return abs(level) <= MOST_DB and abs(brightness) <= MOST_DB


def level_db(partials: np.ndarray, noise: np.ndarray, frame_seconds: np.ndarray) -> float:
    """Mean level of the first second of `[T, P]` and `[T, B]`."""
    weight = np.gradient(frame_seconds) * (frame_seconds < 1.0)
    power = 0.5 * (partials**2).sum(axis=1) + (noise**2).sum(axis=1)
    return 10.0 * float(np.log10(weight @ power / weight.sum() + 1e-12))


def brightness_db(partials: np.ndarray, frame_seconds: np.ndarray) -> float:
    """Level of the partials above the third against that of the first three, over the first second."""
    energy = (np.gradient(frame_seconds) * (frame_seconds < 1.0)) @ partials.astype(np.float64) ** 2
    lower = energy[:LOWER_PARTIALS].sum() + 1e-15
    return 10.0 * float(np.log10(energy[LOWER_PARTIALS:].sum() / lower + _UNHEARD))


def compare(instrument: Instrument, table: NoteTable) -> list[Layers]:
    """Every pair of neighbouring layers that some notes of a table of recordings have both of, loudest last."""
    found = []
    for group, label in enumerate(table.groups):
        layers = np.unique(table.velocity[table.group == group])
        point = point_name(label)
        bank = _bank(instrument, point)
        for softer, louder in pairwise(layers):
            steps = _steps(bank, table, group, softer, louder)
            if len(steps):
                velocities = (round(float(v) * 127.0) for v in (softer, louder))
                means = (float(x) for x in np.mean(steps, axis=0))
                called = point if len(table.groups) == 1 else f"{instrument.path.stem}: {point}"
                found.append(Layers(instrument.name, called, *velocities, len(steps), *means))
    return found


def _bank(instrument: Instrument, point: str) -> NoteBank:
    """The notes of a named point, of the default point if there is none of that name."""
    points = instrument.model.spec.points
    return NoteBank(instrument.model, np.array(points[point], np.float32) if point in points else instrument.latent)


def _steps(bank: NoteBank, table: NoteTable, group: int, softer: float, louder: float) -> np.ndarray:
    """Per note that has both layers: recorded and played step of level, recorded and played step of brightness."""
    steps, times = [], table.grid.frame_seconds
    for note in np.unique(table.note[table.group == group]):
        rows = [_rows(table, group, note, velocity) for velocity in (softer, louder)]
        if min(len(r) for r in rows) == 0:
            continue
        recorded = [np.mean([_recorded(table, i) for i in r], axis=0) for r in rows]
        velocities = [127.0 * float(velocity) for velocity in (softer, louder)]
        (sounds,) = bank.layers_for(velocities, table.grid, [round(float(note))])
        played = [(level_db(s.partials, s.noise, times), brightness_db(s.partials, times)) for s in sounds]
        level, brightness = np.stack([np.subtract(x[1], x[0]) for x in (recorded, played)], axis=1)
        steps.append([*level, *brightness])
    return np.array(steps)


def _rows(table: NoteTable, group: int, note: float, velocity: float) -> np.ndarray:
    return np.flatnonzero((table.group == group) & (table.note == note) & (table.velocity == velocity))


def _recorded(table: NoteTable, row: int) -> tuple[float, float]:
    partials, noise = (10.0 ** (x[row].T.astype(np.float64) / 20.0) for x in (table.partials_db, table.noise_db))
    return level_db(partials, noise, table.grid.frame_seconds), brightness_db(partials, table.grid.frame_seconds)


def least_rise_db(instrument: Instrument, keys: Sequence[int], velocities: Iterable[int] = range(1, 128)) -> float:
    """The smallest step of level from one velocity to the next on any of the keys; negative where one is softer."""
    still = msgspec.structs.replace(instrument.preset.sound, texture=0.0, variation=0.0)  # twice the same
    preset = msgspec.structs.replace(instrument.preset, sound=still)
    patch = Instrument(preset, instrument.model, instrument.path)
    levels = [[_played_db(patch, key, velocity) for velocity in velocities] for key in keys]
    return float(np.diff(levels, axis=1).min())


def _played_db(instrument: Instrument, key: int, velocity: int) -> float:
    audio = instrument([(bytes([0x90, key, velocity]), 0.0)], SECONDS, RATE, num_channels=1)[0]
    return 10.0 * float(np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-20))


def trained_on(spec: InstrumentSpec, recordings: Path) -> list[Recording]:
    """The recordings below a folder that an instrument was trained on; each one's group is the folder it lies in."""
    known = set(spec.provenance.recordings) if spec.provenance else set()
    files, _, _ = find_files(recordings)
    folders = dict.fromkeys(file.parent for file in files if checked_digest(file) in known)
    found = []
    for folder in folders:
        used = [r for r in read_folder(folder).used if r.path.parent == folder and r.digest in known]
        found += [replace(r, group=folder.name) for r in used]
    return found


def tabulated(instrument: Instrument, recordings: Sequence[Recording], kept: Path) -> NoteTable:
    """Recordings as training sees them, on the instrument's grid; analyses are kept in a folder."""
    grid = instrument.model.spec.grid()
    return build_table(analyse_recordings(recordings, grid, kept, workers=1)[0], grid)


def table(found: Sequence[Layers]) -> str:
    """A Markdown table, one line per pair of layers: recorded, played and how far they are apart."""
    lines = ["| instrument | layers | notes | level, recorded | played | off | brightness, recorded | played | off |"]
    lines.append("| --- | --- | --: | --: | --: | --: | --: | --: | --: |")
    for f in found:
        pairs = ((f.recorded_level, f.played_level), (f.recorded_brightness, f.played_brightness))
        cells = " | ".join(f"{a:+.1f} | {b:+.1f} | {b - a:+.1f}" for a, b in pairs)
        lines.append(f"| {f.point} | {f.softer} to {f.louder} | {f.n_notes} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    """Print the tables; 1 if a promise is broken, 2 for files that cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="folder of the recordings' folders")
    parser.add_argument("instruments", nargs="*", type=Path, help="instrument files  [default: VAEs of notes]")
    parser.add_argument("--kept", type=Path, help="folder in which analyses are kept  [default: none are]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="dynamics-") as passing:
            found, rises = _measured(options, options.kept or Path(passing))
    except NeuralSynthError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps({"layers": [asdict(f) for f in found], "least_rise_db": rises}, indent=1))
    else:
        print(table(found))
        print("\n| instrument | least rise from one velocity to the next, dB |\n| --- | --: |")
        print("\n".join(f"| {name} | {rise:.3f} |" for name, rise in rises.items()))
    return 0 if all(f.holds for f in found) and all(rise > 0.0 for rise in rises.values()) else 1


def _measured(options: argparse.Namespace, kept: Path) -> tuple[list[Layers], dict[str, float]]:
    if not options.recordings.is_dir():
        raise UsageError(f"{options.recordings}: is no folder; give the one that holds the recordings' folders")
    found, rises = [], {}
    for path in options.instruments or shipped_models():
        instrument = Instrument.load(path)
        spec = instrument.model.spec
        if not options.instruments and (spec.family != "vae" or not spec.axes):
            continue  # a GAN's level is a law of note and touch; of drums each hit is another
        rises[path.stem] = least_rise_db(instrument, np.linspace(spec.note_low, spec.note_high, 5).round().astype(int))
        if spec.velocity_high > spec.velocity_low:
            recordings = trained_on(spec, options.recordings)
            if not recordings:
                raise UsageError(f"{options.recordings}: holds none of the recordings that {path} was trained on")
            found += compare(instrument, tabulated(instrument, recordings, kept))
    return found, rises


if __name__ == "__main__":
    sys.exit(main())
