"""Integrated loudness after ITU-R BS.1770-4: what a listener takes for the level of a whole sound.

K-weighting (two biquads, re-derived for any sample rate from the analogue filters behind the published 48 kHz
coefficients), mean squares of 400 ms blocks every 100 ms, those below -70 LUFS and those more than 10 LU below the
mean of the rest left out. Sounds shorter than a block count as if silence followed. Checked in the tests against the
published coefficients and the signals of EBU Tech 3341.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from neuralsynth.design.frames import n_sounding
from neuralsynth.sound.compiled import compiled

#: What is softer reads so: the absolute gate.
SOFTEST_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_STEP_SECONDS, _STEPS_PER_BLOCK = 0.1, 4
_OFFSET_DB = -0.691  # of a 997 Hz sine, so that K-weighting changes nothing there
# The analogue prototypes: corner in Hz, quality, and for the shelf its gain in dB.
_SHELF_HZ, _SHELF_Q, _SHELF_DB = 1681.974450955533, 0.7071752369554196, 3.999843853973347
_SHELF_BAND_POWER = 0.4996667741545416
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773


def integrated_lufs(audio: np.ndarray, sample_rate: int) -> float:
    """Loudness of `[C, n]`, one or two channels; `SOFTEST_LUFS` for what lies below the absolute gate."""
    step = _STEP_SECONDS * sample_rate
    n_steps = max(int(audio.shape[1] / step), _STEPS_PER_BLOCK)
    bounds = np.round(np.arange(n_steps + 1) * step).astype(np.int64)
    energies = np.zeros((audio.shape[0], n_steps))
    for channel, found in zip(np.ascontiguousarray(audio, np.float32), energies, strict=True):
        _add_energies(channel[: n_sounding(channel)], bounds, *k_weighting(sample_rate), found)
    steps = energies.sum(axis=0) / step
    total = np.concatenate([[0.0], np.cumsum(steps)])
    blocks = np.maximum(total[_STEPS_PER_BLOCK:] - total[:-_STEPS_PER_BLOCK], 0.0) / _STEPS_PER_BLOCK
    blocks = blocks[blocks > _power(SOFTEST_LUFS)]
    if len(blocks) == 0:
        return SOFTEST_LUFS
    loud = blocks[blocks > blocks.mean() * 10.0 ** (_RELATIVE_GATE_LU / 10.0)]
    return _OFFSET_DB + 10.0 * math.log10(float(loud.mean()))


@compiled
def _add_energies(audio, bounds, first, second, energies):
    """Add squares of `audio [n]` after two filters `[b0, b1, b2, 1, a1, a2]` to each stretch between `bounds`."""
    b0, b1, b2, _, a1, a2 = first
    c0, c1, c2, _, d1, d2 = second
    s1, s2, t1, t2 = 0.0, 0.0, 0.0, 0.0
    for stretch in range(energies.shape[0]):
        for i in range(bounds[stretch], min(bounds[stretch + 1], audio.shape[0])):
            x = float(audio[i])
            y = b0 * x + s1
            s1, s2 = (b1 * x + s2) - a1 * y, b2 * x - a2 * y
            z = c0 * y + t1
            t1, t2 = (c1 * y + t2) - d1 * z, c2 * y - d2 * z
            energies[stretch] += z * z


def _power(loudness_lufs: float) -> float:
    return float(10.0 ** ((loudness_lufs - _OFFSET_DB) / 10.0))


@lru_cache(maxsize=8)
def k_weighting(sample_rate: int) -> np.ndarray:
    """The two stages of K-weighting as second-order sections `[2, 6]`."""
    k = math.tan(math.pi * _SHELF_HZ / sample_rate)
    high = 10.0 ** (_SHELF_DB / 20.0)
    band = high**_SHELF_BAND_POWER
    a0 = 1.0 + k / _SHELF_Q + k * k
    shelf = [
        (high + band * k / _SHELF_Q + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - band * k / _SHELF_Q + k * k) / a0,
        1.0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / _SHELF_Q + k * k) / a0,
    ]
    k = math.tan(math.pi * _HIGH_PASS_HZ / sample_rate)
    a0 = 1.0 + k / _HIGH_PASS_Q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / _HIGH_PASS_Q + k * k) / a0]
    return np.array([shelf, high_pass])
