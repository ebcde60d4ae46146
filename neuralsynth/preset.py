"""Presets: an instrument file plus how it is played, as TOML on disk and frozen structs in memory.

A preset is only data. It names files that lie beside it by their plain names, every number is held inside
the range of its knob, unknown keys are refused by name. `preset_sections` has what it can say, `routes` what
may move it, `presets/README.md` describes the format.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from neuralsynth.checking import file_beside, one_of, shown
from neuralsynth.effect_table import MAX_EFFECTS, EffectSettings, checked_effect
from neuralsynth.errors import PresetError, UsageError
from neuralsynth.preset_sections import (
    MAX_LAYERS,
    MAX_ROUTES,
    SECTIONS,
    Envelope,
    Envelope2,
    Filter,
    Layer,
    Lfo,
    Modulation,
    Morph,
    Sound,
    Tuning,
    Voices,
)
from neuralsynth.routes import Route
from neuralsynth.settings import check_version, checked_line, checked_struct, checked_tables
from neuralsynth.spec import ENCODER_SUFFIX
from neuralsynth.storage import whole_file
from neuralsynth.toml_file import read_toml, refuse_unknown, toml_lines, toml_value

FORMAT_VERSION = 1
MAX_PRESET_BYTES = 256 << 10
MAX_NAMED_BYTES = 1 << 20  # of all presets that one names together; more would take seconds to read
MAX_TAGS = 32
#: Files that name presets by channel and program are called so; they are no presets.
PERFORMANCE_SUFFIX = ".performance.toml"

_LISTS: dict[str, tuple[type[msgspec.Struct], int]] = {"routes": (Route, MAX_ROUTES), "layers": (Layer, MAX_LAYERS)}
_TEXTS = {"name": 100, "says": 500, "licence": 100, "author": 200}  # most characters of each
_KEYS = ("format_version", *_TEXTS, "tags", "model", *SECTIONS, *_LISTS, "effects")
_LAYERED_KEYS = {"format_version", *_TEXTS, "tags", "layers"}  # all else is said by the presets of the layers


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A checked preset. `model` is a plain file name in `folder`, where the preset lies.

    One made of `layers` has no model ("") and says nothing itself of how it plays: its layers' presets do.
    """

    name: str
    model: str = ""
    folder: Path
    says: str = ""
    tags: tuple[str, ...] = ()
    licence: str = ""
    author: str = ""
    sound: Sound = Sound()
    envelope: Envelope = Envelope()
    envelope_2: Envelope2 = Envelope2()
    filter: Filter = Filter()
    lfo_1: Lfo = Lfo()
    lfo_2: Lfo = Lfo()
    modulation: Modulation = Modulation()
    voices: Voices = Voices()
    tuning: Tuning = Tuning()
    morph: Morph = Morph()
    routes: tuple[Route, ...] = ()
    layers: tuple[Layer, ...] = ()
    effects: tuple[EffectSettings, ...] = ()

    @property
    def model_path(self) -> Path:
        """Where the instrument file lies."""
        return self.folder / self.model


def load_preset(path: Path | str) -> Preset:
    """Read a preset, or the bare preset of an instrument file when `path` ends in `.onnx`.

    Raises:
        PresetError: the file cannot be read, is no TOML, or holds a key or value that is not allowed, or one
            of the presets it names cannot be read.
    """
    path = Path(path)
    preset = _load(path)
    _check_named_presets(preset, path)
    return preset


def _load(path: Path) -> Preset:
    """Read a preset but none of those it names."""
    if path.suffix.lower() == ".onnx":
        return bare_preset(path)
    return _from_document(read_toml(path, MAX_PRESET_BYTES, PresetError), path)


def parse_preset(text: str, path: Path) -> Preset:
    """Read the text of a preset as if it lay at `path`, beside its model.

    Raises:
        PresetError: as `load_preset`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PresetError(f"{path}: is no TOML ({error})") from error
    preset = _from_document(document, path)
    _check_named_presets(preset, path)
    return preset


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
    _check_named_presets(_from_document(tomllib.loads(text), path), path)
    with whole_file(path) as part:
        part.write_text(text, "utf-8", newline="\n")


def save_with_model(preset: Preset, path: Path | str) -> list[Path]:
    """Write a preset, its model copied beside it where that lies elsewhere; returns the copies.

    Raises:
        UsageError: another file of the model's name lies there.
        PresetError, OutputError: as `save_preset`.
    """
    path, copies = Path(path), []
    model = preset.model_path
    if path.parent.resolve() != model.parent.resolve():
        pair = model.with_name(f"{model.stem}.check.npz")
        for source in (model, pair) if pair.is_file() else (model,):
            copies += _copied(source, path.parent)
    save_preset(msgspec.structs.replace(preset, folder=path.parent), path)
    return copies


def _copied(source: Path, folder: Path) -> list[Path]:
    """Copy a file into a folder; nothing if the same is there."""
    target = folder / source.name
    if target.exists():
        if target.is_file() and target.read_bytes() == source.read_bytes():
            return []
        raise UsageError(f"{target}: exists already and is not the model of this preset; write into another folder")
    with whole_file(target) as part:
        shutil.copyfile(source, part)
    return [target]


def preset_text(preset: Preset) -> str:
    """The preset as TOML, every value written out."""
    lines = [f"format_version = {FORMAT_VERSION}"]
    lines += [f"{key} = {toml_value(getattr(preset, key))}" for key in (*_TEXTS, "tags")]
    if preset.model:
        lines.append(f"model = {toml_value(preset.model)}")
    for section, struct in SECTIONS.items():
        value = getattr(preset, section)
        if not preset.layers or value != struct():
            lines += ["", f"[{section}]", *toml_lines(section, msgspec.structs.asdict(value))]
    for name in _LISTS:
        for item in getattr(preset, name):
            lines += ["", f"[[{name}]]", *toml_lines(name, msgspec.structs.asdict(item))]
    for effect in preset.effects:
        lines += ["", "[[effects]]", *toml_lines("effects", {"type": effect.type, **effect.values})]
    return "\n".join(lines) + "\n"


def shipped_folder() -> Path:
    """Where the presets that come with neuralsynth lie: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return package / "presets" if (package / "presets").is_dir() else package.parent / "presets"


def shipped_models() -> list[Path]:
    """The instrument files that come with neuralsynth, by name; their encoders are not among them."""
    return sorted(path for path in shipped_folder().glob("*.onnx") if not path.name.endswith(ENCODER_SUFFIX))


def shipped_presets() -> list[Path]:
    """The presets that come with neuralsynth, by name."""
    return sorted(path for path in shipped_folder().glob("*.toml") if not path.name.endswith(PERFORMANCE_SUFFIX))


def find_preset(name_or_path: Path | str) -> Path:
    """The file that a person means: a path to a `.toml` or `.onnx` file, or the name of a shipped preset.

    Raises:
        PresetError: there is no such file or preset; the text lists those there are, the likeliest first.
    """
    shipped = {path.stem: path for path in shipped_presets()}
    return find_file(name_or_path, "preset", shipped, (".toml", ".onnx"))


def find_file(name_or_path: Path | str, what: str, shipped: Mapping[str, Path], suffixes: tuple[str, ...]) -> Path:
    """The file that a person means: a path with one of these suffixes, or a name among the `shipped`.

    Raises:
        PresetError: there is no such file or name; the text lists the shipped ones, the likeliest first.
    """
    text = str(name_or_path)
    path = Path(text)
    try:
        if path.suffix.lower() in suffixes and path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise PresetError(f"{shown(text)}: cannot be a path ({getattr(error, 'strerror', None) or error})") from error
    if text.lower() in shipped:
        return shipped[text.lower()]
    known = f"the shipped ones are {one_of(text, shipped)}" if shipped else "none is shipped here"
    kinds = " or ".join(suffixes)
    raise PresetError(f"{shown(text)}: there is no such {what}; {known}; or give the path of a {kinds} file")


def named_preset(name: str, folder: Path, where: str) -> Path:
    """The file that a layer, a morph or a performance in `folder` means by `name`: one beside it, or a shipped preset.

    Raises:
        PresetError: there is no such preset, or the name leads out of the folder; the text starts with `where`.
    """
    if name.lower().endswith((".toml", ".onnx")):
        return file_beside(folder, name, where)
    try:
        return find_preset(name)
    except PresetError as error:
        raise PresetError(f"{where}: {error}") from error


def _from_document(document: dict[str, Any], path: Path) -> Preset:
    """Check a parsed preset and build it."""
    check_version(document, FORMAT_VERSION, path)
    refuse_unknown(document, _KEYS, f"{path}", PresetError)
    values: dict[str, Any] = {key: checked_line(document, key, limit, path) for key, limit in _TEXTS.items()}
    if not values["name"]:
        raise PresetError(f'{path}: name is missing; give it one, such as name = "Alto sax"')
    values |= {s: checked_struct(struct, document.get(s, {}), f"{path}: [{s}]") for s, struct in SECTIONS.items()}
    values |= {name: _list(document, name, path) for name in _LISTS}
    if values["layers"] and (more := [key for key in document if key not in _LAYERED_KEYS]):
        raise PresetError(f"{path}: has layers and {more[0]}; say in the presets of the layers how they play")
    values |= {
        "tags": _tags(document.get("tags", []), path),
        "effects": checked_chain(document.get("effects", []), path),
    }
    preset = Preset(**values, model=_model(document, path), folder=path.parent)
    for name, file in (("scale", preset.tuning.scale), ("keyboard", preset.tuning.keyboard)):
        if file:
            file_beside(path.parent, file, f"{path}: [tuning]: {name}")
    return preset


def _tags(tags: Any, path: Path) -> tuple[str, ...]:
    texts = isinstance(tags, list) and all(isinstance(t, str) and len(t) <= 40 and t.isprintable() for t in tags)
    if not texts or len(tags) > MAX_TAGS:
        raise PresetError(f"{path}: tags is {shown(tags)}; use a list of at most {MAX_TAGS} short texts")
    return tuple(tags)


def _model(document: Mapping[str, Any], path: Path) -> str:
    """The name of the model; "" for a preset made of layers, which has none."""
    model = document.get("model")
    if document.get("layers"):
        return ""
    if not isinstance(model, str) or not model.endswith(".onnx"):
        raise PresetError(f"{path}: model is {shown(model)}; name the .onnx file beside the preset")
    file_beside(path.parent, model, f"{path}: model")
    return model


def _list(document: Mapping[str, Any], name: str, path: Path) -> tuple[Any, ...]:
    """Check the routes or the layers."""
    struct, most = _LISTS[name]
    tables = checked_tables(document.get(name, []), name, most, path)
    return tuple(checked_struct(struct, table, f"{path}: {name[:-1]} {i}") for i, table in enumerate(tables, 1))


def checked_chain(effects: Any, path: Path) -> tuple[EffectSettings, ...]:
    """Check the `[[effects]]` of a file; each is a table with a `type`.

    Raises:
        PresetError: there are too many, or one is wrong.
    """
    checked = []
    for i, effect in enumerate(checked_tables(effects, "effects", MAX_EFFECTS, path), 1):
        values = {key: value for key, value in effect.items() if key != "type"}
        checked.append(checked_effect(effect.get("type"), values, f"{path}: effect {i}"))
    return tuple(checked)


def _check_named_presets(preset: Preset, path: Path) -> None:
    """Read the presets that the layers and the morph name, each once; they must have a model of their own."""
    named = {layer.preset: f"layer {i}" for i, layer in reversed(list(enumerate(preset.layers, 1)))}
    if preset.morph.to:
        named[preset.morph.to] = "[morph]: to"
    n_bytes = 0
    for name, place in named.items():
        where = f"{path}: {place}"
        file = named_preset(name, path.parent, where)
        n_bytes += 0 if file.suffix.lower() == ".onnx" else file.stat().st_size
        if n_bytes > MAX_NAMED_BYTES:
            raise PresetError(f"{where}: the presets named so far have more than {MAX_NAMED_BYTES >> 10} kB together")
        try:
            layered = bool(_load(file).layers)
        except PresetError as error:
            raise PresetError(f"{where}: {error}") from error
        if layered:
            raise PresetError(f"{where}: {shown(name)} is made of layers itself; name one that has a model")
