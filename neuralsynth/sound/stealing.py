"""Voice stealing: who gives way when the polyphony is used up.

Released voices first, the quietest of them; else the quietest of the older half of the held ones, never the lowest
note. Voices that fade out already do not count.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.sound import layout
from neuralsynth.sound.envelope import RELEASE


def who_gives_way(candidates: np.ndarray, voices: layout.VoiceArrays, order: np.ndarray) -> int:
    """The voice to take away.

    Args:
        candidates: indices of the voices that count.
        order: running number of each voice's note, `[V]`.
    """
    loudness = _loudness(candidates, voices)
    released = voices.states[candidates, layout.STAGE] == RELEASE
    if released.any():
        return int(candidates[released][np.argmin(loudness[released])])
    if len(candidates) > 1:
        keep = np.arange(len(candidates)) != np.argmin(voices.numbers[candidates, layout.NOTE])
        candidates, loudness = candidates[keep], loudness[keep]
    oldest = np.argsort(order[candidates], kind="stable")[: max(1, len(candidates) // 2)]
    return int(candidates[oldest][np.argmin(loudness[oldest])])


def _loudness(candidates: np.ndarray, voices: layout.VoiceArrays) -> np.ndarray:
    amplitude = voices.amplitude.reshape(len(voices.states), -1)[candidates]
    gain = voices.numbers[candidates, layout.VELOCITY_GAIN] * voices.numbers[candidates, layout.LEVEL]
    return np.sqrt(np.sum(amplitude**2, axis=1)) * gain
