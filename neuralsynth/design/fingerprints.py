"""`fingerprint`: a sound in 128 numbers whose Euclidean distance is about the audible difference in dB."""

from __future__ import annotations

import numpy as np

from neuralsynth.analysis.swipe import STEPS_PER_OCTAVE, candidates_hz, series_evidence
from neuralsynth.design.frames import N_BANDS, Frames

#: The course of the bands is averaged between these moments after the onset, and from the last one on.
SEGMENT_SECONDS = (0.0, 0.1, 0.4, 1.2, 2.0)
_LEAST_END_SECONDS = 4.0  # a sound that ends before is silent up to here
_FLOOR_DB = 60.0  # below the loudest segment
_LINEAR_SHARE = 0.5  # of the weight goes by the length of a segment, the rest is the same for each
N_PITCHES, _PITCH_DB = 24, 18.0  # quarter tones of an octave; what a clear pitch counts
_MOVING_GROUPS, _SMOOTHED_SECONDS, _MOVING_FLOOR_DB, _MOVING_WEIGHT = 4, 0.35, 45.0, 0.35
SIZE = len(SEGMENT_SECONDS) * N_BANDS + N_PITCHES + _MOVING_GROUPS

_PITCH_SIZES = (512, 1024, 2048, 4096, 8192, 16384)
_MOST_WINDOWS = 8
_PITCHED_FROM_SECONDS, _PITCHED_SECONDS = 0.06, 1.5


def fingerprint(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """What a sound `[C, n]` sounds like, whatever its level and wherever it begins: float32 `[SIZE]`.

    The Euclidean distance of two fingerprints stands for their audible difference in about dB: the root of a sum of

    - mean squares of level differences in dB in 20 mel bands and 5 stretches of time after the onset, each level
      relative to the loudest stretch and floored 60 dB below (100 numbers);
    - mean squares of differences in how clearly each of 24 quarter tones is heard, whatever its octave, by SWIPE';
      18 dB between a clear pitch and none (24 numbers);
    - differences of fluctuation in four groups of bands: standard deviation in dB of their level around its course
      smoothed over 0.35 s, each counting about a third (4 numbers).

    Between random sounds it is about twice `analysis.distance`, which takes the silence of both into its mean; for how
    well they rank alike, and for sounds that a listener takes for the same, see `benchmarks/duplicates.py`.

    Silence is all zeros but for the levels, which are at the floor.

    Raises:
        UsageError: as `Frames.of`.
    """
    frames = Frames.of(audio, sample_rate)
    return of_frames(frames, pitch_evidence(frames))


def of_frames(frames: Frames, evidence: np.ndarray) -> np.ndarray:
    """The fingerprint of a prepared sound with its `pitch_evidence`."""
    if frames.is_silent:
        silence = _weighted(np.full((len(SEGMENT_SECONDS), N_BANDS), -_FLOOR_DB))
        parts = [silence, np.zeros(N_PITCHES + _MOVING_GROUPS)]
    else:
        parts = [_weighted(_course_db(frames)), _pitch_classes(evidence), _fluctuation(frames)]
    return np.concatenate(parts).astype(np.float32)


def pitch_evidence(frames: Frames) -> np.ndarray:
    """How clearly each candidate of `analysis.swipe` is heard, `[K]`; zeros where nothing can be said."""
    nothing, rate = np.zeros(len(candidates_hz())), frames.sample_rate
    if frames.is_silent:
        return nothing
    start = round(_PITCHED_FROM_SECONDS * rate)
    end = min(round((_PITCHED_FROM_SECONDS + _PITCHED_SECONDS) * rate), _heard_samples(frames))
    part = frames.from_onset[start:end] if end - start >= 2 * start else frames.from_onset[: max(end, 2 * start)]
    octave = max(0, round(float(np.log2(rate / 44_100))))
    if len(part) < _PITCH_SIZES[0] << octave:
        return nothing
    return series_evidence(part, rate, [size << octave for size in _PITCH_SIZES], _MOST_WINDOWS)


def _heard_samples(frames: Frames) -> int:
    first, last = frames.heard
    return round((last - first) * frames.step_seconds * frames.sample_rate)


def _course_db(frames: Frames) -> np.ndarray:
    """Mean level of each band in each stretch of time, `[segments, N_BANDS]`, dB."""
    bands = frames.bands.astype(np.float64)
    bounds = [round(seconds / frames.hop_seconds) for seconds in SEGMENT_SECONDS]
    n_frames = max(len(bands), round(_LEAST_END_SECONDS / frames.hop_seconds))
    padded = np.zeros((n_frames, N_BANDS))
    padded[: len(bands)] = bands
    n_each = np.diff([*bounds, n_frames])[:, None]
    loudest = float((np.add.reduceat(padded, bounds) / n_each).sum(axis=1).max())
    level_db = 10.0 * np.log10(padded / max(loudest, 1e-30) + 10.0 ** (-_FLOOR_DB / 10.0))
    return np.add.reduceat(level_db, bounds) / n_each


def _weighted(course_db: np.ndarray) -> np.ndarray:
    """The course `[segments, N_BANDS]` so that the sum of its squares is their weighted mean."""
    lengths = np.diff([*SEGMENT_SECONDS, _LEAST_END_SECONDS])
    weights = (1.0 - _LINEAR_SHARE) / len(lengths) + _LINEAR_SHARE * lengths / lengths.sum()
    return (course_db * np.sqrt(weights / N_BANDS)[:, None]).ravel()


def _pitch_classes(evidence: np.ndarray) -> np.ndarray:
    """The clearest octave of each quarter tone, `[N_PITCHES]`."""
    octaves = np.zeros((-(-len(evidence) // STEPS_PER_OCTAVE), STEPS_PER_OCTAVE))
    octaves.ravel()[: len(evidence)] = np.maximum(evidence, 0.0)
    classes = octaves.max(axis=0).reshape(N_PITCHES, -1).max(axis=1)
    return classes * (_PITCH_DB / np.sqrt(N_PITCHES))


def _fluctuation(frames: Frames) -> np.ndarray:
    """How far the level of each group of bands strays from its smoothed course while it is heard, `[groups]`."""
    power = frames.bands.astype(np.float64).reshape(len(frames.bands), _MOVING_GROUPS, -1).sum(axis=2)
    floor = max(float(power.sum(axis=1).max()), 1e-30) * 10.0 ** (-_MOVING_FLOOR_DB / 10.0)
    level_db = 10.0 * np.log10(power / floor + 1.0)
    width = 2 * round(0.5 * _SMOOTHED_SECONDS / frames.hop_seconds) + 1
    if len(level_db) <= width:
        return np.zeros(_MOVING_GROUPS)
    total = np.concatenate([np.zeros((1, _MOVING_GROUPS)), np.cumsum(level_db, axis=0)])
    smooth = (total[width:] - total[:-width]) / width
    inner = level_db[width // 2 : width // 2 + len(smooth)]
    weight = np.clip(smooth / 10.0, 0.0, 1.0)  # fading out on the last 10 dB to the floor
    strays = np.sqrt((weight * (inner - smooth) ** 2).sum(axis=0) / np.maximum(weight.sum(axis=0), 1.0))
    return _MOVING_WEIGHT * strays
