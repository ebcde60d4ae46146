"""`BlockClock`: when blocks began, without the jitter with which their callbacks are woken.

A delay-locked loop of second order: F. Adriaensen, "Using a DLL to filter time", Linux Audio Conference 2005.
"""

from __future__ import annotations

import math

_BANDWIDTH_HZ = 1.0
_LOST_SECONDS = 0.1  # further off than this, it begins anew


class BlockClock:
    """Filters the times at which blocks begin."""

    def __init__(self, sample_rate: float) -> None:
        """Begin with the nominal rate."""
        self._nominal = 1.0 / sample_rate
        self._next: float | None = None  # expected beginning of the next block, s
        self._per_sample = self._nominal

    def began(self, raw_ns: int, n_samples: int) -> float:
        """The time in seconds at which a block of `n_samples` began that reports `raw_ns`."""
        raw = raw_ns * 1e-9
        if self._next is None or abs(raw - self._next) > _LOST_SECONDS:
            self._next, self._per_sample = raw + n_samples * self._nominal, self._nominal
            return raw
        began, error = self._next, raw - self._next
        omega = 2.0 * math.pi * _BANDWIDTH_HZ * n_samples * self._nominal
        began += math.sqrt(2.0) * omega * error
        self._per_sample += omega * omega * error / n_samples
        self._next = began + n_samples * self._per_sample
        return began

    def offset(self, stamp_ns: int, began: float) -> int:
        """How many samples after `began` a time lies; negative before."""
        return round((stamp_ns * 1e-9 - began) / self._per_sample)
