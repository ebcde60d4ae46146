"""`Work`: what a batch is made of, as every worker has it. `SoundWork` renders the sounds of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuralsynth.audiofile import encoded
from neuralsynth.design.descriptors import measured
from neuralsynth.design.plan import Job, Output, Planned, Planner
from neuralsynth.design.sound import digest_of, rendered
from neuralsynth.errors import ModelError
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import Preset, parse_preset


@dataclass(frozen=True)
class Failed:
    """An item that cannot be made."""

    index: int
    why: str


@dataclass(frozen=True)
class Made:
    """One finished item."""

    index: int
    row: dict[str, Any]  # for the manifest
    fingerprint: list[float]  # of the sound, for what is alike
    data: bytes  # of the file


class Work(Protocol):
    """A batch, as a worker sees it: any item, in any order, always the same."""

    @property
    def digest(self) -> str:
        """By which a folder knows whether it holds this work."""

    @property
    def document(self) -> dict[str, Any]:
        """What is kept in the folder to say what this is."""

    def __len__(self) -> int:
        """How many items there are."""

    def make(self, index: int) -> Made:
        """One of them.

        Raises:
            NeuralSynthError: it cannot be made.
        """


class SoundWork:
    """The sounds of a job. Travels to workers; each opens the models for itself, once."""

    def __init__(self, job: Job, paths: Sequence[Path]) -> None:
        """Check the job; `paths` are where its presets lie (their models beside them).

        Raises:
            UsageError: it asks for what cannot be.
            PresetError, ModelError: its presets or models are not what they were.
        """
        self.job, self._paths = job, [Path(path) for path in paths]
        self.planner = self._planner()

    def __getstate__(self) -> dict[str, Any]:
        """What travels: the job, not what was opened for it."""
        return {"job": self.job, "_paths": self._paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["job"], state["_paths"])  # type: ignore[misc]

    @property
    def digest(self) -> str:
        """Of the job."""
        return self.job.digest

    @property
    def document(self) -> dict[str, Any]:
        """The job, and where its presets were found."""
        import msgspec

        return {"job": msgspec.to_builtins(self.job), "presets": [str(path) for path in self._paths]}

    def __len__(self) -> int:
        """How many sounds there are."""
        return len(self.planner)

    @cached_property
    def presets(self) -> list[Preset]:
        """What the sounds start from."""
        return [parse_preset(text, path) for text, path in zip(self.job.presets, self._paths, strict=True)]

    @cached_property
    def models(self) -> list[InstrumentModel]:
        """The model of each preset; presets of one model share it."""
        opened: dict[Path, InstrumentModel] = {}
        found = []
        for preset, digest in zip(self.presets, self.job.models, strict=True):
            path = preset.model_path
            opened[path] = opened.get(path) or InstrumentModel.load(path)
            if opened[path].digest != digest:
                raise ModelError(f"{path}: is another file than the one that this batch was begun with")
            found.append(opened[path])
        return found

    def _planner(self) -> Planner:
        return Planner(self.job, self.presets, [model.spec for model in self.models])

    def audio(self, index: int) -> np.ndarray:
        """The samples of a sound, `[C, n]`."""
        return self._rendered(self.planner.planned(index))

    def _rendered(self, planned: Planned) -> np.ndarray:
        model = self.models[planned.base]
        return rendered(self.planner.preset(planned), model, planned.note, planned.velocity, self.job.output)

    def make(self, index: int) -> Made:
        """A sound as a file, with its row of the manifest."""
        planned, output = self.planner.planned(index), self.job.output
        audio = self._rendered(planned)
        described, fingerprint = told_of(audio, output.sample_rate, output)
        row = {
            "index": index, "name": planned.name, "file": f"sounds/{planned.name}.{output.format}",
            "note": planned.note, "velocity": planned.velocity, "preset": self.presets[planned.base].name,
            "model": self.job.models[planned.base], "digest": digest_of(audio), "changes": planned.changes,
            **described,
        }  # fmt: skip
        data = encoded(audio, output.sample_rate, output.format, output.depth)
        return Made(index, row, fingerprint, data)


def told_of(audio: np.ndarray, sample_rate: int, output: Output) -> tuple[dict[str, float | None], list[float]]:
    """What a row tells of its sound: descriptors and fingerprint; neither, where that is not wanted."""
    if not output.describe:
        return {}, []
    described, fingerprint = measured(audio, sample_rate)
    return described.row(), [round(float(x), 4) for x in fingerprint]
