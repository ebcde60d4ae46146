"""`ChainWork`: existing recordings through an effect chain, as a batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from neuralsynth.analysis.files import find_files
from neuralsynth.audiofile import encoded, read_audio
from neuralsynth.design.plan import Output
from neuralsynth.design.sound import digest_of, finished
from neuralsynth.design.work import Made, told_of
from neuralsynth.effect_table import EffectSettings
from neuralsynth.effects import EffectChain
from neuralsynth.errors import PresetError, RecordingError, UsageError
from neuralsynth.preset import checked_chain, find_preset, load_preset
from neuralsynth.toml_file import read_toml, refuse_unknown
from neuralsynth.units import db_to_gain

BLOCK_SIZE = 8192
MAX_CHAIN_BYTES = 256 << 10
QUIET_DB = -90.0  # a tail that is softer is over
MOST_TAIL_SECONDS = 30.0
MAX_SECONDS = 3600.0


class ChainWork:
    """The recordings of a folder through a chain. Travels to workers."""

    def __init__(
        self, folder: Path, names: Sequence[str], effects: Sequence[EffectSettings], chain_folder: Path, output: Output
    ) -> None:
        """Take recordings by their names in the folder; `chain_folder` is where the chain finds impulse responses."""
        self._folder, self._names = Path(folder), tuple(names)
        self._effects, self._chain_folder, self._output = tuple(effects), Path(chain_folder), output

    @cached_property
    def digest(self) -> str:
        """Of the recordings by name and size, the chain and the output."""
        sizes = [[name, (self._folder / name).stat().st_size] for name in self._names]
        told = [sizes, [[e.type, e.values] for e in self._effects], msgspec.to_builtins(self._output)]
        return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()

    @property
    def document(self) -> dict[str, Any]:
        """The chain and the folder."""
        chain = [{"type": e.type, **e.values} for e in self._effects]
        return {"folder": str(self._folder), "chain": chain, "output": msgspec.to_builtins(self._output)}

    def __len__(self) -> int:
        """How many recordings there are."""
        return len(self._names)

    def make(self, index: int) -> Made:
        """One recording through the chain, its tail included."""
        name, output = self._names[index], self._output
        audio, rate = read_audio(self._folder / name, MAX_SECONDS)
        if audio.shape[0] > 2:
            raise RecordingError(f"{name}: has {audio.shape[0]} channels; use mono or stereo")
        wet = self._through(audio, rate)
        wet = wet if output.channels == 2 else wet.mean(axis=0, keepdims=True)
        wet = finished(wet, msgspec.structs.replace(output, sample_rate=rate))
        described, fingerprint = told_of(wet, rate, output)
        file = f"sounds/{Path(name).with_suffix('')}".replace("\\", "/") + f".{output.format}"
        row = {
            "index": index, "name": Path(name).stem, "file": file, "source": name, "sample_rate": rate,
            "digest": digest_of(wet), **described,
        }  # fmt: skip
        return Made(index, row, fingerprint, encoded(wet, rate, output.format, output.depth))

    def _through(self, audio: np.ndarray, rate: int) -> np.ndarray:
        chain = EffectChain(self._effects, rate, BLOCK_SIZE, self._chain_folder, "chain", live=False)
        both = np.repeat(audio, 2, axis=0) if audio.shape[0] == 1 else audio
        n_tail = math.ceil(min(chain.tail_seconds, MOST_TAIL_SECONDS) * rate)
        skip = chain.latency_samples
        dry = np.concatenate([both, np.zeros((2, n_tail + skip), np.float32)], axis=1)
        blocks = [chain.process(dry[:, at : at + BLOCK_SIZE]) for at in range(0, dry.shape[1], BLOCK_SIZE)]
        wet = np.concatenate(blocks, axis=1)[:, skip:]
        loud = np.flatnonzero(np.abs(wet).max(axis=0) > float(db_to_gain(QUIET_DB)))
        return wet[:, : max(audio.shape[1], int(loud[-1]) + 1 if len(loud) else 0)]


def chain_work(folder: Path, chain: str, output: Output) -> tuple[ChainWork, list[str]]:
    """The recordings of a folder and the chain of a file; returns the work, and what was left out.

    Args:
        chain: a preset (its effects are taken), or a file that holds nothing but `[[effects]]`.

    Raises:
        UsageError: there is no recording, or there is no effect.
        PresetError: the chain is wrong.
    """
    effects, where = _chain(chain)
    if not effects:
        raise UsageError(f"{chain}: has no effects; write some as [[effects]], or name a preset that has")
    files, skipped, warnings = find_files(folder)
    if not files:
        raise UsageError(f"{folder}: holds no recordings that can be read")
    names = [path.relative_to(folder).as_posix() for path in files]
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(str(Path(name).with_suffix("")).lower(), name)
        if other != name:
            raise UsageError(f"{folder}: {other} and {name} would get one name; rename one of them")
    left_out = [f"{path.relative_to(folder)}: is no audio file" for path in skipped]
    return ChainWork(folder, names, effects, where, output), [*left_out, *warnings]


def _chain(name: str) -> tuple[tuple[EffectSettings, ...], Path]:
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        document = read_toml(path, MAX_CHAIN_BYTES, PresetError)
        if "name" not in document and "model" not in document:
            refuse_unknown(document, ("format_version", "effects"), f"{path}", PresetError)
            return checked_chain(document.get("effects", []), path), path.parent
    found = find_preset(name)
    preset = load_preset(found)
    return preset.effects, found.parent
