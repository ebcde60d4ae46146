"""`SendBus`: the reverb and the chorus that all channels share, fed by CC91 and CC93: send in, wet sound out."""

from __future__ import annotations

import numpy as np

from neuralsynth.effect_stages import CHUNK
from neuralsynth.effect_table import EffectSettings
from neuralsynth.effects import EffectChain

#: A room of 1.7 s (RT60). Its level makes the room of a sustained note that is sent at 1 (CC91 at 127) lie 6 dB below
#: the note itself, on average over the keys; the combs of the room make single keys differ by up to 4 dB from that.
_REVERB = {"room_size": 0.7, "damping": 0.5, "wet_level": 0.174, "dry_level": 0.0, "width": 1.0}

#: About 16 cents up and down; each side moves at a speed of its own, so that the sound is wide.
_CHORUS = {"depth": 0.25, "centre_delay_ms": 8.0, "feedback": 0.0, "mix": 1.0}
_CHORUS_RATES_HZ = (0.6, 0.73)
_CHORUS_GAIN = np.float32(0.5)  # 6 dB below what is sent at 1

KINDS = ("reverb", "chorus")


class SendBus:
    """One effect, wet only, for the sum of what the channels send to it.

    Args:
        kind: one of `KINDS`.
        sample_rate: in Hz.
        max_block_size: the block size to expect; larger blocks work too.
    """

    latency_samples = 0

    def __init__(self, kind: str, sample_rate: float, max_block_size: int = CHUNK):
        assert kind in KINDS, kind
        sides = [_REVERB] if kind == "reverb" else [{**_CHORUS, "rate_hz": rate} for rate in _CHORUS_RATES_HZ]
        self._chains = [
            EffectChain([EffectSettings(kind, side)], sample_rate, max_block_size, None, kind) for side in sides
        ]
        self.tail_seconds = self._chains[0].tail_seconds

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next wet block `float32 [2, n]` for what is sent, `[2, n]` or `[1, n]`. [audio thread]"""
        if len(audio) == 1:
            audio = np.repeat(audio, 2, axis=0)
        wet = [chain.process(audio) for chain in self._chains]
        return wet[0] if len(wet) == 1 else np.stack([wet[0][0], wet[1][1]]) * _CHORUS_GAIN

    def reset(self) -> None:
        """Forget all earlier sound, non-finite samples included."""
        for chain in self._chains:
            chain.reset()
