"""Band noise: one endless stream per noise band, shared by all voices.

A voice says how loud each band is; the powers of all voices add up (independent noises would add the same
way), so any number of voices costs one small product per block.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.layout import NOISE_UNIT

#: Lengths in samples of the loops of successive groups of 16 bands: powers of different primes, so that the whole
#: does not repeat for hours and the Fourier transforms are fast.
_LOOP_LENGTHS = (2**16, 3**10, 5**7, 7**6, 11**5)


def band_noise_table(band_edges_hz: np.ndarray, sample_rate: float, seed: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Noise of unit RMS in each band, as loops.

    Args:
        band_edges_hz: `[B + 1]`.
        sample_rate: Hz; bands (or parts of bands) above its half are silent.

    Returns:
        The loops as one flat int16 array in steps of `NOISE_UNIT` (half the memory to stream through, and its rounding
        lies 83 dB below the noise), tile after tile, each tile `[length, 16 bands]`; and the offsets where each tile
        begins with the total length at the end, int64 `[n_tiles + 1]`. Shared: not to be written to.
    """
    return _table(tuple(np.asarray(band_edges_hz, np.float64).tolist()), float(sample_rate), seed)


@lru_cache(maxsize=4)  # five megabytes each; the parts of a band have the same
def _table(band_edges_hz: tuple[float, ...], sample_rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n_bands = len(band_edges_hz) - 1
    n_tiles = -(-n_bands // LANES)
    rng = np.random.default_rng(seed)
    tiles = []
    for tile in range(n_tiles):
        length = _LOOP_LENGTHS[tile % len(_LOOP_LENGTHS)]
        table = np.zeros((length, LANES), np.float32)
        for lane, band in enumerate(range(tile * LANES, min((tile + 1) * LANES, n_bands))):
            table[:, lane] = _band_noise(band_edges_hz[band], band_edges_hz[band + 1], sample_rate, length, rng)
        limit = np.iinfo(np.int16).max
        tiles.append(np.clip(np.rint(table.ravel() / NOISE_UNIT), -limit, limit).astype(np.int16))
    offsets = np.concatenate([[0], np.cumsum([tile.size for tile in tiles])]).astype(np.int64)
    return np.concatenate(tiles), offsets


def _band_noise(low_hz: float, high_hz: float, sample_rate: float, length: int, rng: np.random.Generator) -> np.ndarray:
    """Flat-spectrum noise of random phase between two frequencies, unit RMS over the full band, `[length]`."""
    frequency_hz = np.fft.rfftfreq(length, 1.0 / sample_rate)
    first, last = np.searchsorted(frequency_hz, (low_hz, high_hz))
    phases = rng.uniform(0.0, 2.0 * np.pi, last - first)
    n_full = max(1.0, (high_hz - low_hz) * length / sample_rate)  # lines of the band, also those past Nyquist
    spectrum = np.zeros(len(frequency_hz), np.complex128)
    spectrum[first:last] = np.exp(1j * phases) * length * np.sqrt(0.5 / n_full)
    return np.fft.irfft(spectrum, length).astype(np.float32)
