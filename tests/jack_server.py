"""A real JACK server with a dummy device, under a name of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SAMPLE_RATE, BLOCK_SIZE = 48_000, 128
READY_SECONDS = 20
SETTLE_SECONDS = 0.1  # a server that just starts, or that a client leaves at this moment, refuses others
N_NAMES = 4
#: Clients on a loaded machine are not thrown out for being late; but one that is killed holds the others up for so long.
CLIENT_TIMEOUT_MS = 5000
REGISTRY, REGISTRY_HEAD_BYTES = Path("/dev/shm/jack-shm-registry"), 4096  # noqa: S108 - JACK's own place
REGISTERED = re.compile(rb"(.{4})jack-\d+:(neuralsynth-test-[\w-]+):\0", re.DOTALL)  # process and name


def require_jackd():
    """Skip without jackd, but not in CI: there its absence is a failure."""
    if shutil.which("jackd") is None and not os.environ.get("CI"):
        pytest.skip("jackd is not installed (Debian: apt install jackd2)")


class JackServer:
    """A server under a name that no other process uses meanwhile. It can be started, ended and started again.

    JACK's registry in shared memory has eight places for server names, and a killed server keeps its place until one of
    the same name comes. So the names are few, and a lock on a file says which are taken.
    """

    def __init__(self, sample_rate=SAMPLE_RATE, block_size=BLOCK_SIZE, client_timeout_ms=CLIENT_TIMEOUT_MS):
        self.sample_rate, self.block_size = sample_rate, block_size
        self._client_timeout_ms = client_timeout_ms
        self.log = ""  # what it printed until it ended
        self._jackd = self._output = None
        self.name, self._lock = _take_name()

    @property
    def environment(self):
        """For processes that shall meet this server."""
        return {**os.environ, "JACK_DEFAULT_SERVER": self.name, "JACK_NO_START_SERVER": "1"}

    def start(self):
        """Start it and wait until it answers."""
        for _ in range(5):
            if self._started():
                return
            if "Too many servers" in self.log:
                _free_places()
            elif "already active" in self.log:  # one that was killed, until somebody has noticed
                time.sleep(1.0)
            else:
                break
        raise RuntimeError(f"jackd does not start: {self.log}")

    def _started(self):
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._jackd, self._output = self._run(output), output
        end = time.monotonic() + READY_SECONDS
        time.sleep(SETTLE_SECONDS)
        while not self.is_running or self._jackd.poll() is not None:
            if self._jackd.poll() is not None or time.monotonic() > end:
                self.stop()
                return False
            time.sleep(SETTLE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        return True

    def _run(self, output):
        return _jackd(self.name, self.sample_rate, self.block_size, output, self._client_timeout_ms)

    @property
    def is_running(self):
        """Whether it answers."""
        command = [shutil.which("jack_wait"), "-c"]
        asked = subprocess.run(command, env=self.environment, capture_output=True, check=False, timeout=30)
        return asked.stdout.startswith(b"running")

    @property
    def is_alive(self):
        """Whether its process runs."""
        return self._jackd is not None and self._jackd.poll() is None

    @property
    def output(self):
        """What it printed so far."""
        return os.pread(self._output.fileno(), 1 << 16, 0).decode(errors="replace")

    def send(self, number):
        """Send it a signal: SIGKILL, SIGSTOP, SIGCONT."""
        self._jackd.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """End it, with SIGKILL as by a crash."""
        if self._jackd is None:
            return
        if self._jackd.poll() is None:
            self._jackd.send_signal(number)
        try:
            self._jackd.wait(10)
        except subprocess.TimeoutExpired:
            self._jackd.kill()
            self._jackd.wait(10)
        self._output.seek(0)
        self.log = self._output.read().decode(errors="replace")
        self._output.close()
        self._jackd = None

    def give_back(self):
        """Let others have the name."""
        self._lock.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *problem):
        self.stop()
        self.give_back()


def _jackd(name, sample_rate, block_size, output, client_timeout_ms):
    # It ends with the process that started it.
    with_us = "setpriv --pdeathsig KILL " if shutil.which("setpriv") else ""
    return subprocess.Popen(
        f"{with_us}jackd -n {name} -t {client_timeout_ms} -d dummy -r {sample_rate} -p {block_size}".split(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, "JACK_NO_AUDIO_RESERVATION": "1"},
        start_new_session=True,
    )


def _free_places():
    """Free places that killed servers of tests keep: a server of the same name takes it, and ends in order."""
    for found in REGISTERED.finditer(REGISTRY.read_bytes()[:REGISTRY_HEAD_BYTES]):
        (pid,) = struct.unpack("=i", found[1])
        if not Path(f"/proc/{pid}").exists():
            jackd = _jackd(found[2].decode(), SAMPLE_RATE, BLOCK_SIZE, subprocess.DEVNULL, CLIENT_TIMEOUT_MS)
            time.sleep(0.5)
            jackd.terminate()
            try:
                jackd.wait(10)
            except subprocess.TimeoutExpired:
                jackd.kill()
                jackd.wait(10)


def _take_name():
    """A name and the open file that keeps it for us; waits until one is free."""
    while True:
        for number in range(N_NAMES):
            lock = (Path(tempfile.gettempdir()) / f"neuralsynth-jack-{number}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
            else:
                return f"neuralsynth-test-{number}", lock
        time.sleep(0.1)


def n_open_files(process="self"):
    """How many files a process holds open, without the semaphore of `jack_wait`, by which we ask for the server.

    The library opens the semaphores of all clients, and keeps that of one that came and went while it opened ours.
    """
    files = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the folder itself, while it was read
            files.append(str(file.readlink()))
    return sum(not re.search(r"jack_sem.*_wait\b", file) for file in files)


def until(condition, seconds=10.0):
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
