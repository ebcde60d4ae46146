"""Synthetic notes with known parts, and a slow, plain resynthesis of a `NoteSpectrum` to compare against."""

from __future__ import annotations

import numpy as np

from neuralsynth.spectrum import NoteSpectrum


def resynthesise(
    spectrum: NoteSpectrum, pitch_hz: float, n_samples: int, sample_rate: int, seed: int = 0
) -> np.ndarray:
    """The sound of a spectrum at `pitch_hz`, float64 `[n_samples]`: sinusoids, and Gaussian noise filtered in bands.

    Amplitudes move linearly between frames; after the last frame they stay. Partials at or above half the sample
    rate are left out.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / sample_rate
    times = spectrum.grid.frame_seconds
    hz = pitch_hz * 2.0 ** (np.interp(t, times, spectrum.cents) / 1200.0)
    phase = 2.0 * np.pi * np.cumsum(hz) / sample_rate
    audio = np.zeros(n_samples)
    for k, ratio in enumerate(spectrum.ratios):
        gain = np.interp(t, times, spectrum.partials[:, k])
        audio += np.where(hz * ratio < 0.5 * sample_rate, gain, 0.0) * np.sin(
            ratio * phase + rng.uniform(0, 2 * np.pi)
        )
    edges = spectrum.grid.band_edges_hz
    for b in range(spectrum.grid.n_bands):
        gain = np.interp(t, times, spectrum.noise[:, b])
        audio += gain * band_noise(rng, n_samples, sample_rate, edges[b], edges[b + 1])
    return audio


def band_noise(rng: np.random.Generator, n_samples: int, sample_rate: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Gaussian noise between two frequencies, RMS 1 (zeros where nothing of the band is below half the rate)."""
    from scipy.fft import irfft, next_fast_len, rfftfreq

    size = next_fast_len(n_samples + sample_rate // 10, real=True)
    hz = rfftfreq(size, 1.0 / sample_rate)
    inside = (hz >= low_hz) & (hz < high_hz)
    n = int(inside.sum())
    if n == 0:
        return np.zeros(n_samples)
    spectrum = np.zeros(len(hz), dtype=complex)
    spectrum[inside] = (rng.standard_normal(n) + 1j * rng.standard_normal(n)) * (size / 2.0 / np.sqrt(n))
    return irfft(spectrum, size, workers=1)[:n_samples]
