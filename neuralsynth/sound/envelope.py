"""The ADSR over a note: analogue-shaped segments, each starting from wherever the level stands.

Attack heads for 1.25 and is cut at 1, as a capacitor charging from a higher voltage; decay and release are
exponentials whose knob is the time to fall by 60 dB of the way. So a note released during its attack falls
from where it is, and a re-struck one rises from there: no jump, hence no click.
"""

from __future__ import annotations

import math

from neuralsynth.sound.compiled import compiled

#: Stages of a voice. `KILL` is the short linear fade of a stolen or silenced voice.
#: `HELD` keeps the level: a released voice that the pedal has caught.
OFF, ATTACK, DECAY, SUSTAIN, RELEASE, KILL, HELD = range(7)

KILL_SECONDS = 0.005
_ATTACK_TARGET = 1.25
_ATTACK_TIME_CONSTANTS = math.log(_ATTACK_TARGET / (_ATTACK_TARGET - 1.0))
_DECAY_TIME_CONSTANTS = math.log(1000.0)
#: A release is never shorter, whatever modulation asks for: it would click.
_LEAST_RELEASE = 0.003
#: A released voice below this level (-90 dB) is over.
SILENT_LEVEL = 10.0 ** (-90.0 / 20.0)


@compiled
def advance_envelope(stage, level, seconds, attack, decay, sustain, release):
    """Move the envelope on by `seconds`: `(stage, level)` now -> `(stage, level)` then.

    Attack, decay and release in seconds, sustain a level 0..1.

    Stages run into each other inside one call, so that zero-length ones take no time.
    """
    if stage == ATTACK:
        time_constant = attack / _ATTACK_TIME_CONSTANTS
        remaining = 0.0
        if attack > 0.0 and level < 1.0:
            remaining = time_constant * math.log((_ATTACK_TARGET - level) / (_ATTACK_TARGET - 1.0))
        if remaining > seconds:
            return ATTACK, _ATTACK_TARGET - (_ATTACK_TARGET - level) * math.exp(-seconds / time_constant)
        stage, level, seconds = DECAY, 1.0, seconds - remaining
    if stage == DECAY:
        if decay > 0.0:
            time_constant = decay / _DECAY_TIME_CONSTANTS
            level = sustain + (level - sustain) * math.exp(-seconds / time_constant)
        else:
            level = sustain
        return (SUSTAIN if abs(level - sustain) < SILENT_LEVEL else DECAY), level
    if stage == SUSTAIN:  # an event may have caught the level on its way here
        return SUSTAIN, sustain
    if stage == RELEASE:
        level *= math.exp(-seconds * _DECAY_TIME_CONSTANTS / max(release, _LEAST_RELEASE))
        return (RELEASE, level) if level > SILENT_LEVEL else (OFF, 0.0)
    if stage == KILL:
        level -= seconds / KILL_SECONDS
        return (KILL, level) if level > 0.0 else (OFF, 0.0)
    return stage, level
