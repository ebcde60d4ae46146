"""What descriptors and fingerprint share: one sound from its onset on, its level over time, and its power spectra.

Everything is computed with numpy's own loops and scipy's FFT, nothing with BLAS, whose last digits depend on how many
threads it has: every worker gets the same numbers from the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.units import hz_to_mel, mel_to_hz

N_BANDS = 20
_LOWEST_BAND_HZ, _HIGHEST_BAND_HZ = 40.0, 16_000.0
_SHORT_SECONDS, _LONG_SECONDS = 0.0232, 0.186  # windows: 1024 and 8192 samples at 44.1 kHz
_CHUNK = 128  # frames transformed at a time, which fit the cache
MOST_FINE_WINDOWS = 8  # long windows that are averaged
_SKIPPED_SECONDS = 0.05  # of the attack, where the sound is long enough
_STEP_SECONDS = 0.001
_LEVEL_WINDOW = np.array([1, 2, 3, 4, 3, 2, 1]) / 16.0  # steps of `level`
_ONSET_DB, _END_DB = 40.0, 60.0  # below the loudest moment
_CANCELLED = 0.01  # share of the energy that is left where two channels cancel each other out
_LEAST_PEAK = 1e-6  # what is softer than -120 dBFS counts as silence


@dataclass(frozen=True)
class Frames:
    """One sound as it is measured; `Frames.of` checks and prepares it."""

    audio: np.ndarray  # float32 [C, n]
    sample_rate: int
    peak: float

    @classmethod
    def of(cls, audio: np.ndarray, sample_rate: int) -> Frames:
        """Prepare `[C, n]` (or `[n]`), one or two channels.

        Raises:
            UsageError: another shape, a rate out of range, or numbers that are not finite.
        """
        audio = np.atleast_2d(np.asarray(audio, np.float32))
        if audio.ndim != 2 or audio.shape[0] not in (1, 2):
            raise UsageError(f"audio has shape {audio.shape}; give [1, samples] or [2, samples]")
        if not 8_000 <= sample_rate <= 384_000:
            raise UsageError(f"sample_rate is {sample_rate!r}; use 8000 to 384000 Hz")
        peak = float(np.abs(audio).max(initial=0.0))
        if not np.isfinite(peak):
            raise UsageError("audio holds numbers that are not finite; nothing can be measured of it")
        return cls(audio, int(sample_rate), peak)

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to measure."""
        return self.peak < _LEAST_PEAK

    @cached_property
    def mono(self) -> np.ndarray:
        """The mean of the channels, or the first where they cancel each other out, float32 `[n]`."""
        if self.audio.shape[0] == 1:
            return self.audio[0]
        middle = 0.5 * (self.audio[0] + self.audio[1])
        energy = 0.5 * float(np.square(self.audio).sum())
        return middle if float(np.square(middle).sum()) > _CANCELLED * energy else self.audio[0]

    @property
    def step_seconds(self) -> float:
        """Time between two numbers of `level`."""
        return self._step / self.sample_rate

    @cached_property
    def level(self) -> np.ndarray:
        """RMS of the last 7 ms, those in the middle counting most, every millisecond, linear `[steps]`."""
        n_steps = -(-len(self.mono) // self._step)
        power = np.zeros(n_steps * self._step, np.float32)
        np.square(self.mono, out=power[: len(self.mono)])
        steps = power.reshape(n_steps, self._step).sum(axis=1).astype(np.float64)
        smooth = np.convolve(steps, _LEVEL_WINDOW)[:n_steps]
        return np.sqrt(smooth / self._step)

    @cached_property
    def heard(self) -> tuple[int, int]:
        """First and last step (exclusive) of what is heard."""
        peak = self.level.max(initial=0.0)
        first = int(np.argmax(self.level > peak * 10.0 ** (-_ONSET_DB / 20.0)))
        last = len(self.level) - int(np.argmax(self.level[::-1] > peak * 10.0 ** (-_END_DB / 20.0)))
        return max(first - 1, 0), last

    @cached_property
    def from_onset(self) -> np.ndarray:
        """The mono sound from its onset on, float32 `[S]`."""
        return self.mono[self.heard[0] * self._step :]

    @property
    def hop_seconds(self) -> float:
        """Time between two rows of `bands`."""
        return 0.5 * self._short / self.sample_rate

    @cached_property
    def bands(self) -> np.ndarray:
        """Power in `N_BANDS` bands, equally wide in mel, of windows centred on multiples of the hop, `[T, N_BANDS]`."""
        return self._spectra[0]

    @cached_property
    def power(self) -> np.ndarray:
        """Power spectrum, mean over the whole sound, `[bins]`."""
        return self._spectra[1]

    @cached_property
    def fine_power(self) -> np.ndarray:
        """Power spectrum with fine frequencies, the mean over a few long windows of what is heard, `[fine bins]`."""
        return self._fine[0]

    @property
    def n_fine_windows(self) -> int:
        """How many windows `fine_power` is the mean of, 1 to 8."""
        return self._fine[1]

    @cached_property
    def _fine(self) -> tuple[np.ndarray, int]:
        from scipy.fft import rfft

        size = _power_of_two(_LONG_SECONDS * self.sample_rate)
        heard = self.from_onset[: (self.heard[1] - self.heard[0]) * self._step]
        skipped = round(_SKIPPED_SECONDS * self.sample_rate)
        heard = heard[skipped:] if len(heard) >= size + skipped else heard
        n_windows = min(MOST_FINE_WINDOWS, max(1, 2 * len(heard) // size - 1))
        starts = np.linspace(0, max(len(heard) - size, 0), n_windows).astype(int)
        padded = np.zeros(max(len(heard), size), np.float32)
        padded[: len(heard)] = heard
        windows = padded[starts[:, None] + np.arange(size)] * _hann(size)
        return _squared(rfft(windows, axis=1, workers=1)).mean(axis=0), n_windows

    @property
    def fine_bin_hz(self) -> float:
        """Width of a bin of `fine_power`."""
        return self.sample_rate / _power_of_two(_LONG_SECONDS * self.sample_rate)

    @property
    def bin_hz(self) -> float:
        """Width of a bin of `power`."""
        return self.sample_rate / self._short

    @property
    def _step(self) -> int:
        return max(1, round(_STEP_SECONDS * self.sample_rate))

    @property
    def _short(self) -> int:
        return _power_of_two(_SHORT_SECONDS * self.sample_rate)

    @cached_property
    def _spectra(self) -> tuple[np.ndarray, np.ndarray]:
        """`bands` and `power`, one pass through the sound."""
        from scipy.fft import rfft

        size, hop = self._short, self._short // 2
        n_frames = 1 + -(-len(self.from_onset) // hop)
        padded = np.zeros((n_frames - 1) * hop + size, np.float32)
        padded[hop : hop + len(self.from_onset)] = self.from_onset
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
        weights, window = _band_weights(self.sample_rate, size), _hann(size)
        bands = np.zeros((n_frames, N_BANDS), np.float32)
        total = np.zeros(size // 2 + 1)
        for at in range(0, -(-(hop + n_sounding(self.from_onset)) // hop), _CHUNK):  # what follows is silence
            power = _squared(rfft(frames[at : at + _CHUNK] * window, axis=1, workers=1))
            bands[at : at + _CHUNK] = (weights @ power.T).T
            total += power.sum(axis=0)
        return bands, total / n_frames


def n_sounding(sound: np.ndarray) -> int:
    """Length of a sound `[n]` up to its last sample that is not zero, by halving: `any` is quicker than a search."""
    first, end = 0, len(sound)
    while first < end:
        middle = (first + end) // 2
        if sound[middle:end].any():
            first = middle + 1
        else:
            end = middle
    return end


def _squared(spectra: np.ndarray) -> np.ndarray:
    return spectra.real**2 + spectra.imag**2


def _power_of_two(n: float) -> int:
    """The power of two nearest to `n`, in octaves."""
    return 2 ** round(float(np.log2(n)))


@lru_cache(maxsize=8)
def _hann(size: int) -> np.ndarray:
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)).astype(np.float32)
    window.setflags(write=False)
    return window


@lru_cache(maxsize=4)
def _band_weights(sample_rate: int, size: int):
    """Triangles equally wide in mel, area 1 each, as a sparse matrix `[N_BANDS, bins]`, whose product is no BLAS.

    A triangle narrower than a bin takes the two bins beside its centre; bands above half the rate are empty.
    """
    from scipy.sparse import csr_array

    corners = mel_to_hz(np.linspace(hz_to_mel(_LOWEST_BAND_HZ), hz_to_mel(_HIGHEST_BAND_HZ), N_BANDS + 2))
    bin_hz = np.arange(size // 2 + 1) * (sample_rate / size)
    width = np.maximum(np.diff(corners), sample_rate / size)
    rise = 1.0 - (corners[1:-1, None] - bin_hz) / width[:-1, None]
    fall = 1.0 - (bin_hz - corners[1:-1, None]) / width[1:, None]
    weights = np.maximum(0.0, np.minimum(rise, fall))
    return csr_array((weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32))
