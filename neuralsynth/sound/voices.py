"""`VoicePool`: a fixed number of voices, the arrays they live in, and who gives way when all are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuralsynth.sound import LANES, kernel, layout, padded
from neuralsynth.sound.envelope import ATTACK, DECAY, HELD, KILL, OFF, RELEASE, SUSTAIN
from neuralsynth.sound.modulation import drawn
from neuralsynth.sound.noise import band_noise_table
from neuralsynth.sound.rows import NoteRows, SpectrumRows
from neuralsynth.sound.stealing import who_gives_way
from neuralsynth.sound.texture import texture_arrays
from neuralsynth.strokes import BODY_RATE_HZ

N_CHANNELS = 16
#: Golden-ratio steps give every partial its own starting phase without any two being aligned.
_PHASE_STEP = 0.6180339887498949
#: Places for voices that fade out, besides those that count; small pools are stolen from faster than voices fade.
_LEAST_SPARE = 16
#: Samples after which a texture has forgotten everything.
_LONG_AGO = 1 << 30
#: A released voice that has fallen by more (24 dB) is let go: what a pedal would catch of it is not worth a voice.
CATCH_LEVEL = 10.0 ** (-24.0 / 20.0)


@dataclass(frozen=True)
class VoiceSettings:
    """What all voices of one instrument share."""

    polyphony: int = 64
    sustain: tuple[float, float] | None = None  # seconds in the spectrum
    filter_kind: int = 0  # as in `tone`
    filter_poles: int = 2


@dataclass(frozen=True)
class Strike:
    """How a note begins, besides its spectrum."""

    note: float  # MIDI note number, fractions allowed
    channel: int = 0
    gain: float = 1.0  # linear, what velocity does beyond the model
    layer: float = 0.0  # place among the velocity layers
    velocity: float = 1.0  # 0..1, for modulation
    glide_cents: float = 0.0  # how far from `note` a glide begins
    glide_seconds: float = 0.0
    detune_cents: float = 0.0
    pan: float = 0.0
    lfo_phases: tuple[float, float, float] = (0.0, 0.0, 0.0)  # turns: vibrato, LFO 1, LFO 2
    phase: float = 0.0  # turns by which all partials are ahead, to tell the voices of a unison apart
    directions: Sequence[int] = ()  # first rows of the directions of timbre, -1 for none


class VoicePool:
    """Voices of one instrument. Twice the polyphony is kept or more, so that stolen voices can fade out."""

    def __init__(
        self,
        rows: SpectrumRows,
        sample_rate: float,
        settings: VoiceSettings,
        max_samples: int,
        modulation: layout.Modulation | None = None,
        texture: layout.TextureArrays | None = None,
    ) -> None:
        """Allocate everything; nothing is allocated while playing.

        Args:
            modulation: routes and oscillators; none if left out.
            texture: how held notes live; they stand still if left out.
            max_samples: the largest `n` ever given to `render`.
        """
        self.rows, self.settings, self.sample_rate = rows, settings, float(sample_rate)
        self.max_samples = max_samples
        self._n_partials, self._n_bands = padded(rows.grid.n_partials), padded(rows.grid.n_bands)
        n_voices = max(2 * settings.polyphony, settings.polyphony + _LEAST_SPARE)
        self.voices = _empty_voices(n_voices, self._n_partials, self._n_bands)
        table, offsets = band_noise_table(rows.grid.band_edges_hz, sample_rate)
        zeros = np.zeros(layout.N_OUTPUTS * self._n_bands, np.float32)
        self._noise = layout.NoiseArrays(table, offsets, zeros, zeros.copy(), np.zeros(1, np.int64))
        self._scratch = _scratch(n_voices, max_samples)
        self.channels = np.zeros((2 * N_CHANNELS, layout.N_CHANNEL_NUMBERS))  # the second half: see `end`
        self.channels[:, : layout.CHANNEL_RIGHT + 1] = 1.0
        self.channels[:, layout.CHANNEL_RELEASE_FACTOR] = 1.0
        self.set_envelope(0.0, 0.0, 1.0, 0.08)
        start, end = settings.sustain or (0.0, 0.0)
        filter_kind, poles = float(settings.filter_kind), float(settings.filter_poles)
        self._settings = np.array([self.sample_rate, start, end, filter_kind, poles, 2.0])
        self._modulation = modulation or no_modulation()
        self._texture = texture or texture_arrays(None, rows.grid.n_partials, sample_rate, 0.0)
        self._order = np.zeros(n_voices, np.int64)  # running number of the note, 0 when free
        self._n_started = self._n_active = 0
        self.stolen_voices = 0
        self.render(0, 0)  # compiles here, not on the audio thread

    def set_envelope(self, attack_seconds: float, decay_seconds: float, sustain_level: float, release_seconds: float):
        """Give all channels the same envelope."""
        four = slice(layout.CHANNEL_ENVELOPE, layout.CHANNEL_ENVELOPE + 4)
        self.channels[:, four] = attack_seconds, decay_seconds, sustain_level, release_seconds

    def use_sends(self, are_used: bool) -> None:
        """Also fill the outputs of the reverb and the chorus send, or leave them out."""
        self._settings[layout.OUTPUTS_IN_USE] = layout.N_OUTPUTS if are_used else 2

    @property
    def uses_sends(self) -> bool:
        """Whether the outputs of the sends are filled."""
        return bool(self._settings[layout.OUTPUTS_IN_USE] > 2)

    def reset(self) -> None:
        """Silence, and the state of a new pool: what follows does not depend on what was played."""
        self.voices.states[:] = 0
        self.voices.states[:, layout.PLAN_START] = -1
        self.voices.amplitude[:] = 0.0
        for array in (self._noise.gain, self._noise.slope, self._noise.sounding):
            array[:] = 0
        self._order[:] = 0
        self._n_started = self._n_active = 0

    @property
    def n_sounding(self) -> int:
        """Voices that sound, fading ones included."""
        return int(np.count_nonzero(self.voices.states[:, layout.PLAN_START] >= 0))

    @property
    def n_active(self) -> int:
        """Voices that sound, without looking at each: of the last block, and those started since."""
        return self._n_active

    @property
    def is_silent(self) -> bool:
        """Whether no voice and no noise sounds: `render` would give zeros and change nothing."""
        return self._n_active == 0 and self._noise.sounding[0] == 0

    def held(self) -> np.ndarray:
        """Which voices sound and are neither released nor fading, bool `[V]`."""
        states = self.voices.states
        gated = np.isin(states[:, layout.STAGE], (ATTACK, DECAY, SUSTAIN, HELD))
        return gated & (states[:, layout.PLAN_START] >= 0)

    @property
    def n_started(self) -> int:
        """How many notes were started since `reset`."""
        return self._n_started

    def serial(self, voice: int) -> int:
        """The running number of the note that this voice plays, to tell it from later ones in the same place."""
        return int(self._order[voice])

    def is_over(self, voice: int) -> bool:
        """Whether a voice is silent, or fading because it was stolen or silenced."""
        states = self.voices.states[voice]
        return bool(states[layout.PLAN_START] < 0 or states[layout.STAGE] in (OFF, KILL))

    def start(self, now: int, rows: NoteRows, strike: Strike) -> int:
        """Start a note at absolute sample `now`; returns the voice's index.

        `now` may lie ahead, on a control step: the voice waits in silence, and is over if it is released before.
        """
        voice = self._free_voice()
        self._n_started += 1
        self._n_active += 1
        self._order[voice] = self._n_started
        numbers, states = self.voices.numbers[voice], self.voices.states[voice]
        numbers[:] = 0.0
        states[:] = 0
        self._aim(voice, rows, strike)
        numbers[layout.STARTED_AT] = now
        numbers[layout.LFO_PHASE : layout.LFO_PHASE + 3] = strike.lfo_phases
        seed = (self._n_started * 2654435761 + int(strike.note) * 40503) % 2147483648
        numbers[layout.RANDOM] = drawn(self._n_started, int(strike.note))
        if self.settings.sustain is not None:
            first, last = self.settings.sustain
            numbers[layout.TURN_SECONDS] = last - 0.5 * (last - first) * (seed % 1000) / 1000.0
        self._glide(now, voice, strike)
        self._strike_body(voice, rows, strike.layer)
        states[layout.STAGE] = states[layout.STAGE_2] = ATTACK
        states[layout.CHANNEL] = strike.channel
        states[layout.PLAN_START] = states[layout.PLAN_END] = now
        states[layout.SEED], states[layout.DIRECTION] = seed, 1
        states[layout.DRAW], states[layout.TEXTURED_TO] = seed % layout.N_DRAWS, now - _LONG_AGO
        channel = self.channels[strike.channel]
        sounds_at_once = strike.gain if channel[layout.CHANNEL_ENVELOPE] == 0.0 else 0.0
        gains = numbers[layout.GAIN_LEFT : layout.GAIN_LEFT + 2 * layout.N_OUTPUTS : 2]
        gains[:] = sounds_at_once * channel[layout.CHANNEL_LEFT : layout.CHANNEL_LEFT + layout.N_OUTPUTS]
        self._silence_oscillators(voice, strike.phase)
        return voice

    def move(self, now: int, voice: int, rows: NoteRows, strike: Strike) -> None:
        """Let a sounding voice go on as another note (legato): new pitch and spectrum, no new attack."""
        numbers = self.voices.numbers[voice]
        before = (numbers[layout.VELOCITY_GAIN], numbers[layout.LAYER], numbers[layout.VELOCITY])
        self._aim(voice, rows, strike)
        numbers[layout.VELOCITY_GAIN], numbers[layout.LAYER], numbers[layout.VELOCITY] = before
        self._glide(now, voice, strike)
        self.voices.states[voice, layout.TOUCHED] = layout.NUDGED

    def release(self, voice: int, velocity: float = 0.5) -> None:
        """Let a voice go into its release; `velocity` 0..1 is for modulation."""
        if self.voices.states[voice, layout.STAGE] not in (OFF, KILL, RELEASE):
            self.voices.numbers[voice, layout.RELEASE_VELOCITY] = velocity
            self.voices.states[voice, layout.STAGE_2] = RELEASE
            self._set_stage(voice, RELEASE)

    def catch(self, voice: int) -> bool:
        """Hold a voice that is in its release where its level stands; False when it is over or nearly so."""
        states, level = self.voices.states[voice], self.voices.numbers[voice, layout.LEVEL]
        if states[layout.PLAN_START] < 0 or states[layout.STAGE] != RELEASE or level < CATCH_LEVEL:
            return False
        self._set_stage(voice, HELD)
        return True

    def shed(self) -> bool:
        """Let the voice that is missed least fade out; False if there is none."""
        counted = np.flatnonzero(self._counted())
        if len(counted):
            self.kill(who_gives_way(counted, self.voices, self._order))
        return len(counted) > 0

    def kill(self, voice: int) -> None:
        """Fade a voice out in a few milliseconds."""
        if self.voices.states[voice, layout.STAGE] not in (OFF, KILL):
            self._set_stage(voice, KILL)

    def end(self, voices: np.ndarray) -> None:
        """Fade voices (bool `[V]`) out at the numbers their channels have now, whatever becomes of the channels."""
        for voice in np.flatnonzero(voices):
            channel = int(self.voices.states[voice, layout.CHANNEL])
            if channel < N_CHANNELS:
                self.channels[N_CHANNELS + channel] = self.channels[channel]
                self.voices.states[voice, layout.CHANNEL] += N_CHANNELS
            self.kill(int(voice))

    def touch(self, channel: int) -> None:
        """Make the voices of a channel notice at once that its numbers changed."""
        states = self.voices.states
        mine = (states[:, layout.CHANNEL] == channel) & (states[:, layout.TOUCHED] == 0)
        states[mine, layout.TOUCHED] = layout.NUDGED

    def nudge(self, voice: int) -> None:
        """Make one voice notice at once that its numbers changed."""
        if self.voices.states[voice, layout.TOUCHED] == 0:
            self.voices.states[voice, layout.TOUCHED] = layout.NUDGED

    def render(self, now: int, n_samples: int) -> np.ndarray:
        """Play `n_samples` from absolute sample `now`: float32 `[4, n]`, a view valid until the next call.

        Left, right, and the mono signals for the reverb and the chorus send (empty unless `use_sends`).

        [audio thread] Takes no lock, touches no file, allocates nothing that stays.
        """
        self._n_active = kernel.render_voices(
            now,
            n_samples,
            self.voices,
            self.rows.arrays,
            self._noise,
            self._scratch,
            self.channels,
            self._settings,
            self._modulation,
            self._texture,
        )
        return self._scratch.out.reshape(layout.N_OUTPUTS, -1)[:, :n_samples]

    def _aim(self, voice: int, rows: NoteRows, strike: Strike) -> None:
        """Write down what a voice is to play."""
        numbers, states = self.voices.numbers[voice], self.voices.states[voice]
        numbers[layout.NOTE] = strike.note
        numbers[layout.VELOCITY_GAIN] = strike.gain
        numbers[layout.LAYER] = strike.layer
        numbers[layout.VELOCITY] = strike.velocity
        numbers[layout.TAIL_RATE] = rows.tail_rate
        numbers[layout.DETUNE_CENTS] = strike.detune_cents
        numbers[layout.VOICE_PAN] = strike.pan
        states[layout.ROW], states[layout.N_LAYERS] = rows.row, rows.n_layers
        directions = self.voices.directions[voice]
        directions[:] = -1
        directions[: len(strike.directions)] = strike.directions

    def _strike_body(self, voice: int, rows: NoteRows, layer: float) -> None:
        """Begin the waveform of a struck drum, which keeps to what was struck; nothing where there is none."""
        if rows.body_hz > 0.0:
            whole = min(int(layer), max(rows.n_layers - 2, 0))
            numbers = self.voices.numbers[voice]
            numbers[layout.BODY_PER_HZ] = BODY_RATE_HZ / (self.sample_rate * rows.body_hz)
            numbers[layout.BODY_SHARE] = layer - whole
            self.voices.states[voice, layout.BODY_ROW] = rows.row + whole

    def _glide(self, now: int, voice: int, strike: Strike) -> None:
        numbers = self.voices.numbers[voice]
        glides = strike.glide_cents != 0.0 and strike.glide_seconds > 0.0
        numbers[layout.GLIDE_CENTS] = strike.glide_cents if glides else 0.0
        numbers[layout.GLIDE_FROM] = now
        numbers[layout.GLIDE_SAMPLES] = max(1.0, strike.glide_seconds * self.sample_rate)

    def _set_stage(self, voice: int, stage: int) -> None:
        self.voices.states[voice, layout.STAGE] = stage
        self.voices.states[voice, layout.TOUCHED] = layout.STRUCK

    def _silence_oscillators(self, voice: int, phase: float) -> None:
        v = self.voices
        whole = slice(voice * self._n_partials, (voice + 1) * self._n_partials)
        partial = np.arange(1, self._n_partials + 1)
        v.phase[whole] = (partial**2 * _PHASE_STEP + phase) % 1.0
        for array in (v.turn, v.sine, v.difference, v.factor, v.amplitude, v.slope):
            array[whole] = 0.0
        v.noise_target[voice * self._n_bands : (voice + 1) * self._n_bands] = 0.0

    def _counted(self) -> np.ndarray:
        """Which voices count: those that sound and do not fade out already, bool `[V]`."""
        states, stage = self.voices.states, self.voices.states[:, layout.STAGE]
        return (states[:, layout.PLAN_START] >= 0) & (stage != KILL) & (stage != OFF)

    def _free_voice(self) -> int:
        """A free slot; when the polyphony is used up, a voice is stolen and fades out in its own slot."""
        sounding = self.voices.states[:, layout.PLAN_START] >= 0
        counted = self._counted()
        if np.count_nonzero(counted) >= self.settings.polyphony:
            self.kill(who_gives_way(np.flatnonzero(counted), self.voices, self._order))
            self.stolen_voices += 1
        free = np.flatnonzero(~sounding)
        if len(free):
            return int(free[0])
        fading = np.flatnonzero(~counted)  # all slots taken: end the fade that is furthest on
        return int(fading[np.argmin(self.voices.numbers[fading, layout.LEVEL])])


def no_modulation() -> layout.Modulation:
    """No route, and oscillators that nothing follows."""
    return layout.Modulation(
        np.zeros((0, 3), np.int64),
        np.zeros(0),
        np.zeros(5, np.int64),
        np.zeros((3, 4)),
        np.zeros(1, np.int64),
        np.ones((0, 2)),
    )


def _scratch(n_voices: int, max_samples: int) -> layout.Scratch:
    return layout.Scratch(
        lanes=np.zeros(2 * layout.CONTROL_STEP * LANES, np.float32),
        lane=np.arange(LANES, dtype=np.float32),
        out=np.zeros(layout.N_OUTPUTS * (max_samples + LANES), np.float32),
        values=np.zeros(layout.N_DESTINATIONS),
        sources=np.zeros(layout.N_VOICE_SOURCES),
        weights=np.zeros(layout.MAX_DIRECTIONS),
        active=np.zeros(n_voices, np.int64),
    )


def _empty_voices(n_voices: int, n_partials: int, n_bands: int) -> layout.VoiceArrays:
    states = np.zeros((n_voices, layout.N_STATES), np.int64)
    states[:, layout.PLAN_START] = -1
    # Written to here, so that the system gives the memory now and not on the audio thread.
    per_partial = [np.full(n_voices * n_partials, 0.0, np.float32) for _ in range(7)]
    return layout.VoiceArrays(  # type: ignore[call-arg]
        np.zeros((n_voices, layout.N_NUMBERS)),
        states,
        np.full((n_voices, layout.MAX_DIRECTIONS), -1, np.int64),
        *per_partial,
        np.zeros(n_voices * n_bands, np.float32),
        np.zeros(n_voices * n_partials, np.float32),
    )
