"""Detail: the courses over time by which single partials and noise bands of real notes deviate from the network.

What a network of this size cannot know of a note are mostly the levels of its single partials, which room and body set
anew for each pitch, and how each of them dies away. So the latent gets numbers for just that: per partial and noise
band, the weights of a few courses. For notes each course is a span of time, so that the weights are a line of straight
pieces: ten of them come closer to unheard notes (an electric bass's to 1.5 times the floor) than twelve principal
components of the network's errors (1.7), in which a few large errors speak for all, and what is fitted where a note is
heard moves what is not. Drums and GANs keep such components (Jolliffe, "Principal Component Analysis", 2002).
One number more says how stiff the string is in this sound: a bass string that rattles on its frets is harmonic, and
softly played it is not. At the named points every detail is zero: it serves to come close to one given sound
(`score`'s reconstruct, `match`), not to play.
"""

from __future__ import annotations

import numpy as np
import torch

from neuralsynth.spec import Detail
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.encoder import Coder

#: How far under a note's loudest partial or band an error still counts.
HEARD_DB = 85.0
#: One latent number stands for the usual deviation along its course, held inside this range.
LEAST_SCALE_DB, MOST_SCALE_DB = 5.0, 12.0
#: Spans are even on a scale made of this much seconds, the rest frames (which lie densely at the beginning).
SPANS_BY_SECONDS = 0.5
_BATCH = 16


@torch.no_grad()
def learn_detail(coder: Coder, table: NoteTable) -> Detail | None:
    """Set the decoder's courses and scales for a table of notes that it learned; None where no detail is wanted."""
    decoder = coder.decoder.eval()
    n_functions, n_frames = decoder.detail_functions.shape
    if n_functions == 0:
        return None
    errors, heard = errors_of(coder, table)
    root = np.sqrt(table.frame_weights().mean(axis=0))
    if decoder.learns_courses or table.ratios is not None:
        courses = principal_courses((errors * heard).reshape(-1, n_frames), n_functions, root)
    else:
        courses = spans(table.grid.frame_seconds, n_functions)
    weights = np.sqrt(np.mean(weights_of(courses, errors, heard * root) ** 2, axis=0)).T
    decoder.detail_functions.copy_(torch.tensor(courses, dtype=torch.float32))
    scale_db = np.clip(weights, LEAST_SCALE_DB, MOST_SCALE_DB)
    decoder.detail_scale_db.copy_(torch.tensor(scale_db, dtype=torch.float32))
    return Detail(n_functions, decoder.n_detailed, table.grid.n_bands, decoder.n_stiffness)


def spans(frame_seconds: np.ndarray, n: int) -> np.ndarray:
    """`n` courses that are 1 at their own moment and 0 at the others', straight between: `[n, T]`, their sum is 1."""
    n_frames = len(frame_seconds)
    frames = np.arange(n_frames) / max(n_frames - 1, 1)
    place = (1.0 - SPANS_BY_SECONDS) * frames + SPANS_BY_SECONDS * frame_seconds / frame_seconds[-1]
    return np.array([np.interp(place, np.linspace(0.0, 1.0, n), own) for own in np.eye(n)])


def principal_courses(errors: np.ndarray, n: int, root: np.ndarray) -> np.ndarray:
    """The `n` courses that are strongest in errors `[M, T]` of which a frame counts the square of `root`: `[n, T]`."""
    rows = errors * root
    _, vectors = np.linalg.eigh(rows.T @ rows)
    courses = vectors[:, ::-1][:, :n].T / root
    return courses * np.sign(courses.sum(axis=1, keepdims=True)) / np.sqrt(np.mean(courses**2, axis=1, keepdims=True))


def details_of(coder: Coder, table: NoteTable) -> np.ndarray:
    """The detail by which each note of a table differs from what the network says of it, `[M, D]`."""
    courses, scale_db = coder.decoder.detail_functions.numpy(), coder.decoder.detail_scale_db.numpy()
    errors, heard = errors_of(coder, table)
    weights = weights_of(courses, errors, heard * np.sqrt(table.frame_weights().mean(axis=0)))
    return (weights.transpose(0, 2, 1) / scale_db).reshape(len(errors), -1)


@torch.no_grad()
def errors_of(coder: Coder, table: NoteTable) -> tuple[np.ndarray, np.ndarray]:
    """What the decoder misses of each note, in dB, and what of it can be heard (0 or 1): `[M, P' + B, T]` each."""
    n = coder.decoder.n_detailed
    missed, heard = [], []
    for first in range(0, len(table.note), _BATCH):
        part = slice(first, first + _BATCH)
        place = coder.at_points(torch.from_numpy(table.group[part]))
        note, velocity = (torch.from_numpy(x[part]) for x in (table.note, table.velocity))
        decoded = coder.decoder.decode(place, note, velocity)
        wanted = np.concatenate([table.partials_db[part, :n], table.noise_db[part]], axis=1)
        found = np.concatenate([decoded.partials_db[:, :n].numpy(), decoded.noise_db.numpy()], axis=1)
        floor = wanted.max(axis=(1, 2), keepdims=True) - HEARD_DB
        missed.append(np.maximum(wanted, floor) - np.maximum(found, floor))
        inside = np.arange(table.grid.n_frames) < table.n_valid[part, None]
        heard.append((np.maximum(wanted, found) > floor) & inside[:, None, :])
    return np.concatenate(missed).astype(np.float64), np.concatenate(heard).astype(np.float64)


def weights_of(courses: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How much of each course `[K, T]` is in each error `[M, R, T]`, by weighted least squares: `[M, R, K]`."""
    squared = counts**2
    normal = np.einsum("kt,mrt,jt->mrkj", courses, squared, courses, optimize=True) + np.eye(len(courses))
    return np.linalg.solve(normal, np.einsum("kt,mrt->mrk", courses, squared * errors, optimize=True)[..., None])[
        ..., 0
    ]
