"""How the session and the engine talk: Python objects over a socket, large arrays straight into their place.

Only the two processes of one session hold the ends of the socket, so what arrives was made by this program (pickle
would not do for anything else). Reading into an array's own memory keeps Python's lock free while tens of megabytes
come in: the audio callback runs on.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct

import numpy as np

_HEAD = struct.Struct("<QI")  # bytes of the pickle, number of arrays
_LENGTH = struct.Struct("<Q")


class Link:
    """One end of the connection. Each end is used by one thread."""

    def __init__(self, end: socket.socket) -> None:
        """Take over an end of a `socket.socketpair`."""
        self._socket = end
        end.setblocking(True)

    def __getstate__(self) -> socket.socket:
        """Travels to a child process that is being started."""
        return self._socket

    def __setstate__(self, end: socket.socket) -> None:
        self.__init__(end)  # type: ignore[misc]

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send one object.

        Raises:
            OSError: the other end is gone.
        """
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
        self._socket.sendall(_HEAD.pack(len(data), len(views)) + lengths + data)
        for view in views:
            self._socket.sendall(view)

    def wait(self, seconds: float) -> bool:
        """Whether something arrives within that time, the end of the connection included."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def receive(self) -> object:
        """The next object; waits for it.

        Raises:
            EOFError: the other end is gone.
        """
        n_data, n_views = _HEAD.unpack(self._read(_HEAD.size))
        lengths = self._read(_LENGTH.size * n_views)
        data = self._read(n_data)
        return pickle.loads(data, buffers=[self._read(length) for (length,) in _LENGTH.iter_unpack(lengths)])  # noqa: S301

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self, n_bytes: int) -> memoryview:
        memory = memoryview(np.empty(n_bytes, np.uint8))  # type: ignore[arg-type]
        done = 0
        while done < n_bytes:
            try:
                n = self._socket.recv_into(memory[done:])
            except OSError as error:
                raise EOFError from error
            if n == 0:
                raise EOFError
            done += n
        return memory


def link_pair() -> tuple[Link, Link]:
    """Two connected ends."""
    one, other = socket.socketpair()
    return Link(one), Link(other)
