"""`VoicePool`: a fixed number of voices, the arrays they live in, and who gives way when all are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.sound import LANES, kernel, layout, padded
from neuralsynth.sound.envelope import ATTACK, DECAY, KILL, OFF, RELEASE, SUSTAIN, envelope_parameters
from neuralsynth.sound.noise import band_noise_table
from neuralsynth.spectrum import SpectrumGrid

N_CHANNELS = 16
#: Golden-ratio steps give every partial its own starting phase without any two being aligned.
_PHASE_STEP = 0.6180339887498949
_LEAST_TAIL_RATE = 1.5  # per second: 13 dB/s, how fast a decaying sound fades once its frames are over


@dataclass(frozen=True)
class VoiceSettings:
    """What all voices of one instrument share."""

    polyphony: int = 64
    sustain: tuple[float, float] | None = None  # seconds in the spectrum
    attack_seconds: float = 0.0
    decay_seconds: float = 0.0
    sustain_level: float = 1.0
    release_seconds: float = 0.08
    vibrato_hz: float = 5.5


@dataclass(frozen=True)
class VoiceSound:
    """The spectrum a voice plays, arrays as in `NoteSpectrum`."""

    partials: np.ndarray
    ratios: np.ndarray
    cents: np.ndarray
    noise: np.ndarray
    tail_rate: float = _LEAST_TAIL_RATE  # per second


class VoicePool:
    """Voices of one instrument. Twice the polyphony is kept, so that stolen voices can fade out."""

    def __init__(self, grid: SpectrumGrid, sample_rate: float, settings: VoiceSettings, max_samples: int) -> None:
        """Allocate everything; nothing is allocated while playing.

        Args:
            max_samples: the largest `n` ever given to `render`.
        """
        self.grid, self.settings, self.sample_rate = grid, settings, float(sample_rate)
        self.max_samples = max_samples
        n_voices = 2 * settings.polyphony
        self._n_partials, self._n_bands = padded(grid.n_partials), padded(grid.n_bands)
        self.voices = _empty_voices(n_voices, grid)
        table, offsets = band_noise_table(grid.band_edges_hz, sample_rate)
        zeros = np.zeros(2 * self._n_bands, np.float32)
        self._noise = layout.NoiseArrays(table, offsets, zeros, zeros.copy(), np.zeros(2, np.int64))
        self._scratch = layout.Scratch(
            np.zeros(2 * layout.CONTROL_STEP * LANES, np.float32),
            np.arange(LANES, dtype=np.float32),
            np.zeros(2 * (max_samples + LANES), np.float32),
        )
        self.channels = np.zeros((N_CHANNELS, layout.N_CHANNEL_NUMBERS))
        self.channels[:, : layout.CHANNEL_RIGHT + 1] = 1.0
        start, end = settings.sustain or (0.0, 0.0)
        self._settings = np.array([self.sample_rate, start, end, settings.vibrato_hz])
        self._envelope = envelope_parameters(
            settings.attack_seconds, settings.decay_seconds, settings.sustain_level, settings.release_seconds
        )
        self._active = np.zeros(n_voices, np.int64)
        self._order = np.zeros(n_voices, np.int64)  # running number of the note, 0 when free
        self._n_started = 0
        self.stolen_voices = 0

    def reset(self) -> None:
        """Silence, and the state of a new pool: what follows does not depend on what was played."""
        self.voices.states[:] = 0
        self.voices.states[:, layout.PLAN_START] = -1
        self.voices.amplitude[:] = 0.0
        for array in (self._noise.gain, self._noise.slope, self._noise.clock):
            array[:] = 0
        self._order[:] = 0
        self._n_started = 0

    @property
    def n_sounding(self) -> int:
        """Voices that sound, fading ones included."""
        return int(np.count_nonzero(self.voices.states[:, layout.PLAN_START] >= 0))

    def held(self) -> np.ndarray:
        """Which voices sound and are neither released nor fading, bool `[V]`."""
        states = self.voices.states
        gated = np.isin(states[:, layout.STAGE], (ATTACK, DECAY, SUSTAIN))
        return gated & (states[:, layout.PLAN_START] >= 0)

    def start(self, now: int, note: float, channel: int, gain: float, sound: VoiceSound) -> int:
        """Start a note at absolute sample `now`; returns the voice's index.

        Args:
            note: MIDI note number, fractions allowed.
            gain: linear, what velocity does beyond the model.
        """
        voice = self._free_voice()
        self._n_started += 1
        self._order[voice] = self._n_started
        self._fill(voice, sound)
        numbers, states = self.voices.numbers[voice], self.voices.states[voice]
        numbers[:] = 0.0
        states[:] = 0
        numbers[layout.NOTE] = note
        numbers[layout.VELOCITY_GAIN] = gain
        numbers[layout.TAIL_RATE] = max(sound.tail_rate, _LEAST_TAIL_RATE)
        seed = (self._n_started * 2654435761 + int(note) * 40503) % 2147483648
        if self.settings.sustain is not None:
            first, last = self.settings.sustain
            numbers[layout.TURN_SECONDS] = last - 0.5 * (last - first) * (seed % 1000) / 1000.0
        sounds_at_once = gain if self.settings.attack_seconds == 0.0 else 0.0
        numbers[layout.GAIN_LEFT] = sounds_at_once * self.channels[channel, layout.CHANNEL_LEFT]
        numbers[layout.GAIN_RIGHT] = sounds_at_once * self.channels[channel, layout.CHANNEL_RIGHT]
        states[layout.STAGE], states[layout.CHANNEL] = ATTACK, channel
        states[layout.PLAN_START] = states[layout.PLAN_END] = now
        states[layout.SEED], states[layout.DIRECTION] = seed, 1
        return voice

    def release(self, voice: int) -> None:
        """Let a voice go into its release."""
        if self.voices.states[voice, layout.STAGE] not in (OFF, KILL, RELEASE):
            self._set_stage(voice, RELEASE)

    def kill(self, voice: int) -> None:
        """Fade a voice out in a few milliseconds."""
        if self.voices.states[voice, layout.STAGE] not in (OFF, KILL):
            self._set_stage(voice, KILL)

    def kill_all(self) -> None:
        """`kill` every voice."""
        for voice in np.flatnonzero(self.voices.states[:, layout.PLAN_START] >= 0):
            self.kill(int(voice))

    def touch(self, channel: int) -> None:
        """Make the voices of a channel notice at once that its numbers changed."""
        mine = self.voices.states[:, layout.CHANNEL] == channel
        self.voices.states[mine, layout.TOUCHED] = 1

    def render(self, now: int, n_samples: int) -> np.ndarray:
        """Play `n_samples` from absolute sample `now`: float32 `[2, n]`, a view valid until the next call.

        [audio thread] Takes no lock, touches no file, allocates nothing that stays.
        """
        kernel.render_voices(
            now,
            n_samples,
            self.voices,
            self._noise,
            self._scratch,
            self.channels,
            self._settings,
            self._envelope,
            self._active,
        )
        return self._scratch.out.reshape(2, -1)[:, :n_samples]

    def _set_stage(self, voice: int, stage: int) -> None:
        self.voices.states[voice, layout.STAGE] = stage
        self.voices.states[voice, layout.TOUCHED] = 1

    def _fill(self, voice: int, sound: VoiceSound) -> None:
        v, (p, b) = self.voices, (self.grid.n_partials, self.grid.n_bands)
        shape = (-1, self.grid.n_frames)
        v.partials.reshape(*shape, self._n_partials)[voice, :, :p] = sound.partials
        v.noise.reshape(*shape, self._n_bands)[voice, :, :b] = sound.noise
        v.cents[voice] = sound.cents
        row = slice(voice * self._n_partials, voice * self._n_partials + p)
        v.ratios[row] = sound.ratios
        whole = slice(voice * self._n_partials, (voice + 1) * self._n_partials)
        v.phase[whole] = (np.arange(1, self._n_partials + 1) ** 2 * _PHASE_STEP) % 1.0
        for array in (v.turn, v.sine, v.difference, v.factor, v.amplitude, v.slope):
            array[whole] = 0.0
        v.noise_target[voice * self._n_bands : (voice + 1) * self._n_bands] = 0.0

    def _free_voice(self) -> int:
        """A free slot; when the polyphony is used up, a voice is stolen and fades out in its own slot.

        Who gives way: released voices first, the quietest of them; else the quietest of the older half of
        the held ones, never the lowest note. Fading voices do not count.
        """
        states = self.voices.states
        sounding = states[:, layout.PLAN_START] >= 0
        counted = sounding & (states[:, layout.STAGE] != KILL) & (states[:, layout.STAGE] != OFF)
        if np.count_nonzero(counted) >= self.settings.polyphony:
            self.kill(self._stealable(np.flatnonzero(counted)))
            self.stolen_voices += 1
        free = np.flatnonzero(~sounding)
        if len(free):
            return int(free[0])
        fading = np.flatnonzero(~counted)  # all slots taken: end the fade that is furthest on
        return int(fading[np.argmin(self.voices.numbers[fading, layout.LEVEL])])

    def _stealable(self, candidates: np.ndarray) -> int:
        loudness = self._loudness(candidates)
        released = self.voices.states[candidates, layout.STAGE] == RELEASE
        if released.any():
            return int(candidates[released][np.argmin(loudness[released])])
        lowest = np.argmin(self.voices.numbers[candidates, layout.NOTE])
        keep = np.ones(len(candidates), bool)
        if len(candidates) > 1:
            keep[lowest] = False
        candidates, loudness = candidates[keep], loudness[keep]
        oldest = np.argsort(self._order[candidates], kind="stable")[: max(1, len(candidates) // 2)]
        return int(candidates[oldest][np.argmin(loudness[oldest])])

    def _loudness(self, candidates: np.ndarray) -> np.ndarray:
        amplitude = self.voices.amplitude.reshape(-1, self._n_partials)[candidates]
        gain = self.voices.numbers[candidates, layout.VELOCITY_GAIN] * self.voices.numbers[candidates, layout.LEVEL]
        return np.sqrt(np.sum(amplitude**2, axis=1)) * gain


def _empty_voices(n_voices: int, grid: SpectrumGrid) -> layout.VoiceArrays:
    n_partials, n_bands, n_frames = padded(grid.n_partials), padded(grid.n_bands), grid.n_frames

    def floats(count: int) -> np.ndarray:
        return np.zeros(count, np.float32)

    states = np.zeros((n_voices, layout.N_STATES), np.int64)
    states[:, layout.PLAN_START] = -1
    per_partial = [floats(n_voices * n_partials) for _ in range(8)]
    return layout.VoiceArrays(  # type: ignore[call-arg]
        np.zeros((n_voices, layout.N_NUMBERS)),
        states,
        *per_partial,
        floats(n_voices * n_frames * n_partials),
        np.zeros((n_voices, n_frames), np.float32),
        floats(n_voices * n_frames * n_bands),
        floats(n_voices * n_bands),
        np.ascontiguousarray(grid.frame_seconds, np.float64),
    )
