"""The tone of a voice at one moment: velocity layers, directions of timbre and the filter, as amplitudes of partials.

A direction moves amplitudes by powers of two, so that half the way between two sounds lies half the way in decibels,
as it does between two points of the model's latent space.

The filter is the response of the analogue two-pole section, ``H = N / (1 - x² + j·x/Q)`` with ``x = f / cutoff`` and
``N`` one of ``1``, ``j·x/Q`` and ``-x²`` (Zoelzer, DAFX, 2.2), taken at the frequency of each partial and in the middle
of each noise band. Four poles add a section without resonance.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.simd import add, div, fma, load, maximum, minimum, mul, power_of_two, splat, square_root, sub

#: Kinds of filter, in the order of `preset_sections`.
FILTER_OFF, LOWPASS, BANDPASS, HIGHPASS = range(4)
#: Amplitude from which a direction lifts a partial that is not there (-120 dB).
FAINT = np.float32(1e-6)
_LEAST_Q, _Q_OCTAVES = 0.7071067811865476, 5.0
_SMALLEST = np.float32(1e-12)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@compiled
def filter_q(resonance):
    """Quality factor at `resonance` 0..1: from no peak to one of 27 dB."""
    return _LEAST_Q * 2.0 ** (_Q_OCTAVES * min(max(resonance, 0.0), 1.0))


@inlined
def _section(x, inverse_q, kind):
    """Magnitude of one two-pole section at the relative frequencies `x`."""
    square = mul(x, x)
    rest = sub(splat(_ONE), square)
    width = mul(x, splat(np.float32(inverse_q)))
    below = maximum(fma(rest, rest, mul(width, width)), splat(_SMALLEST))
    above = splat(_ONE)
    if kind == BANDPASS:
        above = width
    if kind == HIGHPASS:
        above = square
    return div(above, square_root(below))


@inlined
def filter_response(x, resonance, kind, poles):
    """Gain of the voice filter at frequencies relative to its cutoff."""
    gain = _section(x, 1.0 / filter_q(resonance), kind)
    if poles > 2:
        gain = mul(gain, _section(x, 1.0 / _LEAST_Q, kind))
    return gain


@inlined
def between_frames(table, at, width, weight):
    """A row's numbers between one frame and the next."""
    here = load(table, at)
    return fma(sub(load(table, at + width), here), weight, here)


@inlined
def between_layers(table, at, width, layer_step, weight, layer_share):
    """`between_frames`, and between a velocity layer and the next louder one."""
    value = between_frames(table, at, width, weight)
    if layer_share > 0.0:
        louder = between_frames(table, at + layer_step, width, weight)
        value = fma(sub(louder, value), splat(np.float32(layer_share)), value)
    return value


@inlined
def moved(value, table, voice, directions, weights, n_gone, row_offset, within, size, width, layer_step, weight, share):
    """Amplitudes, gone the way of all directions: `size` numbers a row, `row_offset` rows and `within` numbers in."""
    exponent = splat(_ZERO)
    for direction in range(n_gone):
        row = directions[voice, direction]
        if weights[direction] != 0.0 and row >= 0:
            at = (row + row_offset) * size + within
            away = between_layers(table, at, width, layer_step, weight, share)
            exponent = fma(away, splat(np.float32(weights[direction])), exponent)
    lifted = mul(add(value, splat(FAINT)), power_of_two(exponent))
    return minimum(maximum(sub(lifted, splat(FAINT)), splat(_ZERO)), splat(np.float32(4.0)))
