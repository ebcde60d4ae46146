"""What a voice's spectrum is to be at the end of a plan: ramps of its partials, levels of its noise bands.

A partial is the recurrence ``d -= k·x; x += d`` with ``k = 4·sin²(w/2)``: Reinsch's form of the two-term sine
recurrence (Stoer and Bulirsch, Introduction to Numerical Analysis, 1.3), which unlike the usual ``2·cos(w)`` form stays
exact at low frequencies in float32. It is started afresh from the phase at each plan.

A voice's place in its rows is `(row, frame, share of the next frame, share of the louder layer)`.
"""

from __future__ import annotations

import math

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.layout import (
    D_CUTOFF,
    D_NOISE,
    D_RESONANCE,
    FILTER_KIND,
    FILTER_POLES,
    ROW,
    SAMPLE_RATE,
    TEXTURE_LEVEL,
    TEXTURE_LEVEL_OCTAVES,
)
from neuralsynth.sound.simd import (
    add,
    fma,
    largest,
    load,
    maximum,
    minimum,
    mul,
    power_of_two,
    round_even,
    splat,
    store,
    sub,
)
from neuralsynth.sound.tone import between_layers, filter_response, moved

_NYQUIST_EDGE = np.float32(0.49)  # cycles per sample where partials end
_NYQUIST_FADE = np.float32(1.0 / 0.03)

# sin(2πs) for |s| <= 1/4: odd polynomial, largest error 7e-9, fitted by least squares on Chebyshev points.
_S1, _S3, _S5, _S7, _S9 = (
    np.float32(c)
    for c in (6.283185279839048, -41.341680575124094, 81.602475226222, -76.58116338541654, 39.759835606301024)
)
_NATURAL_PER_DB = math.log(10.0) / 20.0
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@inlined
def _quarter_sine(s):
    square = mul(s, s)
    value = fma(splat(_S9), square, splat(_S7))
    value = fma(value, square, splat(_S5))
    value = fma(value, square, splat(_S3))
    return mul(fma(value, square, splat(_S1)), s)


@inlined
def _cosine(cycles):
    """cos(2π·cycles) of a vector."""
    rest = sub(cycles, round_even(cycles))
    size = maximum(rest, sub(splat(_ZERO), rest))
    return _quarter_sine(sub(splat(_QUARTER), size))


@inlined
def _restart(voices, at, turn, phase):
    """Start the oscillators of a tile afresh at a phase, in cycles, and a speed, in cycles per sample."""
    turn = minimum(turn, splat(_HALF))
    half = _quarter_sine(mul(turn, splat(_HALF)))
    store(voices.sine, at, _cosine(sub(phase, splat(_QUARTER))))
    middle = _cosine(sub(phase, mul(turn, splat(_HALF))))
    store(voices.difference, at, mul(mul(splat(np.float32(2.0)), middle), half))
    store(voices.factor, at, mul(mul(splat(np.float32(-4.0)), half), half))


@inlined
def plan_partials(voice, voices, rows, place, pace, n_gone, faint, settings, scratch, texture, liveliness):
    """Set amplitude ramps and restart the oscillators of one voice; returns how many tiles sound.

    `pace` is `(samples since the last plan, samples planned, cycles of the fundamental per sample)`.
    Tiles of partials that all stay below `faint` are skipped; `liveliness` (0..1) is how far the texture has come in.
    """
    row, frame, share, layer_share = place
    n_elapsed, n_planned, cycles_per_sample = pace
    n_frames = rows.frame_seconds.shape[0]
    n_partials = voices.phase.shape[0] // voices.numbers.shape[0]
    first, within, size = voice * n_partials, frame * n_partials, n_frames * n_partials
    weight, per_sample = splat(np.float32(share)), splat(np.float32(1.0 / n_planned))
    elapsed, base = splat(np.float32(n_elapsed)), splat(np.float32(cycles_per_sample))
    kind = int(settings[FILTER_KIND])
    to_cutoff = splat(np.float32(settings[SAMPLE_RATE] * 2.0 ** -min(max(scratch.values[D_CUTOFF], 3.0), 16.0)))
    sounding = 0
    lively = splat(np.float32(liveliness))
    together = splat(np.float32(texture.numbers[TEXTURE_LEVEL_OCTAVES] * voices.numbers[voice, TEXTURE_LEVEL]))
    for tile in range(n_partials // LANES):
        offset = tile * LANES
        at = first + offset
        ratios = load(rows.ratios, row * n_partials + offset)
        for direction in range(n_gone):
            away = voices.directions[voice, direction]
            if scratch.weights[direction] != 0.0 and away >= 0:
                difference = load(rows.ratios, away * n_partials + offset)
                ratios = fma(difference, splat(np.float32(scratch.weights[direction])), ratios)
        turn = mul(ratios, base)
        edge = mul(sub(splat(_NYQUIST_EDGE), turn), splat(_NYQUIST_FADE))
        keep = minimum(maximum(edge, splat(_ZERO)), splat(_ONE))
        target = between_layers(rows.partials, row * size + within + offset, n_partials, size, weight, layer_share)
        if n_gone > 0:
            target = moved(
                target, rows.partials, voice, voices.directions, scratch.weights, n_gone,
                row - voices.states[voice, ROW], within + offset, size, n_partials, size, weight, layer_share,
            )  # fmt: skip
        if liveliness > 0.0:
            alone = mul(load(texture.octaves, offset), load(voices.texture, at))
            target = mul(target, power_of_two(mul(add(alone, together), lively)))
        if kind != 0:
            gain = filter_response(mul(turn, to_cutoff), scratch.values[D_RESONANCE], kind, settings[FILTER_POLES])
            target = mul(target, gain)
        target = mul(target, keep)
        now = load(voices.amplitude, at)
        # The phase runs on through tiles that are skipped, at the pitch they had.
        phase = fma(load(voices.turn, at), elapsed, load(voices.phase, at))
        phase = sub(phase, round_even(phase))
        store(voices.phase, at, phase)
        store(voices.turn, at, turn)
        if largest(maximum(now, target)) < faint:
            store(voices.amplitude, at, splat(_ZERO))
            store(voices.slope, at, splat(_ZERO))
            continue
        sounding = tile + 1
        store(voices.slope, at, mul(sub(target, now), per_sample))
        _restart(voices, at, turn, phase)
    return sounding


@inlined
def plan_noise(voice, voices, rows, place, n_gone, is_modulated, settings, scratch):
    """Set where the noise bands of one voice are to be at the plan's end."""
    row, frame, share, layer_share = place
    n_bands = voices.noise_target.shape[0] // voices.numbers.shape[0]
    within, size = frame * n_bands, rows.frame_seconds.shape[0] * n_bands
    weight = splat(np.float32(share))
    kind = int(settings[FILTER_KIND])
    gain = math.exp(scratch.values[D_NOISE] * _NATURAL_PER_DB) if is_modulated else 1.0
    to_cutoff = splat(np.float32(2.0 ** -min(max(scratch.values[D_CUTOFF], 3.0), 16.0)))
    for tile in range(0, n_bands, LANES):
        target = between_layers(rows.noise, row * size + within + tile, n_bands, size, weight, layer_share)
        if n_gone > 0:
            target = moved(
                target, rows.noise, voice, voices.directions, scratch.weights, n_gone,
                row - voices.states[voice, ROW], within + tile, size, n_bands, size, weight, layer_share,
            )  # fmt: skip
        if is_modulated:
            target = mul(target, splat(np.float32(gain)))
        if kind != 0:
            x = mul(load(rows.band_hz, tile), to_cutoff)
            target = mul(target, filter_response(x, scratch.values[D_RESONANCE], kind, settings[FILTER_POLES]))
        store(voices.noise_target, voice * n_bands + tile, target)


@compiled
def is_noise_faint(voice, voices, faint):
    """Whether all noise bands of a planned voice are below `faint`."""
    n_bands = voices.noise_target.shape[0] // voices.numbers.shape[0]
    loudest = splat(_ZERO)
    for tile in range(0, n_bands, LANES):
        loudest = maximum(loudest, load(voices.noise_target, voice * n_bands + tile))
    return largest(loudest) < faint


@inlined
def own_cents(voice, voices, rows, place, n_gone, scratch):
    """How the note itself moves around its pitch at this place."""
    row, frame, share, _ = place
    own = rows.cents[row, frame] * (1.0 - share) + rows.cents[row, frame + 1] * share
    for direction in range(n_gone):
        away = voices.directions[voice, direction]
        if scratch.weights[direction] != 0.0 and away >= 0:
            row = away + place[0] - voices.states[voice, ROW]
            there = rows.cents[row, frame] * (1.0 - share) + rows.cents[row, frame + 1] * share
            own += scratch.weights[direction] * there
    return own
