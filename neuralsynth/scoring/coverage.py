"""Coverage and density: how much of what was recorded a generator can say, and how much of what it says is credible.

Naeem, Oh, Uh, Choi and Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020, on features of
notes in place of an image network's. The features of one note are levels in dB at the note's own loudness, on a
uniform clock of 10 ms from its beginning, at most 1.5 s of it:

- *log-mel means*: the mean level of each of 32 mel bands (32 numbers),
- *course*: by how much each of 8 groups of bands is louder, or softer, in the first 60 ms and in the last third than
  on average (16),
- *modulation*: how far each group swings around its own slow course at 1 to 4, 4 to 10 and 10 to 25 times a second,
  RMS (24).

Levels under the note's loudest by more than 60 dB count as 60 dB. Means weigh half and modulations six times, so that
no part drowns the others: over the notes of twelve instruments the three spread by 37, 34 and 15 dB. Most of the
first is the pitch, so give both sides the same notes. Compare only features that were taken the same way, of
sounds or of spectra: the frames of a spectrum are far apart late in a note and show no fast modulation there.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.analysis.distance import mel_spectrogram
from neuralsynth.analysis.signal import find_onset_seconds
from neuralsynth.spectrum import HIGHEST_BAND_HZ, LOWEST_BAND_HZ, SpectrumGrid
from neuralsynth.units import hz_to_mel, mel_to_hz, note_to_hz

N_BANDS, N_GROUPS = 32, 8
HOP_SECONDS, MOST_SECONDS, LEAST_FRAMES = 0.01, 1.5, 8
FLOOR_DB = 60.0
FIRST_SECONDS = 0.06
MODULATIONS_HZ = ((1.0, 4.0), (4.0, 10.0), (10.0, 25.0))
MEAN_WEIGHT, MODULATION_WEIGHT = 0.5, 6.0
SIZE_SECONDS = 0.046  # of the window through which a sound is looked at: 2,048 samples at 44.1 kHz
N_FEATURES = N_BANDS + 2 * N_GROUPS + N_GROUPS * len(MODULATIONS_HZ)


def features(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Features of a sound, mono `[S]` -> `[F]`, from its onset on; silence has the same level in every band."""
    audio = np.asarray(audio, np.float64) - np.mean(audio)
    audio = audio[round(find_onset_seconds(audio, sample_rate) * sample_rate) :]
    size = 4 * round(0.25 * SIZE_SECONDS * sample_rate)
    power = mel_spectrogram(audio, sample_rate, size, N_BANDS).astype(np.float64) ** 2
    seconds = 0.25 * size / sample_rate * np.arange(len(power))
    return _statistics(power[None], seconds)[0]


def spectrum_features(
    partials: np.ndarray, ratios: np.ndarray, noise: np.ndarray, note: np.ndarray, grid: SpectrumGrid
) -> np.ndarray:
    """Features of notes as an instrument file decodes them: `[N, F]`.

    Args:
        partials, noise: linear levels `[N, T, P]` and `[N, T, B]`.
        ratios: partial frequency over the fundamental, `[N, P]`.
        note: MIDI numbers of the fundamentals, `[N]`.
        grid: where frames and bands lie.
    """
    corners = np.linspace(hz_to_mel(LOWEST_BAND_HZ), hz_to_mel(HIGHEST_BAND_HZ), N_BANDS + 2)
    mel = hz_to_mel(np.asarray(note_to_hz(np.asarray(note, np.float64)))[:, None] * ratios)
    power = 0.5 * partials.astype(np.float64) ** 2 @ _triangles(mel, corners)
    edges, fine = grid.band_edges_hz, (np.arange(32) + 0.5) / 32
    inside = hz_to_mel(edges[:-1, None] + fine * np.diff(edges)[:, None])
    power += noise.astype(np.float64) ** 2 @ _triangles(inside, corners).mean(axis=1)
    # Per bandwidth, as a spectrogram's triangles of area 1 have it.
    width_hz = mel_to_hz(corners[2:]) - mel_to_hz(corners[:-2])
    return _statistics(power / width_hz, grid.frame_seconds)


def coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> float:
    """Share of the real notes `[N, F]` with one of the fake `[M, F]` nearer than their `k`-th real neighbour, 0..1.

    Raises:
        ValueError: there are no more than `k` real notes, or no fake one.
    """
    radii, apart = _neighbourhoods(real, fake, k)
    return float(np.mean(apart.min(axis=1) < radii))


def density(real: np.ndarray, fake: np.ndarray, k: int = 5) -> float:
    """In how many real notes' neighbourhoods a fake one lies on average, over `k`: 1 where both are alike, 0 far off.

    Raises:
        ValueError: there are no more than `k` real notes, or no fake one.
    """
    radii, apart = _neighbourhoods(real, fake, k)
    return float(np.mean(np.sum(apart < radii[:, None], axis=0)) / k)


def _neighbourhoods(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each real note to its `k`-th real neighbour `[N]`, and to each fake one `[N, M]`."""
    from scipy.spatial.distance import cdist

    if len(real) <= k or k < 1 or not len(fake):
        raise ValueError(f"{len(real)} real and {len(fake)} fake notes do not allow neighbourhoods of {k}")
    within = np.partition(cdist(real, real), k, axis=1)  # each is its own nearest
    return within[:, k], cdist(real, fake)


def _triangles(mel: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """How frequencies fall into the bands: `[..., P]` -> `[..., P, N_BANDS]`."""
    return np.maximum(0.0, 1.0 - np.abs(mel[..., None] - corners[1:-1]) / (corners[1] - corners[0]))


def _statistics(power: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Band powers `[N, T, N_BANDS]` at `seconds` `[T]` -> features `[N, F]`."""
    n = max(LEAST_FRAMES, 1 + int(min(float(seconds[-1]), MOST_SECONDS) / HOP_SECONDS))
    power = _at(power, seconds, HOP_SECONDS * np.arange(n))
    loudness = power.mean(axis=1).sum(axis=1)[:, None, None]
    level_db = 10.0 * np.log10(np.maximum(power / np.maximum(loudness, 1e-20), 1e-12))
    level_db = np.maximum(level_db, level_db.max(axis=(1, 2), keepdims=True) - FLOOR_DB)
    means = level_db.mean(axis=1)
    grouped = level_db.reshape(len(power), n, N_GROUPS, -1).mean(axis=3)
    usual = grouped.mean(axis=1)
    first = grouped[:, : round(FIRST_SECONDS / HOP_SECONDS)].mean(axis=1) - usual
    last = grouped[:, -(n // 3) :].mean(axis=1) - usual
    return np.concatenate([MEAN_WEIGHT * means, first, last, MODULATION_WEIGHT * _modulations(grouped)], axis=1)


def _at(power: np.ndarray, seconds: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Powers `[N, T, C]` at the moments of a clock, on straight lines between frames; the last one stays."""
    place = np.interp(clock, seconds, np.arange(len(seconds)))
    below = np.minimum(place.astype(int), max(0, len(seconds) - 2))
    share = (place - below)[None, :, None]
    return (1.0 - share) * power[:, below] + share * power[:, np.minimum(below + 1, len(seconds) - 1)]


def _modulations(level_db: np.ndarray) -> np.ndarray:
    """RMS in dB of the swings `[N, n, C]` makes around its straight course, by modulation frequency: `[N, 3 · C]`."""
    from scipy.signal import detrend

    n = level_db.shape[1]
    window = np.hanning(n + 2)[1:-1]
    spectrum = np.fft.rfft(detrend(level_db, axis=1) * window[None, :, None], axis=1)
    power = 2.0 * np.abs(spectrum) ** 2 / (n * np.sum(window**2))
    hz = np.fft.rfftfreq(n, HOP_SECONDS)
    bands = [power[:, (hz >= low) & (hz < high)].sum(axis=1) for low, high in MODULATIONS_HZ]
    return np.sqrt(np.concatenate(bands, axis=1))
