"""Echoes whose time, feedback and mix move while they sound: one delay line, read at two places during a change.

The sound at rest is that of pedalboard's delay. It is computed here because pedalboard's (0.9.26) jumps to a new
time at once, inside its own feedback: two of them with a cross-fade behind hide the jump in the first echo
only, every later one repeats it. Here what is fed back is the cross-faded sound itself.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.sound.compiled import compiled

FADE_SECONDS = 0.020
_SILENT = 1e-20  # -400 dB: what is below it is stored as zero, before it gets to slow denormal numbers

# Places in the state: where the next sample is stored, how many are stored since the reset (up to the line's
# length), the delay heard, the delay faded to, how far that fade is (0..1), feedback and mix as they are now.
_POSITION, _STORED, _HEARD, _COMING, _FADE, _FEEDBACK, _MIX = range(7)
# Places in the targets.
_DELAY_TO, _FEEDBACK_TO, _MIX_TO = range(3)


class Echoes:
    """Echoes of `float32 [2, n]` blocks.

    Args:
        sample_rate: in Hz.
        values: `delay_seconds` (at least one sample is used), `feedback` 0 to 0.95, and `mix` 0 to 1.
        longest_seconds: what `delay_seconds` is kept below.
    """

    latency_samples = 0

    def __init__(self, sample_rate: float, values: dict[str, float], longest_seconds: float):
        self._sample_rate = sample_rate
        # Written to here, so that the system gives the memory now: on the audio thread it may take 5 ms.
        self._line = np.full((2, round(longest_seconds * sample_rate) + 1), 0.0, np.float32)
        self._state, self._targets = np.zeros(7), np.zeros(3)
        self._step = 1.0 / max(FADE_SECONDS * sample_rate, 1.0)
        for name, value in values.items():
            self.move(name, value)
        self.reset()
        self.process(np.zeros((2, 0), np.float32))  # compiles here, not on the audio thread

    def move(self, name: str, value: float) -> None:
        """Begin to change `delay_seconds`, `feedback` or `mix` with the next sample. [audio thread]"""
        if name == "delay_seconds":
            n_longest = self._line.shape[1] - 1
            self._targets[_DELAY_TO] = min(max(round(min(value * self._sample_rate, n_longest)), 1), n_longest)
        else:
            self._targets[{"feedback": _FEEDBACK_TO, "mix": _MIX_TO}[name]] = value

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the block with its echoes as a new array. [audio thread]"""
        out = np.empty_like(audio)
        _echo(audio, out, self._line, self._state, self._targets, self._step)
        return out

    def reset(self) -> None:
        """Forget all earlier sound, NaN included, however long the line, in no time; a change under way is complete."""
        delay, feedback, mix = self._targets
        self._state[:] = 0.0, 0.0, delay, delay, 0.0, feedback, mix


@compiled
def _toward(value, target, step):
    """`value` moved to `target` by at most `step`."""
    return min(target, value + step) if target > value else max(target, value - step)


@compiled
def _read(line, c, position, delay, n_stored):
    """Sample stored `delay` before `position`; silence before the reset."""
    if delay > n_stored:
        return 0.0
    place = position - delay
    return float(line[c, place if place >= 0 else place + line.shape[1]])


@compiled
def _echo(audio, out, line, state, targets, step):
    position, n_stored = int(state[_POSITION]), int(state[_STORED])
    heard, coming, fade = int(state[_HEARD]), int(state[_COMING]), state[_FADE]
    feedback, mix, length = state[_FEEDBACK], state[_MIX], line.shape[1]
    for i in range(audio.shape[1]):
        if heard == coming:
            coming = int(targets[_DELAY_TO])
        feedback = _toward(feedback, targets[_FEEDBACK_TO], step)
        mix = _toward(mix, targets[_MIX_TO], step)
        for c in range(2):
            echo = _read(line, c, position, heard, n_stored)
            if heard != coming:
                echo += fade * (_read(line, c, position, coming, n_stored) - echo)
            stored = audio[c, i] + feedback * echo
            line[c, position] = 0.0 if abs(stored) < _SILENT else stored
            out[c, i] = (1.0 - mix) * audio[c, i] + mix * echo
        position = position + 1 if position + 1 < length else 0
        n_stored = min(n_stored + 1, length)
        if heard != coming:
            fade += step
            if fade >= 1.0:
                heard, fade = coming, 0.0
    state[_POSITION], state[_STORED], state[_HEARD], state[_COMING] = position, n_stored, heard, coming
    state[_FADE], state[_FEEDBACK], state[_MIX] = fade, feedback, mix
