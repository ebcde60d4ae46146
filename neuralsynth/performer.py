"""`Performer`: turns MIDI messages into what the band is to do.

`docs/midi.md` says what each message does; `midi.chart` has it as data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from neuralsynth import events as midi
from neuralsynth.band import Band
from neuralsynth.midi.channel import HOLD_2, LEGATO, MONO_ON, POLY_ON, PORTAMENTO, RESET, SOSTENUTO, SUSTAIN
from neuralsynth.midi.clock import ActiveSensing, MidiClock
from neuralsynth.midi.learn import ControllerMap
from neuralsynth.midi.parameters import DATA_ENTRY, DATA_ENTRY_FINE, DECREMENT, INCREMENT, NRPN_LSB, RPN_MSB
from neuralsynth.part import Part
from neuralsynth.patch import Patch
from neuralsynth.programs import Programs
from neuralsynth.sound.voices import N_CHANNELS
from neuralsynth.tuning import SysexMeaning, read_sysex
from neuralsynth.tuning.mts import OctaveTuning, ProgramTuning
from neuralsynth.tuning.sysex import MasterCoarseTuning, MasterFineTuning, MasterVolume, Reset

PORTAMENTO_CONTROL, ALL_SOUND_OFF, ALL_NOTES_OFF, LOCAL_CONTROL = 84, 120, 123, 122
_SILENT_CONTROLLERS = frozenset({0, 32, NRPN_LSB, NRPN_LSB + 1, RPN_MSB - 1, RPN_MSB, LOCAL_CONTROL})
#: Tempo changes of a MIDI clock below this share are jitter.
_LEAST_TEMPO_CHANGE = 2e-3
_TUNING_PROGRAM = 3  # the registered parameter
_SYSEX, _SENSING, _RESET = 0xF0, 0xFE, 0xFF


class Performer:
    """The MIDI half of an engine: hears messages, plays on parts."""

    def __init__(
        self,
        parts: Mapping[int, Part],
        start: Mapping[int, Patch],
        sample_rate: float,
        programs: Programs | None = None,
        controls: ControllerMap | None = None,
    ) -> None:
        """Stand at power-on; arguments as for `Band` and `Engine`."""
        self._programs, self.controls = programs, controls or ControllerMap()
        self.clock, self.sensing = MidiClock(sample_rate), ActiveSensing(sample_rate)
        self.band = Band(parts, start, self.clock.beat_at)
        self._ignored = 0
        self.reset()

    def reset(self) -> None:
        """Power-on state, parts excepted: whoever resets the engine resets them."""
        self.band.now = 0
        self.clock.reset(0)
        self.sensing.observe(0, bytes([_RESET]))
        self._power_on()
        self._ignored = self.clock.ignored = 0

    @property
    def ignored(self) -> int:
        """How many messages meant nothing."""
        return self._ignored + self.clock.ignored + sum(channel.ignored for channel in self.band.channels)

    def prepare(self, keys_by_channel: Mapping[int, Iterable[int]]) -> None:
        """Decode these keys of each channel ahead, in its own patch and in all that programs may bring."""
        others = self._programs.patches if self._programs else ()
        for number, keys in keys_by_channel.items():
            for patch in {id(p): p for p in (self.band.patches[number], *others) if p is not None}.values():
                self.band.prepare(number, patch, keys)

    def held_notes(self) -> Counter[tuple[int, int]]:
        """The gated notes, by channel 0..15 and key."""
        return self.band.held_notes()

    def handle(self, now: int, message: bytes) -> None:
        """Obey one MIDI message at absolute sample `now`; what is not understood is counted and ignored."""
        self.band.now = now
        if not message or message[0] < 0x80:
            self._ignored += 1
            return
        self.sensing.observe(now, message)
        status = message[0]
        if status >= midi.SYSTEM:
            self._system(message)
            return
        kind, number = status & 0xF0, status & 0x0F
        if len(message) <= midi.DATA_LENGTH[kind]:
            self._ignored += 1
            return
        first, second = message[1] & 127, message[2] & 127 if midi.DATA_LENGTH[kind] == 2 else 0
        if kind == midi.NOTE_ON:
            self.band.keyboards[number].note_on(first, second)
        elif kind == midi.NOTE_OFF:
            self.band.keyboards[number].note_off(first, second)
        elif kind == midi.CONTROL_CHANGE:
            self._control(number, first, second)
        elif kind == midi.PITCH_BEND:
            self.band.channels[number].pitch_bend(first + 128 * second)
            for follower in self.band.followers(number):
                self.band.bend(follower)
        elif kind == midi.PROGRAM_CHANGE:
            self._program(number, first)
        else:
            self._press(number, kind, first, second)

    def check_sensing(self, now: int) -> None:
        """Let all notes go if the sender fell silent."""
        if self.sensing.expired(now):
            self.band.now = now
            for number in range(N_CHANNELS):
                self.band.end_notes(number)

    def _power_on(self) -> None:
        self._ignored += sum(channel.ignored for channel in self.band.channels)
        self.band.power_on(self.clock.beats_per_minute)

    def _press(self, number: int, kind: int, first: int, second: int) -> None:
        channel = self.band.channels[number]
        if kind == midi.POLY_PRESSURE:
            channel.key_pressure[first] = second
        else:
            channel.pressure = first
        for follower in self.band.followers(number):
            self.band.press(follower)

    def _program(self, number: int, program: int) -> None:
        channel = self.band.channels[number]
        channel.program_change(program)
        patch = self._programs.patch_for(number, channel.bank, program) if self._programs else None
        if patch is None:
            self._ignored += 1
        elif patch is not self.band.patches[number]:
            self.band.assign(number, patch)

    def _control(self, number: int, controller: int, value: int) -> None:
        band = self.band
        band.channels[number].control(controller, value)
        self._learned(number, controller, value)
        if controller >= ALL_SOUND_OFF:
            for follower in band.followers(number):
                self._mode(follower, controller)
            return
        for other in band.zones.obey(number, controller, band.channels):
            band.end_notes(other)
            band.reset_controllers(other)
        if controller in (DATA_ENTRY, DATA_ENTRY_FINE, INCREMENT, DECREMENT):
            self._choose_tuning(number)
        turns = controller not in _SILENT_CONTROLLERS or bool(self.controls.lookup(number, controller))
        for follower in band.followers(number):
            self._pedals(follower, controller, value)
            if turns:
                band.refresh(follower)

    def _pedals(self, number: int, controller: int, value: int) -> None:
        """What a controller says to the keyboard of a channel."""
        keyboard, channel = self.band.keyboards[number], self.band.channels[self.band.leader(number)]
        if controller in (SUSTAIN, HOLD_2):
            keyboard.sustain(channel.sustained)
        elif controller == SOSTENUTO:
            keyboard.sostenuto(channel.sostenuto)
        elif controller in (PORTAMENTO, LEGATO):
            self.band.configure(number)
        elif controller == PORTAMENTO_CONTROL:
            keyboard.portamento_from(value)

    def _mode(self, number: int, controller: int) -> None:
        """Channel mode messages, 120 to 127."""
        if controller == ALL_SOUND_OFF:
            self.band.silence(number)
        elif controller == RESET:
            self.band.reset_controllers(number)
        elif controller >= ALL_NOTES_OFF:
            self.band.keyboards[number].all_notes_off()
            if controller in (MONO_ON, POLY_ON):
                self.band.configure(number)

    def _learned(self, number: int, controller: int, value: int) -> None:
        """Turn the knobs that a controller is mapped to."""
        self.controls.observe(number, controller, value)
        for entry in self.controls.lookup(number, controller):
            position = entry.position(value)
            if entry.target.startswith("effects."):
                for part in self.band.parts_of(number):
                    part.turn_effect(self.band.now, entry.target, position)
            else:
                self.band.channels[number].knobs[entry.target] = position

    def _choose_tuning(self, number: int) -> None:
        """RPN 3 and 4: the tuning program and bank of a channel."""
        channel, tunings = self.band.channels[number], self.band.tunings
        tunings.choose_bank(number, channel.tuning_bank)
        if channel.selected_rpn == _TUNING_PROGRAM:
            self.band.retune(tunings.choose_program(number, channel.tuning_program).channels)

    def _system(self, message: bytes) -> None:
        status = message[0]
        if status == _RESET and len(message) == 1:
            self.clock.handle(self.band.now, message)
            self._reset_all()
        elif status == _RESET:
            self._file_tempo(message)
        elif status == _SYSEX:
            self._sysex(read_sysex(message))
        elif self.clock.handle(self.band.now, message):
            self._follow_tempo(_LEAST_TEMPO_CHANGE)
        elif status != _SENSING:
            self._ignored += 1

    def _reset_all(self) -> None:
        """System reset: silence, and everything as after power-on."""
        self.band.power_off()
        self._power_on()

    def _file_tempo(self, message: bytes) -> None:
        """A tempo as MIDI files write it: FF 51 03, then microseconds per quarter note."""
        if message[:3] != midi.TEMPO or len(message) != 6:
            self._ignored += 1
            return
        self.clock.set_tempo(self.band.now, 60e6 / max(int.from_bytes(message[3:], "big"), 1))
        self._follow_tempo(0.0)

    def _follow_tempo(self, least_change: float) -> None:
        tempo = self.clock.beats_per_minute
        if abs(tempo / self.band.beats_per_minute - 1.0) > least_change:
            self.band.set_tempo(tempo)

    def _sysex(self, meaning: SysexMeaning | None) -> None:
        band = self.band
        if meaning is None:
            self._ignored += 1
        elif isinstance(meaning, Reset):
            self._reset_all()
        elif isinstance(meaning, (ProgramTuning, OctaveTuning)):
            change = band.tunings.apply(meaning)
            if change is not None and change.real_time:
                band.retune(change.channels)
        else:
            if isinstance(meaning, MasterVolume):
                band.master_gain = meaning.position**2
            elif isinstance(meaning, MasterFineTuning):
                band.fine_cents = meaning.cents
            elif isinstance(meaning, MasterCoarseTuning):
                band.coarse_cents = 100.0 * meaning.semitones
            for number in range(N_CHANNELS):
                band.refresh(number)
