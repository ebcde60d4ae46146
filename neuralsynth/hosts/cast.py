"""`Cast`: who plays what in a song: the patch of each channel, what its programs bring, the keys they need."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.hosts.midi_ends import is_note_on
from neuralsynth.hosts.midi_file import Song
from neuralsynth.midi.channel import BANK, BANK_FINE, Channel
from neuralsynth.midi.learn import ControllerMap, load_map
from neuralsynth.midi.mpe import Zones
from neuralsynth.midi.parameters import DATA_ENTRY, NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB
from neuralsynth.performance import Performance, find_performance, load_performance
from neuralsynth.preset import find_preset
from neuralsynth.tuning.sysex import Reset, read_sysex

if TYPE_CHECKING:  # the engine takes a second to import: a bad song or name is told before that
    from neuralsynth.engine import Engine
    from neuralsynth.patch import Patch

DEFAULT_PRESET, DEFAULT_KIT = "upright-piano", "drum-kit"
DRUMS = 9  # channel 10 of General MIDI
BLOCK_SIZE = 16384
_MASTERS = (0, 15)  # of MPE zones
_MPE_CONTROLLERS = (DATA_ENTRY, NRPN_LSB, NRPN_MSB, RPN_LSB, RPN_MSB)

Choice = Union[str, Path, "Patch"]
Request = tuple[tuple[int, int], int]  # bank (msb, lsb) and program, 0..127


class Cast:
    """The players of one song. Patches are loaded when an engine needs them, each once."""

    def __init__(
        self,
        song: Song,
        preset: Choice | None = None,
        channels: Mapping[int, Choice] | None = None,
        programs: str | Path | Performance | None = None,
        controls: str | Path | ControllerMap | None = None,
    ) -> None:
        """Read what is to be read, but load no patch yet.

        Args:
            preset: what all channels play; without it the performance's, or the piano and a drum kit on channel 10.
            channels: MIDI channel 1..16 -> what it plays whatever the song's program changes say.
            programs: a performance, its file or its name: what channels start with, and what programs bring.
            controls: a controller map, or its file.

        Raises:
            UsageError: a channel out of range, or both `preset` and `programs`.
            PresetError: the performance or the map is wrong.
        """
        for channel in channels or ():
            if not 1 <= channel <= 16:
                raise UsageError(f"channel is {channel}; use 1 to 16")
        if preset is not None and programs is not None:
            raise UsageError(
                "a preset for all channels leaves nothing to the bank; use one of them, "
                "and --channel N=PRESET for channels that are to differ from the bank"
            )
        if programs is not None and not isinstance(programs, Performance):
            programs = load_performance(find_performance(programs))
        self._song, self._performance = song, programs
        self._preset: Choice = DEFAULT_PRESET if preset is None else preset
        self._channels = {channel - 1: choice for channel, choice in (channels or {}).items()}
        if preset is None and programs is None:
            self._channels.setdefault(DRUMS, DEFAULT_KIT)
        self._controls = load_map(controls) if isinstance(controls, (str, Path)) else controls
        self._loaded: dict[Path, Patch] = {}
        self._keys_of: dict[int, dict[Choice | None, np.ndarray]] = {}

    @cached_property
    def players(self) -> tuple[int, ...]:
        """The channels 0..15 whose patches play the notes: those with notes, or the masters of their MPE zones."""
        return tuple(sorted({self._leaders.get(channel, channel) for channel in self._song.channels_used()}))

    @property
    def headroom_db(self) -> float:
        """How far the mix is turned down: players that know nothing of each other add up in power."""
        return 10.0 * math.log10(max(len(self.players), 1))

    def engine(self, sample_rate: float, only: int | None = None, gain_db: float | None = None) -> Engine:
        """An engine with every patch that the players need (or that `only` one does), their keys decoded.

        Args:
            gain_db: level of the mix; None leaves `headroom_db` for the players together.

        Raises:
            NeuralSynthError: as `Patch.load` and `Engine`.
        """
        from neuralsynth.engine import Engine
        from neuralsynth.hosts.song_programs import SongPrograms

        start: dict[int, Patch] = {}
        brought: dict[tuple[int, tuple[int, int], int], Patch] = {}
        struck: list[tuple[int, Patch, np.ndarray]] = []
        for player in self.players if only is None else (only,):
            patches = {choice: self._load(choice) for choice in self._keys(player) if choice is not None}
            struck += [(player, patch, self._keys(player)[choice]) for choice, patch in patches.items()]
            first = self._first_choice(player)
            if first in patches:
                start[player] = patches[first]
            for (bank, program), choice in self._answers(player).items():
                if choice in patches:
                    brought[player, bank, program] = patches[choice]
        level_db = -self.headroom_db if gain_db is None else gain_db
        engine = Engine(start, sample_rate, BLOCK_SIZE, SongPrograms(brought), self._controls, level_db)
        for player, patch, keys in struck:
            engine.performer.band.prepare(player, patch, keys.tolist())
        return engine

    def warnings(self) -> tuple[str, ...]:
        """What a listener may miss; patches are loaded for it if they are not yet."""
        return tuple(self._about_programs()) + tuple(self._about_silence()) + tuple(self._about_drums())

    def _about_programs(self) -> Iterator[str]:
        asked: list[Choice | Request | None] = []
        for player in self.players:
            answers = None if self._performance is None else self._answers(player)
            if player not in self._channels:
                requests = (request for _, request in self._changes[player] if request is not None)
                asked += requests if answers is None else map(answers.get, requests)
        if self._performance is None and asked:
            times = "once" if len(asked) == 1 else f"{len(asked)} times"
            yield f"the song changes programs {times}; use --bank general-midi to hear them"
        elif None in asked:
            yield f"the bank has no preset for {asked.count(None)} program changes of the song; they change nothing"

    def _about_silence(self) -> Iterator[str]:
        silent = [f"{player + 1}" for player in self.players if None in self._keys(player)]
        if silent:
            yield f"the bank says nothing of what channel {', '.join(silent)} starts with; its first notes are silent"

    def _about_drums(self) -> Iterator[str]:
        if DRUMS not in self.players or DRUMS in self._channels:
            return
        played = [self._load(choice) for choice in self._keys(DRUMS) if choice is not None]
        if any(not patch.preset.layers for patch in played):
            yield f"channel 10 holds drums and {played[0].name} is no kit; use --channel 10=PRESET to choose another"

    # Who answers

    def _load(self, choice: Choice) -> Patch:
        """A patch, loaded the first time it is asked for."""
        from neuralsynth.patch import Patch

        if isinstance(choice, Patch):
            return choice
        path = find_preset(choice)
        if path not in self._loaded:
            self._loaded[path] = Patch.load(path)
        return self._loaded[path]

    def _named(self, name: str | None) -> Path | None:
        assert self._performance is not None
        return self._performance.preset_path(name) if name else None

    def _first_choice(self, player: int) -> Choice | None:
        """What a player starts with."""
        if player in self._channels or self._performance is None:
            return self._channels.get(player, self._preset)
        return self._named(self._performance.start_preset(player))

    def _answers(self, player: int) -> dict[Request, Choice]:
        """What each request of the song brings on the channel of a player."""
        if player in self._channels or self._performance is None:
            return {}
        asked = {request for _, request in self._changes[player] if request is not None}
        found = {request: self._named(self._performance.preset_for(player, *request)) for request in asked}
        return {request: path for request, path in found.items() if path is not None}

    def _keys(self, player: int) -> dict[Choice | None, np.ndarray]:
        """Who plays on the channel of a player, and the keys that each is to play; None: nobody."""
        if player not in self._keys_of:
            rows, choices = self._stretches(player)
            members = [channel for channel in range(16) if self._leaders.get(channel, channel) == player]
            packed = self._song.packed
            notes = np.flatnonzero(is_note_on(packed) & np.isin(packed & 0x0F, members))
            numbers = {choice: number for number, choice in enumerate(dict.fromkeys(choices))}
            number_of = np.array([numbers[choice] for choice in choices])
            played = number_of[np.searchsorted(rows, notes, side="right") - 1]
            keys = {choice: np.unique(packed[notes[played == n]] >> 8 & 0x7F) for choice, n in numbers.items()}
            self._keys_of[player] = {choice: struck for choice, struck in keys.items() if len(struck)}
        return self._keys_of[player]

    def _stretches(self, player: int) -> tuple[list[int], list[Choice | None]]:
        """The rows from which on somebody else plays, ascending, and who."""
        first, answers = self._first_choice(player), self._answers(player)
        rows: list[int] = [-1]
        choices: list[Choice | None] = [first]
        for row, request in self._changes[player]:
            rows.append(row)
            choices.append(first if request is None else answers.get(request, choices[-1]))
        return rows, choices

    # What the song asks for

    @cached_property
    def _changes(self) -> list[list[tuple[int, Request | None]]]:
        """By channel the rows from which on another program is asked for; None: the one it started with."""
        packed = self._song.packed
        kind, first = packed & 0xF0, (packed >> 8) & 0x7F
        rows = np.flatnonzero((kind == 0xC0) | ((kind == 0xB0) & ((first == BANK) | (first == BANK_FINE))))
        asked = zip(rows.tolist(), packed[rows].tolist(), strict=True)
        resets = ((row, -1) for _, row, message in self._song.sysex if isinstance(read_sysex(message), Reset))
        banks = [[0, 0] for _ in range(16)]
        found: list[list[tuple[int, Request | None]]] = [[] for _ in range(16)]
        for row, message in heapq.merge(resets, asked):
            channel, data = message & 0x0F, message >> 8 & 0x7F
            if message < 0:
                banks = [[0, 0] for _ in range(16)]
                for of_channel in found:
                    of_channel.append((row, None))
            elif message & 0xF0 == 0xC0:
                found[channel].append((row, ((banks[channel][0], banks[channel][1]), data)))
            else:
                banks[channel][data == BANK_FINE] = message >> 16
        return found

    @cached_property
    def _leaders(self) -> dict[int, int]:
        """The members of MPE zones that the song sets up -> their masters."""
        packed = self._song.packed
        leaders: dict[int, int] = {}
        zones, channels = Zones(), [Channel() for _ in range(16)]
        is_control = (packed & 0xF0) == 0xB0
        mine = is_control & np.isin(packed & 0x0F, _MASTERS) & np.isin(packed >> 8 & 0x7F, _MPE_CONTROLLERS)
        for message in packed[mine].tolist():
            number, controller = message & 0x0F, message >> 8 & 0x7F
            channels[number].control(controller, message >> 16)
            if zones.obey(number, controller, channels):
                leaders.update((member, master) for master in _MASTERS for member in zones.members(master))
        return leaders
