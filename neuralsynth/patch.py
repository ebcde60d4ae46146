"""`Patch`: a preset with its model, decoded ahead into a bank of notes: all that a part of the engine plays.

Inference never runs while a block is computed: the bank decodes every key it is asked to prepare at a few
velocity layers, and a note-on mixes the two nearest layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from neuralsynth.errors import PresetError
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.preset import Preset, bare_preset, find_preset, load_preset
from neuralsynth.sound.voices import VoiceSound
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.units import db_to_gain

#: Velocity layers decoded per key where the recordings have several dynamics.
N_LAYERS = 6
_DECODE_BATCH = 16
_LEVEL_LAW_DB_PER_DECADE = 40.0  # General MIDI: level follows 40·log10(velocity / 127)
_LEAST_RISE = 0.25  # of that law: how much louder a louder layer is at least


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
        wanted = sorted({self._playable(note) for note in notes} - {note for note, _ in self._layers})
        at_once = max(1, _DECODE_BATCH // len(self.velocities))
        for start in range(0, len(wanted), at_once):
            self._decode(wanted[start : start + at_once])

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

    def _decode(self, keys: list[int]) -> None:
        n_layers = len(self.velocities)
        notes = np.repeat(np.array(keys, np.float32), n_layers)
        velocities = np.tile(self.velocities / 127.0, len(keys)).astype(np.float32)
        decoded = self.model.decode(np.tile(self.latent, (len(notes), 1)), notes, velocities)
        assert isinstance(decoded, Decoded)  # `Patch` refuses other kinds
        for i, key in enumerate(keys):
            rows = range(i * n_layers, (i + 1) * n_layers)
            gains = self._rising([_level_db(self.grid, decoded.partials[row], decoded.noise[row]) for row in rows])
            for layer, (row, gain) in enumerate(zip(rows, gains, strict=True)):
                partials, noise = decoded.partials[row] * gain, decoded.noise[row] * gain
                rate = _tail_rate(self.grid.frame_seconds, partials, noise)
                self._layers[key, layer] = VoiceSound(partials, decoded.ratios[row], decoded.cents[row], noise, rate)

    def _rising(self, levels_db: list[float]) -> np.ndarray:
        """Gains that make a key's layers rise with velocity where the recordings did not: the softer ones give way."""
        steps_db = _LEAST_RISE * _LEVEL_LAW_DB_PER_DECADE * np.diff(np.log10(np.maximum(self.velocities, 1.0)))
        wanted_db = list(levels_db)
        for layer in range(len(levels_db) - 2, -1, -1):
            wanted_db[layer] = min(wanted_db[layer], wanted_db[layer + 1] - steps_db[layer])
        return db_to_gain(np.array(wanted_db) - np.array(levels_db)).astype(np.float32)


def _level_db(grid: SpectrumGrid, partials: np.ndarray, noise: np.ndarray) -> float:
    """Mean level of the first second of a spectrum, dB."""
    early = grid.frame_seconds <= 1.0
    power = 0.5 * np.sum(partials[early] ** 2, axis=1) + np.sum(noise[early] ** 2, axis=1)
    energy = np.trapezoid(power, grid.frame_seconds[early])
    return float(10.0 * np.log10(max(energy, 1e-20)))


def _tail_rate(frame_seconds: np.ndarray, partials: np.ndarray, noise: np.ndarray) -> float:
    """How fast the last quarter of a note decays, per second (natural logarithm of the amplitude)."""
    power = 0.5 * np.sum(partials**2, axis=1) + np.sum(noise**2, axis=1)
    late = frame_seconds >= 0.75 * frame_seconds[-1]
    slope = np.polyfit(frame_seconds[late], 0.5 * np.log(np.maximum(power[late], 1e-20)), 1)[0]
    return float(-slope)


class Patch:
    """One complete sound: model, latent, envelope, effects. Made with `Patch.load`."""

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

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
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
