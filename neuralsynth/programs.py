"""`Programs`: the patches of a performance, all loaded before the first note."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from neuralsynth.patch import Patch
from neuralsynth.performance import Performance, find_performance, load_performance

P = TypeVar("P", bound=Patch)


class Programs:
    """What a performance's channels start with, and what its programs bring."""

    def __init__(self, performance: Performance, kind: type[Patch] = Patch) -> None:
        """Load every patch that the performance names, each once.

        Raises:
            PresetError, ModelError: one of them is wrong.
        """
        self.performance = performance
        self._patches = {name: kind.load(performance.preset_path(name)) for name in performance.presets()}

    @classmethod
    def load(cls, name_or_path: str | Path) -> Programs:
        """Load a shipped performance by name, or a file.

        Raises:
            PresetError, ModelError: the file, or a preset it names, is wrong.
        """
        return cls(load_performance(find_performance(name_or_path)))

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches."""
        return tuple(self._patches.values())

    def start(self) -> dict[int, Patch]:
        """The patch that each channel 0..15 starts with; channels without one are silent."""
        named = {channel: self.performance.start_preset(channel) for channel in range(16)}
        return {channel: self._patches[name] for channel, name in named.items() if name}

    def patch_for(self, channel: int, bank: tuple[int, int], program: int) -> Patch | None:
        """The patch that a program change brings; None: it changes nothing."""
        name = self.performance.preset_for(channel, bank, program)
        return None if name is None else self._patches[name]
