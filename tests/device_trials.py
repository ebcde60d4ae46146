"""Scenes with real devices, each in a process of its own: `python -m tests.device_trials NAME` prints what happened.

libjack and PortAudio may crash or hang the process they are in; then one test fails, and says so.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import jack
import numpy as np

from neuralsynth.errors import DeviceError
from neuralsynth.live.devices import make_backend
from neuralsynth.live.jack_backend import JackBackend
from neuralsynth.live.jack_client import jack_server
from neuralsynth.live.jack_patchbay import Patchbay
from tests.jack_server import JackServer, n_open_files, until

TRIALS = {}


def trial(function):
    TRIALS[function.__name__] = function
    return function


def silence(n, began_ns, events):
    return np.zeros((2, n), np.float32)


def opened(process=silence, **options):
    backend = JackBackend(**options)
    backend.open()
    backend.start(process)
    return backend


def message_of(call):
    try:
        call()
    except DeviceError as error:
        return str(error)
    return None


def seconds_of(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


@trial
def freewheel():
    """A probe writes notes at known frames into `midi_in` and records what comes back."""
    n_notes, n_blocks = 60, 400
    random_ = random.Random(5)
    notes = {frame: 1 + index for index, frame in enumerate(sorted(random_.sample(range(128, 300 * 128), n_notes)))}
    blocks, seen = set(), []

    def clicks(n, began_ns, events):
        blocks.add(n)
        audio = np.zeros((2, n), np.float32)
        for offset, message in events:
            seen.append(type(message).__name__)
            audio[:, offset] = message[2] / 127, -message[2] / 127
        return audio

    backend = opened(clicks, connect=False)
    probe = jack.Client("probe", no_start_server=True)
    midi_out = probe.midi_outports.register("out")
    ears = [probe.inports.register(name) for name in ("left", "right")]
    heard, recording, done = [], threading.Event(), threading.Event()

    @probe.set_process_callback
    def record(n):
        midi_out.clear_buffer()
        if not recording.is_set() or done.is_set():
            return
        start = len(heard) * n
        for frame in range(start, start + n):
            if frame in notes:
                midi_out.write_midi_event(frame - start, bytes([0x90, 60, notes[frame]]))
        heard.append(np.array([ear.get_array() for ear in ears]))
        if len(heard) == n_blocks:
            done.set()

    with probe:
        own = backend.client_name
        probe.connect(midi_out, f"{own}:midi_in")
        probe.connect(f"{own}:out_1", ears[0])
        probe.connect(f"{own}:out_2", ears[1])
        probe.set_freewheel(True)
        was_freewheeling = until(lambda: backend.is_freewheeling)
        recording.set()
        finished = done.wait(20)
        probe.set_freewheel(False)
        came_back = until(lambda: not backend.is_freewheeling)
    audio = np.concatenate(heard, axis=1)
    delays = set()
    for frame, velocity in notes.items():
        (at,) = np.flatnonzero(audio[0] == np.float32(velocity / 127))
        delays.add(int(at) - frame)
    result = {
        "finished": finished,
        "freewheeling": [was_freewheeling, came_back],
        "blocks": sorted(blocks),
        "delays": sorted(delays),
        "clicks": [int(np.count_nonzero(channel)) for channel in audio],
        "opposite": bool(np.array_equal(audio[0], -audio[1])),
        "types": sorted(set(seen)),
        "lost": backend.is_lost,
        "faults": backend.faults,
    }
    backend.close()
    return result


@trial
def began():
    """Ages of blocks when they are asked for, in periods."""
    ages = []

    def note(n, began_ns, events):
        ages.append((time.monotonic_ns() - began_ns) * 1e-9 * 48_000 / n)
        return np.zeros((2, n), np.float32)

    backend = opened(note)
    until(lambda: len(ages) >= 100)
    backend.close()
    return {"lowest": min(ages), "median": float(np.median(ages))}


@trial
def block_sizes():
    """The server changes to smaller blocks, back, and to larger ones."""
    blocks = []

    def note(n, began_ns, events):
        blocks.append(n)
        return np.zeros((2, n), np.float32)

    backend = opened(note)
    changer = jack.Client("changer", no_start_server=True)
    before, lost, seen = changer.blocksize, [], []
    try:
        for size in (before // 2, before, before * 2):
            changer.blocksize = size
            until(lambda size=size: backend.is_lost or blocks[-1:] == [size], 3)
            lost.append(backend.is_lost)
            seen.append(blocks[-1] / before)
        backend.close()
        again = opened()
        reopened = again.block_size / before
        again.close()
    finally:
        changer.blocksize = before
        changer.close()
    return {"lost": lost, "seen": seen, "reopened": reopened}


@trial
def failing_process():
    """`process` raises at every second block."""
    count = [0]

    def fail(n, began_ns, events):
        count[0] += 1
        if count[0] % 2:
            raise ValueError("a planted bug")
        return np.ones((2, n), np.float32)

    backend = opened(fail)
    until(lambda: count[0] >= 50)
    result = {"faults": backend.faults, "calls": count[0], "lost": backend.is_lost}
    backend.close()
    return result


@trial
def no_server():
    os.environ["JACK_DEFAULT_SERVER"] = "neuralsynth-nobody"
    return {"server": jack_server(), "message": message_of(JackBackend().open)}


class Others:
    """Another program, with an audio input and a MIDI output."""

    def __init__(self):
        self.client = jack.Client("others", no_start_server=True)
        self.client.inports.register("in")
        self.client.midi_outports.register("keys")
        self.client.activate()


@trial
def seen():
    """Another program connects our port at the moment it sees it, while the engine takes its time."""
    others, backend = Others(), JackBackend()
    refused = []

    def connect_at_once():
        until(lambda: others.client.get_ports("midi_in$"))
        try:
            others.client.connect("others:keys", f"{backend.client_name}:midi_in")
        except jack.JackError as error:
            refused.append(str(error))

    watcher = threading.Thread(target=connect_at_once)
    watcher.start()
    backend.open()
    time.sleep(0.3)
    backend.start(silence)
    watcher.join()
    result = {"refused": refused, "connected": until(lambda: standing(backend.client_name)["midi_in"] != [])}
    backend.close()
    others.client.close()
    return result


@trial
def speakers():
    """A sound card that is switched on when we play already."""
    to_speakers, Patchbay.to_speakers = Patchbay.to_speakers, lambda _: []
    backend = opened()
    before = backend.connections
    Patchbay.to_speakers = to_speakers
    until(lambda: len(backend.connections) == 2)
    until(lambda: len(standing(backend.client_name)["out_2"]) == 1)
    result = {"before": before, "after": backend.connections, "standing": standing(backend.client_name)}
    backend.close()
    return result


@trial
def death():
    """The server dies by a signal; a new one comes, and the other program after us."""
    with JackServer() as server:
        os.environ.update(server.environment)
        return {name: die_and_return(server, getattr(signal, name)) for name in ("SIGKILL", "SIGTERM")}


def standing(client_name):
    """Connections of that client, as another one sees them."""
    watcher = jack.Client("watcher", no_start_server=True)
    ports = watcher.get_ports(f"^{client_name}:")
    found = {port.shortname: [other.name for other in watcher.get_all_connections(port)] for port in ports}
    watcher.close()
    return found


def die_and_return(server, number):
    others, backend = Others(), opened()
    automatic, own = backend.connections, backend.client_name
    others.client.disconnect(f"{own}:out_2", "system:playback_2")
    others.client.connect(f"{own}:out_2", "others:in")
    others.client.connect("others:keys", f"{own}:midi_in")
    until(lambda: len(backend.connections) == 3)
    before = backend.connections
    began = time.monotonic()
    server.stop(number)
    lost = until(lambda: backend.is_lost)
    lost_seconds = time.monotonic() - began
    close_seconds = seconds_of(backend.close)
    others.client.close()
    kept, refused = backend.connections, message_of(JackBackend().open)
    server.start()
    again = opened(connections=kept)
    at_once, remembered = standing(again.client_name), again.connections
    others = Others()
    complete = until(lambda: again.connections and all(standing(again.client_name).values()))
    result = {
        "automatic": automatic,
        "before": before,
        "lost": lost,
        "lost_seconds": lost_seconds,
        "close_seconds": close_seconds,
        "kept": kept,
        "refused": refused,
        "at_once": at_once,
        "remembered": remembered,
        "complete": complete,
        "later": standing(again.client_name),
    }
    again.close()
    again.close()
    others.client.close()
    return result


def belongings():
    gc.collect()
    return threading.active_count(), n_open_files(), len(os.listdir("/proc/self/task"))


@trial
def deaths(times=20):
    """Many servers die under us."""
    owned, lost = [], 0
    with JackServer() as server:
        os.environ.update(server.environment)
        for _ in range(times + 1):
            backend = opened()
            server.stop(signal.SIGKILL)
            lost += until(lambda backend=backend: backend.is_lost, 5)
            backend.close()
            server.start()
            owned.append(belongings())
    return {"lost": lost, "first": owned[0], "last": owned[-1]}


@trial
def hang():
    """The server lives, but does nothing any more."""
    with JackServer() as server:
        os.environ.update(server.environment)
        backend = opened()
        server.send(signal.SIGSTOP)
        lost_seconds = seconds_of(lambda: until(lambda: backend.is_lost))
        result = {
            "lost": backend.is_lost,
            "lost_seconds": lost_seconds,
            "connections": backend.connections,
            "close_seconds": seconds_of(backend.close),
        }
        began = time.monotonic()
        result["message"] = message_of(JackBackend().open)
        result["open_seconds"] = time.monotonic() - began
        print(json.dumps(result), flush=True)
        server.stop(
            signal.SIGKILL
        )  # calls that were given up go on now; libjack may end a thread that has the interpreter
        os._exit(0)


@trial
def choice():
    """What is meant by "auto", and that a process that ends without closing ends well."""
    backends = [make_backend(name) for name in ("auto", "jack", "none", "portaudio", "nosuch")]
    backends[0].open()
    backends[0].start(silence)
    return [backend.name for backend in backends]


@trial
def portaudio():
    """Blocks through PortAudio's JACK host API: it is there because the server ran before the import."""
    from neuralsynth.live.portaudio_backend import PortAudioBackend, portaudio_devices

    blocks = []

    def note(n, began_ns, events):
        blocks.append(n)
        return np.full((2, n), 0.25, np.float32)

    names = [device.full_name for device in portaudio_devices()]
    backend = PortAudioBackend("system", block_size=64)
    counts = []
    for _ in range(3):  # opened again: PortAudio is initialised anew
        blocks.clear()
        backend.open()
        backend.start(note)
        until(lambda: len(blocks) >= 50)
        counts.append(len(blocks))
        backend.close()
    result = {
        "names": names,
        "counts": counts,
        "blocks": sorted(set(blocks)),
        "sample_rate": backend.sample_rate,
        "device": backend.device,
        "lost": backend.is_lost,
        "faults": backend.faults,
        "unknown": message_of(PortAudioBackend("nosuch").open),
        "refused_rate": message_of(PortAudioBackend("system", sample_rate=12_345).open),
    }
    backend.close()
    return result


@trial
def portaudio_death():
    """The server behind PortAudio dies."""
    from neuralsynth.live.portaudio_backend import PortAudioBackend

    with JackServer() as server:
        os.environ.update(server.environment)
        backend = PortAudioBackend()
        backend.open()
        backend.start(silence)
        time.sleep(0.2)
        server.stop(signal.SIGKILL)
        lost_seconds = seconds_of(lambda: until(lambda: backend.is_lost))
        result = {"lost": backend.is_lost, "lost_seconds": lost_seconds, "close_seconds": seconds_of(backend.close)}
        result["message"] = message_of(PortAudioBackend().open)
    return result


CARD = """{
    factory.name = support.null-audio-sink  node.name = speakers  media.class = Audio/Sink  audio.position = [ FL FR ]
    object.linger = true
}"""


@trial
def pipewire_notes():
    """Notes at known frames, by a probe of our own."""
    from neuralsynth.events import Event
    from tests.jack_probe import Probe

    def clicks(n, began_ns, events):
        audio = np.zeros((2, n), np.float32)
        for offset, message in events:
            audio[:, offset] = message[2] / 127
        return audio

    backend = opened(clicks)
    until(lambda: len(backend.connections) == 2)  # PipeWire tells of them later
    connections = backend.connections
    probe = Probe()
    probe.connect()
    frames = sorted(random.Random(6).sample(range(24_000), 40))
    until(lambda: probe.run([Event(0, bytes([0x90, 60, 127]))], 4_800).any())  # connections take a moment
    for _ in range(3):  # a busy machine may be late for a block of 128 samples, which then is not played
        heard = probe.run([Event(at, bytes([0x90, 60, 1 + i])) for i, at in enumerate(frames)], 28_800)[0]
        found = [np.flatnonzero(heard == np.float32((1 + i) / 127)) for i in range(len(frames))]
        if all(map(len, found)):
            break
    result = {
        "connections": connections,
        "block_size": backend.block_size,
        "delays": [int(at[0]) - frame if len(at) else None for at, frame in zip(found, frames, strict=True)],
    }
    backend.close()
    return result


@trial
def pipewire_anew():
    """The sound card goes and comes back; its ports are made anew in a moment; somebody takes a connection apart."""
    make, destroy = ["pw-cli", "create-node", "adapter", CARD], ["pw-cli", "destroy", "speakers"]
    backend, watcher = opened(), jack.Client("watcher", no_start_server=True)
    watcher.activate()
    own = backend.client_name
    found = []

    def stand():  # asked for seldom: connections are looked at when nothing has changed for a while
        backend.connections  # noqa: B018 - as the engine does all the time
        time.sleep(0.1)
        return all(watcher.get_all_connections(f"{own}:out_{n}") for n in (1, 2))

    def pw_cli(command):
        subprocess.run(command, check=True, capture_output=True, timeout=10)

    found.append(until(stand))
    pw_cli(destroy)
    until(lambda: not watcher.get_ports("speakers:"))
    time.sleep(1)
    found.append(backend.connections)
    pw_cli(make)
    found.append(until(stand))
    time.sleep(1)
    pw_cli(destroy)
    pw_cli(make)
    time.sleep(1)
    found.append(until(stand))
    found.append(not until(lambda: not stand(), 1))
    found.append(until(lambda: is_disconnected(watcher, f"{own}:out_2", "speakers:playback_FR")))
    until(stand, 3)  # nobody makes it again
    found.append(backend.connections)
    backend.close()
    return found


def is_disconnected(client, source, destination):
    with contextlib.suppress(jack.JackError):
        client.disconnect(source, destination)
    return all(port.name != destination for port in client.get_all_connections(source))


def is_connected(client, source, destination):
    """Whether two ports are connected; one that the session manager has just made may refuse."""
    with contextlib.suppress(jack.JackError):
        client.connect(source, destination)
    return any(port.name == destination for port in client.get_all_connections(source))


def beside(block_size):
    """Another program plays already, in blocks of its own."""
    wished = os.environ.pop("PIPEWIRE_QUANTUM")
    os.environ["PIPEWIRE_QUANTUM"] = f"{block_size}/48000"
    other = jack.Client("other", no_start_server=True)
    other.set_process_callback(lambda _: None)
    other.outports.register("out")
    other.activate()
    until(lambda: is_connected(other, "other:out", "speakers:playback_FL"))
    time.sleep(0.5)
    os.environ["PIPEWIRE_QUANTUM"] = wished
    blocks = []

    def note(n, began_ns, events):
        blocks.append(n)
        return np.zeros((2, n), np.float32)

    backend = opened(note)
    until(lambda: len(blocks) > 20, 3)
    result = {
        "block_size": backend.block_size,
        "blocks": sorted(set(blocks)),
        "lost": backend.is_lost,
        "faults": backend.faults,
    }
    backend.close()
    return result


@trial
def pipewire_beside_1024():
    return beside(1024)


@trial
def pipewire_beside_128():
    return beside(128)


if __name__ == "__main__":
    found = TRIALS[sys.argv[1]]()
    print(json.dumps(found), flush=True)
    if sys.argv[1].startswith("pipewire"):  # which may not return when a client is closed
        os._exit(0)  # callbacks of the client that could not be closed would meet an interpreter that has ended
