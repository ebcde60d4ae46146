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


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


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


def test_every_command_and_option_in_the_readme_exists():
    from neuralsynth.cli import app

    for line in re.findall(r"^neuralsynth (.+)$", "\n".join(blocks("sh")), re.MULTILINE):
        command, *rest = line.split("#")[0].split()
        known = {option for p in app.get_command(None, command).params for option in p.opts}
        assert {word for word in rest if word.startswith("-")} <= known


def test_every_file_the_readme_links_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
