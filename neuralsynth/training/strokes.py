"""Which drums of a kit keep strokes (`neuralsynth.strokes`), and those strokes, from the hits that are learned from.

A drum keeps them where its strokes repeat each other: where, below the crossing, a hit is nearer to another hit than to
its own analysis played back. There levels without phases are what holds the sound back. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuralsynth.analysis import distance
from neuralsynth.analysis.note import sounding_part
from neuralsynth.analysis.recordings import Recording
from neuralsynth.scoring.playback import play_spectrum
from neuralsynth.spectrum import NoteSpectrum
from neuralsynth.strokes import Strokes, crossing
from neuralsynth.training.dataset import NoteTable

RATE_HZ = 6_000
LOW_HZ, HIGH_HZ = 1_300.0, 1_900.0
LONGEST_SECONDS = 2.0
FEWEST, MOST = 3, 8
#: Another stroke is at most so many times as far as the own analysis, in the median over a drum's hits.
MOST_TIMES_ANALYSIS = 0.9
#: Of all drums of a kit together: the clearest come first.
MOST_BYTES = 1_000_000
_JUDGED_HZ, _ALIGNED_SECONDS, _MOST_SHIFT, _RISE_SECONDS, _END_SECONDS = 44_100, 0.15, 0.004, 0.001, 0.03


def named_strokes(hits: Sequence[Recording], table: NoteTable, names: Sequence[str]) -> dict[str, Strokes]:
    """The strokes of each drum that keeps some, by the `names` of its groups.

    Args:
        hits: what the notes of `table` were recorded as, in its order; none for notes and cycles.

    Raises:
        RecordingError: a file can no longer be read.
    """
    found = []
    for group, name in enumerate(names):
        mine = [i for i in np.flatnonzero(table.group == group).tolist() if hits]
        if len(mine) < FEWEST:
            continue
        mine.sort(key=lambda i: (hits[i].velocity or 0, hits[i].name))
        low = [low_part(hits[i]) for i in mine]
        times = _times_analysis(low, [_played(table, i, len(one)) for i, one in zip(mine, low, strict=True)])
        if times <= MOST_TIMES_ANALYSIS:
            chosen = np.unique(np.linspace(0, len(mine) - 1, MOST).round().astype(int))
            velocities = [hits[mine[k]].velocity or 0 for k in chosen]
            found.append((times, name, strokes_of([low[k] for k in chosen], velocities, float(table.note[mine[0]]))))
    kept, left = {}, MOST_BYTES
    for _, name, strokes in sorted(found, key=lambda one: one[:2]):
        if len(strokes.samples) <= left:
            kept[name] = strokes
            left -= len(strokes.samples)
    return {name: kept[name] for name in names if name in kept}


def low_part(hit: Recording) -> np.ndarray:
    """A hit from its onset on, below the crossing, at `_JUDGED_HZ`: `[S]`."""
    audio, rate = hit.load()
    whole, onset, end = sounding_part(audio.astype(np.float64), rate)
    sound = whole[round(onset * rate) : round(min(end, onset + LONGEST_SECONDS) * rate)]
    return below_crossing(sound, rate, _JUDGED_HZ)


def below_crossing(sound: np.ndarray, rate: float, to_rate: float) -> np.ndarray:
    """What lies below the crossing of a sound `[S]`, at another rate."""
    n = round(len(sound) * to_rate / rate)
    pad = int(0.1 * rate)
    size = len(sound) + pad
    spectrum = np.fft.rfft(sound, size)
    hz = np.arange(len(spectrum)) * rate / size
    spectrum *= crossing((hz - LOW_HZ) / (HIGH_HZ - LOW_HZ))
    to_size = round(size * to_rate / rate)
    bins = np.zeros(to_size // 2 + 1, complex)
    common = min(len(bins), len(spectrum))
    bins[:common] = spectrum[:common]
    return np.fft.irfft(bins, to_size)[:n] * (to_size / size)


def _played(table: NoteTable, index: int, n_samples: int) -> np.ndarray:
    """The analysis of a hit, played back, below the crossing."""
    assert table.ratios is not None
    partials, noise = (10.0 ** (levels[index].T / 20.0) for levels in (table.partials_db, table.noise_db))
    spectrum = NoteSpectrum(table.grid, partials, table.ratios[table.group[index]], table.cents[index], noise)
    sound = play_spectrum(spectrum, float(table.note[index]), n_samples, _JUDGED_HZ, None)
    return below_crossing(sound.astype(np.float64), _JUDGED_HZ, _JUDGED_HZ)


def _times_analysis(low: Sequence[np.ndarray], played: Sequence[np.ndarray]) -> float:
    """How many times as far as its own analysis the nearest other hit is, in the median."""
    own = [distance(a, b, _JUDGED_HZ) for a, b in zip(low, played, strict=True)]
    between = np.full((len(low), len(low)), np.inf)
    for i in range(len(low)):
        for j in range(i):
            between[i, j] = between[j, i] = distance(low[i], low[j], _JUDGED_HZ)
    return float(np.median(between.min(axis=1) / np.maximum(own, 1e-6)))


def strokes_of(low: Sequence[np.ndarray], velocities: Sequence[int], note: float) -> Strokes:
    """Low parts of hits of one drum, aligned and as a file keeps them."""
    waves = [_let_go(below_crossing(one, _JUDGED_HZ, RATE_HZ)) for one in low]
    size = max(*map(len, waves), 64)
    together = aligned(np.stack([np.pad(wave, (0, size - len(wave))) for wave in waves]), RATE_HZ)
    n_rise = max(1, round(_RISE_SECONDS * RATE_HZ))
    together[:, :n_rise] *= 1.0 - crossing((np.arange(n_rise) + 0.5) / n_rise)
    whole = together / np.maximum(np.abs(together).max(axis=1, keepdims=True), 1e-12)
    samples = np.rint(32_767.0 * whole).astype("<i2").tobytes()
    return Strokes(note, RATE_HZ, LOW_HZ, HIGH_HZ, [max(1, v) for v in velocities], samples)


def _let_go(wave: np.ndarray) -> np.ndarray:
    """A stroke whose recording ends in a fade, not at once."""
    n = min(len(wave), round(_END_SECONDS * RATE_HZ))
    return np.concatenate([wave[: len(wave) - n], wave[len(wave) - n :] * crossing((np.arange(n) + 0.5) / n)])


def aligned(waves: np.ndarray, rate: float) -> np.ndarray:
    """Strokes `[K, S]` shifted, between samples too, to where they agree with the middle one; none on the whole."""
    k, size = waves.shape
    n, most = min(size, int(_ALIGNED_SECONDS * rate)), max(2, int(_MOST_SHIFT * rate))
    spectra = np.fft.rfft(waves[:, :n], 2 * n, axis=1)
    agreement = np.fft.irfft(spectra[k // 2] * np.conj(spectra), 2 * n, axis=1)
    near = np.concatenate([agreement[:, -most:], agreement[:, : most + 1]], axis=1)
    peak = np.clip(np.argmax(near, axis=1), 1, 2 * most - 1)
    before, at, after = (near[np.arange(k), peak + step] for step in (-1, 0, 1))
    shifts = peak - most + 0.5 * (before - after) / np.minimum(before - 2.0 * at + after, -1e-30)
    shifts = np.clip(shifts, -most, most)
    turns = np.exp(-2j * np.pi * np.outer(shifts - shifts.mean(), np.arange(size + 1)) / (2 * size))
    return np.fft.irfft(np.fft.rfft(waves, 2 * size, axis=1) * turns, 2 * size, axis=1)[:, :size]
