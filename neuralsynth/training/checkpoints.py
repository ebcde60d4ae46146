"""A training run on disk: what was decided, and checkpoints that survive a kill.

::

    RUN/run.json                what the training decided once: data, grid, number of steps, threads
    RUN/checkpoints/step-*.pt   the last two, RUN/checkpoints/best.pt the best by validation score
    RUN/analyses/*.npz          analysed recordings, by content
    RUN/tensorboard/            scalars, spectrograms, sounds

A checkpoint is a torch file followed by its own SHA-256, written beside and renamed. It holds tensors and plain
numbers only and is read with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import torch

from neuralsynth.errors import CheckpointError, NeuralSynthError, OutputError
from neuralsynth.storage import whole_file

RUN_VERSION = 1
KEPT = 2
DIGEST_BYTES = 32
MAX_CHECKPOINT_BYTES = 1 << 30


class Run:
    """The folder of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.analyses = self.path / "analyses"
        self.tensorboard = self.path / "tensorboard"

    def create(self) -> None:
        """Make the folders.

        Raises:
            OutputError: they cannot be made.
        """
        try:
            for folder in (self.checkpoints, self.analyses, self.tensorboard):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be made ({error.strerror or error})") from error

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Keep what was decided at the start."""
        with whole_file(self.path / "run.json") as part:
            part.write_text(json.dumps({"version": RUN_VERSION, **plan}, indent=2) + "\n")

    def read_plan(self) -> dict[str, Any]:
        """What was decided at the start.

        Raises:
            CheckpointError: no run, or its plan is damaged.
        """
        path = self.path / "run.json"
        try:
            plan = json.loads(path.read_text())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: is no training run ({path.name}: {error.strerror or error})"
            ) from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: is damaged ({error}); start a new training") from error
        if not isinstance(plan, dict) or plan.get("version") != RUN_VERSION:
            raise CheckpointError(f"{path}: is of another version than {RUN_VERSION}; start a new training")
        return plan

    def save(self, state: dict[str, Any], is_best: bool) -> None:
        """Write a checkpoint of `state["step"]`, keep the last two and the best."""
        data = pack(state)
        names = [f"step-{state['step']:08d}.pt"] + (["best.pt"] if is_best else [])
        for name in names:
            with whole_file(self.checkpoints / name) as part:
                part.write_bytes(data)
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest readable checkpoint (None if there is none yet) and a warning for each damaged one.

        Raises:
            CheckpointError: there are checkpoints and all are damaged.
        """
        warnings: list[str] = []
        for path in self._newest_first():
            try:
                return unpack(path), warnings
            except CheckpointError as error:
                warnings.append(f"{error}; the one before is used")
        if warnings:
            raise CheckpointError(
                f"{self.checkpoints}: all {len(warnings)} checkpoints are damaged; start a new training"
            )
        return None, warnings

    def best(self) -> dict[str, Any] | None:
        """The checkpoint with the best score, if it can be read."""
        try:
            return unpack(self.checkpoints / "best.pt")
        except CheckpointError:
            return None

    def _newest_first(self) -> list[Path]:
        found = [path for path in self.checkpoints.glob("step-*.pt") if re.fullmatch(r"step-\d{8}\.pt", path.name)]
        return sorted(found, reverse=True)


def pack(state: dict[str, Any]) -> bytes:
    """A checkpoint's bytes: torch's format and a digest of it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    return data + hashlib.sha256(data).digest()


def unpack(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or not one of ours.
    """
    try:
        if path.stat().st_size > MAX_CHECKPOINT_BYTES:
            raise CheckpointError(f"{path}: is larger than any checkpoint of ours")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: is damaged (its digest does not fit)")
    try:
        return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except NeuralSynthError:
        raise
    except Exception as error:  # torch, zipfile and pickle each have their own ways to say "not mine"
        raise CheckpointError(f"{path}: is no checkpoint ({type(error).__name__})") from error
