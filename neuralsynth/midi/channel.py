"""`Channel`: the state of one MIDI channel. What it starts from and what CC121 resets, the chart says.

The state alone is kept here: starting, holding and ending notes (CC120, CC123-127, pedals going up) is the engine's.
Nothing raises, whatever comes; data bytes are taken modulo 128.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from neuralsynth.midi.chart import CONTROLLERS, MESSAGES, default_of
from neuralsynth.midi.parameters import (
    DATA_ENTRY,
    DATA_ENTRY_FINE,
    DECREMENT,
    INCREMENT,
    KNOB_STEP,
    NRPN_LSB,
    REGISTERED,
    RPN_MSB,
    Selection,
    fraction,
    knob_name,
    with_fine,
)

BANK, PORTAMENTO_TIME, VOLUME, BALANCE, PAN, EXPRESSION, BANK_FINE = 0, 5, 7, 8, 10, 11, 32
SUSTAIN, PORTAMENTO, SOSTENUTO, SOFT, LEGATO, HOLD_2 = 64, 65, 66, 67, 68, 69
REVERB, CHORUS, RESET, MONO_ON, POLY_ON = 91, 93, 121, 126, 127
FIRST_MODE = 120  # from here on controllers are channel mode messages
ON = 64  # a switch is on from this value

_POWER_ON = [default_of(number) for number in range(128)]
_RESETS = [(row.number, row.default) for row in CONTROLLERS.values() if row.resets]
#: Controllers whose MSB puts their LSB to 0. A bank's two halves come in either order, so they stand alone.
_CLEARS_FINE = frozenset(n for n in range(1, 32) if n + 32 in CONTROLLERS)
_NO_KEY_PRESSURE = [MESSAGES["key pressure"].default or 0] * 128
#: Attributes that registered parameters set, but for the bend range, which a preset has of its own.
_REGISTERED_DEFAULTS = [(p.attribute, p.default) for p in REGISTERED.values() if p.attribute != "bend_range_semitones"]
_NOTHING: Mapping[str, float] = MappingProxyType({})


def bend_position(data: int) -> float:
    """Where the pitch wheel stands: 14-bit data to -1..1, exact at both ends and at the centre."""
    return (data - 8192) / (8192.0 if data < 8192 else 8191.0)


class Channel:
    """Controllers, bend, pressures, program and parameters of one channel.

    `None` in `modulation_depth_cents` and `mono` means that the preset's own holds; `mpe_members` is what RPN 6 asked
    for last, until whoever obeys it puts it back to None. `knobs` are the places 0..1 along their travel of the
    destinations set through NRPN; `ignored` counts data entries that had no parameter to go to.
    """

    __slots__ = (
        "_own_bend_range",
        "_selection",
        "axes",
        "bank",
        "bend",
        "coarse_tune_semitones",
        "default_bend_range_semitones",
        "fine_tune_cents",
        "ignored",
        "key_pressure",
        "knobs",
        "modulation_depth_cents",
        "mono",
        "mpe_members",
        "n_latents",
        "places",
        "pressure",
        "program",
        "tuning_bank",
        "tuning_program",
        "values",
    )

    values: list[int]
    key_pressure: list[int]
    bend: float
    pressure: int
    program: int
    bank: tuple[int, int]
    fine_tune_cents: float
    coarse_tune_semitones: int
    modulation_depth_cents: float | None
    tuning_program: int
    tuning_bank: int
    knobs: dict[str, float]
    mono: bool | None
    mpe_members: int | None
    ignored: int

    def __init__(self, bend_range_semitones: float = 2.0) -> None:
        """Power-on state, with the bend range of the preset that will play."""
        self.values, self.key_pressure, self.knobs, self._selection = [0] * 128, [0] * 128, {}, Selection()
        self.use_preset(bend_range_semitones)
        self.power_on()

    def use_preset(
        self,
        bend_range_semitones: float,
        axes: tuple[str, ...] = (),
        n_latents: int = 0,
        places: Mapping[str, float] = _NOTHING,
    ) -> None:
        """Know the preset that plays: its bend range, the names of its axes, and where its own knobs stand (0..1)."""
        self.default_bend_range_semitones = bend_range_semitones
        self.axes, self.n_latents, self.places = axes, n_latents, places

    def power_on(self) -> None:
        """Everything as in a fresh object; the preset's own values stay known."""
        self.values[:] = _POWER_ON
        self._clear_messages()
        self.program = MESSAGES["program change"].default or 0
        self.bank = (_POWER_ON[BANK], _POWER_ON[BANK_FINE])
        self._own_bend_range: float | None = None
        for attribute, default in _REGISTERED_DEFAULTS:
            setattr(self, attribute, default)
        self.knobs.clear()
        self._selection.clear()
        self.mono = None
        self.ignored = 0

    def control(self, number: int, value: int) -> None:
        """Obey control change `number` with `value`, both 0..127."""
        number, value = number & 127, value & 127
        if number >= FIRST_MODE:
            self._mode(number)
            return
        self.values[number] = value
        if number in _CLEARS_FINE:
            self.values[number + 32] = 0
        if NRPN_LSB <= number <= RPN_MSB:
            self._selection.select(number, value)
        elif number in (DATA_ENTRY, DATA_ENTRY_FINE, INCREMENT, DECREMENT):
            self._enter(number, value)

    def pitch_bend(self, data: int) -> None:
        """Obey a pitch bend of 14-bit `data`."""
        self.bend = bend_position(data & 16383)

    def program_change(self, program: int) -> None:
        """Obey a program change; it takes up the bank selected before."""
        self.program = program & 127
        self.bank = (self.values[BANK], self.values[BANK_FINE])

    @property
    def bend_range_semitones(self) -> float:
        """How far the wheel bends: what RPN 0 set, else the preset's own."""
        own = self._own_bend_range
        return self.default_bend_range_semitones if own is None else own

    @bend_range_semitones.setter
    def bend_range_semitones(self, semitones: float | None) -> None:
        self._own_bend_range = semitones

    def high_resolution(self, number: int) -> float:
        """Controller `number` as 0..1; for 0 to 31 with its LSB, if that is on the chart."""
        if number in _CLEARS_FINE:
            return fraction(self.values[number], self.values[number + 32])
        return self.values[number] / 127.0

    def deflection(self, number: int) -> float:
        """A controller that rests at 64 as -1..1."""
        value = self.values[number]
        return (value - 64) / (64.0 if value < 64 else 63.0)

    @property
    def selected_rpn(self) -> int:
        """MSB · 128 + LSB of the registered parameter that data entry is for, -1 if it is for none."""
        return self._selection.number if self._selection.registered else -1

    @property
    def sustained(self) -> bool:
        """Whether a sustain pedal is down."""
        return self.pedal_depth >= ON

    @property
    def pedal_depth(self) -> int:
        """How far the deeper of the two sustain pedals is down, 0..127."""
        return max(self.values[SUSTAIN], self.values[HOLD_2])

    @property
    def sostenuto(self) -> bool:
        """Whether the sostenuto pedal is down."""
        return self.values[SOSTENUTO] >= ON

    @property
    def soft(self) -> bool:
        """Whether the soft pedal is down."""
        return self.values[SOFT] >= ON

    @property
    def legato(self) -> bool:
        """Whether the legato pedal is down."""
        return self.values[LEGATO] >= ON

    @property
    def portamento(self) -> bool:
        """Whether portamento is switched on."""
        return self.values[PORTAMENTO] >= ON

    @property
    def portamento_position(self) -> float:
        """Portamento time 0..1; 0 is the preset's own."""
        return self.high_resolution(PORTAMENTO_TIME)

    def level(self) -> float:
        """Linear gain of volume and expression, each after General MIDI's 40·log10 law."""
        return (self.high_resolution(VOLUME) * self.high_resolution(EXPRESSION)) ** 2

    def pan(self) -> float:
        """-1 hard left, 0 centre, 1 hard right; CC10 0 and 1 are both hard left (General MIDI 2)."""
        value = self.values[PAN] + self.values[PAN + 32] / 128.0
        return min(max((value - 64.0) / 63.0, -1.0), 1.0)

    def balance(self) -> tuple[float, float]:
        """Gains of the left and right side: the side turned away from falls after the volume's law."""
        offset = min((self.values[BALANCE] + self.values[BALANCE + 32] / 128.0 - 64.0) / 63.0, 1.0)
        return min(1.0 - offset, 1.0) ** 2, max(min(1.0 + offset, 1.0), 0.0) ** 2

    def reverb_send(self) -> float:
        """Level 0..1 to the reverb."""
        return self.values[REVERB] / 127.0

    def chorus_send(self) -> float:
        """Level 0..1 to the chorus."""
        return self.values[CHORUS] / 127.0

    def _clear_messages(self) -> None:
        """Bend and pressures to the chart's defaults."""
        self.bend = bend_position(MESSAGES["bend"].default or 0)
        self.pressure = MESSAGES["channel pressure"].default or 0
        self.key_pressure[:] = _NO_KEY_PRESSURE

    def _mode(self, number: int) -> None:
        """The part of a channel mode message that is state."""
        if number == RESET:
            for row, default in _RESETS:
                self.values[row] = default
            self._clear_messages()
            self._selection.clear()
        elif number in (MONO_ON, POLY_ON):
            self.mono = number == MONO_ON

    def _enter(self, controller: int, value: int) -> None:
        """Data entry, increment or decrement of the selected parameter."""
        number = self._selection.number
        entered = self._enter_registered if self._selection.registered else self._enter_knob
        if not entered(number, controller, value):
            self.ignored += 1

    def _enter_registered(self, number: int, controller: int, value: int) -> bool:
        row = REGISTERED.get(number)
        if row is None:
            return False
        new: float | None
        if controller == DATA_ENTRY:
            new = row.value(value << 7)
        elif controller == DATA_ENTRY_FINE:
            if row.data is None:
                return True
            new = row.value(row.data(getattr(self, row.attribute)) & ~127 | value)
        else:
            steps = 1 if controller == INCREMENT else -1
            new = row.stepped(getattr(self, row.attribute), steps) if row.step else None
        if new is not None:
            setattr(self, row.attribute, new)
        return new is not None

    def _enter_knob(self, number: int, controller: int, value: int) -> bool:
        name = knob_name(number, self.axes, self.n_latents)
        if name is None:
            return False
        place = self.knobs.get(name, self.places.get(name, 0.5))
        if controller == DATA_ENTRY:
            place = fraction(value, 0)
        elif controller == DATA_ENTRY_FINE:
            place = with_fine(place, value)
        else:
            place += KNOB_STEP if controller == INCREMENT else -KNOB_STEP
        self.knobs[name] = min(max(place, 0.0), 1.0)
        return True
