"""What a report page lets one hear and see: clips of scored notes, levels over velocity, positions of the axes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.analysis.descriptors import describe
from neuralsynth.audiofile import write_audio
from neuralsynth.hosts.picture import spectrogram_thumbnails
from neuralsynth.instrument import Instrument
from neuralsynth.model import Decoded
from neuralsynth.scoring import RecordingScore, Score, Sounds, play_spectrum
from neuralsynth.units import gain_to_db

CLIP_RATE = 32_000
CLIP_SECONDS = 3.0
MOST_CLIPS = 8  # notes that can be listened to
MOST_AXES = 8
AXIS_POSITIONS = (-1.0, 0.0, 1.0)
VELOCITIES = (1, 8, 16, 28, 40, 52, 64, 76, 88, 100, 112, 127)
#: What a note is heard as, in the order of the keys 1 to 4.
VERSIONS = ("recording", "floor", "play", "sampler")
_AXIS_SECONDS, _LEVEL_SECONDS, _FADE_SECONDS = 2.0, 1.0, 0.03
_PEAK = 0.7
_MOST_KEPT = 64


@dataclass(frozen=True)
class Clip:
    """One sound of a page: a flac file, its spectrogram, and what it is."""

    label: str
    flac: bytes
    png: bytes


@dataclass(frozen=True)
class NoteClips:
    """The versions of one scored note, all of one length."""

    score: RecordingScore
    seconds: float
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class AxisClips:
    """One named axis, at `AXIS_POSITIONS`."""

    name: str
    seconds: float
    measured: tuple[float | None, ...]  # the axis's own descriptor, None for an axis of another name
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class LevelCurve:
    """Level of one key over `VELOCITIES`, dB below the loudest of the page; and recordings of that key."""

    note: int
    played_db: tuple[float, ...]
    recorded: tuple[tuple[int, float], ...]  # (velocity, level), moved by one constant for all keys


class Gallery:
    """Keeps what `scoring.score` lets it listen to: short copies of notes spread over the folder."""

    def __init__(self) -> None:
        """Empty; give it to `score` as `listen`."""
        self.levels_db: dict[RecordingScore, float] = {}
        self._kept: dict[RecordingScore, dict[str, np.ndarray]] = {}

    def __call__(self, row: RecordingScore, sounds: Sounds) -> None:
        """Keep one recording's sounds, level-matched as the distance does it."""
        first = sounds.recording[: round(_LEVEL_SECONDS * sounds.sample_rate)]
        self.levels_db[row] = float(gain_to_db(_rms(first)))
        found = {name: getattr(sounds, name) for name in VERSIONS}
        self._kept[row] = _matched({k: v for k, v in found.items() if v is not None}, sounds.sample_rate)
        if len(self._kept) > _MOST_KEPT:
            del self._kept[_least_missed(list(self._kept))]

    def __len__(self) -> int:
        """Notes whose sounds are kept: of a large folder not all."""
        return len(self._kept)

    def notes(self, seconds: float = CLIP_SECONDS, most: int = MOST_CLIPS) -> list[NoteClips]:
        """Clips of at most so many notes, spread over the range and the layers."""
        return [self._clips(row, seconds) for row in spread(list(self._kept), most)]

    def _clips(self, row: RecordingScore, seconds: float) -> NoteClips:
        versions = {name: audio[: round(seconds * CLIP_RATE)] for name, audio in self._kept[row].items()}
        return NoteClips(row, _length(versions.values()), clips_of(versions))


def spread(rows: Sequence[RecordingScore], count: int) -> list[RecordingScore]:
    """At most `count` rows, evenly over the pitches and taking turns among the layers, sorted by pitch and layer."""
    ordered = sorted(rows, key=lambda row: (row.note, row.velocity, row.path))
    by_note: dict[int, list[RecordingScore]] = {}
    for row in ordered:
        by_note.setdefault(row.note, []).append(row)
    pitches = list(by_note)
    if len(pitches) > count:
        pitches = [pitches[round(i)] for i in np.linspace(0, len(pitches) - 1, count)]
    chosen = [by_note[note][turn % len(by_note[note])] for turn, note in enumerate(pitches)]
    others = [row for row in ordered if row not in chosen]
    missing = min(count - len(chosen), len(others))
    chosen += [others[round(i)] for i in np.linspace(0, len(others) - 1, missing)] if missing > 0 else []
    return sorted(chosen, key=ordered.index)


def _least_missed(rows: Sequence[RecordingScore]) -> RecordingScore:
    """The row of the fullest layer whose absence leaves the smallest gap in pitch."""
    sizes = Counter(row.velocity for row in rows)
    fullest = max(sizes, key=lambda velocity: (sizes[velocity], velocity))
    layer = [row for row in rows if row.velocity == fullest] if sizes[fullest] > 2 else list(rows)
    layer.sort(key=lambda row: (row.note, row.velocity, row.path))
    gaps = [after.note - before.note for before, after in zip(layer[:-2], layer[2:], strict=True)]
    return layer[1 + int(np.argmin(gaps))]


def axis_clips(instrument: Instrument, score: Score, seconds: float = _AXIS_SECONDS) -> list[AxisClips]:
    """What each axis does to the instrument's sound: measured over the scored pitches, heard on the middle one."""
    notes = sorted({row.note for row in score.recordings})
    some = [notes[round(i)] for i in np.linspace(0, len(notes) - 1, min(6, len(notes)))]
    velocity = float(np.median([row.velocity for row in score.recordings]))
    found = []
    for name, axis in list(instrument.spec.axes.items())[:MOST_AXES]:
        steps = np.array([axis.low, np.zeros_like(axis.low), axis.high], np.float32)
        measured = [_measured(instrument, instrument.latent + step, some, velocity).get(name) for step in steps]
        sounds = {
            f"{position:+.0f}" if position else "0": _held_note(
                instrument, instrument.latent + step, notes[len(notes) // 2], velocity, seconds
            )
            for position, step in zip(AXIS_POSITIONS, steps, strict=True)
        }
        loudest = max(float(np.abs(audio).max()) for audio in sounds.values())
        sounds = {label: audio * (_PEAK / max(loudest, 1e-9)) for label, audio in sounds.items()}
        found.append(AxisClips(name, _length(sounds.values()), tuple(measured), clips_of(sounds)))
    return found


def level_curves(instrument: Instrument, score: Score, levels_db: dict[RecordingScore, float]) -> list[LevelCurve]:
    """Level against velocity of three scored keys, played without the preset's effects."""
    zone = instrument.zones[0][1]
    dry = Instrument(msgspec.structs.replace(zone.preset, effects=()), zone.model, zone.path)
    keys = _low_middle_high(score.recordings)
    played = {key: [_played_level_db(dry, key, velocity) for velocity in VELOCITIES] for key in keys}
    heard = {key: [(r.velocity, db) for r, db in levels_db.items() if r.note == key] for key in keys}
    gaps = [np.interp(v, VELOCITIES, played[key]) - db for key in keys for v, db in heard[key]]
    shift = float(np.mean(gaps)) if gaps else 0.0
    top = max(max(values) for values in played.values())
    return [
        LevelCurve(
            key,
            tuple(db - top for db in played[key]),
            tuple((velocity, db + shift - top) for velocity, db in sorted(heard[key])),
        )
        for key in keys
    ]


def _low_middle_high(rows: Sequence[RecordingScore]) -> list[int]:
    """A key of each third of the scored pitches, near its middle among those with the most layers."""
    layers = Counter(note for note, _ in {(row.note, row.velocity) for row in rows})
    thirds = [third for third in np.array_split(sorted(layers), 3) if len(third)]
    return [int(min(third, key=lambda note: (-layers[note], abs(note - third.mean()), note))) for third in thirds]


def clips_of(sounds: dict[str, np.ndarray]) -> tuple[Clip, ...]:
    """Clips of mono sounds at `CLIP_RATE`: one length, faded out at the end, spectrograms on the first one's scale."""
    pictures = spectrogram_thumbnails(list(sounds.values()), CLIP_RATE)
    n_samples = max(len(audio) for audio in sounds.values())
    n_fade = round(_FADE_SECONDS * CLIP_RATE)
    clips = []
    for (label, audio), png in zip(sounds.items(), pictures, strict=True):
        whole = np.zeros(n_samples, np.float32)
        whole[: len(audio)] = audio
        for end in {len(audio), n_samples}:
            fade = min(n_fade, end)
            whole[end - fade : end] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        clips.append(Clip(label, _flac(whole), png))
    return tuple(clips)


def _flac(audio: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.flac"
        write_audio(path, audio[None], CLIP_RATE, "16")
        return path.read_bytes()


def _matched(sounds: dict[str, np.ndarray], sample_rate: int) -> dict[str, np.ndarray]:
    """Cut, resampled to `CLIP_RATE`, at the RMS level of the recording, the loudest peak at `_PEAK`."""
    cut = {name: _resampled(audio[: round(CLIP_SECONDS * sample_rate)], sample_rate) for name, audio in sounds.items()}
    shortest = min(len(audio) for audio in cut.values())
    level = _rms(cut["recording"][:shortest])
    matched = {name: audio * (level / max(_rms(audio[:shortest]), 1e-9)) for name, audio in cut.items()}
    loudest = max(float(np.abs(audio).max()) for audio in matched.values())
    return {name: (audio * (_PEAK / max(loudest, 1e-9))).astype(np.float32) for name, audio in matched.items()}


def _resampled(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    ratio = Fraction(CLIP_RATE, sample_rate).limit_denominator(1000)
    mono = np.asarray(audio, np.float64)
    return resample_poly(mono, ratio.numerator, ratio.denominator)[: round(CLIP_SECONDS * CLIP_RATE)]


def _measured(instrument: Instrument, latent: np.ndarray, notes: Sequence[int], velocity: float) -> dict[str, float]:
    """Medians of the descriptors over some notes at a latent."""
    batch = _decoded(instrument, latent, notes, velocity)
    grid = instrument.model.spec.grid()
    partials, ratios, noise = (x.astype(np.float64) for x in (batch.partials, batch.ratios, batch.noise))
    told = [describe(partials[i], ratios[i], noise[i], grid, float(note)) for i, note in enumerate(notes)]
    return {name: float(np.median([one[name] for one in told])) for name in told[0]}


def _held_note(instrument: Instrument, latent: np.ndarray, note: int, velocity: float, seconds: float) -> np.ndarray:
    spec = instrument.model.spec
    sustain = (spec.sustain.start_seconds, spec.sustain.end_seconds) if spec.sustain else None
    spectrum = _decoded(instrument, latent, [note], velocity).note(0, spec.grid())
    return play_spectrum(spectrum, note, round(seconds * CLIP_RATE), CLIP_RATE, sustain)


def _decoded(instrument: Instrument, latent: np.ndarray, notes: Sequence[int], velocity: float) -> Decoded:
    return instrument.model.decode(
        np.tile(latent.astype(np.float32), (len(notes), 1)),
        np.array(notes, np.float32),
        np.full(len(notes), velocity / 127.0, np.float32),
    )


def _played_level_db(instrument: Instrument, key: int, velocity: int) -> float:
    audio = instrument([(bytes([0x90, key, velocity]), 0.0)], _LEVEL_SECONDS, CLIP_RATE, num_channels=1)
    return float(gain_to_db(_rms(audio[0])))


def _rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


def _length(sounds) -> float:
    return max(len(audio) for audio in sounds) / CLIP_RATE
