"""Named places in a trained latent space: a point per training instrument, and axes that do what they are called.

The decoder was trained on recordings turned by known amounts of one quality or another, each at its own direction of
the latent space (`vae.Vae.axes`). What it really does at the ends of a direction is measured and written beside it.
"""

from __future__ import annotations

import numpy as np
import torch

from neuralsynth.analysis.descriptors import SAYS, UNITS, describe
from neuralsynth.spec import LatentAxis, Sustain, Traits, point_name
from neuralsynth.spec_checks import MAX_VARIATIONS
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.augment import TURNS, turnable
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.detail import details_of
from neuralsynth.training.encoder import Coder
from neuralsynth.training.texture import measure_texture
from neuralsynth.training.vae import Pointed

MIN_LOOP_SECONDS = 0.7


def point_names(table: NoteTable, name: str) -> list[str]:
    """What the point of each group of recordings is called."""
    names: list[str] = []
    for group in table.groups:
        label = point_name(group, point_name(name))
        while label in names:
            label += "-2"
        names.append(label)
    return names


def named_points(coder: Coder, table: NoteTable, name: str) -> dict[str, list[float]]:
    """The learned point of each group of recordings."""
    places = coder.group_places().detach()
    return {label: rounded(place) for label, place in zip(point_names(table, name), places, strict=True)}


def named_traits(table: NoteTable, name: str) -> dict[str, Traits]:
    """Range, dynamics, sustain and texture of each group of recordings that differs in them from all together."""
    whole, own = traits_of(table), map(traits_of, table.by_group())
    return {label: traits for label, traits in zip(point_names(table, name), own, strict=True) if traits != whole}


def named_variations(coder: Coder, table: NoteTable, name: str) -> dict[str, list[list[float]]]:
    """How the hits of each piece of a kit differ from each other: the detail of some of them, softest first.

    The mean of a piece is taken off: what all its hits have in common is the network's to say, which learned it by ear,
    where details are fitted to the levels of the analysis. Nothing for notes.
    """
    if table.ratios is None:
        return {}
    details = details_of(coder, table)
    found = {}
    for group, label in enumerate(point_names(table, name)):
        mine = np.flatnonzero(table.group == group)
        mine = mine[np.argsort(table.velocity[mine], kind="stable")]
        apart = details[mine] - details[mine].mean(axis=0)
        chosen = apart[np.unique(np.linspace(0, len(mine) - 1, MAX_VARIATIONS).round().astype(int))]
        found[label] = [[0.0] * coder.decoder.character_size + [round(float(x), 2) for x in hit] for hit in chosen]
    return found


def traits_of(table: NoteTable) -> Traits:
    """Range, dynamics, sustain and texture of the notes of a table."""
    velocity, sustain = np.round(table.velocity * 127.0).astype(int), sustain_region(table)
    return Traits(
        note_low=int(np.floor(table.note.min())),
        note_high=int(np.ceil(table.note.max())),
        velocity_low=int(velocity.min()),
        velocity_high=int(velocity.max()),
        sustain=sustain,
        texture=measure_texture(table, sustain),
    )


@torch.no_grad()
def named_axes(coder: Pointed, table: NoteTable) -> dict[str, LatentAxis]:
    """The turns as axes, with what they do at the first group's point; one that does not do as it says is left out."""
    coder.eval()
    own = table.by_group()[0]
    pick = np.linspace(0, len(own.note) - 1, min(6, len(own.note))).round().astype(int)
    note, velocity = np.sort(own.note)[pick], np.full(len(pick), np.median(own.velocity))
    axes, point = {}, coder.group_places().detach()[0]
    for index, (name, is_turned) in enumerate(zip(TURNS, turnable(table), strict=True)):
        if not is_turned:
            continue
        ends, values = (coder.turn_step(index, -1.0), coder.turn_step(index, 1.0)), []
        for offset in ends:
            latent = (point + offset).expand(len(pick), -1)
            outputs = coder.decoder(latent, *(torch.tensor(x, dtype=torch.float32) for x in (note, velocity)))
            values.append(np.median([told[name] for told in described(note, outputs, table.grid)]))
        if values[1] > values[0]:
            low, high = (rounded(end) for end in ends)
            least, most = (round(float(value), 5) for value in values)
            axes[name] = LatentAxis(low, high, least, most, UNITS[name], SAYS[name])
    return axes


def rounded(numbers: torch.Tensor) -> list[float]:
    """Latent numbers as a spec has them."""
    return [round(float(x), 6) for x in numbers]


def described(note: np.ndarray, outputs, grid: SpectrumGrid) -> list[dict[str, float]]:
    """What decoded notes are like, see `analysis.descriptors`."""
    partials, ratios, _, noise = (value.numpy().astype(np.float64) for value in outputs)
    return [describe(partials[i], ratios[i], noise[i], grid, float(note[i])) for i in range(len(note))]


def sustain_region(table: NoteTable) -> Sustain | None:
    """Where a held note may wander: after the attack has settled, while most recordings last.

    None where notes decay, or where some do: then each group has a region of its own.
    """
    if not table.sustains.all():
        return None
    times = table.grid.frame_seconds
    power = (10.0 ** (table.partials_db / 10.0)).sum(1) + (10.0 ** (table.noise_db / 10.0)).sum(1)
    level = np.median(10.0 * np.log10(power), axis=0)
    lasting = int(np.sort(table.n_valid)[len(table.n_valid) // 5]) - 1
    end = float(times[max(1, lasting)])
    settled = np.median(level[(times > 0.4 * end) & (times <= 0.9 * end)])
    start = float(times[int(np.argmax(level >= settled - 1.5))])
    start = min(max(start, 0.25), 0.4 * end)
    if end - start < MIN_LOOP_SECONDS:
        start = max(0.0, end - MIN_LOOP_SECONDS)
    return Sustain(round(start, 4), round(end, 4)) if end > start else None
