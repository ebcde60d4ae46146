"""FluidSynth as the referee of MIDI behaviour: where we differ on purpose, and random event lists to be judged by."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from neuralsynth.events import CONTROL_CHANGE, NOTE_OFF, NOTE_ON, PITCH_BEND, PROGRAM_CHANGE
from tests.fluid_library import SYSTEM_RESET, FluidSynth

BANK, DATA_MSB, VOLUME, PAN, EXPRESSION, DATA_LSB, SUSTAIN, SOSTENUTO = 0, 6, 7, 10, 11, 38, 64, 66
RPN_LSB, RPN_MSB, NRPN_LSB, NRPN_MSB = 100, 101, 98, 99
ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF = 120, 121, 123
_KEYS = (48, 60, 61, 67, 72)
_SWITCH_VALUES = (0, 20, 63, 64, 90, 127)


@dataclass(frozen=True)
class Difference:
    """Where the instrument is not like FluidSynth on purpose.

    `row` names a row of the MIDI chart whose column "unlike FluidSynth" says `chart`; `reason` is why; `model` is how
    the comparison allows for it.
    """

    row: str
    chart: str
    reason: str
    model: str


DIFFERENCES = (
    Difference(
        "CC66",
        "FluidSynth lets its notes go even where the sustain pedal is down",
        "a damper that one pedal lets down is still held up by the other",
        "FluidSynth gets the notes it let go of struck once more, under its sustain pedal",
    ),
    Difference(
        "CC64",
        "FluidSynth knows up and down alone, and no re-pedal catch",
        "a pianist's pedal has more than two places (`voices.half_pedal`, `voices.pedal_catch`)",
        "the preset of the comparison switches both off",
    ),
    Difference(
        "CC10",
        "FluidSynth's 1 and 127 leave the far side at -35 dB",
        "General MIDI 2 (RP-036) wants 1 and 127 hard left and hard right",
        "at 127 the far side must be silent here; at all other places the laws are compared",
    ),
    Difference(
        "CC6",
        "FluidSynth keeps the LSB that came before",
        "a new MSB puts the LSB to 0 (MIDI 1.0, controller numbers 0 to 31)",
        "FluidSynth gets LSB 0 before each MSB",
    ),
    Difference(
        "CC38",
        "FluidSynth waits for the next MSB",
        "MIDI 1.0 sends MSB, then LSB, and either may come alone",
        "FluidSynth gets the MSB again after each LSB",
    ),
    Difference(
        "RPN 0",
        "FluidSynth drops the cents",
        "MIDI 1.0: the LSB of RPN 0 is cents; FluidSynth up to 2.3 reads semitones alone (its issue 1357)",
        "FluidSynth gets the next larger whole range and a wheel that turns less by as much",
    ),
    Difference(
        "RPN 0",
        "a semitone of its range is 99.2 cents",
        "RPN 0 counts whole semitones; FluidSynth from 2.3 on scales them by 127/128 (its pull request 1152)",
        "the wheel that FluidSynth gets turns more by as much, where a probe of its pitch shows the shortfall",
    ),
    Difference(
        "CC121",
        "new notes also lose fine and coarse tune",
        "RP-015 leaves registered parameters as they are; FluidSynth clears what it keeps RPN 1 and 2 in",
        "FluidSynth gets both parameters again",
    ),
)


class Referee:
    """FluidSynth with `DIFFERENCES` allowed for: what it holds and how it sounds is what the instrument should do."""

    def __init__(self, font: Path, semitone_cents: float = 100.0) -> None:
        """A fresh synthesizer; `semitone_cents` is what a semitone of bend range is worth in it (`bend_cents`)."""
        self.fluid = FluidSynth(font)
        self._stretch = 100.0 / semitone_cents
        self._power_on()

    def obey(self, message: bytes) -> Counter[tuple[int, int]]:
        """Pass a message on; returns the notes held after it, by channel and key."""
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if message[0] == SYSTEM_RESET:
            self.fluid.send(message)
            self._power_on()
        elif kind == PITCH_BEND:
            self._wheel[channel] = message[1] + 128 * message[2] - 8192
            self._send_bend(channel)
        elif kind == CONTROL_CHANGE:
            self._control(message, channel)
        else:
            self.fluid.send(message)
        self._follow_keys(message)
        return self.fluid.held()

    def close(self) -> None:
        """Free the synthesizer."""
        self.fluid.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _power_on(self) -> None:
        self._down: set[tuple[int, int]] = set()
        self._sustained = [False] * 16
        self._parameter, self._msb = [[127, 127] for _ in range(16)], [0] * 16
        self._wheel, self._range = [0] * 16, [(2, 0)] * 16
        self._tunes: dict[tuple[int, int], tuple[int, int]] = {}  # channel and RPN 1 or 2 -> MSB, LSB

    def _control(self, message: bytes, channel: int) -> None:
        number, value = message[1], message[2]
        if number == SOSTENUTO and value < 64 and self._sustained[channel]:
            self._hand_over(message, channel)
            return
        if number in (DATA_MSB, DATA_LSB):
            self._enter_data(number, value, channel)
            return
        self.fluid.send(message)
        if number in (RPN_MSB, RPN_LSB):
            self._parameter[channel][number - RPN_LSB] = value
        elif number in (NRPN_MSB, NRPN_LSB):
            self._parameter[channel] = [127, 127]
        elif number == SUSTAIN:
            self._sustained[channel] = value >= 64
        elif number == RESET_CONTROLLERS:
            self._sustained[channel], self._wheel[channel] = False, 0
            self._tune_again(channel)

    def _hand_over(self, message: bytes, channel: int) -> None:
        """CC66 up while sustain is down: the notes that FluidSynth lets go of stay with the sustain pedal."""
        before = self.fluid.held()
        self.fluid.send(message)
        for (number, key), count in (before - self.fluid.held()).items():
            for _ in range(count):  # each strike leaves the one before to the pedal
                self.fluid.send(bytes((NOTE_ON | number, key, 64)))
            if (number, key) not in self._down:
                self.fluid.send(bytes((NOTE_OFF | number, key, 0)))

    def _follow_keys(self, message: bytes) -> None:
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if kind == NOTE_ON and message[2] > 0:
            self._down.add((channel, message[1]))
        elif kind in (NOTE_ON, NOTE_OFF):
            self._down.discard((channel, message[1]))
        elif kind == CONTROL_CHANGE and message[1] in (ALL_SOUND_OFF, ALL_NOTES_OFF):
            self._down = {(number, key) for number, key in self._down if number != channel}

    def _enter_data(self, number: int, value: int, channel: int) -> None:
        """Data entry as FluidSynth understands it: LSB first, MSB last, bend ranges whole."""
        self.fluid.set_bend_range(channel, self._range[channel][0])
        if number == DATA_MSB:
            self._msb[channel] = value
        lsb = value if number == DATA_LSB else 0
        self._send(channel, (DATA_LSB, lsb), (DATA_MSB, self._msb[channel]))
        cents, selected = self._range[channel][1], self._parameter[channel]
        if selected == [0, 0]:
            cents = lsb
        elif selected in ([1, 0], [2, 0]):
            self._tunes[channel, selected[0]] = (self._msb[channel], lsb)
        self._range[channel] = (self.fluid.bend_range(channel), cents)
        self._send_bend(channel)

    def _tune_again(self, channel: int) -> None:
        """CC121: fine and coarse tune stay, and no parameter is selected."""
        for (number, lsb), (data_msb, data_lsb) in self._tunes.items():
            if number == channel:
                self._send(channel, (RPN_MSB, 0), (RPN_LSB, lsb), (DATA_LSB, data_lsb), (DATA_MSB, data_msb))
        self._parameter[channel] = [127, 127]
        self._send(channel, (RPN_MSB, 127), (RPN_LSB, 127))

    def _send(self, channel: int, *pairs: tuple[int, int]) -> None:
        for number, value in pairs:
            self.fluid.send(bytes((CONTROL_CHANGE | channel, number, value)))

    def _send_bend(self, channel: int) -> None:
        semitones, cents = self._range[channel]
        wide = semitones + 2
        self.fluid.set_bend_range(channel, wide)
        wheel = 8192 + round(self._wheel[channel] * (semitones + cents / 100.0) * self._stretch / wide)
        self.fluid.send(bytes((PITCH_BEND | channel, wheel & 127, wheel >> 7)))


def random_events(seed: int, n_events: int = 60) -> list[bytes]:
    """About `n_events` messages on three channels and five keys: many strikes and pedals, all else now and then.

    An RPN 0 comes as its four messages in a row.
    """
    rng = random.Random(seed)
    weights = [weight for weight, _ in _KINDS]
    events: list[bytes] = []
    while len(events) < n_events:
        make = rng.choices(_KINDS, weights)[0][1]
        events += [bytes(message) for message in make(rng, rng.randrange(3))]
    return events


def _control(*numbers: int, values=range(128)):
    return lambda rng, channel: [(CONTROL_CHANGE | channel, rng.choice(numbers), rng.choice(values))]


def _bend_range(rng: random.Random, channel: int) -> list[tuple[int, ...]]:
    pairs = ((RPN_MSB, 0), (RPN_LSB, 0), (DATA_MSB, rng.randrange(25)), (DATA_LSB, rng.randrange(100)))
    return [(CONTROL_CHANGE | channel, number, value) for number, value in pairs]


#: Kinds of message with their weights: `(random numbers, channel) -> messages`.
_KINDS = (
    (30, lambda rng, channel: [(NOTE_ON | channel, rng.choice(_KEYS), rng.randint(1, 127))]),
    (5, lambda rng, channel: [(NOTE_ON | channel, rng.choice(_KEYS), 0)]),
    (16, lambda rng, channel: [(NOTE_OFF | channel, rng.choice(_KEYS), rng.randrange(128))]),
    (10, _control(SUSTAIN, values=_SWITCH_VALUES)),
    (10, _control(SOSTENUTO, values=_SWITCH_VALUES)),
    (6, _control(VOLUME, PAN, EXPRESSION)),
    (2, _control(ALL_SOUND_OFF, values=(0,))),
    (2, _control(RESET_CONTROLLERS, values=(0,))),
    (4, _control(ALL_NOTES_OFF, values=(0,))),
    (4, lambda rng, channel: [(PITCH_BEND | channel, rng.randrange(128), rng.randrange(128))]),
    (1, _bend_range),
    (3, lambda rng, channel: [(PROGRAM_CHANGE | channel, rng.randrange(2))]),
    (1, _control(BANK, values=(0, 1))),
    (0.3, lambda rng, channel: [(SYSTEM_RESET,)]),
)
