"""Audio back ends and `doctor`, with a real JACK server on a dummy device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from neuralsynth.cli import main
from neuralsynth.errors import DeviceError
from neuralsynth.live import doctor
from neuralsynth.live.careful import within
from neuralsynth.live.clock_backend import ClockBackend
from neuralsynth.live.devices import make_backend
from neuralsynth.live.portaudio_backend import PortAudioDevice, choose_device
from tests.jack_server import JackServer, require_jackd, until

ROOT = Path(__file__).parents[1]
NOBODY = {"JACK_DEFAULT_SERVER": "neuralsynth-nobody", "JACK_NO_START_SERVER": "1"}


def python(*arguments, environment=NOBODY):
    """Another Python; nothing that it or a C library prints on stderr goes unseen."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=90, cwd=ROOT
    )


def answer_of(name, environment=NOBODY):
    try:
        done = python("-m", "tests.device_trials", name, environment=environment)
    except subprocess.TimeoutExpired as error:  # libjack may take the process along once the hanging server is killed
        assert name == "hang" and error.stdout, f"{name}: {error}"
        return json.loads(error.stdout)
    assert done.returncode == 0, f"{name} ended with {done.returncode}: {done.stderr}"
    assert done.stderr == "", f"{name}: a terminal view would be spoilt"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def server():
    require_jackd()
    with JackServer() as running:
        yield running


@pytest.fixture(scope="module")
def alone():
    """Trials that kill servers of their own; all of them start at once, for the sake of time."""
    require_jackd()
    with ThreadPoolExecutor() as pool:
        names = ("death", "deaths", "hang", "portaudio_death")
        running = {name: pool.submit(answer_of, name) for name in names}
        yield lambda name: running[name].result()


def test_jack_midi_and_audio_are_exact_to_the_sample(server):
    found = answer_of("freewheel", server.environment)
    assert found["finished"] and not found["lost"] and found["faults"] == 0
    assert found["freewheeling"] == [True, True]
    assert found["blocks"] == [server.block_size]  # the period, and no other
    # The probe hears in the next cycle what it caused in this one: one period, for each of the notes.
    assert found["delays"] == [server.block_size]
    assert found["clicks"] == [60, 60] and found["opposite"]
    assert found["types"] == ["bytes"]  # copies, not views of memory that is used again


def test_jack_blocks_begin_when_the_cycle_does(server):
    found = answer_of("began", server.environment)
    assert found["lowest"] > 0
    assert found["median"] < 1  # generous: it is a few hundredths of a period


def test_jack_smaller_blocks_are_played_and_larger_ones_ask_for_a_new_start(server):
    found = answer_of("block_sizes", server.environment)
    assert found["lost"] == [False, False, True]
    assert found["seen"][:2] == [0.5, 1.0] and max(found["seen"]) == 1.0
    assert found["reopened"] == 2.0


def test_jack_ports_can_be_connected_as_soon_as_they_are_seen(server):
    assert answer_of("seen", server.environment) == {"refused": [], "connected": True}


def test_jack_speakers_that_come_later_are_connected(server):
    found = answer_of("speakers", server.environment)
    assert found["before"] == []
    assert found["after"] == ["out_1>system:playback_1", "out_2>system:playback_2"]
    assert found["standing"] == {"out_1": ["system:playback_1"], "out_2": ["system:playback_2"], "midi_in": []}


def test_jack_outlives_a_process_that_fails(server):
    found = answer_of("failing_process", server.environment)
    assert not found["lost"]
    assert abs(found["faults"] - found["calls"] / 2) <= 1


def test_auto_is_jack_where_a_server_runs(server):
    assert answer_of("choice", server.environment) == ["jack", "jack", "none", "portaudio", "portaudio"]


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_jack_death_is_noticed_and_connections_come_back(alone, number):
    found = alone("death")[number]
    assert found["automatic"] == ["out_1>system:playback_1", "out_2>system:playback_2"]
    own = ["out_1>system:playback_1", "out_2>others:in", "others:keys>midi_in"]
    assert found["before"] == found["kept"] == own  # also after the death
    assert found["lost"] and found["lost_seconds"] < 2
    assert found["close_seconds"] < 3.5
    assert found["refused"].startswith("no JACK server is running; start one")
    assert "--audio none" in found["refused"] and "neuralsynth doctor" in found["refused"]
    # The other program is not back yet: its connections wait, nothing else is connected in their place.
    assert found["at_once"] == {"out_1": ["system:playback_1"], "out_2": [], "midi_in": []}
    assert found["remembered"] == own
    assert found["complete"]
    assert found["later"] == {"out_1": ["system:playback_1"], "out_2": ["others:in"], "midi_in": ["others:keys"]}


def test_twenty_jack_deaths_leave_nothing_behind(alone):
    found = alone("deaths")
    assert found["lost"] == 21
    assert found["last"] == found["first"]  # threads of Python, open files, threads of the system


def test_a_hanging_jack_server_hangs_nobody(alone):
    found = alone("hang")
    assert found["lost"] and 1 < found["lost_seconds"] < 6
    assert found["connections"] == ["out_1>system:playback_1", "out_2>system:playback_2"]
    assert found["close_seconds"] < 6 and found["open_seconds"] < 1
    assert found["message"].startswith("the JACK library hangs over a client of a server that is gone")


def test_without_a_jack_server_nothing_is_started_or_printed():
    require_jackd()
    found = answer_of("no_server")
    assert found["server"] is None
    assert found["message"].startswith("no JACK server is running")


def test_portaudio_asks_for_blocks_of_the_size_it_was_given(server):
    found = answer_of("portaudio", server.environment)
    name = "system, JACK Audio Connection Kit"
    assert name in found["names"] and found["device"] == name
    assert min(found["counts"]) >= 50 and found["blocks"] == [64]
    assert found["sample_rate"] == server.sample_rate
    assert not found["lost"] and found["faults"] == 0
    assert f"[{name[:39]}" in found["unknown"] and "neuralsynth doctor" in found["unknown"]
    assert "12345 Hz" in found["refused_rate"] and "its own rate is 48000 Hz" in found["refused_rate"]


def test_portaudio_death_is_noticed_and_hangs_nobody(alone):
    found = alone("portaudio_death")
    assert found["lost"] and found["lost_seconds"] < 6
    assert found["close_seconds"] < 6
    assert found["message"]  # PortAudio cannot be used again in that process, and says so


@pytest.mark.parametrize("library, message", [("jack", "the JACK library"), ("portaudio", "the PortAudio library")])
def test_a_missing_library_is_missed_by_its_own_back_end_only(library, message):
    code = f"""
import ctypes.util
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if name == {library!r} else find(name)
from neuralsynth.errors import DeviceError
from neuralsynth.live.devices import make_backend
make_backend("none").open()
make_backend("auto")
try:
    make_backend({library!r}).open()
except DeviceError as error:
    print(error)
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{message} is not installed (Debian: apt install ")
    assert "neuralsynth doctor" in done.stdout and len(done.stdout) <= 300


DEVICES = [
    PortAudioDevice(0, "HDA Intel: ALC257", "ALSA", 2, 48_000, is_default=False),
    PortAudioDevice(1, "HDA Intel: HDMI 0", "ALSA", 8, 48_000, is_default=False),
    PortAudioDevice(2, "default", "ALSA", 32, 44_100, is_default=True),
    PortAudioDevice(3, "system", "ALSA", 2, 48_000, is_default=False),
    PortAudioDevice(4, "system", "JACK Audio Connection Kit", 2, 48_000, is_default=False),
]


@pytest.mark.parametrize(
    "name, index", [("", 2), ("alc", 0), ("hdmi", 1), ("DEFAULT", 2), ("system, jack", 4), ("system, ALSA", 3)]
)
def test_a_device_is_found_by_a_part_of_its_name(name, index):
    assert choose_device(name, DEVICES).index == index


@pytest.mark.parametrize(
    "name, devices, words",
    [
        ("hda", DEVICES, ["'hda'", "[HDA Intel: ALC257, ALSA]", "[HDA Intel: HDMI 0, ALSA]", "more of the name"]),
        ("system", DEVICES, ["[system, ALSA]", "[system, JACK Audio Connection Kit]"]),
        ("focusrite", DEVICES, ["'focusrite' is not there", "[default, ALSA]", "jack or none"]),
        ("", [], ["finds no audio output", "--audio jack", "--audio none"]),
        ("x\n\x1b[2J", [], [r"'x\\n\\x1b[2J'"]),
    ],
)
def test_a_device_that_is_not_one_names_the_candidates(name, devices, words):
    with pytest.raises(DeviceError) as caught:
        choose_device(name, devices)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "neuralsynth doctor" in text and len(text) <= 300


def test_the_clock_keeps_its_pace():
    seen, threads = [], threading.active_count()
    backend = ClockBackend(block_size=64)
    backend.open()
    began = time.monotonic()
    backend.start(lambda n, began_ns, events: seen.append((n, began_ns)))
    time.sleep(0.5)
    backend.close()
    seconds = time.monotonic() - began
    assert len(seen) * 64 / 48_000 == pytest.approx(seconds, rel=0.1, abs=0.05)
    assert {n for n, _ in seen} == {64}
    steps = np.diff([began_ns for _, began_ns in seen])
    assert backend.xruns or set(steps) <= {1_333_333, 1_333_334}  # the schedule is absolute
    assert threading.active_count() == threads


def test_the_clock_is_lost_and_found_a_thousand_times():
    threads, blocks, backend = threading.active_count(), [], ClockBackend()
    for turn in range(1000):
        backend.open()
        assert not backend.is_lost
        blocks.clear()
        backend.start(lambda n, began_ns, events: blocks.append(n))
        if turn % 100 == 0:
            assert until(lambda: blocks)
        backend.lose()
        assert backend.is_lost
        with pytest.raises(DeviceError):
            backend.start(lambda n, began_ns, events: None)
        backend.close()
        backend.close()
    assert threading.active_count() == threads


def test_the_clock_outlives_a_process_that_fails():
    def fail(n, began_ns, events):
        raise ValueError("a planted bug")

    backend = ClockBackend()
    backend.open()
    backend.start(fail)
    assert until(lambda: backend.faults >= 3)
    backend.close()


def test_names_choose_back_ends(monkeypatch):
    monkeypatch.setattr("neuralsynth.live.devices.jack_is_running", lambda: False)
    made = make_backend("none", sample_rate=44_100, block_size=256)
    assert (made.name, made.sample_rate, made.block_size) == ("none", 44_100, 256)
    assert make_backend("auto").name == make_backend("HDA Intel").name == "portaudio"
    assert make_backend("jack", connections=["out_1>a:b"]).connections == ("out_1>a:b",)


def test_a_call_that_does_not_return_is_left_behind():
    end = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, end.wait)
    end.set()
    with pytest.raises(KeyError):
        within(5, lambda: {}["missing"])
    assert within(5, lambda: 7) == 7


ENGINE = {"presets": 3, "onnxruntime": {"version": "1"}, "pedalboard": {"version": "1"}}
SERVER = {"sample_rate": 48_000, "block_size": 128, "is_realtime": True}
OUTPUT = {"full_name": "HDA\x1b[2J, ALSA", "is_default": True}
NO_JACK, NO_PORTAUDIO = {"library": False, "problem": "no"}, {"devices": None, "problem": "no"}
NO_MIDI = {"interfaces": [{"name": "ALSA", "ports": [], "problem": "no sequencer"}]}
KEYS = {"interfaces": [{"name": "ALSA", "ports": ["keys"], "problem": ""}]}
SILENT = {"problem": "the library crashed or did not answer in time"}


@pytest.mark.parametrize(
    "jack, portaudio, midi, can_play, missing",
    [
        ({"library": True, "server": SERVER}, NO_PORTAUDIO, KEYS, True, []),
        (NO_JACK, {"devices": [OUTPUT]}, NO_MIDI, True, []),
        (NO_JACK, {"devices": []}, KEYS, False, ["JACK library", "JACK server", "audio outputs"]),
        ({"library": True, "server": None}, NO_PORTAUDIO, KEYS, False, ["JACK server", "PortAudio"]),
        (SILENT, SILENT, SILENT, False, ["JACK library", "JACK server", "PortAudio"]),
    ],
)
def test_doctor_judges_what_it_finds(monkeypatch, capsys, jack, portaudio, midi, can_play, missing):
    answers = {"engine": ENGINE, "jack": jack, "portaudio": portaudio, "midi": midi}
    monkeypatch.setattr(doctor, "_ask_all", lambda names, seconds: answers)
    assert main(["doctor"]) == (0 if can_play else 3)
    printed = capsys.readouterr()
    assert [line[9:28].strip() for line in printed.out.splitlines() if line.startswith("missing")] == missing
    assert all(line.split()[0] in {"ok", "missing", "optional"} for line in printed.out.splitlines())
    assert "\x1b" not in printed.out
    assert all("  ->  " in line for line in printed.out.splitlines() if line.startswith("missing"))
    assert ("nothing can be heard live here" in printed.err) == (not can_play)


def test_doctor_without_an_engine_says_so(monkeypatch):
    broken = ENGINE | {"onnxruntime": {"problem": "illegal instruction"}}
    answers = {"engine": broken, "jack": {"library": True, "server": SERVER}, "portaudio": NO_PORTAUDIO, "midi": KEYS}
    monkeypatch.setattr(doctor, "_ask_all", lambda names, seconds: answers)
    examination = doctor.examine()
    assert not examination.can_play
    assert [f.name for f in examination.findings if f.state == "missing"] == ["onnxruntime"]


def test_doctor_waits_for_nobody():
    began = time.monotonic()
    examination = doctor.examine(seconds=0.0)
    assert time.monotonic() - began < 10
    assert not examination.can_play
    assert sum("did not answer in time" in f.says for f in examination.findings) >= 1


def test_doctor_on_this_machine(server):
    """Whatever hardware is here: with the test's server one can play, and without one it is said what is lacking."""
    done = python("-m", "neuralsynth", "doctor", "--json", environment=server.environment)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    says = {finding["name"]: (finding["state"], finding["says"]) for finding in report["findings"]}
    assert report["can_play"]
    state, text = says["JACK server"]
    assert state == "ok" and text.startswith("48000 Hz, blocks of 128")
    assert says["presets"][0] == says["onnxruntime"][0] == says["pedalboard"][0] == says["JACK library"][0] == "ok"
    assert "Jack" in says["MIDI"][1]
    done = python("-m", "neuralsynth", "doctor", "--json")
    assert done.returncode == (0 if json.loads(done.stdout)["can_play"] else 3)
    assert ("nothing can be heard" in done.stderr) == (done.returncode == 3)
