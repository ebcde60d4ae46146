"""Named places in a trained latent space: a point per training instrument, and axes that do what they are called.

The decoder was trained on recordings turned by known amounts of one quality or another, each at its own direction of
the latent space (`vae.Vae.axes`). What it really does at the ends of a direction is measured and written beside it.
"""

from __future__ import annotations

import numpy as np
import torch

from neuralsynth.analysis.descriptors import SAYS, UNITS, describe
from neuralsynth.spec import LatentAxis, Sustain, point_name
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.augment import TURNS, turnable
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.vae import Vae

MIN_LOOP_SECONDS = 0.7


def named_points(vae: Vae, table: NoteTable, name: str) -> dict[str, list[float]]:
    """The learned point of each group of recordings."""
    points: dict[str, list[float]] = {}
    for index, group in enumerate(table.groups):
        label = point_name(group, point_name(name))
        while label in points:
            label += "-2"
        points[label] = [round(float(x), 6) for x in vae.points[index].detach()]
    return points


@torch.no_grad()
def named_axes(vae: Vae, table: NoteTable, point: list[float]) -> dict[str, LatentAxis]:
    """Axes around a point; one whose measured ends do not differ as it says is left out."""
    vae.eval()
    pick = np.linspace(0, len(table.note) - 1, min(6, len(table.note))).round().astype(int)
    note, velocity = table.note[np.argsort(table.note)][pick], np.full(len(pick), np.median(table.velocity))
    axes = {}
    for name, direction, is_turned in zip(TURNS, vae.axes.numpy(), turnable(table), strict=True):
        if not is_turned:
            continue
        low, high = -direction, direction
        values = []
        for offset in (low, high):
            latent = np.tile(np.asarray(point) + offset, (len(pick), 1))
            outputs = vae.decoder(*(torch.tensor(x, dtype=torch.float32) for x in (latent, note, velocity)))
            values.append(np.median([told[name] for told in _described(note, outputs, table.grid)]))
        if values[1] > values[0]:
            axes[name] = LatentAxis(
                [round(float(x), 6) for x in low],
                [round(float(x), 6) for x in high],
                round(float(values[0]), 5),
                round(float(values[1]), 5),
                UNITS[name],
                SAYS[name],
            )
    return axes


def _described(note: np.ndarray, outputs, grid: SpectrumGrid) -> list[dict[str, float]]:
    partials, ratios, _, noise = (value.numpy().astype(np.float64) for value in outputs)
    return [describe(partials[i], ratios[i], noise[i], grid, float(note[i])) for i in range(len(note))]


def sustain_region(table: NoteTable) -> Sustain | None:
    """Where a held note may wander: after the attack has settled, while most recordings last. None if it decays."""
    if not table.sustains:
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
