"""Planning: where a voice will be at the end of its next stretch of straight ramps.

A plan decides a voice's place in its spectrum, envelope, pitch and gains for 64 to 256 samples ahead. It is made on the
grid of control steps, and at once when an event touches the voice.
"""

from __future__ import annotations

import math

import numpy as np

from neuralsynth.sound.body import plan_body
from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.envelope import ATTACK, HELD, KILL, OFF, SUSTAIN
from neuralsynth.sound.layout import (
    BODY_STEP,
    CHANNEL,
    CHANNEL_CENTS,
    CHANNEL_CHORUS,
    CHANNEL_ENVELOPE,
    CHANNEL_LEFT,
    CHANNEL_LEVEL_LEFT,
    CHANNEL_LEVEL_RIGHT,
    CHANNEL_MODULATED,
    CHANNEL_PAN,
    CHANNEL_RELEASE_FACTOR,
    CHANNEL_REVERB,
    CHANNEL_RIGHT,
    CONTROL_STEP,
    D_DYNAMICS,
    D_ENVELOPE,
    D_GAIN,
    D_PAN,
    D_TUNE,
    DETUNE_CENTS,
    DIRECTION,
    FRAME,
    GAIN_LEFT,
    GLIDE_CENTS,
    GLIDE_FROM,
    GLIDE_SAMPLES,
    INAUDIBLE,
    LAYER,
    LEVEL,
    LEVEL_2,
    LEVEL_2_BEFORE,
    LEVEL_BEFORE,
    LFO_PHASE,
    LFO_TURNS,
    N_LAYERS,
    N_TILES,
    NOTE,
    NUDGED,
    OUTPUTS_IN_USE,
    PITCH_HZ,
    PLAN_END,
    PLAN_START,
    POSITION,
    ROW,
    SAMPLE_RATE,
    SEED,
    STAGE,
    STARTED_AT,
    SUSTAIN_END,
    SUSTAIN_START,
    TAIL_RATE,
    TEXTURE_CENTS,
    TEXTURE_IN_USE,
    TEXTURE_SIZE_CENTS,
    TOUCHED,
    TURN_SECONDS,
    VELOCITY_GAIN,
    VOICE_PAN,
)
from neuralsynth.sound.modulation import direction_weights, follow_routes, move_envelope, vibrato_cents
from neuralsynth.sound.targets import is_noise_faint, own_cents, plan_noise, plan_partials
from neuralsynth.sound.texture import move_texture

#: A plan is never shorter than this, so that a note that starts just before a control step still fades in.
SHORTEST_PLAN = 32
#: Past its attack a voice is planned every other step, later every fourth, the voices in turn.
LONG_STEP, ATTACK_SECONDS = 2 * CONTROL_STEP, 0.08
LONGEST_STEP, SETTLED_SECONDS = 4 * CONTROL_STEP, 0.5
STEPS_PER_TURN = 24
#: Numbers that a controller moved are reached no sooner than in this many samples, once the attack is over.
SMOOTH_STEP, SMOOTH_AFTER_SECONDS = 2 * CONTROL_STEP, 0.02

#: Texture comes in over this much of a note: the attack is the model's own.
LIVELY_SECONDS = 0.25
_NATURAL_PER_CENT = math.log(2.0) / 1200.0
_NATURAL_PER_DB = math.log(10.0) / 20.0


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


@compiled
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
def _glide_cents(voice, now, numbers):
    """What is left of a glide at sample `now`: straight in cents, so that it takes its time whatever the interval."""
    if numbers[voice, GLIDE_CENTS] == 0.0:
        return 0.0
    left = 1.0 - (now - numbers[voice, GLIDE_FROM]) / numbers[voice, GLIDE_SAMPLES]
    if left <= 0.0:
        numbers[voice, GLIDE_CENTS] = 0.0
        return 0.0
    return numbers[voice, GLIDE_CENTS] * left


@inlined
def _pitch_hz(voice, moved_cents, now, numbers, channel_cents):
    """Fundamental of a voice at sample `now`: its key and all that moves it."""
    cents = 100.0 * numbers[voice, NOTE] - 6900.0 + channel_cents + numbers[voice, DETUNE_CENTS] + moved_cents
    cents += _glide_cents(voice, now, numbers)
    return 440.0 * math.exp(min(max(cents, -9600.0), 9600.0) * _NATURAL_PER_CENT)


@inlined
def _take_back(voice, now, numbers, states, settings):
    """An event cuts a plan short: undo the part of the move not yet made."""
    unplayed = states[voice, PLAN_END] - now
    share = unplayed / max(1, states[voice, PLAN_END] - states[voice, PLAN_START])
    back = states[voice, DIRECTION] * unplayed / settings[SAMPLE_RATE]
    numbers[voice, POSITION] = max(0.0, numbers[voice, POSITION] - back)
    numbers[voice, LEVEL] += (numbers[voice, LEVEL_BEFORE] - numbers[voice, LEVEL]) * share
    numbers[voice, LEVEL_2] += (numbers[voice, LEVEL_2_BEFORE] - numbers[voice, LEVEL_2]) * share
    for lfo in range(3):
        numbers[voice, LFO_PHASE + lfo] -= unplayed * numbers[voice, LFO_TURNS + lfo]


@compiled
def _end_of_plan(voice, now, stage, position, lfo_turns, is_gliding, touched):
    """The sample up to which a voice is planned: the steadier it is, the further.

    `lfo_turns`: turns per sample of its fastest LFO, which gets at least `STEPS_PER_TURN` plans a turn.
    """
    step, offset = CONTROL_STEP, 0
    is_steady = stage in (SUSTAIN, HELD) and position > SETTLED_SECONDS
    if is_steady and lfo_turns * (LONGEST_STEP * STEPS_PER_TURN) < 1.0:
        step, offset = LONGEST_STEP, CONTROL_STEP * (voice & 3)
    elif stage != KILL and position > ATTACK_SECONDS:
        step, offset = LONG_STEP, CONTROL_STEP * (voice & 1)
    if is_gliding:
        step, offset = CONTROL_STEP, 0
    end = ((now + offset) // step + 1) * step - offset
    is_smooth = touched == NUDGED and position > SMOOTH_AFTER_SECONDS and stage != KILL
    shortest = SMOOTH_STEP if is_smooth else SHORTEST_PLAN
    while end - now < shortest:
        end += CONTROL_STEP
    return end


@inlined
def _place(voice, position, numbers, states, frame_seconds, is_modulated, values):
    """Where a voice stands in its rows: `(row, frame, share of the next frame, share of the louder layer)`."""
    frame, share = _find_frame(position, states[voice, FRAME], frame_seconds)
    states[voice, FRAME] = frame
    last = states[voice, N_LAYERS] - 1
    layer = numbers[voice, LAYER]
    if is_modulated:
        layer = min(max(layer + last * values[D_DYNAMICS], 0.0), float(last))
    whole = min(int(layer), max(last - 1, 0))
    return states[voice, ROW] + whole, frame, share, layer - whole


@inlined
def _aim_gains(voice, gain, n_planned, n_outputs, numbers, channel, channels, pan):
    """Set the ramps of a voice's gain to its outputs."""
    left, right = channels[channel, CHANNEL_LEFT], channels[channel, CHANNEL_RIGHT]
    if pan != 0.0:
        angle = (min(max(channels[channel, CHANNEL_PAN] + pan, -1.0), 1.0) + 1.0) * (math.pi / 4.0)
        left = channels[channel, CHANNEL_LEVEL_LEFT] * math.sqrt(2.0) * math.cos(angle)
        right = channels[channel, CHANNEL_LEVEL_RIGHT] * math.sqrt(2.0) * math.sin(angle)
    for output in range(n_outputs):
        target = left
        if output == 1:
            target = right
        if output == 2:
            target = channels[channel, CHANNEL_REVERB]
        if output == 3:
            target = channels[channel, CHANNEL_CHORUS]
        column = GAIN_LEFT + 2 * output
        numbers[voice, column + 1] = (gain * target - numbers[voice, column]) / n_planned


@inlined
def _tail(voice, beyond, numbers):
    """What is left of a voice so many seconds past its last frame."""
    return math.exp(-numbers[voice, TAIL_RATE] * max(beyond, 0.0))


@inlined
def _move_level(voice, seconds, beyond, numbers, states, channels, is_modulated, values):
    """Advance the envelope; returns the voice's gain at the plan's end, its level changes by modulation included."""
    channel = states[voice, CHANNEL]
    numbers[voice, LEVEL_BEFORE] = numbers[voice, LEVEL]
    stage, level = move_envelope(
        D_ENVELOPE, CHANNEL_ENVELOPE, states[voice, STAGE], numbers[voice, LEVEL], seconds,
        is_modulated, channel, channels, values, channels[channel, CHANNEL_RELEASE_FACTOR],
    )  # fmt: skip
    fade = _tail(voice, beyond, numbers)
    if fade < 1e-5:
        stage, level = OFF, 0.0
    states[voice, STAGE], numbers[voice, LEVEL] = stage, level
    gain = level * numbers[voice, VELOCITY_GAIN] * fade
    if is_modulated and values[D_GAIN] != 0.0:
        gain *= math.exp(min(max(values[D_GAIN], -120.0), 24.0) * _NATURAL_PER_DB)
    return gain


@inlined
def _faint(voice, gain, beyond, numbers):
    """Amplitude in its rows below which nothing of a voice is heard during a plan that ends at `gain`."""
    before = numbers[voice, LEVEL_BEFORE] * numbers[voice, VELOCITY_GAIN] * _tail(voice, beyond, numbers)
    return INAUDIBLE / np.float32(min(max(gain, before, 1e-3), 1.0))


@inlined
def plan_voice(voice, now, voices, rows, channels, settings, modulation, texture, scratch):
    """Decide where a voice will be at the end of its next plan; False when the voice is over."""
    numbers, states = voices.numbers, voices.states
    if states[voice, STAGE] == OFF:
        return False
    if now < numbers[voice, STARTED_AT]:  # it was touched while it waits to begin
        states[voice, TOUCHED] = 0
        return states[voice, STAGE] == ATTACK
    channel = states[voice, CHANNEL]
    is_modulated = channels[channel, CHANNEL_MODULATED] != 0.0
    n_elapsed = now - states[voice, PLAN_START]
    n_outputs = int(settings[OUTPUTS_IN_USE])
    for output in range(n_outputs):
        column = GAIN_LEFT + 2 * output
        numbers[voice, column] += n_elapsed * numbers[voice, column + 1]
    if states[voice, PLAN_END] > now:
        _take_back(voice, now, numbers, states, settings)
    lfo_turns = max(numbers[voice, LFO_TURNS], numbers[voice, LFO_TURNS + 1], numbers[voice, LFO_TURNS + 2])
    end = _end_of_plan(
        voice, now, states[voice, STAGE], numbers[voice, POSITION], lfo_turns,
        numbers[voice, GLIDE_CENTS] != 0.0, states[voice, TOUCHED],
    )  # fmt: skip
    n_planned = end - now
    seconds = n_planned / settings[SAMPLE_RATE]
    values = scratch.values
    n_gone = 0
    if is_modulated:
        follow_routes(voice, now, n_planned, voices, channels, settings, modulation, scratch)
        n_gone = direction_weights(values, modulation.n_controls[0], scratch.weights)
    numbers[voice, POSITION] = _wander(voice, numbers, states, seconds, settings)
    position = numbers[voice, POSITION]
    place = _place(voice, position, numbers, states, rows.frame_seconds, is_modulated, values)
    liveliness = 0.0
    if texture.numbers[TEXTURE_IN_USE] != 0.0:
        move_texture(voice, end, voices, texture)
        liveliness = min(1.0, position / LIVELY_SECONDS)
    own = own_cents(voice, voices, rows, place, n_gone, scratch)
    cents = own + vibrato_cents(
        voice, now, n_planned, numbers, states, channels, settings, modulation.lfos, values, is_modulated
    )
    cents += values[D_TUNE] if is_modulated else 0.0
    cents += liveliness * texture.numbers[TEXTURE_SIZE_CENTS] * numbers[voice, TEXTURE_CENTS]
    numbers[voice, PITCH_HZ] = _pitch_hz(voice, cents, now + n_planned // 2, numbers, channels[channel, CHANNEL_CENTS])
    plan_body(voice, n_elapsed, own, numbers, rows)
    pace = (n_elapsed, n_planned, numbers[voice, PITCH_HZ] / settings[SAMPLE_RATE])
    beyond = position - rows.frame_seconds[-1]
    gain = _move_level(voice, seconds, beyond, numbers, states, channels, is_modulated, values)
    faint = _faint(voice, gain, beyond - seconds, numbers)
    n_tiles = plan_partials(voice, voices, rows, place, pace, n_gone, faint, settings, scratch, texture, liveliness)
    states[voice, N_TILES] = n_tiles
    plan_noise(voice, voices, rows, place, n_gone, is_modulated, settings, scratch)
    may_be_over = n_tiles == 0 and settings[SUSTAIN_END] <= 0.0 and position > ATTACK_SECONDS and not is_modulated
    if may_be_over and numbers[voice, BODY_STEP] == 0.0 and is_noise_faint(voice, voices, faint):
        states[voice, STAGE] = OFF  # a decaying sound that has died away does not come back
    pan = numbers[voice, VOICE_PAN] + (values[D_PAN] if is_modulated else 0.0)
    _aim_gains(voice, gain, n_planned, n_outputs, numbers, channel, channels, pan)
    states[voice, PLAN_START], states[voice, PLAN_END] = now, end
    states[voice, TOUCHED] = 0
    return True
