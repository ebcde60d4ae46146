"""Spectrogram pictures: the only import of matplotlib."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.storage import whole_file

_FFT_SIZE = 2048
_RANGE_DB = 90.0
_WIDTH_COLUMNS = 1400
_THUMBNAIL_LOW_HZ, _THUMBNAIL_HIGH_HZ = 40.0, 16_000.0


def save_spectrogram(path: Path | str, audio: np.ndarray, sample_rate: float, title: str = "") -> None:
    """Write a PNG of the mixed-down `[channels, samples]` audio: level over time above a log-frequency spectrogram.

    Raises:
        UsageError: the name does not end in .png.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    check_picture_name(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    decibels, times = _spectrogram(audio.mean(axis=0), sample_rate)
    frequencies = np.fft.rfftfreq(_FFT_SIZE, 1.0 / sample_rate)
    figure = Figure(figsize=(12, 6), dpi=110, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 3])
    step = max(1, audio.shape[1] // 6000)
    length = audio.shape[1] // step * step
    peaks = np.abs(audio[:, :length]).max(axis=0).reshape(-1, step).max(axis=1)
    top.fill_between(np.arange(len(peaks)) * step / sample_rate, -peaks, peaks, linewidth=0)
    top.set(ylabel="level", ylim=(-1, 1), title=title)
    mesh = bottom.pcolormesh(
        times, frequencies[1:], decibels[1:], vmin=-_RANGE_DB, vmax=0, cmap="magma", rasterized=True
    )
    bottom.set(yscale="log", ylim=(25, sample_rate / 2), ylabel="frequency (Hz)", xlabel="time (s)")
    figure.colorbar(mesh, ax=bottom, label="dB below the loudest")
    with whole_file(path) as part, part.open("wb") as file:
        FigureCanvasAgg(figure).print_png(file)


def check_picture_name(path: Path) -> None:
    """Raise `UsageError` unless the name ends in .png."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: unknown ending {path.suffix!r}; use .png")


def _spectrogram(audio: np.ndarray, sample_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Levels in dB below the loudest `[bins, columns]`, and the columns' times in seconds."""
    hop = max(_FFT_SIZE // 4, len(audio) // _WIDTH_COLUMNS)
    padded = np.pad(audio, (0, _FFT_SIZE))
    starts = np.arange(0, max(len(audio), 1), hop)
    window = np.hanning(_FFT_SIZE)
    power = np.stack([np.abs(np.fft.rfft(padded[s : s + _FFT_SIZE] * window)) ** 2 for s in starts], axis=1)
    decibels = 10.0 * np.log10(np.maximum(power / max(power.max(), 1e-20), 1e-12))
    return decibels, starts / sample_rate


def spectrogram_thumbnails(
    sounds: Sequence[np.ndarray], sample_rate: float, width: int = 320, height: int = 160
) -> list[bytes]:
    """Small PNGs of mono sounds `[S]` on one scale: log frequency upwards, dB below the first one's loudest moment.

    All have the length of the longest; what one lacks at its end is shown as silence.
    """
    n_samples = max(len(audio) for audio in sounds)
    power = [_column_power(audio, n_samples, width) for audio in sounds]
    loudest = max(float(power[0].max()), 1e-20)
    edges_hz = np.geomspace(_THUMBNAIL_LOW_HZ, min(_THUMBNAIL_HIGH_HZ, sample_rate / 2), height + 1)
    return [palette_png(_log_rows(p / loudest, edges_hz * _FFT_SIZE / sample_rate)) for p in power]


def thumbnail_levels(audio: np.ndarray, sample_rate: float, width: int, height: int) -> np.ndarray:
    """The picture of one mono sound `[S]`: `[height, width]` uint8, 0 to 255 from 90 dB below its loudest moment to it.

    Log frequency from 40 Hz to 16 kHz, the highest row first; the width is the length of the sound. Silence is 0.
    """
    edges_hz = np.geomspace(_THUMBNAIL_LOW_HZ, min(_THUMBNAIL_HIGH_HZ, sample_rate / 2), height + 1)
    power = _column_power(audio, len(audio), width)
    return _log_rows(power / max(float(power.max()), 1e-12), edges_hz * _FFT_SIZE / sample_rate)


def _column_power(audio: np.ndarray, n_samples: int, width: int) -> np.ndarray:
    """Power of each bin at `width` moments evenly over `n_samples`, `[bins, width]`."""
    from scipy.fft import rfft  # in single precision, which numpy's is not

    half = _FFT_SIZE // 2
    padded = np.zeros(n_samples + _FFT_SIZE, np.float32)
    padded[half : half + len(audio)] = audio
    # The last column ends with the sounds: where they were cut is no end to be seen.
    starts = np.linspace(0, max(0, n_samples - half), width).astype(int)
    frames = padded[starts[:, None] + np.arange(_FFT_SIZE)] * np.hanning(_FFT_SIZE).astype(np.float32)
    bins = rfft(frames, axis=1)
    return np.ascontiguousarray((np.square(bins.real) + np.square(bins.imag)).T)


def _log_rows(power: np.ndarray, edges_bins: np.ndarray) -> np.ndarray:
    """0 (90 dB below 1.0) to 255 for each row of log frequency, the highest row first, `[rows, width]` uint8."""
    decibels = 10.0 * np.log10(np.maximum(power, 1e-12))
    centres = np.minimum(np.sqrt(edges_bins[:-1] * edges_bins[1:]), len(power) - 1.001)
    below, share = centres.astype(int), (centres % 1.0)[:, None]
    between = (1.0 - share) * decibels[below] + share * decibels[below + 1]
    first = np.minimum(np.round(edges_bins).astype(int), len(power) - 1)
    rows = np.maximum(between, np.maximum.reduceat(decibels, first, axis=0)[:-1])
    return np.round(np.clip(1.0 + rows / _RANGE_DB, 0.0, 1.0) * 255.0).astype(np.uint8)[::-1]


def palette_png(pixels: np.ndarray) -> bytes:
    """An 8-bit PNG of `[rows, columns]` in the colours of `save_spectrogram` (a quarter of the size of RGBA)."""
    from matplotlib import colormaps

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colours = np.round(colormaps["magma"](np.arange(256))[:, :3] * 255.0).astype(np.uint8)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 3, 0, 0, 0)
    lines = np.concatenate([np.zeros((len(pixels), 1), np.uint8), pixels], axis=1)  # filter 0 on each line
    parts = [(b"IHDR", header), (b"PLTE", colours.tobytes()), (b"IDAT", zlib.compress(lines.tobytes(), 9))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in [*parts, (b"IEND", b"")])
