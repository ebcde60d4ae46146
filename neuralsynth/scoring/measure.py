"""`score`: every recording of a folder against the instrument and its rivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from neuralsynth.analysis import distance
from neuralsynth.analysis.folder import read_folder
from neuralsynth.errors import MissingExtra, RecordingError
from neuralsynth.instrument import Instrument
from neuralsynth.latent_search import LatentSearch
from neuralsynth.scoring.hearing import Ears, Heard, choose
from neuralsynth.scoring.playback import play_spectrum
from neuralsynth.scoring.results import RIVALS, RecordingScore, Score, SecondOpinion, Sounds
from neuralsynth.scoring.rivals import held, mixed_spectrum, resampled
from neuralsynth.spec import point_name
from neuralsynth.spectrum import NoteSpectrum
from neuralsynth.units import hz_to_note

#: What says how far sounds are from a recording, at a sample rate; some may be missing.
Opinion = Callable[[np.ndarray, Sequence[np.ndarray | None], int], tuple[SecondOpinion, ...]]


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
    found = read_folder(folder)
    if found.holds_kit:
        raise RecordingError(f"{folder}: holds hits of drums, which have no pitch to be scored at; see docs/drums.md")
    chosen = choose(found.used, spec.provenance.recordings if spec.provenance else ())
    targets = chosen.targets
    others = read_folder(neighbours).used if neighbours else chosen.others
    if most is not None and len(targets) > most:
        targets = tuple(targets[round(i)] for i in np.linspace(0, len(targets) - 1, most))
    ears, opinion = Ears(spec.grid(), others, chosen.seen), _opinion()
    rows, skipped = [], [f"{r.name}: lies beyond the pitches it was trained on" for r in chosen.beyond]
    for done, recording in enumerate(targets, 1):
        try:
            row, sounds = _score_one(instrument, ears.hear(recording), ears.neighbours(recording), opinion)
            rows.append(row)
            if listen is not None:
                listen(row, sounds)
        except RecordingError as error:
            skipped.append(f"{recording.name}: {error}")
        if progress:
            progress(done, len(targets))
    if not rows:
        raise RecordingError(f"{folder}: holds no recording that can be scored ({'; '.join(skipped[:3])})")
    return Score(instrument.name, chosen.held_out, tuple(rows), tuple(skipped))


def _score_one(
    instrument: Instrument, one: Heard, neighbours: Sequence[Heard], opinion: Opinion | None
) -> tuple[RecordingScore, Sounds]:
    reference = held(one)
    rivals = _rivals(instrument, one, neighbours, len(reference))
    distances = {
        f"{name}_db": float("nan") if audio is None else distance(reference, audio, one.sample_rate)
        for name, audio in rivals.items()
    }
    second = () if opinion is None else opinion(reference, [rivals[name] for name in RIVALS], one.sample_rate)
    row = RecordingScore(one.name, one.note, one.velocity, second=second, **distances)
    heard = {name: rivals[name] for name in ("floor", "play", "sampler")}
    return row, Sounds(one.sample_rate, reference, **heard)  # type: ignore[arg-type]  # only the sampler may be None


def _rivals(
    instrument: Instrument, one: Heard, neighbours: Sequence[Heard], n_samples: int
) -> dict[str, np.ndarray | None]:
    """What `RIVALS` sound like, mono `[n_samples]` at the recording's own pitch; None without a neighbour."""
    model, spec = instrument.model, instrument.model.spec
    point = point_name(one.group)  # of a folder of several instruments, each has its own
    latent = spec.place(spec.points[point]) if point in spec.points else instrument.latent
    own = spec.at(latent)
    sustain = (own.sustain.start_seconds, own.sustain.end_seconds) if own.sustain else None
    note, velocity = one.note, one.velocity / 127.0
    tuning = float(hz_to_note(one.analysis.pitch_hz))

    def played(spectrum: NoteSpectrum | None) -> np.ndarray | None:
        return None if spectrum is None else play_spectrum(spectrum, tuning, n_samples, one.sample_rate, sustain)

    def decoded(latent: np.ndarray) -> NoteSpectrum:
        batch = model.decode(latent[None], np.array([note]), np.array([velocity]))
        return batch.note(0, spec.grid())

    fitted = LatentSearch(model, one.analysis, note, one.sample_rate).best(one.velocity).latent
    nearest = min(neighbours, key=lambda n: abs(n.note - note), default=None)
    return {
        "floor": played(one.analysis.spectrum),
        "reconstruct": played(decoded(fitted.astype(np.float32))),
        "play": played(decoded(latent)),
        "interpolated": played(mixed_spectrum(neighbours, note)),
        "sampler": resampled(nearest, one) if nearest else None,
    }


def _opinion() -> Opinion | None:
    """The second opinion, if librosa is here."""
    try:
        from neuralsynth.scoring.second_opinion import second_opinions
    except MissingExtra:
        return None
    return second_opinions
