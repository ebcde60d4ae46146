"""How the state of the voices lies in memory: arrays that `voices` allocates, `plan` aims and `kernel` plays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Samples between two moments at which control values may change direction, on a grid of absolute positions.
CONTROL_STEP = 64
#: Amplitude below which a group of partials is skipped (-100 dBFS, below the noise of 16 bits).
INAUDIBLE = np.float32(10.0 ** (-100.0 / 20.0))
#: What one step of the table of noise stands for: with 16 bits it has 8 standard deviations of room.
NOISE_UNIT = np.float32(1.0 / 4096.0)
#: Where a voice's sound goes: left, right, and one mono signal each for the reverb and the chorus send.
N_OUTPUTS = 4

# Columns of `VoiceArrays.numbers`. Gains and slopes alternate, one pair per output.
GAIN_LEFT, SLOPE_LEFT, GAIN_RIGHT, SLOPE_RIGHT, GAIN_REVERB, SLOPE_REVERB, GAIN_CHORUS, SLOPE_CHORUS = range(8)
POSITION, NOTE, LEVEL, LEVEL_BEFORE, LEVEL_2, LEVEL_2_BEFORE, VELOCITY_GAIN, TURN_SECONDS = range(8, 16)
TAIL_RATE, PITCH_HZ, LAYER, VELOCITY, RELEASE_VELOCITY, PRESSURE, RANDOM, STARTED_AT = range(16, 24)
GLIDE_CENTS, GLIDE_FROM, GLIDE_SAMPLES, DETUNE_CENTS, VOICE_PAN = range(24, 29)
LFO_PHASE = 29  # three: vibrato, LFO 1, LFO 2
LFO_TURNS = 32  # three: turns per sample during the plan
TEXTURE_LEVEL, TEXTURE_CENTS = 35, 36  # where these stand at PLAN_END, in standard deviations
BODY_PER_HZ = 37  # samples of the body's waveform per sample and hertz of pitch; 0: no body (`sound.body`)
BODY_STEP, BODY_AT, BODY_SHARE = 38, 39, 40  # its speed, where it is at PLAN_START, and the share of the louder row
N_NUMBERS = 41
# Columns of `VoiceArrays.states`.
STAGE, STAGE_2, CHANNEL, PLAN_START, PLAN_END, FRAME, SEED, N_TILES, DIRECTION, TOUCHED, ROW, N_LAYERS = range(12)
TEXTURED_TO, DRAW = 12, 13  # the sample up to which the texture is known, and the place of the next draw
BODY_ROW = 14
N_STATES = 15
# Values of TOUCHED: an event changed the voice itself, or only numbers that must not jump.
STRUCK, NUDGED = 1, 2

# What modulation can move ("destinations"), in the order of `preset_sections`; the rest are timbre controls.
D_TUNE, D_GAIN, D_PAN, D_NOISE, D_DYNAMICS, D_CUTOFF, D_RESONANCE = range(7)
D_ENVELOPE, D_ENVELOPE_2 = 7, 11  # four each: attack, decay, sustain, release
D_LFO_RATE, D_LFO_DEPTH = (15, 17), (16, 18)
D_VIBRATO_RATE, D_VIBRATO_DEPTH, D_MORPH = 19, 20, 21
N_FIXED_DESTINATIONS = 22
MAX_CONTROLS = 16  # timbre controls: axes, latent numbers
N_DESTINATIONS = N_FIXED_DESTINATIONS + MAX_CONTROLS
MAX_DIRECTIONS = 1 + 2 * MAX_CONTROLS  # the morph, then the low and the high end of each control

# What modulation can follow ("sources"): those of a voice, then those of its channel.
S_ONE, S_LFO_1, S_LFO_2, S_ENVELOPE, S_ENVELOPE_2, S_VELOCITY, S_RELEASE_VELOCITY, S_KEY, S_RANDOM, S_PRESSURE = range(
    10
)
S_MORPH = 10  # where the morph stands, routes included
N_VOICE_SOURCES = 11
MAX_CHANNEL_SOURCES = 80  # two for each of 32 routes, and those of the filter and the morph

# Columns of `channels`, what each MIDI channel says to its voices.
CHANNEL_LEFT, CHANNEL_RIGHT, CHANNEL_REVERB, CHANNEL_CHORUS, CHANNEL_CENTS, CHANNEL_VIBRATO_CENTS = range(6)
CHANNEL_PAN, CHANNEL_LEVEL_LEFT, CHANNEL_LEVEL_RIGHT, CHANNEL_RELEASE_FACTOR, CHANNEL_MODULATED = range(6, 11)
CHANNEL_LFO_HZ = 11  # three
CHANNEL_ENVELOPE = 14  # four of the envelope, four of the second one
CHANNEL_VIBRATO_DELAY = 22
CHANNEL_BASE = 23  # where each destination stands before the routes
CHANNEL_SOURCES = CHANNEL_BASE + N_DESTINATIONS
N_CHANNEL_NUMBERS = CHANNEL_SOURCES + MAX_CHANNEL_SOURCES

# `settings`: what is the same for all voices.
SAMPLE_RATE, SUSTAIN_START, SUSTAIN_END, FILTER_KIND, FILTER_POLES, OUTPUTS_IN_USE = range(6)
#: Length of the table of normal draws (a prime), and how far the next draw lies.
N_DRAWS, DRAW_STEP = 16381, 4097
# `TextureArrays.numbers`.
TEXTURE_IN_USE, TEXTURE_LEVEL_OCTAVES, TEXTURE_SIZE_CENTS, TEXTURE_FORGETTING = range(4)
# Columns of `Modulation.lfos`.
LFO_SHAPE, LFO_DELAY, LFO_FADE, LFO_SHARED = range(4)


class VoiceArrays(NamedTuple):
    """State of all voices: `V` voices, `P` partials and `B` bands padded to 16."""

    numbers: np.ndarray  # float64 [V, N_NUMBERS]
    states: np.ndarray  # int64 [V, N_STATES]
    directions: np.ndarray  # int64 [V, MAX_DIRECTIONS]: first row of each direction of timbre, -1 where there is none
    phase: np.ndarray  # float32 [V·P], cycles at PLAN_START
    turn: np.ndarray  # float32 [V·P], cycles per sample
    sine: np.ndarray  # float32 [V·P], x of the recurrence
    difference: np.ndarray  # float32 [V·P], d of the recurrence
    factor: np.ndarray  # float32 [V·P], -k
    amplitude: np.ndarray  # float32 [V·P]
    slope: np.ndarray  # float32 [V·P], amplitude change per sample
    noise_target: np.ndarray  # float32 [V·B], at PLAN_END, gains not applied
    texture: np.ndarray  # float32 [V·P], where each partial's texture stands at PLAN_END, in standard deviations


class RowArrays(NamedTuple):
    """Spectra by row, `T` frames each; rows of one note's velocity layers lie one after the other.

    A row is either a spectrum, or a direction: by how many powers of two each amplitude differs from the spectrum
    of the same layer, and by how many cents and how much ratio.
    """

    partials: np.ndarray  # float32 [R·T·P]
    ratios: np.ndarray  # float32 [R·P]
    cents: np.ndarray  # float32 [R, T]
    noise: np.ndarray  # float32 [R·T·B]
    frame_seconds: np.ndarray  # float64 [T]
    band_hz: np.ndarray  # float32 [B], middle of each noise band
    bodies: np.ndarray  # float32 [R·S], waveforms of struck drums (`strokes`), a zero before each; S is 1 without


class Modulation(NamedTuple):
    """Routes from sources to destinations, and the low-frequency oscillators."""

    routes: np.ndarray  # int64 [R, 3]: source, second source that scales it, destination
    amounts: np.ndarray  # float64 [R]
    ends: np.ndarray  # int64 [5]: where the routes end to the morph, to LFO 1, to LFO 2, to the rest, from the morph
    lfos: np.ndarray  # float64 [3, 4]: vibrato, LFO 1, LFO 2
    n_controls: np.ndarray  # int64 [1]
    rooms: np.ndarray  # float64 [controls, 2]: how far each timbre control may go below and above where it stands


class TextureArrays(NamedTuple):
    """How held notes live (`spec.Texture`), in the units of voices."""

    octaves: np.ndarray  # float32 [P], deviation of each partial's amplitude in powers of two
    numbers: np.ndarray  # float64 [4]: in use (0 or 1), level in powers of two, cents, forgetting per sample
    draws: np.ndarray  # float32 [N_DRAWS + P], standard normal


class NoiseArrays(NamedTuple):
    """State of the shared noise bands, one row of gains per output."""

    table: np.ndarray  # int16, loops of `band_noise_table`
    offsets: np.ndarray  # int64 [n_tiles + 1]
    gain: np.ndarray  # float32 [N_OUTPUTS·B], of a step of the table
    slope: np.ndarray  # float32 [N_OUTPUTS·B]
    sounding: np.ndarray  # int64 [1]: 0 or 1


class Scratch(NamedTuple):
    """Room for one control step and one plan."""

    lanes: np.ndarray  # float32 [2·CONTROL_STEP·16]: a vector of partial sums per sample and side
    lane: np.ndarray  # float32 [16]: 0, 1, … 15
    out: np.ndarray  # float32 [N_OUTPUTS·(n_max + 16)]
    values: np.ndarray  # float64 [N_DESTINATIONS]
    sources: np.ndarray  # float64 [N_VOICE_SOURCES]
    weights: np.ndarray  # float64 [MAX_DIRECTIONS]
    active: np.ndarray  # int64 [V]: the voices that sound
