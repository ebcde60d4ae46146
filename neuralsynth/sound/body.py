"""The body of a struck voice: the low part of a drum's stroke, read from a waveform at the voice's pitch."""

from __future__ import annotations

import math

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.layout import (
    BODY_AT,
    BODY_PER_HZ,
    BODY_ROW,
    BODY_SHARE,
    BODY_STEP,
    PITCH_HZ,
    PLAN_START,
)

_NATURAL_PER_CENT = math.log(2.0) / 1200.0
_HALF, _TWO, _TWO_AND_A_HALF, _ONE_AND_A_HALF = (np.float32(x) for x in (0.5, 2.0, 2.5, 1.5))


@inlined
def plan_body(voice, n_elapsed, own_cents, numbers, rows):
    """Move a voice on in its body and aim its speed at the planned pitch, without what the drum's own pitch does.

    The waveform has that in it. A body that was read to its end is over.
    """
    if numbers[voice, BODY_PER_HZ] == 0.0:
        return
    numbers[voice, BODY_AT] += n_elapsed * numbers[voice, BODY_STEP]
    pitch_hz = numbers[voice, PITCH_HZ] * math.exp(-own_cents * _NATURAL_PER_CENT)
    numbers[voice, BODY_STEP] = pitch_hz * numbers[voice, BODY_PER_HZ]
    if numbers[voice, BODY_AT] + 3.0 >= rows.bodies.shape[0] // rows.cents.shape[0]:
        numbers[voice, BODY_PER_HZ] = numbers[voice, BODY_STEP] = 0.0


@compiled
def add_body(voice, now, n, voices, rows, lanes):
    """Add `n` samples of a voice's body from sample `now` on to the first lane of its partial sums.

    Between the samples of the waveform lies a cubic through the two beside, with the slopes of their neighbours
    (Catmull and Rom, "A class of local interpolating splines", 1974).
    """
    size = rows.bodies.shape[0] // rows.cents.shape[0]
    step, share = voices.numbers[voice, BODY_STEP], np.float32(voices.numbers[voice, BODY_SHARE])
    first = voices.numbers[voice, BODY_AT] + (now - voices.states[voice, PLAN_START]) * step
    row = voices.states[voice, BODY_ROW] * size
    louder = row + size if share > 0.0 else row
    for i in range(n):
        place = first + i * step
        k = int(place)
        if k + 3 >= size:
            break
        x = np.float32(place - k)
        a, b, c, d = rows.bodies[row + k], rows.bodies[row + k + 1], rows.bodies[row + k + 2], rows.bodies[row + k + 3]
        a += share * (rows.bodies[louder + k] - a)
        b += share * (rows.bodies[louder + k + 1] - b)
        c += share * (rows.bodies[louder + k + 2] - c)
        d += share * (rows.bodies[louder + k + 3] - d)
        bend = a - _TWO_AND_A_HALF * b + _TWO * c - _HALF * d
        twist = _ONE_AND_A_HALF * (b - c) + _HALF * (d - a)
        lanes[i * LANES] += ((twist * x + bend) * x + _HALF * (c - a)) * x + b
