"""The aggregated posterior: where a trained model hears its own recordings, and the prior that is fitted to it.

Recordings are mixed as in training and turned a little, heard by the encoder file, and a flow (`training.flow`) is
fitted to places drawn from what it says. Where the model is out of tune, between instruments whose strings are stiff in
unlike ways, a place is left out. The ways of the detail are principal components of what the model
misses of the recordings there. A finished instrument file gets its prior so; its graph stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.detail_fit import fit_detail
from neuralsynth.model import MAX_BATCH, InstrumentModel
from neuralsynth.model_encoder import Encoder, encoder_path
from neuralsynth.prior import Prior, standard_normal
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spectrum import NoteSpectrum
from neuralsynth.training.augment import TURNS, Batches, turn, turnable
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.export import rewrite_spec
from neuralsynth.training.flow import fit_flow
from neuralsynth.training.tuning import sharpness_cents

N_HEARD, N_DRAWN = 512, 2  # notes, and places drawn for each
MOST_CENTS = 20.0  # that the lowest key or one by chance may be heard off at a place
TURNED = 0.35  # standard deviation of the amounts by which a note is turned, 1.0 being the furthest of training
MARGIN, LEAST_MARGIN = 0.02, 0.01  # of the box around the places: a share of its width, and a number of the latent
MIDDLE_VELOCITY = 0.6
N_DETAILED, N_WAYS = 64, 8  # notes that the detail is learned from, and its ways
#: What each way has of the spread of the notes. One note's detail serves a whole keyboard here, and less of it covers
#: more of the notes left out (`benchmarks/prior.py`, orchestra: 0.90 against 0.86 with all of it).
DETAIL_SHARE = 0.7


def prior_of(model: InstrumentModel, encoder: Encoder, batches: Batches) -> Prior:
    """The prior of a trained instrument, from the notes it was trained on and as they were mixed there.

    A GAN has the one that its generator learned from.
    """
    if model.spec.family == "gan":
        return standard_normal(model.spec.character_size)
    found = places(encoder, batches)
    found = found[in_tune(model, found, batches.seed)]
    margin, reach = np.maximum(MARGIN * np.ptp(found, axis=0), LEAST_MARGIN), model.latent_reach
    ends = found.min(axis=0) - margin, found.max(axis=0) + margin
    low, high = (np.round(np.clip(end, -reach, reach), 4) for end in ends)
    couplings = fit_flow(found, low, high, batches.seed)
    return Prior(low.tolist(), high.tolist(), couplings, detail_ways(model, encoder, batches.table, batches.seed))


def places(encoder: Encoder, batches: Batches) -> np.ndarray:
    """Where mixed and turned recordings may lie by what the encoder hears, `[M, C]`."""
    table, found = batches.table, []
    for step in range(-(-N_HEARD // batches.size)):
        rng = np.random.default_rng([batches.seed, step])
        batch = batches.mixed(rng)
        amounts = np.clip(TURNED * rng.standard_normal((batches.size, len(TURNS))), -1.0, 1.0) * turnable(table)
        batch = turn(batch, amounts.astype(np.float32), table.grid)
        mean, deviation = _heard(encoder, batch.partials_db, batch.noise_db, batch.note, batch.velocity)
        found += [mean + deviation * rng.standard_normal(mean.shape) for _ in range(N_DRAWN)]
    return np.concatenate(found).astype(np.float64)


def in_tune(model: InstrumentModel, characters: np.ndarray, seed: int) -> np.ndarray:
    """At which characters `[M, C]` the lowest key and one by chance are heard within `MOST_CENTS`, `[M]` bool.

    Keys are those of the nearest point. Exact harmonics are always in tune.
    """
    spec, rng = model.spec, np.random.default_rng(seed)
    own = [spec.around(spec.nearest_point(character)) for character in characters]
    right = np.ones(len(characters), bool)
    for high in (0.0, 1.0):
        share = high * rng.random(len(own))
        keys = np.array([round(o.note_low + s * (o.note_high - o.note_low)) for o, s in zip(own, share, strict=True)])
        for first in range(0, len(keys), MAX_BATCH):
            rows = slice(first, first + MAX_BATCH)
            decoded = model.decode(characters[rows], keys[rows], np.full(len(keys[rows]), MIDDLE_VELOCITY))
            if np.allclose(decoded.ratios, np.arange(1, spec.n_partials + 1)):
                return right
            for i, key in enumerate(keys[rows]):
                one = decoded.partials[i], decoded.ratios[i], decoded.cents[i]
                right[first + i] &= abs(sharpness_cents(*one, spec.grid(), float(key))) <= MOST_CENTS
    return right


def detail_ways(model: InstrumentModel, encoder: Encoder, table: NoteTable, seed: int) -> list[list[float]]:
    """Principal components `[K, D]` of what the model misses of recordings, `DETAIL_SHARE` of a deviation long each."""
    if model.spec.detail is None:
        return []
    n = len(table.note)
    some = table.only(np.random.default_rng(seed).permutation(n)[:N_DETAILED])
    mean, _ = _heard(encoder, some.partials_db, some.noise_db, some.note, some.velocity)
    missed = []
    for i, character in enumerate(mean):
        partials, noise = (10.0 ** (x[i].T / 20.0) for x in (some.partials_db, some.noise_db))
        spectrum = NoteSpectrum(some.grid, partials, np.arange(1.0, partials.shape[1] + 1), some.cents[i], noise)
        latent = model.spec.place(character)
        note, velocity = float(some.note[i]), float(some.velocity[i])
        fitted = fit_detail(model, spectrum, int(some.n_valid[i]), latent, note, velocity)
        missed.append(fitted[model.spec.character_size :])
        missed[-1][len(missed[-1]) - model.spec.detail.n_stiffness :] = 0.0  # a drawn sound stays as tuned as the model
    _, strengths, ways = np.linalg.svd(np.array(missed, np.float64), full_matrices=False)
    ways = DETAIL_SHARE * strengths[:N_WAYS, None] / np.sqrt(len(missed)) * ways[:N_WAYS]
    return np.round(ways, 3).tolist()


def _heard(encoder: Encoder, partials_db, noise_db, note, velocity) -> tuple[np.ndarray, np.ndarray]:
    gains = (10.0 ** (np.swapaxes(x, 1, 2) / 20.0) for x in (partials_db, noise_db))
    mean, deviation = encoder.run(*gains, note, velocity)
    return mean, deviation


def add_prior(model_path: Path, batches: Batches) -> InstrumentSpec:
    """Give a finished instrument file the prior of the notes it learned; its encoder lies beside. Returns the new spec.

    Raises:
        ModelError: one of the files is none.
        OutputError: the file cannot be written.
    """
    beside = encoder_path(model_path)
    model, encoder = InstrumentModel(model_path.read_bytes(), model_path), Encoder(beside.read_bytes(), beside)
    spec = msgspec.structs.replace(model.spec, prior=prior_of(model, encoder, batches))
    rewrite_spec(model_path, spec)
    return spec
