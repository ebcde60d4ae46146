"""The state of one MIDI channel: controllers, parameters, resets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.midi.channel import Channel
from neuralsynth.midi.chart import CONTROLLERS
from neuralsynth.midi.parameters import DESTINATIONS, REGISTERED, Selection

AXES = ("brightness", "noisiness")
N_LATENTS = 4
#: RP-015 by hand: what CC121 sets, and to what. Breath, foot, legato pedal and hold 2 are ours besides.
RP_015 = {11: 127, 1: 0, 64: 0, 65: 0, 66: 0, 67: 0, 98: 127, 99: 127, 100: 127, 101: 127}
RP_015_LEAVES = [0, 32, 7, 39, 10, 42, *range(70, 80), *range(91, 96)]


def channel_with(*messages, bend_range=2.0):
    """A channel of a small instrument after control changes."""
    channel = Channel(bend_range)
    channel.use_preset(bend_range, AXES, N_LATENTS)
    for number, value in messages:
        channel.control(number, value)
    return channel


def rpn(number, *entries):
    """Select a registered parameter, then send data entry, MSB first."""
    return [(101, number >> 7), (100, number & 127), *zip((6, 38), entries, strict=False)]


def nrpn(msb, lsb, *entries):
    """Select a knob, then send data entry, MSB first."""
    return [(99, msb), (98, lsb), *zip((6, 38), entries, strict=False)]


def snapshot(channel):
    """Everything a channel remembers."""
    seen = {name: getattr(channel, name) for name in Channel.__slots__}
    selection = seen["_selection"]
    seen["_selection"] = (selection.number, selection.registered)
    return {name: list(v) if isinstance(v, list) else dict(v) if isinstance(v, dict) else v for name, v in seen.items()}


def play(channel, stream):
    """Feed messages `(what, first, second)`."""
    for what, first, second in stream:
        if what == "bend":
            channel.pitch_bend(first | second << 7)
        elif what == "program":
            channel.program_change(first)
        elif what in ("rpn", "nrpn"):
            select = rpn(first & 7) if what == "rpn" else nrpn(1 + (first & 3), first >> 2)
            play(channel, [("control", *message) for message in (*select, (6, second & 127))])
        elif what == "pressure":
            channel.pressure, channel.key_pressure[first & 127] = first & 127, second & 127
        else:
            channel.control(first, second)


parameter_controllers = st.sampled_from([6, 38, 96, 97, 98, 99, 100, 101])
low_or_any = st.one_of(st.integers(0, 6), st.integers(0, 127))
messages = st.one_of(
    st.tuples(st.just("control"), st.integers(0, 255), st.integers(0, 255)),
    st.tuples(st.just("control"), parameter_controllers, low_or_any),
    st.tuples(st.sampled_from(["bend", "program", "pressure"]), st.integers(0, 255), st.integers(0, 255)),
    st.tuples(st.sampled_from(["rpn", "nrpn"]), st.integers(0, 15), st.integers(0, 127)),
)
streams = st.lists(messages, max_size=60)


@given(streams)
def test_any_stream_of_bytes_keeps_every_value_in_range(stream):
    channel = channel_with()
    play(channel, stream)
    assert len(channel.values) == len(channel.key_pressure) == 128
    assert all(0 <= value <= 127 for value in (*channel.values, *channel.key_pressure, *channel.bank))
    assert 0 <= channel.program <= 127
    assert -1.0 <= channel.bend <= 1.0
    assert 0.0 <= channel.bend_range_semitones <= 96.0
    assert -100.0 <= channel.fine_tune_cents < 100.0
    assert -64 <= channel.coarse_tune_semitones <= 63
    assert channel.tuning_program in range(128) and channel.tuning_bank in range(128)
    assert channel.modulation_depth_cents is None or 0.0 <= channel.modulation_depth_cents < 12_800.0
    assert channel.mpe_members is None or channel.mpe_members in range(16)
    assert all(0.0 <= place <= 1.0 for place in channel.knobs.values())
    assert -1.0 <= channel.pan() <= 1.0
    for gain in (channel.level(), *channel.balance(), channel.reverb_send(), channel.chorus_send()):
        assert 0.0 <= gain <= 1.0
    assert all(0.0 <= channel.high_resolution(number) <= 1.0 for number in range(128))
    assert all(-1.0 <= channel.deflection(number) <= 1.0 for number in range(128))


@given(streams)
def test_power_on_gives_the_state_of_a_fresh_channel(stream):
    channel = channel_with()
    values, pressures, knobs = channel.values, channel.key_pressure, channel.knobs
    play(channel, stream)
    channel.power_on()
    assert snapshot(channel) == snapshot(channel_with())
    assert channel.values is values and channel.key_pressure is pressures and channel.knobs is knobs


@given(streams)
def test_cc121_resets_exactly_what_the_chart_marks(stream):
    channel = channel_with()
    play(channel, stream)
    before = snapshot(channel)
    channel.control(121, 0)
    after = snapshot(channel)
    for number, value in enumerate(after["values"]):
        row = CONTROLLERS.get(number)
        assert value == (row.default if row and row.resets else before["values"][number]), number
    assert (channel.bend, channel.pressure, set(channel.key_pressure)) == (0.0, 0, {0})
    assert after["_selection"] == (-1, True)
    reset = {"values", "bend", "pressure", "key_pressure", "_selection"}
    assert {n: v for n, v in after.items() if n not in reset} == {n: v for n, v in before.items() if n not in reset}


def test_cc121_does_what_rp_015_says():
    channel = channel_with(*((number, 33) for number in range(120)))
    channel.control(121, 0)
    assert {number: channel.values[number] for number in RP_015} == RP_015
    assert {channel.values[number] for number in RP_015_LEAVES} == {33}


def test_power_on_values_are_those_of_general_midi():
    expected = {
        7: 100,
        8: 64,
        10: 64,
        11: 127,
        **dict.fromkeys(range(70, 80), 64),
        **dict.fromkeys(range(98, 102), 127),
    }
    assert {number: value for number, value in enumerate(Channel().values) if value} == expected
    fresh = Channel()
    assert (fresh.bend, fresh.bend_range_semitones, fresh.program, fresh.bank) == (0.0, 2.0, 0, (0, 0))
    assert (fresh.modulation_depth_cents, fresh.mono, fresh.mpe_members, fresh.knobs) == (None, None, None, {})


@pytest.mark.parametrize("data, place", [(0, -1.0), (4096, -0.5), (8192, 0.0), (16383, 1.0)])
def test_bend_is_exact_at_its_ends_and_centre(data, place):
    channel = Channel()
    channel.pitch_bend(data)
    assert channel.bend == place


@pytest.mark.parametrize("controller", [7, 11])
@pytest.mark.parametrize("value", [1, 32, 64, 100, 127])
def test_volume_and_expression_follow_the_forty_log_law(controller, value):
    channel = channel_with((7, 127), (11, 127), (controller, value))
    assert 20.0 * math.log10(channel.level()) == pytest.approx(40.0 * math.log10(value / 127.0), abs=1e-9)


def test_volume_and_expression_multiply_and_zero_is_silent():
    both = channel_with((7, 64), (11, 64)).level()
    assert both == pytest.approx(channel_with((7, 64)).level() ** 2)
    assert channel_with((7, 0)).level() == channel_with((11, 0)).level() == 0.0


@pytest.mark.parametrize("value, place", [(0, -1.0), (1, -1.0), (64, 0.0), (127, 1.0), (32, -32 / 63), (96, 32 / 63)])
def test_pan_is_hard_left_at_0_and_1_and_centred_at_64(value, place):
    assert channel_with((10, value)).pan() == pytest.approx(place)


@pytest.mark.parametrize("value, left, right", [(0, 1.0, 0.0), (64, 1.0, 1.0), (127, 0.0, 1.0)])
def test_balance_silences_one_side_at_its_ends_and_neither_in_the_middle(value, left, right):
    assert channel_with((8, value)).balance() == pytest.approx((left, right))


def test_balance_lowers_only_the_side_it_turns_from():
    left, right = channel_with((8, 96)).balance()
    assert right == 1.0 and left == pytest.approx((31 / 63) ** 2)
    left, right = channel_with((8, 32)).balance()
    assert left == 1.0 and right == pytest.approx((31 / 63) ** 2)


def test_an_lsb_leads_nothing_past_its_end():
    assert channel_with((10, 127), (42, 127)).pan() == 1.0
    assert channel_with((8, 127), (40, 127)).balance() == (0.0, 1.0)


def test_bytes_with_their_high_bit_set_are_read_without_it():
    assert channel_with((128 + 7, 128 + 50)).values == channel_with((7, 50)).values


def test_sends_rise_straight_from_silence():
    assert (Channel().reverb_send(), Channel().chorus_send()) == (0.0, 0.0)
    channel = channel_with((91, 127), (93, 64))
    assert (channel.reverb_send(), channel.chorus_send()) == (1.0, 64 / 127)


def test_an_lsb_refines_its_msb_and_a_new_msb_forgets_it():
    assert channel_with((1, 64), (33, 64)).high_resolution(1) == pytest.approx(64.5 / 127)
    assert channel_with((1, 64), (33, 64), (1, 64)).high_resolution(1) == pytest.approx(64 / 127)
    assert channel_with((10, 32), (42, 127)).pan() > channel_with((10, 32)).pan()
    assert channel_with((7, 64), (39, 127)).level() > channel_with((7, 64)).level()


def test_high_resolution_reaches_the_top_with_and_without_lsb():
    assert channel_with((1, 127)).high_resolution(1) == channel_with((1, 127), (33, 127)).high_resolution(1) == 1.0
    steps = [channel_with((1, msb), (33, lsb)).high_resolution(1) for msb in range(127) for lsb in range(0, 128, 16)]
    assert steps == sorted(set(steps)) and steps[0] == 0.0


def test_a_controller_off_the_chart_leaves_its_neighbour_32_higher_alone():
    assert channel_with((44, 90), (12, 5)).values[44] == 90
    assert channel_with((12, 64), (44, 127)).high_resolution(12) == 64 / 127


@pytest.mark.parametrize("value, place", [(0, -1.0), (32, -0.5), (64, 0.0), (127, 1.0)])
def test_sound_controllers_rest_at_64(value, place):
    assert channel_with((74, value)).deflection(74) == place


@pytest.mark.parametrize(
    "number, name",
    [(65, "portamento"), (66, "sostenuto"), (67, "soft"), (68, "legato"), (64, "sustained"), (69, "sustained")],
)
def test_switches_are_on_from_64(number, name):
    assert getattr(channel_with((number, 64)), name) is True
    assert getattr(channel_with((number, 63)), name) is False


def test_the_deeper_of_two_sustain_pedals_counts():
    assert channel_with((64, 20), (69, 50)).pedal_depth == channel_with((64, 50), (69, 20)).pedal_depth == 50


def test_portamento_time_has_14_bits():
    assert channel_with((5, 127)).portamento_position == 1.0
    assert 0.0 < channel_with((37, 1)).portamento_position < channel_with((5, 1)).portamento_position


def test_a_bank_counts_only_from_the_next_program_change():
    channel = channel_with((0, 3), (32, 7))
    assert (channel.bank, channel.program) == ((0, 0), 0)
    channel.program_change(12)
    assert (channel.bank, channel.program) == ((3, 7), 12)
    channel.control(0, 9)
    assert channel.bank == (3, 7)


def test_the_halves_of_a_bank_come_in_either_order():
    channel = channel_with((32, 7), (0, 3))
    channel.program_change(1)
    assert channel.bank == (3, 7)


def test_mono_and_poly_messages_override_the_preset():
    assert channel_with((126, 1)).mono is True
    assert channel_with((126, 1), (127, 0)).mono is False
    assert channel_with((126, 1), (121, 0)).mono is True


@pytest.mark.parametrize("number", [*range(120, 128)])
def test_mode_messages_leave_no_value_behind(number):
    assert channel_with((number, 77)).values[number] == 0


def test_bend_range_is_the_presets_until_rpn_0_sets_it():
    channel = channel_with(bend_range=5.0)
    assert channel.bend_range_semitones == 5.0
    channel.use_preset(7.0)
    assert channel.bend_range_semitones == 7.0
    play(channel, [("control", *message) for message in rpn(0, 12)])
    channel.use_preset(3.0)
    assert channel.bend_range_semitones == 12.0
    channel.power_on()
    assert channel.bend_range_semitones == 3.0


@pytest.mark.parametrize(
    "number, entries, attribute, value",
    [
        (0, (12,), "bend_range_semitones", 12.0),
        (0, (12, 50), "bend_range_semitones", 12.5),
        (0, (0, 99), "bend_range_semitones", 0.99),
        (0, (127, 127), "bend_range_semitones", 96.0),
        (1, (64, 0), "fine_tune_cents", 0.0),
        (1, (0, 0), "fine_tune_cents", -100.0),
        (1, (127, 127), "fine_tune_cents", 100.0 * 8191 / 8192),
        (1, (96,), "fine_tune_cents", 50.0),
        (2, (64,), "coarse_tune_semitones", 0),
        (2, (52, 99), "coarse_tune_semitones", -12),
        (3, (5, 99), "tuning_program", 5),
        (4, (6,), "tuning_bank", 6),
        (5, (1, 64), "modulation_depth_cents", 150.0),
        (5, (0, 64), "modulation_depth_cents", 50.0),
        (6, (15,), "mpe_members", 15),
        (6, (0,), "mpe_members", 0),
    ],
)
def test_registered_parameters_are_read_as_their_units(number, entries, attribute, value):
    channel = channel_with(*rpn(number, *entries))
    assert getattr(channel, attribute) == pytest.approx(value)
    assert channel.ignored == 0


def test_an_msb_alone_puts_the_lsb_of_a_parameter_to_0():
    assert channel_with(*rpn(0, 12, 50), (6, 7)).bend_range_semitones == 7.0


def test_an_lsb_alone_keeps_the_msb_of_a_parameter():
    assert channel_with(*rpn(0, 12, 50), (38, 25)).bend_range_semitones == 12.25
    assert channel_with(*rpn(1, 96), (38, 64)).fine_tune_cents == pytest.approx(50.0 + 64 * 100 / 8192)
    assert channel_with(*rpn(5, 2), (38, 64)).modulation_depth_cents == pytest.approx(250.0)


@given(st.integers(0, 16383))
def test_an_lsb_repeated_changes_no_parameter(data):
    for number, row in REGISTERED.items():
        once = channel_with(*rpn(number, data >> 7, data & 127))
        value = getattr(once, row.attribute)
        once.control(38, data & 127)
        assert getattr(once, row.attribute) == value


@pytest.mark.parametrize(
    "number, start, attribute, up, down",
    [
        (0, (12, 99), "bend_range_semitones", 13.0, 12.98),
        (0, (96,), "bend_range_semitones", 96.0, 95.99),
        (0, (0,), "bend_range_semitones", 0.01, 0.0),
        (1, (64, 0), "fine_tune_cents", 100 / 8192, -100 / 8192),
        (1, (127, 127), "fine_tune_cents", 100.0 * 8191 / 8192, 100.0 * 8190 / 8192),
        (2, (64,), "coarse_tune_semitones", 1, -1),
        (2, (127,), "coarse_tune_semitones", 63, 62),
        (3, (0,), "tuning_program", 1, 0),
        (4, (127,), "tuning_bank", 127, 126),
        (5, (0, 64), "modulation_depth_cents", 65 / 1.28, 63 / 1.28),
    ],
)
def test_increment_and_decrement_step_as_rp_018_says(number, start, attribute, up, down):
    assert getattr(channel_with(*rpn(number, *start), (96, 55)), attribute) == pytest.approx(up)
    assert getattr(channel_with(*rpn(number, *start), (97, 0)), attribute) == pytest.approx(down)


def test_an_untouched_modulation_depth_steps_from_general_midis_50_cents():
    assert channel_with(*rpn(5), (96, 0)).modulation_depth_cents == pytest.approx(65 / 1.28)
    assert channel_with(*rpn(5), (38, 32)).modulation_depth_cents == pytest.approx(25.0)


def test_a_thousand_increments_do_not_drift():
    channel = channel_with(*rpn(0, 2), *[(96, 0)] * 1000)
    assert channel.bend_range_semitones == pytest.approx(12.0, abs=1e-9)
    assert channel_with(*rpn(2, 64), (96, 0)).coarse_tune_semitones.__class__ is int


@pytest.mark.parametrize("lock", [rpn(127 << 7 | 127), nrpn(127, 127), [(121, 0)], []])
@pytest.mark.parametrize("entry", [(6, 24), (38, 24), (96, 0), (97, 0)])
def test_null_locks_data_entry_and_counts_what_it_ignores(lock, entry):
    selected = [*rpn(0, 12), *lock] if lock else []  # the empty lock: nothing was selected since power-on
    channel = channel_with(*selected)
    before = channel.bend_range_semitones
    channel.control(*entry)
    assert (channel.bend_range_semitones, channel.ignored) == (before, 1)


@pytest.mark.parametrize(
    "select", [rpn(7), rpn(5 << 7), nrpn(1, len(DESTINATIONS)), nrpn(2, 2), nrpn(3, 0), nrpn(3, 5)]
)
def test_unknown_parameters_are_counted_and_change_nothing(select):
    channel = channel_with(*select, (6, 100), (96, 0))
    assert channel.ignored == 2
    channel.ignored = 0
    expected = channel_with(*select)
    expected.values[6], expected.values[96] = 100, 0
    assert snapshot(channel) == snapshot(expected)


def test_half_a_selection_is_none():
    channel = channel_with((101, 0), (6, 12))
    assert (channel.bend_range_semitones, channel.ignored) == (2.0, 1)


def test_an_nrpn_takes_data_entry_away_from_the_rpn_and_gives_it_back():
    channel = channel_with(*rpn(0, 12), *nrpn(1, 6, 127))
    assert (channel.bend_range_semitones, channel.knobs) == (12.0, {"filter.resonance": 1.0})
    for number, value in ((100, 0), (6, 5)):
        channel.control(number, value)
    assert channel.bend_range_semitones == 5.0


def test_an_mpe_configuration_is_not_repeated_by_its_lsb_or_steps():
    channel = channel_with(*rpn(6, 5))
    channel.mpe_members = None
    channel.control(38, 0)
    channel.control(96, 0)
    assert channel.mpe_members is None
    channel.control(6, 16)
    assert (channel.mpe_members, channel.ignored) == (None, 2)


def test_every_knob_is_set_by_its_nrpn():
    for lsb, name in enumerate(DESTINATIONS):
        assert channel_with(*nrpn(1, lsb, 0)).knobs == {name: 0.0}
        assert channel_with(*nrpn(1, lsb, 127)).knobs == {name: 1.0}
    assert channel_with(*nrpn(2, 1, 64, 64)).knobs == {"axes.noisiness": pytest.approx(64.5 / 127)}
    assert channel_with(*nrpn(3, 4, 64)).knobs == {"latent.4": pytest.approx(64 / 127)}


def test_knobs_step_from_where_the_preset_has_them():
    channel = channel_with(*nrpn(1, 6))
    channel.use_preset(2.0, AXES, N_LATENTS, {"filter.resonance": 0.25})
    channel.control(96, 0)
    assert channel.knobs == {"filter.resonance": pytest.approx(0.25 + 1 / 127)}
    channel.control(97, 0)
    assert channel.knobs == {"filter.resonance": pytest.approx(0.25)}


def test_knobs_step_evenly_and_stop_at_the_ends_of_their_travel():
    channel = channel_with(*nrpn(1, 6, 0), (97, 0), *[(96, 0)] * 100)
    assert channel.knobs == {"filter.resonance": pytest.approx(100 / 127)}
    channel.control(38, 0)
    assert channel.knobs == {"filter.resonance": 100 / 127}
    for _ in range(100):
        channel.control(96, 0)
    assert channel.knobs == {"filter.resonance": 1.0}


def test_the_highest_axis_and_latent_number_have_an_nrpn():
    channel = Channel()
    channel.use_preset(2.0, tuple(f"axis {i}" for i in range(128)), 127)
    for number, value in (*nrpn(2, 127, 0), *nrpn(3, 127, 127)):
        channel.control(number, value)
    assert channel.knobs == {"axes.axis 127": 0.0, "latent.127": 1.0}


@given(st.integers(0, 127), st.integers(0, 127), st.integers(0, 127))
def test_the_lsb_of_a_knob_keeps_its_msb(msb, first, second):
    one = channel_with(*nrpn(1, 0, msb, first), (38, second)).knobs
    assert one == channel_with(*nrpn(1, 0, msb, second)).knobs


def test_knobs_and_parameters_stay_through_program_change_and_cc121_until_power_on():
    channel = channel_with(*nrpn(1, 0, 99), *rpn(1, 96), *rpn(0, 9))
    channel.program_change(3)
    channel.control(121, 0)
    assert channel.knobs == {"sound.tune_cents": pytest.approx(99 / 127)}
    assert (channel.fine_tune_cents, channel.bend_range_semitones) == (50.0, 9.0)
    channel.power_on()
    assert (channel.knobs, channel.fine_tune_cents, channel.bend_range_semitones) == ({}, 0.0, 2.0)


def naive_bend_range(stream):
    """RPN 0 read the slow way: the range in whole cents."""
    cents, numbers, kind = 200, {98: 127, 99: 127, 100: 127, 101: 127}, "rpn"
    for number, value in stream:
        if number in numbers:
            numbers[number], kind = value, "rpn" if number >= 100 else "nrpn"
        elif kind == "rpn" and numbers[100] == numbers[101] == 0:
            if number == 6:
                cents = min(value, 96) * 100
            elif number == 38:
                cents = min(cents // 100 * 100 + min(value, 99), 9600)
            else:
                cents = min(max(cents + (1 if number == 96 else -1), 0), 9600)
    return cents / 100


@settings(max_examples=300)
@given(st.lists(st.tuples(parameter_controllers, st.sampled_from([0, 1, 2, 50, 96, 127])), max_size=40))
def test_bend_range_equals_a_naive_reading_of_any_stream(stream):
    channel = channel_with(*rpn(0), *stream)
    assert channel.bend_range_semitones == pytest.approx(naive_bend_range([*rpn(0), *stream]))


def test_a_fresh_selection_is_none():
    assert Selection().number == -1
