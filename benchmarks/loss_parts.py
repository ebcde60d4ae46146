"""Where the way from *floor* to *play* comes from: `python benchmarks/loss_parts.py FOLDER MODEL.onnx …`.

Each recording of FOLDER that the model never saw is played by it again and again, each time with one thing more as the
recording has it:

- *noise*: the recording's own noise,
- *partials*: its own partials,
- *means*: of each partial and noise band only the mean level over the note,
- *pitch*: its own movement of pitch.

What brings the distance furthest down is what the model knows least. A model that was trained on all recordings has
nothing to tell: use a twin (`neuralsynth train --hold-out 5`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuralsynth.analysis import distance
from neuralsynth.analysis.folder import read_folder
from neuralsynth.errors import NeuralSynthError, RecordingError
from neuralsynth.instrument import Instrument
from neuralsynth.scoring import play_spectrum
from neuralsynth.scoring.hearing import Ears, Heard
from neuralsynth.scoring.rivals import held
from neuralsynth.spectrum import NoteSpectrum
from neuralsynth.units import db_to_gain, gain_to_db, hz_to_note

PARTS = ("play", "pitch", "noise", "means", "partials", "floor")
_SOFTEST, _AUDIBLE_DB = 10.0 ** (-110.0 / 20.0), 80.0


def measure(instrument: Instrument, folder: Path) -> dict[str, float]:
    """Mean distances in dB over the recordings that the model never saw, by `PARTS`.

    Raises:
        RecordingError: it has seen them all.
    """
    spec = instrument.model.spec
    seen = set(spec.provenance.recordings) if spec.provenance else set()
    unseen = [recording for recording in read_folder(folder).used if recording.digest not in seen]
    if not unseen:
        raise RecordingError(f"{folder}: the model has seen all of it; use a twin that was trained with --hold-out")
    ears = Ears(spec.grid(), [])
    rows = [_measure_one(instrument, ears.hear(recording)) for recording in unseen]
    return {part: float(np.mean([row[part] for row in rows])) for part in PARTS}


def _measure_one(instrument: Instrument, one: Heard) -> dict[str, float]:
    spec, reference, own = instrument.spec, held(one), one.analysis.spectrum
    sustain = (spec.sustain.start_seconds, spec.sustain.end_seconds) if spec.sustain else None
    tuning, rate = float(hz_to_note(one.analysis.pitch_hz)), one.sample_rate
    decoded = instrument.model.decode(instrument.latent[None], np.array([one.note]), np.array([one.velocity / 127.0]))
    plain = decoded.note(0, spec.grid())
    own = _at_level_of(own, plain)
    counts = np.gradient(own.grid.frame_seconds) * (np.arange(own.grid.n_frames) < one.analysis.n_valid_frames)
    changed = {
        "play": plain,
        "pitch": replace(plain, cents=own.cents),
        "noise": replace(plain, noise=own.noise),
        "partials": replace(plain, partials=own.partials),
        "means": replace(
            plain,
            partials=_with_means(plain.partials, own.partials, counts),
            noise=_with_means(plain.noise, own.noise, counts),
        ),
        "floor": own,
    }
    return {
        part: distance(reference, play_spectrum(spectrum, tuning, len(reference), rate, sustain), rate)
        for part, spectrum in changed.items()
    }


def _at_level_of(own: NoteSpectrum, other: NoteSpectrum) -> NoteSpectrum:
    """A spectrum made as loud as another, so that their parts can be exchanged."""
    lengths = np.gradient(own.grid.frame_seconds)
    energy = [float((10.0 ** (s.level_db() / 10.0)) @ lengths) for s in (own, other)]
    gain = np.sqrt(energy[1] / energy[0])
    return replace(own, partials=own.partials * gain, noise=own.noise * gain)


def _with_means(plain: np.ndarray, own: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Levels `[T, C]` moved column by column so that their means in dB are those of `own`, as far as they are heard."""
    levels, wanted = (gain_to_db(np.maximum(x, _SOFTEST)) for x in (plain, own))
    floor = wanted.max() - _AUDIBLE_DB
    moved = np.maximum(wanted, floor) - np.maximum(levels, floor)
    return db_to_gain(levels + np.average(moved, axis=0, weights=counts)) * (plain > 0.0)


def table(found: dict[str, dict[str, float]]) -> str:
    """A Markdown table, one line per model."""
    lines = [f"| model | {' | '.join(PARTS)} |", f"| --- | {' | '.join(['--:'] * len(PARTS))} |"]
    lines += [f"| {name} | {' | '.join(f'{row[part]:.2f}' for part in PARTS)} |" for name, row in found.items()]
    means = [float(np.mean([row[part] for row in found.values()])) for part in PARTS]
    return "\n".join([*lines, f"| mean | {' | '.join(f'{mean:.2f}' for mean in means)} |"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="recordings; for several models, the folder of their folders")
    parser.add_argument("models", nargs="+", metavar="MODEL[=SUBFOLDER]", help="twins to look at")
    options = parser.parse_args(arguments)
    found = {}
    try:
        for model in options.models:
            path, _, below = model.partition("=")
            found[Path(path).stem] = measure(Instrument.load(path), options.folder / below)
    except NeuralSynthError as error:
        print(f"loss_parts: {error}", file=sys.stderr)
        return error.exit_code
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
