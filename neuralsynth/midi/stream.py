"""Bytes as they come over a wire to whole MIDI 1.0 messages.

A wire knows what a file does not: running status across chunks, real-time bytes in the middle of another message, and
`FF` as a message of its own (System Reset; in a file it begins a meta event).
"""

from __future__ import annotations

from collections.abc import Iterable

from neuralsynth.events import DATA_LENGTH

MAX_SYSEX_BYTES = 64 << 10
SYSEX, SYSEX_END, REAL_TIME = 0xF0, 0xF7, 0xF8
_UNDEFINED_REAL_TIME = frozenset({0xF9, 0xFD})
_ONE_BYTE = [bytes([byte]) for byte in range(256)]
#: Bytes of a message by its status, below the real-time ones. What is missing is undefined and carries nothing.
_LENGTHS = {
    **{status: 1 + DATA_LENGTH[status & 0xF0] for status in range(0x80, SYSEX)},
    0xF1: 2,
    0xF2: 3,
    0xF3: 2,
    0xF6: 1,  # quarter frame, song position, song select, tune request
}


class MessageStream:
    """One wire: bytes in, in chunks of any size; whole messages out, status byte first and exclusive messages whole.

    Real-time messages come out at once, also from inside another message. Data without a status and undefined statuses
    are passed over. `dropped` counts messages that were begun and not finished, and exclusive ones over the limit.
    """

    def __init__(self, max_sysex_bytes: int = MAX_SYSEX_BYTES) -> None:
        """Begin without a running status; an exclusive message may have `max_sysex_bytes`, F0 and F7 included."""
        self.dropped = 0
        self._max_sysex_bytes = max_sysex_bytes
        self._message = bytearray()  # as far as it has come
        self._status = 0  # of the message, or running
        self._length = 0  # at which the message is whole; 0 while data bytes mean nothing

    def feed(self, data: Iterable[int]) -> list[bytes]:
        """The messages that end within `data`, in order."""
        found: list[bytes] = []
        for byte in data:
            if byte < 0x80:
                if self._length:
                    self._add(byte, found)
            elif byte < REAL_TIME:
                self._begin(byte, found)
            elif byte not in _UNDEFINED_REAL_TIME:
                found.append(_ONE_BYTE[byte])
        return found

    def _add(self, byte: int, found: list[bytes]) -> None:
        message = self._message
        if not message:
            message.append(self._status)
        message.append(byte)
        if len(message) < self._length:
            return
        if self._status == SYSEX:
            self.dropped += 1
        else:
            found.append(bytes(message))
        message.clear()
        if self._status >= SYSEX:  # only channel messages have a running status
            self._length = 0

    def _begin(self, status: int, found: list[bytes]) -> None:
        message = self._message
        if status == SYSEX_END and message and self._status == SYSEX:
            found.append(bytes(message) + b"\xf7")
        elif message:
            self.dropped += 1
        message.clear()
        self._status = status
        self._length = self._max_sysex_bytes if status == SYSEX else _LENGTHS.get(status, 0)
        if self._length == 1:
            found.append(_ONE_BYTE[status])
            self._length = 0
        elif self._length:
            message.append(status)


def is_message(message: bytes) -> bool:
    """Whether these bytes are one whole message as a wire carries it."""
    return MessageStream().feed(message) == [message]
