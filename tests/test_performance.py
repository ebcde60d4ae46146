"""Performances: which preset a channel, a bank and a program bring, and everything that is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralsynth.errors import PresetError
from neuralsynth.performance import (
    FORMAT_VERSION,
    Program,
    find_performance,
    load_performance,
    shipped_performances,
)
from neuralsynth.preset import load_preset, shipped_folder, shipped_presets
from tests import refusals
from tests.effort import at_most

SMALLEST = 'format_version = 1\nname = "P"\n'
FULL = """
format_version = 1
name = "Band"
says = "one sentence"

[channels]
default = "upright-piano"
2 = "cello"
"16" = "mine.toml"

[[programs]]
program = "1-8"
preset = "upright-piano"

[[programs]]
program = 1
bank_msb = 1
bank_lsb = 2
preset = "cello"

[[programs]]
program = "1-128"
channel = 10
preset = "mine.toml"

[[programs]]
program = 128
channel = 3
preset = "bare.onnx"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.toml").write_text('format_version = 1\nname = "M"\nmodel = "bare.onnx"\n')
    (tmp_path / "bare.onnx").write_bytes(b"a model")
    return tmp_path


def load(folder, text):
    (folder / "p.performance.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_performance(folder / "p.performance.toml")


def refused(folder, text, *words):
    return refusals.refused(load_performance, folder / "p.performance.toml", text, *words)


def programs(*tables):
    return SMALLEST + "".join(f"[[programs]]\n{table}\n" for table in tables)


# ---- what is played


def test_every_key_is_read(folder):
    band = load(folder, FULL)
    assert (band.name, band.says, band.default) == ("Band", "one sentence", "upright-piano")
    assert band.channels == {1: "cello", 15: "mine.toml"}
    assert band.programs[1] == Program("1", "cello", 1, 2) and band.programs[0].programs == range(8)
    assert band.presets() == ("upright-piano", "cello", "mine.toml", "bare.onnx")


def test_a_channel_starts_with_its_own_preset_or_the_default(folder):
    band = load(folder, FULL)
    assert [band.start_preset(channel) for channel in (0, 1, 9, 15)] == [
        "upright-piano", "cello", "upright-piano", "mine.toml"
    ]  # fmt: skip


def test_without_channels_a_channel_starts_with_the_first_program(folder):
    band = load(folder, programs('program = 1\npreset = "cello"', 'program = 1\nchannel = 2\npreset = "mine.toml"'))
    assert [band.start_preset(channel) for channel in (0, 1)] == ["cello", "mine.toml"]
    assert load(folder, SMALLEST).start_preset(0) is None


def test_programs_are_shown_from_1_and_sent_from_0(folder):
    band = load(folder, programs('program = 1\npreset = "cello"', 'program = "127 - 128"\npreset = "mine.toml"'))
    found = {number: band.preset_for(0, (0, 0), number) for number in range(128)}
    assert {number for number, preset in found.items() if preset} == {0, 126, 127}
    assert found[0] == "cello" and found[127] == "mine.toml"


def test_the_bank_goes_before_the_channel_and_bank_0_is_the_last_resort(folder):
    band = load(folder, programs(
        'program = 5\npreset = "upright-piano"',
        'program = 5\nchannel = 4\npreset = "cello"',
        'program = 5\nbank_msb = 7\npreset = "alto-sax"',
        'program = 5\nbank_msb = 7\nchannel = 4\npreset = "mine.toml"',
        'program = 6\nbank_msb = 7\npreset = "alto-sax"',
        'program = 6\nchannel = 4\npreset = "cello"',
    ))  # fmt: skip
    assert band.preset_for(0, (0, 0), 4) == "upright-piano"
    assert band.preset_for(3, (0, 0), 4) == "cello"
    assert band.preset_for(0, (7, 0), 4) == "alto-sax"
    assert band.preset_for(3, (7, 0), 4) == "mine.toml"
    assert band.preset_for(3, (7, 1), 4) == "cello"  # no such bank
    assert band.preset_for(3, (7, 0), 5) == "alto-sax"  # the bank, though for any channel
    assert band.preset_for(0, (0, 0), 5) is None and band.preset_for(0, (7, 0), 6) is None


def test_presets_are_found_beside_the_performance_or_among_the_shipped(folder):
    band = load(folder, FULL)
    assert band.preset_path("mine.toml") == folder / "mine.toml"
    assert band.preset_path("bare.onnx") == folder / "bare.onnx"
    assert band.preset_path("cello") == shipped_folder() / "cello.toml"
    (folder / "mine.toml").unlink()
    with pytest.raises(PresetError, match="mine.toml"):
        band.preset_path("mine.toml")


# ---- what is refused


@pytest.mark.parametrize("program", [
    "0", "129", "-1", "1.0", "nan", "inf", "1" + "0" * 400, "true", '""', '"0-5"', '"5-129"', '"8-1"', '"1-"', '"-1"',
    '"1-2-3"', '"1\u20138"', '"\u0661"', "[1]", '"1-8\\n"',
])  # fmt: skip
def test_a_program_is_1_to_128_or_a_range_of_these(folder, program):
    refused(folder, programs(f'program = {program}\npreset = "cello"'), "program entry 1: program is", "1 to 128")


@pytest.mark.parametrize("key, low, high", [("bank_msb", 0, 127), ("bank_lsb", 0, 127), ("channel", 0, 16)])
def test_banks_and_channels_are_whole_numbers_in_their_range(folder, key, low, high):
    for number in (low - 1, high + 1, 0.5, "nan", "inf", "1e999", "true", '"1"', "1" + "0" * 400):
        text = programs(f'program = 1\npreset = "cello"\n{key} = {number}')
        refused(folder, text, f"program entry 1: {key} is", f"{low} to {high}")
    for number in (low, high):
        assert (
            getattr(load(folder, programs(f'program = 1\npreset = "cello"\n{key} = {number}')).programs[0], key)
            == number
        )


@pytest.mark.parametrize("text, words", [
    ("x = 1\n", ("'x' is unknown; use format_version, name",)),
    ("[channel]\n1 = 'cello'\n", ("'channel' is unknown; use channels",)),
    ("channels = 1\n", ("[channels] is 1; use a table",)),
    ("[channels]\n0 = 'cello'\n", ("[channels]: '0' is unknown; use ",)),
    ("[channels]\n17 = 'cello'\n", ("'17' is unknown",)),
    ("[channels]\n01 = 'cello'\n", ("'01' is unknown",)),
    ("[channels]\ndefualt = 'cello'\n", ("use default",)),
    ("[channels]\n1 = 1\n", ("[channels]: 1 is 1",)),
    ("[channels]\n1 = ''\n", ("[channels]: 1 is ''",)),
    ("[channels]\n1 = 'chello'\n", ("'chello': there is no such preset", "are cello")),
    ("[channels]\n1 = 'none.toml'\n", ("there is no file 'none.toml'",)),
    ("programs = 1\n", ("programs is 1; write each",)),
    ("programs = [1]\n", ("programs is [1]",)),
    ("[[programs]]\nprogram = 1\n", ("program entry 1: preset is missing",)),
    ("[[programs]]\npreset = 'cello'\n", ("program entry 1: program is missing",)),
    ("[[programs]]\nprogram = 1\npreset = 'cello'\nbank = 1\n", ("'bank' is unknown; use bank_",)),
    ("[[programs]]\nprogram = 1\npreset = 'none'\n", ("'none': there is no such preset",)),
    ("[[programs]]\nprogram = '1-5'\npreset = 'cello'\n[[programs]]\nprogram = 5\npreset = 'cello'\n",
     ("program entry 2: program 5 is in entry 1 already",)),
    ("[[programs]]\nprogram = 1\npreset = 'cello'\n" * 1025, ("has 1025 programs; use at most 1024",)),
    ("says = 5\n", ("says is 5",)),
])  # fmt: skip
def test_unknown_keys_and_wrong_values_are_refused_by_name(folder, text, words):
    refused(folder, SMALLEST + text, *words)


def test_what_is_required_is_asked_for(folder):
    refused(folder, "format_version = 1\n", "name is missing")
    refused(folder, 'name = "P"\n', "format_version is None")
    refused(folder, SMALLEST.replace("= 1", f"= {FORMAT_VERSION + 1}", 1), "pip install -U")


@pytest.mark.parametrize(
    "name", ["../out.toml", "/etc/passwd", "sub/in.toml", ".mine.toml", "link.toml", "https://x.org/a.toml"]
)
@pytest.mark.parametrize("place", ["[channels]\n1 = '{}'\n", "[[programs]]\nprogram = 1\npreset = '{}'\n"])
def test_no_name_leads_out_of_the_folder(tmp_path, name, place):
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    for path in (tmp_path / "out.toml", home / "sub" / "in.toml", home / ".mine.toml", home / "fine.toml"):
        path.write_text(SMALLEST)
    (home / "link.toml").symlink_to(tmp_path / "out.toml")
    refused(home, SMALLEST + place.format(name))
    assert load(home, SMALLEST + place.format("fine.toml")).presets() == ("fine.toml",)


HOSTILE = {
    "empty": b"",
    "no utf-8": SMALLEST.encode() + b'says = "\xff"\n',
    "no toml": b"name = = 3\n",
    "huge": SMALLEST.encode() + b"#" * (300 << 10),
    "deep keys": SMALLEST.encode() + b".".join([b"a"] * 50_000) + b" = 1\n",
    "deep arrays": SMALLEST.encode() + b"x = " + b"[" * 100_000,
    "every bank": programs(
        *(f'program="1-128"\npreset="cello"\nbank_lsb={i}' for i in range(128)), 'program=1\npreset="none.toml"'
    ).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_performance_is_refused_within_two_seconds_of_work(folder, name):
    with at_most(2.0):
        refused(folder, HOSTILE[name])


def test_a_preset_is_no_performance_and_a_performance_no_preset(folder):
    refused(folder, (folder / "mine.toml").read_text(), "'model' is unknown")
    load(folder, FULL)
    with pytest.raises(PresetError, match="'channels' is unknown"):
        load_preset(folder / "p.performance.toml")


def test_a_folder_a_missing_file_and_a_pipe_are_refused_at_once(folder):
    (folder / "d.toml").mkdir()
    names = ["d.toml", "none.toml"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.toml")
        names.append("pipe.toml")
    for name in names:
        with pytest.raises(PresetError, match=name):
            load_performance(folder / name)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100), st.integers(0, len(FULL) - 1))
def test_a_damaged_performance_is_read_or_refused_but_never_crashes(folder, junk, place):
    data = FULL.encode()
    try:
        band = load(folder, data[:place] + junk + data[place + len(junk) :])
    except PresetError:
        return
    for channel in range(16):
        found = {band.start_preset(channel), *(band.preset_for(channel, (1, 2), number) for number in range(128))}
        assert found <= {None, *band.presets()}


# ---- what is shipped


def test_general_midi_gives_every_program_one_of_the_shipped_presets():
    general = load_performance(find_performance("general-midi"))
    shipped = {path.stem for path in shipped_presets()}
    for channel in range(16):
        assert {general.preset_for(channel, (0, 0), number) for number in range(128)} <= shipped
        assert general.start_preset(channel) in shipped
    assert [general.preset_for(0, (0, 0), shown - 1) for shown in (1, 41, 43, 65, 66)] == [
        "upright-piano", "violin", "cello", "alto-sax", "alto-sax"
    ]  # fmt: skip
    assert {general.preset_for(9, (0, 0), number) for number in range(128)} == {"drum-kit"}
    assert general.start_preset(9) == "drum-kit"


def test_a_performance_is_found_by_name_or_path_and_is_not_among_the_presets(folder):
    load(folder, FULL)
    assert find_performance(folder / "p.performance.toml") == folder / "p.performance.toml"
    assert find_performance("General-MIDI") == shipped_folder() / "general-midi.performance.toml"
    assert [path.name for path in shipped_performances()] == ["general-midi.performance.toml"]
    assert not any("performance" in path.name for path in shipped_presets())


@pytest.mark.parametrize("name", ["generalmidi", "", "none.toml", "a\0b.toml", "x" * 5000 + ".toml", "cello"])
def test_an_unknown_performance_lists_the_shipped_ones(name):
    with pytest.raises(PresetError) as caught:
        find_performance(name)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 400
    if name == "generalmidi":
        assert message.startswith("'generalmidi': there is no such performance; the shipped ones are general-midi")
