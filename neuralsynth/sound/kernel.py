"""The voice kernel: all voices of one instrument in one compiled call per block.

Time is cut into control steps of 64 samples on a grid of absolute sample positions, never on block
boundaries. Between the plans of a voice (`plan`) everything is a straight ramp, sample by sample, so a block may
end anywhere without changing a sample. Noise is one stream per band for all voices: their powers add up.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.body import add_body
from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.envelope import OFF
from neuralsynth.sound.layout import (
    BODY_STEP,
    CONTROL_STEP,
    GAIN_LEFT,
    INAUDIBLE,
    N_OUTPUTS,
    N_TILES,
    NOISE_UNIT,
    OUTPUTS_IN_USE,
    PLAN_END,
    PLAN_START,
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
    load_whole,
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
def _play_voice(voice, now, n, voices, rows, scratch, at, n_outputs):
    """Add `n` samples of one planned voice to the outputs at `at`."""
    numbers, states = voices.numbers, voices.states
    n_partials = voices.amplitude.shape[0] // numbers.shape[0]
    n_tiles = states[voice, N_TILES]
    has_body = numbers[voice, BODY_STEP] != 0.0
    if n_tiles == 0 and not has_body:
        return
    _clear_lanes(scratch.lanes, n if n_tiles > 0 else 0, n)
    tile, row, n_room = 0, voice * n_partials, n_partials // LANES
    while tile < n_tiles:
        # Each partial waits for its own last sample, so two to four tiles take hardly longer than one.
        if n_tiles - tile >= 2 and tile + 4 <= n_room:
            _four_tiles(voices, row + tile * LANES, scratch.lanes, n, tile == 0)
            tile += 4
        else:
            _one_tile(voices, row + tile * LANES, scratch.lanes, n, tile == 0)
            tile += 1
    if has_body:
        add_body(voice, now, n, voices, rows, scratch.lanes)
    lane, width = load(scratch.lane, 0), scratch.out.shape[0] // N_OUTPUTS
    for first in range(0, n_outputs, 2):  # the sums are made again for the sends: cheaper than to keep them
        column = GAIN_LEFT + 2 * first
        gain_one, slope_one = splat(np.float32(numbers[voice, column])), splat(np.float32(numbers[voice, column + 1]))
        gain_two = splat(np.float32(numbers[voice, column + 2]))
        slope_two = splat(np.float32(numbers[voice, column + 3]))
        for i in range(0, n, LANES):
            played = add(splat(np.float32(now + i - states[voice, PLAN_START])), lane)
            mono = _row_sums(scratch.lanes, i * LANES)
            one, two = first * width + at + i, (first + 1) * width + at + i
            store(scratch.out, one, fma(fma(slope_one, played, gain_one), mono, load(scratch.out, one)))
            store(scratch.out, two, fma(fma(slope_two, played, gain_two), mono, load(scratch.out, two)))


@compiled
def _aim_noise(now, voices, noise, active, n_active, n_outputs):
    """Aim the gains of the shared bands at the summed power of all voices at the next control step."""
    n_bands = noise.gain.shape[0] // N_OUTPUTS
    n_planned = CONTROL_STEP - now % CONTROL_STEP
    per_sample = splat(np.float32(1.0 / n_planned))
    loudest = _ZERO
    for output in range(n_outputs):
        gain_column = GAIN_LEFT + 2 * output
        for tile in range(0, n_bands, LANES):
            power = splat(_ZERO)
            for index in range(n_active):
                voice = active[index]
                length = voices.states[voice, PLAN_END] - voices.states[voice, PLAN_START]
                gain = voices.numbers[voice, gain_column] + length * voices.numbers[voice, gain_column + 1]
                one = mul(load(voices.noise_target, voice * n_bands + tile), splat(np.float32(gain)))
                power = fma(one, one, power)
            at = output * n_bands + tile
            target = mul(square_root(power), splat(NOISE_UNIT))
            current = load(noise.gain, at)
            loudest = max(loudest, largest(maximum(current, target)))
            store(noise.slope, at, mul(sub(target, current), per_sample))
    noise.sounding[0] = 1 if loudest > INAUDIBLE * NOISE_UNIT else 0


@inlined
def _play_noise_pair(now, n, noise, scratch, at, first):
    """Add `n` samples of the shared noise bands to outputs `first` and `first + 1` at `at`."""
    n_bands = noise.gain.shape[0] // N_OUTPUTS
    half = CONTROL_STEP * LANES  # the lanes of the second output lie behind those of the first
    for tile in range(n_bands // LANES):
        length = (noise.offsets[tile + 1] - noise.offsets[tile]) // LANES
        step = now % length
        at_one, at_two = first * n_bands + tile * LANES, (first + 1) * n_bands + tile * LANES
        one, one_slope = load(noise.gain, at_one), load(noise.slope, at_one)
        two, two_slope = load(noise.gain, at_two), load(noise.slope, at_two)
        for i in range(n):
            one, two = add(one, one_slope), add(two, two_slope)
            band = load_whole(noise.table, noise.offsets[tile] + step * LANES)
            before = splat(_ZERO) if tile == 0 else load(scratch.lanes, i * LANES)
            store(scratch.lanes, i * LANES, fma(one, band, before))
            before = splat(_ZERO) if tile == 0 else load(scratch.lanes, half + i * LANES)
            store(scratch.lanes, half + i * LANES, fma(two, band, before))
            step = step + 1 if step + 1 < length else 0
        store(noise.gain, at_one, one)
        store(noise.gain, at_two, two)
    for side in range(2):
        _clear_lanes(scratch.lanes, side * CONTROL_STEP + n, side * CONTROL_STEP + n)
        for i in range(0, n, LANES):
            position = (first + side) * (scratch.out.shape[0] // N_OUTPUTS) + at + i
            sums = _row_sums(scratch.lanes, side * half + i * LANES)
            store(scratch.out, position, add(load(scratch.out, position), sums))


@compiled
def _play_noise(now, n, noise, scratch, at, n_outputs):
    """Add `n` samples of the shared noise bands to the outputs at `at`."""
    if noise.sounding[0] == 0:
        for tile in range(0, noise.gain.shape[0], LANES):
            store(noise.gain, tile, splat(_ZERO))
            store(noise.slope, tile, splat(_ZERO))
    else:
        for first in range(0, n_outputs, 2):
            _play_noise_pair(now, n, noise, scratch, at, first)


@compiled
def render_voices(now, n, voices, rows, noise, scratch, channels, settings, modulation, texture):
    """Play `n` samples from absolute sample `now` on into `scratch.out`, all voices and the noise.

    Returns:
        How many voices still sound at the end.
    """
    n_outputs = int(settings[OUTPUTS_IN_USE])
    width = scratch.out.shape[0] // N_OUTPUTS
    active = scratch.active
    for output in range(N_OUTPUTS):
        scratch.out[output * width : output * width + n] = 0.0
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
                if not plan_voice(voice, position, voices, rows, channels, settings, modulation, texture, scratch):
                    states[voice, PLAN_START] = -1
                    continue
            active[n_active] = voice
            n_active += 1
        if changed:
            _aim_noise(position, voices, noise, active, n_active, n_outputs)
        m = min(end, (position // CONTROL_STEP + 1) * CONTROL_STEP) - position
        for index in range(n_active):
            _play_voice(active[index], position, m, voices, rows, scratch, position - now, n_outputs)
        _play_noise(position, m, noise, scratch, position - now, n_outputs)
        position += m
    return n_active
