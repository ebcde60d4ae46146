"""What an instrument's axes do: how far each moves the quality that it is called by, and the others with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from neuralsynth.analysis.descriptors import UNITS, describe
from neuralsynth.model import InstrumentModel
from neuralsynth.spec import LatentAxis

#: A standard deviation of this much can just be heard.
JUST_HEARD = {"brightness": 0.03, "noisiness": 0.3, "attack": 0.15, "decay": 0.15}


def qualities_of(axes: Mapping[str, LatentAxis]) -> list[str]:
    """The axes that are called by a quality which can be measured."""
    return [name for name in axes if name in UNITS]


def offsets(axes: Sequence[LatentAxis], positions: np.ndarray) -> np.ndarray:
    """What positions -1..1 `[…, A]` on some axes add to a latent, `[…, Z]`."""
    low, high = np.array([axis.low for axis in axes]), np.array([axis.high for axis in axes])
    return np.maximum(positions, 0.0) @ high + np.maximum(-positions, 0.0) @ low


def described(model: InstrumentModel, latents: np.ndarray, notes: np.ndarray, velocity: float) -> np.ndarray:
    """The qualities `[N, D]` of notes at some latents `[N, Z]`, in the order and units of `UNITS`.

    Args:
        notes: MIDI note numbers `[N]`.
        velocity: MIDI, 0..127, of all of them.
    """
    n, grid = len(notes), model.spec.grid()
    batch = model.decode(latents, notes, np.full(n, velocity / 127.0))
    partials, ratios, noise = (x.astype(np.float64) for x in (batch.partials, batch.ratios, batch.noise))
    told = [describe(partials[i], ratios[i], noise[i], grid, float(notes[i])) for i in range(n)]
    return np.array([[one[name] for name in UNITS] for one in told])


def moved(
    model: InstrumentModel, point: str, n_notes: int = 8, draws: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """All axes that can be measured turned at once, each on its own, at notes over the keyboard of a named point.

    Returns:
        Positions `[K, N, A]`, uniform in -1..1, and the qualities there `[K, N, D]`.
    """
    here = model.spec.around(point)
    axes = [here.axes[name] for name in qualities_of(here.axes)]
    positions = np.random.default_rng(seed).uniform(-1.0, 1.0, (n_notes, draws, len(axes)))
    notes = np.linspace(here.note_low + 1, here.note_high - 1, n_notes).round()
    velocity, latent = 0.5 * (here.velocity_low + here.velocity_high), np.array(here.points[point])
    return positions, np.stack(
        [
            described(model, latent + step, np.full(draws, note), velocity)
            for step, note in zip(offsets(axes, positions), notes, strict=True)
        ]
    )
