"""A JACK server without sound hardware, for tests of live play."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

READY_SECONDS = 15
STOP_SECONDS = 15  # it waits for clients that were killed just before
CLIENT_TIMEOUT_MILLISECONDS = 500  # a client that is killed holds the whole server up for as long

#: For tests that need one. On the build server JACK must be there.
needs_jackd = pytest.mark.skipif(
    shutil.which("jackd") is None and not os.environ.get("CI"), reason="jackd is not installed (apt install jackd2)"
)


class JackServer:
    """`jackd` with the dummy driver. `environment` leads clients to it."""

    def __init__(self, name: str, rate: int, period: int) -> None:
        self.name, self._rate, self._period = name, rate, period
        self.environment = {**os.environ, "JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
        self._process: subprocess.Popen | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and neither killed nor stopped."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [
            "-n",
            self.name,
            "-t",
            str(CLIENT_TIMEOUT_MILLISECONDS),
            "-d",
            "dummy",
            "-r",
            str(self._rate),
            "-p",
            str(self._period),
        ]
        self._process = subprocess.Popen(
            ["jackd", *options],  # noqa: S607
            env={**self.environment, "JACK_NO_AUDIO_RESERVATION": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait = ["jack_wait", "-s", self.name, "-w", "-t", str(READY_SECONDS)]
        told = subprocess.run(wait, env=self.environment, capture_output=True, text=True, timeout=2 * READY_SECONDS)
        assert "is available" in told.stdout, f"jackd did not start: {told.stdout}{told.stderr}"

    def kill(self) -> None:
        """End it without a warning to anybody.

        It keeps one of the eight places that JACK has for servers until one of the same name has ended in good order.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it in good order."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
            self._process = None
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def jack_server(name: str, rate: int = 48_000, period: int = 128) -> Iterator[JackServer]:
    """A running server of that name; give each test process a name of its own."""
    server = JackServer(name, rate, period)
    try:
        server.start()
        yield server
    finally:
        if not server.is_running:
            server.start()
        server.stop()
