"""The workshop's judge: figures that are kept once, survive side by side, and go stale with the code; and their tables."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import soundfile

from neuralsynth.errors import UsageError
from neuralsynth.training.config import TrainConfig, VaeConfig

ROOT = Path(__file__).parents[1]
RATE = 44_100
RECIPE = """
name = "Reed"
folder = "reed"
licence = "CC0-1.0"
origin = "made for the tests"
seed = 3
steps = 8
batch_size = 3
n_frames = 32
n_bands = 8
n_partials = 8
duration_seconds = 0.4
twin_leaves_out = 3
[model]
width = 16
latent_size = 4
condition_size = 16
envelope_points = 12
note_step = 5.0
body_points = 24
lowest_frames = 8
"""


@pytest.fixture(scope="module")
def workshop():
    """The workshop's programs, imported as they import one another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "export")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("build", "judge", "measured")})


@pytest.fixture(scope="module")
def tables():
    """`benchmarks/quality_table.py`."""
    spec = importlib.util.spec_from_file_location("quality_table", ROOT / "benchmarks" / "quality_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def formant(hz):
    """A resonance that stays where it is when the pitch moves: no sampler can have it."""
    return 0.05 + np.exp(-(((hz - 1000.0) / 300.0) ** 2))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Nine pitches in one layer."""
    path, t = tmp_path_factory.mktemp("recordings"), np.arange(int(0.45 * RATE)) / RATE
    (path / "reed").mkdir()
    for note in range(52, 79, 3):
        hz = 440.0 * 2.0 ** ((note - 69) / 12)
        tone = sum(formant(k * hz) * np.sin(2 * np.pi * k * hz * t) for k in range(1, 7)) * np.exp(-3 * t)
        soundfile.write(path / "reed" / f"reed_m{note:03d}_v90.wav", 0.1 * tone, RATE, subtype="PCM_24")
    return path


def row(workshop, instrument="reed", protocol="left-out", seed=1, **changes):
    figures = dict.fromkeys(workshop.measured.Row.__struct_fields__, 2.0)
    figures |= {"instrument": instrument, "protocol": protocol, "seed": seed, "digest": "abc", "n_trained": 8}
    return workshop.measured.Row(**{**figures, "n_judged": 4, "steps": 500, **changes})


def test_rows_come_back_as_they_were_kept_sorted_and_one_for_each_key(workshop, tmp_path):
    path, keep = tmp_path / "measured.csv", workshop.measured.keep_row
    order = list(workshop.judge.PROTOCOLS)
    rows = [
        row(workshop, "b"),
        row(workshop, "a", "one-layer"),
        row(workshop, "a", seed=2, sampler_db=None),
        row(workshop, "a"),
    ]
    for one in [*rows, row(workshop, "b", play_db=9.5, digest="new")]:
        keep(path, one, order)
    found = workshop.measured.read_rows(path)
    assert found == [rows[3], rows[2], rows[1], row(workshop, "b", play_db=9.5, digest="new")]
    assert [p.name for p in tmp_path.iterdir()] == ["measured.csv"]


def test_programs_that_write_at_the_same_time_lose_no_row(workshop, tmp_path):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import measured
figures = dict.fromkeys(measured.Row.__struct_fields__, 1.0) | {"n_trained": 1, "n_judged": 1, "steps": 1, "digest": ""}
for seed in range(25):
    row = measured.Row(**figures | {"instrument": sys.argv[3], "protocol": "left-out", "seed": seed})
    measured.keep_row(Path(sys.argv[2]), row, ["left-out"])
"""
    path = tmp_path / "measured.csv"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(ROOT / "export"), str(path), name], cwd=ROOT)
        for name in ("left", "right")
    ]
    assert [program.wait(120) for program in both] == [0, 0]
    assert [r.key for r in workshop.measured.read_rows(path)] == [
        (name, "left-out", seed) for name in ("left", "right") for seed in range(25)
    ]


def test_a_damaged_row_is_told_with_its_line_and_nothing_is_lost(workshop, tmp_path):
    path = tmp_path / "measured.csv"
    for seed in (1, 2):
        workshop.measured.keep_row(path, row(workshop, seed=seed), ["left-out"])
    damaged = path.read_text().replace("reed,left-out,2,8", "reed,left-out,2,eight")
    path.write_text(damaged)
    with pytest.raises(UsageError, match=r"line 3.*n_trained"):
        workshop.measured.keep_row(path, row(workshop, seed=3), ["left-out"])
    assert path.read_text() == damaged


def test_the_digest_changes_with_settings_and_code_but_not_with_words(workshop, tmp_path, monkeypatch):
    measured = workshop.measured
    monkeypatch.setattr(measured, "PACKAGE", tmp_path)
    (tmp_path / "training").mkdir()
    module = tmp_path / "training" / "fit.py"
    module.write_text('"""Words."""\ndef f(x):\n    """More."""\n    return x + 1\n')
    plain = measured.digest_of(TrainConfig())
    assert measured.digest_of(TrainConfig(name="Reed", origin="elsewhere")) == plain
    settings = (TrainConfig(seed=1), TrainConfig(keep_every=4), TrainConfig(model=VaeConfig(note_step=4.0)))
    assert len({plain, *map(measured.digest_of, settings)}) == 4
    module.write_text('"""Other words."""\n\n\ndef f(x):  # a comment\n    return (x + 1)\n')
    assert measured.digest_of(TrainConfig()) == plain
    module.write_text("def f(x):\n    return x + 2\n")
    assert measured.digest_of(TrainConfig()) != plain


def test_protocols_leave_out_what_they_say_and_refuse_too_few(workshop):
    recipe = SimpleNamespace(twin_leaves_out=5)
    config = TrainConfig(model=VaeConfig(note_step=4.0))
    keys = [SimpleNamespace(note=40 + n, velocity=v) for v in (40, 90, 118) for n in range(17 if v < 118 else 12)]
    choose, folder = workshop.judge.PROTOCOLS, SimpleNamespace(used=keys)
    assert choose["left-out"](recipe, folder, config).hold_out == 5
    assert choose["one-layer"](recipe, folder, config).only_layer == 90  # as many as 40, louder
    fourth = choose["every-fourth"](recipe, folder, config)
    assert fourth.keep_every == 4 and fourth.model.note_step == 0.0
    assert choose["every-eighth"](recipe, folder, config).keep_every == 8
    few = SimpleNamespace(used=keys[:16])
    with pytest.raises(workshop.judge.NotPossible, match="every 8th of 16 pitches would leave 2"):
        choose["every-eighth"](recipe, few, config)
    with pytest.raises(workshop.judge.NotPossible, match="one layer"):
        choose["one-layer"](recipe, few, config)


def test_what_was_judged_with_the_same_code_is_not_judged_again(workshop, recordings, tmp_path, monkeypatch, capfd):
    from neuralsynth.training import analyses, run

    judge, measured, analysed, listen = workshop.judge, workshop.measured, [], analyses.analyse_note
    (tmp_path / "reed.toml").write_text(RECIPE)
    for program in (workshop.build, judge):
        monkeypatch.setattr(program, "HERE", tmp_path)
    monkeypatch.setattr(analyses, "analyse_note", lambda *a: analysed.append(a[2]) or listen(*a))
    csv = tmp_path / "figures.csv"
    call = ["reed", "--recordings", str(recordings), "--work", str(tmp_path / "work"), "--into", str(csv)]
    call += ["--seeds", "1", "--protocol", "every-fourth"]
    assert judge.main([*call, "--protocol", "every-eighth", "--protocol", "one-layer"]) == 0
    told = capfd.readouterr().out
    assert "reed, every-eighth: not measured, every 8th of 9 pitches would leave 2" in told
    assert "reed, one-layer: not measured, it was recorded in one layer" in told
    (fourth,) = measured.read_rows(csv)
    assert (fourth.protocol, fourth.seed, fourth.n_trained, fourth.n_judged) == ("every-fourth", 3, 3, 6)
    assert fourth.steps == 8 and 0.0 < fourth.floor_db < fourth.sampler_db and fourth.constant_q_sampler_db > 0.0
    assert sorted(analysed) == sorted(range(52, 79, 3))

    def refuse(*_):
        raise UsageError("a training was begun")

    monkeypatch.setattr(run, "family_of", refuse)
    assert judge.main(call) == 0
    assert "is there" in capfd.readouterr().out
    assert judge.main([*call, "--again"]) == 1
    assert judge.main([*call, "--steps", "9"]) == 1
    measured.keep_row(csv, msgspec.structs.replace(fourth, digest="older"), list(judge.PROTOCOLS))
    assert judge.main([*call, "--protocol", "left-out"]) == 1
    assert capfd.readouterr().err.count("a training was begun") == 4
    assert len(analysed) == 9  # each recording once, for all trainings of the instrument


def test_a_recipe_that_is_not_there_is_told(workshop, tmp_path, capsys):
    assert workshop.judge.main(["theremin", "--recordings", str(tmp_path), "--into", str(tmp_path / "x.csv")]) == 2
    assert "theremin.toml: cannot be read" in capsys.readouterr().err


def test_tables_show_means_over_seeds_the_mean_and_the_worst_instrument(workshop, tables, tmp_path):
    path, order = tmp_path / "measured.csv", list(workshop.judge.PROTOCOLS)
    assert list(tables.PROTOCOLS) == order
    for instrument, seed, play, sampler in (("harp", 1, 2.0, 4.0), ("harp", 2, 3.0, 4.0), ("oud", 1, 5.0, 4.0)):
        workshop.measured.keep_row(path, row(workshop, instrument, seed=seed, play_db=play, sampler_db=sampler), order)
    workshop.measured.keep_row(path, row(workshop, "oud", "one-layer", play_db=3.0, sampler_db=4.0), order)
    figures = tables.read(path)
    lines = tables.play_over_sampler(figures).replace("\N{EN DASH}", "-").splitlines()
    assert lines[2:] == [
        "| harp | 2.00 | 2.50 | 4.00 | 0.62 | - | - | - |",
        "| oud | 2.00 | 5.00 | 4.00 | 1.25 | - | - | 0.75 |",
        "| mean | 2.00 | 3.75 | 4.00 | 0.94 | - | - | 0.75 |",
        "| worst | - | - | - | 1.25 | - | - | 0.75 |",
    ]
    assert tables.all_distances(figures).splitlines()[2].startswith("| harp | 4 | 2 | 2.00 | 2.00 | 2.50 ")
    assert "| oud | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 |" in tables.second_opinions(figures)


def test_a_table_is_put_between_its_markers_and_nowhere_else(tables):
    page = "a\n<!-- quality table -->\nold\n<!-- end of quality table -->\nb\n"
    new = tables.between(page, "quality table", r"| \1 |")
    assert new == "a\n<!-- quality table -->\n| \\1 |\n<!-- end of quality table -->\nb\n"
    with pytest.raises(SystemExit, match="must stand in the page once"):
        tables.between("a\n", "quality table", "|")
