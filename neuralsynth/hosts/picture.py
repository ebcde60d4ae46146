"""Spectrogram pictures: the only import of matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.storage import whole_file

_FFT_SIZE = 2048
_RANGE_DB = 90.0
_WIDTH_COLUMNS = 1400


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
