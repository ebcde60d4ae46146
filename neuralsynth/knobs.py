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
    straight, 0.5 gives fine steps at the low end. `high` may be capped further by the sample rate. A `whole`
    knob takes whole numbers only.
    """

    name: str
    low: float
    high: float
    default: float
    unit: str = ""
    curve: float = 1.0
    says: str = ""
    whole: bool = False

    def check(self, value: object) -> float:
        """Return `value` as a number inside the range: an int if the knob is whole, else a float.

        Raises:
            ValueError: it is no finite number, out of range or not whole; the text names knob, value and range.
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high:
            if not self.whole:
                return float(value)
            if value == int(value):
                return int(value)
        kind, unit = "a whole number" if self.whole else "a number", f" {self.unit}" if self.unit else ""
        raise ValueError(f"{self.name} is {value!r}; use {kind} from {self.low:g} to {self.high:g}{unit}")

    def from_position(self, position: float) -> float:
        """Value at `position` 0..1 along the knob's travel."""
        value = self.low + (self.high - self.low) * min(max(position, 0.0), 1.0) ** (1.0 / self.curve)
        return round(value) if self.whole else value

    def to_position(self, value: float) -> float:
        """Position 0..1 of `value`, the inverse of `from_position`."""
        return ((value - self.low) / (self.high - self.low)) ** self.curve


def by_name(knobs: Iterable[Knob]) -> dict[str, Knob]:
    """Index a table of knobs by name."""
    return {knob.name: knob for knob in knobs}
