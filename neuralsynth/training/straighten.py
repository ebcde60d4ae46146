"""Axes put straight: what an axis of a finished instrument does to the quality of another is taken back at each point.

Training turns notes by one quality at a time, and still a network does a little more at some points: a slower attack
takes from a struck bar the moments at which its second partial sounds, and so its brightness. What all axes do is
measured over the keyboard of a point, and each gets as much of the others as undoes it: the inverse of the matrix of
gains, which in control is called a static decoupler (Skogestad and Postlethwaite, Multivariable Feedback Control, 3.4).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.analysis.descriptors import UNITS
from neuralsynth.model import InstrumentModel
from neuralsynth.scoring.axes import JUST_HEARD, described, moved, offsets, qualities_of
from neuralsynth.spec import InstrumentSpec, LatentAxis
from neuralsynth.training.export import rewrite_spec

#: Of another axis, in parts of its own way: less is left as it was, and no axis gets more.
LEAST_TAKEN_BACK, MOST_TAKEN_BACK = 0.05, 0.5
N_NOTES, DRAWS, SEED = 8, 32, 1
_N_ENDS = 6  # notes at which the ends of an axis are measured


def gains(model: InstrumentModel, point: str) -> np.ndarray:
    """How far each axis moves each quality at a named point, in parts of what the quality's own axis does, `[A, A]`.

    A note at which an own axis moves by less than can be heard counts by as much less.
    """
    names = qualities_of(model.spec.axes)
    positions, qualities = moved(model, point, N_NOTES, DRAWS, SEED)
    heard = qualities[:, :, [list(UNITS).index(name) for name in names]] / [JUST_HEARD[name] for name in names]
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (positions, heard))
    slopes = np.stack([np.linalg.lstsq(one, other)[0] for one, other in zip(x, y, strict=True)])
    own = np.einsum("kaa->ka", slopes)
    weight = 1.0 / np.maximum(np.abs(own), 1.0) ** 2
    power = (weight * own**2).sum(axis=0)
    return np.einsum("kad,kd,kd->ad", slopes, own, weight) / np.maximum(power, 1e-9)


def taken_back(gain: np.ndarray) -> np.ndarray:
    """What each axis is mixed from, `[A, A]`: all of itself, and of others what undoes the gains of `gain`."""
    mix = np.linalg.pinv(gain)
    mix = np.where(np.abs(mix) < LEAST_TAKEN_BACK, 0.0, np.clip(mix, -MOST_TAKEN_BACK, MOST_TAKEN_BACK))
    np.fill_diagonal(mix, 1.0)
    return mix


def straight_axes(model: InstrumentModel, point: str) -> dict[str, LatentAxis]:
    """The axes of a named point that go another way when they are put straight, with what they do there."""
    here, found = model.spec.around(point), {}
    names = qualities_of(here.axes)
    axes = [here.axes[name] for name in names]
    notes = np.linspace(here.note_low + 1, here.note_high - 1, _N_ENDS).round()
    velocity = 0.5 * (here.velocity_low + here.velocity_high)
    for name, axis, mix in zip(names, axes, taken_back(gains(model, point)), strict=True):
        if np.count_nonzero(mix) == 1:
            continue
        ends = offsets(axes, np.stack([-mix, mix]))
        told = [described(model, np.tile(here.points[point] + end, (_N_ENDS, 1)), notes, velocity) for end in ends]
        low, high = (float(np.median(qualities[:, list(UNITS).index(name)])) for qualities in told)
        if low < high:
            least, most = ([round(float(x), 6) for x in end] for end in ends)
            found[name] = LatentAxis(least, most, round(low, 5), round(high, 5), axis.unit, axis.says)
    return found


def straightened(model: InstrumentModel) -> InstrumentSpec:
    """The spec of a finished instrument with its axes put straight, at each of its points.

    A GAN's turns are arithmetic that takes back what they do to each other (`training.gan_turns`): they are left alone.
    """
    spec = model.spec
    if spec.kind != "spectral" or spec.family == "gan" or len(qualities_of(spec.axes)) < 2:
        return spec
    found = {point: straight_axes(model, point) for point in spec.points}
    if len(found) == 1:
        return msgspec.structs.replace(spec, axes=spec.axes | found[spec.default_point])
    own = {point: spec.own_axes.get(point, {}) | axes for point, axes in found.items()}
    return msgspec.structs.replace(spec, own_axes={point: axes for point, axes in own.items() if axes})


def straighten(path: Path) -> InstrumentSpec:
    """Put the axes of a finished instrument file straight. Returns the new spec.

    Raises:
        ModelError: the file is none.
        OutputError: the file cannot be written.
    """
    spec = straightened(InstrumentModel(path.read_bytes(), path))
    rewrite_spec(path, spec)
    return spec
