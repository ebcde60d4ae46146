"""The controller map: looking up, learning, and the file; and the TOML reading under it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.errors import OutputError, PresetError
from neuralsynth.midi.learn import (
    MAX_ENTRIES,
    MAX_MAP_BYTES,
    NOT_LEARNED,
    ControllerMap,
    Entry,
    checked_target,
    load_map,
    map_text,
    save_map,
)
from neuralsynth.midi.parameters import DESTINATIONS
from neuralsynth.toml_file import read_toml, refuse_unknown, toml_lines
from tests.effort import at_most

CUTOFF, PAN = "filter.cutoff_hz", "sound.pan"
SMALLEST = '[[map]]\ncontroller = 21\nto = "filter.cutoff_hz"\n'


def written(folder, text):
    path = folder / "map.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Looking up


def test_entry_is_found_on_its_channel_and_controller_only():
    entry = Entry(21, CUTOFF, channel=3)
    controllers = ControllerMap([entry])
    for channel in range(16):
        for controller in range(128):
            expected = (entry,) if (channel, controller) == (3, 21) else ()
            assert controllers.lookup(channel, controller) == expected


def test_entry_for_any_channel_is_found_on_all():
    entry = Entry(0, CUTOFF)
    controllers = ControllerMap([entry])
    assert all(controllers.lookup(channel, 0) == (entry,) for channel in range(16))


def test_one_controller_may_turn_several_targets_and_one_target_have_several_controllers():
    entries = [Entry(21, CUTOFF), Entry(21, PAN, 0), Entry(22, CUTOFF)]
    controllers = ControllerMap(entries)
    assert controllers.lookup(0, 21) == (entries[0], entries[1])
    assert controllers.lookup(1, 21) == (entries[0],)
    assert controllers.lookup(0, 22) == (entries[2],)
    assert controllers.entries == tuple(entries)


@pytest.mark.parametrize("turned", [False, True])
def test_entry_of_one_channel_counts_before_that_of_any(turned):
    both = [Entry(21, CUTOFF, None, 0.0, 1.0), Entry(21, CUTOFF, 5, 1.0, 0.0)]
    controllers = ControllerMap(reversed(both) if turned else both)
    assert controllers.lookup(5, 21) == (both[1],)
    assert controllers.lookup(6, 21) == (both[0],)


@pytest.mark.parametrize("turned", [False, True])
def test_entry_of_one_channel_leaves_those_of_any_channel_to_their_other_targets(turned):
    both = [Entry(21, PAN, 5), Entry(21, CUTOFF)]
    controllers = ControllerMap(both[::-1] if turned else both)
    assert set(controllers.lookup(5, 21)) == set(both)
    assert controllers.lookup(6, 21) == (both[1],)


def test_entry_added_again_takes_the_place_of_the_first():
    controllers = ControllerMap([Entry(21, CUTOFF, 0, 0.0, 1.0), Entry(21, CUTOFF, 0, 0.2, 0.5)])
    assert controllers.lookup(0, 21) == (Entry(21, CUTOFF, 0, 0.2, 0.5),)
    assert len(controllers.entries) == 1


def test_removed_entry_turns_nothing():
    stays, goes = Entry(21, PAN), Entry(21, CUTOFF)
    controllers = ControllerMap([stays, goes])
    assert controllers.remove(goes)
    assert not controllers.remove(goes)
    assert controllers.lookup(0, 21) == (stays,)


@pytest.mark.parametrize(
    "low, high, positions", [(0.0, 1.0, (0.0, 64 / 127, 1.0)), (1.0, 0.0, (1.0, 63 / 127, 0.0)), (0.5, 0.5, (0.5,) * 3)]
)
def test_position_goes_from_low_to_high_also_backwards(low, high, positions):
    entry = Entry(1, CUTOFF, None, low, high)
    assert tuple(entry.position(value) for value in (0, 64, 127)) == pytest.approx(positions)
    assert entry.position(-1) == positions[0]
    assert entry.position(300) == positions[2]


def test_map_holds_so_many_entries_and_no_more():
    controllers = ControllerMap(Entry(1, f"axes.{i}") for i in range(MAX_ENTRIES))
    with pytest.raises(PresetError, match="use at most 512, remove some"):
        controllers.add(Entry(2, CUTOFF))
    controllers.add(Entry(1, "axes.0", None, 0.5, 1.0))  # in place of another
    controllers.learn(CUTOFF)
    assert controllers.observe(0, 21, 5) is None
    assert len(controllers.entries) == MAX_ENTRIES


# Targets

GOOD_TARGETS = [
    *DESTINATIONS,
    "axes.brightness",
    "axes.odd name",
    "latent.1",
    "latent.128",
    "effects.1.mix",
    "effects.2.a b",
]
BAD_TARGETS = [
    "", "filter", "filter.", "filter.cutof_hz", "voices.polyphony", "axes.", "axes. ", "latent.0", "latent.01", "latent.x",
    "latent.1000", "effects.mix", "effects.0.mix", "effects.1.", "axes.a\nb", "axes." + "a" * 200, None, 5, [CUTOFF],
]  # fmt: skip


@pytest.mark.parametrize("target", GOOD_TARGETS)
def test_target_that_can_be_turned_is_taken(target):
    assert checked_target(target) == target


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_target_that_cannot_be_turned_is_refused(target):
    for make in (checked_target, lambda t: Entry(1, t), ControllerMap().learn):
        with pytest.raises(PresetError, match="^to is .*; use "):
            make(target)


def test_misspelt_target_names_the_likeliest_first():
    with pytest.raises(PresetError, match=r"use filter\.cutoff_hz,"):
        checked_target("filter.cutof_hz")


@pytest.mark.parametrize(
    "values, match",
    [
        ((120, CUTOFF), "controller is 120; use a whole number from 0 to 119"),
        ((-1, CUTOFF), "controller is -1"),
        ((1.0, CUTOFF), "controller is 1.0"),
        ((True, CUTOFF), "controller is True"),
        ((1, CUTOFF, 16), "channel is 16; use 0 to 15, or None"),
        ((1, CUTOFF, -1), "channel is -1"),
        ((1, CUTOFF, None, -0.1), "low is -0.1; use a number from 0 to 1"),
        ((1, CUTOFF, None, 0.0, 1.1), "high is 1.1"),
        ((1, CUTOFF, None, float("nan")), "low is nan"),
    ],
)
def test_entry_out_of_range_is_refused(values, match):
    with pytest.raises(PresetError, match=match):
        Entry(*values)


# Learning


def test_target_is_bound_to_the_next_controller_that_moves_and_then_learning_ends():
    controllers = ControllerMap()
    controllers.learn(CUTOFF, 0.2, 0.8)
    assert controllers.learning == CUTOFF
    entry = controllers.observe(2, 21, 99)
    assert entry == Entry(21, CUTOFF, 2, 0.2, 0.8)
    assert controllers.learning is None
    assert controllers.lookup(2, 21) == (entry,)
    assert controllers.observe(2, 22, 1) is None
    assert controllers.entries == (entry,)


def test_target_learned_for_any_channel_listens_to_all():
    controllers = ControllerMap()
    controllers.learn(CUTOFF, any_channel=True)
    assert controllers.observe(9, 21, 0) == Entry(21, CUTOFF, None)
    assert controllers.lookup(0, 21)


def test_learned_binding_replaces_the_targets_old_ones_and_leaves_the_others():
    other = Entry(21, PAN, 0)
    controllers = ControllerMap([Entry(20, CUTOFF), Entry(19, CUTOFF, 4), other])
    controllers.learn(CUTOFF)
    assert controllers.entries[0].controller == 20  # until something moves, all is as it was
    entry = controllers.observe(0, 21, 64)
    assert set(controllers.entries) == {other, entry}
    assert controllers.lookup(0, 21) == (other, entry)
    assert controllers.lookup(4, 19) == controllers.lookup(0, 20) == ()


def test_pedals_modes_banks_data_and_parameter_numbers_are_not_learned():
    passed_over = {0, 32, 6, 38, 64, 65, 66, 67, 68, 69, 96, 97, 98, 99, 100, 101, *range(120, 128)}
    for controller in range(128):
        controllers = ControllerMap()
        controllers.learn(CUTOFF)
        entry = controllers.observe(0, controller, 127)
        assert (entry is None) == (controller in passed_over)
        assert (controllers.learning is None) == (entry is not None)
    assert passed_over >= NOT_LEARNED


def test_learning_cancelled_binds_nothing():
    controllers = ControllerMap([Entry(20, CUTOFF)])
    controllers.learn(CUTOFF)
    controllers.cancel()
    assert controllers.learning is None
    assert controllers.observe(0, 21, 64) is None
    assert controllers.entries == (Entry(20, CUTOFF),)


@given(st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300), st.integers(-300, 300)), max_size=20))
def test_hostile_control_changes_raise_nothing_while_learning(messages):
    controllers = ControllerMap()
    for channel, controller, value in messages:
        controllers.learn(CUTOFF)
        entry = controllers.observe(channel, controller, value)
        assert entry is None or (0 <= entry.channel < 16 and 0 <= entry.controller < 120)
        controllers.lookup(channel, controller)
    assert len(controllers.entries) <= 1


# The file

ENTRIES = st.builds(
    Entry,
    controller=st.integers(0, 119),
    target=st.sampled_from(DESTINATIONS)
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
    .filter(lambda t: t.isprintable() and t.strip())
    .map("axes.{}".format),
    channel=st.none() | st.integers(0, 15),
    low=st.floats(0.0, 1.0, allow_subnormal=False),
    high=st.floats(0.0, 1.0, allow_subnormal=False) | st.sampled_from([0, 1]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, max_size=12))
def test_map_saved_reads_back_as_it_was(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "round.toml"
    controllers = ControllerMap(entries)
    save_map(controllers, path)
    assert load_map(path).entries == controllers.entries


def test_saved_map_is_plain_to_read():
    assert map_text(ControllerMap([Entry(21, CUTOFF, 1, 1.0, 0.25), Entry(22, 'axes."q"')])) == (
        "format_version = 1\n"
        '\n[[map]]\ncontroller = 21\nchannel = 2\nto = "filter.cutoff_hz"\nlow = 1.0\nhigh = 0.25\n'
        '\n[[map]]\ncontroller = 22\nchannel = 0\nto = "axes.\\"q\\""\nlow = 0.0\nhigh = 1.0\n'
    )


def test_what_a_map_file_leaves_out_is_any_channel_and_the_whole_travel(tmp_path):
    assert load_map(written(tmp_path, SMALLEST)).entries == (Entry(21, CUTOFF, None, 0.0, 1.0),)
    assert load_map(written(tmp_path, "format_version = 1\n")).entries == ()


@pytest.mark.parametrize("shown, channel", [(0, None), (1, 0), (16, 15)])
def test_channels_are_written_as_shown_with_0_for_any(tmp_path, shown, channel):
    path = written(tmp_path, SMALLEST + f"channel = {shown}\n")
    assert load_map(path).entries[0].channel == channel


@pytest.mark.parametrize(
    "text, match",
    [
        ("", "is empty"),
        ("x", "is no TOML"),
        (b"\xff\xfe", "is no UTF-8 text"),
        ("format_version = 2", "format_version is 2; use 1"),
        ("format_version = true", "format_version is True"),
        ("maps = 1", "'maps' is unknown; use map"),
        ("map = 1", r"map is 1; write each entry as a \[\[map\]\] table"),
        ("map = [1]", "map is"),
        (SMALLEST + "chanel = 1", "map 1: 'chanel' is unknown; use channel,"),
        (SMALLEST + SMALLEST, "map 2 binds what map 1 binds"),
        ("[[map]]\nto = 'sound.pan'", "map 1: controller is None"),
        ("[[map]]\ncontroller = 1", "map 1: to is None"),
        ("[[map]]\ncontroller = 1.5\nto = 'sound.pan'", "controller is 1.5; use a whole number from 0 to 119"),
        ("[[map]]\ncontroller = 'x'\nto = 'sound.pan'", "controller is 'x'"),
        ("[[map]]\ncontroller = 1" + "0" * 5000 + "\nto = 'sound.pan'", "is no TOML|huge"),
        ("[[map]]\ncontroller = 1" + "0" * 400 + "\nto = 'sound.pan'", "controller is 1000"),
        (SMALLEST + "channel = 17", "channel is 17; use a whole number from 0 to 16"),
        (SMALLEST + "channel = false", "channel is False"),
        (SMALLEST + "low = nan", "low is nan"),
        (SMALLEST + "high = inf", "high is inf"),
        (SMALLEST + "high = 1e999", "high is inf"),
        (SMALLEST + "low = '0'", "low is '0'"),
        (SMALLEST + "low = 1979-05-27", "low is"),
        (SMALLEST * (MAX_ENTRIES + 1), f"has {MAX_ENTRIES + 1} entries; use at most {MAX_ENTRIES}"),
        ("a = " + "[" * 5000, "nested too deeply|is no TOML"),
        ("a." * 40 + "a = 1", "line 1 has more than 32 dots"),
        ("#" * (MAX_MAP_BYTES + 1), "is larger than 256 kB"),
        (b"#" * (2 << 20), "is larger than 1 MB"),
    ],
)
def test_bad_map_file_is_refused_in_one_sentence_that_names_it(tmp_path, text, match):
    path = written(tmp_path, text)
    with at_most(2.0), pytest.raises(PresetError, match=match) as caught:
        load_map(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_map_that_is_no_file_is_refused(tmp_path):
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    for path in (tmp_path, tmp_path / "missing.toml", pipe, "zero\0byte"):
        with pytest.raises(PresetError):
            load_map(path)


def test_map_that_cannot_be_written_says_so_and_leaves_the_old_one(tmp_path):
    with pytest.raises(OutputError):
        save_map(ControllerMap(), tmp_path / "no" / "map.toml")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        save_map(ControllerMap(), tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


# TOML files in general


class OurError(Exception):
    """What the caller of `read_toml` chose."""


def test_toml_reading_raises_the_error_asked_for(tmp_path):
    with pytest.raises(OurError, match="cannot be opened"):
        read_toml(tmp_path / "missing", 100, OurError)
    with pytest.raises(OurError, match="is no TOML"):
        read_toml(written(tmp_path, "="), 100, OurError)
    with pytest.raises(OurError, match="'b' is unknown; use a, c"):
        refuse_unknown({"a": 1, "b": 2}, ("a", "c"), "here", OurError)


def test_toml_lines_read_back_as_the_values(tmp_path):
    values = {"a": 1, "b": 0.1, "c": True, "d": 'é "q" \\', "e": ["x", "y"], "g": {"odd name": -1.5, "h": False}}
    path = written(tmp_path, "\n".join(["[t]", *toml_lines("t", {**values, "left out": None, "empty": {}})]))
    assert read_toml(path, 1000, OurError) == {"t": values}
