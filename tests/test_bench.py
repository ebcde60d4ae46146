"""`bench`: measured figures, and libfluidsynth beside them where it is installed (required in CI)."""

from __future__ import annotations

import ctypes.util
import json
import os

import pytest

from neuralsynth.cli import main
from neuralsynth.hosts import fluidsynth
from tests.models import tiny_instrument

HAS_FLUIDSYNTH = bool(ctypes.util.find_library("fluidsynth")) and any(f.is_file() for f in fluidsynth.SOUND_FONTS)


def test_bench_reports_measured_figures(tmp_path, capsys):
    assert main(["bench", "-p", str(tiny_instrument(tmp_path / "tiny.onnx")), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["voices"], report["partials"], report["sample_rate"], report["block_size"]) == (64, 64, 48_000, 128)
    in_real_time = report["voices"] * 1e6 * report["block_size"] / report["sample_rate"] / report["block_us"]
    assert report["voices_per_core"] == pytest.approx(in_real_time, rel=0.01)
    assert report["modulation_ratio"] == pytest.approx(report["modulated_block_us"] / report["block_us"], rel=0.01)
    assert report["decode_128_notes_ms"] > report["decode_one_note_ms"] > 0
    assert (report["ratio_to_fluidsynth"] is not None) == HAS_FLUIDSYNTH


@pytest.mark.skipif(
    not HAS_FLUIDSYNTH and "CI" not in os.environ, reason="apt install libfluidsynth3 fluid-soundfont-gm"
)
def test_libfluidsynth_sounds_as_many_voices_as_asked_for():
    synth_rate = fluidsynth.voices_per_core(16, 48_000, 128, 20, 2)
    assert synth_rate is not None
    assert synth_rate > 16
