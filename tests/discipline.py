"""What has no place in an audio callback, seen while it happens."""

from __future__ import annotations

import _thread
import gc
import sys
from collections import Counter

#: Audit events of things that have no place in an audio callback: files, processes, imports, compilers.
_FORBIDDEN = ("open", "import", "compile", "exec", "os.", "subprocess.", "socket.", "shutil.", "tempfile.", "marshal.")


class Discipline:
    """Watches what is done inside the audio callback: files, imports, garbage collection.

    An audit hook cannot be taken away again; it costs well under a microsecond per event outside of `guarded`.
    """

    def __init__(self) -> None:
        """Begin to watch."""
        self.violations: Counter[str] = Counter()
        self.thread = 0  # identity of the thread that is in the callback, 0 none
        sys.addaudithook(self._audit)
        gc.callbacks.append(self._collected)

    def watching(self, processor):
        """The processor, whose callback is watched from now on."""
        process = processor.process

        def watched(*arguments):
            self.enter()
            try:
                return process(*arguments)
            finally:
                self.leave()

        processor.process = watched
        return processor

    def enter(self) -> None:
        """The callback begins."""
        self.thread = _thread.get_ident()

    def leave(self) -> None:
        """The callback is over."""
        self.thread = 0

    def _audit(self, event: str, arguments: tuple) -> None:
        if self.thread and self.thread == _thread.get_ident() and event.startswith(_FORBIDDEN):
            self.violations[event] += 1

    def _collected(self, phase: str, info: dict) -> None:
        if phase == "start" and self.thread:
            self.violations["garbage collection"] += 1
