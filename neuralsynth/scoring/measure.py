"""`score`: every recording of a folder against the instrument and its rivals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neuralsynth.analysis import distance
from neuralsynth.analysis.folder import read_folder
from neuralsynth.errors import RecordingError
from neuralsynth.instrument import Instrument
from neuralsynth.latent_search import LatentSearch
from neuralsynth.model import Decoded
from neuralsynth.scoring.hearing import Ears, Heard
from neuralsynth.scoring.playback import play_spectrum
from neuralsynth.scoring.results import RecordingScore, Score, Sounds
from neuralsynth.scoring.rivals import held, interpolated_spectrum, resampled
from neuralsynth.spec import point_name
from neuralsynth.spectrum import NoteSpectrum
from neuralsynth.units import hz_to_note


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
    ears = Ears(spec.grid(), others)
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


def _score_one(
    instrument: Instrument, one: Heard, lower: Heard | None, upper: Heard | None
) -> tuple[RecordingScore, Sounds]:
    model, spec = instrument.model, instrument.model.spec
    point = point_name(one.group)  # of a folder of several instruments, each has its own
    latent_played = spec.place(spec.points[point]) if point in spec.points else instrument.latent
    own = spec.at(latent_played)
    sustain = (own.sustain.start_seconds, own.sustain.end_seconds) if own.sustain else None
    note, velocity = one.note, one.velocity
    reference = held(one)
    tuning = float(hz_to_note(one.analysis.pitch_hz))

    def played(spectrum: NoteSpectrum) -> np.ndarray:
        return play_spectrum(spectrum, tuning, len(reference), one.sample_rate, sustain)

    def judged(audio: np.ndarray | None) -> float:
        return float("nan") if audio is None else distance(reference, audio, one.sample_rate)

    def decoded(latent: np.ndarray) -> NoteSpectrum:
        batch = model.decode(latent[None], np.array([note]), np.array([velocity / 127.0]))
        assert isinstance(batch, Decoded)  # an instrument that plays is spectral
        return batch.note(0, spec.grid())

    fitted = LatentSearch(model, one.analysis, note, one.sample_rate).best(velocity).latent.astype(np.float32)
    nearest = min((n for n in (lower, upper) if n), key=lambda n: abs(n.note - note), default=None)
    mixed = nearest.analysis.spectrum if nearest else None
    if lower and upper:
        mixed = interpolated_spectrum(lower, upper, note)
    sounds = Sounds(
        one.sample_rate,
        reference,
        floor=played(one.analysis.spectrum),
        play=played(decoded(latent_played)),
        sampler=resampled(nearest, one) if nearest else None,
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
