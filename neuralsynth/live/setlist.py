"""`SetList`: the presets of a live session, all loaded before the first note, and the programs that bring them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralsynth.errors import UsageError
from neuralsynth.patch import Patch
from neuralsynth.performance import find_performance
from neuralsynth.programs import Programs

MOST_PRESETS = 128


class ListedPrograms(Programs):
    """Program n brings the n-th of some patches, on every channel but those that have a patch for good."""

    def __init__(self, patches: Sequence[Patch], fixed: frozenset[int] = frozenset()) -> None:
        """Hold patches that are loaded."""
        self._listed, self._fixed = tuple(patches), fixed

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches."""
        return self._listed

    def start(self) -> dict[int, Patch]:
        """The first patch on all channels."""
        return dict.fromkeys(range(16), self._listed[0])

    def patch_for(self, channel: int, bank: tuple[int, int], program: int) -> Patch | None:  # noqa: ARG002
        """The patch that a program change brings; None: it changes nothing."""
        return self._listed[program] if program < len(self._listed) and channel not in self._fixed else None


@dataclass(frozen=True)
class Step:
    """One place of a set list: what the keys for the next and the previous preset go through."""

    program: int  # 0..127
    bank: tuple[int, int]  # msb, lsb
    name: str
    says: str


class SetList:
    """What is played: patches by channel and program."""

    def __init__(
        self, start: Mapping[int, Patch], programs: Programs, steps: Sequence[Step], paths: frozenset[Path]
    ) -> None:
        """Hold what `load_set_list` loaded; `paths` are the files it came from."""
        self.start, self.programs, self.steps, self.paths = dict(start), programs, tuple(steps), paths

    def patches(self) -> Iterator[Patch]:
        """Every patch, layers included, each once; those that channels start with first."""
        found: dict[int, Patch] = {}
        for patch in (*(self.start[channel] for channel in sorted(self.start)), *self.programs.patches):
            for _, zone in patch.zones:
                found.setdefault(id(zone), zone)
        yield from found.values()

    def prepare(self, patch: Patch) -> None:
        """Decode every key of a patch, and the directions of timbre that it goes by itself."""
        patch.bank.prepare(range(128), patch.panel.own_directions)


def load_set_list(
    presets: Sequence[str], bank: str | None = None, channels: Mapping[int, str] | None = None
) -> SetList:
    """Load presets: a list that program changes step through, or a performance.

    Args:
        presets: names or files; the first one sounds first.
        bank: a performance (name or file) instead.
        channels: MIDI channel 1..16 -> what it plays whatever program changes say.

    Raises:
        UsageError: both presets and a bank, or too many presets.
        PresetError, ModelError: one of the files is wrong.
    """
    if bank is not None and presets:
        raise UsageError("a bank says itself which presets there are; use -p or --bank, and --channel for exceptions")
    if len(presets) > MOST_PRESETS:
        raise UsageError(f"{len(presets)} presets; a list holds at most {MOST_PRESETS}")
    fixed = {channel - 1: Patch.load(name) for channel, name in (channels or {}).items()}
    if bank is not None:
        programs = Programs.load(bank)
        start, steps = programs.start() | fixed, _steps_of(programs)
        own = {find_performance(bank)}
    else:
        listed = [Patch.load(name) for name in presets]
        programs = ListedPrograms(listed, frozenset(fixed))
        start = programs.start() | fixed
        steps = [Step(i, (0, 0), patch.name, patch.preset.says) for i, patch in enumerate(listed)]
        own = set()
    patches = [*start.values(), *programs.patches]
    paths = {patch.path for patch in patches} | {zone.path for patch in patches for _, zone in patch.zones}
    return SetList(start, programs, steps, frozenset(own | paths))


def _steps_of(programs: Programs) -> list[Step]:
    """A performance's programs for any channel (or the first), in its own order."""
    steps = []
    for entry in programs.performance.programs:
        if entry.channel in (0, 1):
            program, bank = entry.programs[0], (entry.bank_msb, entry.bank_lsb)
            patch = programs.patch_for(0, bank, program)
            if patch is not None:
                steps.append(Step(program, bank, patch.name, patch.preset.says))
    return steps
