"""Takes: the audio and the MIDI agree to the sample, and nothing that goes wrong leaves half a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuralsynth.audiofile import read_audio
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.events import TEMPO
from neuralsynth.hosts.midi_file import read_midi_file
from neuralsynth.live import take as take_module
from neuralsynth.live.take import Take, next_take_path

RATE = 48_000
ON, OFF = b"\x90\x3c\x40", b"\x80\x3c\x40"


def block(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (2, n)).astype(np.float32)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_audio_and_midi_come_out_as_they_went_in(tmp_path):
    take = Take(tmp_path / "take.wav", RATE, "32f")
    blocks = [block(n, seed) for seed, n in enumerate((1, 64, 128, 4801))]
    for audio in blocks:
        take.add_audio(audio)
    for sample, message in ((0, ON), (17, b"\xf8"), (3000, b"\xff"), (4000, OFF)):
        take.add_event(sample, message)
    assert names(tmp_path) == [f"take.wav.part-{os.getpid()}"]
    assert take.finish() == [tmp_path / "take.wav", tmp_path / "take.mid"]
    assert names(tmp_path) == ["take.mid", "take.wav"]
    audio, rate = read_audio(tmp_path / "take.wav")
    assert rate == RATE
    np.testing.assert_array_equal(audio, np.concatenate(blocks, axis=1))
    song = read_midi_file(tmp_path / "take.mid")
    assert round(song.duration_seconds * RATE) == audio.shape[1]
    assert [tuple(event) for event in song.events(RATE)][1:] == [(0, ON), (17, b"\xf8"), (3000, b"\xff"), (4000, OFF)]


@pytest.mark.parametrize("depth,step", [("16", 2**-15), ("24", 2**-23)])
def test_whole_numbers_keep_their_depth(tmp_path, depth, step):
    take = Take(tmp_path / "take.wav", 44_100, depth)
    take.add_audio(block(1000))
    take.finish()
    assert np.abs(read_audio(tmp_path / "take.wav")[0] - block(1000)).max() <= step


def test_a_take_in_which_nothing_was_played_has_no_midi(tmp_path):
    take = Take(tmp_path / "take.wav", RATE)
    take.add_audio(block(10))
    assert take.finish() == [tmp_path / "take.wav"] and names(tmp_path) == ["take.wav"]


def test_what_is_no_message_is_counted_and_a_tempo_does_no_harm(tmp_path):
    take = Take(tmp_path / "take.wav", RATE)
    for message in (ON, b"", b"\x90\x3c", TEMPO + b"\x07\xa1\x20", b"\xf0\x01", OFF):
        take.add_event(5, message)
    assert take.dropped == 3
    take.finish()
    assert [e.message for e in read_midi_file(tmp_path / "take.mid").events(RATE)][1:] == [ON, OFF]


def test_an_abandoned_take_leaves_nothing(tmp_path):
    take = Take(tmp_path / "take.wav", RATE)
    take.add_audio(block(10_000))
    take.abandon()
    take.abandon()
    assert names(tmp_path) == []
    with pytest.raises(OutputError, match="is over"):
        take.add_audio(block(10))
    with pytest.raises(OutputError, match="is over"):
        take.finish()


def test_what_cannot_be_written_is_told_at_once(tmp_path):
    with pytest.raises(OutputError, match=r"absent.take\.wav"):
        Take(tmp_path / "absent" / "take.wav", RATE)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(OutputError, match="not a regular file"):
        Take(tmp_path / "folder.wav", RATE)
    for path, rate, depth in (("take.flac", RATE, "24"), ("take.wav", 48_001, "24"), ("take.wav", RATE, "12")):
        with pytest.raises(UsageError):
            Take(tmp_path / path, rate, depth)
    assert names(tmp_path) == ["folder.wav"]


def test_midi_that_cannot_be_written_leaves_the_audio(tmp_path):
    (tmp_path / "take.mid").mkdir()
    take = Take(tmp_path / "take.wav", RATE)
    take.add_audio(block(100))
    take.add_event(0, ON)
    with pytest.raises(OutputError, match=r"take\.mid"):
        take.finish()
    assert read_audio(tmp_path / "take.wav")[0].shape == (2, 100)


@pytest.mark.parametrize("when", ["while it plays", "at its end"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, when):
    code = f"""
import resource, signal, sys
import numpy as np
from pathlib import Path
from neuralsynth.errors import OutputError
from neuralsynth.live.take import Take
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
take = Take(Path({str(tmp_path / "take.wav")!r}), 48000)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    for _ in range({50 if when == "while it plays" else 0}):
        take.add_audio(np.zeros((2, 4800), np.float32))
    take.add_event(0, bytes([0x90, 60, 64]))
    for second in range(40_000):
        take.add_event(second, bytes([0xF8]))
    take.finish()
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert "cannot be written" in done.stdout
    assert names(tmp_path) == ([] if when == "while it plays" else ["take.wav"])


def test_a_killed_take_leaves_no_file_under_a_final_name(tmp_path):
    code = f"""
import numpy as np
from pathlib import Path
from neuralsynth.live.take import Take
take = Take(Path({str(tmp_path / "take.wav")!r}), 48000)
for _ in range(100):
    take.add_audio(np.zeros((2, 4800), np.float32))
take.add_event(0, bytes([0x90, 60, 64]))
print("READY", flush=True)
input()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"READY\n"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    assert names(tmp_path) == [f"take.wav.part-{child.pid}"]


def test_a_full_wav_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(take_module, "_MAX_WAV_BYTES", 6000)
    take = Take(tmp_path / "take.wav", RATE)
    take.add_audio(block(900))
    assert not take.is_full
    take.add_audio(block(900))
    take.add_audio(block(900))
    assert take.is_full and take.n_samples == 1000
    take.finish()
    assert read_audio(tmp_path / "take.wav")[0].shape == (2, 1000)


def test_free_names(tmp_path):
    path = tmp_path / "take.wav"
    assert next_take_path(path) == path
    path.touch()
    assert next_take_path(path) == tmp_path / "take-2.wav"
    (tmp_path / "take-2.mid").touch()
    assert next_take_path(path) == tmp_path / "take-3.wav"
