"""Prints the page of the shipped presets: `python -m neuralsynth.gallery_page docs/presets.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from neuralsynth.preset import Preset, load_preset, shipped_presets
from neuralsynth.storage import whole_file

#: Tag -> the heading of the presets that carry it; the first of a preset's tags that stands here decides.
FAMILIES = {
    "drums": "Drums",
    "ensemble": "Ensembles",
    "pad": "Pads",
    "keys": "Keys",
    "brass": "Brass",
    "pluck": "Plucks and mallets",
    "mallets": "Plucks and mallets",
    "bass": "Basses",
    "lead": "Leads",
    "split": "Splits",
}
_INSTRUMENTS, _OTHERS = "Instruments", "Others"
_HEAD = """# The presets

What comes with neuralsynth, printed by `python -m neuralsynth.gallery_page docs/presets.md`. The name in the first
column is what `-p` takes: `neuralsynth render SONG.mid -o song.wav -p warm-pad`. All are text files in `presets/`; to
make your own, copy one ([the format](../presets/README.md)). [The workshop's page](../export/README.md) names the
recordings behind the models.
"""


def page() -> str:
    """The whole page, from the shipped presets."""
    families: dict[str, list[tuple[str, Preset]]] = {name: [] for name in (_INSTRUMENTS, *FAMILIES.values(), _OTHERS)}
    for path in shipped_presets():
        preset = load_preset(path)
        families[family_of(path.stem, preset)].append((path.stem, preset))
    return "\n".join([_HEAD, *(_part(name, rows) for name, rows in families.items() if rows)])


def family_of(stem: str, preset: Preset) -> str:
    """The heading that a preset stands under; one that is named as its model is a plain instrument."""
    if not preset.layers and preset.model_path.stem == stem:
        return _INSTRUMENTS
    return next((FAMILIES[tag] for tag in preset.tags if tag in FAMILIES), _OTHERS)


def _part(name: str, rows: Iterable[tuple[str, Preset]]) -> str:
    lines = ["| preset | what it is | made of | tags | licence |", "| --- | --- | --- | --- | --- |"]
    for stem, preset in rows:
        cells = (f"`{stem}`", preset.says, _made_of(preset), ", ".join(preset.tags), preset.licence)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([f"## {name}", "", *lines, ""])


def _made_of(preset: Preset) -> str:
    """The models that a preset plays, the points between which it lies, or its layers."""
    if preset.layers:
        return " + ".join(dict.fromkeys(Path(layer.preset).stem for layer in preset.layers))
    model, point, morph = preset.model_path.stem, preset.sound.point, preset.morph
    if morph.point:
        return f"{model}: {point} → {morph.point}" if point else f"{model} → {morph.point}"
    return f"{model} → {Path(morph.to).stem}" if morph.to else model


def main(path: Path) -> None:
    """Write the page to `path`."""
    with whole_file(path) as part:
        part.write_text(page(), "utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
