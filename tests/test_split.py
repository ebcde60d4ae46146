"""Learning from little: which recordings are trained on, which judge, and what is refused before any work."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from neuralsynth.analysis.folder import read_folder
from neuralsynth.cli import main
from neuralsynth.errors import UsageError
from neuralsynth.training.checkpoints import Run
from neuralsynth.training.config import TrainConfig
from neuralsynth.training.prepare import prepare
from neuralsynth.training.split import split

RATE = 44_100
KEYBOARD = [(note, velocity) for note in range(40, 51) for velocity in (40, 100)]  # eleven pitches, two layers


def divided(keyboard=KEYBOARD, **choice):
    recordings = [SimpleNamespace(note=note, velocity=velocity) for note, velocity in keyboard]
    trained, judged = split(recordings, TrainConfig(**choice).check())
    assert not np.any(trained & judged)
    return [[keyboard[i] for i in np.flatnonzero(mask)] for mask in (trained, judged)]


@pytest.mark.parametrize(
    "every, kept, judged",
    [
        (2, [40, 42, 44, 46, 48, 50], [41, 43, 45, 47, 49]),
        (4, [40, 44, 48], [41, 42, 43, 45, 46, 47]),  # 49 and 50 lie beyond the highest that is known
        (8, [40, 48], [41, 42, 43, 44, 45, 46, 47]),
        (10, [40, 50], [41, 42, 43, 44, 45, 46, 47, 48, 49]),
    ],
)
def test_keep_every_keeps_what_it_says_in_all_layers_and_only_interior_pitches_judge(every, kept, judged):
    trained, judges = divided(keep_every=every)
    assert trained == [(note, velocity) for note in kept for velocity in (40, 100)]
    assert judges == [(note, velocity) for note in judged for velocity in (40, 100)]


def test_pitches_are_counted_not_semitones_and_not_files():
    sparse = [(36, 90), (36, 90), (48, 90), (50, 90), (71, 90), (72, 90)]
    trained, judges = divided(sparse, keep_every=2)
    assert [note for note, _ in trained] == [36, 36, 50, 72] and [note for note, _ in judges] == [48, 71]


def test_one_layer_is_trained_and_the_others_judge_within_its_range():
    keyboard = [*KEYBOARD, (38, 40), (52, 100)]  # the soft layer reaches lower, the loud one higher
    trained, judges = divided(keyboard, only_layer=100)
    assert trained == [(note, 100) for note in [*range(40, 51), 52]]
    assert judges == [(note, 40) for note in range(40, 51)]


def test_without_a_choice_everything_is_trained_and_hold_out_leaves_out_as_before():
    assert divided() == [KEYBOARD, []]
    trained, judges = divided(hold_out=5)
    assert {note for note, _ in judges} == {43, 48} and len(trained) == len(KEYBOARD) - 4


@pytest.mark.parametrize(
    "choice, told",
    [
        ({"keep_every": 1}, "use 2 or more"),
        ({"keep_every": 11}, "keeps 1 of 11 pitches; use 2 to 10"),
        ({"only_layer": 90}, r"there are 40 \(11 recordings\), 100 \(11 recordings\)"),
        ({"only_layer": 200}, "use 0 to 127"),
        ({"keep_every": 2, "hold_out": 5}, "hold_out and keep_every exclude one another"),
        ({"keep_every": 2, "only_layer": 40}, "keep_every and only_layer exclude one another"),
    ],
)
def test_what_cannot_be_left_out_is_told_with_what_can(choice, told):
    with pytest.raises(UsageError, match=told):
        divided(**choice)


def test_two_pitches_are_too_few_to_leave_any_out():
    with pytest.raises(UsageError, match="too few to leave any out"):
        divided([(60, 90), (62, 90)], keep_every=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five pitches in two layers."""
    path, t = tmp_path_factory.mktemp("sines"), np.arange(RATE // 2) / RATE
    for note in range(57, 77, 4):
        for velocity in (50, 110):
            hz = 440.0 * 2.0 ** ((note - 69) / 12)
            tone = sum(np.sin(2 * np.pi * k * hz * t) / k**2 for k in range(1, 6)) * np.exp(-4 * t) * velocity / 400
            soundfile.write(path / f"tone_m{note:03d}_v{velocity}.wav", tone, RATE, subtype="PCM_24")
    return path


@pytest.mark.parametrize(
    "choice, kept, watched",
    [
        ({"keep_every": 3}, [(57, 50), (57, 110), (69, 50), (69, 110)], [61, 61, 65, 65]),
        ({"only_layer": 110}, [(note, 110) for note in range(57, 77, 4)], [57, 61, 65, 69, 73]),
    ],
)
def test_a_training_learns_from_what_was_kept_and_is_watched_on_what_judges(folder, tmp_path, choice, kept, watched):
    run, config = Run(tmp_path / "run"), TrainConfig(n_frames=32, n_bands=8, n_partials=8, **choice)
    run.create()
    data = prepare(read_folder(folder), config, run, None, 1, lambda _: None)
    velocity = np.round(127 * data.train.velocity).astype(int)
    assert sorted(zip(data.train.note.astype(int).tolist(), velocity.tolist(), strict=True)) == kept
    assert sorted(data.held.note.astype(int).tolist()) == watched
    assert len(data.held_paths) == 10 - len(kept)  # those beyond are left out too


@pytest.mark.parametrize(
    "options, told",
    [
        (["--keep-every", "2", "--hold-out", "5"], "exclude one another"),
        (["--only-layer", "64"], "there are 50 (5 recordings), 110 (5 recordings)"),
        (["--only-layer", "0"], "1 to 127"),
        (["--keep-every", "9"], "use 2 to 4"),
    ],
)
def test_the_command_refuses_in_one_line_and_leaves_nothing(folder, tmp_path, capsys, options, told):
    assert main(["train", str(folder), "-o", str(tmp_path / "x.onnx"), *options]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.onnx")) and not list(tmp_path.rglob("*.pt"))
