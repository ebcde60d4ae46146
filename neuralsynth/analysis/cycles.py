"""Single-cycle waveforms: one file is exactly one period, to be played round and round at any pitch.

A cycle's spectrum needs no estimate: the discrete Fourier transform of one period gives the amplitudes of its harmonics
exactly. It has no noise and does not move, and its pitch is only a label (the file's own, were it looped as it is).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid
from neuralsynth.units import db_to_gain, gain_to_db, note_to_hz

#: From here on a file is a note; what is shorter may be a cycle. Packs have 32 to 2,048 samples per cycle.
LONGEST_SECONDS = 0.05
FEWEST_SAMPLES = 16
SILENCE_DB = -60.0
#: A piece cut out of a note repeats itself this well (cumulative mean normalised difference, as YIN has it) more than
#: twice, but not a whole number of times: it is this far off one. No cycle of 315 repeats itself so better than 0.12.
_SAME, _FEWEST_PERIODS, _OFF_PERIODS = 0.05, 2.0, 0.08
#: A file whose other harmonics are this weak is several periods of one wave: it would sound above the key.
_SEVERAL_DB = -40.0
#: Harmonics this far below the loudest are left out: nobody hears them, and every one costs time.
INAUDIBLE_DB = 80.0
#: Loudness that every cycle gets, as A-weighted RMS, and how far that may take its RMS from the usual one.
LOUDNESS_DB, USUAL_DB, MOST_AWAY_DB = -23.0, -14.0, 9.0
_LOUDNESS_NOTES = np.arange(36, 85, 6)
_NUMBER = re.compile(r"r?(\d+)")


@dataclass(frozen=True)
class Cycle:
    """One period of a waveform."""

    amplitudes: np.ndarray  # [K] of the harmonics 1..K, linear, full scale 1.0
    pitch_hz: float  # of the file, looped as it is


def read_cycle(mono: np.ndarray, sample_rate: int) -> Cycle:
    """The harmonics of one period, `[samples]`.

    Several whole periods of one wave count as one. A constant offset is not heard and is left out.

    Raises:
        RecordingError: too few samples, silent, only a constant, or a piece of a note instead of a whole period.
    """
    n = len(mono)
    if n < FEWEST_SAMPLES:
        raise RecordingError(
            f"has {n} samples; a note lasts at least {1000 * LONGEST_SECONDS:.0f} ms, and a single cycle has at least "
            f"{FEWEST_SAMPLES} samples"
        )
    wave = np.asarray(mono, np.float64)
    peak_db = float(gain_to_db(np.max(np.abs(wave))))
    if peak_db < SILENCE_DB:
        raise RecordingError(f"is silent (peak {peak_db:.0f} dBFS; at least {SILENCE_DB:.0f} are heard)")
    wave = wave - wave.mean()
    if float(gain_to_db(np.max(np.abs(wave)))) < SILENCE_DB:
        raise RecordingError("holds only a constant")
    periods = _periods_in_excerpt(wave)
    if periods is not None:
        raise RecordingError(
            f"lasts {1000 * n / sample_rate:.1f} ms and holds {periods:.1f} periods; a note lasts at least "
            f"{1000 * LONGEST_SECONDS:.0f} ms, and a single cycle is exactly one period"
        )
    amplitudes = 2.0 * np.abs(np.fft.rfft(wave))[1 : (n + 1) // 2] / n
    several = _whole_periods(amplitudes)
    return Cycle(amplitudes[several - 1 :: several], several * sample_rate / n)


def _periods_in_excerpt(wave: np.ndarray) -> float | None:
    """How many periods a piece of a note holds, None for a cycle.

    De Cheveigné and Kawahara, "YIN", JASA 111(4), 2002, equation 8, over lags of up to two thirds of the file.
    """
    n, lags = len(wave), np.arange(1, 2 * len(wave) // 3)
    alike = np.fft.irfft(np.abs(np.fft.rfft(wave, 2 * n)) ** 2)[lags]
    energy = np.concatenate([[0.0], np.cumsum(wave**2)])
    difference = np.maximum(energy[n] - energy[lags] + energy[n - lags] - 2.0 * alike, 0.0) / (n - lags)
    normalised = difference * lags / np.maximum(np.cumsum(difference), 1e-20)
    before, after = np.r_[np.inf, normalised[:-1]], np.r_[normalised[1:], np.inf]
    dips = lags[(normalised <= _SAME) & (normalised <= before) & (normalised <= after)]
    periods = n / float(dips[0]) if len(dips) else 1.0
    return periods if periods > _FEWEST_PERIODS and abs(periods - round(periods)) > _OFF_PERIODS else None


def _whole_periods(amplitudes: np.ndarray) -> int:
    """The largest number that divides the number of every harmonic that counts."""
    power, number = amplitudes**2, np.arange(1, len(amplitudes) + 1)
    least = power.sum() * 10.0 ** (_SEVERAL_DB / 10.0)
    for several in range(int(np.argmax(power)) + 1, 1, -1):
        if power[number % several != 0].sum() < least:
            return several
    return 1


def cycle_spectrum(cycle: Cycle, grid: SpectrumGrid) -> NoteSpectrum:
    """The cycle as a note that stands still, as loud as every other cycle: harmonics in `partials`, no noise.

    Harmonics beyond the grid and those nobody hears are left out.
    """
    harmonics = np.zeros(grid.n_partials)
    kept = cycle.amplitudes[: grid.n_partials]
    harmonics[: len(kept)] = kept
    harmonics[harmonics < harmonics.max() * float(db_to_gain(-INAUDIBLE_DB))] = 0.0
    partials = np.tile(harmonics * loudness_gain(harmonics), (grid.n_frames, 1))
    ratios = np.arange(1.0, grid.n_partials + 1)
    return NoteSpectrum(grid, partials, ratios, np.zeros(grid.n_frames), np.zeros((grid.n_frames, grid.n_bands)))


def loudness_gain(harmonics: np.ndarray) -> float:
    """Gain that makes harmonics `[K]` as loud as those of any other cycle.

    Loudness is the A-weighted level (IEC 61672-1), in the mean over the middle of the keyboard. Where that would take
    the plain level too far from the usual (a sine would drown everything in the bass), it goes only so far.
    """
    number = np.arange(1, len(harmonics) + 1)
    hz = note_to_hz(_LOUDNESS_NOTES)[:, None] * number
    power = 0.5 * harmonics**2
    heard = np.where(hz < 20_000.0, a_weighting(hz) ** 2, 0.0) @ power
    plain_db = 10.0 * np.log10(power.sum())
    gain_db = LOUDNESS_DB - float(np.mean(10.0 * np.log10(np.maximum(heard, 1e-20))))
    away_db = np.clip(plain_db + gain_db - USUAL_DB, -MOST_AWAY_DB, MOST_AWAY_DB)
    return float(db_to_gain(USUAL_DB + away_db - plain_db))


def a_weighting(hz: np.ndarray) -> np.ndarray:
    """Gain of the A-weighting at frequencies in Hz, 1 at 1 kHz (IEC 61672-1, annex E)."""
    f2 = np.asarray(hz, np.float64) ** 2
    poles = (f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12_194.0**2)
    return 1.2589 * 12_194.0**2 * f2**2 / poles


def cycle_names(names: Sequence[str]) -> list[str]:
    """A short name for each file of a pack, given its path below the folder without the ending.

    `AKWF_saw/AKWF_saw_0007` becomes `saw-07`, `square/12` becomes `square-12`. Words that all files share are left out,
    and so are notes and velocities (`m038`, `v100`), since a cycle has every pitch. A name that is left without a word
    gets the last shared one back; names that end up equal are numbered.
    """
    split = [_words(name) for name in names]
    counts = Counter(word for words in split for word in set(words))
    shared = {word for word, count in counts.items() if count == len(names) > 1 and not _NUMBER.fullmatch(word)}
    short = [_short_name(words, shared) for words in split]
    seen: Counter[str] = Counter()
    taken = set(short)
    for i, name in enumerate(short):
        seen[name] += 1
        if seen[name] > 1:
            while (unique := f"{name}-{seen[name]}") in taken:
                seen[name] += 1
            short[i] = unique
            taken.add(unique)
    return short


def _words(name: str) -> list[str]:
    """The words of a file's name, after those that only its folder has."""
    folder, _, file = name.lower().rpartition("/")
    within, own = ([w for w in re.split(r"[^a-z0-9]+", part) if w] for part in (folder, file))
    return [w for w in within if w not in own] + own


def _short_name(words: list[str], shared: set[str]) -> str:
    """What tells these words from the others, a number at the end with at least two digits."""
    kept = [w for w in words if w not in shared and not re.fullmatch(r"[mv]\d{1,3}", w)]
    if not any(w.isalpha() for w in kept):
        kept = [w for w in words if w in shared and w.isalpha()][-1:] + kept
    if kept and (number := _NUMBER.fullmatch(kept[-1])):
        kept[-1] = f"{int(number[1]):02d}"
    return "-".join(kept) or "cycle"
