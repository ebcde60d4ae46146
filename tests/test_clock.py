"""MIDI clock, transport and active sensing: what comes out of ticks that come early, late, twice or not at all."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.midi.clock import ActiveSensing, MidiClock

RATE = 48_000
TICK, START, CONTINUE, STOP, RESET = b"\xf8", b"\xfa", b"\xfb", b"\xfc", b"\xff"
JITTER_SECONDS = 1.5e-3
TEMPOS = [20.0, 60.0, 97.3, 120.0, 174.0, 400.0]


def song_position(sixteenths):
    return bytes([0xF2, sixteenths & 127, sixteenths >> 7])


def spacing(bpm, rate=RATE):
    """Samples between two ticks."""
    return rate * 60.0 / bpm / 24


def tick_samples(bpm, n, first=480.0, jitter_seconds=0.0, seed=0, rate=RATE):
    """`n` ticks of an even clock, each up to `jitter_seconds` early or late."""
    rng = random.Random(seed)
    return [round(first + k * spacing(bpm, rate) + rng.uniform(-1, 1) * jitter_seconds * rate) for k in range(n)]


def started(samples, rate=RATE):
    """A clock started at 0 that has heard those ticks."""
    clock = MidiClock(rate)
    clock.handle(0, START)
    for sample in samples:
        clock.handle(sample, TICK)
    return clock


def percent_off(clock, bpm):
    return 100.0 * abs(clock.beats_per_minute / bpm - 1.0)


# Tempo


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("bpm", TEMPOS)
def test_clean_clock_is_known_to_a_thousandth_within_one_beat(bpm, rate):
    assert percent_off(started(tick_samples(bpm, 24, rate=rate), rate), bpm) < 0.1


@pytest.mark.parametrize("bpm", TEMPOS)
def test_clock_with_jitter_locks_within_one_beat_and_settles_in_two(bpm):
    # The slope of a line through n points that are off by s is off by s·sqrt(12/n³) (root mean square); 4 times that.
    tolerance = {n: 100.0 * 4.0 * JITTER_SECONDS * RATE / 3**0.5 * (12 / n**3) ** 0.5 / spacing(bpm) for n in (24, 48)}
    for seed in range(20):
        samples = tick_samples(bpm, 24, jitter_seconds=JITTER_SECONDS, seed=seed)
        assert percent_off(started(samples), bpm) < tolerance[24]
        samples = tick_samples(bpm, 480, jitter_seconds=JITTER_SECONDS, seed=seed)
        clock = started(samples[:48])
        for sample in samples[48:]:
            clock.handle(sample, TICK)
            assert percent_off(clock, bpm) < tolerance[48]


def test_tempo_of_a_jittery_clock_wanders_less_than_a_thousandth():
    errors = []
    for seed in range(5):
        samples = tick_samples(120.0, 600, jitter_seconds=JITTER_SECONDS, seed=seed)
        clock = started(samples[:48])
        for sample in samples[48:]:
            clock.handle(sample, TICK)
            errors.append(percent_off(clock, 120.0))
    assert math.sqrt(sum(e * e for e in errors) / len(errors)) < 0.1


@pytest.mark.parametrize("before, after", [(60, 240), (240, 60), (120, 60), (100, 140), (120, 125), (140, 100)])
def test_new_tempo_is_known_one_beat_after_a_leap(before, after):
    samples = tick_samples(before, 100)
    samples += tick_samples(after, 25, first=samples[-1])[1:]
    assert percent_off(started(samples), after) < 0.1


@pytest.mark.parametrize("before, after", [(120, 121), (120, 119.6), (300, 301)])
def test_new_tempo_is_known_two_beats_after_a_small_change(before, after):
    samples = tick_samples(before, 100)
    samples += tick_samples(after, 49, first=samples[-1])[1:]
    assert percent_off(started(samples), after) < 0.1


@pytest.mark.parametrize("slower, percent, beats", [(20.0, 2.0, 0.01), (60.0, 7.0, 0.03), (-60.0, 4.0, 0.03)])
def test_slowing_down_and_hurrying_over_8_beats_are_followed(slower, percent, beats):
    clock, sample = started([]), 480.0
    for k in range(8 * 24):
        bpm = 140.0 - slower * k / (8 * 24)
        clock.handle(round(sample), TICK)
        if k > 24:
            assert percent_off(clock, bpm) < percent
            assert abs(clock.beat_at(round(sample)) - k / 24) < beats
        sample += spacing(bpm)


def test_one_late_tick_does_not_move_the_tempo():
    samples = tick_samples(120.0, 72)
    samples[60] += round(0.015 * RATE)
    for n in range(61, 73):
        assert percent_off(started(samples[:n]), 120.0) < 0.01


def test_ticks_far_off_to_either_side_in_turn_do_not_move_the_tempo():
    samples = tick_samples(120.0, 96)
    for k in range(60, 96):
        samples[k] += round((0.006 if k % 2 else -0.006) * RATE)
        assert percent_off(started(samples[: k + 1]), 120.0) < 0.01


@pytest.mark.parametrize("before, after", [(60, 240), (240, 60), (100, 140)])
def test_new_tempo_is_known_a_quarter_of_a_beat_after_a_leap(before, after):
    samples = tick_samples(before, 100)
    samples += tick_samples(after, 7, first=samples[-1])[1:]
    assert percent_off(started(samples), after) < 0.1


def test_tempo_a_little_beyond_what_clocks_have_is_the_last_they_have():
    assert started(tick_samples(415.0, 48)).beats_per_minute == 400.0
    assert started(tick_samples(19.7, 48)).beats_per_minute == 20.0


def test_doubled_clock_counts_once():
    samples = tick_samples(120.0, 96)
    doubled = sorted([*samples, *(sample + 70 for sample in samples)])
    clock = started(doubled)
    assert percent_off(clock, 120.0) < 0.1
    assert clock.ignored == 96
    assert clock.beat_at(samples[-1]) == pytest.approx(95 / 24, abs=0.005)


def test_ticks_that_come_in_pairs_count_all():
    samples = tick_samples(120.0, 240)
    for k in range(101, 240, 2):
        samples[k - 1] = samples[k] - 1  # the earlier one kept back until the later
    clock = started(samples)
    assert clock.beat_at(samples[-1]) == pytest.approx(239 / 24, abs=0.005)


@pytest.mark.parametrize("bpm", [12.0, 480.0, 700.0, 3000.0])
def test_absurd_clock_leaves_the_tempo(bpm):
    clock = started(tick_samples(140.0, 48))
    for sample in tick_samples(bpm, 200, first=48 * spacing(140.0)):
        clock.handle(sample, TICK)
        assert 20.0 <= clock.beats_per_minute <= 400.0
    samples = tick_samples(bpm, 200)
    clock = MidiClock(RATE, 140.0)
    for sample in samples:
        clock.handle(sample, TICK)
    assert clock.beats_per_minute == 140.0
    # The position goes on at that tempo, whatever the ticks say.
    assert clock.beat_at(samples[-1]) == pytest.approx(samples[-1] / RATE * 140.0 / 60.0, rel=0.1)


def test_lost_clock_leaves_its_tempo_behind():
    samples = tick_samples(90.0, 48)
    clock = started(samples)
    beat, later = clock.beat_at(samples[-1]), samples[-1] + 60 * RATE
    assert clock.follows_clock(samples[-1] + RATE // 2)
    assert not clock.follows_clock(samples[-1] + RATE // 2 + 1)
    assert percent_off(clock, 90.0) < 0.01
    assert clock.beat_at(later) == pytest.approx(beat + 90.0, abs=0.01)


def test_clock_found_again_goes_on_from_where_the_position_has_come():
    samples = tick_samples(90.0, 48)
    clock = started(samples)
    again = tick_samples(110.0, 48, first=samples[-1] + 10 * RATE)
    expected = clock.beat_at(again[0])
    for sample in again:
        clock.handle(sample, TICK)
    assert percent_off(clock, 110.0) < 0.1
    assert clock.beat_at(again[-1]) == pytest.approx(expected + 47 / 24, abs=0.03)


# Song position


def test_start_puts_the_position_to_zero():
    clock = started(tick_samples(120.0, 50))
    assert clock.beat_at(2 * RATE) > 1.0
    clock.handle(2 * RATE, START)
    assert clock.is_running
    assert clock.beat_at(2 * RATE) == 0.0


def test_position_stands_after_start_until_the_first_tick_which_is_the_beat():
    clock = MidiClock(RATE)
    clock.handle(1000, START)
    assert clock.beat_at(1000 + RATE // 10) == 0.0
    clock.handle(1000 + RATE // 10, TICK)
    assert clock.beat_at(1000 + RATE // 10) == 0.0
    assert clock.beat_at(1000 + RATE // 10 + round(spacing(120.0))) == pytest.approx(1 / 24, abs=1e-4)


def test_start_without_any_clock_runs_on_after_half_a_second():
    clock = MidiClock(RATE, 60.0)
    clock.handle(RATE, START)
    assert clock.beat_at(RATE + RATE // 2) == 0.0
    assert clock.beat_at(RATE + RATE // 2 + RATE) == pytest.approx(1.0)


@pytest.mark.parametrize("bpm", TEMPOS)
def test_position_is_the_count_of_ticks_and_does_not_drift(bpm):
    samples = tick_samples(bpm, 24 * 60 + 1, jitter_seconds=JITTER_SECONDS)
    clock = started(samples)
    even = round(480 + 60 * 24 * spacing(bpm))
    at = max(even, samples[-1])
    seconds_off = (clock.beat_at(at) - 60.0 - (at - even) / spacing(bpm) / 24) * 60.0 / bpm
    assert abs(seconds_off) < JITTER_SECONDS


def test_slow_clock_from_standing_is_never_run_away_from():
    clock = started([])  # expects 120
    for k, sample in enumerate(tick_samples(20.0, 48)):
        clock.handle(sample, TICK)
        assert clock.beat_at(sample) == pytest.approx(k / 24, abs=1e-3)


def test_stop_holds_the_position_and_continue_goes_on_from_it():
    samples = tick_samples(120.0, 60)
    clock = started(samples)
    now = samples[-1] + 100
    clock.handle(now, STOP)
    held = clock.beat_at(now)
    assert not clock.is_running
    assert clock.beat_at(now + 9 * RATE) == held
    clock.handle(now + 9 * RATE, CONTINUE)
    assert clock.is_running
    again = tick_samples(120.0, 49, first=now + 9 * RATE + 50)
    assert clock.beat_at(again[0]) == held
    for sample in again:
        clock.handle(sample, TICK)
    assert clock.beat_at(again[-1]) == pytest.approx((60 + 48) / 24, abs=1e-3)


def test_ticks_while_stopped_tell_the_tempo_and_leave_the_position():
    clock = started(tick_samples(120.0, 48))
    clock.handle(2 * RATE, STOP)
    held = clock.beat_at(2 * RATE)
    samples = tick_samples(80.0, 60, first=2 * RATE + 100)
    for sample in samples:
        clock.handle(sample, TICK)
        assert clock.beat_at(sample) == held
    assert percent_off(clock, 80.0) < 0.1
    clock.handle(samples[-1] + 7, CONTINUE)
    clock.handle(samples[-1] + 1500, TICK)
    assert clock.beat_at(samples[-1] + 1500) == held


@pytest.mark.parametrize("sixteenths, beat", [(0, 0.0), (1, 0.25), (130, 32.5), (16383, 4095.75)])
def test_song_position_counts_sixteenths_and_continue_starts_there(sixteenths, beat):
    for clock in (MidiClock(RATE), started(tick_samples(120.0, 30))):
        clock.handle(RATE, STOP)
        clock.handle(RATE + 1, song_position(sixteenths))
        assert clock.beat_at(3 * RATE) == beat
        clock.handle(3 * RATE, CONTINUE)
        clock.handle(3 * RATE + 500, TICK)
        assert clock.beat_at(3 * RATE + 500) == beat
        assert clock.beat_at(3 * RATE + 1000) > beat


def test_continue_finds_a_song_position_given_before_any_start():
    clock = MidiClock(RATE)
    clock.handle(0, song_position(16))
    for sample in tick_samples(120.0, 30):
        clock.handle(sample, TICK)
    clock.handle(RATE, CONTINUE)
    assert clock.beat_at(RATE) == 4.0


def test_song_position_while_running_moves_at_once():
    clock = started(tick_samples(120.0, 30))
    clock.handle(RATE, song_position(8))
    assert clock.is_running
    assert clock.beat_at(RATE) == 2.0
    samples = tick_samples(120.0, 25, first=RATE + 300)
    for sample in samples:
        clock.handle(sample, TICK)
    assert clock.beat_at(samples[-1]) == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("message", [b"\xf2", b"\xf2\x10", b"\xf2\x80\x00", b"\xf2\x00\xff", b"\xf2\x00\x00\x00"])
def test_broken_song_position_is_counted_and_ignored(message):
    clock = started(tick_samples(120.0, 30))
    before = clock.beat_at(RATE)
    clock.handle(RATE, message)
    assert clock.ignored == 1
    assert clock.beat_at(RATE) == before


def test_position_runs_by_itself_before_any_transport():
    clock = MidiClock(RATE)
    assert not clock.is_running
    assert clock.beat_at(3 * RATE) == pytest.approx(6.0)


def test_position_goes_on_after_a_gap_as_if_there_had_been_none():
    samples = tick_samples(120.0, 48)
    again = tick_samples(120.0, 48, first=samples[-1] + 0.3 * RATE)
    clock = started([*samples, *again])
    # A gap of 14.4 ticks: the ticks after it are taken for the nearest ones, 14 after the last.
    assert clock.beat_at(again[-1]) == pytest.approx((47 + 14 + 47) / 24, abs=0.01)


def test_clock_that_dies_after_two_ticks_does_not_hold_the_position():
    samples = tick_samples(120.0, 2)
    clock = started(samples)
    now = samples[-1] + RATE
    assert clock.beat_at(now + RATE) - clock.beat_at(now) == pytest.approx(2.0)


def test_lost_clocks_position_goes_exactly_at_the_tempo():
    samples = tick_samples(90.0, 60, jitter_seconds=JITTER_SECONDS)
    clock = started(samples)
    now = samples[-1] + RATE
    gone = clock.beat_at(now + 60 * RATE) - clock.beat_at(now)
    assert gone == pytest.approx(clock.beats_per_minute, rel=1e-9)


@pytest.mark.parametrize("before, after", [(400, 20), (240, 60), (20, 400)])
def test_position_never_runs_back_however_the_tempo_leaps(before, after):
    samples = tick_samples(before, 60)
    clock = started(samples)
    held = clock.beat_at(samples[-1])
    for now, then in itertools.pairwise(tick_samples(after, 40, first=samples[-1])):
        for sample in range(now, then, 50):
            assert clock.beat_at(sample) >= held
            held = clock.beat_at(sample)
        clock.handle(then, TICK)


def test_position_keeps_closer_to_the_even_clock_than_the_jittery_ticks_do():
    samples = tick_samples(20.0, 480, jitter_seconds=JITTER_SECONDS)
    clock = started(samples[:96])
    for k, sample in enumerate(samples[96:], 96):
        clock.handle(sample, TICK)
        even = 480 + k * spacing(20.0)
        assert abs(clock.beat_at(sample) - k / 24 - (sample - even) / spacing(20.0) / 24) * 3.0 < JITTER_SECONDS * 2 / 3


def test_continue_while_running_changes_nothing():
    samples = tick_samples(120.0, 50)
    clock, told = started(samples), started(samples)
    told.handle(samples[-1] + 100, CONTINUE)
    assert told.beat_at(samples[-1] + 600) == clock.beat_at(samples[-1] + 600)


def test_song_position_given_before_a_start_is_forgotten_by_the_start():
    clock = MidiClock(RATE)
    clock.handle(0, song_position(16))
    clock.handle(10, START)
    samples = tick_samples(120.0, 13)
    for sample in samples:
        clock.handle(sample, TICK)
    clock.handle(samples[-1] + 10, STOP)
    clock.handle(samples[-1] + 20, CONTINUE)
    assert clock.beat_at(samples[-1] + 20) == pytest.approx(0.5, abs=0.01)


def test_first_tick_after_start_counts_however_soon_after_one_of_the_idle_clock():
    idle = tick_samples(120.0, 48)
    clock = started(idle)
    clock.handle(idle[-1] + 20, START)
    samples = tick_samples(120.0, 49, first=idle[-1] + 60)
    for sample in samples:
        clock.handle(sample, TICK)
    assert clock.ignored == 0
    assert clock.beat_at(samples[-1]) == pytest.approx(2.0, abs=1e-3)


def test_idle_ticks_after_a_pause_do_not_shift_the_count_that_continue_takes_up():
    samples = tick_samples(120.0, 60)
    clock = started(samples)
    clock.handle(samples[-1] + 100, STOP)
    idle = tick_samples(120.0, 30, first=samples[-1] + RATE)
    for sample in idle:
        clock.handle(sample, TICK)
    clock.handle(idle[-1] + 100, CONTINUE)
    again = tick_samples(120.0, 97, first=idle[-1] + spacing(120.0))
    for sample in again:
        clock.handle(sample, TICK)
    assert clock.beat_at(again[-1]) == pytest.approx((60 + 96) / 24, abs=1e-3)


# Tempo of a file


def test_position_is_the_exact_sum_of_a_files_tempos():
    clock = MidiClock(RATE)
    clock.set_tempo(0, 100.0)
    clock.set_tempo(3 * RATE, 37.5)
    clock.set_tempo(7 * RATE, 500.0)
    assert clock.beats_per_minute == 500.0
    assert clock.beat_at(8 * RATE) == pytest.approx((3 * 100.0 + 4 * 37.5 + 500.0) / 60.0, abs=1e-12)


def test_tempo_of_a_file_holds_against_ticks_that_came_before_it():
    samples = tick_samples(120.0, 48)
    clock = started(samples)
    clock.set_tempo(samples[-1] + 10, 90.0)
    clock.handle(samples[-1] + round(spacing(120.0)), TICK)
    assert clock.beats_per_minute == 90.0


def test_tempo_given_between_start_and_the_first_tick_leaves_the_position_standing():
    clock = MidiClock(RATE)
    clock.handle(0, START)
    clock.set_tempo(100, 200.0)
    assert clock.beat_at(RATE // 2) == 0.0
    clock.handle(RATE // 2, TICK)
    assert clock.beat_at(RATE // 2) == 0.0


@pytest.mark.parametrize(
    "given_bpm, kept", [(0.0, 3.0), (-5.0, 3.0), (1e9, 6000.0), (math.inf, 90.0), (math.nan, 90.0)]
)
def test_senseless_tempo_of_a_file_is_kept_in_range_or_ignored(given_bpm, kept):
    clock = MidiClock(RATE)
    clock.set_tempo(0, 90.0)
    clock.set_tempo(5, given_bpm)
    assert clock.beats_per_minute == kept
    assert clock.ignored == (0 if math.isfinite(given_bpm) else 1)


# Both: no jumps, no surprises

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 6000) | st.integers(0, 60_000) | st.integers(990, 1010),
        st.sampled_from([TICK] * 8 + [START, CONTINUE, STOP, RESET, song_position(40)])
        | st.floats(1.0, 1000.0, allow_subnormal=False)
        | st.binary(max_size=4),
    ),
    max_size=120,
)


def play(clock, events, first=0):
    """Give messages and tempos to a clock; yields sample, item, and the position before and after."""
    now = first
    for gap, item in events:
        now += gap
        before = clock.beat_at(now)
        if isinstance(item, float):
            clock.set_tempo(now, item)
        else:
            clock.handle(now, item)
        yield now, item, before, clock.beat_at(now)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_position_leaps_only_at_start_song_position_and_reset_and_never_runs_back(events):
    clock = MidiClock(RATE)
    held = 0.0
    located = False
    for _now, item, before, after in play(clock, events):
        assert before >= held - 1e-9
        leaps = isinstance(item, bytes) and (item[:1] in {START, RESET, b"\xf2"} or (item[:1] == CONTINUE and located))
        assert leaps or after == pytest.approx(before, abs=1e-9)
        located |= isinstance(item, bytes) and item[:1] == b"\xf2"
        assert 3.0 <= clock.beats_per_minute <= 6000.0
        held = after


@settings(max_examples=50, deadline=None)
@given(EVENTS, st.integers(1, 10**13))
def test_same_messages_later_give_the_same_tempo_and_way(events, later):
    first, second = MidiClock(RATE), MidiClock(RATE)
    first.handle(0, START)
    second.handle(later, START)
    for (_, _, _, a), (_, _, _, b) in zip(play(first, events), play(second, events, later), strict=True):
        assert a == pytest.approx(b, abs=1e-3)
        assert first.beats_per_minute == pytest.approx(second.beats_per_minute, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(EVENTS, st.integers(1, 500))
def test_asking_for_the_position_changes_nothing(events, block_size):
    quiet, asked = MidiClock(RATE), MidiClock(RATE)
    now = 0
    for gap, item in events:
        for sample in range(now, now + min(gap, 2000), block_size):
            asked.beat_at(sample)
            asked.follows_clock(sample)
        now += gap
        for clock in (quiet, asked):
            clock.set_tempo(now, item) if isinstance(item, float) else clock.handle(now, item)
        assert quiet.beat_at(now + 77) == asked.beat_at(now + 77)
        assert quiet.beats_per_minute == asked.beats_per_minute


def test_ticks_by_the_hundred_thousand_at_one_sample_do_no_harm():
    clock = started(tick_samples(120.0, 48))
    for _ in range(100_000):
        clock.handle(RATE, TICK)
    assert percent_off(clock, 120.0) < 1.0
    assert clock.ignored >= 99_990
    assert clock.beat_at(2 * RATE) - clock.beat_at(RATE) == pytest.approx(2.0, abs=0.1)


def test_messages_running_backwards_in_time_do_no_harm():
    rng = random.Random(1)
    clock = MidiClock(RATE)
    for _ in range(5000):
        clock.handle(rng.randrange(10 * RATE), rng.choice([TICK, TICK, TICK, START, STOP, CONTINUE, song_position(9)]))
        assert 20.0 <= clock.beats_per_minute <= 400.0
    assert math.isfinite(clock.beat_at(20 * RATE))


def test_clock_says_which_messages_are_its_own():
    clock = MidiClock(RATE)
    own = [TICK, START, CONTINUE, STOP, RESET, song_position(1)]
    assert all(clock.handle(0, message) for message in own)
    assert not any(clock.handle(0, message) for message in (b"", b"\x90\x3c\x40", b"\xf1\x00", b"\xfe", b"\xf9"))


def test_system_reset_puts_the_clock_back_to_power_on():
    clock = MidiClock(RATE, 100.0)
    clock.handle(0, START)
    for sample in tick_samples(150.0, 48):
        clock.handle(sample, TICK)
    clock.handle(2 * RATE, RESET)
    assert clock.beats_per_minute == 100.0
    assert not clock.is_running
    assert clock.beat_at(2 * RATE) == 0.0
    assert clock.beat_at(3 * RATE) == pytest.approx(100.0 / 60.0)


# Active sensing

SENSE, NOTE = b"\xfe", b"\x90\x3c\x40"


def test_silence_before_any_active_sensing_never_expires():
    sensing = ActiveSensing(RATE)
    sensing.observe(0, NOTE)
    assert sensing.deadline is None
    assert not sensing.expired(100 * RATE)


@pytest.mark.parametrize("rate, patience", [(48_000, 14_400), (44_100, 13_230), (22_050, 6615), (11_025, 3308)])
def test_silence_after_active_sensing_expires_after_300_ms_and_once(rate, patience):
    sensing = ActiveSensing(rate)
    sensing.observe(1000, SENSE)
    assert sensing.deadline == 1000 + patience
    assert not sensing.expired(1000 + patience - 1)
    assert sensing.expired(1000 + patience)
    assert sensing.deadline is None
    assert not sensing.expired(1000 + patience)
    assert not sensing.expired(10**9)


def test_any_message_puts_the_deadline_off():
    sensing = ActiveSensing(RATE)
    sensing.observe(0, SENSE)
    for now in range(10_000, 200_000, 10_000):
        assert not sensing.expired(now)
        sensing.observe(now, [NOTE, TICK, SENSE, b"\xf0\x7e\xf7"][now // 10_000 % 4])
        assert sensing.deadline == now + 14_400


def test_system_reset_switches_active_sensing_off():
    sensing = ActiveSensing(RATE)
    sensing.observe(0, SENSE)
    sensing.observe(100, RESET)
    assert sensing.deadline is None
    sensing.observe(200, NOTE)
    assert not sensing.expired(10**6)


def test_expiry_that_nobody_asked_for_in_time_is_kept():
    sensing = ActiveSensing(RATE)
    sensing.observe(0, SENSE)
    sensing.observe(20_000, NOTE)
    assert sensing.deadline is None
    assert sensing.expired(20_000)
    assert not sensing.expired(20_001)
    sensing.observe(30_000, SENSE)
    sensing.observe(60_000, SENSE)  # back after a silence: the silence counts, and the watch goes on
    assert sensing.expired(60_000)
    assert sensing.deadline == 60_000 + 14_400


def test_active_sensing_after_an_expiry_is_watched_again():
    sensing = ActiveSensing(RATE)
    for now in (0, 100_000):
        sensing.observe(now, SENSE)
        assert sensing.expired(now + 14_400)
