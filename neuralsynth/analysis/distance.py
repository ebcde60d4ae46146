"""How far two sounds are apart, in dB: a multi-resolution mel spectrogram distance.

The mean absolute difference in dB between magnitude mel spectrograms (20 Hz to 20 kHz), over four FFT sizes. Both
sounds are trimmed to their onset, any constant offset is taken off, and the level of the second is matched to the
first, so that neither a delay nor a gain counts.
Lengths: only the common length after trimming is compared; what one sound has beyond the other's end counts for
nothing, so give both the same length if an early end shall count.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from neuralsynth.analysis.signal import find_onset_seconds
from neuralsynth.spectrum import HIGHEST_BAND_HZ, LOWEST_BAND_HZ
from neuralsynth.units import hz_to_mel, mel_to_hz

#: FFT size -> mel bands; the hop is a quarter of the size.
RESOLUTIONS = {512: 64, 1024: 128, 2048: 128, 4096: 128}
FLOOR_DB = 80.0


def distance(reference: np.ndarray, other: np.ndarray, sample_rate: int, trimmed: bool = True) -> float:
    """Mean absolute difference in dB of `other` to `reference` (mono `[S]`), 0.0 for equal sounds.

    Both are floored at 80 dB below the reference's maximum. Silence against silence is 0.0. Sounds that are known to
    begin together need not be `trimmed` to their onsets, which are found to a millisecond.
    """
    reference, other = aligned(reference, other, sample_rate, trimmed)
    return float(np.mean([_one_resolution(reference, other, sample_rate, size) for size in RESOLUTIONS]))


def aligned(
    reference: np.ndarray, other: np.ndarray, sample_rate: int, trimmed: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Both sounds as they are compared: mean-free, from their onsets on, equally long, `other` at the RMS of the first.

    Mono float64 `[n]` each; not `trimmed`, they are compared from their first samples on.
    """
    reference, other = (_from_onset(x, sample_rate) if trimmed else _mean_free(x) for x in (reference, other))
    n = min(len(reference), len(other))
    reference, other = reference[:n], other[:n]
    own, theirs = np.sqrt(np.mean(reference**2)), np.sqrt(np.mean(other**2))
    if theirs > 0.0:
        other = other * (own / theirs)
    return reference, other


def _mean_free(audio: np.ndarray) -> np.ndarray:
    audio = np.asarray(audio, dtype=np.float64)
    return audio - np.mean(audio)


def _from_onset(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    audio = _mean_free(audio)
    return audio[round(find_onset_seconds(audio, sample_rate) * sample_rate) :]


def _one_resolution(reference: np.ndarray, other: np.ndarray, sample_rate: int, size: int) -> float:
    a = mel_spectrogram(reference, sample_rate, size, RESOLUTIONS[size])
    b = mel_spectrogram(other, sample_rate, size, RESOLUTIONS[size])
    floor = max(a.max() * 10.0 ** (-FLOOR_DB / 20.0), 1e-12)
    return float(np.mean(np.abs(20.0 * np.log10(np.maximum(a, floor) / np.maximum(b, floor)))))


def mel_spectrogram(audio: np.ndarray, sample_rate: int, size: int, n_bands: int) -> np.ndarray:
    """Magnitudes in mel bands, Hann window, hop a quarter of `size`, `[frames, n_bands]`."""
    from scipy.fft import rfft

    hop = size // 4
    n_frames = max(1, 1 + -(-max(0, len(audio) - size) // hop))
    padded = np.zeros((n_frames - 1) * hop + size, dtype=np.float32)
    padded[: len(audio)] = audio[: len(padded)]
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    return np.abs(rfft(frames * window, axis=1, workers=1)) @ _mel_weights(sample_rate, size, n_bands)


@lru_cache(maxsize=16)
def _mel_weights(sample_rate: int, size: int, n_bands: int) -> np.ndarray:
    """Triangles equally wide in mel over what a `NoteSpectrum` covers, area 1 each, `[size/2 + 1, n_bands]`.

    A triangle narrower than the FFT's bins takes the two bins beside its centre.
    """
    highest = min(HIGHEST_BAND_HZ, 0.5 * sample_rate)
    corners = mel_to_hz(np.linspace(hz_to_mel(LOWEST_BAND_HZ), hz_to_mel(highest), n_bands + 2))
    bins = np.arange(size // 2 + 1) * sample_rate / size
    width = np.maximum(np.diff(corners), sample_rate / size)
    rise = 1.0 - (corners[1:-1] - bins[:, None]) / width[:-1]
    fall = 1.0 - (bins[:, None] - corners[1:-1]) / width[1:]
    weights = np.maximum(0.0, np.minimum(rise, fall))
    weights.setflags(write=False)
    return (weights / weights.sum(axis=0)).astype(np.float32)
