"""The golden pair of an adopted generator: what its own graph gave, before anything was wrapped around it.

Computed a second time and in another way than `adoption_graph` does it, so that a mistake there is seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuralsynth.adoption_graph import INPUTS, Mapping
from neuralsynth.errors import ModelError
from neuralsynth.model import open_session, reason
from neuralsynth.spec import InstrumentSpec
from neuralsynth.units import note_to_hz

MOST_NOTES = 3
_TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "int32": np.int32}


def golden_pair(data: bytes, mapping: Mapping, spec: InstrumentSpec, where: Path) -> dict[str, np.ndarray]:
    """Inputs at a few points over the range, and the audio of the unwrapped graph `data` for them.

    Raises:
        ModelError: the graph cannot be run, or takes numbers of a type that cannot be given.
    """
    points = [spec.place(point) for point in list(spec.points.values())[:MOST_NOTES]]
    given = {
        "latent": np.stack(points),
        "note": np.linspace(spec.note_low, spec.note_high, len(points)).astype(np.float32),
        "velocity": np.linspace(1.0, 0.4, len(points)).astype(np.float32),
    }
    session, feed = open_session(data, where), {}
    for value in session.get_inputs():
        ours = next(name for name in INPUTS if getattr(mapping, name) == value.name)
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        if kind not in _TYPES:
            raise ModelError(f"{where}: its {value.name!r} is of type {kind}; use one of {', '.join(_TYPES)}")
        numbers = _in_unit(given[ours].astype(np.float64), ours, mapping)
        numbers = np.rint(numbers) if kind.startswith("int") else numbers
        sizes = given[ours].shape + (1,) * (len(value.shape) - given[ours].ndim)
        feed[value.name] = numbers.astype(_TYPES[kind]).reshape(sizes)
    output = mapping.audio or session.get_outputs()[0].name
    try:
        audio = np.asarray(session.run([output], feed)[0], np.float32)
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise ModelError(f"{where}: its graph cannot be run ({reason(error)})") from error
    audio = audio[:, None] if audio.ndim == 2 else audio
    return given | {"audio": audio.swapaxes(1, 2) if mapping.layout == "NSC" else audio}


def _in_unit(numbers: np.ndarray, ours: str, mapping: Mapping) -> np.ndarray:
    if ours == "note":
        return {"midi": numbers, "hz": note_to_hz(numbers), "0..1": numbers / 127.0}[mapping.note_unit]
    if ours == "velocity":
        return {"0..1": numbers, "midi": 127.0 * numbers}[mapping.velocity_unit]
    return numbers
