"""The voice kernel: all voices of one instrument in one compiled call per block.

Time is cut into control steps of 64 samples on a grid of absolute sample positions, never on block
boundaries. At each step (and whenever an event touches it) a voice is *planned*: where its envelope, its
place in the spectrum, its pitch and its gains will be at the end of the step. In between, everything is a
straight ramp, sample by sample, so a block may end anywhere without changing a sample.

A partial is the recurrence ``d -= k·x; x += d`` with ``k = 4·sin²(w/2)``: Reinsch's form of the two-term sine
recurrence (Stoer and Bulirsch, Introduction to Numerical Analysis, 1.3), which unlike the usual
``2·cos(w)`` form stays exact at low frequencies in float32. It is started afresh from the phase at each plan.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.envelope import KILL, OFF, SUSTAIN, advance_envelope
from neuralsynth.sound.simd import (
    add,
    add_pairs,
    fma,
    largest,
    load,
    maximum,
    minimum,
    mul,
    round_even,
    splat,
    square_root,
    store,
    sub,
)

CONTROL_STEP = 64
#: A plan is never shorter than this, so that a note that starts just before a control step still fades in.
SHORTEST_PLAN = 32
#: Past its attack a voice is planned every other step, later every fourth, the voices in turn.
LONG_STEP, ATTACK_SECONDS = 2 * CONTROL_STEP, 0.08
LONGEST_STEP, SETTLED_SECONDS = 4 * CONTROL_STEP, 0.5

# Columns of `VoiceArrays.numbers`.
POSITION, NOTE, LEVEL, VELOCITY_GAIN, GAIN_LEFT, SLOPE_LEFT, GAIN_RIGHT, SLOPE_RIGHT = range(8)
TURN_SECONDS, TAIL_RATE, PITCH_HZ, LEVEL_BEFORE = 8, 9, 10, 11
N_NUMBERS = 12
# Columns of `VoiceArrays.states`.
STAGE, CHANNEL, PLAN_START, PLAN_END, FRAME, SEED, N_TILES, DIRECTION, TOUCHED = range(9)
N_STATES = 9
# Columns of `channels`: gains, pitch offset and vibrato depth of each MIDI channel.
CHANNEL_LEFT, CHANNEL_RIGHT, CHANNEL_CENTS, CHANNEL_VIBRATO_CENTS = range(4)
N_CHANNEL_NUMBERS = 4
# `settings`: what is the same for all voices.
SAMPLE_RATE, SUSTAIN_START, SUSTAIN_END, VIBRATO_HZ = range(4)
N_SETTINGS = 4

#: Amplitude below which a group of partials is skipped (-100 dBFS, below the noise of 16 bits).
INAUDIBLE = np.float32(10.0 ** (-100.0 / 20.0))
_NYQUIST_EDGE = np.float32(0.49)  # cycles per sample where partials end
_NYQUIST_FADE = np.float32(1.0 / 0.03)

# sin(2πs) for |s| <= 1/4: odd polynomial, largest error 7e-9, fitted by least squares on Chebyshev points.
_S1, _S3, _S5, _S7, _S9 = (
    np.float32(c)
    for c in (6.283185279839048, -41.341680575124094, 81.602475226222, -76.58116338541654, 39.759835606301024)
)
_NATURAL_PER_CENT = math.log(2.0) / 1200.0
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class VoiceArrays(NamedTuple):
    """State of all voices: `V` voices, `P` partials and `B` bands padded to 16, `T` frames."""

    numbers: np.ndarray  # float64 [V, N_NUMBERS]
    states: np.ndarray  # int64 [V, N_STATES]
    phase: np.ndarray  # float32 [V·P], cycles at PLAN_START
    turn: np.ndarray  # float32 [V·P], cycles per sample
    sine: np.ndarray  # float32 [V·P], x of the recurrence
    difference: np.ndarray  # float32 [V·P], d of the recurrence
    factor: np.ndarray  # float32 [V·P], -k
    amplitude: np.ndarray  # float32 [V·P]
    slope: np.ndarray  # float32 [V·P], amplitude change per sample
    ratios: np.ndarray  # float32 [V·P]
    partials: np.ndarray  # float32 [V·T·P]
    cents: np.ndarray  # float32 [V, T]
    noise: np.ndarray  # float32 [V·T·B]
    noise_target: np.ndarray  # float32 [V·B], at PLAN_END, gains not applied
    frame_seconds: np.ndarray  # float64 [T]


class NoiseArrays(NamedTuple):
    """State of the shared noise bands: row 0 left, row 1 right."""

    table: np.ndarray  # float32, loops of `band_noise_table`
    offsets: np.ndarray  # int64 [n_tiles + 1]
    gain: np.ndarray  # float32 [2·B]
    slope: np.ndarray  # float32 [2·B]
    clock: np.ndarray  # int64 [2]: samples played, sounding (0 or 1)


class Scratch(NamedTuple):
    """Room for one control step."""

    lanes: np.ndarray  # float32 [CONTROL_STEP·16]: a vector of partial sums per sample
    lane: np.ndarray  # float32 [16]: 0, 1, … 15
    out: np.ndarray  # float32 [2·(n_max + 16)]


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
def _wander(voice, numbers, states, seconds, settings):
    """Move a voice on in its spectrum; a held note turns back and forth inside the sustain region."""
    position = numbers[voice, POSITION]
    region_end = settings[SUSTAIN_END]
    if region_end <= 0.0:
        return position + seconds
    position += states[voice, DIRECTION] * seconds
    turn = numbers[voice, TURN_SECONDS]
    forward = states[voice, DIRECTION] > 0
    if (forward and position >= turn) or (not forward and position <= turn):
        seed = (states[voice, SEED] * 1103515245 + 12345) % 2147483648
        states[voice, SEED] = seed
        share = 0.5 * ((seed >> 8) % 65536) / 65536.0
        start = settings[SUSTAIN_START]
        states[voice, DIRECTION] = -1 if forward else 1
        numbers[voice, TURN_SECONDS] = start + (region_end - start) * (share if forward else 1.0 - share)
        position = turn
    return position


@inlined
def _find_frame(position, frame, frame_seconds):
    """Frame at or before `position`, near `frame`, and how far the way to the next (0..1)."""
    last = frame_seconds.shape[0] - 2
    while frame < last and frame_seconds[frame + 1] <= position:
        frame += 1
    while frame > 0 and frame_seconds[frame] > position:
        frame -= 1
    share = (position - frame_seconds[frame]) / (frame_seconds[frame + 1] - frame_seconds[frame])
    return frame, min(max(share, 0.0), 1.0)


@inlined
def _plan_partials(voice, voices, frame, share, n_elapsed, n_planned, cycles_per_sample):
    """Set amplitude ramps and restart the oscillators of one voice; returns how many tiles sound."""
    n_partials = voices.partials.shape[0] // (voices.numbers.shape[0] * voices.frame_seconds.shape[0])
    row = voice * n_partials
    spectrum = (voice * voices.frame_seconds.shape[0] + frame) * n_partials
    weight, per_sample = splat(np.float32(share)), splat(np.float32(1.0 / n_planned))
    elapsed, base = splat(np.float32(n_elapsed)), splat(np.float32(cycles_per_sample))
    sounding = 0
    for tile in range(n_partials // LANES):
        at = row + tile * LANES
        turn = mul(load(voices.ratios, at), base)
        edge = mul(sub(splat(_NYQUIST_EDGE), turn), splat(_NYQUIST_FADE))
        keep = minimum(maximum(edge, splat(_ZERO)), splat(_ONE))
        here = load(voices.partials, spectrum + tile * LANES)
        there = load(voices.partials, spectrum + n_partials + tile * LANES)
        target = mul(fma(sub(there, here), weight, here), keep)
        now = load(voices.amplitude, at)
        # The phase runs on through tiles that are skipped, at the pitch they had.
        phase = fma(load(voices.turn, at), elapsed, load(voices.phase, at))
        phase = sub(phase, round_even(phase))
        store(voices.phase, at, phase)
        store(voices.turn, at, turn)
        if largest(maximum(now, target)) < INAUDIBLE:
            store(voices.amplitude, at, splat(_ZERO))
            store(voices.slope, at, splat(_ZERO))
            continue
        sounding = tile + 1
        turn = minimum(turn, splat(_HALF))
        half = _quarter_sine(mul(turn, splat(_HALF)))
        store(voices.slope, at, mul(sub(target, now), per_sample))
        store(voices.sine, at, _cosine(sub(phase, splat(_QUARTER))))
        middle = _cosine(sub(phase, mul(turn, splat(_HALF))))
        store(voices.difference, at, mul(mul(splat(np.float32(2.0)), middle), half))
        store(voices.factor, at, mul(mul(splat(np.float32(-4.0)), half), half))
    return sounding


@inlined
def _plan_noise(voice, voices, frame, share):
    n_bands = voices.noise_target.shape[0] // voices.numbers.shape[0]
    spectrum = (voice * voices.frame_seconds.shape[0] + frame) * n_bands
    weight = splat(np.float32(share))
    for tile in range(0, n_bands, LANES):
        here = load(voices.noise, spectrum + tile)
        there = load(voices.noise, spectrum + n_bands + tile)
        store(voices.noise_target, voice * n_bands + tile, fma(sub(there, here), weight, here))


@inlined
def _pitch_hz(voice, voices, channels, settings, frame, share, now):
    """Fundamental of a voice: key, bend, vibrato and the note's own movement."""
    channel = voices.states[voice, CHANNEL]
    own = voices.cents[voice, frame] * (1.0 - share) + voices.cents[voice, frame + 1] * share
    cents = 100.0 * voices.numbers[voice, NOTE] - 6900.0 + own + channels[channel, CHANNEL_CENTS]
    depth = channels[channel, CHANNEL_VIBRATO_CENTS]
    if depth != 0.0:
        turns = now * settings[VIBRATO_HZ] / settings[SAMPLE_RATE]
        cents += depth * math.sin(2.0 * math.pi * (turns - math.floor(turns)))
    return 440.0 * math.exp(cents * _NATURAL_PER_CENT)


@inlined
def _take_back(voice, now, numbers, states, settings):
    """An event cuts a plan short: undo the part of the move not yet made."""
    unplayed = states[voice, PLAN_END] - now
    share = unplayed / max(1, states[voice, PLAN_END] - states[voice, PLAN_START])
    back = states[voice, DIRECTION] * unplayed / settings[SAMPLE_RATE]
    numbers[voice, POSITION] = max(0.0, numbers[voice, POSITION] - back)
    numbers[voice, LEVEL] += (numbers[voice, LEVEL_BEFORE] - numbers[voice, LEVEL]) * share


@inlined
def _plan(voice, now, voices, channels, settings, envelope):
    """Decide where a voice will be at the end of its next plan; False when the voice is over."""
    numbers, states = voices.numbers, voices.states
    if states[voice, STAGE] == OFF:
        return False
    step, offset = CONTROL_STEP, 0
    if states[voice, STAGE] == SUSTAIN and numbers[voice, POSITION] > SETTLED_SECONDS:
        step, offset = LONGEST_STEP, CONTROL_STEP * (voice & 3)
    elif states[voice, STAGE] != KILL and numbers[voice, POSITION] > ATTACK_SECONDS:
        step, offset = LONG_STEP, CONTROL_STEP * (voice & 1)
    end = ((now + offset) // step + 1) * step - offset
    if end - now < SHORTEST_PLAN:
        end += CONTROL_STEP
    n_planned = end - now
    n_elapsed = now - states[voice, PLAN_START]
    numbers[voice, GAIN_LEFT] += n_elapsed * numbers[voice, SLOPE_LEFT]
    numbers[voice, GAIN_RIGHT] += n_elapsed * numbers[voice, SLOPE_RIGHT]
    if states[voice, PLAN_END] > now:
        _take_back(voice, now, numbers, states, settings)
    seconds = n_planned / settings[SAMPLE_RATE]
    position = _wander(voice, numbers, states, seconds, settings)
    numbers[voice, POSITION] = position
    frame, share = _find_frame(position, states[voice, FRAME], voices.frame_seconds)
    states[voice, FRAME] = frame
    pitch_hz = _pitch_hz(voice, voices, channels, settings, frame, share, now)
    numbers[voice, PITCH_HZ] = pitch_hz
    cycles_per_sample = pitch_hz / settings[SAMPLE_RATE]
    states[voice, N_TILES] = _plan_partials(voice, voices, frame, share, n_elapsed, n_planned, cycles_per_sample)
    _plan_noise(voice, voices, frame, share)
    numbers[voice, LEVEL_BEFORE] = numbers[voice, LEVEL]
    stage, level = advance_envelope(states[voice, STAGE], numbers[voice, LEVEL], seconds, envelope)
    beyond = position - voices.frame_seconds[-1]
    fade = math.exp(-numbers[voice, TAIL_RATE] * beyond) if beyond > 0.0 else 1.0
    if fade < 1e-5:
        stage, level = OFF, 0.0
    states[voice, STAGE], numbers[voice, LEVEL] = stage, level
    gain = level * numbers[voice, VELOCITY_GAIN] * fade
    channel = states[voice, CHANNEL]
    left, right = gain * channels[channel, CHANNEL_LEFT], gain * channels[channel, CHANNEL_RIGHT]
    numbers[voice, SLOPE_LEFT] = (left - numbers[voice, GAIN_LEFT]) / n_planned
    numbers[voice, SLOPE_RIGHT] = (right - numbers[voice, GAIN_RIGHT]) / n_planned
    states[voice, PLAN_START], states[voice, PLAN_END] = now, end
    states[voice, TOUCHED] = 0
    return True


@inlined
def _four_tiles(voices, at, lanes, n):
    """Play 64 partials for `n` samples, adding a vector of partial sums per sample to `lanes`."""
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
        total = load(lanes, i * LANES)
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
def _one_tile(voices, at, lanes, n):
    """`_four_tiles` for the last 16, 32 or 48 partials."""
    x, d, k = load(voices.sine, at), load(voices.difference, at), load(voices.factor, at)
    a, s = load(voices.amplitude, at), load(voices.slope, at)
    for i in range(n):
        a = add(a, s)
        store(lanes, i * LANES, fma(a, x, load(lanes, i * LANES)))
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
def _clear_lanes(lanes, n):
    for i in range(-(-n // LANES) * LANES):
        store(lanes, i * LANES, splat(_ZERO))


@inlined
def _play_voice(voice, now, n, voices, scratch, at, right):
    """Add `n` samples of one planned voice to the output at `at`."""
    numbers, states = voices.numbers, voices.states
    n_partials = voices.amplitude.shape[0] // numbers.shape[0]
    n_tiles = states[voice, N_TILES]
    if n_tiles == 0:
        return
    _clear_lanes(scratch.lanes, n)
    tile, row = 0, voice * n_partials
    while tile + 4 <= n_tiles:
        _four_tiles(voices, row + tile * LANES, scratch.lanes, n)
        tile += 4
    while tile < n_tiles:
        _one_tile(voices, row + tile * LANES, scratch.lanes, n)
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
    for side in range(2):
        _clear_lanes(scratch.lanes, n)
        for tile in range(n_bands // LANES):
            length = (noise.offsets[tile + 1] - noise.offsets[tile]) // LANES
            step = noise.clock[0] % length
            gain = load(noise.gain, side * n_bands + tile * LANES)
            slope = load(noise.slope, side * n_bands + tile * LANES)
            for i in range(n):
                gain = add(gain, slope)
                band = load(noise.table, noise.offsets[tile] + step * LANES)
                store(scratch.lanes, i * LANES, fma(gain, band, load(scratch.lanes, i * LANES)))
                step = step + 1 if step + 1 < length else 0
            store(noise.gain, side * n_bands + tile * LANES, gain)
        for i in range(0, n, LANES):
            position = side * right + at + i
            store(scratch.out, position, add(load(scratch.out, position), _row_sums(scratch.lanes, i * LANES)))
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
                if not _plan(voice, position, voices, channels, settings, envelope):
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
