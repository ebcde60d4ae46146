"""A knob: a named number with range, unit and curve. Tables of them stand beside the code they turn.

One table serves validation, command-line help, batch randomising and the documentation page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Knob:
    """A number a person may turn.

    `curve` bends the way from 0..1 to the range: `value = low + (high - low)·position**(1/curve)`; 1 is
    straight, 0.5 gives fine steps at the low end. `high` may be capped further by the sample rate.
    """

    name: str
    low: float
    high: float
    default: float
    unit: str = ""
    curve: float = 1.0
    says: str = ""

    def check(self, value: object) -> float:
        """Return `value` as a float inside the range.

        Raises:
            ValueError: it is no finite number, or out of range; the text names knob, value and range.
        """
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:  # type: ignore[operator]  # NaN fails both
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(f"{self.name} is {value!r}; use a number from {self.low:g} to {self.high:g}{unit}")
        return float(value)  # type: ignore[arg-type]

    def from_position(self, position: float) -> float:
        """Value at `position` 0..1 along the knob's travel."""
        return self.low + (self.high - self.low) * min(max(position, 0.0), 1.0) ** (1.0 / self.curve)

    def to_position(self, value: float) -> float:
        """Position 0..1 of `value`, the inverse of `from_position`."""
        return ((value - self.low) / (self.high - self.low)) ** self.curve


def by_name(knobs: Iterable[Knob]) -> dict[str, Knob]:
    """Index a table of knobs by name."""
    return {knob.name: knob for knob in knobs}
