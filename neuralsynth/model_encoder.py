"""An encoder file, `NAME.encoder.onnx` beside the instrument `NAME.onnx`: from a heard note to a likely place.

Nothing that plays needs it: it gives `match` and `score` a start that is already near.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.errors import ModelError
from neuralsynth.model import MAX_FILE_BYTES, open_session, reason
from neuralsynth.model_gate import approve
from neuralsynth.regular_file import read_regular_file
from neuralsynth.spec import ENCODER_KEY, ENCODER_SUFFIX, EncoderSpec
from neuralsynth.spectrum import NoteSpectrum

INPUTS, OUTPUTS = ("partials", "noise", "note", "velocity"), ("mean", "deviation")
MAX_CHARACTER = 100.0  # no trained latent lies further out


class Encoder:
    """An approved encoder file."""

    def __init__(self, data: bytes, path: Path) -> None:
        """Open approved bytes; everybody else calls `beside`."""
        self.path, self._session = path, open_session(data, path)
        documents: Any = self._session.get_modelmeta().custom_metadata_map
        if ENCODER_KEY not in documents:
            raise ModelError(f"{path}: is no encoder (its metadata has no key {ENCODER_KEY!r})")
        self.spec = EncoderSpec.from_json(documents[ENCODER_KEY], str(path))

    @classmethod
    def beside(cls, model_path: Path) -> Encoder | None:
        """The encoder of an instrument file; None if there is none.

        Raises:
            ModelError: it breaks the contract, see `model_gate`.
        """
        path = encoder_path(model_path)
        if not path.exists():
            return None
        data = read_regular_file(path, MAX_FILE_BYTES, ModelError)
        approve(path, data, None)
        return cls(data, path)

    def encode(self, spectrum: NoteSpectrum, note: float, velocity: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the character that a note `spectrum` (on the instrument's grid) may have, `[Z]` each.

        Raises:
            ModelError: the graph fails or gives numbers that are not finite.
        """
        found = self.run(
            spectrum.partials[None], spectrum.noise[None], np.array([note]), np.clip(np.array([velocity]), 0.0, 1.0)
        )
        if not all(np.isfinite(value).all() for value in found):
            raise ModelError(f"{self.path}: gives numbers that are not finite")
        return np.clip(found[0][0], -MAX_CHARACTER, MAX_CHARACTER), found[1][0]

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The graph's own outputs for partials, noise, note and velocity."""
        feed = {name: np.asarray(value, np.float32) for name, value in zip(INPUTS, inputs, strict=True)}
        try:
            return self._session.run(list(OUTPUTS), feed)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise ModelError(f"{self.path}: its graph cannot be run ({reason(error)})") from error


def encoder_path(model_path: Path) -> Path:
    """Where the encoder of an instrument file lies."""
    return model_path.with_name(f"{model_path.stem}{ENCODER_SUFFIX}")
