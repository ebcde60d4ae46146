"""Prints the tables of `presets/README.md` from the code: `python -m neuralsynth.format_page presets/README.md`.

The page has pairs of marker comments; what stands between them is replaced, the rest is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from neuralsynth.effect_table import EFFECTS, Effect, EffectSettings
from neuralsynth.effects import EffectChain
from neuralsynth.errors import UsageError
from neuralsynth.knobs import Knob
from neuralsynth.performance import Program, ProgramRange
from neuralsynth.preset_sections import SECTIONS, Layer
from neuralsynth.prior import Coupling, Prior
from neuralsynth.routes import DESTINATIONS, SOURCES, Destination, DestinationName, Route, SourceName, destination
from neuralsynth.settings import Choice, FileName, NumberList, Numbers, PresetName, Setting, Switch, Text, settings_of
from neuralsynth.spec import Detail, InstrumentSpec, LatentAxis, Provenance, Quality, Sustain, Texture, Traits, Waveform
from neuralsynth.storage import whole_file
from neuralsynth.toml_file import toml_value

LATENCY_SAMPLE_RATE = 48_000

#: What each field of the spec means.
_SPEC_SAYS = {
    "format_version": "this page describes version 1",
    "kind": "what the graph gives: note spectra, or audio",
    "family": "the kind of model: `vae`, `gan`, …",
    "name": "for people",
    "sample_rate": "Hz of the recordings; the instrument plays at any rate",
    "waveform": "of kind `waveform`, how its audio is heard, see below; without it the file cannot be played",
    "frame_seconds": "times of the T frames, from 0 up; of kind `waveform` those of the grid on which audio is heard",
    "band_edges_hz": "edges of the B noise bands",
    "n_partials": "P",
    "latent_size": "Z",
    "detail": "what the last numbers of the latent are, see below; null where there are no such numbers",
    "points": "named places in latent space, Z numbers each, the detail left out",
    "default_point": "the point a preset gets when it names none",
    "axes": "named directions in latent space, see below",
    "own_axes": "axes of points at which they go another way than elsewhere, by point and name",
    "prior": "where in the latent space plausible sounds lie, see below; null where that is not known",
    "traits": "range, dynamics, sustain and texture of points that have their own, see below",
    "strokes": "of drums whose strokes repeat each other's waveform: the low part of some learned ones, by point",
    "variations": "of drums: how recorded hits differ from their point, a latent step each; hits are mixtures of them",
    "note_low": "lowest recorded MIDI note",
    "note_high": "highest recorded MIDI note",
    "velocity_low": "softest recorded layer, MIDI velocity",
    "velocity_high": "loudest recorded layer; equal when there is one",
    "sustain": "where a held note wanders, see below; null for sounds that decay",
    "texture": "how a held note lives, see below; null for sounds that decay or stand still",
    "licence": "of the recordings and so of the instrument",
    "origin": "where the recordings come from",
    "provenance": "how it was trained, see below",
    "quality": "how close it is, measured, see below; null where no recording could be left out",
}
_PARTS = {
    "waveform": Waveform,
    "detail": Detail,
    "axes": LatentAxis,
    "prior": Prior,
    "couplings": Coupling,
    "traits": Traits,
    "sustain": Sustain,
    "texture": Texture,
    "provenance": Provenance,
    "quality": Quality,
}


def pages() -> dict[str, str]:
    """The generated parts by the name in their markers."""
    structs = {struct: section for section, struct in reversed(SECTIONS.items())}  # both LFOs are one struct
    structs |= {Route: "routes", Layer: "layers", Program: "programs"}
    return {
        **{name: _table(map(_setting_row, settings_of(struct))) for struct, name in structs.items()},
        "sources": _table(_source_rows(), ("source", "what it is")),
        "destinations": _table(_destination_rows(), ("destination", "moved in", "at most")),
        "effect-list": _effect_list(),
        "effects": "\n\n".join(map(_effect_part, EFFECTS.values())),
        "spec": _spec_table(),
    }


def with_tables(text: str) -> str:
    """`text` with every generated part brought up to date.

    Raises:
        UsageError: a pair of markers is missing.
    """
    for name, part in pages().items():
        begin, end = f"<!-- {name}: printed by neuralsynth.format_page -->", f"<!-- {name}: end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise UsageError(f"the markers {begin} and {end} are missing")
        text = pattern.sub(lambda _: f"{begin}\n{part}\n{end}", text)  # noqa: B023 - used before the next turn
    return text


def _table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...] = ("key", "range", "default", "what it is")) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


#: What may be written for a setting that is a text.
_KINDS: dict[type[Text], str] = {
    Text: "text",
    PresetName: "a preset",
    SourceName: "a source",
    DestinationName: "a destination",
    ProgramRange: "a program or a range",
}


def _setting_row(setting: Setting) -> tuple[str, str, str, str]:
    default = f"`{toml_value(setting.default)}`"
    if isinstance(setting, Knob):
        unit, whole = f" {setting.unit}" if setting.unit else "", ", whole" if setting.whole else ""
        allowed, default = f"{setting.low:g} to {setting.high:g}{unit}{whole}", f"{setting.default:g}"
    elif isinstance(setting, Choice):
        allowed = ", ".join(f"`{toml_value(option)}`" for option in setting.options)
    elif isinstance(setting, Switch):
        allowed = "`true`, `false`"
    elif isinstance(setting, Text):
        allowed = _file_kind(setting) if isinstance(setting, FileName) else _KINDS[type(setting)]
        default = "required" if setting.required else "none"
    elif isinstance(setting, Numbers):
        allowed, default = f"names, each {setting.low:g} to {setting.high:g}", "none"
    elif isinstance(setting, NumberList):
        allowed, default = "a list of numbers", "none"
    else:
        allowed, default = "the plugin's", "none"
    return f"`{setting.name}`", allowed, default, setting.says


def _file_kind(setting: FileName) -> str:
    return f"a {' or '.join(f'`{suffix}`' for suffix in setting.suffixes)} file" if setting.suffixes else "text"


def _source_rows() -> Iterable[tuple[str, str]]:
    yield from ((f"`{name}`", says) for name, says in SOURCES.items())
    yield "`cc0` to `cc119`", "a controller, 0 to 1"


def _destination_rows() -> Iterable[tuple[str, str, str]]:
    yield from (_destination_row(f"`{name}`", target) for name, target in DESTINATIONS.items())
    for name, meaning in (("axes.NAME", "axis of the model"), ("latent.N", "number of the latent, from 1")):
        target = destination(name.replace("N", "1"))
        assert target is not None
        yield _destination_row(f"`{name}`, any {meaning}", target)


def _destination_row(name: str, target: Destination) -> tuple[str, str, str]:
    return name, target.unit or "its own range", f"{target.limit:g}"


def _latency(effect: Effect) -> str:
    if effect.type == "vst3":
        return "the plugin's + 1.3"
    if effect.type == "convolution":
        return "0"
    samples = EffectChain([EffectSettings(effect.type)], LATENCY_SAMPLE_RATE).latency_samples
    return f"{1000.0 * samples / LATENCY_SAMPLE_RATE:.3g}"


def _effect_list() -> str:
    rows = ((f"[`{e.type}`](#{e.type})", e.says, _latency(e), _exactness(e)) for e in EFFECTS.values())
    return _table(
        rows, ("type", "what it is", f"latency at {LATENCY_SAMPLE_RATE // 1000} kHz, ms", "same samples for any cut")
    )


def _exactness(effect: Effect) -> str:
    return {"exact": "yes", "grid": "yes, on a fixed grid"}.get(effect.cut, f"no: {effect.cut}")


def _effect_part(effect: Effect) -> str:
    says = f"### {effect.type}\n\n{effect.says[0].upper()}{effect.says[1:]}."
    return f"{says}\n\n{_table(map(_setting_row, effect.settings))}" if effect.settings else f"{says} No settings."


def _spec_table() -> str:
    rows = [(f"`{f.name}`", _type_name(f.type), _SPEC_SAYS[f.name]) for f in msgspec.structs.fields(InstrumentSpec)]
    parts = [_table(rows, ("key", "type", "what it is"))]
    for key, part in _PARTS.items():
        names = ", ".join(f"`{f.name}` ({_type_name(f.type)})" for f in msgspec.structs.fields(part))  # type: ignore[arg-type]
        parts.append(f"`{key}`: {(part.__doc__ or '').split(chr(10))[0]} {names}.")
    return "\n\n".join(parts)


def _type_name(kind: object) -> str:
    text = getattr(kind, "__name__", str(kind)) if not hasattr(kind, "__args__") else str(kind)
    return re.sub(r"neuralsynth\.\w+\.", "", text).replace("typing.", "").replace("|", "or").replace("NoneType", "null")


def main(path: Path) -> None:
    """Bring the page at `path` up to date."""
    text = with_tables(path.read_text("utf-8"))
    with whole_file(path) as part:
        part.write_text(text, "utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
