"""What effects do in time: `Timed` are told things at their sample and can be cut off, `Resting` sleep in silence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

#: Longer than a voice and its noise take to fade out, so that nothing of them gets into the forgetful processor again.
FLUSH_SECONDS = 0.009
#: How long after its tail a processor still runs: envelopes of compressors and gates have long let go by then.
REST_AFTER_SECONDS = 1.0


class Processor(Protocol):
    """What turns a block into as long a block and remembers."""

    @property
    def tail_seconds(self) -> float:
        """How long it may ring after its input."""

    def process(self, audio: np.ndarray) -> np.ndarray:
        """The next block, `[2, n]`."""

    def reset(self) -> None:
        """Forget all earlier sound."""


class Resting:
    """Rests a processor, from a while after its tail until something goes in; then it begins anew.

    When that is depends on the samples of the input alone, wherever blocks end.
    """

    def __init__(self, processor: Processor, sample_rate: float) -> None:
        self._processor, self._sample_rate = processor, sample_rate
        self._left = 0  # samples for which it runs on without input

    @property
    def rests(self) -> bool:
        """Whether it gives silence until something goes in."""
        return self._left == 0

    @property
    def tail_seconds(self) -> float:
        """How long the processor may ring after its input."""
        return self._processor.tail_seconds

    def reset(self) -> None:
        """Forget all earlier sound."""
        self._processor.reset()
        self._left = 0

    def process(self, audio: np.ndarray) -> np.ndarray:
        """The next block, `[2, n]`."""
        if audio.shape[1] == 0 or (self._left == 0 and not audio.any()):
            return np.zeros_like(audio)
        seconds = min(self._processor.tail_seconds + REST_AFTER_SECONDS, 1e6)
        n_on = math.ceil(seconds * self._sample_rate)
        if self._left > 0 and audio[0, 0] != 0.0 and audio[0, -1] != 0.0 and audio.shape[1] <= n_on:
            self._left = n_on  # the usual case: it runs, and goes on
            return self._processor.process(audio)
        pieces, done = [], 0
        for first, last in _runs(np.flatnonzero(audio.any(axis=0)), n_on):
            pieces += self._without_input(audio[:, done:first])
            if self._left == 0:
                self._processor.reset()
            pieces.append(self._processor.process(audio[:, first : last + 1]))
            self._left, done = n_on, last + 1
        pieces += self._without_input(audio[:, done:])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def _without_input(self, silence: np.ndarray) -> list[np.ndarray]:
        """What a silent stretch gives: the tail, then nothing."""
        n_on = min(self._left, silence.shape[1])
        self._left -= n_on
        pieces = [self._processor.process(silence[:, :n_on]), np.zeros_like(silence[:, n_on:])]
        return [piece for piece in pieces if piece.shape[1]]


def _runs(heard: np.ndarray, most_between: int) -> list[tuple[int, int]]:
    """First and last index of each run of samples that lie at most so many apart."""
    if len(heard) == 0:
        return []
    ends = np.flatnonzero(np.diff(heard) > most_between)
    firsts, lasts = heard[np.append(0, ends + 1)], heard[np.append(ends, len(heard) - 1)]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


class Timed:
    """Runs a processor, whose changes happen at their own samples wherever blocks end."""

    def __init__(self, processor: Processor, sample_rate: float) -> None:
        self._processor = Resting(processor, sample_rate)
        self._n_fade = round(FLUSH_SECONDS * sample_rate)
        self._silenced_at: int | None = None
        self._let_in = 1.0  # gain before the processor while it fades out
        self._forget = processor.reset
        self._changes: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def rests(self) -> bool:
        """Whether it gives silence until something goes in, and nothing is to happen to it."""
        return self._processor.rests and not self._changes and self._silenced_at is None

    @property
    def tail_seconds(self) -> float:
        """How long the processor may ring after its input."""
        return self._processor.tail_seconds

    def reset(self) -> None:
        """Forget all earlier sound, and what was still to happen."""
        self._processor.reset()
        self._silenced_at, self._let_in = None, 1.0
        self._changes.clear()

    def silence(self, now: int, forget: Callable[[], None] | None = None) -> None:
        """From sample `now` on fade out what the processor holds, forget it, and go on with what comes after.

        Args:
            forget: what to do when all is faded out, instead of the processor's `reset`.
        """
        self.change(now, lambda: self._begin_fade(now, forget or self._processor.reset))

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

    def _begin_fade(self, at: int, forget: Callable[[], None]) -> None:
        if self._silenced_at is not None and at - self._silenced_at <= self._n_fade:
            self._forget = forget if self._forget == self._processor.reset else self._forget
            return
        if self._silenced_at is not None:
            self._let_in = min((at - self._silenced_at) / self._n_fade - 1.0, 1.0)
        self._silenced_at, self._forget = at, forget

    def _run(self, now: int, audio: np.ndarray) -> np.ndarray:
        """Process a stretch in which nothing changes; at a silence fade out, forget, and let the sound in again."""
        if audio.shape[1] == 0:
            return audio
        n_fade, place = self._n_fade, now - (self._silenced_at or 0)
        if self._silenced_at is None or place >= 2 * n_fade:
            self._silenced_at, self._let_in = None, 1.0
            return self._processor.process(audio)
        if place == n_fade:
            self._forget()
        n = min((n_fade if place < n_fade else 2 * n_fade) - place, audio.shape[1])
        gain = np.abs(1.0 - np.arange(place, place + n) / n_fade).astype(np.float32)
        if place < n_fade:
            head = self._processor.process(audio[:, :n] * np.float32(self._let_in)) * gain
        else:  # what is let in abruptly would click in every echo
            head = self._processor.process(audio[:, :n] * gain)
        return np.concatenate([head, self._run(now + n, audio[:, n:])], axis=1)
