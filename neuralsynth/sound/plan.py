"""Planning: where a voice will be at the end of its next stretch of straight ramps.

A plan decides a voice's place in its spectrum, envelope, pitch and gains for 64 to 256 samples ahead. It is made on the
grid of control steps, and at once when an event touches the voice.

A partial is the recurrence ``d -= k·x; x += d`` with ``k = 4·sin²(w/2)``: Reinsch's form of the two-term sine
recurrence (Stoer and Bulirsch, Introduction to Numerical Analysis, 1.3), which unlike the usual ``2·cos(w)`` form stays
exact at low frequencies in float32. It is started afresh from the phase at each plan.
"""

from __future__ import annotations

import math

import numpy as np

from neuralsynth.sound import LANES
from neuralsynth.sound.compiled import inlined
from neuralsynth.sound.envelope import KILL, OFF, SUSTAIN, advance_envelope
from neuralsynth.sound.layout import (
    CHANNEL,
    CHANNEL_CENTS,
    CHANNEL_LEFT,
    CHANNEL_RIGHT,
    CHANNEL_VIBRATO_CENTS,
    CONTROL_STEP,
    DIRECTION,
    FRAME,
    GAIN_LEFT,
    GAIN_RIGHT,
    INAUDIBLE,
    LEVEL,
    LEVEL_BEFORE,
    N_TILES,
    NOTE,
    PITCH_HZ,
    PLAN_END,
    PLAN_START,
    POSITION,
    SAMPLE_RATE,
    SEED,
    SLOPE_LEFT,
    SLOPE_RIGHT,
    STAGE,
    SUSTAIN_END,
    SUSTAIN_START,
    TAIL_RATE,
    TOUCHED,
    TURN_SECONDS,
    VELOCITY_GAIN,
    VIBRATO_HZ,
)
from neuralsynth.sound.simd import (
    fma,
    largest,
    load,
    maximum,
    minimum,
    mul,
    round_even,
    splat,
    store,
    sub,
)

#: A plan is never shorter than this, so that a note that starts just before a control step still fades in.
SHORTEST_PLAN = 32
#: Past its attack a voice is planned every other step, later every fourth, the voices in turn.
LONG_STEP, ATTACK_SECONDS = 2 * CONTROL_STEP, 0.08
LONGEST_STEP, SETTLED_SECONDS = 4 * CONTROL_STEP, 0.5

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
def plan_voice(voice, now, voices, channels, settings, envelope):
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
