"""Synthetic notes with known parts, noise that goes everywhere, and a slow resynthesis of a `NoteSpectrum`."""

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
        gain = np.where(hz * ratio < 0.5 * sample_rate, np.interp(t, times, spectrum.partials[:, k]), 0.0)
        start = rng.uniform(0, 2 * np.pi)
        if np.any(gain > 0.0):
            audio += gain * np.sin(ratio * phase + start)
    edges = spectrum.grid.band_edges_hz
    for b in range(spectrum.grid.n_bands):
        gain = np.interp(t, times, spectrum.noise[:, b])
        if np.any(gain > 0.0):
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


def synthetic_note(
    pitch_hz: float,
    amplitudes: np.ndarray,
    seconds: float = 1.5,
    sample_rate: int = 44_100,
    ratios: np.ndarray | None = None,
    decay_per_second: float = 0.0,
    vibrato_cents: float = 0.0,
    vibrato_hz: float = 5.0,
    attack_seconds: float = 0.005,
    lead_seconds: float = 0.02,
) -> np.ndarray:
    """A note whose partials have the amplitudes given (`[K]`), float64 mono, silent for `lead_seconds` first."""
    n = round(seconds * sample_rate)
    t = np.arange(n) / sample_rate
    hz = pitch_hz * 2.0 ** (vibrato_cents * np.sin(2.0 * np.pi * vibrato_hz * t) / 1200.0)
    phase = 2.0 * np.pi * np.cumsum(hz) / sample_rate
    ratios = np.arange(1, len(amplitudes) + 1) if ratios is None else ratios
    audio = sum(a * np.sin(r * phase + 0.7 * i) for i, (a, r) in enumerate(zip(amplitudes, ratios, strict=False)))
    audio = audio * np.minimum(1.0, t / attack_seconds) * np.exp(-decay_per_second * t)
    return np.concatenate([np.zeros(round(lead_seconds * sample_rate)), audio])


def synthetic_hit(drum: str, velocity: int = 100, seed: int = 0, sample_rate: int = 44_100) -> np.ndarray:
    """A stroke on a made-up drum, float64 mono: `kick` (falls from 150 to 50 Hz), `tom`, `snare`, `hat` or `cymbal`.

    The harder the louder and the brighter; another seed is another stroke.
    """
    rng = np.random.default_rng([seed, velocity])
    t = np.arange(round(SECONDS_OF_DRUM[drum] * sample_rate)) / sample_rate
    near = 1.0 + 0.05 * rng.uniform(-1.0, 1.0, 3)
    if drum == "kick":
        cycles = 50.0 * (t + 2.0 * 0.025 * (1.0 - np.exp(-t / 0.025)))
        audio = np.sin(2.0 * np.pi * cycles) * np.exp(-near[0] * 9.0 * t)
    elif drum == "tom":
        modes = ((140.0, 1.0, 6.0), (140.0 * 1.59, 0.4, 9.0), (140.0 * 2.14, 0.2, 14.0))
        audio = sum(
            a * n * np.sin(2.0 * np.pi * f * t) * np.exp(-d * t) for (f, a, d), n in zip(modes, near, strict=True)
        )
    else:
        low_hz, high_hz, decay = {"snare": (900, 9000, 16), "hat": (7000, 16_000, 55), "cymbal": (2500, 15_000, 5)}[
            drum
        ]
        audio = band_noise(rng, len(t), sample_rate, low_hz, high_hz) * 0.3 * np.exp(-near[0] * decay * t)
        if drum == "snare":
            audio = audio + 0.5 * near[1] * np.sin(2.0 * np.pi * 190.0 * t) * np.exp(-18.0 * t)
    click = band_noise(rng, len(t), sample_rate, 1500, 12_000) * np.exp(-t / 0.002)
    loudness = (velocity / 127.0) ** 2
    return 0.7 * loudness * (audio + 0.3 * (velocity / 127.0) * click)


SECONDS_OF_DRUM = {"kick": 0.6, "tom": 0.8, "snare": 0.5, "hat": 0.2, "cymbal": 1.4}


def programme(n_samples: int, sample_rate: int = 48_000, seed: int = 0) -> np.ndarray:
    """Noise with an impulse, then the same dying away, then silence, `[2, n]`: filters and gates go everywhere."""
    audio = 0.3 * np.random.default_rng(seed).standard_normal((2, n_samples))
    audio[:, 50] = 1.0
    third = n_samples // 3
    audio[:, third : 2 * third] *= np.exp(-np.arange(third) / (0.02 * sample_rate))
    audio[:, 2 * third :] = 0.0
    return audio.astype(np.float32)
