"""What a newcomer copies from the README runs, and its figures are printed by a program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIVE = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["audio"].shape == (2, 96_000)
    assert abs(names["audio"]).max() > 0.01


def test_the_quality_tables_are_what_the_program_prints():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "quality_table.py")], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, page in (
        ("quality table", "README.md"),
        ("all distances", "docs/quality.md"),
        ("second opinions", "docs/quality.md"),
    ):
        text = (ROOT / page).read_text(encoding="utf-8")
        table = text.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
        assert f"{name} ({page}):\n\n{table}\n\n" in done.stdout
        assert table.startswith("| instrument |") and len(table.splitlines()) >= 12


@pytest.mark.parametrize("page", [README, LIVE], ids=["README", "live"])
def test_every_command_and_option_exists(page):
    from neuralsynth.cli import app

    text = "\n".join(blocks("sh", page)) + "\n" + "\n".join(re.findall(r"`(neuralsynth [^`\n]+)`", page))
    lines = re.findall(r"^neuralsynth (.+)$", text, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        command, *rest = line.split("#")[0].split()
        known = {option for p in app.get_command(None, command).params for option in (*p.opts, *p.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= known, line


WAYS = [line.split("#")[0].strip() for line in "".join(blocks("sh", LIVE)).splitlines() if " play" in line]


@pytest.mark.parametrize("line", [line for line in WAYS if "--bank" not in line])  # a bank takes half a minute
def test_every_way_to_play_begins(line, tmp_path):
    """As it stands in the page, but for a moment only, without the devices that this machine may lack."""
    words = line.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "neuralsynth", *words, "--midi", "none", "--audio", "none", "--seconds", "0.1", "--plain"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_keys_of_live_play_are_those_that_it_obeys():
    from neuralsynth.live.computer_keyboard import COMMANDS, OCTAVE_STEPS, SUSTAIN_KEY, VELOCITY_STEPS

    table = LIVE.split("<!-- keys -->")[1].split("<!-- end of keys -->")[0]
    keys = "|".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE))
    for key in (*COMMANDS, *OCTAVE_STEPS, *VELOCITY_STEPS, SUSTAIN_KEY):
        assert key in keys or key in "_+", key  # _ and + are - and = with shift


@pytest.mark.parametrize("page, folder", [(README, ROOT), (LIVE, ROOT / "docs")], ids=["README", "live"])
def test_every_file_that_a_page_links_to_is_there(page, folder):
    for target in re.findall(r"\]\((?!http)([^)]+)\)", page):
        path, _, heading = target.partition("#")
        text = (folder / path).read_text(encoding="utf-8") if path.endswith(".md") else ""
        assert (folder / path).exists(), target
        assert not heading or f"# {heading.replace('-', ' ')}\n" in text.lower(), target
