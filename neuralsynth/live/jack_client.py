"""Clients of a JACK server: made, asked and let go without ever hanging. The only module that imports `jack`."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from dataclasses import dataclass

from neuralsynth.errors import DeviceError, one_line
from neuralsynth.live.backend import StuckError
from neuralsynth.live.careful import quietly, within

ANSWER_SECONDS = 3.0  # a server that lives answers in milliseconds
TRIES, TRY_AGAIN_SECONDS = 5, 0.2
#: Clients whose closing has not come back.
_closing: set[int] = set()
NEXT = "or use --audio none or an audio device; `neuralsynth doctor` lists what is there"


@functools.cache
def import_jack():
    """Import `jack`, told to print nothing: there may be a terminal view on the screen.

    Raises:
        DeviceError: the JACK library is not installed.
    """
    try:
        import jack
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"the JACK library is not installed (Debian: apt install jackd2); install it, {NEXT}"
        ) from error
    jack.set_error_function(lambda _: None)
    jack.set_info_function(lambda _: None)
    return jack


@dataclass(frozen=True)
class JackServer:
    """What a running JACK server says of itself."""

    sample_rate: int
    block_size: int
    is_realtime: bool


def jack_server(server_name: str | None = None) -> JackServer | None:
    """The JACK server of that name (the default one without), None if none is running.

    Raises:
        DeviceError: the JACK library is not installed, or the server does not answer.
    """
    try:
        client = new_client("neuralsynth-probe", server_name)
    except _NoServerError:
        return None
    found = JackServer(client.samplerate, client.blocksize, client.realtime)
    let_go(client)
    return found


class _NoServerError(DeviceError):
    """Nobody answers at all."""


def is_pipewire() -> bool:
    """Whether the JACK library is the one of PipeWire."""
    return "PipeWire" in import_jack().version_string()


def new_client(client_name: str, server_name: str | None):
    """A client of the server of that name (the default one for None); no server is started.

    Raises:
        DeviceError: no JACK library, no server, or one that refuses or does not answer.
        StuckError: a client that was let go is still not closed; until it is, libjack lets nobody open another.
    """
    jack = import_jack()
    if _closing:
        raise StuckError(f"the JACK library hangs over a client of a server that is gone; start anew, {NEXT}")

    is_given_up = threading.Event()

    def connect():
        for tries_left in reversed(range(TRIES)):
            try:
                client = jack.Client(client_name, no_start_server=True, servername=server_name)
                if is_given_up.is_set():  # nobody waits for it any more: a server that hung goes on
                    client.close()
                return client
            except jack.JackOpenError as error:
                # A server that just starts, or that another client leaves at this moment, refuses new ones.
                if error.status.server_failed or error.status.version_error or not tries_left:
                    raise
                time.sleep(TRY_AGAIN_SECONDS)
        raise AssertionError

    try:
        with quietly():
            return within(ANSWER_SECONDS, connect)
    except TimeoutError as error:
        is_given_up.set()
        raise DeviceError(f"the JACK server does not answer; restart it, {NEXT}") from error
    except jack.JackOpenError as error:
        if error.status.version_error:
            raise DeviceError(
                f"the JACK server is of another version than the JACK library; install both from one source, {NEXT}"
            ) from error
        if not error.status.server_failed:
            reason = one_line(error.status, 80)
            raise DeviceError(f"the JACK server refuses us ({reason}); restart it, {NEXT}") from error
        raise _NoServerError(f"no JACK server is running; start one (jackd -d alsa -r 48000 -p 128), {NEXT}") from error


def let_go(client) -> None:
    """Close a client; one that does not return is left to its thread.

    Where a server dies libjack may wait for a lock that nobody holds any more, and so may all who come after.
    """
    _closing.add(id(client))

    def close() -> None:
        try:
            client.close()
        finally:
            _closing.discard(id(client))

    with contextlib.suppress(Exception):
        within(ANSWER_SECONDS, close)
