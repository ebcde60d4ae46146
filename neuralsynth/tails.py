"""`Timed`: an effect that is told things at their sample, and whose tail can be cut off within a few milliseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

FLUSH_SECONDS = 0.005


class Processor(Protocol):
    """What turns a block into as long a block and remembers."""

    def process(self, audio: np.ndarray) -> np.ndarray:
        """The next block, `[2, n]`."""

    def reset(self) -> None:
        """Forget all earlier sound."""


class Timed:
    """Runs a processor, whose changes happen at their own samples wherever blocks end."""

    def __init__(self, processor: Processor, sample_rate: float) -> None:
        self._processor = processor
        self._n_fade = round(FLUSH_SECONDS * sample_rate)
        self._silenced_at: int | None = None
        self._changes: deque[tuple[int, Callable[[], None]]] = deque()

    def reset(self) -> None:
        """Forget all earlier sound, and what was still to happen."""
        self._processor.reset()
        self._silenced_at = None
        self._changes.clear()

    def silence(self, now: int) -> None:
        """From sample `now` on fade out what the processor holds, forget it, and go on with what comes after."""
        self.change(now, lambda: self._begin_fade(now))

    def change(self, now: int, action: Callable[[], None]) -> None:
        """Let something happen to the processor at sample `now`, not before the last one."""
        self._changes.append((now, action))

    def process(self, now: int, audio: np.ndarray) -> np.ndarray:
        """The block `[2, n]` that begins at sample `now`."""
        if not self._changes and self._silenced_at is None:
            return self._processor.process(audio)
        done, n, pieces = 0, audio.shape[1], []
        while self._changes and self._changes[0][0] < now + n:
            at, action = self._changes.popleft()
            cut = min(max(at - now, done), n)
            pieces.append(self._run(now + done, audio[:, done:cut]))
            action()
            done = cut
        pieces.append(self._run(now + done, audio[:, done:]))
        return np.concatenate(pieces, axis=1)

    def _begin_fade(self, at: int) -> None:
        if self._silenced_at is None:
            self._silenced_at = at

    def _run(self, now: int, audio: np.ndarray) -> np.ndarray:
        if audio.shape[1] == 0 or self._silenced_at is None:
            return self._processor.process(audio) if audio.shape[1] else audio
        place = np.arange(now, now + audio.shape[1]) - self._silenced_at
        split = int(np.searchsorted(place, self._n_fade))
        fade = np.clip(1.0 - place[:split] / self._n_fade, 0.0, 1.0).astype(np.float32)
        head = self._processor.process(audio[:, :split]) * fade
        if split == audio.shape[1]:
            return head
        self._processor.reset()
        self._silenced_at = None
        return np.concatenate([head, self._processor.process(audio[:, split:])], axis=1)
