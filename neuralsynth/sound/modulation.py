"""What moves a voice besides its own spectrum: low-frequency oscillators, the second envelope and the routes.

Worked out once per plan of a voice, in double precision, from numbers that depend on absolute sample positions
alone: a cut into blocks changes nothing.
"""

from __future__ import annotations

import math

from neuralsynth.sound.compiled import compiled, inlined
from neuralsynth.sound.envelope import advance_envelope
from neuralsynth.sound.layout import (
    CHANNEL,
    CHANNEL_BASE,
    CHANNEL_ENVELOPE,
    CHANNEL_LFO_HZ,
    CHANNEL_SOURCES,
    CHANNEL_VIBRATO_CENTS,
    CHANNEL_VIBRATO_DELAY,
    D_ENVELOPE_2,
    D_LFO_DEPTH,
    D_LFO_RATE,
    D_MORPH,
    D_VIBRATO_DEPTH,
    D_VIBRATO_RATE,
    LEVEL,
    LEVEL_2,
    LEVEL_2_BEFORE,
    LFO_DELAY,
    LFO_FADE,
    LFO_PHASE,
    LFO_SHAPE,
    LFO_SHARED,
    LFO_TURNS,
    N_FIXED_DESTINATIONS,
    N_VOICE_SOURCES,
    NOTE,
    PRESSURE,
    RANDOM,
    RELEASE_VELOCITY,
    S_ENVELOPE,
    S_ENVELOPE_2,
    S_KEY,
    S_LFO_1,
    S_LFO_2,
    S_MORPH,
    S_ONE,
    S_PRESSURE,
    S_RANDOM,
    S_RELEASE_VELOCITY,
    S_VELOCITY,
    SAMPLE_RATE,
    STAGE_2,
    STARTED_AT,
    VELOCITY,
)

#: Shapes of an LFO, in the order of `preset_sections`.
SINE, TRIANGLE, SAW_UP, SAW_DOWN, SQUARE, SAMPLE_HOLD, SMOOTH_RANDOM = range(7)
#: A time of zero that is to be made longer starts from here.
LEAST_SECONDS = 0.001
#: The knobs' ends, beyond which no route takes the speed of vibrato, LFO 1 and LFO 2.
_MOST_HZ = (12.0, 40.0, 40.0)


@compiled
def drawn(index, seed):
    """A number from -1 to 1 that depends on `index` and `seed` alone: a hash in the manner of PCG and murmur."""
    mixed = ((index + 40503) * 2654435761 + seed * 69069 + 12345) % 4294967296
    mixed = ((mixed ^ (mixed >> 15)) * 739177) % 4294967296
    mixed = ((mixed ^ (mixed >> 13)) * 1103515245) % 4294967296
    return (mixed ^ (mixed >> 16)) / 2147483648.0 - 1.0


@compiled
def lfo_value(shape, phase, seed):
    """An oscillator at `phase` turns, -1 to 1. Sine and triangle start at 0 and rise."""
    turns = math.floor(phase)
    place = phase - turns
    if shape == SINE:
        return math.sin(2.0 * math.pi * place)
    if shape == TRIANGLE:
        return 1.0 - 4.0 * abs((place + 0.25) % 1.0 - 0.5)
    if shape == SAW_UP:
        return 2.0 * place - 1.0
    if shape == SAW_DOWN:
        return 1.0 - 2.0 * place
    if shape == SQUARE:
        return 1.0 if place < 0.5 else -1.0
    here = drawn(int(turns), seed)
    if shape == SAMPLE_HOLD:
        return here
    weight = 0.5 - 0.5 * math.cos(math.pi * place)
    return here + (drawn(int(turns) + 1, seed) - here) * weight


@compiled
def _faded_in(seconds, delay_seconds, fade_seconds):
    """How far an LFO has come in, 0 to 1, `seconds` after the note began."""
    if seconds <= delay_seconds:
        return 1.0 if delay_seconds == 0.0 and fade_seconds == 0.0 else 0.0
    return 1.0 if fade_seconds <= 0.0 else min(1.0, (seconds - delay_seconds) / fade_seconds)


@compiled
def _heard_lfo(voice, lfo, phase, now, numbers, states, channels, settings, lfos):
    """Value of an LFO at `phase` turns and sample `now`, delay and fade included."""
    seed = lfo
    if lfos[lfo, LFO_SHARED] == 0.0:  # what the note drew, so that it stays the same as long as the note lasts
        seed += 4 * int((numbers[voice, RANDOM] + 2.0) * 32768.0)
    value = lfo_value(int(lfos[lfo, LFO_SHAPE]), phase, seed)
    seconds = (now - numbers[voice, STARTED_AT]) / settings[SAMPLE_RATE]
    delay = channels[states[voice, CHANNEL], CHANNEL_VIBRATO_DELAY] if lfo == 0 else lfos[lfo, LFO_DELAY]
    return value * _faded_in(seconds, delay, lfos[lfo, LFO_FADE])


@inlined
def _advance_lfo(voice, lfo, rate_octaves, now, n_planned, numbers, states, channels, settings, lfos):
    """Value of an LFO in the middle of the plan; moves its phase to the plan's end."""
    hertz = channels[states[voice, CHANNEL], CHANNEL_LFO_HZ + lfo]
    if rate_octaves != 0.0:
        hertz = min(hertz * 2.0**rate_octaves, max(hertz, _MOST_HZ[lfo]))
    turns = hertz / settings[SAMPLE_RATE]
    numbers[voice, LFO_TURNS + lfo] = turns
    phase = numbers[voice, LFO_PHASE + lfo]
    numbers[voice, LFO_PHASE + lfo] = phase + turns * n_planned
    middle = phase + 0.5 * turns * n_planned
    return _heard_lfo(voice, lfo, middle, now + 0.5 * n_planned, numbers, states, channels, settings, lfos)


@inlined
def vibrato_cents(voice, now, n_planned, numbers, states, channels, settings, lfos, values, is_modulated):
    """The mod wheel's vibrato: its pitch deviation in the middle of the plan."""
    depth, octaves = channels[states[voice, CHANNEL], CHANNEL_VIBRATO_CENTS], 0.0
    if is_modulated:
        depth = max(depth + values[D_VIBRATO_DEPTH], 0.0)
        octaves = values[D_VIBRATO_RATE]
    numbers[voice, LFO_TURNS] = 0.0
    cents = 0.0
    if depth != 0.0:
        cents = depth * _advance_lfo(voice, 0, octaves, now, n_planned, numbers, states, channels, settings, lfos)
    return cents


@inlined
def _follow(first, last, modulation, channel, channels, sources, values):
    """Add routes `first` up to `last` to their destinations."""
    for route in range(first, last):
        amount = modulation.amounts[route]
        for side in range(2):
            source = modulation.routes[route, side]
            if source < N_VOICE_SOURCES:
                amount *= sources[source]
            else:
                amount *= channels[channel, CHANNEL_SOURCES + source - N_VOICE_SOURCES]
        values[modulation.routes[route, 2]] += amount


@inlined
def _read_sources(voice, numbers, sources):
    """What the voice itself says; LFOs and the second envelope come as they are worked out."""
    sources[S_ONE] = 1.0
    sources[S_LFO_1] = 0.0
    sources[S_LFO_2] = 0.0
    sources[S_ENVELOPE] = numbers[voice, LEVEL]
    sources[S_ENVELOPE_2] = numbers[voice, LEVEL_2]
    sources[S_VELOCITY] = numbers[voice, VELOCITY]
    sources[S_RELEASE_VELOCITY] = numbers[voice, RELEASE_VELOCITY]
    sources[S_KEY] = (numbers[voice, NOTE] - 60.0) / 12.0
    sources[S_RANDOM] = numbers[voice, RANDOM]
    sources[S_PRESSURE] = numbers[voice, PRESSURE]


@compiled
def longer(seconds, octaves):
    """A time, 2**octaves times as long."""
    if octaves == 0.0:
        return seconds
    return max(seconds, LEAST_SECONDS if octaves > 0.0 else 0.0) * 2.0 ** min(max(octaves, -16.0), 16.0)


@inlined
def move_envelope(first, base, stage, level, seconds, is_modulated, channel, channels, values, slower):
    """Advance an envelope, its times as the routes have left them: `(stage, level)`.

    `first` is its first destination, `base` the column of `channels` where its four numbers begin.
    """
    attack, decay = channels[channel, base], channels[channel, base + 1]
    sustain, release = channels[channel, base + 2], channels[channel, base + 3]
    if is_modulated:
        attack = longer(attack, values[first])
        decay = longer(decay, values[first + 1])
        sustain = min(max(sustain + values[first + 2], 0.0), 1.0)
        release = longer(release, values[first + 3])
    return advance_envelope(stage, level, seconds, attack, decay, sustain, release * slower)


@compiled
def _move_envelope_2(voice, seconds, numbers, states, channel, channels, values):
    """Advance the second envelope; returns its level at the plan's end."""
    numbers[voice, LEVEL_2_BEFORE] = numbers[voice, LEVEL_2]
    stage, level = move_envelope(
        D_ENVELOPE_2, CHANNEL_ENVELOPE + 4, states[voice, STAGE_2], numbers[voice, LEVEL_2], seconds,
        True, channel, channels, values, 1.0,
    )  # fmt: skip
    states[voice, STAGE_2], numbers[voice, LEVEL_2] = stage, level
    return level


@inlined
def follow_routes(voice, now, n_planned, voices, channels, settings, modulation, scratch):
    """Fill `scratch.values` with where every destination of a voice stands, and move its LFOs and second envelope."""
    numbers, states = voices.numbers, voices.states
    values, sources, ends, lfos = scratch.values, scratch.sources, modulation.ends, modulation.lfos
    channel = states[voice, CHANNEL]
    n_values = N_FIXED_DESTINATIONS + modulation.n_controls[0]
    for i in range(n_values):
        values[i] = channels[channel, CHANNEL_BASE + i]
    _read_sources(voice, numbers, sources)
    sources[S_MORPH] = min(max(values[D_MORPH], 0.0), 1.0)
    _follow(0, ends[0], modulation, channel, channels, sources, values)
    sources[S_MORPH] = min(max(values[D_MORPH], 0.0), 1.0)
    if ends[1] > ends[0]:  # what moves LFO 1 or the second envelope may follow the LFOs: as they stand now
        for lfo in range(1, 3):
            phase = numbers[voice, LFO_PHASE + lfo]
            value = _heard_lfo(voice, lfo, phase, now, numbers, states, channels, settings, lfos)
            sources[S_LFO_1 + lfo - 1] = value * min(max(values[D_LFO_DEPTH[lfo - 1]], 0.0), 1.0)
        _follow(ends[0], ends[1], modulation, channel, channels, sources, values)
    seconds = n_planned / settings[SAMPLE_RATE]
    sources[S_ENVELOPE_2] = _move_envelope_2(voice, seconds, numbers, states, channel, channels, values)
    for lfo in range(1, 3):
        octaves = values[D_LFO_RATE[lfo - 1]]
        value = _advance_lfo(voice, lfo, octaves, now, n_planned, numbers, states, channels, settings, lfos)
        sources[S_LFO_1 + lfo - 1] = value * min(max(values[D_LFO_DEPTH[lfo - 1]], 0.0), 1.0)
        _follow(ends[lfo], ends[lfo + 1], modulation, channel, channels, sources, values)
    sources[S_MORPH] = min(max(values[D_MORPH], 0.0), 1.0)
    _follow(ends[3], ends[4], modulation, channel, channels, sources, values)
    for control in range(modulation.n_controls[0]):  # from its own unit to shares of the way to the control's end
        way = values[N_FIXED_DESTINATIONS + control]
        if way != 0.0:
            values[N_FIXED_DESTINATIONS + control] = way / modulation.rooms[control, 1 if way > 0.0 else 0]


@inlined
def direction_weights(values, n_controls, weights):
    """How far each direction of timbre is gone; returns how many directions there are up to the last one gone."""
    weights[0] = min(max(values[D_MORPH], 0.0), 1.0)
    n_gone = 1 if weights[0] != 0.0 else 0
    for control in range(n_controls):
        place = min(max(values[N_FIXED_DESTINATIONS + control], -1.0), 1.0)
        weights[1 + 2 * control] = max(-place, 0.0)
        weights[2 + 2 * control] = max(place, 0.0)
        if place != 0.0:
            n_gone = 3 + 2 * control
    return n_gone
