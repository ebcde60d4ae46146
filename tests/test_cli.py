"""The command line: what it prints, how it ends, and one line for everything that goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from neuralsynth.cli import main
from neuralsynth.hosts.midi_file import write_midi_file
from neuralsynth.midi.learn import load_map
from tests.models import tiny_instrument

COMMANDS = ["presets", "info", "render", "train", "score", "bench"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a song and an instrument, entered."""
    monkeypatch.chdir(tmp_path)
    tiny_instrument(tmp_path / "tiny.onnx")
    write_midi_file(tmp_path / "song.mid", [[(0, bytes([0x90, 60, 100])), (480, bytes([0x80, 60, 0]))]])
    return tmp_path


def tone(hz, seconds=0.6, rate=44_100):
    t = np.arange(round(seconds * rate)) / rate
    return sum(0.3 / k * np.sin(2 * np.pi * hz * k * t) for k in range(1, 8)) * np.minimum(1, t / 0.01)


def one_line_of(capsys, code, expected_code):
    captured = capsys.readouterr()
    assert code == expected_code, captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert len(captured.err) <= 301
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"neuralsynth {command}" in text.split("Options")[0].split("\n\n", 1)[1]


def test_render_writes_the_song_and_tells_about_it(work, capsys):
    assert main(["render", "song.mid", "-o", "out.wav", "-p", "tiny.onnx", "--picture", "out.png"]) == 0
    assert "out.wav" in capsys.readouterr().out
    audio, rate = soundfile.read("out.wav")
    assert rate == 48_000
    assert np.abs(audio).max() > 0.01
    assert Path("out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_render_json_is_one_document_of_facts(work, capsys):
    assert main(["render", "song.mid", "-o", "out.flac", "-p", "tiny.onnx", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["notes"] == 1
    assert report["sample_rate"] == 48_000
    assert report["seconds"] == pytest.approx(soundfile.info("out.flac").duration, abs=0.001)


BAND = """
format_version = 1
name = "Band"
[channels]
default = "tiny.onnx"
[[programs]]
program = 6
preset = "bright.toml"
"""
BRIGHT = 'format_version = 1\nname = "Bright"\nmodel = "tiny.onnx"\n[sound]\npoint = "bright"\n'
LAYERED = 'format_version = 1\nname = "Both"\n[[layers]]\npreset = "tiny.onnx"\nkey_high = 59\n[[layers]]\npreset = "bright.toml"\n'


@pytest.fixture
def band(work):
    """The folder with a song that changes programs, a bank for it, a controller map and layers."""
    (work / "band.toml").write_text(BAND)
    (work / "bright.toml").write_text(BRIGHT)
    (work / "layered.toml").write_text(LAYERED)
    (work / "map.toml").write_text('format_version = 1\n[[map]]\ncontroller = 20\nto = "sound.gain_db"\n')
    first = [(0, b"\xc0\x05"), (0, b"\xb0\x14\x00"), (0, b"\x90\x3c\x64"), (480, b"\x80\x3c\x00")]
    second = [(480, b"\x91\x40\x64"), (960, b"\x81\x40\x00"), (960, b"\xf0\x7d\x01\xf7")]
    write_midi_file(work / "band.mid", [first, second])
    return work


def rendered(*arguments):
    assert main(["render", "band.mid", "-o", "out.wav", "--depth", "32f", "--force", *arguments]) == 0
    return soundfile.read("out.wav", dtype="float32")[0]


def test_render_follows_program_changes_with_a_bank(band, capsys):
    banked = rendered("--bank", "band.toml", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["warnings"] == [] and report["ignored_messages"] == 1
    assert np.array_equal(banked, rendered("-p", "tiny.onnx", "--channel", "1=bright.toml"))
    assert np.array_equal(rendered("--bank", "band.toml", "--channel", "1=tiny.onnx"), rendered("-p", "tiny.onnx"))


def test_render_tells_once_that_program_changes_need_a_bank(band, capsys):
    rendered("-p", "tiny.onnx")
    assert capsys.readouterr().err == "warning: the song changes programs once; use --bank general-midi to hear them\n"


def test_stems_follow_the_bank_too(band):
    mix = rendered("--bank", "band.toml", "--stems", "stems")
    assert sorted(p.name for p in Path("stems").iterdir()) == ["channel-01.wav", "channel-02.wav"]
    first = soundfile.read("stems/channel-01.wav", dtype="float32")[0]
    assert np.abs(first[:20_000] - mix[:20_000]).max() < 1e-6


def test_a_map_file_lets_controllers_turn_knobs(band):
    plain, turned = rendered("-p", "tiny.onnx"), rendered("-p", "tiny.onnx", "--map", "map.toml")
    assert np.abs(turned[:20_000]).max() < 0.01 * np.abs(plain[:20_000]).max()


def test_the_map_file_of_the_readme_is_one(tmp_path):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "map.toml").write_text(readme.split("```toml\n")[1].split("```")[0])
    assert [entry.target for entry in load_map(tmp_path / "map.toml").entries] == ["filter.cutoff_hz"]


def test_render_help_says_which_program_changes_are_ignored(capsys):
    assert main(["render", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "--bank general-midi" in words
    assert "for all channels, whatever programs the song asks for" in words
    assert "whose program changes are then ignored" in words


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bank", "no-such-bank"],
        ["--bank", "missing.toml"],
        ["--bank", "bright.toml"],
        ["--bank", "band.mid"],
        ["--bank", ""],
        ["--bank", "band.toml", "-p", "tiny.onnx"],
        ["-p", "tiny.onnx", "--map", "missing.toml"],
        ["-p", "tiny.onnx", "--map", "band.toml"],
        ["-p", "tiny.onnx", "--map", "band.mid"],
        ["-p", "tiny.onnx", "--map", "."],
    ],
    ids=" ".join,
)
def test_a_wrong_bank_or_map_ends_with_2_and_one_line(band, capsys, arguments):
    one_line_of(capsys, main(["render", "band.mid", "-o", "x.wav", *arguments]), 2)
    assert not Path("x.wav").exists()


def test_info_lists_the_layers_of_a_preset(band, capsys):
    assert main(["info", "layered.toml"]) == 0
    text = capsys.readouterr().out
    assert "tiny, keys 0 to 59" in text and "Bright, keys 0 to 127" in text
    assert main(["info", "layered.toml", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["preset"]["layers"]
    assert [layer["preset"] for layer in layers] == ["tiny.onnx", "bright.toml"]


def test_info_json_is_one_document_of_facts(work, capsys):
    assert main(["info", "tiny.onnx", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"]["note_low"] == 21
    assert document["model"]["default_point"] == "tiny"


def test_presets_json_lists_every_shipped_preset_and_bank(capsys):
    assert main(["presets", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"alto-sax", "upright-piano", "cello"} <= {row["preset"] for row in document["presets"]}
    assert "general-midi" in {row["bank"] for row in document["banks"]}


def test_dry_run_json_tells_for_each_file_what_was_understood(work, capsys):
    folder = work / "notes"
    folder.mkdir()
    for name, hz in (("tone A3.wav", 220.0), ("tone C4.wav", 261.63), ("tone E4.wav", 329.63)):
        soundfile.write(folder / name, tone(hz), 44_100)
    soundfile.write(folder / "silent B3.wav", np.zeros(44_100), 44_100)
    (folder / "text.wav").write_text("not audio")
    assert main(["train", str(folder), "--dry-run", "--json"]) == 0
    files = {Path(f["path"]).name: f for f in json.loads(capsys.readouterr().out)["files"]}
    assert [files[n]["note"] for n in ("tone A3.wav", "tone C4.wav", "tone E4.wav")] == [57, 60, 64]
    assert files["tone A3.wav"]["used"] is True
    assert files["tone A3.wav"]["note_from"] == "name"
    assert files["tone A3.wav"]["reason"] is None
    for bad in ("silent B3.wav", "text.wav"):
        assert files[bad]["used"] is False
        assert files[bad]["reason"]


NUMBER_OPTIONS = [
    ["render", "song.mid", "-o", "x.wav", "--sample-rate"],
    ["train", ".", "-o", "x.onnx", "--minutes"],
    ["train", ".", "-o", "x.onnx", "--seed"],
    ["train", ".", "-o", "x.onnx", "--hold-out"],
]


@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "1e999", "99999999999999999999", "", "x", "0x10"])
@pytest.mark.parametrize("arguments", NUMBER_OPTIONS, ids=lambda a: a[-1])
def test_numbers_out_of_range_are_told_in_one_line(work, capsys, arguments, value):
    text = one_line_of(capsys, main([*arguments, value]), 2)
    assert arguments[-1] in text
    assert sorted(p.name for p in work.iterdir()) == ["song.mid", "tiny.check.npz", "tiny.onnx"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "song.mid"],
        ["render", "missing.mid", "-o", "x.wav", "-p", "tiny.onnx"],
        ["render", ".", "-o", "x.wav", "-p", "tiny.onnx"],
        ["render", "song.mid", "-o", "song.mid", "-p", "tiny.onnx", "--force"],
        ["render", "song.mid", "-o", ".", "-p", "tiny.onnx"],
        ["render", "song.mid", "-o", "x.mp3", "-p", "tiny.onnx"],
        ["render", "song.mid", "-o", "x.wav", "-p", "no-such-preset"],
        ["render", "song.mid", "-o", "x.wav", "-p", "song.mid"],
        ["render", "song.mid", "-o", "x.wav", "-p", ""],
        ["render", "song.mid", "-o", "x.wav", "--channel", "17=tiny.onnx"],
        ["render", "song.mid", "-o", "x.wav", "--channel", "tiny.onnx"],
        ["render", "song.mid", "-o", "x.wav", "--depth", "12"],
        ["render", "song.mid", "-o", "x.wav", "--picture", "x.jpg", "-p", "tiny.onnx"],
        ["info", "missing.onnx"],
        ["info", "song.mid"],
        ["score", "tiny.onnx", "missing"],
        ["score", "tiny.onnx", "."],
        ["train", "missing", "--dry-run"],
        ["train", ".", "--dry-run"],
        ["train", "."],
        ["train", ".", "-o", "x.wav"],
        ["train", ".", "-o", "tiny.onnx"],
        ["nonsense"],
        ["render", "--nonsense"],
        ["info", "\x1b[31m\n" * 100],
    ],
    ids=lambda a: " ".join(a)[:40],
)
def test_bad_input_ends_with_2_and_one_line(work, capsys, arguments):
    one_line_of(capsys, main(arguments), 2)
    assert sorted(p.name for p in work.iterdir()) == ["song.mid", "tiny.check.npz", "tiny.onnx"]


def test_an_unwritable_place_ends_with_3(work, capsys):
    one_line_of(capsys, main(["render", "song.mid", "-o", "no/such/folder/x.wav", "-p", "tiny.onnx"]), 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's always-full device")
def test_a_full_disk_is_told_and_leaves_no_file(work):
    done = run_command(["render", "song.mid", "-o", "/dev/full", "-p", "tiny.onnx"])
    assert done.returncode in (2, 3)
    assert done.stderr.count("\n") == 1


def run_command(arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "neuralsynth", *arguments],
        capture_output=True, text=True, timeout=120, env=environment, **options,
    )  # fmt: skip


def test_a_closed_stdout_is_no_traceback(work):
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "neuralsynth", "info", "tiny.onnx", "--json"],
        stdout=write, stderr=subprocess.PIPE, text=True, env=environment, timeout=120,
    )  # fmt: skip
    os.close(write)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_an_interrupted_render_leaves_nothing_and_no_traceback(work):
    import signal
    import time

    events = [(480 * i, bytes([0x90 if i % 2 == 0 else 0x80, 40 + i // 2 % 50, 100])) for i in range(20_000)]
    write_midi_file(work / "long.mid", [events])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "neuralsynth", "render", "long.mid", "-o", "long.wav", "-p", "tiny.onnx"],
        stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - a background shell ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(work.glob("long.wav.part-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert not list(work.glob("long.wav*"))
