"""The ADSR that a recording needs on top of what a model's note does by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis import NoteAnalysis
from neuralsynth.analysis.signal import ENVELOPE_STEP_SECONDS, envelope
from neuralsynth.preset_sections import Envelope
from neuralsynth.spectrum import NoteSpectrum

_ATTACKS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, 0.32, 0.5, 0.75, 1.0, 1.5, 2.0)
_DECAYS = (0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 16.0)
_SUSTAINS = (0.1, 0.18, 0.25, 0.35, 0.5, 0.7)
#: Each part must bring the level so much nearer, on average, to be used.
_ATTACK_GAIN_DB, _DECAY_GAIN_DB = 0.3, 0.5
_HEARD_DB = 60.0
_RELEASE_FROM_DB, _RELEASE_TO_DB, _SHORTEST_RELEASE, _LONGEST_RELEASE = 6.0, 36.0, 0.02, 5.0
_LEAST_TAIL_SECONDS = 0.03


@dataclass(frozen=True)
class _Levels:
    """The levels of a recording and of what the model plays for it, in dB over the frames of the grid, `[n]`."""

    seconds: np.ndarray
    wanted: np.ndarray
    played: np.ndarray

    def error(self, gain: np.ndarray, weights: np.ndarray) -> float:
        """Weighted mean difference once the envelope is on and both are equally loud."""
        floor = self.wanted.max() - _HEARD_DB
        shaped = self.played + 20.0 * np.log10(np.maximum(gain, 1e-6))
        loudness = [10.0 * np.log10(np.average(10.0 ** (x / 10.0), weights=weights)) for x in (self.wanted, shaped)]
        difference = np.maximum(self.wanted, floor) - np.maximum(shaped + loudness[0] - loudness[1], floor)
        return float(np.average(np.abs(difference), weights=weights))


def fit_envelope(
    audio: np.ndarray, sample_rate: int, analysis: NoteAnalysis, played: NoteSpectrum, otherwise: Envelope
) -> Envelope:
    """The envelope for a note that the model plays as `played`, so that its level follows the recording's.

    Attack, decay and sustain are used only where they bring the level nearer. The release is that of the recording
    after a sustained note is let go; where there is none to hear, that of `otherwise`.
    """
    n = analysis.n_valid_frames
    seconds = played.grid.frame_seconds[:n]
    levels = _Levels(seconds, analysis.spectrum.level_db()[:n], played.level_db()[:n])
    even, lengths = np.ones(n), np.gradient(seconds) if n > 1 else np.ones(1)
    attack, least = 0.0, levels.error(even, even) - _ATTACK_GAIN_DB
    for seconds_up in _ATTACKS[1:]:
        error = levels.error(_attack_gain(seconds, seconds_up), even)
        if error < least:
            attack, least = seconds_up, error
    rise = _attack_gain(seconds, attack)
    decay, sustain, least = 0.0, 1.0, levels.error(rise, lengths) - _DECAY_GAIN_DB
    for level in _SUSTAINS if analysis.sustains else (0.0, *_SUSTAINS):
        for seconds_down in _DECAYS:
            error = levels.error(rise * _decay_gain(np.maximum(seconds - attack, 0.0), seconds_down, level), lengths)
            if error < least:
                decay, sustain, least = seconds_down, level, error
    release = _release_seconds(audio, sample_rate, analysis)
    return Envelope(attack, decay, sustain, otherwise.release_seconds if release is None else release)


def _attack_gain(seconds: np.ndarray, attack: float) -> np.ndarray:
    """Gain of `sound.envelope`'s attack."""
    if attack == 0.0:
        return np.ones_like(seconds)
    return np.minimum(1.25 * (1.0 - np.exp(-seconds * math.log(5.0) / attack)), 1.0)


def _decay_gain(seconds: np.ndarray, decay: float, sustain: float) -> np.ndarray:
    """Gain of `sound.envelope`'s decay."""
    return sustain + (1.0 - sustain) * np.exp(-seconds * math.log(1000.0) / decay)


def _release_seconds(audio: np.ndarray, sample_rate: int, analysis: NoteAnalysis) -> float | None:
    """How long the note takes to fall by 60 dB once it is let go; None if the recording does not hold that."""
    if not analysis.sustains or not math.isfinite(analysis.usable_seconds):
        return None
    first = round((analysis.onset_seconds + analysis.usable_seconds) * sample_rate)
    tail = np.asarray(audio[first:], np.float64)
    if len(tail) < _LEAST_TAIL_SECONDS * sample_rate:
        return None
    level_db = 20.0 * np.log10(np.maximum(envelope(tail, sample_rate, 0.01), 1e-9))
    level_db -= level_db.max()
    begun = int(np.flatnonzero(level_db > -_RELEASE_FROM_DB)[-1])
    fallen = np.flatnonzero(level_db[begun:] < -_RELEASE_TO_DB)
    over = begun + (int(fallen[0]) if len(fallen) else len(level_db) - 1 - begun)
    drop = level_db[begun] - level_db[over]
    if over <= begun or drop < 0.5 * (_RELEASE_TO_DB - _RELEASE_FROM_DB):
        return None
    seconds = 60.0 * (over - begun) * ENVELOPE_STEP_SECONDS / drop
    return round(float(np.clip(seconds, _SHORTEST_RELEASE, _LONGEST_RELEASE)), 3)
