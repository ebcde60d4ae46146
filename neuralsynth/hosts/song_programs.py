"""`SongPrograms`: the programs that one song asks for, answered ahead."""

from __future__ import annotations

from collections.abc import Mapping

from neuralsynth.patch import Patch
from neuralsynth.programs import Programs


class SongPrograms(Programs):
    """Programs that hold the patches of a song and no others, by channel 0..15, bank and program."""

    def __init__(self, brought: Mapping[tuple[int, tuple[int, int], int], Patch]) -> None:
        """Answer what `brought` says; what it leaves out changes nothing."""
        self._brought = brought

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches."""
        return tuple({id(patch): patch for patch in self._brought.values()}.values())

    def start(self) -> dict[int, Patch]:
        """Nothing: the host says what channels start with."""
        return {}

    def patch_for(self, channel: int, bank: tuple[int, int], program: int) -> Patch | None:
        """The patch that a program change brings; None: it changes nothing."""
        return self._brought.get((channel, bank, program))
