"""A second opinion on how close two sounds are: three measures that training never saw, from librosa's own functions.

Sounds are trimmed to their onset and level-matched as for the distance (`analysis.distance.aligned`). `x` is the
recording, `y` the other; frames are 512 samples apart, and a *heard* frame is one whose RMS lies within 40 dB of the
recording's loudest in both.

- `constant_q_db`: mean of `|max(L(x), f) - max(L(y), f)|` over all frames and bins in which either is above the floor
  `f`, 60 dB below the loudest of `L(x)`. `L = 20 log10 |CQT| + A` is librosa's constant-Q transform (24 bins an octave
  from C1, at most 9 octaves; a sine as strong in every octave) under A-weighting (IEC 61672). Our own distance has FFT
  frames, mel bands, no weighting, and counts silence.
- `centroid_semitones`: median over heard frames of `|12 log2(c(y) / c(x))|`, `c` the spectral centroid: how much too
  bright or too dull.
- `envelope_db`: mean of `|20 log10(r(y) / r(x))|`, `r` the frame's RMS, over frames where `x` is within 40 dB of its
  loudest, `r(y)` floored 60 dB below that: how much too loud or too soft from moment to moment.

Brown, "Calculation of a constant Q spectral transform", JASA 89, 1991; Schörkhuber and Klapuri, "Constant-Q transform
toolbox for music processing", SMC 2010, is librosa's way to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from neuralsynth.analysis.distance import aligned
from neuralsynth.errors import MissingExtra
from neuralsynth.scoring.results import NOTHING_HEARD, SecondOpinion

try:
    import librosa
except ImportError as error:
    raise MissingExtra("a second opinion needs librosa: pip install 'neuralsynth[train]'") from error

HOP = 512
FRAME = 2048
LOWEST_HZ = 32.703  # C1
BINS_PER_OCTAVE, MOST_OCTAVES = 24, 9
CONSTANT_Q_FLOOR_DB = 60.0
ENVELOPE_FLOOR_DB = 60.0
HEARD_DB = 40.0


def second_opinion(recording: np.ndarray, other: np.ndarray, sample_rate: int) -> SecondOpinion:
    """How far `other` is from `recording`, both mono `[S]`; zeros for equal sounds, NaN where nothing is heard."""
    return second_opinions(recording, [other], sample_rate)[0]


def second_opinions(
    recording: np.ndarray, others: Sequence[np.ndarray | None], sample_rate: int
) -> tuple[SecondOpinion, ...]:
    """The same for several at once, which is quicker; a sound that is missing has no opinion (NaN)."""
    pairs = [None if other is None else aligned(recording, other, sample_rate) for other in others]
    spectra = iter(_constant_q_pairs([pair for pair in pairs if pair is not None], sample_rate))
    return tuple(NOTHING_HEARD if pair is None else _opinion(pair, next(spectra), sample_rate) for pair in pairs)


def _opinion(sounds: tuple[np.ndarray, np.ndarray], spectra_db: np.ndarray, sample_rate: int) -> SecondOpinion:
    x, y = sounds
    if not np.any(x):
        return NOTHING_HEARD
    own, theirs = _levels_db(x), _levels_db(y)
    heard = own > own.max() - HEARD_DB
    both = heard & (theirs > own.max() - HEARD_DB)
    octaves = np.abs(np.log2(_centroids_hz(y, sample_rate)[both] / _centroids_hz(x, sample_rate)[both]))
    louder = np.abs(np.maximum(theirs, own.max() - ENVELOPE_FLOOR_DB) - own)[heard]
    return SecondOpinion(
        constant_q_db=_spectral_distance_db(spectra_db[0], spectra_db[1]),
        centroid_semitones=12.0 * float(np.median(octaves)) if len(octaves) else float("nan"),
        envelope_db=float(np.mean(louder)),
    )


def _levels_db(audio: np.ndarray) -> np.ndarray:
    """RMS of each frame in dB, `[frames]`."""
    level = librosa.feature.rms(y=audio, frame_length=FRAME, hop_length=HOP)[0]
    return 20.0 * np.log10(np.maximum(level, 1e-12))


def _centroids_hz(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Spectral centroid of each frame, `[frames]`."""
    centroids = librosa.feature.spectral_centroid(y=audio, sr=sample_rate, n_fft=FRAME, hop_length=HOP)[0]
    return np.maximum(centroids, 1.0)


def _spectral_distance_db(a: np.ndarray, b: np.ndarray) -> float:
    floor = a.max() - CONSTANT_Q_FLOOR_DB
    heard = np.maximum(a, b) > floor
    return float(np.mean(np.abs(np.maximum(a, floor) - np.maximum(b, floor))[heard]))


def _constant_q_pairs(pairs: Sequence[tuple[np.ndarray, np.ndarray]], sample_rate: int) -> list[np.ndarray]:
    """Constant-Q levels of pairs of sounds, `[2, bins, frames]` each; one call, whose filters are what takes time."""
    if not pairs:
        return []
    stacked = np.zeros((len(pairs), 2, max(len(x) for x, _ in pairs)))
    for row, pair in zip(stacked, pairs, strict=True):
        row[:, : len(pair[0])] = pair
    levels_db = _constant_q_db(stacked, sample_rate)
    return [levels_db[i, :, :, : 1 + len(x) // HOP] for i, (x, _) in enumerate(pairs)]


def _constant_q_db(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """A-weighted constant-Q levels of `[..., S]`, `[..., bins, frames]`; whole octaves that fit below half the rate."""
    octaves = min(MOST_OCTAVES, int(np.log2(0.45 * sample_rate / LOWEST_HZ)))
    n_bins = octaves * BINS_PER_OCTAVE
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=")  # the lowest bins are longer than a short note
        transform = librosa.cqt(
            audio, sr=sample_rate, hop_length=HOP, fmin=LOWEST_HZ, n_bins=n_bins, bins_per_octave=BINS_PER_OCTAVE
        )
    hz = librosa.cqt_frequencies(n_bins, fmin=LOWEST_HZ, bins_per_octave=BINS_PER_OCTAVE)
    # The transform favours long filters: a sine is 3 dB stronger an octave lower.
    weights_db = librosa.A_weighting(hz, min_db=None) + 10.0 * np.log10(hz / 1000.0)
    return 20.0 * np.log10(np.maximum(np.abs(transform), 1e-12)) + weights_db[:, None]
