"""How the state of the voices lies in memory: arrays that `voices` allocates, `plan` aims and `kernel` plays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Samples between two moments at which control values may change direction, on a grid of absolute positions.
CONTROL_STEP = 64
#: Amplitude below which a group of partials is skipped (-100 dBFS, below the noise of 16 bits).
INAUDIBLE = np.float32(10.0 ** (-100.0 / 20.0))

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

    lanes: np.ndarray  # float32 [2·CONTROL_STEP·16]: a vector of partial sums per sample and side
    lane: np.ndarray  # float32 [16]: 0, 1, … 15
    out: np.ndarray  # float32 [2·(n_max + 16)]
