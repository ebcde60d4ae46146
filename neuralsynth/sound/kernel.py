"""The voice kernel: all voices of one instrument in one compiled call per block.

Time is cut into control steps of 64 samples on a grid of absolute sample positions, never on block
boundaries. Between the plans of a voice (`plan`) everything is a straight ramp, sample by sample, so a block may
end anywhere without changing a sample. Noise is one stream per band for all voices: their powers add up.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.envelope import OFF
from neuralsynth.sound.layout import (
    CONTROL_STEP,
    GAIN_LEFT,
    GAIN_RIGHT,
    INAUDIBLE,
    N_TILES,
    PLAN_END,
    PLAN_START,
    SLOPE_LEFT,
    SLOPE_RIGHT,
    STAGE,
    TOUCHED,
)
from neuralsynth.sound.plan import plan_voice
from neuralsynth.sound.simd import (
    add,
    add_pairs,
    fma,
    largest,
    load,
    maximum,
    mul,
    splat,
    square_root,
    store,
    sub,
)

_ZERO = np.float32(0.0)


@inlined
def _four_tiles(voices, at, lanes, n, is_first):
    """Play 64 partials for `n` samples: a vector of partial sums per sample, into `lanes` or added to what is there."""
    at1, at2, at3 = at + LANES, at + 2 * LANES, at + 3 * LANES
    x0, x1, x2, x3 = load(voices.sine, at), load(voices.sine, at1), load(voices.sine, at2), load(voices.sine, at3)
    d0, d1 = load(voices.difference, at), load(voices.difference, at1)
    d2, d3 = load(voices.difference, at2), load(voices.difference, at3)
    k0, k1 = load(voices.factor, at), load(voices.factor, at1)
    k2, k3 = load(voices.factor, at2), load(voices.factor, at3)
    a0, a1 = load(voices.amplitude, at), load(voices.amplitude, at1)
    a2, a3 = load(voices.amplitude, at2), load(voices.amplitude, at3)
    s0, s1, s2, s3 = load(voices.slope, at), load(voices.slope, at1), load(voices.slope, at2), load(voices.slope, at3)
    for i in range(n):
        total = splat(_ZERO) if is_first else load(lanes, i * LANES)
        a0, a1, a2, a3 = add(a0, s0), add(a1, s1), add(a2, s2), add(a3, s3)
        total = fma(a3, x3, fma(a2, x2, fma(a1, x1, fma(a0, x0, total))))
        d0, d1, d2, d3 = fma(k0, x0, d0), fma(k1, x1, d1), fma(k2, x2, d2), fma(k3, x3, d3)
        x0, x1, x2, x3 = add(x0, d0), add(x1, d1), add(x2, d2), add(x3, d3)
        store(lanes, i * LANES, total)
    store(voices.sine, at, x0)
    store(voices.sine, at1, x1)
    store(voices.sine, at2, x2)
    store(voices.sine, at3, x3)
    store(voices.difference, at, d0)
    store(voices.difference, at1, d1)
    store(voices.difference, at2, d2)
    store(voices.difference, at3, d3)
    store(voices.amplitude, at, a0)
    store(voices.amplitude, at1, a1)
    store(voices.amplitude, at2, a2)
    store(voices.amplitude, at3, a3)


@inlined
def _one_tile(voices, at, lanes, n, is_first):
    """`_four_tiles` for 16 partials."""
    x, d, k = load(voices.sine, at), load(voices.difference, at), load(voices.factor, at)
    a, s = load(voices.amplitude, at), load(voices.slope, at)
    for i in range(n):
        a = add(a, s)
        total = splat(_ZERO) if is_first else load(lanes, i * LANES)
        store(lanes, i * LANES, fma(a, x, total))
        d = fma(k, x, d)
        x = add(x, d)
    store(voices.sine, at, x)
    store(voices.difference, at, d)
    store(voices.amplitude, at, a)


@inlined
def _row_sums(lanes, at):
    """Sums of 16 vectors as one vector."""
    p0 = add_pairs(load(lanes, at), load(lanes, at + 16))
    p1 = add_pairs(load(lanes, at + 32), load(lanes, at + 48))
    p2 = add_pairs(load(lanes, at + 64), load(lanes, at + 80))
    p3 = add_pairs(load(lanes, at + 96), load(lanes, at + 112))
    p4 = add_pairs(load(lanes, at + 128), load(lanes, at + 144))
    p5 = add_pairs(load(lanes, at + 160), load(lanes, at + 176))
    p6 = add_pairs(load(lanes, at + 192), load(lanes, at + 208))
    p7 = add_pairs(load(lanes, at + 224), load(lanes, at + 240))
    low, high = add_pairs(add_pairs(p0, p1), add_pairs(p2, p3)), add_pairs(add_pairs(p4, p5), add_pairs(p6, p7))
    return add_pairs(low, high)


@inlined
def _clear_lanes(lanes, first, n):
    """Zeros from row `first` up to the next multiple of 16 rows after `n`."""
    for i in range(first, -(-n // LANES) * LANES):
        store(lanes, i * LANES, splat(_ZERO))


@inlined
def _play_voice(voice, now, n, voices, scratch, at, right):
    """Add `n` samples of one planned voice to the output at `at`."""
    numbers, states = voices.numbers, voices.states
    n_partials = voices.amplitude.shape[0] // numbers.shape[0]
    n_tiles = states[voice, N_TILES]
    if n_tiles == 0:
        return
    _clear_lanes(scratch.lanes, n, n)
    tile, row, n_room = 0, voice * n_partials, n_partials // LANES
    while tile < n_tiles:
        # Each partial waits for its own last sample, so two to four tiles take hardly longer than one.
        if n_tiles - tile >= 2 and tile + 4 <= n_room:
            _four_tiles(voices, row + tile * LANES, scratch.lanes, n, tile == 0)
            tile += 4
        else:
            _one_tile(voices, row + tile * LANES, scratch.lanes, n, tile == 0)
            tile += 1
    left_gain, left_slope = splat(np.float32(numbers[voice, GAIN_LEFT])), splat(np.float32(numbers[voice, SLOPE_LEFT]))
    right_gain = splat(np.float32(numbers[voice, GAIN_RIGHT]))
    right_slope = splat(np.float32(numbers[voice, SLOPE_RIGHT]))
    lane = load(scratch.lane, 0)
    for i in range(0, n, LANES):
        played = add(splat(np.float32(now + i - states[voice, PLAN_START])), lane)
        mono = _row_sums(scratch.lanes, i * LANES)
        store(scratch.out, at + i, fma(fma(left_slope, played, left_gain), mono, load(scratch.out, at + i)))
        store(
            scratch.out,
            right + at + i,
            fma(fma(right_slope, played, right_gain), mono, load(scratch.out, right + at + i)),
        )


@compiled
def _aim_noise(now, voices, noise, active, n_active):
    """Aim the gains of the shared bands at the summed power of all voices at the next control step."""
    n_bands = noise.gain.shape[0] // 2
    n_planned = CONTROL_STEP - now % CONTROL_STEP
    per_sample = splat(np.float32(1.0 / n_planned))
    loudest = _ZERO
    for side in range(2):
        gain_column = GAIN_LEFT if side == 0 else GAIN_RIGHT
        slope_column = gain_column + 1
        for tile in range(0, n_bands, LANES):
            power = splat(_ZERO)
            for index in range(n_active):
                voice = active[index]
                length = voices.states[voice, PLAN_END] - voices.states[voice, PLAN_START]
                gain = voices.numbers[voice, gain_column] + length * voices.numbers[voice, slope_column]
                one = mul(load(voices.noise_target, voice * n_bands + tile), splat(np.float32(gain)))
                power = fma(one, one, power)
            at = side * n_bands + tile
            target = square_root(power)
            current = load(noise.gain, at)
            loudest = max(loudest, largest(maximum(current, target)))
            store(noise.slope, at, mul(sub(target, current), per_sample))
    noise.clock[1] = 1 if loudest > INAUDIBLE else 0


@compiled
def _play_noise(n, noise, scratch, at, right):
    """Add `n` samples of the shared noise bands to the output at `at`."""
    n_bands = noise.gain.shape[0] // 2
    if noise.clock[1] == 0:
        for tile in range(0, 2 * n_bands, LANES):
            store(noise.gain, tile, splat(_ZERO))
            store(noise.slope, tile, splat(_ZERO))
        noise.clock[0] += n
        return
    half = CONTROL_STEP * LANES  # the lanes of the right side lie behind those of the left
    for tile in range(n_bands // LANES):
        length = (noise.offsets[tile + 1] - noise.offsets[tile]) // LANES
        step = noise.clock[0] % length
        left, left_slope = load(noise.gain, tile * LANES), load(noise.slope, tile * LANES)
        gain, slope = load(noise.gain, n_bands + tile * LANES), load(noise.slope, n_bands + tile * LANES)
        for i in range(n):
            left, gain = add(left, left_slope), add(gain, slope)
            band = load(noise.table, noise.offsets[tile] + step * LANES)
            before = splat(_ZERO) if tile == 0 else load(scratch.lanes, i * LANES)
            store(scratch.lanes, i * LANES, fma(left, band, before))
            before = splat(_ZERO) if tile == 0 else load(scratch.lanes, half + i * LANES)
            store(scratch.lanes, half + i * LANES, fma(gain, band, before))
            step = step + 1 if step + 1 < length else 0
        store(noise.gain, tile * LANES, left)
        store(noise.gain, n_bands + tile * LANES, gain)
    for side in range(2):
        _clear_lanes(scratch.lanes, side * CONTROL_STEP + n, side * CONTROL_STEP + n)
        for i in range(0, n, LANES):
            position = side * right + at + i
            sums = _row_sums(scratch.lanes, side * half + i * LANES)
            store(scratch.out, position, add(load(scratch.out, position), sums))
    noise.clock[0] += n


@compiled
def render_voices(now, n, voices, noise, scratch, channels, settings, envelope, active):
    """Play `n` samples from absolute sample `now` on into `scratch.out`, all voices and the noise.

    Args:
        active: int64 `[V]`, scratch for the list of sounding voices.

    Returns:
        How many voices still sound at the end.
    """
    right = scratch.out.shape[0] // 2
    for i in range(n):
        scratch.out[i] = 0.0
        scratch.out[right + i] = 0.0
    end = now + n
    position = now
    n_active = 0
    while position < end:
        n_active = 0
        changed = position % CONTROL_STEP == 0
        for voice in range(voices.numbers.shape[0]):
            states = voices.states
            if states[voice, PLAN_START] < 0:
                continue
            touched = states[voice, TOUCHED] != 0 and states[voice, STAGE] != OFF
            if position >= states[voice, PLAN_END] or touched:
                changed = True
                if not plan_voice(voice, position, voices, channels, settings, envelope):
                    states[voice, PLAN_START] = -1
                    continue
            active[n_active] = voice
            n_active += 1
        if changed:
            _aim_noise(position, voices, noise, active, n_active)
        m = min(end, (position // CONTROL_STEP + 1) * CONTROL_STEP) - position
        for index in range(n_active):
            _play_voice(active[index], position, m, voices, scratch, position - now, right)
        _play_noise(m, noise, scratch, position - now, right)
        position += m
    return n_active
