"""Single-cycle waveforms as training takes them: every waveform stands still at every pitch. No torch here.

A cycle sounds the same at any pitch, so the table holds each at several notes with the same harmonics. Every waveform
is a group of its own and so gets a learned latent point: a preset can name it, morph between any two, or sweep past
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralsynth.analysis.cycles import Cycle, cycle_spectrum, read_cycle
from neuralsynth.analysis.folder import DEFAULT_VELOCITY, Recording
from neuralsynth.errors import UsageError
from neuralsynth.model import InstrumentModel
from neuralsynth.spec import point_name
from neuralsynth.spectrum import SpectrumGrid, mel_band_edges_hz
from neuralsynth.training.config import FLOOR_DB, TrainConfig
from neuralsynth.training.dataset import NoteTable
from neuralsynth.units import gain_to_db, note_to_hz

if TYPE_CHECKING:
    from neuralsynth.training.vae import Vae

#: A voice with 256 partials costs 1.8 times one with 64, and a note of 60 Hz then reaches 15 kHz.
N_PARTIALS = 256
N_FRAMES, N_BANDS, DURATION_SECONDS = 3, 4, 2.0  # nothing moves, nothing is noise
NOTES = np.arange(24, 109, 12)
#: What a training of cycles has where nothing else was chosen. One network sees hundreds of unlike waveforms and none
#: twice, so it is wide and nothing is silenced at random; harmonics do not depend on the note or on frequency, so the
#: parts of the network that say so are as small as they can be.
_TRAINING: dict[str, Any] = {
    "n_frames": N_FRAMES, "n_bands": N_BANDS, "n_partials": N_PARTIALS, "duration_seconds": DURATION_SECONDS,
    "batch_size": 96, "learning_rate": 4e-3,
}  # fmt: skip
_MODEL: dict[str, Any] = {
    "width": 256, "condition_size": 256, "latent_size": 20, "detail_functions": 1, "detail_partials": N_PARTIALS,
    "note_step": 108.0, "envelope_points": 2, "body_points": 2,
    "dropout": 0.0,
}  # fmt: skip
#: Reconstruction counts harmonics that are at most so far below the loudest.
HEARD_DB, HIGHEST_PARTIAL_HZ = 60.0, 20_000.0
HEARD_NOTES = np.array([36.0, 60.0])


def suited(config: TrainConfig) -> TrainConfig:
    """The same choices; what was left at its default becomes what suits cycles.

    Raises:
        UsageError: pitches are to be left out.
    """
    if config.hold_out:
        raise UsageError("hold_out leaves pitches out, but a single cycle has every pitch; leave hold_out away")
    return config.suited(_TRAINING, _MODEL)


def cycle_grid(config: TrainConfig) -> SpectrumGrid:
    """Frames evenly apart, since nothing happens at the attack."""
    times = np.linspace(0.0, config.duration_seconds, config.n_frames)
    return SpectrumGrid(times, mel_band_edges_hz(config.n_bands), config.n_partials)


def cycle_table(recordings: Sequence[Recording], grid: SpectrumGrid) -> NoteTable:
    """Every waveform at each of `NOTES`, the one nearest to a sawtooth first: it becomes the default point.

    Raises:
        RecordingError: a file can no longer be read.
    """
    recordings = sorted(recordings, key=lambda r: r.group)
    spectra = [cycle_spectrum(read_cycle(*r.load()), grid) for r in recordings]
    harmonics_db = np.stack([np.maximum(gain_to_db(s.partials[0]), FLOOR_DB) for s in spectra])
    order = np.argsort(np.arange(len(spectra)) != _nearest_to_saw(harmonics_db, grid), kind="stable")
    row = np.repeat(order, len(NOTES))
    n = len(row)
    return NoteTable(
        grid,
        np.repeat(harmonics_db[row][:, :, None], grid.n_frames, axis=2).astype(np.float32),
        np.full((n, grid.n_bands, grid.n_frames), FLOOR_DB, np.float32),
        np.zeros((n, grid.n_frames), np.float32),
        np.zeros(n),
        np.full(n, grid.n_frames),
        np.tile(NOTES, len(order)).astype(np.float32),
        np.full(n, DEFAULT_VELOCITY / 127.0, np.float32),
        np.repeat(np.arange(len(order)), len(NOTES)),
        tuple(recordings[i].group for i in order),
        sustains=np.full(n, fill_value=True),
        digests=tuple(recordings[i].digest for i in row),
    )


def _nearest_to_saw(harmonics_db: np.ndarray, grid: SpectrumGrid) -> int:
    """Which row of `[M, P]` comes nearest to a sawtooth; low harmonics count more."""
    number = np.arange(1, grid.n_partials + 1)
    saw = cycle_spectrum(Cycle(1.0 / number, 1.0), grid).partials[0]
    away_db = np.abs(harmonics_db - np.maximum(gain_to_db(saw), FLOOR_DB))
    return int(np.argmin(np.average(away_db, axis=1, weights=1.0 / number)))


def begin(vae: Vae, table: NoteTable) -> None:
    """Make a fresh network one of cycles: its points in an order of likeness, and no noise or movement, for good."""
    places = first_points(table, vae.points.shape[1])
    vae.points.data.copy_(vae.points.data.new_tensor(places))
    for head in (vae.decoder.noise, vae.decoder.movement):
        head.requires_grad_(False)
        for parameter in head.parameters():
            parameter.zero_()


def first_points(table: NoteTable, latent_size: int) -> np.ndarray:
    """Where the points of a table's waveforms start, `[G, Z]`: principal components of their harmonics in dB.

    So waveforms that are alike begin, and stay, beside each other. Missing components are zero.
    """
    first = np.unique(table.group, return_index=True)[1]
    levels = table.partials_db[first, :, 0].astype(np.float64)
    levels = np.maximum(levels, levels.max(axis=1, keepdims=True) - HEARD_DB)
    scores, strengths, _ = np.linalg.svd(levels - levels.mean(axis=0), full_matrices=False)
    scores = scores[:, strengths > 1e-6 * strengths[0]][:, :latent_size]
    points = np.zeros((len(levels), latent_size), np.float32)
    points[:, : scores.shape[1]] = scores / scores.std(axis=0)
    return points


def reconstruction_db(model: InstrumentModel, recordings: Sequence[Recording]) -> dict[str, float]:
    """How far each waveform's harmonics are off at its own point: mean absolute difference in dB, by name.

    Harmonics count that are at most `HEARD_DB` below the loudest and below 20 kHz, at a bass and a middle note.
    """
    grid = model.spec.grid()
    off = {}
    for recording in recordings:
        latent = np.tile(model.spec.points[point_name(recording.group)], (len(HEARD_NOTES), 1))
        velocity = np.full(len(HEARD_NOTES), DEFAULT_VELOCITY / 127.0)
        decoded = model.decode(latent, HEARD_NOTES, velocity)
        wanted = gain_to_db(cycle_spectrum(read_cycle(*recording.load()), grid).partials)
        found = np.maximum(gain_to_db(decoded.partials), FLOOR_DB)
        reached = note_to_hz(HEARD_NOTES)[:, None, None] * np.arange(1, grid.n_partials + 1) < HIGHEST_PARTIAL_HZ
        heard = (wanted > wanted.max() - HEARD_DB) & reached
        off[recording.group] = float(np.mean(np.abs(found - wanted)[np.broadcast_to(heard, found.shape)]))
    return off
