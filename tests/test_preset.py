"""Presets: what is read, what is written, and everything that is refused."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralsynth.effect_table import EFFECTS, EffectSettings
from neuralsynth.effects import EffectChain
from neuralsynth.errors import PresetError
from neuralsynth.format_page import with_tables
from neuralsynth.knobs import Knob
from neuralsynth.midi.parameters import DESTINATIONS as NRPN_NAMES
from neuralsynth.performance import load_performance
from neuralsynth.preset import (
    FORMAT_VERSION,
    Preset,
    bare_preset,
    find_preset,
    load_preset,
    preset_text,
    save_preset,
    shipped_folder,
    shipped_presets,
)
from neuralsynth.preset_sections import (
    SECTIONS,
    Envelope,
    Envelope2,
    Filter,
    Layer,
    Lfo,
    Modulation,
    Morph,
    Sound,
    Tuning,
    Voices,
)
from neuralsynth.routes import DESTINATIONS, SOURCES, Route, controller_of, destination
from neuralsynth.settings import Choice, Switch, checked_value, settings_of
from neuralsynth.toml_file import read_toml, toml_value
from tests import refusals
from tests.effort import at_most

PAGE = Path(__file__).parent.parent / "presets" / "README.md"
SMALLEST = 'format_version = 1\nname = "A"\nmodel = "a.onnx"\n'
FULL = """
format_version = 1
name = "Alto sax"
says = "a sentence with é and \\"quotes\\""
tags = ["wind", "lead"]
licence = "CC0-1.0"
author = "neuralsynth"
model = "a.onnx"

[sound]
point = "alto-sax"
axes = { brightness = 0.2, "odd name" = -1 }
gain_db = -3.5
transpose_semitones = -12

[envelope]
attack_seconds = 0.25

[modulation]
vibrato_rate_hz = 6

[voices]
polyphony = 16

[[effects]]
type = "ladder"
mode = "hpf24"

[[effects]]
type = "vst3"
plugin = "Zam Compressor"
parameters = { "thresh old" = -18.0, bypass = false, mode = "a" }
"""
LAYERED = 'format_version = 1\nname = "L"\n[[layers]]\npreset = "cello"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"a model")
    return tmp_path


def load(folder, text):
    (folder / "p.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_preset(folder / "p.toml")


def refused(folder, text, *words):
    return refusals.refused(load_preset, folder / "p.toml", text, *words)


# ---- reading and writing


def test_every_key_is_read(folder):
    preset = load(folder, FULL)
    assert preset.name == "Alto sax" and preset.says == 'a sentence with é and "quotes"'
    assert preset.tags == ("wind", "lead") and preset.licence == "CC0-1.0" and preset.author == "neuralsynth"
    assert preset.model_path == folder / "a.onnx" and preset.folder == folder
    assert preset.sound == Sound("alto-sax", {"brightness": 0.2, "odd name": -1.0}, -3.5, -12)
    assert preset.envelope == Envelope(attack_seconds=0.25)
    assert preset.modulation.vibrato_rate_hz == 6.0 and preset.voices.polyphony == 16
    assert [effect.type for effect in preset.effects] == ["ladder", "vst3"]
    assert preset.effects[0].values == {"mode": "hpf24", "cutoff_hz": 200.0, "resonance": 0.0, "drive": 1.0}
    assert preset.effects[1].values["parameters"] == {"thresh old": -18.0, "bypass": False, "mode": "a"}


def test_the_smallest_preset_has_every_default(folder):
    preset = load(folder, SMALLEST)
    for section, struct in SECTIONS.items():
        assert getattr(preset, section) == struct()
    assert preset.sound.point is None and preset.sound.axes == {} and preset.effects == ()


def test_a_saved_preset_is_read_back_as_it_was(folder):
    effects = "".join(f'[[effects]]\ntype = "{name}"\n' for name in EFFECTS if name not in ("vst3", "convolution"))
    for text in (SMALLEST, FULL, FULL + effects):
        preset = load(folder, text)
        save_preset(preset, folder / "saved.toml")
        assert load_preset(folder / "saved.toml") == preset


def test_a_preset_with_thousands_of_plugin_parameters_is_read_back(folder):
    parameters = {f"{i}. parameter": i / 7.0 for i in range(4000)}
    effect = EffectSettings("vst3", {"plugin": "A", "vendor": "", "version": "", "parameters": parameters})
    preset = msgspec.structs.replace(load(folder, SMALLEST), effects=(effect,))
    save_preset(preset, folder / "saved.toml")
    assert load_preset(folder / "saved.toml") == preset


def test_a_preset_with_a_wrong_value_is_not_saved(folder):
    preset = load(folder, SMALLEST)
    wrong = msgspec.structs.replace(preset, sound=Sound(gain_db=math.nan))
    with pytest.raises(PresetError, match="gain_db is nan"):
        save_preset(wrong, folder / "wrong.toml")
    assert sorted(os.listdir(folder)) == ["a.onnx", "p.toml"]


def test_a_bare_instrument_file_has_a_neutral_preset(folder):
    preset = load_preset(folder / "a.onnx")
    assert preset == bare_preset(folder / "a.onnx") == Preset(name="a", model="a.onnx", folder=folder)
    assert preset.effects == () and preset.envelope == Envelope(0.0, 0.0, 1.0, 0.08)
    with pytest.raises(PresetError, match="b.onnx: there is no such instrument file"):
        load_preset(folder / "b.onnx")


def test_a_preset_cannot_be_changed(folder):
    preset = load(folder, FULL)
    with pytest.raises(AttributeError):
        preset.name = "other"
    with pytest.raises(AttributeError):
        preset.sound.gain_db = 0.0


def test_a_preset_saved_at_96_khz_with_a_cutoff_of_40_khz_opens_at_44_1_khz(folder):
    preset = load(folder, SMALLEST + '[[effects]]\ntype = "lowpass"\ncutoff_frequency_hz = 40_000\n')
    import numpy as np

    noise = np.random.default_rng(0).uniform(-1, 1, (2, 4000)).astype(np.float32)
    out = EffectChain(preset.effects, 44_100).process(noise)
    assert np.all(np.isfinite(out)) and np.max(np.abs(out)) < 2.0


# ---- numbers

NUMBERS = [(section, s) for section, struct in SECTIONS.items() for s in settings_of(struct) if isinstance(s, Knob)]
NUMBERS += [
    (name, setting) for name, effect in EFFECTS.items() for setting in effect.settings if isinstance(setting, Knob)
]
NOT_IN_RANGE = ["nan", "-nan", "inf", "-inf", "1e999", "-1e999", "1" + "0" * 400, "true", '"1"', "[1]", "{ a = 1 }",
                "1979-05-27", "07:32:00"]  # fmt: skip


def with_number(section, knob, number):
    """A preset text in which one number, of a section or an effect, is `number`."""
    table = f"[{section}]" if section in SECTIONS else f'[[effects]]\ntype = "{section}"'
    needed = 'file = "a.wav"\n' if section == "convolution" else ""
    return f"{SMALLEST}{table}\n{needed}{knob.name} = {number}\n"


def value_of(preset, section, knob):
    return getattr(getattr(preset, section), knob.name) if section in SECTIONS else preset.effects[0].values[knob.name]


@pytest.mark.parametrize("section, knob", NUMBERS, ids=lambda x: x if isinstance(x, str) else x.name)
def test_no_number_takes_what_is_out_of_its_range(folder, section, knob):
    span = knob.high - knob.low
    for number in (*NOT_IN_RANGE, repr(knob.low - 0.001 * span), repr(knob.high + 0.001 * span)):
        refused(folder, with_number(section, knob, number), knob.name, "use a", f"{knob.low:g} to {knob.high:g}")
    for number in (knob.low, knob.high, knob.default):
        assert value_of(load(folder, with_number(section, knob, repr(number))), section, knob) == number


TOML_NUMBERS = st.one_of(
    st.floats(allow_subnormal=False).map(lambda x: repr(x)),
    st.integers().map(str),
    st.integers(min_value=0).map(hex),
    st.from_regex(r"[+-]?[1-9][0-9]{0,5}(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.booleans().map(lambda b: str(b).lower()),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(NUMBERS), number=TOML_NUMBERS)
def test_any_toml_value_in_any_number_is_refused_or_in_range(folder, place, number):
    section, knob = place
    try:
        preset = load(folder, with_number(section, knob, number))
    except PresetError:
        return
    value = value_of(preset, section, knob)
    assert knob.low <= value <= knob.high and value == float(tomllib.loads(f"x = {number}")["x"])


@pytest.mark.parametrize("key", ["transpose_semitones", "polyphony"])
def test_whole_numbers_are_whole(folder, key):
    section = "sound" if key == "transpose_semitones" else "voices"
    refused(folder, f"{SMALLEST}[{section}]\n{key} = 2.5\n", key, "use a whole number")
    value = getattr(getattr(load(folder, f"{SMALLEST}[{section}]\n{key} = 2.0\n"), section), key)
    assert value == 2 and isinstance(value, int)


@pytest.mark.parametrize("number", ["nan", "1.5", "-1.01", '"a"', "true"])
def test_an_axis_goes_from_minus_one_to_one(folder, number):
    refused(folder, f"{SMALLEST}[sound]\naxes = {{ bright = {number} }}\n", "axes.bright", "-1 to 1")


# ---- wrong keys and types


@pytest.mark.parametrize("text, words", [
    ('nmae = "B"\n', ("'nmae' is unknown", "use name, ")),
    ("[snoud]\ngain_db = 0\n", ("'snoud' is unknown", "use sound, ")),
    ("[sound]\ngain = 0\n", ("[sound]: 'gain' is unknown", "use gain_db, ")),
    ("[envelope]\nattack = 0\n", ("[envelope]: 'attack' is unknown", "use attack_seconds, ")),
    ('[[effects]]\ntype = "revreb"\n', ("effect 1: type 'revreb' is unknown", "use reverb, ")),
    ('[[effects]]\ntype = "gain"\n[[effects]]\ntype = "reverb"\nsize = 1\n', ("effect 2", "'size' is unknown")),
    ("[[effects]]\nroom_size = 1\n", ("effect 1: type None is unknown",)),
    ("[[effects]]\ntype = 3\n", ("type 3 is unknown",)),
    ("[[effects]]\ntype = ['reverb']\n", ("is unknown",)),
    ("effects = 1\n", ("effects is 1",)),
    ("effects = [1]\n", ("effects is [1]",)),
    ("sound = 1\n", ("[sound] is 1; use a table",)),
    ("[sound]\naxes = 1\n", ("axes is 1",)),
    ("[sound]\npoint = 1\n", ("point is 1",)),
    ("tags = 'a'\n", ("tags is 'a'",)),
    ("tags = [1]\n", ("tags is [1]",)),
    ("says = 5\n", ("says is 5",)),
    ('says = "a\\nb"\n', ("says is",)),
    ('[sound]\naxes = { "" = 0 }\n', ("axes has a name",)),
    ('[[effects]]\ntype = "ladder"\nmode = 12\n', ("mode is 12; use lpf12",)),
    ('[[effects]]\ntype = "brickwall_limiter"\ntrue_peak = 1\n', ("true_peak is 1; use false, true",)),
    ('[[effects]]\ntype = "vst3"\n', ("plugin is missing",)),
    ('[[effects]]\ntype = "vst3"\nplugin = ""\n', ("plugin is ''",)),
    ('[[effects]]\ntype = "vst3"\nplugin = "A"\nparameters = { x = nan }\n', ("parameters.x is nan",)),
    ('[[effects]]\ntype = "vst3"\nplugin = "A"\nparameters = { x = [1] }\n', ("parameters.x is [1]",)),
])  # fmt: skip
def test_unknown_keys_and_wrong_types_are_refused_by_name(folder, text, words):
    refused(folder, SMALLEST + text, *words)


def test_what_is_required_is_asked_for(folder):
    refused(folder, 'format_version = 1\nmodel = "a.onnx"\n', "name is missing")
    refused(folder, 'format_version = 1\nname = "A"\n', "model is None", ".onnx")
    refused(folder, 'name = "A"\nmodel = "a.onnx"\n', "format_version is None", "use 1")


@pytest.mark.parametrize("version", ["0", "-1", "1.0", "true", '"1"', "nan"])
def test_a_wrong_version_is_refused(folder, version):
    refused(folder, SMALLEST.replace("= 1", f"= {version}", 1), "format_version is")


def test_a_newer_version_is_refused_with_the_advice_to_update(folder):
    newer = SMALLEST.replace("= 1", f"= {FORMAT_VERSION + 1}", 1) + "new_key = 1\n"
    refused(folder, newer, f"reads up to {FORMAT_VERSION}", "pip install -U")


def test_ten_thousand_effects_are_refused(folder):
    refused(folder, SMALLEST + '[[effects]]\ntype="gain"\n' * 10_000, "10000 effects; use at most 32")


# ---- what a preset can say about the way it plays

#: For each section a table that changes every field, and its struct.
PLAYED = {
    "envelope_2": ("attack_seconds = 1\ndecay_seconds = 2\nsustain_level = 0.5\nrelease_seconds = 3\n",
                   Envelope2(1.0, 2.0, 0.5, 3.0)),
    "filter": (('type = "bandpass"\npoles = 4\ncutoff_hz = 440\nresonance = 0.5\nkey_tracking = 1\nvelocity_octaves = -2\n'
               "envelope_octaves = 3.5\n"), Filter("bandpass", 4, 440.0, 0.5, 1.0, -2.0, 3.5)),
    "lfo_2": (('shape = "sample_hold"\nrate_hz = 0.5\nsync = "1/8d"\ndepth = 0.25\ndelay_seconds = 1\nfade_seconds = 2\n'
              "phase = 0.75\nper_voice = false\n"), Lfo("sample_hold", 0.5, "1/8d", 0.25, 1.0, 2.0, 0.75, False)),
    "modulation": ("bend_range_semitones = 12\nvibrato_rate_hz = 6\nvibrato_depth_cents = 50\nvibrato_delay_seconds = 1\n",
                   Modulation(12.0, 6.0, 50.0, 1.0)),
    "voices": (('polyphony = 16\nmode = "legato"\npriority = "low"\nunison = 4\ndetune_cents = 20\nspread = 1\n'
               'onset_spread_seconds = 0.02\nlfo_spread = 0.5\nglide_seconds = 0.1\nglide = "always"\nglide_mode = "rate"\nhalf_pedal = false\npedal_catch = false\n'),
               Voices(16, "legato", "low", 4, 20.0, 1.0, 0.02, 0.5, 0.1, "always", "rate", False, False)),
    "tuning": ('scale = "a.scl"\nkeyboard = "a.kbm"\na4_hz = 415.3\nstretch = 0.5\n', Tuning("a.scl", "a.kbm", 415.3, 0.5)),
    "morph": ('to = "b.onnx"\nposition = 0.5\n', Morph("b.onnx", "", 0.5)),
    "sound": (('point = "p"\naxes = { x = 0.5 }\ngain_db = 1\ntranspose_semitones = 2\ntune_cents = 3\n'
              "velocity_sensitivity = 0.5\nvelocity_curve = -0.5\nnoise_db = -6\npan = 0.25\ntexture = 0.75\ndynamics = -1\n"
              "random = 7\nvariation = 0.5\n"),
              Sound("p", {"x": 0.5}, 1.0, 2, 3.0, 0.5, -0.5, -6.0, 0.25, 0.75, -1.0, None, 7, 0.5)),
}  # fmt: skip


@pytest.fixture
def neighbours(folder):
    """Files that a preset in the folder may name."""
    for name in ("a.scl", "a.kbm", "b.onnx"):
        (folder / name).write_bytes(b"something")
    (folder / "plain.toml").write_text(SMALLEST)
    (folder / "kit.toml").write_text(LAYERED)
    return folder


@pytest.mark.parametrize("section", PLAYED)
def test_every_field_of_a_section_is_read_written_and_read_again(neighbours, section):
    table, struct = PLAYED[section]
    assert all(value != default for value, default in zip(
        msgspec.structs.astuple(struct), msgspec.structs.astuple(SECTIONS[section]()), strict=True
    ) if value not in ("", None))  # fmt: skip
    preset = load(neighbours, f"{SMALLEST}[{section}]\n{table}")
    assert getattr(preset, section) == struct
    save_preset(preset, neighbours / "saved.toml")
    assert load_preset(neighbours / "saved.toml") == preset


def test_the_second_envelope_is_a_short_pluck_by_default():
    assert Preset(name="a", folder=Path()).envelope_2 == Envelope2(0.0, 0.3, 0.0, 0.3)
    assert Preset(name="a", folder=Path()).envelope == Envelope(0.0, 0.0, 1.0, 0.08)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_defaults_of_every_section_are_values_it_takes(section):
    for setting in settings_of(SECTIONS[section]):
        default = getattr(SECTIONS[section](), setting.name)
        assert default is None or checked_value(setting, default) == default
        assert setting.says


SWITCHES = [
    (section, s.name) for section, struct in SECTIONS.items() for s in settings_of(struct) if isinstance(s, Switch)
]
CHOICES = [(section, s) for section, struct in SECTIONS.items() for s in settings_of(struct) if isinstance(s, Choice)]


@pytest.mark.parametrize("section, name", SWITCHES)
def test_a_switch_is_true_or_false_and_nothing_else(folder, section, name):
    for wrong in ("1", "0", '"true"', "nan", "[]"):
        refused(folder, f"{SMALLEST}[{section}]\n{name} = {wrong}\n", f"[{section}]: {name} is", "use true or false")
    for right in (True, False):
        text = f"{SMALLEST}[{section}]\n{name} = {str(right).lower()}\n"
        assert getattr(getattr(load(folder, text), section), name) is right


@pytest.mark.parametrize("section, choice", CHOICES, ids=lambda x: x if isinstance(x, str) else x.name)
def test_a_choice_takes_its_options_and_nothing_else(folder, section, choice):
    for wrong in ("nan", "3", "2.0", "true", '"no such"', '""', "['sine']"):
        refused(
            folder, f"{SMALLEST}[{section}]\n{choice.name} = {wrong}\n", f"{choice.name} is", str(choice.options[0])
        )
    for option in choice.options:
        preset = load(folder, f"{SMALLEST}[{section}]\n{choice.name} = {toml_value(option)}\n")
        assert getattr(getattr(preset, section), choice.name) == option


@pytest.mark.parametrize("text, words", [
    ('[filter]\ntype = "lopass"\n', ("[filter]: type is 'lopass'; use lowpass",)),
    ("[filter]\ncutoff = 100\n", ("[filter]: 'cutoff' is unknown", "use cutoff_hz")),
    ('[lfo_1]\nsync = "1/4x"\n', ("sync is '1/4x'; use 1/4",)),
    ("[lfo_3]\n", ("'lfo_3' is unknown", "use lfo_")),
    ('[voices]\nmode = "monophonic"\n', ("mode is 'monophonic'; use mono",)),
    ("[voices]\nunison = 2.5\n", ("unison is 2.5; use a whole number from 1 to 8 voices",)),
    ('[tuning]\nkeyboard = "a.kbm"\n', ("[tuning]: keyboard is given without a scale",)),
    ('[tuning]\nscale = "a.txt"\n', ("scale is 'a.txt'; name a .scl file",)),
    ('[tuning]\nscale = "none.scl"\n', ("[tuning]: scale: there is no file 'none.scl'",)),
    ('[tuning]\nscale = "../a.scl"\n', ("scale is '../a.scl'; use the plain name",)),
    ("[tuning]\na4_hz = 44\n", ("a4_hz is 44; use a number from 380 to 500 Hz",)),
    ('[morph]\nto = "plain.toml"\npoint = "p"\n', ("[morph]: to and point",)),
    ('[morph]\nto = "kit.toml"\n', ("[morph]: to: 'kit.toml' is made of layers",)),
    ('[morph]\nto = "chello"\n', ("[morph]: to: 'chello': there is no such preset", "cello")),
    ('[morph]\nto = "/etc/passwd"\n', ("to is '/etc/passwd'; use the plain name",)),
    ('[morph]\nto = "https://x.org/a.toml"\n', ("use the plain name",)),
])  # fmt: skip
def test_what_a_section_may_not_say_is_refused_by_name(neighbours, text, words):
    refused(neighbours, SMALLEST + text, *words)


def test_two_presets_that_morph_into_each_other_load(neighbours):
    (neighbours / "other.toml").write_text(SMALLEST + '[morph]\nto = "p.toml"\n')
    assert load(neighbours, SMALLEST + '[morph]\nto = "other.toml"\n').morph.to == "other.toml"
    assert load(neighbours, SMALLEST + '[morph]\nto = "p.toml"\n').morph.to == "p.toml"


# ---- routes


def route(source="lfo_1", to="filter.cutoff_hz", more=""):
    return f'{SMALLEST}[[routes]]\nsource = "{source}"\nto = "{to}"\n{more}\n'


@pytest.mark.parametrize("source", [*SOURCES, "cc0", "cc1", "cc74", "cc119"])
def test_every_source_can_be_routed_and_scale_another(folder, source):
    assert load(folder, route(source)).routes == (Route(source, "filter.cutoff_hz", 1.0, ""),)
    assert load(folder, route(more=f'via = "{source}"')).routes[0].via == source


@pytest.mark.parametrize("to", [*DESTINATIONS, "axes.brightness", "axes.odd name", "latent.1", "latent.999"])
def test_every_destination_takes_its_limit_and_no_more(folder, to):
    target = destination(to)
    for amount in (target.limit, -target.limit, 0.0):
        assert load(folder, route(to=to, more=f"amount = {amount!r}")).routes[0].amount == amount
    for amount in (1.001 * target.limit, -1.001 * target.limit):
        refused(
            folder,
            route(to=to, more=f"amount = {amount!r}"),
            "route 1: amount",
            f"{-target.limit:g} to {target.limit:g}",
        )


def test_times_rates_and_cutoffs_are_moved_in_octaves_and_all_else_in_its_own_unit():
    octaves = {name for name, target in DESTINATIONS.items() if target.octaves}
    assert octaves == {
        "filter.cutoff_hz", "lfo_1.rate_hz", "lfo_2.rate_hz", "modulation.vibrato_rate_hz",
        *(f"{e}.{key}_seconds" for e in ("envelope", "envelope_2") for key in ("attack", "decay", "release")),
    }  # fmt: skip
    assert DESTINATIONS["filter.cutoff_hz"].unit == "octaves" and DESTINATIONS["sound.tune_cents"].unit == "cents"


def test_amounts_reach_as_far_as_can_be_heard():
    limits = {"sound.tune_cents": 9600, "sound.gain_db": 96, "sound.noise_db": 96, "filter.cutoff_hz": 10, "sound.pan": 2,
              "modulation.vibrato_depth_cents": 200, "morph.position": 2, "axes.x": 2, "latent.1": 4}  # fmt: skip
    assert {name: destination(name).limit for name in limits} == limits


def test_the_destinations_are_knobs_of_the_sections_under_the_numbers_of_their_nrpns():
    assert tuple(DESTINATIONS) == NRPN_NAMES
    for name, target in DESTINATIONS.items():
        section, key = name.split(".")
        assert target.knob in settings_of(SECTIONS[section]) and target.knob.name == key


def test_controllers_are_sources_by_number_and_four_by_name():
    assert [controller_of(s) for s in ("wheel", "breath", "foot", "expression")] == [1, 2, 4, 11]
    assert [controller_of(f"cc{i}") for i in range(120)] == list(range(120))
    assert [controller_of(s) for s in ("cc120", "cc01", "cc-1", "cc", "CC1", "lfo_1", "cc1\n")] == [None] * 7


@pytest.mark.parametrize("text, words", [
    (route("lfo"), ("route 1: source 'lfo' is unknown; use lfo_",)),
    (route("cc120"), ("source 'cc120' is unknown",)),
    (route("velosity"), ("use velocity",)),
    (route(to="filter.cutof"), ("to 'filter.cutof' is unknown; use filter.cutoff_hz",)),
    (route(to="voices.polyphony"), ("'voices.polyphony' is unknown",)),
    (route(to="axes."), ("'axes.' is unknown",)),
    (route(to="latent.0"), ("'latent.0' is unknown",)),
    (route(to="latent.1000"), ("'latent.1000' is unknown",)),
    (route(to="latent.01"), ("'latent.01' is unknown",)),
    (route(to="latent.99999999999999999999"), ("is unknown",)),
    (route(to=""), ("to is ''",)),
    (route(""), ("source is ''",)),
    (route(more='via = "no"'), ("via 'no' is unknown",)),
    (route(more="amount = nan"), ("amount is nan",)),
    (route(more="amount = 10.5"), ("amount is 10.5; use a number from -10 to 10 octaves",)),
    (route(more='amount = "1"'), ("amount is '1'",)),
    (route(more="curve = 1"), ("'curve' is unknown; use source, to, amount, via",)),
    (SMALLEST + '[[routes]]\nto = "sound.pan"\n', ("source is missing",)),
    (SMALLEST + '[[routes]]\nsource = "one"\n', ("to is missing",)),
    (SMALLEST + "routes = 1\n", ("routes is 1; write each of the routes as a [[routes]] table",)),
    (SMALLEST + "routes = [1]\n", ("routes is [1]",)),
    (SMALLEST + "[[routes]]\nsource = 1\nto = 2\n", ("source is 1",)),
    (SMALLEST + '[[routes]]\nsource = "one"\nto = "sound.pan"\n' * 33, ("has 33 routes; use at most 32",)),
])  # fmt: skip
def test_a_wrong_route_is_refused_with_the_closest_names(folder, text, words):
    refused(folder, text, *words)


def test_routes_are_read_back_in_their_order(folder):
    text = (
        route("key", "sound.tune_cents", "amount = -50") + '[[routes]]\nsource = "one"\nto = "axes.a b"\nvia = "cc7"\n'
    )
    preset = load(folder, text)
    assert preset.routes == (Route("key", "sound.tune_cents", -50.0), Route("one", "axes.a b", 1.0, "cc7"))
    save_preset(preset, folder / "saved.toml")
    assert load_preset(folder / "saved.toml") == preset


# ---- layers


def layers(*tables):
    return 'format_version = 1\nname = "L"\n' + "".join(f"[[layers]]\n{table}\n" for table in tables)


def test_layers_are_read_written_and_read_again(neighbours):
    preset = load(neighbours, layers(
        'preset = "plain.toml"\nkey_high = 59', 'preset = "b.onnx"\nkey_low = 60\nvelocity_low = 64\nvelocity_high = 100',
        'preset = "cello"\ntranspose_semitones = -12\ngain_db = -6\npan = 0.5\nfixed_key = 36\nchoke_group = 2\none_shot = true\n'
        'point = "cello"',
    ))  # fmt: skip
    assert preset.model == "" and preset.effects == ()
    assert preset.layers == (
        Layer("plain.toml", key_high=59),
        Layer("b.onnx", 60, 127, 64, 100),
        Layer("cello", 0, 127, 1, 127, -12, -6.0, 0.5, 36, 2, True, "cello"),
    )
    save_preset(preset, neighbours / "saved.toml")
    assert load_preset(neighbours / "saved.toml") == preset


def test_a_layered_preset_with_settings_of_its_own_is_not_saved(neighbours):
    preset = load(neighbours, LAYERED)
    for wrong in ({"sound": Sound(gain_db=-6.0)}, {"routes": (Route("one", "sound.pan"),)}, {"model": "a.onnx"}):
        with pytest.raises(PresetError, match="has layers and"):
            save_preset(msgspec.structs.replace(preset, **wrong), neighbours / "wrong.toml")
    assert not (neighbours / "wrong.toml").exists()


LAYER_NUMBERS = [setting for setting in settings_of(Layer) if isinstance(setting, Knob)]


@pytest.mark.parametrize("knob", LAYER_NUMBERS, ids=lambda knob: knob.name)
def test_no_number_of_a_layer_takes_what_is_out_of_its_range(neighbours, knob):
    span = knob.high - knob.low
    wrong = [
        *NOT_IN_RANGE,
        repr(knob.low - 0.01 * span),
        repr(knob.high + 0.01 * span),
        *(["0.5"] if knob.whole else []),
    ]
    for number in wrong:
        refused(neighbours, layers(f'preset = "cello"\n{knob.name} = {number}'), f"layer 1: {knob.name} is", "use a")
    for number in (knob.low, knob.high, knob.default):
        wide = "" if knob.name.startswith(("key", "velocity")) else "key_high = 127\n"
        preset = load(neighbours, layers(f'preset = "cello"\n{wide}{knob.name} = {number!r}'))
        assert getattr(preset.layers[0], knob.name) == number


@pytest.mark.parametrize("text, words", [
    (layers("key_low = 1"), ("layer 1: preset is missing",)),
    (layers('preset = ""'), ("layer 1: preset is ''",)),
    (layers("preset = 1"), ("layer 1: preset is 1",)),
    (layers('preset = "cello"', 'preset = "cello"\nkey = 1'), ("layer 2: 'key' is unknown; use key_",)),
    (layers('preset = "cello"\nkey_low = 61\nkey_high = 60'), ("key_low 61 is above key_high 60",)),
    (layers('preset = "cello"\nvelocity_low = 9\nvelocity_high = 8'), ("velocity_low 9 is above velocity_high 8",)),
    (layers('preset = "cello"\none_shot = 1'), ("one_shot is 1; use true or false",)),
    (layers('preset = "chello"'), ("layer 1: 'chello': there is no such preset", "cello")),
    (layers('preset = "none.toml"'), ("layer 1: there is no file 'none.toml'",)),
    (layers('preset = "cello"', 'preset = "kit.toml"'), ("layer 2: 'kit.toml' is made of layers itself",)),
    (layers('preset = "p.toml"'), ("layer 1: 'p.toml' is made of layers itself",)),
    (layers('preset = "broken.toml"'), ("layer 1: ", "broken.toml: name is missing")),
    (layers('preset = "cello"') + '[morph]\nto = "cello"\n', ("has layers and morph; say in the presets of the layers",)),
    (layers('preset = "cello"') + "[sound]\ngain_db = 0\n", ("has layers and sound",)),
    (layers('preset = "cello"') + '[[effects]]\ntype = "gain"\n', ("has layers and effects",)),
    (layers('preset = "cello"') + '[[routes]]\nsource = "one"\nto = "sound.pan"\n', ("has layers and routes",)),
    (SMALLEST + '[[layers]]\npreset = "cello"\n', ("has layers and model",)),
    (SMALLEST + "layers = 1\n", ("layers is 1",)),
    (layers(), ("model is None",)),
    (layers(*['preset = "cello"'] * 129), ("has 129 layers; use at most 128",)),
])  # fmt: skip
def test_a_wrong_layer_is_refused(neighbours, text, words):
    (neighbours / "broken.toml").write_text('format_version = 1\nmodel = "a.onnx"\n')
    refused(neighbours, text, *words)


@pytest.mark.parametrize("name", [
    "../out.toml", "/etc/out.toml", "sub/in.toml", "sub\\\\in.toml", "C:out.toml", "~/out.toml", ".hidden.toml", "link.toml",
    "https://x.org/a.toml", "..", "../cello", "sub.toml", "a\\u0000.toml", "out.TOML",
])  # fmt: skip
@pytest.mark.parametrize("place", ["layers", "morph"])
def test_no_name_of_another_preset_leads_out_of_the_folder(tmp_path, name, place):
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "sub.toml").mkdir()
    (home / "a.onnx").write_bytes(b"a model")
    (tmp_path / "a.onnx").write_bytes(b"a model")
    for path in (tmp_path / "out.toml", home / "sub" / "in.toml", home / ".hidden.toml", home / "fine.toml"):
        path.write_text(SMALLEST)
    (home / "sub" / "a.onnx").write_bytes(b"a model")
    (home / "link.toml").symlink_to(tmp_path / "out.toml")
    text = layers('preset = "{}"') if place == "layers" else SMALLEST + '[morph]\nto = "{}"\n'
    refused(home, text.format(name))
    assert load(home, text.format("fine.toml"))


def test_layers_of_megabytes_are_refused_within_two_seconds_of_work(folder):
    deep = SMALLEST + "[sound.axes]\n" + "".join(f"# {'.' * 30}\n" for _ in range(7000))
    for i in range(20):
        (folder / f"big{i}.toml").write_text(deep)
    with at_most(2.0):
        refused(folder, layers(*(f'preset = "big{i}.toml"' for i in range(20))), "more than 1024 kB together")


def test_layers_of_one_preset_read_it_once(neighbours, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "neuralsynth.preset.read_toml", lambda path, *rest: reads.append(path) or read_toml(path, *rest)
    )
    load(neighbours, layers(*['preset = "plain.toml"'] * 128))
    assert [path.name for path in reads] == ["p.toml", "plain.toml"]


# ---- files that are no presets

HOSTILE = {
    "empty": b"",
    "no utf-8": SMALLEST.encode() + b'says = "\xff\xfe"\n',
    "utf-16": SMALLEST.encode("utf-16"),
    "no toml": b"name = = 3\n",
    "zero bytes": bytes(1000),
    "huge": SMALLEST.encode() + b"#" * (300 << 10),
    "very huge": b"#" * (5 << 20),
    "deep arrays": SMALLEST.encode() + b"x = " + b"[" * 100_000,
    "deep tables": SMALLEST.encode() + b"x = " + b"{a=" * 50_000,
    "deep keys": SMALLEST.encode() + b".".join([b"a"] * 50_000) + b" = 1\n",
    "deep table name": SMALLEST.encode() + b"[" + b".".join([b"a"] * 50_000) + b"]\n",
    "deep keys in a table": SMALLEST.encode() + b"x = { " + b".".join([b'"a"'] * 50_000) + b" = 1 }\n",
    "deep key hidden from splitlines": SMALLEST.encode() + ".".join(['"\u2028"'] * 30_000).encode() + b" = 1\n",
    "many deep keys": SMALLEST.encode() + b"".join(b"k%d%s = 1\n" % (i, b".a" * 32) for i in range(3600)),
    "number of 100 000 digits": SMALLEST.encode() + b"x = " + b"9" * 100_000,
    "key twice": SMALLEST.encode() + b'name = "B"\n',
    "control characters": SMALLEST.encode() + b'says = "\x07\x1b[31m"\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_preset_is_refused_within_two_seconds_of_work(folder, name):
    with at_most(2.0):
        refused(folder, HOSTILE[name])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, len(FULL) - 1))
def test_a_damaged_preset_is_read_or_refused_but_never_crashes(folder, junk, place):
    data = FULL.encode()
    try:
        load(folder, data[:place] + junk + data[place + len(junk) :])
    except PresetError:
        pass


def test_a_folder_a_missing_file_and_a_pipe_are_refused_at_once(folder):
    (folder / "d.toml").mkdir()
    names = ["d.toml", "none.toml"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.toml")
        names.append("pipe.toml")
    for name in names:
        with pytest.raises(PresetError, match=name):
            load_preset(folder / name)


# ---- files a preset may name


@pytest.mark.parametrize("model", [
    "../a.onnx", "/etc/a.onnx", "sub/a.onnx", "sub\\\\a.onnx", "C:a.onnx", "~/a.onnx", ".a.onnx", "https://x.org/a.onnx",
    "file:///a.onnx", "none.onnx", "a.txt", "", "..", "link.onnx", "folder.onnx", "a\\u0000.onnx",
])  # fmt: skip
def test_the_model_is_a_plain_file_of_the_presets_own_folder(tmp_path, model):
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "folder.onnx").mkdir()
    for path in (tmp_path / "a.onnx", home / "a.onnx", home / "sub" / "a.onnx", home / ".a.onnx", home / "a.txt"):
        path.write_bytes(b"a model")
    (home / "link.onnx").symlink_to(tmp_path / "a.onnx")
    refused(home, SMALLEST.replace('"a.onnx"', f'"{model}"'), "model")
    assert load(home, SMALLEST).model == "a.onnx"


def test_a_folder_that_is_a_link_itself_is_fine(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "link"
    link.symlink_to(folder)
    assert load(link, SMALLEST).model_path == link / "a.onnx"


# ---- finding presets


def test_a_path_finds_itself(folder):
    load(folder, SMALLEST)
    assert find_preset(folder / "p.toml") == folder / "p.toml"
    assert find_preset(str(folder / "a.onnx")) == folder / "a.onnx"


@pytest.fixture
def shipped(folder, monkeypatch):
    for name in ("alto-sax", "cello", "upright-piano"):
        (folder / f"{name}.toml").write_text(SMALLEST)
    monkeypatch.setattr("neuralsynth.preset.shipped_folder", lambda: folder)
    return folder


def test_a_name_finds_a_shipped_preset(shipped):
    assert find_preset("cello") == shipped / "cello.toml"
    assert find_preset("Upright-Piano") == shipped / "upright-piano.toml"
    assert [path.stem for path in shipped_presets()] == ["alto-sax", "cello", "upright-piano"]


@pytest.mark.parametrize("name", ["chello", "", "none.toml", "../cello", "a\0b.toml", "x" * 5000 + ".toml", "\x1b[31m"])
def test_an_unknown_name_lists_the_shipped_presets_closest_first(shipped, name):
    with pytest.raises(PresetError) as caught:
        find_preset(name)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 400
    if name == "chello":
        assert message.startswith(
            "'chello': there is no such preset; the shipped ones are cello, alto-sax, upright-piano"
        )


def test_the_shipped_folder_is_there_and_every_shipped_preset_loads():
    assert (shipped_folder() / "README.md").is_file()
    for path in shipped_presets():
        preset = load_preset(path)
        assert preset.says and preset.licence and preset.author and preset.tags
        assert tomllib.loads(preset_text(preset))["name"] == preset.name
        EffectChain(preset.effects, 44_100, folder=preset.folder)


# ---- the page


def test_the_tables_of_the_format_page_are_up_to_date():
    text = PAGE.read_text("utf-8")
    assert with_tables(text) == text, "run: python -m neuralsynth.format_page presets/README.md"


def test_the_example_presets_of_the_page_load(folder):
    for name in ("alto-sax.onnx", "cello.onnx"):
        (folder / name).write_bytes(b"a model")
    for name in ("slow-strings", "kick", "closed-hat", "open-hat", "kit"):
        (folder / f"{name}.toml").write_text(SMALLEST)
    blocks = [block.split("```")[0] for block in PAGE.read_text("utf-8").split("```toml\n")[1:]]
    kinds = {"preset": [], "part": [], "performance": [], "plugins": []}
    for block in blocks:
        whole = "performance" if "[[programs]]" in block else "preset"
        part = "plugins" if block.startswith("[plugins]") else "part"
        kinds[whole if block.startswith("format_version") else part].append(block)
    presets = [load(folder, text) for text in kinds["preset"]]
    assert [(p.name, len(p.effects), len(p.routes), len(p.layers)) for p in presets] == [
        ("Alto sax", 2, 0, 0), ("Cello to saxophone", 0, 1, 0), ("Cello and saxophone", 0, 0, 2),
        ("Piano and strings", 0, 0, 2), ("Kit", 0, 0, 3),
    ]  # fmt: skip
    section, sweep, plugin = (load(folder, SMALLEST + text) for text in kinds["part"])
    assert section.voices.unison == 5 and section.routes[0].source == "random"
    assert [r.via for r in sweep.routes] == ["", "pressure"] and plugin.effects[0].type == "vst3"
    (folder / "q.performance.toml").write_text(kinds["performance"][0])
    quartet = load_performance(folder / "q.performance.toml")
    assert quartet.preset_for(0, (0, 0), 41) == "cello" and quartet.start_preset(9) == "kit.toml"
    assert len(kinds["performance"]) == len(kinds["plugins"]) == 1


def test_reading_presets_loads_no_heavy_library():
    heavy = ["numba", "scipy", "pedalboard", "onnxruntime", "torch"]
    code = f"import sys, neuralsynth.preset; sys.exit(str([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PAGE.parent.parent)
    assert done.stderr.strip() == "[]"
