"""The rooms of the house: imports go down only, one file per outside library, and playing is light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "neuralsynth"

#: From the ground up; a module may import from its own floor and from those before it.
FLOORS = [
    ["errors"],
    ["units", "events", "knobs", "storage", "regular_file", "spectrum", "prior", "strokes"],
    ["spec", "spec_checks", "audiofile", "checking", "toml_file"],
    ["settings"],
    ["sound", "analysis", "effect_table", "plugin_list", "midi", "tuning", "keyboard", "held_voices"],
    [
        "waveform",
        "model_graph",
        "model_trial",
        "model_gate",
        "model",
        "model_encoder",
        "adoption_graph",
        "adoption_pair",
        "adoption",
        "preset_sections",
        "routes",
        "preset",
        "performance",
    ],
    ["effect_stages", "effect_moves", "effects", "sends", "tails", "format_page", "gallery_page"],
    ["wiring"],
    ["struck"],
    ["note_bank", "panel", "lfo_clock", "unison"],
    ["patch"],
    ["programs", "part"],
    ["channel_voices", "band"],
    ["performer", "mixer"],
    ["engine"],
    ["instrument"],
    ["envelope_fit", "detail_fit", "latent_search"],
    ["scoring", "hosts"],
    ["live"],
    ["matching"],
    ["design"],
    ["training"],
    ["live"],
    ["design"],
    ["cli"],
    ["__main__"],
]
#: Outside library -> the modules that may import it.
HOMES = {
    "onnxruntime": {"model", "training.export"},
    "onnx": {"model_graph", "model_trial", "adoption_graph", "training.export"},
    "pedalboard": {"effects"},
    "soundfile": {"audiofile"},
    "parselmouth": {"analysis.pitch"},
    "librosa": {"scoring.second_opinion"},
    "matplotlib": {"hosts.picture"},
    "rtmidi": {"live.rtmidi_ports"},
    "llvmlite": {"sound.simd"},
    "rich": {"cli.parts", "training.watch", "live.view", "live.drawing"},
    "jack": {"live.jack_client"},
    "sounddevice": {"live.portaudio_backend"},
    "pyarrow": {"design.manifest"},
    "distributed": {"design.crew"},
}
TORCH = {"torch", "lightning", "tensorboard", "torchmetrics"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        yield name, path


def imports_of(path):
    """Full names of everything a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(name):
    room = name.split(".")[0]
    found = [i for i, rooms in enumerate(FLOORS) if room in rooms]
    assert found, f"{name} stands on no floor: add it to FLOORS"
    return found[0]


NAMES = [name for name, _ in modules() if name != "__init__"]


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_down_only(name):
    path = dict(modules())[name]
    for target in imports_of(path):
        room = target.removeprefix("neuralsynth.")
        if room == target or not any(room == n or room.startswith(n + ".") for n in NAMES):
            continue
        assert floor_of(room) <= floor_of(name), f"{name} imports upwards: {target}"


def test_each_outside_library_has_one_home():
    for name, path in modules():
        for target in imports_of(path):
            library = target.split(".")[0]
            assert library not in HOMES or name in HOMES[library], f"{name} imports {library}"
            assert library not in TORCH or name.startswith("training"), f"{name} imports {library}"


def test_this_test_can_see_an_upward_import(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("from neuralsynth.engine import Engine\n")
    assert any(floor_of(t.removeprefix("neuralsynth.")) > floor_of("units") for t in imports_of(planted))


def test_drawn_floats_that_may_be_0_leave_out_subnormal_ones():
    """Effects set the processor to take them for 0; from then on Hypothesis refuses to draw them, in any later test."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "st.floats"):
                continue
            bounds = [ast.literal_eval(bound) for bound in call.args if isinstance(bound, ast.Constant | ast.UnaryOp)]
            away_from_0 = len(bounds) == 2 and bounds[0] * bounds[1] > 0.0
            said = any(keyword.arg == "allow_subnormal" for keyword in call.keywords)
            assert away_from_0 or said, f"{path.name}:{call.lineno}: say allow_subnormal=False"


def fresh_python(code):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_load_no_linear_algebra_and_leave_it_to_others():
    """Numba looks for BLAS by importing scipy.linalg, which costs every start; somebody else's kernels still find it."""
    code = """
import sys
import numba
import numpy as np
from neuralsynth.sound.guard import OutputGuard
OutputGuard(48_000).process(np.zeros((2, 64), np.float32))
print("scipy.linalg" in sys.modules)
x = np.arange(9.0).reshape(3, 3)
print(np.array_equal(numba.njit(lambda a: np.dot(a, a))(x), x @ x), "scipy.linalg" in sys.modules)
"""
    assert fresh_python(code).split() == ["False", "True", "True"]


def test_playing_loads_no_torch(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
from pathlib import Path
from tests.models import tiny_instrument
from neuralsynth import Engine, Instrument, render
instrument = Instrument.load(tiny_instrument(Path({str(tmp_path / "tiny.onnx")!r})))
audio = instrument([(bytes([0x90, 60, 100]), 0.0)], duration=0.2)
assert abs(audio).max() > 1e-3
print(sorted(m for m in ("torch", "lightning", "tensorboard", "parselmouth", "librosa", "matplotlib") if m in sys.modules))
"""
    assert fresh_python(code).strip() == "[]"


def test_importing_the_package_loads_nothing_heavy():
    heavy = "numpy numba onnx onnxruntime pedalboard scipy soundfile torch matplotlib rich click".split()
    code = f"import sys, neuralsynth; print([m for m in {heavy} if m in sys.modules])"
    assert fresh_python(code).strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["presets"], ["render", "--help"], ["train", "--help"], ["doctor", "--help"]]
)
def test_help_and_preset_list_load_neither_models_nor_effects(arguments):
    heavy = "numba onnx onnxruntime pedalboard scipy torch matplotlib".split()
    code = f"""
import sys
from neuralsynth.cli import main
main({arguments!r})
print("LOADED", [m for m in {heavy} if m in sys.modules])
"""
    assert fresh_python(code).strip().splitlines()[-1] == "LOADED []"
