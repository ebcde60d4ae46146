"""A real JACK server with a dummy device, under a name of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SAMPLE_RATE, BLOCK_SIZE = 48_000, 128
READY_SECONDS = 20
N_NAMES = 4


def require_jackd():
    """Skip without jackd, but not in CI: there its absence is a failure."""
    if shutil.which("jackd") is None and not os.environ.get("CI"):
        pytest.skip("jackd is not installed (Debian: apt install jackd2)")


class JackServer:
    """A server under a name that no other process uses meanwhile. It can be started, ended and started again.

    JACK's registry in shared memory has eight places for server names, and a killed server keeps its place until one of
    the same name comes. So the names are few, and a lock on a file says which are taken.
    """

    def __init__(self, sample_rate=SAMPLE_RATE, block_size=BLOCK_SIZE):
        self.sample_rate, self.block_size = sample_rate, block_size
        self._jackd = self._log = None
        self.name, self._lock = _take_name()

    @property
    def environment(self):
        """For processes that shall meet this server."""
        return {**os.environ, "JACK_DEFAULT_SERVER": self.name, "JACK_NO_START_SERVER": "1"}

    def start(self):
        """Start it and wait until it answers."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        # -t: clients on a loaded machine are not thrown out for being late.
        command = f"jackd -n {self.name} -t 5000 -d dummy -r {self.sample_rate} -p {self.block_size}"
        self._jackd = subprocess.Popen(
            command.split(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**self.environment, "JACK_NO_AUDIO_RESERVATION": "1"},
            start_new_session=True,
        )
        if not until(lambda: self._jackd.poll() is not None or self.is_running, READY_SECONDS) or not self.is_running:
            log = self.log()
            self.stop()
            raise RuntimeError(f"jackd does not start: {log}")

    @property
    def is_running(self):
        """Whether it answers."""
        command = [shutil.which("jack_wait"), "-c"]
        asked = subprocess.run(command, env=self.environment, capture_output=True, check=False, timeout=30)
        return asked.stdout.startswith(b"running")

    def log(self):
        """What the server printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

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
        self._log.close()
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


def until(condition, seconds=10.0):
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
