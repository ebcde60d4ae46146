"""`Instrument`: a preset with its model, decoded ahead into a bank of notes, ready to be played.

Inference never runs while a block is computed: the bank decodes every key it is asked to prepare at a few
velocity layers, and a note-on mixes the two nearest layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neuralsynth.errors import PresetError, UsageError
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import Preset, bare_preset, find_preset, load_preset
from neuralsynth.sound.voices import VoiceSound

#: Velocity layers decoded per key where the recordings have several dynamics.
N_LAYERS = 6
_DECODE_BATCH = 16
_LEVEL_LAW_DB_PER_DECADE = 40.0  # General MIDI: level follows 40·log10(velocity / 127)


@dataclass
class NoteBank:
    """Decoded notes of one latent point, by key and layer; fills itself on demand."""

    model: InstrumentModel
    latent: np.ndarray  # float32 [Z]
    _layers: dict[tuple[int, int], VoiceSound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lay out the velocity layers between the softest and the loudest recorded one."""
        spec = self.model.spec
        count = N_LAYERS if spec.velocity_high > spec.velocity_low else 1
        self.velocities = np.linspace(spec.velocity_low, spec.velocity_high, count)
        self.grid = spec.grid()

    def __len__(self) -> int:
        """Decoded spectra in the bank."""
        return len(self._layers)

    def prepare(self, notes: Iterable[int]) -> None:
        """Decode all layers of these keys, those not yet there, in batches."""
        wanted = [
            (note, layer)
            for note in sorted({self._playable(note) for note in notes})
            for layer in range(len(self.velocities))
            if (note, layer) not in self._layers
        ]
        for start in range(0, len(wanted), _DECODE_BATCH):
            self._decode(wanted[start : start + _DECODE_BATCH])

    def sound(self, note: int, velocity: float) -> VoiceSound:
        """The spectrum of a key struck with MIDI `velocity`, mixed from the two nearest layers."""
        note = self._playable(note)
        if (note, 0) not in self._layers:
            self.prepare([note])
        if len(self.velocities) == 1:
            return self._layers[note, 0]
        place = np.interp(velocity, self.velocities, np.arange(len(self.velocities)))
        layer = min(int(place), len(self.velocities) - 2)
        soft, loud, share = self._layers[note, layer], self._layers[note, layer + 1], np.float32(place - layer)
        if share == 0.0:
            return soft
        return VoiceSound(
            soft.partials + share * (loud.partials - soft.partials),
            soft.ratios,
            soft.cents + share * (loud.cents - soft.cents),
            soft.noise + share * (loud.noise - soft.noise),
            soft.tail_rate + float(share) * (loud.tail_rate - soft.tail_rate),
        )

    def _playable(self, note: int) -> int:
        """The key whose spectrum serves `note`: outside the trained range, that of the range's end."""
        return int(min(max(note, self.model.spec.note_low), self.model.spec.note_high))

    def _decode(self, keys: list[tuple[int, int]]) -> None:
        notes = np.array([note for note, _ in keys], np.float32)
        velocities = np.array([self.velocities[layer] / 127.0 for _, layer in keys], np.float32)
        decoded = self.model.decode(np.tile(self.latent, (len(keys), 1)), notes, velocities)
        for i, key in enumerate(keys):
            partials, noise = decoded.partials[i], decoded.noise[i]
            rate = _tail_rate(self.grid.frame_seconds, partials, noise)
            self._layers[key] = VoiceSound(partials, decoded.ratios[i], decoded.cents[i], noise, rate)


def _tail_rate(frame_seconds: np.ndarray, partials: np.ndarray, noise: np.ndarray) -> float:
    """How fast the last quarter of a note decays, per second (natural logarithm of the amplitude)."""
    power = 0.5 * np.sum(partials**2, axis=1) + np.sum(noise**2, axis=1)
    late = frame_seconds >= 0.75 * frame_seconds[-1]
    slope = np.polyfit(frame_seconds[late], 0.5 * np.log(np.maximum(power[late], 1e-20)), 1)[0]
    return float(-slope)


class Instrument:
    """What a player holds: sound, envelope, effects. Made with `Instrument.load`."""

    def __init__(self, preset: Preset, model: InstrumentModel, path: Path) -> None:
        """Join a preset and its model; names in the preset are checked against the model.

        Raises:
            PresetError: the preset names a latent point or axis that the model does not have, or the model
                is of a kind that cannot be played.
        """
        self.preset, self.model, self.path = preset, model, path
        spec = model.spec
        if spec.kind != "spectral":
            raise PresetError(f"{path}: its model is of kind {spec.kind!r}; this version plays 'spectral' ones")
        self.latent = self._latent()
        self.bank = NoteBank(model, self.latent)
        self._engines: dict = {}

    @classmethod
    def load(cls, name_or_path: str | Path) -> Instrument:
        """Load a shipped preset by name, a preset file, or a bare `.onnx` (neutral envelope, no effects).

        Raises:
            PresetError: unknown name, or a preset that is wrong.
            ModelError: an instrument file that is wrong.
        """
        path = find_preset(name_or_path)
        if path.suffix == ".onnx":
            model = InstrumentModel.load(path)
            return cls(bare_preset(path, model.spec.name), model, path)
        preset = load_preset(path)
        return cls(preset, InstrumentModel.load(path.parent / preset.model), path)

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.preset.name

    def velocity_gain(self, velocity: float) -> float:
        """Linear gain for what the recorded layers do not cover: softer or louder than any recording."""
        spec = self.model.spec
        covered = min(max(velocity, spec.velocity_low), spec.velocity_high)
        sensitivity = self.preset.sound.velocity_sensitivity
        decibels = _LEVEL_LAW_DB_PER_DECADE * np.log10(max(velocity, 1.0) / max(covered, 1.0))
        return float(10.0 ** (sensitivity * decibels / 20.0))

    def __call__(
        self,
        midi_messages: Iterable,
        duration: float,
        sample_rate: float = 48_000,
        num_channels: int = 2,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> np.ndarray:
        """Play MIDI offline, with the call of pedalboard's instrument plugins: float32 `[channels, samples]`.

        Args:
            midi_messages: mido messages with absolute `time` in seconds, or `(bytes, seconds)` pairs.
            duration: seconds of audio to return.
            num_channels: 1 (both sides averaged) or 2.
            buffer_size: samples computed at a time; it does not change the sound.
            reset: start from silence; with False the sound of the last call goes on.

        Raises:
            UsageError: an argument out of range.
        """
        from neuralsynth.engine import Engine, play_events
        from neuralsynth.events import to_events

        if num_channels not in (1, 2):
            raise UsageError(f"num_channels is {num_channels!r}; use 1 or 2")
        if not 0.0 <= duration <= 86_400.0:
            raise UsageError(f"duration is {duration!r}; use 0 to 86400 seconds")
        key = (float(sample_rate), int(buffer_size))
        if key not in self._engines:
            self._engines = {key: Engine(self, sample_rate, max_block_size=buffer_size)}
        engine = self._engines[key]
        if reset:
            engine.reset()
        n_samples = round(duration * sample_rate)
        blocks = list(play_events(engine, to_events(midi_messages, sample_rate), n_samples, buffer_size))
        audio = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0), np.float32)
        return audio if num_channels == 2 else audio.mean(axis=0, keepdims=True)

    def _latent(self) -> np.ndarray:
        spec, sound = self.model.spec, self.preset.sound
        point = sound.point or spec.default_point
        if point not in spec.points:
            raise PresetError(f"{self.path}: point {point!r} is unknown; use one of {', '.join(sorted(spec.points))}")
        latent = np.array(spec.points[point], np.float32)
        for name, position in sound.axes.items():
            if name not in spec.axes:
                known = ", ".join(sorted(spec.axes)) or "none, this model has no axes"
                raise PresetError(f"{self.path}: axis {name!r} is unknown; use one of {known}")
            axis = spec.axes[name]
            end = axis.high if position >= 0.0 else axis.low
            latent += np.float32(abs(position)) * np.array(end, np.float32)
        return latent
