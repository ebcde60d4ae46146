"""Single notes of a patch as a sampler needs them: held, let go, measured."""

from __future__ import annotations

import copy
import math

import msgspec
import numpy as np

from neuralsynth.engine import Engine
from neuralsynth.events import NOTE_OFF, NOTE_ON, Event
from neuralsynth.part import note_of
from neuralsynth.patch import Patch
from neuralsynth.preset_sections import Layer
from neuralsynth.units import gain_to_db

_BLOCK_SECONDS = 0.25
#: A sound below this is over, relative to its peak.
QUIET_DB = -80.0
#: What ends because it is over, and what is cut off.
_SHORT_FADE_SECONDS, _LONG_FADE_SECONDS = 0.01, 1.0
#: A held sound that falls by more while it ought to stay is no sound to loop.
_STILL_HELD_DB = -10.0
_SETTLED_SECONDS = 0.1  # after attack and decay
_LONGEST_SETTLING_SECONDS = 4.0
_LEVEL_SECONDS = 2.0
_LOOP_SECONDS, _SLOW_LOOP_SECONDS = (1.2, 3.0), (2.0, 5.0)


class NoteSource:
    """One layer of a patch, alone, note by note: the same note always gives the same samples."""

    def __init__(self, patch: Patch, layer: Layer, zone: Patch, sample_rate: float, effects: bool) -> None:
        """Prepare to play `zone`, which is a layer of `patch` (or the patch itself)."""
        if not effects:
            zone = copy.copy(zone)
            zone.preset = msgspec.structs.replace(zone.preset, effects=())
        solo = copy.copy(patch)
        solo.zones = ((layer, zone),)
        self.layer, self.zone, self.sample_rate = layer, zone, sample_rate
        self.is_mono = patch.zones[0][1].preset.voices.mode != "poly"
        self._engine = Engine(solo, sample_rate)
        self._block = round(_BLOCK_SECONDS * sample_rate)

    def prepare(self, keys: list[int]) -> None:
        """Decode these keys."""
        self._engine.prepare({0: keys})

    def playable_keys(self) -> list[int]:
        """The keys of the layer that sound."""
        return [key for key in range(self.layer.key_low, self.layer.key_high + 1) if math.isfinite(self.note(key))]

    def keys_in_range(self) -> list[int]:
        """Those that lie in the range of its instrument."""
        spec, fixed = self.zone.spec, self.layer.fixed_key >= 0
        return [k for k in self.playable_keys() if fixed or spec.note_low <= round(self.note(k)) <= spec.note_high]

    def note(self, key: int) -> float:
        """The MIDI note number, with its fraction, that a key sounds; NaN for silence."""
        return note_of(self.layer, self.zone.notes, key) + self.zone.shift

    @property
    def has_dynamics(self) -> bool:
        """Whether a firmer touch changes more than the level."""
        spec, preset = self.zone.spec, self.zone.preset
        return (
            spec.velocity_high > spec.velocity_low
            or (preset.filter.type != "off" and preset.filter.velocity_octaves != 0.0)
            or any("velocity" in (route.source, route.via) for route in preset.routes)
        )

    def touches(self, n_layers: int) -> list[float]:
        """The velocities at which to sample `n_layers` layers."""
        spec, layer = self.zone.spec, self.layer
        if spec.velocity_high > spec.velocity_low:
            if n_layers == 1:
                return [min(max(100.0, layer.velocity_low), layer.velocity_high)]
            unbent = 2.0**self.zone.preset.sound.velocity_curve  # the inverse of `Patch.curved`
            wanted = np.linspace(spec.velocity_low, spec.velocity_high, n_layers)
            return [127.0 * (velocity / 127.0) ** unbent for velocity in wanted]
        if n_layers == 1:
            return [min(max(100.0, layer.velocity_low), layer.velocity_high)]
        width = (layer.velocity_high + 1 - layer.velocity_low) / n_layers
        return [layer.velocity_low + (i + 0.5) * width for i in range(n_layers)]

    @property
    def sustains(self) -> bool:
        """Whether its notes sound for as long as a key is held."""
        return self.zone.spec.sustain is not None and self.zone.preset.envelope.sustain_level > 0.01

    @property
    def settled_seconds(self) -> float:
        """When a held note has reached the level it keeps."""
        envelope, sustain = self.zone.preset.envelope, self.zone.spec.sustain
        seconds = envelope.attack_seconds + (envelope.decay_seconds if envelope.sustain_level < 1.0 else 0.0)
        begins = sustain.start_seconds if sustain else 0.0
        return min(max(seconds, begins) + _SETTLED_SECONDS, _LONGEST_SETTLING_SECONDS)

    @property
    def loop_seconds(self) -> tuple[float, float]:
        """The shortest and the longest loop worth having: longer where voices beat or an LFO turns."""
        preset = self.zone.preset
        is_slow = preset.voices.unison > 1 or any(route.source.startswith("lfo") for route in preset.routes)
        return _SLOW_LOOP_SECONDS if is_slow else _LOOP_SECONDS

    @property
    def level_seconds(self) -> float:
        """The stretch from a note's beginning over which its level is compared."""
        return max(_LEVEL_SECONDS, min(self.zone.preset.envelope.attack_seconds, _LONGEST_SETTLING_SECONDS) + 1.0)

    def held(self, key: int, velocity: int, seconds: float) -> np.ndarray:
        """A key struck and not let go: float32 `[2, n]`, from the note-on."""
        engine = self._engine
        engine.reset()
        n_samples = round(seconds * self.sample_rate)
        audio = engine.process([_on(key, velocity)], n_samples + engine.latency_samples)
        return audio[:, engine.latency_samples :]

    def until_quiet(self, key: int, velocity: int, most_seconds: float) -> tuple[np.ndarray, bool]:
        """A held key until its sound has died away, faded out; and whether that was within `most_seconds`."""
        engine, peak = self._engine, 0.0
        blocks: list[np.ndarray] = []
        engine.reset()
        skip, events = engine.latency_samples, [_on(key, velocity)]
        limit = round(most_seconds * self.sample_rate)
        while sum(block.shape[1] for block in blocks) < limit + skip:
            blocks.append(engine.process(events, self._block))
            events, loudest = [], float(np.max(np.abs(blocks[-1])))
            peak = max(peak, loudest)
            if peak > 0.0 and loudest < 0.5 * peak * 10.0 ** (QUIET_DB / 20.0):
                break
        audio = np.concatenate(blocks, axis=1)[:, skip : skip + limit]
        loud = np.flatnonzero(np.max(np.abs(audio), axis=0) > peak * 10.0 ** (QUIET_DB / 20.0))
        end = int(loud[-1]) + 1 if len(loud) else 1
        is_whole = end < limit
        return faded(audio[:, :end], self.sample_rate, is_whole), is_whole

    def release_seconds(self, key: int, effects: bool) -> float:
        """From key release to 60 dB below; with effects, whose tails a sampler cannot play, measured."""
        preset = self.zone.preset
        if not effects or not preset.effects:
            return preset.envelope.release_seconds
        engine, hold = self._engine, self.level_seconds
        engine.reset()
        blocks = [engine.process([_on(key, 100)], round(hold * self.sample_rate))]
        n_last = round(0.1 * self.sample_rate)
        before = _rms_db(blocks[0][:, -n_last:])
        tail = engine.process([Event(0, bytes([NOTE_OFF, key, 64]))], round(20.0 * self.sample_rate))
        levels = [_rms_db(tail[:, at : at + n_last]) for at in range(0, tail.shape[1] - n_last, n_last)]
        above = [i for i, level in enumerate(levels) if level > before - 60.0]
        return max(preset.envelope.release_seconds, 0.1 * (above[-1] + 1) if above else 0.0)


def stays(audio: np.ndarray, first: int, sample_rate: float) -> bool:
    """Whether a held note goes on from sample `first` without dying away."""
    n = min(round(0.5 * sample_rate), (audio.shape[1] - first) // 2)
    return n > 0 and _rms_db(audio[:, -n:]) - _rms_db(audio[:, first : first + n]) > _STILL_HELD_DB


def faded(audio: np.ndarray, sample_rate: float, is_whole: bool) -> np.ndarray:
    """A sound that ends in silence: a short fade where it is over, a long one where it is cut off."""
    seconds = _SHORT_FADE_SECONDS if is_whole else _LONG_FADE_SECONDS
    n_fade = min(round(seconds * sample_rate), audio.shape[1])
    out = audio.copy()
    out[:, audio.shape[1] - n_fade :] *= np.cos(0.5 * np.pi * np.arange(1, n_fade + 1) / n_fade).astype(np.float32) ** 2
    return out


def level_db(audio: np.ndarray, seconds: float, sample_rate: float, loop: tuple[int, int] | None = None) -> float:
    """Level of the first seconds of a note, dB of full scale; what is missing is the loop once more, or silence."""
    n_samples = max(1, round(seconds * sample_rate))
    if loop is not None:
        turns = 1 + max(0, n_samples - loop[1]) // (loop[1] + 1 - loop[0])
        audio = np.concatenate([audio[:, : loop[1] + 1], *[audio[:, loop[0] : loop[1] + 1]] * turns], axis=1)
    return _rms_db(audio[:, :n_samples], n_samples)


def _rms_db(audio: np.ndarray, n_samples: int | None = None) -> float:
    n = max(1, n_samples or audio.shape[1]) * len(audio)
    return float(gain_to_db(math.sqrt(float(np.sum(np.square(audio, dtype=np.float64))) / n)))


def _on(key: int, velocity: int) -> Event:
    return Event(0, bytes([NOTE_ON, key, velocity]))
