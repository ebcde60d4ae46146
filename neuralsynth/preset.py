"""Presets: an instrument file plus how it is played, as TOML on disk and frozen structs in memory.

A preset is only data. It names files that lie beside it by their plain names, every number is held inside
the range of its knob, unknown keys are refused by name. `presets/README.md` describes the format.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from neuralsynth.checking import checked_number, file_beside, one_of, shown
from neuralsynth.effect_table import MAX_EFFECTS, EffectSettings, checked_effect
from neuralsynth.errors import PresetError
from neuralsynth.knobs import Knob, by_name
from neuralsynth.regular_file import read_regular_file
from neuralsynth.storage import whole_file

FORMAT_VERSION = 1
MAX_PRESET_BYTES = 256 << 10
MAX_DOTS = 32  # on one line
MAX_AXES = 64
MAX_TAGS = 32

_AXIS = Knob("axis", -1.0, 1.0, 0.0, "", 1.0, "position along a named axis of the model")

#: The knobs of each section of a preset: [sound], [envelope], [modulation], [voices].
SECTIONS: dict[str, tuple[Knob, ...]] = {
    "sound": (
        Knob("gain_db", -60.0, 24.0, 0.0, "dB", 1.0, "level of the whole preset"),
        Knob("transpose_semitones", -48, 48, 0, "semitones", 1.0, "every key sounds that much higher (whole number)"),
        Knob("tune_cents", -100.0, 100.0, 0.0, "cents", 1.0, "fine tuning"),
        Knob("velocity_sensitivity", 0.0, 2.0, 1.0, "", 1.0, "how far a soft touch lowers the level"),
    ),
    "envelope": (
        Knob("attack_seconds", 0.0, 20.0, 0.0, "s", 0.35, "from key press to full level"),
        Knob("decay_seconds", 0.0, 20.0, 0.0, "s", 0.35, "from full level to the sustain level (60 dB of the way)"),
        Knob("sustain_level", 0.0, 1.0, 1.0, "", 1.0, "level while the key is held, as a gain"),
        Knob("release_seconds", 0.003, 20.0, 0.08, "s", 0.35, "from key release to 60 dB below"),
    ),
    "modulation": (
        Knob("bend_range_semitones", 0.0, 96.0, 2.0, "semitones", 0.5, "what the pitch wheel reaches"),
        Knob("vibrato_rate_hz", 0.1, 12.0, 5.5, "Hz", 0.5, "speed of the vibrato"),
        Knob("vibrato_depth_cents", 0.0, 200.0, 35.0, "cents", 0.5, "depth of the vibrato at full modulation wheel"),
    ),
    "voices": (Knob("polyphony", 1, 256, 64, "voices", 0.5, "notes that may sound at once (whole number)"),),
}  # fmt: skip
_WHOLE = {"transpose_semitones", "polyphony"}


class Sound(msgspec.Struct, frozen=True):
    """What is decoded from the model, and its level and tuning. `point` None is the model's default point."""

    point: str | None = None
    axes: dict[str, float] = {}
    gain_db: float = 0.0
    transpose_semitones: int = 0
    tune_cents: float = 0.0
    velocity_sensitivity: float = 1.0


class Envelope(msgspec.Struct, frozen=True):
    """The ADSR on top of the note's own evolution."""

    attack_seconds: float = 0.0
    decay_seconds: float = 0.0
    sustain_level: float = 1.0
    release_seconds: float = 0.08


class Modulation(msgspec.Struct, frozen=True):
    """What the wheels do."""

    bend_range_semitones: float = 2.0
    vibrato_rate_hz: float = 5.5
    vibrato_depth_cents: float = 35.0


class Voices(msgspec.Struct, frozen=True):
    """How many notes sound at once."""

    polyphony: int = 64


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A checked preset. `model` is a plain file name in `folder`, where the preset lies."""

    name: str
    model: str
    folder: Path
    says: str = ""
    tags: tuple[str, ...] = ()
    licence: str = ""
    author: str = ""
    sound: Sound = Sound()
    envelope: Envelope = Envelope()
    modulation: Modulation = Modulation()
    voices: Voices = Voices()
    effects: tuple[EffectSettings, ...] = ()

    @property
    def model_path(self) -> Path:
        """Where the instrument file lies."""
        return self.folder / self.model


_STRUCTS = {"sound": Sound, "envelope": Envelope, "modulation": Modulation, "voices": Voices}
_TEXTS = {"name": 100, "says": 500, "licence": 100, "author": 200}  # most characters of each
_KEYS = ("format_version", *_TEXTS, "tags", "model", *SECTIONS, "effects")


def load_preset(path: Path | str) -> Preset:
    """Read a preset, or the bare preset of an instrument file when `path` ends in `.onnx`.

    Raises:
        PresetError: the file cannot be read, is no TOML, or holds a key or value that is not allowed.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        return bare_preset(path)
    data = read_regular_file(path, 4 * MAX_PRESET_BYTES, PresetError)
    if len(data) > MAX_PRESET_BYTES:
        raise PresetError(f"{path}: is larger than {MAX_PRESET_BYTES >> 10} kB, the most a preset may have")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PresetError(f"{path}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    _refuse_long_keys(text, path)
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise PresetError(f"{path}: is nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and Python's own for a number of thousands of digits
        raise PresetError(f"{path}: is no TOML: {error}") from error
    return _from_document(document, path)


def _refuse_long_keys(text: str, path: Path) -> None:
    """Refuse a line such as `a.a.a.a… = 1`: tomllib's time grows with the square of the dots (minutes for 100 kB)."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MAX_DOTS:
            raise PresetError(f"{path}: line {number} has more than {MAX_DOTS} dots; write one value per line")


def bare_preset(model_path: Path | str, name: str | None = None) -> Preset:
    """The neutral preset of an instrument file: its default point, plain envelope, no effects.

    Raises:
        PresetError: there is no such file.
    """
    path = Path(model_path)
    if not path.is_file():
        raise PresetError(f"{path}: there is no such instrument file")
    return Preset(name=name or path.stem, model=path.name, folder=path.parent)


def save_preset(preset: Preset, path: Path | str) -> None:
    """Write a preset that `load_preset` reads back as it was; `path` must lie beside its model.

    Raises:
        PresetError: a value of the preset is out of range.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    text = preset_text(preset)
    _from_document(tomllib.loads(text), path)
    with whole_file(path) as part:
        part.write_text(text, "utf-8", newline="\n")


def preset_text(preset: Preset) -> str:
    """The preset as TOML, every value written out."""
    lines = [f"format_version = {FORMAT_VERSION}"]
    lines += [f"{key} = {_toml(getattr(preset, key))}" for key in (*_TEXTS, "tags", "model")]
    for section in SECTIONS:
        lines += ["", f"[{section}]", *_table_lines(section, msgspec.structs.asdict(getattr(preset, section)))]
    for effect in preset.effects:
        lines += ["", "[[effects]]", *_table_lines("effects", {"type": effect.type, **effect.values})]
    return "\n".join(lines) + "\n"


def _table_lines(name: str, values: Mapping[str, Any]) -> list[str]:
    """The lines of table `name`: one per value, and tables within it last, under headings of their own."""
    lines = [f"{key} = {_toml(v)}" for key, v in values.items() if v is not None and not isinstance(v, Mapping)]
    for key, table in values.items():
        if isinstance(table, Mapping) and table:
            lines += [f"[{name}.{key}]", *(f"{_toml(str(k))} = {_toml(v)}" for k, v in table.items())]
    return lines


def _toml(value: Any) -> str:
    """One value as TOML. JSON's strings are TOML's for printable text."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else repr(value)


def shipped_folder() -> Path:
    """Where the presets that come with neuralsynth lie: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return package / "presets" if (package / "presets").is_dir() else package.parent / "presets"


def shipped_presets() -> list[Path]:
    """The presets that come with neuralsynth, by name."""
    return sorted(shipped_folder().glob("*.toml"))


def find_preset(name_or_path: Path | str) -> Path:
    """The file that a person means: a path to a `.toml` or `.onnx` file, or the name of a shipped preset.

    Raises:
        PresetError: there is no such file or preset; the text lists those there are, the likeliest first.
    """
    text = str(name_or_path)
    path = Path(text)
    try:
        if path.suffix.lower() in (".toml", ".onnx") and path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise PresetError(f"{shown(text)}: cannot be a path ({getattr(error, 'strerror', None) or error})") from error
    shipped = {path.stem: path for path in shipped_presets()}
    if text.lower() in shipped:
        return shipped[text.lower()]
    known = f"the shipped ones are {one_of(text, shipped)}" if shipped else "none is shipped here"
    raise PresetError(f"{shown(text)}: there is no such preset; {known}; or give the path of a .toml or .onnx file")


def _from_document(document: dict[str, Any], path: Path) -> Preset:
    """Check a parsed preset and build it."""
    document = _upgraded(document, path)
    _refuse_unknown(document, _KEYS, f"{path}")
    values: dict[str, Any] = {key: _text(document, key, limit, path) for key, limit in _TEXTS.items()}
    if not values["name"]:
        raise PresetError(f'{path}: name is missing; give it one, such as name = "Alto sax"')
    model = document.get("model")
    if not isinstance(model, str) or not model.endswith(".onnx"):
        raise PresetError(f"{path}: model is {shown(model)}; name the .onnx file beside the preset")
    file_beside(path.parent, model, f"{path}: model")
    sections = {name: _section(document.get(name, {}), name, path) for name in SECTIONS}
    return Preset(
        **values,
        tags=_tags(document.get("tags", []), path),
        model=model,
        folder=path.parent,
        effects=_effects(document.get("effects", []), path),
        **sections,
    )


def _upgraded(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Bring an older document to `FORMAT_VERSION`; version 1 is the first, so there is nothing to change yet."""
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PresetError(f"{path}: format_version is {shown(version)}; use {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise PresetError(
            f"{path}: is of format version {shown(version)}, this neuralsynth reads up to {FORMAT_VERSION}; "
            "update with: pip install -U neuralsynth"
        )
    return document


def _refuse_unknown(table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    allowed = tuple(allowed)
    for key in table:
        if key not in allowed:
            raise PresetError(f"{where}: {shown(key)} is unknown; use {one_of(key, allowed)}")


def _text(document: Mapping[str, Any], key: str, limit: int, path: Path) -> str:
    value = document.get(key, "")
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise PresetError(f"{path}: {key} is {shown(value)}; use a text of at most {limit} characters on one line")
    return value


def _tags(tags: Any, path: Path) -> tuple[str, ...]:
    texts = isinstance(tags, list) and all(isinstance(t, str) and len(t) <= 40 and t.isprintable() for t in tags)
    if not texts or len(tags) > MAX_TAGS:
        raise PresetError(f"{path}: tags is {shown(tags)}; use a list of at most {MAX_TAGS} short texts")
    return tuple(tags)


def _section(table: Any, section: str, path: Path) -> Any:
    """Check one section and build its struct; what is not given has its default."""
    where = f"{path}: [{section}]"
    if not isinstance(table, dict):
        raise PresetError(f"{where} is {shown(table)}; use a table")
    knobs = by_name(SECTIONS[section])
    others = ("point", "axes") if section == "sound" else ()
    _refuse_unknown(table, (*others, *knobs), where)
    values: dict[str, Any] = {key: _number(knobs[key], value, where) for key, value in table.items() if key in knobs}
    if "point" in table:
        values["point"] = _text(table, "point", 200, path)
    if "axes" in table:
        values["axes"] = _axes(table["axes"], where)
    return _STRUCTS[section](**values)


def _axes(axes: Any, where: str) -> dict[str, float]:
    if not isinstance(axes, dict) or len(axes) > MAX_AXES:
        raise PresetError(f"{where}: axes is {shown(axes)}; use a table of at most {MAX_AXES} names and numbers")
    if not all(key and key.isprintable() and len(key) <= 200 for key in axes):
        raise PresetError(f"{where}: axes has a name that is empty, too long or not printable")
    return {key: _number(Knob(f"axes.{key}", _AXIS.low, _AXIS.high, 0.0), value, where) for key, value in axes.items()}


def _number(knob: Knob, value: Any, where: str) -> float | int:
    """Check one value against its knob."""
    try:
        number = checked_number(knob, value)
        if knob.name not in _WHOLE:
            return number
        if number != int(number):
            raise ValueError(f"{knob.name} is {number!r}; use a whole number from {knob.low:g} to {knob.high:g}")
        return int(number)
    except ValueError as error:
        raise PresetError(f"{where}: {error}") from error


def _effects(effects: Any, path: Path) -> tuple[EffectSettings, ...]:
    """Check the chain; each effect is a table with a `type`."""
    if not isinstance(effects, list) or not all(isinstance(effect, dict) for effect in effects):
        raise PresetError(f"{path}: effects is {shown(effects)}; write each effect as a [[effects]] table")
    if len(effects) > MAX_EFFECTS:
        raise PresetError(f"{path}: has {len(effects)} effects; use at most {MAX_EFFECTS}")
    checked = []
    for i, effect in enumerate(effects, 1):
        values = {key: value for key, value in effect.items() if key != "type"}
        checked.append(checked_effect(effect.get("type"), values, f"{path}: effect {i}"))
    return tuple(checked)
