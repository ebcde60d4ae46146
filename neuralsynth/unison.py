"""Unison: how the voices that play one note together stand apart.

Detuning and the places between left and right are shared out evenly; when a voice begins and where in their turns its
vibrato and LFOs stand is drawn for each voice anew, so that no two strikes are alike and every render is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from neuralsynth.preset_sections import Voices
from neuralsynth.sound.layout import CONTROL_STEP
from neuralsynth.sound.modulation import drawn

_ONSETS, _TURNS, _GAINS, _CENTS = (
    1000,
    1001,
    1002,
    1003,
)  # seeds of what is drawn; a note's own number is drawn with a seed up to 127


class Player(NamedTuple):
    """One voice of a unison, beside the others."""

    detune_cents: float
    pan: float  # -1..1
    phase: float  # turns by which all partials are ahead
    delay_seconds: float  # after the one that begins first
    lfo_turns: float  # ahead of where vibrato and LFOs would start


def players(voices: Voices, serial: int) -> Iterator[Player]:
    """The voices of one note.

    Args:
        serial: running number of the first voice among all that were started; what is drawn depends on it alone.
    """
    if voices.unison == 1:
        yield Player(0.0, 0.0, 0.0, 0.0, 0.0)
        return
    numbers = range(serial, serial + voices.unison)
    delays = [voices.onset_spread_seconds * _share(number, _ONSETS) for number in numbers]
    for i, number in enumerate(numbers):
        side = 2.0 * i / (voices.unison - 1) - 1.0
        yield Player(
            detune_cents=0.5 * side * voices.detune_cents,
            pan=side * voices.spread,
            phase=_phase(i, voices.unison),
            delay_seconds=delays[i] - min(delays),
            lfo_turns=voices.lfo_spread * _share(number, _TURNS),
        )


class Hit(NamedTuple):
    """How one stroke on a drum differs from the next."""

    variant: int
    gain: float
    cents: float


#: No two successive strokes have the same variant: golden-ratio steps never come back at once.
_VARIANT_STEP = 0.6180339887498949
#: How far the level and the pitch of a stroke stray besides, at most.
HIT_DB, HIT_CENTS = 0.5, 6.0


def hit_of(serial: int, n_variants: int, amount: float) -> Hit:
    """How a stroke differs from others.

    Args:
        serial: running number of its first voice among all that were started; what is drawn depends on it alone.
        n_variants: with one, all strokes are alike.
        amount: how much they differ, 1.0 as usual.
    """
    if n_variants == 1:
        return Hit(0, 1.0, 0.0)
    stray_db = amount * HIT_DB * float(drawn(serial, _GAINS))
    cents = amount * HIT_CENTS * float(drawn(serial, _CENTS))
    return Hit(int(n_variants * (serial * _VARIANT_STEP % 1.0)), 10.0 ** (stray_db / 20.0), cents)


def _phase(i: int, count: int) -> float:
    """Turns by which voice `i` of `count` is ahead: Zadoff-Chu phases.

    Their phasors add up to the square root of `count`, so that a unison is as loud when it is struck, all its voices
    still at their starting phases, as later, when they have drifted apart.
    """
    return 0.5 * i * (i + count % 2) / count


def begins_at(now: int, delay_samples: float) -> int:
    """The absolute sample at which a voice struck at `now` begins: at once, or on the next control step."""
    return now if delay_samples <= 0.0 else math.ceil((now + delay_samples) / CONTROL_STEP) * CONTROL_STEP


def _share(number: int, seed: int) -> float:
    """A number drawn from 0 to 1."""
    return float(0.5 + 0.5 * drawn(number, seed))
