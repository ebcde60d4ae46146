"""MPE zones (RP-053): one master channel and its members, each member playing one note with its own expression.

The lower zone has channel 1 as master and members from 2 up, the upper zone channel 16 and members from 15 down.
Channels are numbered 0 to 15 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neuralsynth.midi.channel import Channel
from neuralsynth.midi.parameters import DATA_ENTRY, DATA_ENTRY_FINE, DECREMENT, INCREMENT

LOWER_MASTER, UPPER_MASTER = 0, 15
MAX_MEMBERS = 15
MEMBER_BEND_SEMITONES, MASTER_BEND_SEMITONES = 48.0, 2.0
TIMBRE = 74
_NO_CHANNELS = range(0)


class Expression(NamedTuple):
    """What moves a note besides its key: master and member channel together."""

    bend_cents: float
    pressure: float  # 0..1
    timbre: float  # -1..1


class Zones:
    """Which channels belong to which zone; none at power-on."""

    __slots__ = ("_masters", "_n_members")

    def __init__(self) -> None:
        self._n_members = {LOWER_MASTER: 0, UPPER_MASTER: 0}
        self._masters: list[int | None] = [None] * 16

    def reset(self) -> None:
        """Forget both zones; channels keep what they have."""
        for master in self._n_members:
            self._n_members[master] = 0
        self._masters[:] = [None] * 16

    def configure(self, master: int, n_members: int, channels: Sequence[Channel] = ()) -> tuple[int, ...]:
        """Set the zone of `master` (0 or 15) to `n_members` channels; the other zone shrinks where they overlap.

        Channels that enter a zone, as master or member, get its bend range; those that leave, their preset's own.
        Returns the channels of this zone and all whose place changed: their notes should end and their controllers
        be reset.

        Raises:
            ValueError: `master` is neither 0 nor 15, or `n_members` not 0..15.
        """
        if master not in self._n_members or not 0 <= n_members <= MAX_MEMBERS:
            raise ValueError(
                f"zone {master} of {n_members} channels; use master 0 or 15 and 0 to {MAX_MEMBERS} members"
            )
        before = [self._place(number) for number in range(16)]
        other = UPPER_MASTER - master
        self._n_members[master] = n_members
        if n_members:
            self._n_members[other] = min(self._n_members[other], max(MAX_MEMBERS - 1 - n_members, 0))
        for number in range(16):
            self._masters[number] = next((m for m in self._n_members if number in self.members(m)), None)
        own = {master, *self.members(master)} if n_members else set()
        changed = [n for n in range(16) if n in own or self._place(n) != before[n]]
        for number in changed if channels else ():
            self._set_bend_range(number, channels[number])
        return tuple(changed)

    def obey(self, number: int, controller: int, channels: Sequence[Channel]) -> tuple[int, ...]:
        """Follow up a control change that channel `number` has just taken.

        Obeys RPN 6 where it counts, and hands a bend range set by RPN 0 on one member to the zone's other members.
        Returns the channels to silence and reset, as `configure` does; mostly none.
        """
        channel = channels[number]
        if controller not in (DATA_ENTRY, DATA_ENTRY_FINE, INCREMENT, DECREMENT):
            return ()
        n_members, channel.mpe_members = channel.mpe_members, None
        if n_members is not None and number in self._n_members:
            return self.configure(number, n_members, channels)
        master = self._masters[number]
        for member in _NO_CHANNELS if master is None else self.members(master):
            channels[member].bend_range_semitones = channel.bend_range_semitones
        return ()

    def members(self, master: int) -> range:
        """The member channels of a master, those nearest to it first; empty without a zone."""
        count = self._n_members.get(master, 0)
        return range(1, 1 + count) if master == LOWER_MASTER else range(14, 14 - count, -1)

    def master_of(self, channel: int) -> int | None:
        """The master that a member channel listens to, or None."""
        return self._masters[channel]

    def is_member(self, channel: int) -> bool:
        """Whether a channel is a member of a zone."""
        return self._masters[channel] is not None

    def is_master(self, channel: int) -> bool:
        """Whether a channel is the master of a zone."""
        return self._n_members.get(channel, 0) > 0

    def combined(self, channel: int, channels: Sequence[Channel]) -> Expression:
        """Bends added, the larger pressure, CC74 deflections added: of a channel and, if it is a member, its master."""
        own = channels[channel]
        cents = 100.0 * own.bend * own.bend_range_semitones
        pressure, timbre = own.pressure, own.deflection(TIMBRE)
        master = self._masters[channel]
        if master is not None:
            above = channels[master]
            cents += 100.0 * above.bend * above.bend_range_semitones
            pressure = max(pressure, above.pressure)
            timbre = min(max(timbre + above.deflection(TIMBRE), -1.0), 1.0)
        return Expression(cents, pressure / 127.0, timbre)

    def _place(self, channel: int) -> tuple[int | None, bool]:
        """What a channel is: its master, and whether it is one."""
        return self._masters[channel], self.is_master(channel)

    def _set_bend_range(self, number: int, channel: Channel) -> None:
        """The range that goes with a channel's new place."""
        if self.is_member(number):
            channel.bend_range_semitones = MEMBER_BEND_SEMITONES
        else:
            channel.bend_range_semitones = MASTER_BEND_SEMITONES if self.is_master(number) else None
