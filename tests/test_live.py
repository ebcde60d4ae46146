"""Live play with its real parts: an engine process on a JACK server, MIDI through JACK, takes, losses and returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from neuralsynth import render
from neuralsynth.audiofile import read_audio
from neuralsynth.engine import Engine, play_events
from neuralsynth.errors import DeviceError, PresetError
from neuralsynth.events import Event
from neuralsynth.hosts.midi_file import read_midi_file
from neuralsynth.hosts.midi_write import midi_file_bytes
from neuralsynth.live import engine_process, messages
from neuralsynth.live import session as session_module
from neuralsynth.live.clock_backend import ClockBackend
from neuralsynth.live.engine_process import EngineHost
from neuralsynth.live.handover import link_pair
from neuralsynth.live.messages import DeviceChoice
from neuralsynth.live.session import Choice, Session
from neuralsynth.live.setlist import load_set_list
from neuralsynth.live.shared import ChannelStates, Shared
from neuralsynth.patch import Patch
from neuralsynth.preset_sections import Envelope, Sound
from neuralsynth.storage import whole_file
from tests.jack_server import JackServer, n_open_files, require_jackd
from tests.players import CONTROL, NOTE_OFF, NOTE_ON, PROGRAM, Shelf

DEMO = Path(__file__).parents[1] / "presets" / "demo-tune.mid"
QUIET = DeviceChoice(audio="none")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("live"))
    shelf.preset("held", envelope=Envelope(release_seconds=0.02))
    shelf.preset("bright", sound=Sound(point="bright"), envelope=Envelope(release_seconds=0.02))
    return shelf


@pytest.fixture
def server(monkeypatch):
    require_jackd()
    with JackServer() as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        monkeypatch.setenv("JACK_NO_START_SERVER", "1")
        yield server


class Player:
    """A session that is polled all the time, as the command does."""

    def __init__(self, choice, take=None):
        self.session = Session(choice)
        self.news, self._is_over = [], False
        self.session.open(take)
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def _poll(self):
        while not self._is_over:
            self.session.poll()
            self.news += self.session.news()
            time.sleep(0.01)

    @property
    def meters(self):
        return self.session.shared.meters

    def wait_until(self, condition, seconds=20.0):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, (self.news, self.session.problems)
            time.sleep(0.01)

    def wait_blocks(self, n_blocks):
        blocks = self.meters.blocks
        self.wait_until(lambda: self.meters.blocks >= blocks + n_blocks)

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self._is_over = True
        self._thread.join()
        self.session.close()
        self.news += self.session.news()


def held(shelf, name="held"):
    return str(shelf.folder / f"{name}.toml")


# ---- JACK


def test_a_freewheeling_run_gives_the_samples_of_render(server, shelf, tmp_path):
    """A whole song through JACK's MIDI and audio ports, at the same samples."""
    from tests.jack_probe import Probe

    song = read_midi_file(DEMO)
    events = [event for event in song.events(48_000) if event.message[0] != 0xFF][:1500]
    events = [Event(event.sample - events[0].sample, event.message) for event in events]
    n_samples = min(events[-1].sample, 20 * 48_000)
    with Player(Choice(presets=(held(shelf),), midi="jack", device=DeviceChoice("jack"))):
        probe = Probe(server.name)
        try:
            probe.connect()
            began = time.monotonic()
            heard = probe.run(events, n_samples, freewheel=True)
            took = time.monotonic() - began
        finally:
            probe.close()
    path = tmp_path / "song.mid"
    with whole_file(path) as part:
        part.write_bytes(midi_file_bytes(events, 48_000, n_samples))
    expected = render(path, held(shelf), gain_db=0.0)[:, :n_samples]
    delay = server.block_size  # of the loop through the probe
    assert took < n_samples / 48_000
    np.testing.assert_array_equal(heard[:, delay:], expected[:, : n_samples - delay])


def test_a_note_at_the_jack_port_sounds_within_its_period(server, shelf):
    from tests.jack_probe import Probe

    with Player(Choice(presets=(held(shelf),), midi="jack", device=DeviceChoice("jack"))) as player:
        probe = Probe(server.name)
        try:
            probe.connect()
            onset = first_sound(offline(shelf, [Event(0, bytes([NOTE_ON, 60, 100]))], 4800))
            for offset in (0, 1, 77, 127, 128, 1000):
                for _ in range(20):  # where the server was late, a period is missing: that run says nothing
                    late = probe.xruns, player.meters.xruns
                    heard = probe.run([Event(offset, bytes([NOTE_ON, 60, 100]))], 4800)
                    silence(probe)  # meanwhile it is told whether it was late
                    if (probe.xruns, player.meters.xruns) == late:
                        break
                assert first_sound(heard) == offset + onset + server.block_size  # the loop through the probe
        finally:
            probe.close()


def silence(probe):
    """End what sounds; a server that is late may lose the message that says so."""
    for _ in range(20):
        heard = probe.run([Event(0, bytes([CONTROL, 120, 0]))], 4800)
        if not heard[:, 2400:].any():
            return
    raise AssertionError("it sounds on")


def offline(shelf, events, n_samples):
    return np.concatenate(list(play_events(Engine(Patch.load(held(shelf)), 48_000), events, n_samples)), axis=1)


def first_sound(audio):
    return int(np.flatnonzero(np.abs(audio).max(axis=0) > 1e-7)[0])


def test_twenty_deaths_of_the_server_leave_no_note_and_no_trace(server, shelf):
    with Player(Choice(presets=(held(shelf),), midi="jack", device=DeviceChoice("jack"))) as player:
        pid = player.session._process.pid  # noqa: SLF001
        trace = None
        for number in range(20):
            player.wait_until(lambda: player.meters.is_playing)
            player.session.send(bytes([NOTE_ON, 60, 100]))
            player.wait_until(lambda: player.meters.voices == 1)
            server.stop(signal.SIGKILL if number % 2 else signal.SIGTERM)
            player.wait_until(lambda: not player.meters.is_playing)
            server.start()
            player.wait_until(lambda: player.meters.is_playing or not server.is_alive)
            assert server.is_alive, server.output
            player.wait_blocks(3)
            assert player.meters.voices == 0
            if player.session._process.pid != pid:  # noqa: SLF001
                pid, trace = player.session._process.pid, None  # noqa: SLF001
            elif number > 1 and trace is None:
                trace = traces(pid)
        assert trace is None or traces(pid) == trace
        # libjack may hang when its server dies (by a lock that nobody holds); another engine plays on then.
        assert player.session.restarts == sum("the JACK library hangs" in text for text in player.news)
        assert player.session.restarts < 3, player.news
        assert player.session.problems == []
        assert sum("is gone" in text for text in player.news) == 20  # each told once


def test_a_server_that_returns_at_another_rate_is_played_at_that_rate(server, shelf):
    with Player(Choice(presets=(held(shelf),), midi="jack", device=DeviceChoice("jack"))) as player:
        player.wait_blocks(3)
        server.stop()
        player.wait_until(lambda: not player.meters.is_playing)
        server.sample_rate, server.block_size = 44_100, 256
        server.start()
        player.wait_until(lambda: player.meters.is_playing)
        player.session.send(bytes([NOTE_ON, 60, 100]))
        player.wait_until(lambda: player.meters.voices == 1)
        assert (player.meters.sample_rate, player.meters.block_size) == (44_100, 256)
        assert player.meters.faults == 0


def test_a_server_that_hangs_and_goes_on_is_played_by_another_engine(server, shelf):
    """What libjack still waits for cannot be ended in the process that it holds up."""
    with Player(Choice(presets=(held(shelf),), midi="jack", device=DeviceChoice("jack"))) as player:
        pid = player.session._process.pid  # noqa: SLF001
        player.session.send(bytes([NOTE_ON, 60, 100]))
        player.wait_until(lambda: player.meters.voices == 1)
        server.send(signal.SIGSTOP)
        player.wait_until(lambda: player.session.restarts > 0)
        time.sleep(4.0)  # the new one gives its first try up
        server.send(signal.SIGCONT)
        player.wait_until(lambda: player.meters.is_playing)
        assert player.session._process.pid != pid  # noqa: SLF001
        assert player.meters.voices == 0
        player.session.send(bytes([NOTE_ON, 60, 100]))
        player.wait_until(lambda: player.meters.voices == 1)
        assert player.session.problems == []
        assert any("the JACK library hangs" in text for text in player.news)
        assert player.session.restarts == 1


def traces(pid):
    """Threads and open files of a process."""
    return len(os.listdir(f"/proc/{pid}/task")), n_open_files(pid)


# ---- the engine process


def test_a_first_start_waits_for_the_compiler_and_says_so(shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # nothing is compiled yet
    monkeypatch.setattr(session_module, "START_SECONDS", 1.0)
    monkeypatch.setattr(session_module, "_LONG_SECONDS", 1.0)
    told = []
    session = Session(Choice(presets=(held(shelf),), midi="none", device=QUIET))
    try:
        session.open(tell=told.append)
        assert session.restarts == 0
        assert [text.split(":")[0] for text in told] == ["compiling the synthesizer for this machine"]
    finally:
        session.close()


def test_a_killed_engine_returns_silent_with_programs_and_controllers_where_they_were(shelf):
    with Player(Choice(presets=(held(shelf), held(shelf, "bright")), midi="none", device=QUIET)) as player:
        player.session.go_to(1)
        for message in ([CONTROL, 7, 33], [CONTROL, 64, 127], [NOTE_ON, 60, 100], [0xE0, 0, 96]):
            player.session.send(bytes(message))
        player.wait_until(lambda: player.meters.voices == 1)
        os.kill(player.session._process.pid, signal.SIGKILL)  # noqa: SLF001
        player.wait_until(lambda: player.session.restarts == 1)
        player.wait_until(lambda: player.meters.is_playing and player.meters.beats > 5)
        player.wait_blocks(5)
        assert player.meters.voices == 0
        assert [text for text in player.news if "ended unexpectedly (SIGKILL); it was started again" in text]
        replayed = player.session.shared.states.replay()
        assert {bytes([CONTROL, 7, 33]), bytes([PROGRAM, 1]), bytes([0xE0, 0, 96])} <= set(replayed)
        assert not any(message[:2] == bytes([CONTROL, 64]) for message in replayed)  # nobody holds that pedal
        player.session.send(bytes([NOTE_ON, 60, 100]))
        player.wait_until(lambda: player.meters.voices == 1)


def slow_engine(*arguments):
    """An engine process that takes its time to build an engine, as on a busy machine."""
    built = EngineHost._built  # noqa: SLF001

    def build(host, backend):
        time.sleep(2.5)
        return built(host, backend)

    EngineHost._built = build  # noqa: SLF001
    engine_process.run_engine(*arguments)


def test_an_engine_that_takes_its_time_to_begin_is_not_taken_for_dead(shelf, monkeypatch):
    monkeypatch.setattr(session_module, "run_engine", slow_engine)
    monkeypatch.setattr(session_module, "_DEAD_SECONDS", 1.0)
    with Player(Choice(presets=(held(shelf),), midi="none", device=QUIET)) as player:
        player.session.reload()
        player.wait_until(lambda: any("loaded again" in text for text in player.news))
        player.wait_until(lambda: player.meters.generation == 2)
        assert player.session.restarts == 0


def test_an_engine_that_hangs_is_started_anew(shelf, monkeypatch):
    monkeypatch.setattr(session_module, "_DEAD_SECONDS", 1.0)
    with Player(Choice(presets=(held(shelf),), midi="none", device=QUIET)) as player:
        os.kill(player.session._process.pid, signal.SIGSTOP)  # noqa: SLF001
        player.wait_until(lambda: player.session.restarts == 1)
        player.wait_until(lambda: any("it gave no sign" in text for text in player.news))
        player.wait_until(lambda: player.meters.is_playing and player.meters.generation == 2)


def test_an_engine_that_is_left_alone_ends(shelf):
    """Whoever kills the session leaves no sound behind."""
    code = f"""
import time
from neuralsynth.live.messages import DeviceChoice
from neuralsynth.live.session import Choice, Session
if __name__ == "__main__":
    session = Session(Choice(presets=({held(shelf)!r},), midi="none", device=DeviceChoice("none")))
    session.open()
    print(session._process.pid, flush=True)
    time.sleep(60)
"""
    file = shelf.folder / "session.py"
    file.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, text=True, env=environment) as session:
        pid = int(session.stdout.readline())
        session.kill()
    until = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class FakeDevice(ClockBackend):
    """A device that comes and goes when the test says so."""

    is_there = True

    def open(self):
        if not FakeDevice.is_there:
            raise DeviceError("no such device")
        super().open()
        FakeDevice.now = self


def test_a_thousand_losses_and_returns_leave_no_note_no_thread_and_no_file(shelf, monkeypatch):
    monkeypatch.setattr(engine_process, "make_backend", lambda *_: FakeDevice(48_000, 64))
    monkeypatch.setattr(engine_process.realtime, "prepare", lambda: None)
    monkeypatch.setattr(engine_process.realtime, "collect", lambda: None)
    shared = Shared.create()
    here, there = link_pair()
    host = EngineHost(shared, there, QUIET, poll_seconds=0.001, retry_seconds=0.0)
    runner = threading.Thread(target=run_to_the_end, args=(host,))
    runner.start()
    set_list = load_set_list([held(shelf)])
    for patch in set_list.patches():
        set_list.prepare(patch)
    here.send(messages.Play(1, set_list.start, set_list.programs))
    told, trace = [], None
    for number in range(1000):
        wait(lambda: shared.meters.is_playing)
        shared.keys.put(0, bytes([NOTE_ON, 60, 100]))
        wait(lambda: shared.meters.voices == 1)
        FakeDevice.is_there = number % 3 != 0
        FakeDevice.now.lose()
        wait(lambda: FakeDevice.is_there or not shared.meters.is_playing)
        FakeDevice.is_there = True
        blocks = shared.meters.blocks
        wait(
            lambda blocks=blocks: (
                shared.meters.is_playing and shared.meters.blocks > blocks + 1 and shared.meters.voices == 0
            )
        )
        while here.wait(0.0):
            told.append(here.receive())
        if number == 10:
            trace = traces(os.getpid())
    assert traces(os.getpid()) == trace
    assert sum(isinstance(message, messages.Lost) for message in told) == 1000
    here.send(messages.Quit())
    runner.join(10)
    assert not runner.is_alive()
    here.close()
    shared.close(remove=True)


def run_to_the_end(host):
    host.run()
    host.close()


def wait(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.0005)


# ---- presets


def test_directions_of_timbre_that_were_not_decoded_arrive_while_a_note_sounds(shelf):
    with Player(Choice(presets=(held(shelf),), midi="none", device=QUIET)) as player:
        n_before = player.session._sent[0]  # noqa: SLF001
        for message in ([NOTE_ON, 60, 100], [CONTROL, 74, 127]):
            player.session.send(bytes(message))
        player.wait_until(lambda: player.session._sent[0] > n_before)  # noqa: SLF001
        player.wait_blocks(10)
        assert player.meters.faults == 0
        assert player.meters.voices == 1


def test_a_preset_that_is_edited_is_heard_at_once_and_a_broken_one_changes_nothing(shelf, tmp_path):
    mine = Shelf(tmp_path)
    mine.preset("mine")
    path = tmp_path / "mine.toml"
    with Player(Choice(presets=(str(path),), midi="none", device=QUIET)) as player:
        generation = player.meters.generation
        edit(
            path,
            path.read_text() + "\n[envelope]\nattack_seconds = 0.5\n"
            if "[envelope]" not in path.read_text()
            else path.read_text(),
        )
        player.wait_until(lambda: player.meters.generation > generation)
        generation = player.meters.generation
        edit(path, "format_version = 1\nname = 3\n")
        player.wait_until(lambda: player.session.problems)
        assert "mine.toml" in player.session.problems[0]
        player.session.send(bytes([NOTE_ON, 60, 100]))
        player.wait_until(lambda: player.meters.voices == 1)
        assert player.meters.generation == generation


def edit(path, text):
    path.write_text(text)
    later = time.time() + 2
    os.utime(path, (later, later))


def test_program_changes_step_through_the_presets_and_fixed_channels_stay(shelf):
    set_list = load_set_list([held(shelf), held(shelf, "bright")], channels={3: held(shelf, "bright")})
    names = [step.name for step in set_list.steps]
    assert names == ["held", "bright"]
    assert set_list.programs.patch_for(0, (0, 0), 1).name == "bright"
    assert set_list.programs.patch_for(2, (0, 0), 0) is None
    assert set_list.programs.patch_for(0, (0, 0), 2) is None
    assert set_list.start[2].name == "bright"


def test_a_bank_is_a_set_list_in_its_own_order():
    set_list = load_set_list([], bank="general-midi")
    assert set_list.steps[0].name == set_list.start[0].name
    assert len(set_list.steps) > 30
    assert len(set_list.paths) > 30


# ---- takes and the command


def command(*arguments, timeout=60, **options):
    return subprocess.run(
        [sys.executable, "-m", "neuralsynth", "play", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, check=False, **options,
    )  # fmt: skip


def test_a_take_rendered_from_its_midi_is_the_take(shelf, tmp_path):
    path = tmp_path / "take.wav"
    rng = np.random.default_rng(3)
    with Player(Choice(presets=(held(shelf), held(shelf, "bright")), midi="none", device=QUIET), path) as player:
        for number in range(60):
            key = int(rng.integers(40, 80))
            player.session.send(bytes([NOTE_ON if number % 3 else NOTE_OFF, key, 100]))
            player.session.send(bytes([CONTROL, 1, number]))
            if number == 30:
                player.session.go_to(1)
            time.sleep(0.01)
        player.session.takes.end()
        player.wait_until(lambda: not player.session.takes.is_recording)
    assert any("recorded" in text for text in player.news)
    performance = tmp_path / "both.toml"
    performance.write_text(
        'format_version = 1\nname = "both"\n[channels]\ndefault = "held.toml"\n'
        '[[programs]]\nprogram = 1\npreset = "held.toml"\n[[programs]]\nprogram = 2\npreset = "bright.toml"\n'
    )
    for name in ("held.toml", "bright.toml", "held.onnx", "held.check.npz"):
        (tmp_path / name).write_bytes((shelf.folder / name).read_bytes())
    heard, rate = read_audio(path)
    again = render(path.with_suffix(".mid"), programs=performance, gain_db=0.0, sample_rate=rate)
    assert heard.shape[1] > 0.5 * rate
    np.testing.assert_allclose(heard, again[:, : heard.shape[1]], atol=2.0**-23)  # 24 bits


def test_the_command_records_and_reports(shelf, tmp_path):
    done = command(
        "--audio",
        "none",
        "--midi",
        "none",
        "--seconds",
        0.5,
        "-p",
        held(shelf),
        "--json",
        "--record",
        tmp_path / "x.wav",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sample_rate"] == 48_000
    assert 0.5 <= report["seconds"] < 5
    assert "nothing was played" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["-p", "no-such-preset"], 2, "no-such-preset"),
        (["--audio", "no such device"], 3, "no such device"),
        (["--audio", "jack"], 3, "doctor"),
        (["--record", "/nowhere/x.wav"], 3, "/nowhere"),
        (["--record", "x.mp3"], 2, ".wav"),
        (["--bank", "general-midi", "-p", "cello"], 2, "--bank"),
        (["--block", "7"], 2, "16"),
        (["--seconds", "nan"], 2, "nan"),
        (["--channel", "17=cello"], 2, "17=cello"),
    ],
)
def test_what_cannot_be_played_is_told_in_a_line(arguments, code, says, monkeypatch):
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "no-such-server")
    done = command("--midi", "none", "--seconds", 1, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert len(done.stderr) <= 301


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_session_finishes_its_take(shelf, tmp_path, number):
    path = tmp_path / "take.wav"
    run = [
        sys.executable,
        "-m",
        "neuralsynth",
        "play",
        "--audio",
        "none",
        "--midi",
        "none",
        "--plain",
        "--record",
        path,
        "-p",
        held(shelf),
    ]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "voices" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert "nothing was recorded" in process.stdout.read()
        assert process.stderr.read() == ""


def test_states_give_what_brings_an_engine_to_where_it_was():
    states = ChannelStates(memoryview(bytearray(ChannelStates.N_BYTES)))
    states.clear()
    assert states.replay() == []
    for message in (
        [0xB2, 0, 1],
        [0xC2, 5],
        [0xB2, 101, 0],
        [0xB2, 100, 0],
        [0xB2, 6, 12],
        [0xB2, 11, 9],
        [0xD2, 3],
        [0xB2, 123, 0],
    ):
        states.observe(bytes(message))
    assert states.replay() == [
        bytes(m)
        for m in (
            [0xB2, 0, 1],
            [0xC2, 5],
            [0xB2, 0, 1],
            [0xB2, 11, 9],
            [0xB2, 101, 0],
            [0xB2, 100, 0],
            [0xB2, 6, 12],
            [0xD2, 3],
        )
    ]
    states.observe(bytes([0xFF]))
    assert states.replay() == []


def test_a_preset_that_is_wrong_is_told_before_anything_sounds(shelf):
    session = Session(Choice(presets=("no-such-preset",), midi="none", device=QUIET))
    with pytest.raises(PresetError):
        session.open()
    session.close()
