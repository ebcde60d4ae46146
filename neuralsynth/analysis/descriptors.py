"""What a note's spectrum is like in four numbers: the qualities that axes are named after.

Each is measured on what a player means by the word and, as far as that goes, on nothing else: brightness, attack and
decay on the partials alone, so that breath is not brightness and a knock no attack; brightness and noisiness on the
energies of the whole note, which do not change much when a note rings longer; the attack against the course that the
level takes afterwards, so that neither a later swell nor a decay counts.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.spectrum import HIGHEST_BAND_HZ, SpectrumGrid
from neuralsynth.units import note_to_hz

UNITS = {"brightness": "octaves", "noisiness": "dB", "attack": "octaves", "decay": "dB/s"}
SAYS = {
    "brightness": "where the partials lie on average, above the fundamental",
    "noisiness": "energy of the noise over that of the partials",
    "attack": "how long the tone is not there yet, above 1 ms; negative with an accent",
    "decay": "change of level after the attack",
}
#: The attack is looked for between these moments,
FIRST_SECONDS, _LAST_SECONDS, _POINTS_PER_OCTAVE = 0.001, 0.3, 8
#: against the straight course of the level soon after (within so many seconds, or a share of what is heard, and so many
#: dB below its loudest moment: what rings on far below is no measure), taken back no further than to here.
_SOON_SECONDS, _SOON_SHARE, _CLEAR_DB, _COURSE_FROM_SECONDS = 0.3, 0.3, 40.0, 0.05
_MOST_ACCENT_DB = 12.0  # above the course; an accent beyond counts for hardly more, but never for less
_LOUDNESS = 0.6 / 20.0  # decades of loudness per decibel (Stevens 1955)
#: The attack is over after this, or after a share of the time that the note is heard.
_AFTER_SECONDS, _AFTER_SHARE = 0.1, 0.2
_UNHEARD_DB, _FADING_DB = 60.0, 30.0  # below its loudest moment; frames count less and less on the way there
_LEAST_POWER = 1e-12


def describe(
    partials: np.ndarray, ratios: np.ndarray, noise: np.ndarray, grid: SpectrumGrid, note: float
) -> dict[str, float]:
    """Brightness, noisiness, attack and decay of a note in `UNITS`.

    Args:
        partials: linear amplitudes `[T, P]`; those above 20 kHz do not count.
        ratios: partial frequency over the fundamental, `[P]`.
        noise: linear RMS per band, `[T, B]`.
        grid: where the `T` frames lie.
        note: MIDI number of the fundamental.
    """
    times = grid.frame_seconds
    power = 0.5 * partials**2 * (ratios * float(note_to_hz(note)) <= HIGHEST_BAND_HZ)
    energy = energies(power, times)
    level_db = 10.0 * np.log10(power.sum(axis=1) + _LEAST_POWER)
    return {
        "brightness": brightness_octaves(energy, np.log2(ratios)),
        "noisiness": noisiness_db(float(energies(noise**2, times).sum()), float(energy.sum())),
        "attack": attack_octaves(level_db, times),
        "decay": decay_db_per_second(level_db, times),
    }


def energies(power: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Energy of each column of `power` `[T, C]` over the whole note: `[C]`."""
    return np.gradient(times) @ power


def brightness_octaves(energy: np.ndarray, octaves: np.ndarray) -> float:
    """Mean of the partials' `octaves` `[P]`, each weighted by its amplitude (the root of its `energy` `[P]`)."""
    weight = np.sqrt(energy) + 1e-15
    return float(weight @ octaves / weight.sum())


def noisiness_db(noise_energy: float, partial_energy: float) -> float:
    """Noise over partials; silence counts as 120 dB below full scale for a second."""
    return 10.0 * float(np.log10((noise_energy + _LEAST_POWER) / (partial_energy + _LEAST_POWER)))


def attack_octaves(level_db: np.ndarray, times: np.ndarray) -> float:
    """For how many octaves of time, counted from 1 ms, the loudness is not yet what it is going to be.

    A tone that jumps in after 8 ms has 3 octaves; one that comes gradually counts at each moment by what is missing.
    Where it is louder than its later course lets expect, that counts against it.
    """
    end = float(times[-1])
    seconds = np.exp2(np.arange(np.log2(FIRST_SECONDS), np.log2(min(_LAST_SECONDS, end)), 1.0 / _POINTS_PER_OCTAVE))
    above_db = np.interp(seconds, times, level_db) - _course_db(level_db, times, seconds)
    above_db = np.where(above_db > 0.0, _MOST_ACCENT_DB * np.tanh(above_db / _MOST_ACCENT_DB), above_db)
    return float(np.sum(1.0 - 10.0 ** (_LOUDNESS * above_db)) / _POINTS_PER_OCTAVE)


def _course_db(level_db: np.ndarray, times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The level that the tone would have had at `seconds` without its attack."""
    soon = min(_SOON_SECONDS, _SOON_SHARE * heard_seconds(level_db, times))
    weight = _weights(level_db, times) * np.exp(-times / soon) * (_heard(level_db, _CLEAR_DB) + 1e-6)
    slope, middle_db, middle = _line(level_db, times, weight)
    return middle_db + slope * (np.maximum(seconds, _COURSE_FROM_SECONDS) - middle)


def decay_db_per_second(level_db: np.ndarray, times: np.ndarray) -> float:
    """Slope of the level after the attack, as long as it is heard."""
    return _line(level_db, times, _weights(level_db, times))[0]


def _weights(level_db: np.ndarray, times: np.ndarray) -> np.ndarray:
    """What each frame counts for the course of the level, `[T]`: nothing in the attack and where it is not heard.

    Nothing begins or ends suddenly, so that a small change of the note is a small change of what is measured.
    """
    heard = _heard(level_db) * np.gradient(times)
    start = min(_AFTER_SECONDS, _AFTER_SHARE * float(heard.sum()))
    return np.clip(times / start - 1.0, 1e-6, 1.0) * heard


def heard_seconds(level_db: np.ndarray, times: np.ndarray) -> float:
    """How long a note is heard."""
    return float(_heard(level_db) @ np.gradient(times))


def _heard(level_db: np.ndarray, unheard_db: float = _UNHEARD_DB) -> np.ndarray:
    return np.clip((level_db - float(level_db.max()) + unheard_db) / _FADING_DB, 0.0, 1.0)


def _line(level_db: np.ndarray, times: np.ndarray, weight: np.ndarray) -> tuple[float, float, float]:
    """The straight line through weighted frames: slope, and level at their middle time."""
    weight = weight / weight.sum()
    middle, level = float(weight @ times), float(weight @ level_db)
    return float(weight @ ((times - middle) * level_db) / (weight @ (times - middle) ** 2)), level, middle
