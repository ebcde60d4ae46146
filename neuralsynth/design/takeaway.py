"""Sounds of a batch as things to use elsewhere: rendered again, as presets and a bank, as a zip for a sampler."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from neuralsynth.audiofile import write_audio
from neuralsynth.design.batch import JOB
from neuralsynth.design.plan import Job
from neuralsynth.design.sound import digest_of
from neuralsynth.design.work import SoundWork
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.preset import PERFORMANCE_SUFFIX, Preset, save_with_model
from neuralsynth.storage import whole_file
from neuralsynth.toml_file import toml_value

MOST_IN_A_BANK = 128
FIRST_KEY = 36  # of a drum sampler: C2, General MIDI's bass drum


def work_of(folder: Path) -> SoundWork:
    """The work that a batch was made by, to make any of its sounds again.

    Raises:
        UsageError: the folder holds no batch of sounds, or its presets and models are no longer where they were.
    """
    path = folder / JOB
    try:
        document = json.loads(path.read_text("utf-8"))
        job = msgspec.convert(document["job"], Job)
        paths = [Path(text) for text in document["presets"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: holds no batch of sounds (its {JOB} cannot be read: {error})") from error
    return SoundWork(job, paths)


def sound_again(work: SoundWork, row: Mapping[str, Any], output: Path) -> bool:
    """Render a sound of the manifest anew; returns whether it is the same to the last bit.

    Raises:
        UsageError, OutputError: the file cannot be written so.
    """
    audio = work.audio(int(row["index"]))
    write_audio(output, audio, work.job.output.sample_rate, work.job.output.depth)
    return digest_of(audio) == row["digest"]


def preset_of(work: SoundWork, row: Mapping[str, Any]) -> Preset:
    """The preset that plays a sound of the manifest."""
    planned = work.planner.planned(int(row["index"]))
    preset = work.planner.preset(planned)
    effects = preset.effects if work.job.output.effects else ()
    return msgspec.structs.replace(preset, name=str(row["name"]), effects=effects)


def write_bank(work: SoundWork, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """A folder of presets, their models beside them, and a performance that brings them by program.

    Raises:
        UsageError: too many for a bank, or the folder holds something else of these names.
        OutputError: it cannot be written.
    """
    if not 1 <= len(rows) <= MOST_IN_A_BANK:
        raise UsageError(f"{len(rows)} sounds; a bank holds 1 to {MOST_IN_A_BANK} programs, pick fewer")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror or error})") from error
    paths = []
    for row in rows:
        paths.append(folder / f"{row['name']}.toml")
        save_with_model(preset_of(work, row), paths[-1])
    lines = ["format_version = 1", f"name = {toml_value(folder.name[:100])}", "", "[channels]"]
    lines.append(f"default = {toml_value(paths[0].name)}")
    for program, path in enumerate(paths, 1):
        lines += ["", "[[programs]]", f"program = {program}", f"preset = {toml_value(path.name)}"]
    bank = folder / f"{folder.name}{PERFORMANCE_SUFFIX}"
    with whole_file(bank) as part:
        part.write_text("\n".join(lines) + "\n", "utf-8")
    return [*paths, bank]


def write_zip(folder: Path, rows: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Sounds as a zip that drum samplers load: the files, and an SFZ that puts one on each key from C2 up.

    Raises:
        UsageError: there are more sounds than keys.
        OutputError: it cannot be written.
    """
    if not 1 <= len(rows) <= 128 - FIRST_KEY:
        raise UsageError(f"{len(rows)} sounds; there are keys for {128 - FIRST_KEY}, pick fewer")
    name = output.stem
    mapping = "".join(
        f"<region> sample={name}/{Path(row['file']).name} key={key} loop_mode=one_shot\n"
        for key, row in enumerate(rows, FIRST_KEY)
    )
    with whole_file(output) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for row in rows:
            data = (folder / row["file"]).read_bytes()
            archive.writestr(_entry(f"{name}/{Path(row['file']).name}"), data)
        archive.writestr(_entry(f"{name}.sfz"), mapping)


def _entry(name: str) -> zipfile.ZipInfo:
    """The same zip for the same sounds: no clock in it."""
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


def copied_to(folder: Path, rows: Sequence[Mapping[str, Any]], into: Path) -> list[Path]:
    """Copies of the files of some sounds in another folder, numbered in their order.

    Raises:
        UsageError: a file of that name is there.
        OutputError: they cannot be written.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{into}: cannot be made ({error.strerror or error})") from error
    width, paths = len(str(len(rows))), []
    for number, row in enumerate(rows, 1):
        path = into / f"{number:0{width}d}-{Path(row['file']).name}"
        if path.exists():
            raise UsageError(f"{path}: exists already; name an empty folder")
        with whole_file(path) as part:
            part.write_bytes((folder / row["file"]).read_bytes())
        paths.append(path)
    return paths
