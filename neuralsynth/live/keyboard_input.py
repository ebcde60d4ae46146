"""`TerminalKeys`: single keys of the terminal, without echo and without waiting; the terminal is always put back."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from neuralsynth.live.key_parser import ESCAPE_SECONDS, FOCUS_OUT, KeyEvent, KeyParser

if sys.platform != "win32":
    import termios

_READ_BYTES = 4096
_ASK_KITTY = b"\x1b[?u"
#: Push flags 1 (unambiguous codes), 2 (kinds of event) and 8 (all keys, also those that write); tell the focus.
_START_KITTY = b"\x1b[>11u\x1b[?1004h"
_STOP_KITTY = b"\x1b[?1004l\x1b[<u"
_NO_KITTY_TERMINALS = ("", "dumb", "linux")
_IFLAG, _LFLAG, _CC = 0, 3, 6
_WINDOWS_STEP_SECONDS = 0.005
_WINDOWS_NAMES = {
    "H": "up", "P": "down", "K": "left", "M": "right", "G": "home", "O": "end", "I": "page-up", "Q": "page-down",
    "R": "insert", "S": "delete", "\x0f": "shift-tab",
}  # fmt: skip


def _nothing() -> None:
    pass


class PosixKeys:
    """Keys of a terminal, as a context manager; where there is none, no key ever comes.

    Ctrl-C is a key like others. Ctrl-Z stops the process as ever, at the next `poll`: `on_suspend` is called and the
    terminal put back before; it is set again and `on_resume` called when the process is in the foreground again. In
    the background nothing is read. All methods belong to one thread, the main thread where Ctrl-Z shall work.
    """

    def __init__(
        self,
        input_fd: int | None = None,
        output_fd: int | None = None,
        on_suspend: Callable[[], None] = _nothing,
        on_resume: Callable[[], None] = _nothing,
    ) -> None:
        """Read from `input_fd` and talk to the terminal on `output_fd`, by default stdin and stdout."""
        self._input = _number_of(sys.stdin) if input_fd is None else input_fd
        self._output = _number_of(sys.stdout) if output_fd is None else output_fd
        self._on_suspend, self._on_resume = on_suspend, on_resume
        self._parser = KeyParser()
        self._saved: list[Any] | None = None
        self._is_set = self._must_set = self._must_suspend = self._must_resume = False
        self._lost_keys: list[KeyEvent] = []
        self._handlers: dict[int, Any] = {}
        #: Whether the terminal tells when a key comes up.
        self.has_key_up = False

    @property
    def is_active(self) -> bool:
        """Whether there is a terminal to read from."""
        return self._saved is not None

    def __enter__(self) -> Self:
        """Keys come one by one from now on."""
        with contextlib.suppress(termios.error, OSError, ValueError):
            self._saved = termios.tcgetattr(self._input)
        if self._saved is not None:
            atexit.register(self._put_back)
            self._handle(signal.SIGTSTP, self._suspend_soon)
            self._handle(signal.SIGCONT, self._set_soon)
            if self._is_in_front():
                self._set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The terminal is as it was."""
        self._put_back()
        atexit.unregister(self._put_back)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._saved = None

    def poll(self, wait_seconds: float = 0.0) -> list[KeyEvent]:
        """Keys that came since the last call, in order; waits so long for the first one."""
        if self._must_suspend:
            self._suspend()
        if not self.is_active or not self._is_in_front():
            time.sleep(max(wait_seconds, 0.0))
            return []
        if self._must_set or not self._is_set:
            self._set()
        if self._must_resume:
            self._must_resume = False
            self._on_resume()
        data = self._read(wait_seconds)
        now_seconds = time.monotonic()
        events, self._lost_keys = self._lost_keys, []
        events += self._parser.feed(data, now_seconds) if data else self._parser.flush(now_seconds)
        if self._parser.knows_kitty and not self.has_key_up:
            self.has_key_up = True
            self._tell(_START_KITTY)
        if KeyEvent("ctrl-z") in events:
            os.killpg(os.getpgrp(), signal.SIGTSTP)  # as the terminal itself does without the kitty protocol
        return events

    def _read(self, wait_seconds: float) -> bytes:
        wait_seconds = min(wait_seconds, ESCAPE_SECONDS) if self._parser.n_waiting else wait_seconds
        try:
            if not select.select([self._input], [], [], max(wait_seconds, 0.0))[0]:
                return b""
            data = os.read(self._input, _READ_BYTES)
        except (OSError, ValueError):
            data = b""
        if not data:  # ready and empty: the terminal is gone
            self._saved = None
        return data

    def _set(self) -> None:
        """Keys singly, without echo, Ctrl-C and Ctrl-Q among them."""
        assert self._saved is not None
        mode = [*self._saved[:_CC], list(self._saved[_CC])]
        mode[_IFLAG] &= ~termios.IXON
        mode[_LFLAG] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
        mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
        with contextlib.suppress(termios.error, OSError, ValueError):
            mode[_CC][termios.VINTR] = bytes([os.fpathconf(self._input, "PC_VDISABLE") & 0xFF])
            termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
        self._is_set, self._must_set = True, False
        if not self.has_key_up and os.environ.get("TERM", "") not in _NO_KITTY_TERMINALS:
            self._tell(_ASK_KITTY)

    def _put_back(self) -> None:
        """The mode that the terminal had; keys that nobody has read are forgotten."""
        if not self._is_set or not self._is_in_front():
            return
        if self.has_key_up:
            self._tell(_STOP_KITTY)
        self.has_key_up, self._parser, self._is_set = False, KeyParser(), False
        if self._saved is not None:
            with contextlib.suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(self._input, termios.TCSAFLUSH, self._saved)

    def _handle(self, number: int, handler: Callable[..., None]) -> None:
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored where nobody could continue the process
            with contextlib.suppress(ValueError):  # only the main thread may
                self._handlers[number] = signal.signal(number, handler) or signal.SIG_DFL

    def _suspend(self) -> None:
        self._must_suspend = False
        self._on_suspend()
        self._put_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)  # goes on here when the process is continued
        signal.signal(signal.SIGTSTP, handler)
        self._lost_keys, self._must_resume = [KeyEvent(FOCUS_OUT)], True

    def _suspend_soon(self, *_: object) -> None:
        self._must_suspend = True

    def _set_soon(self, *_: object) -> None:
        self._must_set = True

    def _is_in_front(self) -> bool:
        """Whether the terminal is ours to read and set; one that does not control the process always is."""
        try:
            return os.tcgetpgrp(self._input) == os.getpgrp()
        except OSError:
            return True

    def _tell(self, text: bytes) -> None:
        if os.isatty(self._output):
            with contextlib.suppress(OSError):
                os.write(self._output, text)


def _number_of(stream: Any) -> int:
    """File descriptor of a stream, -1 if it has none."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


class WindowsKeys:
    """Keys of a Windows console, with the methods of `PosixKeys`. It never tells when a key comes up."""

    has_key_up = False

    def __init__(
        self,
        input_fd: int | None = None,
        output_fd: int | None = None,
        on_suspend: Callable[[], None] = _nothing,
        on_resume: Callable[[], None] = _nothing,
    ) -> None:
        """Read from the console; a Windows console has but one, and nothing is suspended there."""
        del input_fd, output_fd, on_suspend, on_resume
        self._console: Any = None
        self._parser = KeyParser()

    @property
    def is_active(self) -> bool:
        """Whether there is a console to read from."""
        return self._console is not None

    def __enter__(self) -> Self:
        """Keys come one by one from now on."""
        if os.isatty(_number_of(sys.stdin)):
            self._console = importlib.import_module("msvcrt")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No more keys."""
        self._console = None

    def poll(self, wait_seconds: float = 0.0) -> list[KeyEvent]:
        """Keys that came since the last call, in order; waits so long for the first one."""
        end_seconds = time.monotonic() + wait_seconds
        while not (self._console and self._console.kbhit()) and time.monotonic() < end_seconds:
            time.sleep(_WINDOWS_STEP_SECONDS)
        events: list[KeyEvent] = []
        while self._console and self._console.kbhit() and len(events) < _READ_BYTES:
            events += self._key(self._console.getwch())
        return events

    def _key(self, character: str) -> list[KeyEvent]:
        if character in {"\x00", "\xe0"}:  # the code of a key that writes nothing follows
            name = _WINDOWS_NAMES.get(self._console.getwch(), "")
            return [KeyEvent(name)] if name else []
        if character == "\x1b":
            return [KeyEvent("escape")]
        return self._parser.feed(character.encode("utf-8", "ignore"), 0.0)


if sys.platform == "win32":
    TerminalKeys = WindowsKeys
else:
    TerminalKeys = PosixKeys
