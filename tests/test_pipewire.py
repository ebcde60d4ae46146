"""The JACK back end on PipeWire: what it does otherwise than a JACK server.

Needs no sound hardware: PipeWire and its session manager run in a D-Bus session of their own, with a sink to nowhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("pipewire", "wireplumber", "pw-jack", "pw-cli", "dbus-run-session")
SINK = """
context.objects = [ { factory = adapter args = {
    factory.name = support.null-audio-sink  node.name = speakers  media.class = Audio/Sink  audio.position = [ FL FR ]
} } ]
"""
START = """
pipewire >/dev/null 2>&1 & P=$!
for i in $(seq 100); do [ -S "$XDG_RUNTIME_DIR/pipewire-0" ] && break; sleep 0.1; done  # or the manager gives up
wireplumber >/dev/null 2>&1 & W=$!
trap 'kill -9 $P $W' EXIT
for i in $(seq 100); do timeout 3 pw-jack jack_lsp 2>&1 | grep -q speakers:playback_FR && break; sleep 0.1; done
sleep 1  # the session manager makes the ports anew when it takes over
PYTHONFAULTHANDLER=1 timeout -s ABRT -k 1 40 "$@"
"""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)) and "CI" not in os.environ,
    reason="needs PipeWire (Debian: apt install pipewire-jack wireplumber dbus)",
)


@pytest.fixture
def answer_of(tmp_path):
    """Run a trial of `tests.device_trials` in a PipeWire of its own, at a block size that it wishes for."""
    config, run = tmp_path / "config" / "pipewire" / "pipewire.conf.d", tmp_path / "run"
    config.mkdir(parents=True)
    run.mkdir(mode=0o700)
    (config / "10-sink.conf").write_text(SINK)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": str(run),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def answer(name, block_size):
        return json.loads(once(name, block_size) or once(name, block_size))  # libjack may hang while a client is let go

    def once(name, block_size):
        trial = ["pw-jack", "-p", str(block_size), sys.executable, "-m", "tests.device_trials", name]
        with subprocess.Popen(
            [shutil.which("dbus-run-session"), "--", "sh", "-c", START, "sh", *trial],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, problem = process.communicate(timeout=60)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if not output:
            print(problem)
        return output

    return answer


def test_notes_sound_in_the_block_that_they_come_in(answer_of):
    found = answer_of("pipewire_notes", 128)
    assert found["connections"] == ["out_1>speakers:playback_FL", "out_2>speakers:playback_FR"]
    assert found["block_size"] == 128
    assert found["delays"] == [128] * 40  # the loop through the probe


def test_connections_come_back_with_the_sound_card_but_not_against_the_player(answer_of):
    both = ["out_1>speakers:playback_FL", "out_2>speakers:playback_FR"]
    at_first, without_card, card_is_back, ports_made_anew, stand, taken_apart, later = answer_of("pipewire_anew", 128)
    assert at_first and without_card == both and card_is_back
    assert ports_made_anew and stand
    assert taken_apart and later == both[:1]


@pytest.mark.parametrize("wish, others", [(128, 1024), (1024, 128)])
def test_the_block_size_is_that_of_whoever_played_before(answer_of, wish, others):
    found = answer_of(f"pipewire_beside_{others}", wish)
    assert found == {"block_size": others, "blocks": [others], "lost": False, "faults": 0}
