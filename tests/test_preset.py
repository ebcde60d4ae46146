"""Presets: what is read, what is written, and everything that is refused."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
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
from neuralsynth.preset import (
    FORMAT_VERSION,
    SECTIONS,
    Envelope,
    Preset,
    Sound,
    bare_preset,
    find_preset,
    load_preset,
    preset_text,
    save_preset,
    shipped_folder,
    shipped_presets,
)

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


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"a model")
    return tmp_path


def load(folder, text):
    (folder / "p.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_preset(folder / "p.toml")


def refused(folder, text, *words):
    """Loading `text` raises a PresetError of one printable line that starts with the file and has these words."""
    with pytest.raises(PresetError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'p.toml'}: ") and "\n" not in message
    for word in words:
        assert word in message
    return message


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
    for section, knobs in SECTIONS.items():
        assert all(getattr(getattr(preset, section), knob.name) == knob.default for knob in knobs)
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


def test_the_structs_and_the_knob_tables_agree():
    from neuralsynth.preset import _STRUCTS

    for section, knobs in SECTIONS.items():
        defaults = {
            f.name: f.default for f in msgspec.structs.fields(_STRUCTS[section]) if f.name not in ("point", "axes")
        }
        assert defaults == {knob.name: knob.default for knob in knobs}


def test_a_preset_saved_at_96_khz_with_a_cutoff_of_40_khz_opens_at_44_1_khz(folder):
    preset = load(folder, SMALLEST + '[[effects]]\ntype = "lowpass"\ncutoff_frequency_hz = 40_000\n')
    import numpy as np

    noise = np.random.default_rng(0).uniform(-1, 1, (2, 4000)).astype(np.float32)
    out = EffectChain(preset.effects, 44_100).process(noise)
    assert np.all(np.isfinite(out)) and np.max(np.abs(out)) < 2.0


# ---- numbers

NUMBERS = [(section, knob) for section, knobs in SECTIONS.items() for knob in knobs]
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
    st.floats().map(lambda x: repr(x)),
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
    start = time.process_time()
    refused(folder, HOSTILE[name])
    assert time.process_time() - start < 2.0


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
    blocks = [block.split("```")[0] for block in PAGE.read_text("utf-8").split("```toml\n")[1:]]
    whole = [block for block in blocks if block.startswith("format_version")]
    parts = [block for block in blocks if block.startswith("[[effects]]")]
    assert len(whole) == 1 and len(parts) == 1
    (folder / "alto-sax.onnx").write_bytes(b"a model")
    assert len(load(folder, whole[0]).effects) == 2
    assert load(folder, SMALLEST + parts[0]).effects[0].type == "vst3"


def test_reading_presets_loads_no_heavy_library():
    heavy = ["numba", "scipy", "pedalboard", "onnxruntime", "torch"]
    code = f"import sys, neuralsynth.preset; sys.exit(str([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PAGE.parent.parent)
    assert done.stderr.strip() == "[]"
