"""MPE zones: which channels belong together, and what a note hears of master and member (RP-053)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralsynth.midi.channel import Channel
from neuralsynth.midi.mpe import LOWER_MASTER, UPPER_MASTER, Zones

PRESET_RANGE = 3.0
configurations = st.lists(st.tuples(st.sampled_from([LOWER_MASTER, UPPER_MASTER]), st.integers(0, 15)), max_size=8)


@pytest.fixture
def channels():
    """Sixteen channels of a preset that bends by three semitones."""
    return [Channel(PRESET_RANGE) for _ in range(16)]


def send(zones, channels, number, *messages):
    """Control changes on one channel, as the engine passes them on; the channels to silence, last message."""
    touched = ()
    for controller, value in messages:
        channels[number].control(controller, value)
        touched = zones.obey(number, controller, channels)
    return touched


def rpn(number, value):
    return (101, 0), (100, number), (6, value)


def ranges(channels):
    return [channel.bend_range_semitones for channel in channels]


def test_there_is_no_zone_at_power_on(channels):
    zones = Zones()
    assert not any(zones.is_member(n) or zones.is_master(n) or zones.master_of(n) is not None for n in range(16))
    assert list(zones.members(LOWER_MASTER)) == list(zones.members(UPPER_MASTER)) == []


def test_lower_members_count_up_from_channel_2_and_upper_ones_down_from_15():
    zones = Zones()
    zones.configure(LOWER_MASTER, 3)
    zones.configure(UPPER_MASTER, 2)
    assert (list(zones.members(LOWER_MASTER)), list(zones.members(UPPER_MASTER))) == ([1, 2, 3], [14, 13])
    assert [zones.master_of(n) for n in range(16)] == [None, 0, 0, 0, *[None] * 9, 15, 15, None]
    assert zones.is_master(0) and zones.is_master(15) and not zones.is_master(1)


@pytest.mark.parametrize(
    "steps, lower, upper",
    [
        ([(0, 7), (15, 7)], 7, 7),
        ([(0, 7), (15, 7), (0, 3)], 3, 7),
        ([(0, 7), (15, 7), (0, 10)], 10, 4),
        ([(0, 7), (15, 10)], 4, 10),
        ([(15, 7), (0, 14)], 14, 0),
        ([(15, 7), (0, 15)], 15, 0),
        ([(0, 15), (15, 1)], 13, 1),
        ([(0, 15), (15, 0)], 15, 0),
        ([(0, 7), (15, 7), (0, 0)], 0, 7),
    ],
)
def test_the_newer_zone_takes_channels_from_the_older(steps, lower, upper):
    zones = Zones()
    for master, count in steps:
        zones.configure(master, count)
    assert (len(zones.members(0)), len(zones.members(15))) == (lower, upper)


@given(configurations)
def test_zones_never_share_a_channel(steps):
    zones = Zones()
    for master, count in steps:
        zones.configure(master, count)
    lower, upper = set(zones.members(0)), set(zones.members(15))
    if lower:
        lower.add(0)
    if upper:
        upper.add(15)
    assert not lower & upper
    for number in range(16):
        master = zones.master_of(number)
        assert zones.is_member(number) == (master is not None)
        assert all((number in zones.members(m)) == (master == m) for m in (0, 15))


@given(configurations)
def test_each_channel_has_the_bend_range_of_its_place(steps):
    channels, zones = [Channel(PRESET_RANGE) for _ in range(16)], Zones()
    for master, count in steps:
        zones.configure(master, count, channels)
    for number, semitones in enumerate(ranges(channels)):
        expected = 48.0 if zones.is_member(number) else 2.0 if zones.is_master(number) else PRESET_RANGE
        assert semitones == expected, number


def test_the_channels_to_silence_are_the_zone_and_all_that_changed_place(channels):
    zones = Zones()
    assert zones.configure(LOWER_MASTER, 3, channels) == (0, 1, 2, 3)
    assert zones.configure(LOWER_MASTER, 3, channels) == (0, 1, 2, 3)
    assert zones.configure(UPPER_MASTER, 12, channels) == (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    assert zones.configure(UPPER_MASTER, 0, channels) == tuple(range(3, 16))
    assert zones.configure(UPPER_MASTER, 0, channels) == ()


def test_rpn_6_on_a_master_makes_a_zone_once(channels):
    zones = Zones()
    assert send(zones, channels, 15, *rpn(6, 4)) == (11, 12, 13, 14, 15)
    assert list(zones.members(UPPER_MASTER)) == [14, 13, 12, 11]
    assert send(zones, channels, 15, (38, 0)) == ()
    assert ranges(channels)[11:] == [48.0, 48.0, 48.0, 48.0, 2.0]
    send(zones, channels, 15, *rpn(6, 0))
    assert not any(zones.is_member(n) for n in range(16))
    assert ranges(channels) == [PRESET_RANGE] * 16


def test_rpn_6_elsewhere_makes_no_zone(channels):
    zones = Zones()
    for number in range(1, 15):
        assert send(zones, channels, number, *rpn(6, 5)) == ()
    assert not any(zones.is_member(n) for n in range(16))


def test_a_bend_range_on_one_member_holds_for_all_of_its_zone(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 3, channels)
    zones.configure(UPPER_MASTER, 2, channels)
    send(zones, channels, 2, *rpn(0, 24))
    assert ranges(channels) == [2.0, 24.0, 24.0, 24.0, *[PRESET_RANGE] * 9, 48.0, 48.0, 2.0]
    send(zones, channels, 2, (38, 50))
    send(zones, channels, 3, (101, 0), (100, 0), (96, 0))
    assert ranges(channels)[1:4] == pytest.approx([24.51] * 3)


def test_a_masters_bend_range_is_its_own(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 3, channels)
    send(zones, channels, 0, *rpn(0, 12))
    assert ranges(channels)[:5] == [12.0, 48.0, 48.0, 48.0, PRESET_RANGE]


def test_reconfiguring_brings_the_default_ranges_back(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 3, channels)
    send(zones, channels, 0, *rpn(0, 12))
    send(zones, channels, 1, *rpn(0, 24))
    send(zones, channels, 0, *rpn(6, 3))
    assert ranges(channels)[:5] == [2.0, 48.0, 48.0, 48.0, PRESET_RANGE]


def test_master_and_member_bends_add_each_with_its_range(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 3, channels)
    channels[0].bend, channels[1].bend = 0.5, -0.25
    assert zones.combined(1, channels).bend_cents == pytest.approx(100.0 - 1200.0)
    assert zones.combined(2, channels).bend_cents == pytest.approx(100.0)
    assert zones.combined(0, channels).bend_cents == pytest.approx(100.0)
    assert zones.combined(9, channels).bend_cents == 0.0


def test_the_larger_pressure_counts(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 2, channels)
    channels[0].pressure, channels[1].pressure, channels[2].pressure = 60, 127, 10
    assert [zones.combined(n, channels).pressure for n in range(3)] == pytest.approx([60 / 127, 1.0, 60 / 127])


def test_master_timbre_adds_to_the_members_and_stops_at_the_end(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 2, channels)
    for number, value in ((0, 96), (1, 32), (2, 127)):
        channels[number].control(74, value)
    assert zones.combined(1, channels).timbre == pytest.approx(32 / 63 - 0.5)
    assert zones.combined(2, channels).timbre == 1.0
    channels[0].control(74, 0)
    assert zones.combined(1, channels).timbre == -1.0


def test_a_channel_outside_the_zones_hears_itself_alone(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 2, channels)
    channels[0].bend, channels[0].pressure = 1.0, 99
    channels[8].pitch_bend(16383)
    assert zones.combined(8, channels) == (100.0 * PRESET_RANGE, 0.0, 0.0)


def test_reset_forgets_both_zones(channels):
    zones = Zones()
    zones.configure(LOWER_MASTER, 5, channels)
    zones.configure(UPPER_MASTER, 5, channels)
    zones.reset()
    assert not any(zones.is_member(n) or zones.is_master(n) for n in range(16))
    assert zones.configure(LOWER_MASTER, 2) == (0, 1, 2)


@pytest.mark.parametrize("master, count", [(1, 3), (14, 3), (0, 16), (15, -1)])
def test_a_zone_that_cannot_be_is_refused(master, count):
    with pytest.raises(ValueError, match="use master 0 or 15 and 0 to 15 members"):
        Zones().configure(master, count)


controls = st.tuples(
    st.integers(0, 15),
    st.sampled_from([6, 38, 74, 96, 97, 98, 99, 100, 101, 121]),
    st.one_of(st.integers(0, 6), st.integers(0, 127)),
)


@given(st.lists(controls, max_size=80))
def test_any_controllers_on_any_channels_leave_sound_expressions(stream):
    channels, zones = [Channel(PRESET_RANGE) for _ in range(16)], Zones()
    for number, controller, value in stream:
        channels[number].pitch_bend(value << 7)
        channels[number].pressure = value
        send(zones, channels, number, (controller, value))
        assert channels[number].mpe_members is None
    for number in range(16):
        expression = zones.combined(number, channels)
        assert abs(expression.bend_cents) <= 2 * 9600.0
        assert 0.0 <= expression.pressure <= 1.0 and -1.0 <= expression.timbre <= 1.0
    for master in (0, 15):
        assert len({channels[n].bend_range_semitones for n in zones.members(master)}) <= 1
