"""Score: how close an instrument comes to recordings, beside what else a player could have.

For each recording, the distance (`analysis.distance`) between it and

- *floor*: its own analysis, played back. What the description can do at best.
- *reconstruct*: the model at the latent that fits this recording best.
- *play*: the model at its default point (or that of the recording's sub-folder), given only note and velocity. What
  a player hears.
- *sampler*: the nearest other recording of the same layer, resampled to pitch.
- *interpolated*: the spectra of the nearest lower and upper recording mixed in dB. A model that does not beat
  this has learned nothing.

All are played at the recording's own tuning and compared at equal level: tuning and level are judged apart.
Recordings the model has seen are recognised by their digests; if the folder holds others, only those are
scored, and the seen ones serve as neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from neuralsynth.analysis import NoteAnalysis, analyse_note, distance
from neuralsynth.analysis.folder import Recording, read_folder
from neuralsynth.errors import RecordingError
from neuralsynth.instrument import Instrument
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spec import Quality, point_name
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid
from neuralsynth.units import hz_to_note

_FIT_STEPS = 12
_FIT_STEP_SIZE = 0.05
_FLOOR_DB = -80.0


@dataclass(frozen=True)
class RecordingScore:
    """Distances in dB of one recording; NaN where there is no neighbour to compare with."""

    path: str
    note: int
    velocity: int
    floor_db: float
    reconstruct_db: float
    play_db: float
    sampler_db: float
    interpolated_db: float


@dataclass(frozen=True)
class Score:
    """Distances of a folder."""

    instrument: str
    held_out: bool  # True when the model never saw the scored recordings
    recordings: tuple[RecordingScore, ...]
    skipped: tuple[str, ...]

    def quality(self) -> Quality:
        """Means over the recordings, as the spec keeps them."""
        names = [name for name in Quality.__struct_fields__ if name.endswith("_db")]
        means = {name: _mean([getattr(r, name) for r in self.recordings]) for name in names}
        return Quality(**means, n_recordings=len(self.recordings))

    def to_json(self) -> dict:
        """Plain values for `--json`; missing numbers are null."""
        mean = self.quality()
        return {
            "instrument": self.instrument,
            "held_out": self.held_out,
            "mean": {f: _plain(getattr(mean, f)) for f in mean.__struct_fields__},
            "play_over_sampler": _plain(mean.play_db / mean.sampler_db),
            "recordings": [{k: _plain(v) for k, v in asdict(r).items()} for r in self.recordings],
            "skipped": list(self.skipped),
        }


@dataclass(frozen=True)
class Sounds:
    """What one recording was compared by: mono float32 `[S]` from the onset on, at its own pitch and rate."""

    sample_rate: int
    recording: np.ndarray
    floor: np.ndarray
    play: np.ndarray
    sampler: np.ndarray | None  # None where there is no neighbour


@dataclass(frozen=True)
class _Heard:
    """A recording with what analysis made of it."""

    name: str
    group: str
    note: int
    velocity: int
    audio: np.ndarray
    sample_rate: int
    analysis: NoteAnalysis


def score(
    instrument: Instrument,
    folder: str | Path,
    neighbours: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    most: int | None = None,
    listen: Callable[[RecordingScore, Sounds], None] | None = None,
) -> Score:
    """Score an instrument on a folder of recordings.

    Args:
        neighbours: a folder whose recordings the sampler and the interpolation may use; without it, those of
            `folder` that the model has seen (or all, each note's own pitch excepted).
        progress: called with (done, total).
        most: score at most so many recordings, spread evenly over the folder.
        listen: called with each recording's score and the sounds it was made from.

    Raises:
        RecordingError: the folder holds nothing usable.
    """
    spec = instrument.model.spec
    seen = set(spec.provenance.recordings) if spec.provenance else set()
    used = list(read_folder(folder).used)
    targets = [r for r in used if r.digest not in seen]
    held_out = bool(targets)
    targets = targets or used
    others = list(read_folder(neighbours).used) if neighbours else [r for r in used if r not in targets] or used
    if most is not None and len(targets) > most:
        targets = [targets[round(i)] for i in np.linspace(0, len(targets) - 1, most)]
    ears = _Ears(spec.grid(), others)
    rows, skipped = [], []
    for done, recording in enumerate(targets, 1):
        try:
            row, sounds = _score_one(instrument, ears.hear(recording), *ears.neighbours(recording))
            rows.append(row)
            if listen is not None:
                listen(row, sounds)
        except RecordingError as error:
            skipped.append(f"{recording.name}: {error}")
        if progress:
            progress(done, len(targets))
    if not rows:
        raise RecordingError(f"{folder}: holds no recording that can be scored ({'; '.join(skipped[:3])})")
    return Score(instrument.name, held_out, tuple(rows), tuple(skipped))


def play_spectrum(
    spectrum: NoteSpectrum, note: float, n_samples: int, sample_rate: int, sustain: tuple[float, float] | None
) -> np.ndarray:
    """One held note of a spectrum through the real voice kernel: float32 `[n]`."""
    rows = SpectrumRows(spectrum.grid)
    sound = VoiceSound(spectrum.partials, spectrum.ratios, spectrum.cents, spectrum.noise)
    pool = VoicePool(rows, sample_rate, VoiceSettings(polyphony=1, sustain=sustain), 4096)
    pool.start(0, rows.add([sound]), Strike(note))
    blocks = [pool.render(at, min(4096, n_samples - at))[0].copy() for at in range(0, n_samples, 4096)]
    return np.concatenate(blocks)


def fit_latent(model: InstrumentModel, spectrum: NoteSpectrum, note: float, velocity: float, start) -> np.ndarray:
    """Latent `[Z]` whose decoding is nearest to `spectrum`, by Gauss-Newton with damping (Levenberg 1944).

    Derivatives are finite differences of one decoded batch, so any family of model can be inverted.
    """
    target = _in_db(spectrum.partials, spectrum.noise)
    latent, damping = np.array(start, np.float64), 1.0
    error = _residual(model, latent[None], note, velocity, target)[0]
    for _ in range(_FIT_STEPS):
        steps = latent + _FIT_STEP_SIZE * np.eye(len(latent))
        slopes = (_residual(model, steps, note, velocity, target) - error) / _FIT_STEP_SIZE
        normal = slopes @ slopes.T + 1e-9 * np.eye(len(latent))
        damped = normal + damping * np.diag(np.diag(normal)) + 1e-3 * len(error) * np.eye(len(latent))
        proposal = np.clip(latent - np.linalg.solve(damped, slopes @ error), -4.0, 4.0)
        new_error = _residual(model, proposal[None], note, velocity, target)[0]
        if np.sum(new_error**2) < np.sum(error**2):
            latent, error, damping = proposal, new_error, damping / 3.0
        else:
            damping *= 4.0
    return latent


class _Ears:
    """Analyses recordings when they are needed, each once."""

    def __init__(self, grid: SpectrumGrid, others: Sequence[Recording]) -> None:
        self._grid, self._others = grid, others
        self._heard: dict[Path, _Heard] = {}

    def hear(self, recording: Recording) -> _Heard:
        """The recording's sound and analysis."""
        if recording.note is None or recording.velocity is None:
            raise RecordingError("has no note")
        if recording.path not in self._heard:
            audio, rate = recording.load()
            analysis = analyse_note(audio, rate, recording.note, self._grid)
            self._heard[recording.path] = _Heard(
                recording.name, recording.group, recording.note, recording.velocity, audio, rate, analysis
            )
        return self._heard[recording.path]

    def neighbours(self, recording: Recording) -> tuple[_Heard | None, _Heard | None]:
        """The nearest recordings below and above in pitch, of the nearest layer of the same instrument."""
        note, velocity = recording.note or 0, recording.velocity or 0
        same = [r for r in self._others if r.group == recording.group] or self._others
        others = [(r.note or 0, r.velocity or 0, r) for r in same if r.note != note]
        gap = min((abs(v - velocity) for _, v, _ in others), default=0)
        layer = sorted(
            ((abs(n - note), n, r) for n, v, r in others if abs(v - velocity) == gap), key=lambda row: row[0]
        )
        below = [r for _, n, r in layer if n < note]
        above = [r for _, n, r in layer if n > note]
        return self._first_usable(below), self._first_usable(above)

    def _first_usable(self, candidates: Sequence[Recording]) -> _Heard | None:
        for recording in candidates:
            try:
                return self.hear(recording)
            except RecordingError:
                continue
        return None


def _score_one(
    instrument: Instrument, one: _Heard, lower: _Heard | None, upper: _Heard | None
) -> tuple[RecordingScore, Sounds]:
    model, spec = instrument.model, instrument.model.spec
    sustain = (spec.sustain.start_seconds, spec.sustain.end_seconds) if spec.sustain else None
    note, velocity = one.note, one.velocity
    point = spec.points.get(point_name(one.group))  # of a folder of several instruments, each has its own
    latent_played = instrument.latent if point is None else np.array(point, np.float32)
    reference = _held(one)
    tuning = float(hz_to_note(one.analysis.pitch_hz))

    def played(spectrum: NoteSpectrum) -> np.ndarray:
        return play_spectrum(spectrum, tuning, len(reference), one.sample_rate, sustain)

    def judged(audio: np.ndarray | None) -> float:
        return float("nan") if audio is None else distance(reference, audio, one.sample_rate)

    def decoded(latent: np.ndarray) -> NoteSpectrum:
        batch = model.decode(latent[None], np.array([note]), np.array([velocity / 127.0]))
        assert isinstance(batch, Decoded)  # an instrument that plays is spectral
        return batch.note(0, spec.grid())

    fitted = fit_latent(model, one.analysis.spectrum, note, velocity / 127.0, latent_played)
    nearest = min((n for n in (lower, upper) if n), key=lambda n: abs(n.note - note), default=None)
    mixed = nearest.analysis.spectrum if nearest else None
    if lower and upper:
        mixed = interpolated_spectrum(lower, upper, note)
    sounds = Sounds(
        one.sample_rate,
        reference,
        floor=played(one.analysis.spectrum),
        play=played(decoded(latent_played)),
        sampler=_resampled(nearest, one) if nearest else None,
    )
    row = RecordingScore(
        path=one.name,
        note=note,
        velocity=velocity,
        floor_db=judged(sounds.floor),
        reconstruct_db=judged(played(decoded(fitted))),
        play_db=judged(sounds.play),
        sampler_db=judged(sounds.sampler),
        interpolated_db=judged(played(mixed) if mixed else None),
    )
    return row, sounds


def _held(one: _Heard) -> np.ndarray:
    """The recording from its onset on; a sustained note only until it is let go: held keys are compared."""
    start = round(one.analysis.onset_seconds * one.sample_rate)
    if not (one.analysis.sustains and np.isfinite(one.analysis.usable_seconds)):
        return one.audio[start:]
    return one.audio[start : start + round(one.analysis.usable_seconds * one.sample_rate)]


def _resampled(source: _Heard, target: _Heard) -> np.ndarray:
    """What a sampler does: the other recording played faster or slower until its pitch fits."""
    from scipy.signal import resample

    audio = _held(source)
    speed = target.analysis.pitch_hz / source.analysis.pitch_hz * source.sample_rate / target.sample_rate
    padded = np.concatenate([audio, np.zeros(len(audio) // 20 + 16, audio.dtype)])  # keeps the ends apart
    return resample(padded, round(len(padded) / speed))[: round(len(audio) / speed)].astype(np.float32)


def interpolated_spectrum(lower: _Heard, upper: _Heard, note: int) -> NoteSpectrum:
    """The spectra of two recordings mixed in dB by distance in pitch, for a note between them."""
    a, b = lower.analysis.spectrum, upper.analysis.spectrum
    share = (note - lower.note) / (upper.note - lower.note)

    def mix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp((1.0 - share) * np.log(np.maximum(x, 1e-6)) + share * np.log(np.maximum(y, 1e-6)))

    return NoteSpectrum(a.grid, mix(a.partials, b.partials), mix(a.ratios, b.ratios), a.cents, mix(a.noise, b.noise))


def _in_db(partials: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Audible numbers of a spectrum in dB below its loudest, one row per note: `[..., T·(P+B)]`."""
    both = np.concatenate([partials, noise], axis=-1)
    peak = both.max(axis=(-2, -1), keepdims=True)
    decibels = 20.0 * np.log10(np.maximum(both / peak, 10.0 ** (_FLOOR_DB / 20.0)))
    return decibels.reshape(*both.shape[:-2], -1)


def _residual(model, latents: np.ndarray, note: float, velocity: float, target: np.ndarray) -> np.ndarray:
    n = len(latents)
    batch = model.decode(latents.astype(np.float32), np.full(n, note), np.full(n, velocity))
    assert isinstance(batch, Decoded)
    return _in_db(batch.partials, batch.noise).astype(np.float64) - target


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _plain(value):
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value
