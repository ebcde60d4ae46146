"""`Part`: one patch under MIDI. Turns messages into voices and channel numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from neuralsynth import events as midi
from neuralsynth.effects import EffectChain
from neuralsynth.patch import Patch
from neuralsynth.sound import layout
from neuralsynth.sound.voices import N_CHANNELS, VoicePool, VoiceSettings
from neuralsynth.units import db_to_gain

MODULATION, DATA_MSB, VOLUME, PAN, EXPRESSION, DATA_LSB, SUSTAIN = 1, 6, 7, 10, 11, 38, 64
RPN_LSB, RPN_MSB, NRPN_LSB, NRPN_MSB = 100, 101, 98, 99
ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF, MONO_ON = 120, 121, 123, 126
_NO_PARAMETER = (127, 127)
_FLUSH_SECONDS = 0.005


@dataclass
class Channel:
    """Controllers of one MIDI channel, at their power-on values (General MIDI level 1)."""

    volume: int = 100
    pan: int = 64
    expression: int = 127
    modulation: int = 0
    bend: float = 0.0  # -1..1
    bend_range_semitones: float = 2.0
    sustain: bool = False
    parameter: tuple[int, int] = _NO_PARAMETER  # selected RPN, (MSB, LSB)

    def reset_controllers(self) -> None:
        """CC121 after MIDI's recommended practice RP-015: volume, pan and bend range stay."""
        self.expression, self.modulation, self.bend = 127, 0, 0.0
        self.sustain, self.parameter = False, _NO_PARAMETER

    def gains(self) -> tuple[float, float]:
        """Left and right gain: 40·log10 law for volume and expression, constant-power pan, centre 1.0."""
        level = (self.volume * self.expression / 127.0**2) ** 2
        angle = (max(self.pan, 1) - 1) / 126.0 * np.pi / 2.0  # 0 and 1 are hard left, 64 is the centre
        return level * np.sqrt(2.0) * np.cos(angle), level * np.sqrt(2.0) * np.sin(angle)


class Part:
    """A patch's voices, its MIDI state and its effect chain."""

    def __init__(self, patch: Patch, sample_rate: float, max_block_size: int) -> None:
        """Allocate voices and effects for blocks of at most `max_block_size` samples."""
        preset = patch.preset
        sustain = patch.model.spec.sustain
        settings = VoiceSettings(
            polyphony=int(preset.voices.polyphony),
            sustain=(sustain.start_seconds, sustain.end_seconds) if sustain else None,
            attack_seconds=preset.envelope.attack_seconds,
            decay_seconds=preset.envelope.decay_seconds,
            sustain_level=preset.envelope.sustain_level,
            release_seconds=preset.envelope.release_seconds,
            vibrato_hz=preset.modulation.vibrato_rate_hz,
        )
        self.patch, self.sample_rate = patch, sample_rate
        self.pool = VoicePool(patch.bank.grid, sample_rate, settings, max_block_size)
        self.chain = EffectChain(preset.effects, sample_rate, max_block_size, patch.path.parent, str(patch.path))
        n_slots = len(self.pool.voices.states)
        self._key = np.full(n_slots, -1)
        self._channel = np.full(n_slots, -1)
        self._down = np.zeros(n_slots, bool)
        self._gain = float(db_to_gain(preset.sound.gain_db))
        self._shift = preset.sound.transpose_semitones + preset.sound.tune_cents / 100.0
        self._flush_start: int | None = None
        self.channels: list[Channel] = []
        self.reset()

    def reset(self) -> None:
        """Power-on state: silence, all controllers at their defaults."""
        bend_range = self.patch.preset.modulation.bend_range_semitones
        self.channels = [Channel(bend_range_semitones=bend_range) for _ in range(N_CHANNELS)]
        self.pool.reset()
        self.chain.reset()
        self._down[:] = False
        self._key[:] = -1
        self._flush_start = None
        for number in range(N_CHANNELS):
            self._update(number)

    def prepare(self, keys: Iterable[int]) -> None:
        """Decode these keys ahead."""
        self.patch.bank.prepare(key + round(self._shift) for key in keys)

    def handle(self, now: int, message: bytes) -> None:
        """Obey one MIDI message at absolute sample `now`; what is not understood is ignored."""
        status = message[0]
        if status >= midi.SYSTEM:
            if status == 0xFF:
                self.silence(now)
                self._reset_channels()
            return
        kind, number = status & 0xF0, status & 0x0F
        if len(message) <= midi.DATA_LENGTH[kind]:
            return
        if kind == midi.NOTE_ON and message[2] > 0:
            self._note_on(now, number, message[1], message[2])
        elif kind in (midi.NOTE_ON, midi.NOTE_OFF):
            self._note_off(number, message[1])
        elif kind == midi.CONTROL_CHANGE:
            self._control(now, number, message[1], message[2])
        elif kind == midi.PITCH_BEND:
            value = message[1] + 128 * message[2]
            self.channels[number].bend = (value - 8192) / (8192.0 if value < 8192 else 8191.0)
            self._update(number)

    def render(self, now: int, out: np.ndarray) -> None:
        """Play the voices from absolute sample `now` on into `out` `[2, n]`, effects not yet applied."""
        out[:] = self.pool.render(now, out.shape[1])

    def apply_effects(self, now: int, audio: np.ndarray) -> np.ndarray:
        """Run a rendered block that begins at `now` through the chain."""
        if self._flush_start is None:
            return self.chain.process(audio)
        return self._flushed(now, audio)

    @property
    def is_gated(self) -> bool:
        """Whether a key or the pedal holds a voice."""
        return bool(np.any(self._gated()))

    def silence(self, now: int) -> None:
        """Fade voices and effect tails out within a few milliseconds."""
        self.pool.kill_all()
        self._down[:] = False
        self._key[:] = -1
        self._flush_start = now

    def _flushed(self, now: int, audio: np.ndarray) -> np.ndarray:
        """Fade what the effects still hold to nothing, forget it, and go on with what comes after."""
        n_fade = round(_FLUSH_SECONDS * self.sample_rate)
        place = np.arange(now, now + audio.shape[1]) - self._flush_start
        split = int(np.searchsorted(place, n_fade))
        fade = np.clip(1.0 - place[:split] / n_fade, 0.0, 1.0).astype(np.float32)
        head = self.chain.process(audio[:, :split]) * fade
        if split == audio.shape[1]:
            return head
        self.chain.reset()
        self._flush_start = None
        return np.concatenate([head, self.chain.process(audio[:, split:])], axis=1)

    def _note_on(self, now: int, number: int, key: int, velocity: int) -> None:
        struck = (self._key == key) & (self._channel == number)
        if not self.channels[number].sustain:
            for old in np.flatnonzero(struck):
                self.pool.release(int(old))
        self._down[struck] = False
        gain = self.patch.velocity_gain(velocity)
        sound = self.patch.bank.sound(key + round(self._shift), velocity)
        voice = self.pool.start(now, key + self._shift, number, gain, sound)
        self._key[voice], self._channel[voice], self._down[voice] = key, number, True

    def _note_off(self, number: int, key: int) -> None:
        for voice in np.flatnonzero((self._key == key) & (self._channel == number) & self._down):
            self._down[voice] = False
            if not self.channels[number].sustain:
                self.pool.release(int(voice))

    def _control(self, now: int, number: int, controller: int, value: int) -> None:
        channel = self.channels[number]
        if controller == MODULATION:
            channel.modulation = value
        elif controller == VOLUME:
            channel.volume = value
        elif controller == PAN:
            channel.pan = value
        elif controller == EXPRESSION:
            channel.expression = value
        elif controller == SUSTAIN:
            self._pedal(number, value >= 64)
        elif controller in (RPN_LSB, RPN_MSB, NRPN_LSB, NRPN_MSB, DATA_MSB, DATA_LSB):
            self._parameter(channel, controller, value)
        elif controller == ALL_SOUND_OFF:
            self.silence(now)
        elif controller == RESET_CONTROLLERS:
            channel.reset_controllers()
            self._pedal(number, False)
        elif ALL_NOTES_OFF <= controller <= 127:
            for key in set(self._key[(self._channel == number) & self._down].tolist()):
                self._note_off(number, key)
        self._update(number)

    def _parameter(self, channel: Channel, controller: int, value: int) -> None:
        """RPN 0, pitch bend range: semitones by data entry MSB, cents by LSB."""
        msb, lsb = channel.parameter
        if controller == RPN_MSB:
            channel.parameter = (value, lsb)
        elif controller == RPN_LSB:
            channel.parameter = (msb, value)
        elif controller in (NRPN_LSB, NRPN_MSB):
            channel.parameter = _NO_PARAMETER
        elif channel.parameter == (0, 0):
            semitones = channel.bend_range_semitones
            whole = min(value, 96) if controller == DATA_MSB else int(semitones)
            cents = min(value, 99) if controller == DATA_LSB else round(100.0 * (semitones - int(semitones)))
            channel.bend_range_semitones = whole + cents / 100.0

    def _pedal(self, number: int, is_down: bool) -> None:
        was_down = self.channels[number].sustain
        self.channels[number].sustain = is_down
        if was_down and not is_down:
            for voice in np.flatnonzero((self._channel == number) & ~self._down & (self._key >= 0)):
                self.pool.release(int(voice))

    def _update(self, number: int) -> None:
        """Hand a channel's numbers to the voices."""
        channel = self.channels[number]
        left, right = channel.gains()
        depth = self.patch.preset.modulation.vibrato_depth_cents * channel.modulation / 127.0
        row = self.pool.channels[number]
        row[layout.CHANNEL_LEFT], row[layout.CHANNEL_RIGHT] = left * self._gain, right * self._gain
        row[layout.CHANNEL_CENTS] = 100.0 * channel.bend * channel.bend_range_semitones
        row[layout.CHANNEL_VIBRATO_CENTS] = depth
        self.pool.touch(number)

    def _reset_channels(self) -> None:
        bend_range = self.patch.preset.modulation.bend_range_semitones
        for number in range(N_CHANNELS):
            self.channels[number] = Channel(bend_range_semitones=bend_range)
            self._update(number)

    def _gated(self) -> np.ndarray:
        pedalled = np.array([channel.sustain for channel in self.channels])[self._channel]
        return self.pool.held() & (self._down | (pedalled & (self._key >= 0)))
