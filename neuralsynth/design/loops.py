"""Loops: where in a held note a sampler may go back without being heard, and the cross-fade that hides it.

The place is found by normalised cross-correlation of the stretch before the loop with all that comes later. The fade
is written into the samples, so that a player that only jumps sounds right. It is made band by band: where the two
stretches agree in phase their amplitudes are mixed, where they do not their powers (M. Fink, M. Holters, U. Zölzer,
"Signal-matched power-complementary cross-fading and dry-wet mixing", DAFx 2016, give the gains; there for one band).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import correlate

#: Among places that match nearly as well as the best, the longest loop is taken: it lives more.
_AS_GOOD = 0.02
_N_STARTS = 8
_PRE_EMPHASIS = 0.9
_LOWEST_BAND_HZ, _BANDS_PER_OCTAVE = 60.0, 3
#: Where two stretches of a band cancel, its level is restored this far and no further.
_LEAST_CORRELATION = -0.7
#: Samples kept after the loop, for players that interpolate across its end.
_AFTER = 64


@dataclass(frozen=True)
class Loop:
    """A loop: its first sample, its last one (as SFZ and wav files count), and how unlike the two sides are.

    `mismatch` is 0 where what is left equals what is entered, 1 where they have nothing in common.
    """

    start: int
    last: int
    mismatch: float

    @property
    def n_samples(self) -> int:
        """Its length."""
        return self.last + 1 - self.start


def find_loop(audio: np.ndarray, first: int, n_fade: int, n_least: int) -> Loop | None:
    """The best loop in a held note `[C, N]`, from sample `first` on; None where there is no room for one.

    Args:
        n_fade: length of the cross-fade; as much is left before and after the loop.
        n_least: the shortest loop.
    """
    bright = audio.astype(np.float64)
    bright[:, 1:] -= _PRE_EMPHASIS * audio[:, :-1]  # else the fundamental alone would decide
    n_samples = audio.shape[1]
    latest = n_samples - n_fade - n_least - n_fade
    if latest < first + n_fade:
        return None
    power = np.cumsum(np.sum(bright**2, axis=0))
    found: list[Loop] = []
    for start in np.unique(
        np.linspace(first + n_fade, min(latest, (first + n_fade + latest) // 2), _N_STARTS, dtype=int)
    ):
        found += _candidates(bright, power, int(start), n_fade, n_least)
    best = min(loop.mismatch for loop in found)
    return max((loop for loop in found if loop.mismatch <= best + _AS_GOOD), key=lambda loop: loop.n_samples)


def _candidates(bright: np.ndarray, power: np.ndarray, start: int, n_fade: int, n_least: int) -> list[Loop]:
    """The places where a loop that begins at `start` may end: peaks of the correlation, the best dozen."""
    template = bright[:, start - n_fade : start]
    begin, stop = start + n_least - n_fade, bright.shape[1] - n_fade
    later = bright[:, begin:stop]
    alike = sum(correlate(side, model, "valid", "fft") for side, model in zip(later, template, strict=True))
    energy = power[begin + n_fade - 1 : stop] - np.append(0.0, power)[begin : stop - n_fade + 1]
    own = max(float(np.sum(template**2)), 1e-20)
    mismatch = (own + np.maximum(energy, 0.0) - 2.0 * alike) / (2.0 * np.sqrt(own * np.maximum(energy, 1e-20)))
    places = np.flatnonzero(np.r_[True, mismatch[1:] <= mismatch[:-1]] & np.r_[mismatch[:-1] < mismatch[1:], True])
    best = places[np.argsort(mismatch[places], kind="stable")[:12]]
    return [Loop(start, int(begin + place + n_fade - 1), float(mismatch[place])) for place in best]


def sealed(audio: np.ndarray, loop: Loop, n_fade: int, sample_rate: float) -> np.ndarray:
    """The note `[C, N]` up to the end of its loop, whose last `n_fade` samples turn into what precedes its start."""
    end = loop.last + 1
    out = np.concatenate([audio[:, :end], audio[:, loop.start : loop.start + _AFTER]], axis=1)
    context = min(n_fade, loop.start - n_fade, audio.shape[1] - end)
    place = (np.arange(n_fade) + 0.5) / n_fade
    angle = 0.5 * np.pi * place**2 * (3.0 - 2.0 * place)
    mixed = np.zeros((len(audio), n_fade))
    leaving = _bands(audio[:, end - n_fade - context : end + context], sample_rate)
    entering = _bands(audio[:, loop.start - n_fade - context : loop.start + context], sample_rate)
    for band_out, band_in in zip(leaving, entering, strict=True):
        a, b = band_out[:, context : context + n_fade], band_in[:, context : context + n_fade]
        scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
        correlation = float(np.clip(np.sum(a * b) / scale, _LEAST_CORRELATION, 1.0)) if scale > 0.0 else 1.0
        share = np.sqrt(1.0 + correlation * np.sin(2.0 * angle))
        mixed += (np.cos(angle) * a + np.sin(angle) * b) / share
    out[:, end - n_fade : end] = mixed
    return out.astype(np.float32)


def _bands(audio: np.ndarray, sample_rate: float) -> list[np.ndarray]:
    """The signal `[C, n]` in bands of a third of an octave that add up to it."""
    n_samples = audio.shape[1]
    spectrum = np.fft.rfft(audio, 2 * n_samples, axis=1)  # so that the end does not leak into the beginning
    hertz = np.fft.rfftfreq(2 * n_samples, 1.0 / sample_rate)
    place = _BANDS_PER_OCTAVE * np.log2(np.maximum(hertz, 1e-3) / _LOWEST_BAND_HZ)
    n_bands = max(1, int(np.ceil(place[-1])))
    place = np.clip(place, 0.0, n_bands - 1.0)
    masks = (np.maximum(0.0, 1.0 - np.abs(place - band)) for band in range(n_bands))
    return [np.fft.irfft(spectrum * mask, 2 * n_samples, axis=1)[:, :n_samples] for mask in masks]
