"""Registered parameters and knobs by NRPN: which there are, how data entry reads, and which one is selected.

Selection and data entry after MIDI 1.0, increments after RP-018: the step is the table's, the value byte is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DATA_ENTRY, DATA_ENTRY_FINE, INCREMENT, DECREMENT = 6, 38, 96, 97
NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB = 98, 99, 100, 101
#: MSB and LSB of no parameter.
NULL = 127
#: RPN 6: how many member channels an MPE zone has.
MPE_CONFIGURATION = 6

#: What routes, NRPNs, MIDI learn and CC70-79 can move in every instrument; the index is the NRPN LSB under MSB 1.
DESTINATIONS = (
    "sound.tune_cents", "sound.gain_db", "sound.pan", "sound.noise_db", "sound.dynamics",
    "filter.cutoff_hz", "filter.resonance",
    "envelope.attack_seconds", "envelope.decay_seconds", "envelope.sustain_level", "envelope.release_seconds",
    "envelope_2.attack_seconds", "envelope_2.decay_seconds", "envelope_2.sustain_level", "envelope_2.release_seconds",
    "lfo_1.rate_hz", "lfo_1.depth", "lfo_2.rate_hz", "lfo_2.depth",
    "modulation.vibrato_rate_hz", "modulation.vibrato_depth_cents", "morph.position",
)  # fmt: skip
#: NRPN MSBs: a fixed destination, an axis of the model by its place, a latent number (from 1).
NRPN_KNOBS, NRPN_AXES, NRPN_LATENT = 1, 2, 3
#: How far CC96 and CC97 move a knob along its travel.
KNOB_STEP = 1.0 / 127.0

_UNTOUCHED_DEPTH_CENTS = 50.0  # where steps start while the preset's own depth holds; General MIDI 2's default


@dataclass(frozen=True)
class RegisteredParameter:
    """One registered parameter of a channel, kept there as `attribute`.

    `default` None is the preset's own, or none. `value` reads 14-bit data (None: out of range), `data` is its inverse
    and None where the LSB says nothing. `step`, in `unit`, is one increment; 0 where there is none.
    """

    number: int
    name: str
    attribute: str
    range: str
    unit: str
    default: float | None
    low: float
    high: float
    step: float
    value: Callable[[int], float | None]
    data: Callable[[Any], int] | None
    does: str
    differs: str = ""

    def stepped(self, value: float | None, steps: int) -> float:
        """`value` moved by whole steps and kept in range."""
        start = _UNTOUCHED_DEPTH_CENTS if value is None else value
        return min(max(start + steps * self.step, self.low), self.high)


def _bend_range(data: int) -> float:
    return min((data >> 7) + min(data & 127, 99) / 100.0, 96.0)


def _bend_range_data(semitones: float) -> int:
    whole, cents = divmod(round(100.0 * semitones), 100)
    return whole << 7 | cents


def _depth_data(cents: float | None) -> int:
    return min(round((_UNTOUCHED_DEPTH_CENTS if cents is None else cents) * 1.28), 16383)


#: Registered parameters by number (MSB · 128 + LSB).
REGISTERED: dict[int, RegisteredParameter] = {
    row.number: row
    for row in (
        RegisteredParameter(
            0, "bend range", "bend_range_semitones", "0-96 semitones, 0-99 cents", "semitones", None, 0.0, 96.0, 0.01,
            _bend_range, _bend_range_data, "how far the wheel bends; default from the preset",
            "FluidSynth drops the cents; a semitone of its range is 99.2 cents",
        ),
        RegisteredParameter(
            1, "fine tune", "fine_tune_cents", "±100 cents in 16384 steps", "cents", 0.0, -100.0, 100.0 * 8191 / 8192,
            100.0 / 8192, lambda data: (data - 8192) * 100.0 / 8192, lambda cents: round(cents * 81.92) + 8192,
            "tunes the channel", "FluidSynth takes the LSB that came before the MSB",
        ),
        RegisteredParameter(
            2, "coarse tune", "coarse_tune_semitones", "-64 to 63, MSB", "semitones", 0, -64, 63, 1,
            lambda data: (data >> 7) - 64, None, "tunes the channel",
        ),
        RegisteredParameter(
            3, "tuning program", "tuning_program", "0-127, MSB", "", 0, 0, 127, 1, lambda data: data >> 7, None,
            "the MIDI tuning that the channel uses",
        ),
        RegisteredParameter(
            4, "tuning bank", "tuning_bank", "0-127, MSB", "", 0, 0, 127, 1, lambda data: data >> 7, None,
            "the bank of that tuning",
        ),
        RegisteredParameter(
            5, "modulation depth range", "modulation_depth_cents", "0-127 semitones, LSB in 1/128", "cents", None,
            0.0, 16383 / 1.28, 1 / 1.28, lambda data: data / 1.28, _depth_data,
            "vibrato at full wheel; default from the preset", "FluidSynth ignores it",
        ),
        RegisteredParameter(
            MPE_CONFIGURATION, "MPE configuration", "mpe_members", "0-15, MSB", "channels", None, 0, 15, 0,
            lambda data: data >> 7 if data >> 7 <= 15 else None, None,
            "on channels 1 and 16: how many member channels the lower or upper zone has; 0 ends the zone",
            "FluidSynth ignores it",
        ),
    )
}  # fmt: skip


class Selection:
    """Which parameter the next data entry is for: the pair last selected, RPN or NRPN, whichever came last."""

    __slots__ = ("_numbers", "registered")

    def __init__(self) -> None:
        self._numbers = [NULL, NULL, NULL, NULL]  # in the order of the controllers 98 to 101
        self.registered = True

    def select(self, controller: int, value: int) -> None:
        """Obey one of the controllers 98 to 101."""
        self._numbers[controller - NRPN_LSB] = value
        self.registered = controller >= RPN_LSB

    def clear(self) -> None:
        """Select none."""
        self._numbers[:] = (NULL, NULL, NULL, NULL)
        self.registered = True

    @property
    def number(self) -> int:
        """MSB · 128 + LSB of what is selected, -1 if nothing is."""
        lsb, msb = self._numbers[2:] if self.registered else self._numbers[:2]
        return -1 if msb == lsb == NULL else msb << 7 | lsb


def knob_name(number: int, axes: tuple[str, ...], n_latents: int) -> str | None:
    """The destination behind an NRPN in an instrument with these axes and latent numbers, or None."""
    group, index = number >> 7, number & 127
    if group == NRPN_KNOBS and index < len(DESTINATIONS):
        return DESTINATIONS[index]
    if group == NRPN_AXES and index < len(axes):
        return f"axes.{axes[index]}"
    if group == NRPN_LATENT and 1 <= index <= n_latents:
        return f"latent.{index}"
    return None


def fraction(msb: int, lsb: int) -> float:
    """A 14-bit pair as 0..1 such that an MSB of 127 alone is 1.0 and an MSB alone is MSB/127."""
    return min((msb + lsb / 128.0) / 127.0, 1.0)


def with_fine(position: float, lsb: int) -> float:
    """`position` 0..1 with its LSB replaced."""
    return fraction(int(position * 127.0 + 1e-9), lsb)
