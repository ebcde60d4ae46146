"""Where a recorded note begins and ends, and mixing channels down."""

from __future__ import annotations

import numpy as np

ENVELOPE_STEP_SECONDS = 0.001
ENVELOPE_WINDOW_SECONDS = 0.004
#: The onset is where the level first comes this near to its peak ...
ONSET_BELOW_PEAK_DB = 45.0
#: ... and the end where it was last this near.
END_BELOW_PEAK_DB = 75.0
FADE_SECONDS = 0.15
#: A fall of this much within `FADE_SECONDS` of the end, more than the note fell before, is somebody's fade-out.
FADE_DB = 9.0
FADE_BEGUN_DB = 1.5


def to_mono(audio: np.ndarray) -> np.ndarray:
    """Mean of the channels of `[C, S]` (or `[S]`), float64 `[S]`."""
    audio = np.asarray(audio, dtype=np.float64)
    return audio if audio.ndim == 1 else audio.mean(axis=0)


def envelope(audio: np.ndarray, sample_rate: int, window_seconds: float = ENVELOPE_WINDOW_SECONDS) -> np.ndarray:
    """RMS level every `ENVELOPE_STEP_SECONDS`, windows centred on the step, `[N]` linear."""
    step = ENVELOPE_STEP_SECONDS * sample_rate
    n_steps = int(len(audio) / step) + 1
    half = max(1, round(0.5 * window_seconds * sample_rate))
    total = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    centre = np.round(np.arange(n_steps) * step).astype(int)
    low, high = np.clip(centre - half, 0, len(audio)), np.clip(centre + half, 0, len(audio))
    return np.sqrt(np.maximum(total[high] - total[low], 0.0) / (2 * half))


def find_onset_seconds(audio: np.ndarray, sample_rate: int) -> float:
    """Where the note begins: the level first comes within `ONSET_BELOW_PEAK_DB` of its peak (0.0 for silence)."""
    level = envelope(audio, sample_rate)
    peak = level.max(initial=0.0)
    if peak <= 0.0:
        return 0.0
    floor = np.median(level[: max(1, len(level) // 200)]) if level[0] < 0.1 * peak else 0.0
    first = int(np.argmax(level > max(peak * 10 ** (-ONSET_BELOW_PEAK_DB / 20), min(2.0 * floor, 0.1 * peak))))
    # A window reaches half its length ahead of the sound that lifts it.
    return (first * ENVELOPE_STEP_SECONDS) if first else 0.0


def find_end_seconds(audio: np.ndarray, sample_rate: int) -> float:
    """Where the note ends: the last time within `END_BELOW_PEAK_DB` of the peak, before a fade-out."""
    level = envelope(audio, sample_rate, 0.02)
    peak = level.max(initial=0.0)
    if peak <= 0.0:
        return 0.0
    last = len(level) - 1 - int(np.argmax(level[::-1] > peak * 10 ** (-END_BELOW_PEAK_DB / 20)))
    width = int(FADE_SECONDS / ENVELOPE_STEP_SECONDS)
    if last < 3 * width:
        return last * ENVELOPE_STEP_SECONDS
    level_db = 20 * np.log10(np.maximum(level[: last + 1], 1e-9))
    fade = level_db[last - width] - level_db[last]
    before = level_db[last - 2 * width] - level_db[last - width]
    if fade > FADE_DB + max(before, 0.0):
        kept = level_db[last - width : last + 1] > level_db[last - width] - FADE_BEGUN_DB
        last += int(np.nonzero(kept)[0][-1]) - width
    return last * ENVELOPE_STEP_SECONDS
