"""The MIDI implementation chart: whole, true to the presets' knobs, and printed into the documentation."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from neuralsynth.midi import chart
from neuralsynth.midi.chart import CONTROLLERS, MESSAGES
from neuralsynth.midi.parameters import DESTINATIONS, REGISTERED, knob_name
from neuralsynth.preset_sections import SECTIONS
from neuralsynth.routes import DESTINATIONS as MOVABLE
from neuralsynth.routes import destination

PAGE = Path(__file__).parents[1] / "docs" / "midi.md"
#: The controllers that the instrument promises.
PROMISED = {
    0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 32, 33, 34, 36, 37, 38, 39, 40, 42, 43, *range(64, 80), 84, 91, 93,
    *range(96, 102), *range(120, 128),
}  # fmt: skip


def test_the_page_is_what_the_tables_print():
    assert PAGE.read_text("utf-8") == chart.chart_page(), "run: python -m neuralsynth.midi.chart docs/midi.md"


def test_the_page_is_written_whole(tmp_path):
    chart.main(tmp_path / "midi.md")
    assert (tmp_path / "midi.md").read_text("utf-8") == chart.chart_page()
    assert [path.name for path in tmp_path.iterdir()] == ["midi.md"]


def test_every_row_of_the_page_has_the_columns_of_its_head():
    tables = [block for block in chart.chart_page().split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_every_row_is_on_the_page():
    page = chart.chart_page()
    for number, row in CONTROLLERS.items():
        assert f"| {number} | {row.name} |" in page
    for name in (*MESSAGES, *(row.name for row in REGISTERED.values())):
        assert f"| {name} |" in page
    assert all(f"`{name}`" in page for name in DESTINATIONS)


def test_the_chart_lists_every_promised_controller():
    assert set(CONTROLLERS) == PROMISED
    assert list(CONTROLLERS) == sorted(CONTROLLERS)


@pytest.mark.parametrize("row", CONTROLLERS.values(), ids=lambda row: str(row.number))
def test_each_row_agrees_with_its_kind(row):
    assert 0 <= row.default <= 127 and row.does
    if row.kind == "fine":
        assert row.default == 0 and CONTROLLERS[row.number - 32].resets == row.resets
    if row.kind == "switch":
        assert row.default == 0 and row.resets and 64 <= row.number <= 69
    if row.kind == "action":
        assert row.default == 0 and not row.resets
    if row.target is not None:
        assert row.default == 64 and not row.resets and row.span > 0.0 and 70 <= row.number <= 79


def test_cc70_to_79_all_turn_something():
    assert all(CONTROLLERS[number].target for number in range(70, 80))


@pytest.mark.parametrize("row", [row for row in CONTROLLERS.values() if row.target], ids=lambda row: str(row.number))
def test_sound_controllers_turn_knobs_that_presets_have(row):
    for target in filter(None, (row.target, row.stand_in)):
        section, knob = target.split(".")
        fields = {field.name for field in msgspec.structs.fields(SECTIONS[section])} if section in SECTIONS else set()
        assert knob in fields or section == "axes"


def test_nrpns_and_routes_know_the_same_destinations_in_the_same_order():
    assert tuple(MOVABLE) == DESTINATIONS


def test_every_nrpn_names_a_destination_of_the_routes():
    axes = ("brightness", "noisiness")
    names = [knob_name(number, axes, 8) for number in range(1 << 14)]
    found = [name for name in names if name is not None]
    assert found == [*DESTINATIONS, "axes.brightness", "axes.noisiness", *(f"latent.{i}" for i in range(1, 9))]
    assert all(destination(name) is not None for name in found)


def test_registered_parameters_are_those_of_midi_and_mpe():
    names = ["bend range", "fine tune", "coarse tune", "tuning program", "tuning bank", "modulation depth range"]
    assert {number: row.name for number, row in REGISTERED.items()} == dict(enumerate([*names, "MPE configuration"]))


@pytest.mark.parametrize("row", REGISTERED.values(), ids=lambda row: row.name)
def test_a_parameters_values_stay_in_its_range_and_survive_the_wire(row):
    for data in range(0, 1 << 14, 7):
        value = row.value(data)
        assert value is None or row.low <= value <= row.high
        if row.data and value is not None:
            assert row.value(row.data(value)) == pytest.approx(value, abs=1e-9)
