"""Spectrograms of sounds as small as a stamp, and how they are packed into a page."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from neuralsynth.audiofile import read_audio
from neuralsynth.errors import RecordingError
from neuralsynth.hosts.picture import palette_png, thumbnail_levels

WIDTH, HEIGHT = 128, 64
_LEVELS = 24  # 4 dB apart: an eye sees no more in a stamp, and the files are half as large
_PNG_HEAD = 813  # bytes before the pixels: signature, size and 256 colours, the same in all of them; a multiple of 3


def thumbnail(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The spectrogram of a sound `[channels, n]`, `[HEIGHT, WIDTH]` uint8: 255 its loudest moment, 0 is 90 dB below.

    Log frequency upwards from 40 Hz to 16 kHz, time over the whole sound; silence is black.
    """
    levels = thumbnail_levels(audio.mean(axis=0), sample_rate, WIDTH, HEIGHT)
    steps = np.round(levels * ((_LEVELS - 1) / 255.0))
    return np.round(steps * (255.0 / (_LEVELS - 1))).astype(np.uint8)


def thumbnail_of_file(path: Path) -> np.ndarray:
    """`thumbnail` of a file; black where it cannot be read: a page is shown with what there is."""
    try:
        return thumbnail(*read_audio(path))
    except RecordingError:
        return np.zeros((HEIGHT, WIDTH), np.uint8)


def packed(thumbnails: Iterable[np.ndarray]) -> tuple[str, list[str]]:
    """PNGs in base64: what they begin with, and the rest of each.

    One small picture each, not a sheet of many: a browser decodes only those that it shows, in whatever order.

    Raises:
        ValueError: thumbnails of another shape.
    """
    head, rests = base64.b64encode(palette_png(np.zeros((HEIGHT, WIDTH), np.uint8))[:_PNG_HEAD]), []
    for pixels in thumbnails:
        if pixels.shape != (HEIGHT, WIDTH) or pixels.dtype != np.uint8:
            raise ValueError(f"a thumbnail is {pixels.dtype} {pixels.shape}; it has to be uint8 {(HEIGHT, WIDTH)}")
        rests.append(base64.b64encode(palette_png(pixels)[_PNG_HEAD:]).decode())
    return head.decode(), rests
