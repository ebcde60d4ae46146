"""`Patch`: a preset joined with its model, ready to be played by a `Part`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from neuralsynth.errors import PresetError
from neuralsynth.model import InstrumentModel
from neuralsynth.note_bank import LEVEL_LAW_DB_PER_DECADE, NoteBank
from neuralsynth.panel import Panel
from neuralsynth.preset import Preset, bare_preset, find_preset, load_preset, named_preset
from neuralsynth.preset_sections import Layer, Sound
from neuralsynth.routes import destination
from neuralsynth.sound.layout import MAX_CONTROLS
from neuralsynth.sound.rows import VoiceSound
from neuralsynth.spec import InstrumentSpec
from neuralsynth.struck import Struck
from neuralsynth.tuning import Tuning, read_scala, stretched
from neuralsynth.wiring import LATENT_REACH

#: Variants of a drum that are decoded, and the seed they are drawn with.
N_VARIANTS, VARIANT_SEED = 8, 40


class Patch:
    """One complete sound: model, latent, envelope, modulation, effects. Made with `Patch.load`.

    A preset made of layers has no model of its own: `zones` are then the patches of its layers, otherwise the patch
    itself.
    """

    def __init__(self, preset: Preset, model: InstrumentModel, path: Path, softest: float = 0.0) -> None:
        """Join a preset and its model; names in the preset are checked against the model.

        Args:
            softest: the lowest MIDI velocity that will be struck: layers that only softer notes need are not decoded.

        Raises:
            PresetError: the preset names a latent point or axis that the model does not have, or the model
                is of a kind that cannot be played.
        """
        self.preset, self.model, self.path = preset, model, path
        if model.spec.kind == "waveform" and model.spec.waveform is None:
            raise PresetError(f"{path}: its model does not say how its audio is heard; wrap it with: neuralsynth adopt")
        self._check_routes()
        self.latent, sound = self._latent(preset.sound), preset.sound
        named, here = self._named(sound), self._here(sound)
        steps, struck = (self._variants(named), self._struck(named)) if named else (None, None)
        softest = 0.0 if self._plays_other_layers else self.curved(softest)
        self.bank = NoteBank(model, self.latent, here, steps, struck, softest)
        self.zones: tuple[tuple[Layer, Patch], ...] = ((Layer(""), self),)
        other = self._morph_end()
        self.panel = Panel(preset, model.spec.axes, model.spec.character_size, other.preset if other else None)
        for route in preset.routes:
            if route.to not in self.panel.places:
                most = f"a preset moves at most {MAX_CONTROLS} axes and latent numbers of its model"
                raise PresetError(f"{path}: a route leads to {route.to}, but {most}, and axes come first")
        self._lead_directions(other)
        self.tuning = self._tuning()
        self.shift = preset.sound.transpose_semitones + preset.sound.tune_cents / 100.0

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
        if preset.layers:
            return cls._of_layers(preset, path)
        return cls(preset, InstrumentModel.load(path.parent / preset.model), path)

    @classmethod
    def _of_layers(cls, preset: Preset, path: Path) -> Self:
        """A preset made of layers: each preset that it names is loaded once."""
        files = [named_preset(layer.preset, path.parent, f"{path}: layers") for layer in preset.layers]
        loaded = {file: cls.load(file) for file in dict.fromkeys(files)}
        patches: dict[tuple[Path, str | None], Self] = {(file, None): patch for file, patch in loaded.items()}
        for layer, file in zip(preset.layers, files, strict=True):
            if (file, layer.point) not in patches:
                patches[file, layer.point] = loaded[file].at_point(layer.point)
        first = patches[files[0], preset.layers[0].point]
        patch = cls(first.preset, first.model, path)
        patch.zones = tuple(
            (layer, patches[file, layer.point]) for layer, file in zip(preset.layers, files, strict=True)
        )
        patch.preset = preset
        return patch

    def at_point(self, point: str | None) -> Self:
        """The same patch at another named point of its model, which both share."""
        sound = msgspec.structs.replace(self.preset.sound, point=point, latent=None)
        return type(self)(msgspec.structs.replace(self.preset, sound=sound), self.model, self.path)

    @property
    def spec(self) -> InstrumentSpec:
        """What the model says of the place in it that is played: range, dynamics, sustain and texture are its own."""
        return self.bank.spec

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.preset.name

    @cached_property
    def notes(self) -> np.ndarray:
        """The pitch of each key as a note number with its fraction, NaN for silent ones, `[128]`."""
        return self.tuning.notes

    def curved(self, velocity: float) -> float:
        """A MIDI velocity after the preset's velocity curve."""
        curve = self.preset.sound.velocity_curve
        return velocity if curve == 0.0 else 127.0 * (velocity / 127.0) ** (2.0**-curve)

    def velocity_gain(self, velocity: float) -> float:
        """Linear gain for what the recorded layers do not cover: softer or louder than any recording."""
        spec = self.spec
        covered = min(max(velocity, spec.velocity_low), spec.velocity_high)
        sensitivity = self.preset.sound.velocity_sensitivity
        decibels = LEVEL_LAW_DB_PER_DECADE * np.log10(max(velocity, 1.0) / max(covered, 1.0))
        return float(10.0 ** (sensitivity * decibels / 20.0))

    def _latent(self, sound: Sound) -> np.ndarray:
        """The place in the model that a sound names, gives or leaves to the prior, moved along named axes."""
        spec = self.model.spec
        if (sound.point or spec.default_point) not in spec.points:
            known = ", ".join(sorted(spec.points))
            raise PresetError(f"{self.path}: point {sound.point!r} is unknown; use one of {known}")
        if sound.latent is not None:
            self._check_latent(sound.latent)
        if sound.random and spec.prior is None:
            raise PresetError(f"{self.path}: [sound]: random is {sound.random}, but this model has no prior; use 0")
        latent = latent_of(sound, spec)
        for name, position in sound.axes.items():
            self._check_axis(name)
            latent += _along(self._here(sound), name, position)
        return latent

    def _named(self, sound: Sound) -> str | None:
        """The point that a sound lies at, None where it is a place of its own."""
        is_nameless = sound.latent is not None or (sound.random > 0 and sound.point is None)
        return None if is_nameless else sound.point or self.model.spec.default_point

    def _here(self, sound: Sound) -> InstrumentSpec:
        """What the model says of the place of a sound."""
        spec, named = self.model.spec, self._named(sound)
        return spec.around(named) if named else spec.at(latent_of(sound, spec))

    def _check_latent(self, numbers: tuple[float, ...]) -> None:
        """Refuse numbers of a place that do not fit the model's latent space."""
        spec, reach = self.model.spec, self.model.latent_reach
        if len(numbers) not in (spec.latent_size, spec.character_size):
            sizes = " or ".join(str(n) for n in sorted({spec.character_size, spec.latent_size}))
            raise PresetError(f"{self.path}: [sound]: latent has {len(numbers)} numbers; this model takes {sizes}")
        for i, number in enumerate(numbers, 1):
            if not abs(number) <= reach:
                raise PresetError(
                    f"{self.path}: [sound]: latent.{i} is {number:g}; use a number from {-reach:g} to {reach:g}"
                )

    @property
    def _plays_other_layers(self) -> bool:
        """Whether other layers may sound than were struck."""
        routed = any(route.to == "sound.dynamics" for route in self.preset.routes)
        return routed or self.preset.sound.dynamics != 0.0 or bool(self.preset.morph.to)

    def _variants(self, point: str) -> np.ndarray | None:
        """Steps `[K, Z]` from a point to its variants, drawn once and for all; None where all hits are alike."""
        spec, amount = self.model.spec, self.preset.sound.variation
        if amount == 0.0 or not spec.variations.get(point):
            return None
        rng = np.random.default_rng(VARIANT_SEED)
        return np.stack([spec.vary(point, rng, amount) for _ in range(N_VARIANTS)])

    def _struck(self, point: str) -> Struck | None:
        """The strokes of a point; None where it has none, or where the low part of its sound is to change.

        A waveform is neither filtered nor led to another sound.
        """
        strokes, preset = self.model.spec.strokes.get(point), self.preset
        leads = preset.morph.to or preset.morph.point or preset.sound.axes
        moved = any(route.to.partition(".")[0] in ("axes", "latent") for route in preset.routes)
        if strokes is None or preset.filter.type != "off" or leads or moved:
            return None
        if preset.sound.variation == 0.0:
            return Struck(strokes, np.ones((1, len(strokes.velocities))))
        return Struck.drawn(strokes, np.random.default_rng(VARIANT_SEED), N_VARIANTS)

    def _check_axis(self, name: str) -> None:
        axes = self.model.spec.axes
        if name not in axes:
            known = ", ".join(sorted(axes)) or "none, this model has no axes"
            raise PresetError(f"{self.path}: axis {name!r} is unknown; use one of {known}")

    def _check_routes(self) -> None:
        for route in self.preset.routes:
            section, _, name = route.to.partition(".")
            assert destination(route.to) is not None
            if section == "axes":
                self._check_axis(name)
            if section == "latent" and int(name) > self.model.spec.character_size:
                size = self.model.spec.character_size
                raise PresetError(f"{self.path}: a route leads to {route.to}; this model has latent.1 to latent.{size}")

    def _morph_end(self) -> Patch | None:
        """The patch at the other end of the morph, None without one."""
        morph = self.preset.morph
        if morph.point:
            self._latent(Sound(point=morph.point))
        if not morph.to:
            return None
        file = named_preset(morph.to, self.path.parent, f"{self.path}: [morph]: to")
        preset = bare_preset(file) if file.suffix.lower() == ".onnx" else load_preset(file)
        return Patch(_without_morph(preset), InstrumentModel.load(preset.model_path), file)

    def _lead_directions(self, other: Patch | None) -> None:
        """Tell the bank where the directions of timbre lead: the morph, then both ends of every control."""
        directions = self.bank.directions
        if other is not None:
            far = other.bank
            own, velocities = self.bank, self.bank.velocities.tolist()
            directions[0] = lambda keys: far.layers_for(velocities, own.rows.grid, keys, own.region)
        elif self.preset.morph.point:
            directions[0] = self._at(self._latent(Sound(self.preset.morph.point, self.preset.sound.axes)))
        for i, name in enumerate(self.panel.controls):
            section, _, key = name.partition(".")
            for side, end in enumerate((-1.0, 1.0)):
                directions[1 + 2 * i + side] = self._towards(section, key, end)

    def _towards(self, section: str, key: str, end: float):
        """The sounds at an end of a control: of an axis, or of a latent number counted from 1."""

        def layers(keys: Sequence[int]) -> list[list[VoiceSound]]:
            if section == "axes":
                step = _along(self.spec, key, end) - _along(self.spec, key, self.preset.sound.axes.get(key, 0.0))
            else:
                step = np.zeros_like(self.latent)
                step[int(key) - 1] = end * LATENT_REACH
            return self.bank.layers_at(self.latent + step, keys)

        return layers

    def _at(self, latent: np.ndarray):
        def layers(keys: Sequence[int]) -> list[list[VoiceSound]]:
            return self.bank.layers_at(latent, keys)

        return layers

    def _tuning(self) -> Tuning:
        """The preset's own tuning: its scale, its concert pitch, its stretch."""
        settings, folder = self.preset.tuning, self.path.parent
        if settings.scale:
            mapping = folder / settings.keyboard if settings.keyboard else None
            tuning = read_scala(folder / settings.scale, mapping).shifted(1200.0 * np.log2(settings.a4_hz / 440.0))
        else:
            tuning = Tuning.equal(settings.a4_hz)
        return stretched(tuning, settings.stretch) if settings.stretch else tuning


def latent_of(sound: Sound, spec: InstrumentSpec) -> np.ndarray:
    """The latent `[Z]` float32 of a sound before its axes: its own numbers, its point, and for the rest a draw."""
    latent = spec.place([])
    if sound.random and spec.prior is not None:
        latent = spec.place(spec.prior.draw(sound.random))
    if sound.latent is not None:
        latent[: len(sound.latent)] = sound.latent
    elif sound.point or not sound.random:
        latent[: spec.character_size] = spec.points[sound.point or spec.default_point]
    return latent


def _along(spec: InstrumentSpec, axis: str, position: float) -> np.ndarray:
    """The step in the latent space to a position on a named axis."""
    ends = spec.axes[axis]
    return np.float32(abs(position)) * spec.place(ends.high if position >= 0.0 else ends.low)


def _without_morph(preset: Preset) -> Preset:
    """A preset as the end of a morph: it does not lead further."""
    return msgspec.structs.replace(preset, morph=type(preset.morph)())
