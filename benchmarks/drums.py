"""Measures a drum kit: `python -m benchmarks.drums RECORDINGS SONGS [--twin TWIN.onnx] [--kit KIT.onnx]`.

RECORDINGS is the folder of hits the kit was trained on, SONGS a folder of MIDI files. A *twin* is trained without every
third hit of each piece (pieces with fewer than three hits keep them, and are left out of what is said of unseen hits)
or taken from `--twin`. Printed, and held to these bars:

- *floor*: distance (`neuralsynth.analysis.distance`, dB) from a recording to its own analysis, played back.
- *drawn*: at the velocity of each hit the twin learned from, a variation is drawn; its distance to the nearest hit that
  was left out, mean. *real*: the same for the learned hit itself. Promised: drawn <= 1.15 x real for each piece.
- a classifier (linear discriminant analysis on log-mel means of four stretches of time, level taken off, scikit-learn)
  learns the pieces from the hits that the twin learned from. Promised: it names >= 95 % of drawn variations right; what
  it names right of the real hits left out stands beside.
- loudness rises with velocity on every piece of the shipped kit.
- every song with a drum channel renders at >= 25 times real time with the General MIDI performance.
- training takes at most 20 minutes (of the shipped kit, as its file says).

Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.dynamics import least_rise_db
from neuralsynth.analysis import distance
from neuralsynth.analysis.distance import mel_spectrogram
from neuralsynth.analysis.folder import Recording, read_folder
from neuralsynth.analysis.hit import analyse_piece
from neuralsynth.analysis.note import sounding_part
from neuralsynth.errors import NeuralSynthError
from neuralsynth.hosts.midi_file import read_midi_file
from neuralsynth.instrument import Instrument
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.preset import bare_preset, shipped_folder
from neuralsynth.scoring import play_hit, play_spectrum
from neuralsynth.spec import point_name

MOST_TIMES_REAL, LEAST_RIGHT, LEAST_REAL_TIME, MOST_MINUTES = 1.15, 0.95, 25.0, 20.0
LEAVE_OUT = 3
RATE, LONGEST_SECONDS = 44_100, 6.0
DRAWS_FOR_CLASSIFIER = 12
STRETCHES_SECONDS = ((0.0, 0.02), (0.02, 0.08), (0.08, 0.25), (0.25, 0.8))
DRUM_CHANNEL = 9


@dataclass(frozen=True)
class Piece:
    """The hits of one drum, and which of them the twin learned from."""

    name: str
    recordings: list[Recording]
    sounds: list[np.ndarray]  # mono at `RATE`, from the onset on
    seen: list[bool]

    def of(self, seen: bool) -> list[np.ndarray]:
        """The sounds of the hits that were learned from, or of those left out."""
        return [sound for sound, is_seen in zip(self.sounds, self.seen, strict=True) if is_seen == seen]


@dataclass(frozen=True)
class Row:
    """What was found of one piece; NaN where nothing was left out."""

    piece: str
    n_seen: int
    n_unseen: int
    floor_db: float
    drawn_db: float
    real_db: float
    least_rise_db: float

    @property
    def holds(self) -> bool:
        """Whether the piece keeps what is promised."""
        return self.least_rise_db > 0.0 and not self.drawn_db > MOST_TIMES_REAL * self.real_db


def read_pieces(folder: Path, seen: set[str]) -> list[Piece]:
    """The pieces of a folder of hits."""
    used = read_folder(folder, kind="drums").used
    pieces = []
    for name in dict.fromkeys(r.group for r in used):
        mine = sorted((r for r in used if r.group == name), key=lambda r: (r.velocity or 0, r.name))
        pieces.append(Piece(name, mine, [_sound(r) for r in mine], [r.digest in seen for r in mine]))
    return pieces


def _sound(recording: Recording) -> np.ndarray:
    from scipy.signal import resample_poly

    audio, rate = recording.load()
    if rate != RATE:
        audio = resample_poly(audio, RATE, rate)
    whole, onset, end = sounding_part(audio.astype(np.float64), RATE)
    return whole[round(onset * RATE) : round(min(end, onset + LONGEST_SECONDS) * RATE)]


def floors_db(piece: Piece, model: InstrumentModel) -> float:
    """Mean distance of the hits of a piece to their own analysis, played back."""
    key, found = piece.recordings[0].note or 0, []
    loaded = [(sound, RATE) for sound in piece.sounds]
    for sound, analysis in zip(piece.sounds, analyse_piece(loaded, key, model.spec.grid()), strict=True):
        if not isinstance(analysis, Exception):
            played = play_spectrum(analysis.spectrum, float(key), len(sound), RATE, None)
            found.append(distance(sound, played, RATE))
    return float(np.mean(found))


def drawn(model: InstrumentModel, piece: Piece, velocity: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A hit of a piece that nobody recorded."""
    spec, point = model.spec, point_name(piece.name)
    latent = spec.place(spec.points[point]) + spec.vary(point, rng)
    key = piece.recordings[0].note or 0
    decoded = model.decode(latent[None], np.array([key]), np.array([velocity / 127.0]))
    assert isinstance(decoded, Decoded)
    return play_hit(decoded, spec, point, (key, velocity), round(seconds * RATE), RATE, rng)


def nearest_db(references: Sequence[np.ndarray], sound: np.ndarray) -> float:
    """Distance to the nearest of some recordings."""
    return min(distance(reference, sound, RATE) for reference in references)


def measure(piece: Piece, model: InstrumentModel, kit: InstrumentModel, rng: np.random.Generator) -> Row:
    """All figures of one piece."""
    unseen, drawn_db, real_db = piece.of(seen=False), [], []
    longest = max((len(sound) / RATE for sound in piece.sounds), default=1.0)
    if unseen:
        for recording, sound, seen in zip(piece.recordings, piece.sounds, piece.seen, strict=True):
            if seen:
                real_db.append(nearest_db(unseen, sound))
                drawn_db.append(nearest_db(unseen, drawn(model, piece, recording.velocity or 90, rng, longest)))
    means = [float(np.mean(values)) if values else float("nan") for values in (drawn_db, real_db)]
    seen = sum(piece.seen)
    return Row(piece.name, seen, len(unseen), floors_db(piece, model), *means, rise_db(kit, piece))


def rise_db(kit: InstrumentModel, piece: Piece) -> float:
    """By how much the piece gets louder from one velocity to the next, at least, in the shipped kit."""
    preset = bare_preset(kit.path)
    sound = msgspec.structs.replace(preset.sound, point=point_name(piece.name))
    instrument = Instrument(msgspec.structs.replace(preset, sound=sound), kit, kit.path)
    return least_rise_db(instrument, [piece.recordings[0].note or 0], range(1, 128, 7))


def features(sound: np.ndarray) -> np.ndarray:
    """Log-mel means of a few stretches of time, level taken off: `[160]`."""
    size = 1024
    bands = mel_spectrogram(np.pad(sound, (0, size)), RATE, size, 40)
    rows = []
    for start, end in STRETCHES_SECONDS:
        first, last = (int(seconds * RATE / (size // 4)) for seconds in (start, end))
        rows.append(np.sqrt(np.mean(bands[first : max(last, first + 1)] ** 2, axis=0)) if first < len(bands) else None)
    silent = np.zeros(bands.shape[1])
    power = np.stack([silent if row is None else row for row in rows])
    level_db = 20.0 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-4))
    return level_db.ravel()


def classify(pieces: Sequence[Piece], model: InstrumentModel, rng: np.random.Generator) -> tuple[float, float]:
    """Share of drawn variations, and of real hits left out, that a classifier of the learned hits names right."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    learned = [(features(sound), piece.name) for piece in pieces for sound in piece.of(seen=True)]
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
    judge.fit(np.stack([x for x, _ in learned]), [name for _, name in learned])
    unseen = [(features(sound), piece.name) for piece in pieces for sound in piece.of(seen=False)]
    made = []
    for piece in pieces:
        softest, loudest = (piece.recordings[i].velocity or 90 for i in (0, -1))
        velocities = np.linspace(softest, loudest, DRAWS_FOR_CLASSIFIER).astype(int).tolist()
        made += [(features(drawn(model, piece, velocity, rng, 1.2)), piece.name) for velocity in velocities]
    return _right(judge, made), _right(judge, unseen)


def _right(judge, examples: Sequence[tuple[np.ndarray, str]]) -> float:
    said = judge.predict(np.stack([x for x, _ in examples]))
    for name in sorted({name for _, name in examples}):
        wrong = [str(s) for s, (_, true) in zip(said, examples, strict=True) if true == name and s != true]
        if wrong:
            print(f"    {name} named {', '.join(sorted(set(wrong)))} {len(wrong)} times")
    return float(np.mean([s == true for s, (_, true) in zip(said, examples, strict=True)]))


def songs_times_real_time(folder: Path, performance: str) -> dict[str, float]:
    """How much faster than real time each song with a drum channel renders, everything but loading counted."""
    from neuralsynth.hosts.cast import Cast
    from neuralsynth.hosts.render import song_blocks

    speeds = {}
    for path in sorted(folder.glob("*.mid")):
        song = read_midi_file(path)
        if DRUM_CHANNEL not in song.channels_used():
            continue
        engine = Cast(song, programs=performance).engine(48_000)
        started, n_samples = time.process_time(), 0
        for block in song_blocks(song, engine):
            n_samples += block.shape[1]
        speeds[path.name] = n_samples / 48_000 / (time.process_time() - started)
    return speeds


def train_twin(recordings: Path, into: Path, kit: InstrumentModel) -> Path:
    """Train the kit again without every third hit, with the same settings."""
    from neuralsynth.training.config import TrainConfig
    from neuralsynth.training.run import train_folder

    provenance = kit.spec.provenance
    assert provenance is not None
    config = TrainConfig(hold_out=LEAVE_OUT, steps=provenance.steps, seed=provenance.seed, threads=1)
    return train_folder(read_folder(recordings, kind="drums"), into / "twin.onnx", config).model_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the figures; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="measure a drum kit against recordings")
    parser.add_argument("recordings", type=Path)
    parser.add_argument("songs", type=Path)
    parser.add_argument("--twin", type=Path, help="instrument trained without every third hit  [default: train it]")
    parser.add_argument("--kit", type=Path, default=shipped_folder() / "drum-kit.onnx")
    parser.add_argument("--performance", default="general-midi")
    options = parser.parse_args(arguments)
    try:
        kit = InstrumentModel.load(options.kit)
        with tempfile.TemporaryDirectory(prefix="drums-") as work:
            twin = options.twin or train_twin(options.recordings, Path(work), kit)
            model = InstrumentModel.load(twin)
            holds = tell(options, model, kit)
    except NeuralSynthError as error:
        print(f"drums: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if holds else 1


def tell(options: argparse.Namespace, model: InstrumentModel, kit: InstrumentModel) -> bool:
    """Print everything; whether all bars are held."""
    assert model.spec.provenance is not None
    assert kit.spec.provenance is not None
    pieces = read_pieces(options.recordings, set(model.spec.provenance.recordings))
    rng = np.random.default_rng(7)
    print("piece              seen unseen  floor  drawn   real  ratio  least rise dB")
    rows = []
    for piece in pieces:
        row = measure(piece, model, kit, rng)
        rows.append(row)
        print(
            f"{row.piece:18s} {row.n_seen:4d} {row.n_unseen:6d} {row.floor_db:6.2f} {row.drawn_db:6.2f} "
            f"{row.real_db:6.2f} {row.drawn_db / row.real_db:6.2f} {row.least_rise_db:8.2f}"
            f"{'' if row.holds else '  *'}",
            flush=True,
        )
    made, real = classify(pieces, model, rng)
    print(f"named right: {made:.1%} of drawn variations, {real:.1%} of real hits left out")
    speeds = songs_times_real_time(options.songs, options.performance)
    for name, speed in speeds.items():
        print(f"{name}: {speed:.0f} times real time")
    minutes = kit.spec.provenance.minutes
    print(f"the kit took {minutes:.1f} minutes to train")
    fast = all(speed >= LEAST_REAL_TIME for speed in speeds.values())
    return all(row.holds for row in rows) and made >= LEAST_RIGHT and fast and minutes <= MOST_MINUTES


if __name__ == "__main__":
    sys.exit(main())
