"""`Performer`: turns MIDI messages into what parts, voices and effects are to do.

It holds the state of the 16 channels, their keyboards, tunings and programs. `docs/midi.md` says what each message
does; `midi.chart` has it as data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from neuralsynth import events as midi
from neuralsynth.channel_voices import ChannelVoices
from neuralsynth.keyboard import Keyboard, KeyboardSettings
from neuralsynth.midi.channel import HOLD_2, LEGATO, MONO_ON, POLY_ON, PORTAMENTO, RESET, SOSTENUTO, SUSTAIN, Channel
from neuralsynth.midi.clock import ActiveSensing, MidiClock
from neuralsynth.midi.learn import ControllerMap
from neuralsynth.midi.mpe import Zones
from neuralsynth.midi.parameters import DATA_ENTRY, DATA_ENTRY_FINE, DECREMENT, INCREMENT, NRPN_LSB, RPN_MSB
from neuralsynth.part import Part, Surroundings
from neuralsynth.patch import Patch
from neuralsynth.programs import Programs
from neuralsynth.sound.voices import N_CHANNELS
from neuralsynth.tuning import TuningStore, read_sysex
from neuralsynth.tuning.mts import OctaveTuning, ProgramTuning
from neuralsynth.tuning.sysex import MasterCoarseTuning, MasterFineTuning, MasterVolume, Reset

PORTAMENTO_CONTROL, ALL_SOUND_OFF, ALL_NOTES_OFF, LOCAL_CONTROL = 84, 120, 123, 122
_SILENT_CONTROLLERS = frozenset({0, 32, NRPN_LSB, NRPN_LSB + 1, RPN_MSB - 1, RPN_MSB, LOCAL_CONTROL})
_PERCUSSION = 9  # channel 10: master coarse tuning leaves it alone
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
        """Stand at power-on.

        Args:
            parts: `id` of a patch of a single sound -> the part that plays it.
            start: the patch that each channel starts with.
        """
        self._parts, self._start, self._programs = parts, dict(start), programs
        self.controls = controls or ControllerMap()
        self.channels = [Channel() for _ in range(N_CHANNELS)]
        self.zones = Zones()
        self.clock, self.sensing = MidiClock(sample_rate), ActiveSensing(sample_rate)
        self.tunings = TuningStore()
        self._voices = [ChannelVoices(self, number) for number in range(N_CHANNELS)]
        self.keyboards = [Keyboard(voices) for voices in self._voices]
        self.patches: list[Patch | None] = [None] * N_CHANNELS
        self._ignored = 0
        self.silenced: list[int] = []  # samples at which everything, sends included, is to fall silent
        self.reset()

    def reset(self) -> None:
        """Power-on state, parts excepted: whoever resets the engine resets them."""
        self.now = 0
        self.clock.reset(0)
        self.sensing.observe(0, bytes([_RESET]))
        self._power_on()
        self._ignored = self.clock.ignored = 0

    @property
    def ignored(self) -> int:
        """How many messages meant nothing."""
        return self._ignored + self.clock.ignored + sum(channel.ignored for channel in self.channels)

    def prepare(self, keys_by_channel: Mapping[int, Iterable[int]]) -> None:
        """Decode these keys of each channel ahead, in its own patch and in all that programs may bring."""
        others = self._programs.patches if self._programs else ()
        for number, keys in keys_by_channel.items():
            for patch in {id(p): p for p in (self.patches[number], *others) if p is not None}.values():
                self._voices[number].prepare(patch, keys)

    def handle(self, now: int, message: bytes) -> None:
        """Obey one MIDI message at absolute sample `now`; what is not understood is counted and ignored."""
        self.now = now
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
            self.keyboards[number].note_on(first, second)
        elif kind == midi.NOTE_OFF:
            self.keyboards[number].note_off(first, second)
        elif kind == midi.CONTROL_CHANGE:
            self._control(number, first, second)
        elif kind == midi.PITCH_BEND:
            self._bend(number, first + 128 * second)
        elif kind == midi.PROGRAM_CHANGE:
            self._program(number, first)
        else:
            self._press(number, kind, first, second)

    def check_sensing(self, now: int) -> None:
        """Let all notes go if the sender fell silent."""
        if self.sensing.expired(now):
            self.now = now
            for number, keyboard in enumerate(self.keyboards):
                self._lift_pedals(number)
                keyboard.all_notes_off()

    def held_notes(self) -> Counter[tuple[int, int]]:
        """The gated notes, by channel 0..15 and key: held by a key or by a pedal."""
        return Counter((number, key) for number, board in enumerate(self.keyboards) for key, _ in board.held())

    @property
    def surroundings(self) -> Surroundings:
        """What reaches all parts alike."""
        return Surroundings(self._beats_per_minute, self.clock.beat_at(self.now), self._master_gain, self._fine_cents)

    def leader(self, number: int) -> int:
        """The channel whose program, pedals and levels hold for a channel: its MPE master, or itself."""
        master = self.zones.master_of(number)
        return number if master is None else master

    def parts_of(self, number: int) -> Iterator[Part]:
        """The parts that the patch of a channel plays on."""
        patch = self.patches[self.leader(number)]
        seen = set()
        for _, zone in patch.zones if patch else ():
            if id(zone) not in seen:
                seen.add(id(zone))
                yield self._parts[id(zone)]

    def part_for(self, patch: Patch) -> Part:
        """The part that plays a patch of a single sound."""
        return self._parts[id(patch)]

    def notes_of(self, number: int, patch: Patch) -> np.ndarray:
        """The pitch of every key of a channel in a patch, as note numbers; NaN for silent keys."""
        return self.tunings.tuning(number, patch.tuning).notes

    def _power_on(self) -> None:
        self.zones.reset()
        self.tunings.reset()
        self._beats_per_minute = self.clock.beats_per_minute
        self._master_gain, self._fine_cents, self._coarse_cents = 1.0, 0.0, 0.0
        for number, channel in enumerate(self.channels):
            self._ignored += channel.ignored
            channel.power_on()
            self.keyboards[number] = Keyboard(self._voices[number])
            self._assign(number, self._start.get(number))
        for part in self._parts.values():
            part.set_tempo(self.now, self._beats_per_minute)

    def _assign(self, number: int, patch: Patch | None) -> None:
        """Put a patch on a channel; sounding notes stay with the old one."""
        self.patches[number] = patch
        if patch is not None:
            _, first = patch.zones[0]
            spec, panel = first.model.spec, first.panel
            bend_range = first.preset.modulation.bend_range_semitones
            self.channels[number].use_preset(bend_range, tuple(spec.axes), spec.latent_size, panel.travel)
        for follower in self._followers(number):
            self._configure(follower)
            self._refresh(follower)

    def _configure(self, number: int) -> None:
        """Tell a keyboard how its patch and its switches want voices played."""
        leader = self.leader(number)
        patch, channel = self.patches[leader], self.channels[leader]
        if patch is None:
            return
        voices = patch.zones[0][1].preset.voices
        settings = KeyboardSettings(voices.mode, voices.priority, voices.glide, voices.pedal_catch)  # type: ignore[arg-type]
        mode = None if channel.mono is None else ("mono" if channel.mono else "poly")
        self.keyboards[number].configure(
            settings.switched(mode=mode, legato=channel.legato, portamento=channel.portamento)  # type: ignore[arg-type]
        )

    def _followers(self, number: int) -> list[int]:
        """The channels that a message on a channel concerns: itself, and the members of an MPE master."""
        return [number, *self.zones.members(number)]

    def _concerned(self, number: int) -> Iterator[Part]:
        """Parts that have to know about a channel: those it plays on, and those that still sound for it."""
        own = list(self.parts_of(number))
        yield from own
        for part in self._parts.values():
            if part not in own and not part.pool.is_silent and part.sounding_on(number).any():
                yield part

    def _refresh(self, number: int) -> None:
        expression, surroundings = self.zones.combined(number, self.channels), self._surroundings_of(number)
        for part in self._concerned(number):
            part.refresh(self.now, number, self.channels[self.leader(number)], expression, surroundings)

    def _surroundings_of(self, number: int) -> Surroundings:
        around = self.surroundings
        coarse = 0.0 if number == _PERCUSSION else self._coarse_cents
        return Surroundings(around.beats_per_minute, around.beat, around.master_gain, around.master_cents + coarse)

    def _bend(self, number: int, data: int) -> None:
        self.channels[number].pitch_bend(data)
        for follower in self._followers(number):
            expression, surroundings = self.zones.combined(follower, self.channels), self._surroundings_of(follower)
            channel = self.channels[self.leader(follower)]
            for part in self._concerned(follower):
                part.bend(self.now, follower, channel, expression, surroundings)

    def _press(self, number: int, kind: int, first: int, second: int) -> None:
        channel = self.channels[number]
        if kind == midi.POLY_PRESSURE:
            channel.key_pressure[first] = second
        else:
            channel.pressure = first
        for follower in self._followers(number):
            self._tell_pressure(follower)

    def _tell_pressure(self, number: int) -> None:
        expression = self.zones.combined(number, self.channels)
        for part in self._concerned(number):
            part.press(number, self.channels[number], expression)

    def _program(self, number: int, program: int) -> None:
        channel = self.channels[number]
        channel.program_change(program)
        patch = self._programs.patch_for(number, channel.bank, program) if self._programs else None
        if patch is None:
            self._ignored += 1
        elif patch is not self.patches[number]:
            self._assign(number, patch)

    def _control(self, number: int, controller: int, value: int) -> None:
        channel = self.channels[number]
        channel.control(controller, value)
        self._learned(number, controller, value)
        if controller >= ALL_SOUND_OFF:
            self._mode(number, controller)
            return
        changed = self.zones.obey(number, controller, self.channels)
        for other in changed:
            self._end_notes(other)
            self.channels[other].control(RESET, 0)
            self._configure(other)
            self._refresh(other)
            self._tell_pressure(other)
        if controller in (DATA_ENTRY, DATA_ENTRY_FINE, INCREMENT, DECREMENT):
            self._choose_tuning(number)
        turns = controller not in _SILENT_CONTROLLERS or bool(self.controls.lookup(number, controller))
        for follower in self._followers(number):
            self._pedals(follower, controller, value)
            if turns:
                self._refresh(follower)

    def _pedals(self, number: int, controller: int, value: int) -> None:
        """What a controller says to the keyboard of a channel."""
        keyboard, channel = self.keyboards[number], self.channels[self.leader(number)]
        if controller in (SUSTAIN, HOLD_2):
            keyboard.sustain(channel.sustained)
        elif controller == SOSTENUTO:
            keyboard.sostenuto(channel.sostenuto)
        elif controller in (PORTAMENTO, LEGATO):
            self._configure(number)
        elif controller == PORTAMENTO_CONTROL:
            keyboard.portamento_from(value)

    def _mode(self, number: int, controller: int) -> None:
        """Channel mode messages, 120 to 127."""
        for follower in self._followers(number):
            if controller == ALL_SOUND_OFF:
                self.keyboards[follower].forget()
                for part in self._parts.values():
                    part.silence_channel(self.now, follower)
            elif controller == RESET:
                self.channels[follower].control(RESET, 0)  # a master's reset holds for its zone
                self._lift_pedals(follower)
                self._configure(follower)
                self._refresh(follower)
                self._tell_pressure(follower)
            elif controller >= ALL_NOTES_OFF:
                self.keyboards[follower].all_notes_off()
                if controller in (MONO_ON, POLY_ON):
                    self._configure(follower)
        if controller == ALL_SOUND_OFF and all(part.only_fades for part in self._parts.values()):
            self.silenced.append(self.now)

    def _lift_pedals(self, number: int) -> None:
        self.keyboards[number].sostenuto(down=False)
        self.keyboards[number].sustain(down=False)

    def _end_notes(self, number: int) -> None:
        self._lift_pedals(number)
        self.keyboards[number].all_notes_off()

    def _learned(self, number: int, controller: int, value: int) -> None:
        """Turn the knobs that a controller is mapped to."""
        self.controls.observe(number, controller, value)
        for entry in self.controls.lookup(number, controller):
            position = entry.position(value)
            if entry.target.startswith("effects."):
                for part in self.parts_of(number):
                    part.turn_effect(self.now, entry.target, position)
            else:
                self.channels[number].knobs[entry.target] = position

    def _choose_tuning(self, number: int) -> None:
        """RPN 3 and 4: the tuning program and bank of a channel."""
        channel = self.channels[number]
        self.tunings.choose_bank(number, channel.tuning_bank)
        if channel.selected_rpn == _TUNING_PROGRAM:
            change = self.tunings.choose_program(number, channel.tuning_program)
            self._retune(change.channels)

    def _retune(self, channels: Iterable[int]) -> None:
        for number in channels:
            for part in self._concerned(number):
                part.retune(number, self.notes_of(number, part.patch))

    def _system(self, message: bytes) -> None:
        status = message[0]
        if status == _RESET and len(message) == 1:
            self.clock.handle(self.now, message)
            self._reset_all()
        elif status == _RESET:
            self._file_tempo(message)
        elif status == _SYSEX:
            self._sysex(message)
        elif self.clock.handle(self.now, message):
            self._follow_tempo()
        elif status != _SENSING:
            self._ignored += 1

    def _reset_all(self) -> None:
        """System reset: silence, and everything as after power-on."""
        for part in self._parts.values():
            part.power_off(self.now)
        self.silenced.append(self.now)
        self._power_on()

    def _file_tempo(self, message: bytes) -> None:
        """A tempo as MIDI files write it: FF 51 03, then microseconds per quarter note."""
        if message[:3] != midi.TEMPO or len(message) != 6:
            self._ignored += 1
            return
        self.clock.set_tempo(self.now, 60e6 / max(int.from_bytes(message[3:], "big"), 1))
        self._follow_tempo(0.0)

    def _follow_tempo(self, least_change: float = _LEAST_TEMPO_CHANGE) -> None:
        """Tell LFOs and echoes when the tempo has changed."""
        tempo = self.clock.beats_per_minute
        if abs(tempo / self._beats_per_minute - 1.0) <= least_change:
            return
        self._beats_per_minute = tempo
        for part in self._parts.values():
            part.set_tempo(self.now, tempo)
        for number in range(N_CHANNELS):
            if any(part.patch.panel.uses_tempo for part in self._concerned(number)):
                self._refresh(number)

    def _sysex(self, message: bytes) -> None:
        meaning = read_sysex(message)
        if isinstance(meaning, Reset):
            self._reset_all()
        elif isinstance(meaning, (ProgramTuning, OctaveTuning)):
            change = self.tunings.apply(meaning)
            if change is not None and change.real_time:
                self._retune(change.channels)
        elif meaning is None:
            self._ignored += 1
        else:
            if isinstance(meaning, MasterVolume):
                self._master_gain = meaning.position**2
            elif isinstance(meaning, MasterFineTuning):
                self._fine_cents = meaning.cents
            elif isinstance(meaning, MasterCoarseTuning):
                self._coarse_cents = 100.0 * meaning.semitones
            for number in range(N_CHANNELS):
                self._refresh(number)
