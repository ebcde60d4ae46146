"""`Mixer`: what voices gave, through effects, sends and guard to what is heard.

It need not run where the voices do: whatever is to happen to an effect is noted with its sample (`tails.Timed`), so
that a block can be mixed while the voices of the next one are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuralsynth.part import Part
from neuralsynth.sends import KINDS, SendBus
from neuralsynth.sound.guard import OutputGuard
from neuralsynth.sound.layout import N_OUTPUTS
from neuralsynth.tails import Timed
from neuralsynth.units import db_to_gain


@dataclass
class Voiced:
    """What the voices of each part gave in one block."""

    buffers: list[np.ndarray]  # float32 [N_OUTPUTS, max_block_size] of each part; no more than `n` samples count
    is_used: list[bool]  # whether the part sounded; its buffer holds anything otherwise
    begins_at: int = 0  # absolute sample
    n: int = 0
    feeds_sends: bool = False  # whether any part may have filled the outputs of the sends
    silenced_at: tuple[int, ...] = ()  # absolute samples at which the sends are to fall silent

    @classmethod
    def room(cls, n_parts: int, max_block_size: int) -> Voiced:
        """Room for blocks of up to so many samples."""
        buffers = [np.zeros((N_OUTPUTS, max_block_size), np.float32) for _ in range(n_parts)]
        return cls(buffers, [False] * n_parts)


class Mixer:
    """Effects of the parts, delays that keep them together, shared sends, level and output guard."""

    def __init__(self, parts: Sequence[Part], sample_rate: float, max_block_size: int, gain_db: float) -> None:
        """Make what mixing needs; shared effects are made when something is first sent to them.

        Args:
            gain_db: level of the mix, before the output guard.
        """
        self._parts = parts
        self.latency_samples = max((part.chain.latency_samples for part in parts), default=0)
        self._delays = [_Delay(self.latency_samples - part.chain.latency_samples) for part in parts]
        self._sends = [_Send(kind, sample_rate, max_block_size, self.latency_samples) for kind in KINDS]
        self.guard, self._gain = OutputGuard(sample_rate), np.float32(db_to_gain(gain_db))

    def reset(self) -> None:
        """Forget all earlier sound; whoever resets the parts resets their effects."""
        for delay in self._delays:
            delay.reset()
        for send in self._sends:
            send.reset()
        self.guard.reset()

    def warm(self) -> None:
        """Make the shared effects."""
        for send in self._sends:
            send.warm()

    @property
    def rests(self) -> bool:
        """Whether nothing rings."""
        parts_rest = all(p.effects_rest and d.is_empty for p, d in zip(self._parts, self._delays, strict=True))
        return parts_rest and all(send.rests for send in self._sends)

    @property
    def tail_seconds(self) -> float:
        """How long the effects may ring from now on."""
        return max([p.chain.tail_seconds for p in self._parts] + [s.tail_seconds for s in self._sends], default=0.0)

    def mix(self, voiced: Voiced) -> np.ndarray:
        """Run the block of every part through its effects and add up; then the sends and the guard: `[2, n]`.

        Blocks come in their order. [audio thread]
        """
        n, now = voiced.n, voiced.begins_at
        mix = np.zeros((2, n), np.float32)
        sent = np.zeros((2, n), np.float32) if voiced.feeds_sends else None
        for i, (part, delay) in enumerate(zip(self._parts, self._delays, strict=True)):
            buffer = voiced.buffers[i][:, :n]
            if not voiced.is_used[i]:
                if part.effects_rest and delay.is_empty:
                    continue
                buffer[:] = 0.0
            mix += delay.process(part.apply_effects(now, buffer[:2]))
            if sent is not None:
                sent += buffer[2:]
        for at in voiced.silenced_at:
            for send in self._sends:
                send.silence(at)
        for i, send in enumerate(self._sends):
            if sent is not None and sent[i].any():
                mix += send.process(now, sent[i])
            elif not send.rests:
                mix += send.process(now, np.zeros(n, np.float32))
        mix *= self._gain
        self.guard.process(mix)
        if self.guard.found_fault:
            for part in self._parts:
                part.chain.reset()
            for send in self._sends:
                send.reset()
        return mix


class _Send:
    """A shared effect. It is made when something is first sent to it; `warm` makes it ahead."""

    def __init__(self, kind: str, sample_rate: float, max_block_size: int, latency_samples: int) -> None:
        self._kind, self._sample_rate, self._max_block_size = kind, sample_rate, max_block_size
        self._delay = _Delay(latency_samples)
        self._timed: Timed | None = None

    @property
    def rests(self) -> bool:
        """Whether it gives silence until something is sent to it."""
        return self._timed is None or (self._timed.rests and self._delay.is_empty)

    @property
    def tail_seconds(self) -> float:
        """How long it may go on ringing: not at all while it rests."""
        return 0.0 if self._timed is None or self.rests else self._timed.tail_seconds

    def warm(self) -> Timed:
        """Make it, if it is not yet there."""
        if self._timed is None:
            bus = SendBus(self._kind, self._sample_rate, self._max_block_size)
            self._timed = Timed(bus, self._sample_rate)
        return self._timed

    def process(self, now: int, signal: np.ndarray) -> np.ndarray:
        """What comes back, `[2, n]`, for a mono signal `[n]` that begins at sample `now`."""
        return self._delay.process(self.warm().process(now, np.repeat(signal[None], 2, axis=0)))

    def silence(self, now: int) -> None:
        """Fade out what rings, from sample `now` on."""
        if self._timed is not None:
            self._timed.silence(now)

    def reset(self) -> None:
        """Forget all earlier sound."""
        if self._timed is not None:
            self._timed.reset()
        self._delay.reset()


class _Delay:
    """Holds a part back until those with slower effects have caught up."""

    def __init__(self, n_samples: int) -> None:
        self._held = np.zeros((2, n_samples), np.float32)

    @property
    def is_empty(self) -> bool:
        return not self._held.any()

    def process(self, audio: np.ndarray) -> np.ndarray:
        if self._held.shape[1] == 0:
            return audio
        both = np.concatenate([self._held, audio], axis=1)
        self._held = both[:, audio.shape[1] :]
        return both[:, : audio.shape[1]]

    def reset(self) -> None:
        self._held = np.zeros_like(self._held)
