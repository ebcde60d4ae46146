"""Turning one quality of a note and leaving the others where they are. numpy only.

A turn is made by means that sound natural (a spectral tilt, more or less noise, another start, time running slower),
and each of those moves more than it is named after: a fade takes the bright beginning away, a tilt gives weight to
partials that decay faster. So the means are corrected until the descriptors (`analysis.descriptors`) say that the note
was moved by what was asked and by nothing else: brightness by what a tilt of so many dB per octave does to the plain
note, the others by so many units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from neuralsynth.analysis.descriptors import (
    FIRST_SECONDS,
    attack_octaves,
    brightness_octaves,
    decay_db_per_second,
    energies,
    heard_seconds,
    noisiness_db,
)
from neuralsynth.spectrum import HIGHEST_BAND_HZ, SpectrumGrid
from neuralsynth.units import note_to_hz

#: Names of the turns and how far 1.0 goes.
TURNS = ("brightness", "noisiness", "attack", "decay")
BRIGHTNESS_DB_PER_OCTAVE = 2.5
NOISINESS_DB = 9.0
DECAY_OCTAVES = 0.7  # of time, for sounds that decay
SLOWEST_DECAY = -0.5  # dB per second, of those
DECAY_DB_PER_SECOND = 3.0  # for sounds that sustain
#: An attack is turned towards these octaves of time, but by at least so many.
SLOWEST_ATTACK, LEAST_SLOWER, MOST_SLOWER = 7.0, 1.5, 4.0
FASTEST_ATTACK, LEAST_FASTER, MOST_FASTER = 2.0, 2.0, 3.0
MOST_SKIPPED_SECONDS = 0.05  # of a slow beginning, by the fastest attack
ACCENT_SECONDS, MOST_ACCENT_DB = 0.03, 12.0
LEAST_FADE_SECONDS, MOST_FADE_SECONDS, MOST_FADE_SHARE = 0.0003, 0.3, 0.15  # time constants; share of what is heard
MOST_TILT = 8.0  # dB per octave
_ROUNDS, _PLACES, _TRIALS, _CLOSE = 3, 7, 8, 0.01  # octaves
_ONSET_SECONDS = 0.1  # time runs at its own speed there, whatever the decay


@dataclass(frozen=True)
class Levels:
    """One note in dB."""

    partials_db: np.ndarray  # [P, T]
    noise_db: np.ndarray  # [B, T]
    cents: np.ndarray  # [T]


def turned_note(levels: Levels, note: float, amounts: np.ndarray, grid: SpectrumGrid, sustains: bool) -> Levels:
    """A note with its qualities moved by `amounts`, -1..1 each, in the order of `TURNS`."""
    bright, noisy, attack, decay = (float(x) for x in amounts)
    times = grid.frame_seconds
    octaves = np.log2(np.arange(1.0, grid.n_partials + 1.0))
    plain = _Tone(levels.partials_db, octaves, float(note_to_hz(note)), times)
    slower = _at_times(levels, times, _stretched(times, 0.0 if sustains else decay))
    goal = _Goal(
        brightness=plain.brightness(bright * BRIGHTNESS_DB_PER_OCTAVE),
        attack=plain.attack() + _attack_step(plain.attack(), attack),
        decay=_moved_decay(plain.decay(), decay, sustains),
    )
    skipped = min(FIRST_SECONDS * 2.0 ** plain.attack(), MOST_SKIPPED_SECONDS)
    moved = _at_times(slower, times, times + max(-attack, 0.0) * skipped * np.exp(-times / MOST_SKIPPED_SECONDS))
    tone = plain.with_levels(moved.partials_db)
    tilt, shape_db = _found(tone, goal, fading=attack > 0.0, first_tilt=bright * BRIGHTNESS_DB_PER_OCTAVE)
    gain_db = plain.loudness_db() - plain.loudness_db(tilt)
    partials_db = moved.partials_db + (tilt * octaves + gain_db)[:, None] + shape_db
    noise_octaves = np.log2(grid.band_centres_hz / plain.pitch_hz)[:, None]
    noise_db = moved.noise_db + tilt * np.clip(noise_octaves, 0.0, octaves[-1]) + shape_db
    wanted = _noisiness(levels.partials_db, levels.noise_db, plain.counts, times) + NOISINESS_DB * noisy
    noise_db = noise_db + wanted - _noisiness(partials_db, noise_db, plain.counts, times)
    return Levels(partials_db, noise_db, moved.cents)


@dataclass(frozen=True)
class _Goal:
    """Where the descriptors shall be."""

    brightness: float
    attack: float
    decay: float


class _Tone:
    """The partials of a note, quick to describe under a tilt (dB per octave) and a shape over time (dB, `[T]`)."""

    def __init__(self, partials_db: np.ndarray, octaves: np.ndarray, pitch_hz: float, times: np.ndarray) -> None:
        self.octaves, self.pitch_hz, self.times = octaves, pitch_hz, times
        self.counts = octaves <= np.log2(HIGHEST_BAND_HZ / pitch_hz)
        self.power = 0.5 * 10.0 ** (partials_db.T / 10.0) * self.counts  # [T, P]

    def with_levels(self, partials_db: np.ndarray) -> _Tone:
        """Other levels of the same note."""
        return _Tone(partials_db, self.octaves, self.pitch_hz, self.times)

    def level_db(self, tilt: float = 0.0) -> np.ndarray:
        """Level over time, `[T]`."""
        return 10.0 * np.log10(self.power @ 10.0 ** (tilt * self.octaves / 10.0) + 1e-12)

    def loudness_db(self, tilt: float = 0.0) -> float:
        """Level over the whole note."""
        energy = energies(self.power, self.times)
        return float(10.0 * np.log10(energy @ 10.0 ** (tilt * self.octaves / 10.0) + 1e-12))

    def brightness(self, tilt: float) -> float:
        """See `brightness_octaves`."""
        return _tilted_brightness(energies(self.power, self.times), self.octaves, tilt)

    def attack(self) -> float:
        """See `attack_octaves`."""
        return attack_octaves(self.level_db(), self.times)

    def decay(self) -> float:
        """See `decay_db_per_second`."""
        return decay_db_per_second(self.level_db(), self.times)


def _found(tone: _Tone, goal: _Goal, fading: bool, first_tilt: float) -> tuple[float, np.ndarray]:
    """The tilt (dB per octave) and the shape over time (dB, `[T]`) that bring a tone to its goal."""
    times = tone.times
    # Where nothing is heard any more, nothing has to be turned: what lies there would be raised without limit.
    heard = heard_seconds(tone.level_db(), times)
    spent = np.minimum(times, 1.5 * heard)
    tilt, slope, most_slope = first_tilt, 0.0, max(2.0 * DECAY_DB_PER_SECOND, 0.5 * abs(goal.decay))
    onset_db = shape_db = np.zeros(len(times))
    tilts = np.array([-MOST_TILT, first_tilt, MOST_TILT])
    for _ in range(_ROUNDS):
        level_db = tone.level_db(tilt)
        missing = goal.decay - decay_db_per_second(level_db + onset_db + slope * spent, times)
        slope = float(np.clip(slope + missing, -most_slope, most_slope))
        onset_db = _onset_db(level_db + slope * spent, times, goal.attack, MOST_FADE_SHARE * heard if fading else 0.0)
        shape_db = onset_db + slope * spent
        energy = energies(tone.power * (10.0 ** (shape_db / 10.0))[:, None], times)
        brightness = partial(_tilted_brightness, energy, tone.octaves)
        tilt = _solved(brightness, goal.brightness, tilts, first_tilt)
    return tilt, shape_db


def _tilted_brightness(energy: np.ndarray, octaves: np.ndarray, tilt: float) -> float:
    """Brightness of partials with `energy` `[P]` under a tilt in dB per octave."""
    return brightness_octaves(energy * 10.0 ** (tilt * octaves / 10.0), octaves)


def _onset_db(level_db: np.ndarray, times: np.ndarray, attack: float, longest_fade: float) -> np.ndarray:
    """The gain `[T]` that gives a level the wanted attack: a fade in of at most so many seconds, or an accent."""
    gain_db, places, neutral = _accent_db, np.linspace(-MOST_ACCENT_DB, MOST_ACCENT_DB, _PLACES), 0.0
    if longest_fade > 0.0:
        longest = float(np.clip(longest_fade, 2.0 * LEAST_FADE_SECONDS, MOST_FADE_SECONDS))
        neutral = math.log2(LEAST_FADE_SECONDS)
        gain_db, places = _fade_db, np.linspace(neutral, math.log2(longest), _PLACES)
    place = _solved(lambda x: attack_octaves(level_db + gain_db(times, x), times), attack, places, neutral)
    return gain_db(times, place)


def _solved(function: Callable[[float], float], wanted: float, places: np.ndarray, neutral: float) -> float:
    """Where a function of one number is `wanted`: between two of `places`, near `neutral`, or the best of them."""
    errors = np.array([function(float(place)) - wanted for place in places])
    between = np.flatnonzero(errors[:-1] * errors[1:] <= 0.0)
    if len(between) == 0:
        return float(places[np.argmin(np.abs(errors))])
    k = int(between[np.argmin(np.abs(0.5 * (places[between] + places[between + 1]) - neutral))])
    (one, other), (error, other_error) = places[k : k + 2], errors[k : k + 2]
    for _ in range(_TRIALS):  # regula falsi, Illinois
        if abs(error - other_error) < 1e-9:
            break
        place = (one * other_error - other * error) / (other_error - error)
        found = function(float(place)) - wanted
        if abs(found) < _CLOSE:
            return float(place)
        if found * error > 0.0:
            one, error, other_error = place, found, 0.5 * other_error
        else:
            other, other_error, error = place, found, 0.5 * error
    return float(one)


def _moved_decay(db_per_second: float, amount: float, sustains: bool) -> float:
    """Decays are moved by a share of their time, levels that stay by decibels per second."""
    if sustains:
        return db_per_second + DECAY_DB_PER_SECOND * amount
    return min(db_per_second, SLOWEST_DECAY) * 2.0 ** (-DECAY_OCTAVES * amount)


def _attack_step(octaves: float, amount: float) -> float:
    """By how many octaves of time an attack is moved: further where there is more room."""
    slower = np.clip(SLOWEST_ATTACK - octaves, LEAST_SLOWER, MOST_SLOWER)
    faster = np.clip(octaves - FASTEST_ATTACK, LEAST_FASTER, MOST_FASTER)
    return float(amount * (slower if amount > 0.0 else faster))


def _fade_db(times: np.ndarray, place: float) -> np.ndarray:
    """Gain of a fade in with a time constant of `2 ** place` seconds; half a frame has passed at once."""
    return 20.0 * np.log10(np.maximum(1.0 - np.exp(-(times + 0.001) / 2.0**place), 1e-3))


def _accent_db(times: np.ndarray, place: float) -> np.ndarray:
    """Gain of an accent of `place` dB (or, negative, of a softer beginning)."""
    return place * np.exp(-times / ACCENT_SECONDS)


def _stretched(times: np.ndarray, decay: float) -> np.ndarray:
    """Where in the recording each frame looks if the note rings longer or shorter."""
    return times * 2.0 ** (-DECAY_OCTAVES * decay * (1.0 - np.exp(-times / _ONSET_SECONDS)))


def _at_times(levels: Levels, times: np.ndarray, source: np.ndarray) -> Levels:
    """The note as it is at the moments `source` `[T]`; beyond its end it falls on as it did in its second half."""
    rows = np.interp(source, times, np.arange(len(times)))
    low = np.minimum(rows.astype(int), len(times) - 2)
    share, beyond = rows - low, np.maximum(source - times[-1], 0.0)
    middle = int(np.searchsorted(times, 0.5 * times[-1]))

    def at(x: np.ndarray) -> np.ndarray:
        return x[..., low] * (1.0 - share) + x[..., low + 1] * share

    def falling(x: np.ndarray) -> np.ndarray:
        slope = np.minimum((x[:, -1] - x[:, middle]) / (times[-1] - times[middle]), 0.0)
        return at(x) + slope[:, None] * beyond

    return Levels(falling(levels.partials_db), falling(levels.noise_db), at(levels.cents))


def _noisiness(partials_db: np.ndarray, noise_db: np.ndarray, counts: np.ndarray, times: np.ndarray) -> float:
    tone = 0.5 * float(energies((10.0 ** (partials_db / 10.0)).T[:, counts], times).sum())
    return noisiness_db(float(energies((10.0 ** (noise_db / 10.0)).T, times).sum()), tone)
