"""Every number of a preset by name, and a preset with some of them changed.

Names are those of the preset file: `envelope.attack_seconds`, `filter.cutoff_hz`, `axes.brightness`, `latent.3`,
`effects.2.mix`. The last part alone does where only one knob has it (`cutoff_hz`), and so does the beginning of it
(`cutoff`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from neuralsynth.checking import one_of, shown
from neuralsynth.effect_table import EFFECTS, EffectSettings
from neuralsynth.errors import UsageError
from neuralsynth.knobs import Knob
from neuralsynth.patch import latent_of
from neuralsynth.preset import Preset
from neuralsynth.preset_sections import SECTIONS
from neuralsynth.settings import settings_of
from neuralsynth.spec import InstrumentSpec

#: How far one number of a latent is turned; the prior is a standard normal distribution.
LATENT_REACH = 3.0
#: Knobs that say what a player's hands do, or nothing in a rendered note.
_UNHEARD = ("modulation.", "voices.polyphony", "voices.glide_seconds", "tuning.")


def knobs_of(preset: Preset, spec: InstrumentSpec) -> dict[str, Knob]:
    """Every number that can be changed, by its full name.

    Raises:
        UsageError: the preset is made of layers, which have numbers of their own.
    """
    if preset.layers:
        raise UsageError(f"{preset.name}: is made of layers; name the preset of one of them")
    knobs = {}
    for section, struct in SECTIONS.items():
        for setting in settings_of(struct):
            name = f"{section}.{setting.name}"
            if isinstance(setting, Knob) and not name.startswith(_UNHEARD):
                knobs[name] = setting
    if spec.prior is None:
        del knobs["sound.random"]
    knobs |= {f"axes.{name}": Knob(f"axes.{name}", -1.0, 1.0, 0.0) for name in spec.axes}
    numbers = range(1, spec.character_size + 1)
    knobs |= {f"latent.{i}": Knob(f"latent.{i}", -LATENT_REACH, LATENT_REACH, 0.0) for i in numbers}
    for i, effect in enumerate(preset.effects, 1):
        settings = EFFECTS[effect.type].settings
        knobs |= {f"effects.{i}.{s.name}": s for s in settings if isinstance(s, Knob)}
    return knobs


def full_name(name: str, knobs: Mapping[str, Knob]) -> str:
    """The knob that a person means.

    Raises:
        UsageError: none or several; the text names the likeliest, or all of them.
    """
    if name in knobs:
        return name
    for found in (
        [full for full in knobs if full.rpartition(".")[2] == name],
        [full for full in knobs if full.rpartition(".")[2].startswith(name)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"knob {shown(name)} can be {', '.join(found[:8])}; write which one")
    raise UsageError(f"knob {shown(name)} is unknown; use one of {one_of(name, knobs)}")


def values_of(preset: Preset, spec: InstrumentSpec) -> dict[str, float]:
    """Where every number of `knobs_of` stands."""
    character, values = latent_of(preset.sound, spec), {}
    for name in knobs_of(preset, spec):
        section, _, key = name.partition(".")
        if section == "axes":
            values[name] = float(preset.sound.axes.get(key, 0.0))
        elif section == "latent":
            values[name] = float(character[int(key) - 1])
        elif section == "effects":
            number, _, setting = key.partition(".")
            values[name] = float(preset.effects[int(number) - 1].values[setting])
        else:
            values[name] = float(getattr(getattr(preset, section), key))
    return values


def changed(
    preset: Preset, spec: InstrumentSpec, changes: Mapping[str, float], knobs: Mapping[str, Knob] | None = None
) -> Preset:
    """The preset with numbers changed, by full name; a changed latent number makes its point a place of its own.

    `knobs` are those of `knobs_of`, where they are known already.

    Raises:
        UsageError: a name that is none, or a value out of range.
    """
    knobs = knobs if knobs is not None else knobs_of(preset, spec)
    sections: dict[str, dict[str, float]] = {}
    axes, effects = dict(preset.sound.axes), [dict(effect.values) for effect in preset.effects]
    latent, is_moved = latent_of(preset.sound, spec)[: spec.character_size].tolist(), False
    for name, value in changes.items():
        if name not in knobs:
            raise UsageError(f"knob {shown(name)} is unknown; use one of {one_of(name, knobs)}")
        section, _, key = name.partition(".")
        if section == "latent":
            latent[int(key) - 1], is_moved = float(value), True
            continue
        try:
            checked = knobs[name].check(round(value) if knobs[name].whole else float(value))
        except ValueError as error:
            raise UsageError(f"knob {error}") from error
        if section == "axes":
            axes[key] = checked
        elif section == "effects":
            number, _, setting = key.partition(".")
            effects[int(number) - 1][setting] = checked
        else:
            sections.setdefault(section, {})[key] = checked
    parts = {name: msgspec.structs.replace(getattr(preset, name), **values) for name, values in sections.items()}
    sound = msgspec.structs.replace(parts.get("sound", preset.sound), axes=axes)
    if is_moved:
        detail = () if "sound.random" in changes else (preset.sound.latent or ())[spec.character_size :]
        sound = msgspec.structs.replace(sound, point=None, latent=(*latent, *detail))
    chain = tuple(EffectSettings(e.type, values) for e, values in zip(preset.effects, effects, strict=True))
    return msgspec.structs.replace(preset, **(parts | {"sound": sound, "effects": chain}))
