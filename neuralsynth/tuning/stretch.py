"""The stretched octaves of pianos.

A stiff string's partials lie above the harmonic series, the n-th at `n·f·sqrt(1 + B·n²)` (Fletcher, JASA 36, 1964).
A tuner makes partials of two strings coincide, not their fundamentals, so octaves come out wider than 2:1: the
curve that Railsback measured (JASA 9, 1938) and Schuck and Young explained (JASA 15, 1943).

The rule has the form of Rigaud, David and Daudet ("A parametric model and estimation techniques for the inharmonicity
and tuning of the piano", JASA 133, 2013): partial 2·rho of the lower string meets partial rho of the upper, rho falls
smoothly from bass to treble, and log B bends between two straight lines along the keyboard. Two things differ. Their
scheme tunes octave by octave from one reference octave; here each octave's stretch is spread evenly over its twelve
steps, so that the curve is smooth. And the ends of rho are chosen such that the typical strings below give what is
usually quoted of Railsback's mean: 30 cents flat at A0, 30 sharp at C8, A4 in place.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from neuralsynth.errors import UsageError
from neuralsynth.knobs import Knob
from neuralsynth.tuning.table import N_KEYS, Tuning

STRETCH = Knob("stretch", 0.0, 1.0, 0.0, says="octaves widened as on a piano: 0 not at all, 1 as a tuner would")

A0, A4, C8 = 21, 69, 108

#: log B over the keyboard: the wound bass strings fall, the plain treble strings rise (line: value at key 0, slope).
#: B is 0.0005 at A0, lowest (0.00014) at A2, 0.0007 at A4, 0.026 at C8: the size of what is measured on grands.
_BASS_LINE, _TREBLE_LINE = (-5.82, -8.47e-2), (-13.64, 9.26e-2)
#: rho at the far bass and the far treble; halfway in the keyboard's middle, over a width of two octaves.
_RHO_BASS, _RHO_TREBLE = 3.587, 1.5375
_MIDDLE_KEY, _WIDTH_KEYS = 64.5, 24.0

#: The largest B taken; the stiffest strings of small pianos have less than a tenth of it.
MAX_INHARMONICITY = 0.5


def typical_inharmonicity(key):
    """B of a typical piano's string, for a key or an array of keys."""
    lines = (_BASS_LINE, _TREBLE_LINE)
    return sum(np.exp(start + slope * np.asarray(key, dtype=np.float64)) for start, slope in lines)


def stretch_cents(inharmonicity=None) -> np.ndarray:
    """How far above equal temperament a tuner sets each key, in cents: float64 `[128]`, 0 at A4.

    Args:
        inharmonicity: rows of `[key, B]`, at least one; between them log B is interpolated, beyond them B stays.
            None: a typical piano.

    Below A0 and above C8 the curve goes on with the slope it has there.

    Raises:
        UsageError: rows of another shape, a key outside 0 to 127, a B outside 0 to 0.5.
    """
    if inharmonicity is None:
        return _typical_curve()
    rows = _checked(inharmonicity)
    log_b = np.log(np.maximum(rows[:, 1], 1e-12))  # B = 0, a perfect string, stretches nothing
    return _curve(np.exp(np.interp(np.arange(N_KEYS), rows[:, 0], log_b)))


def stretched(tuning: Tuning, amount: float, inharmonicity=None) -> Tuning:
    """`tuning` with its octaves widened as on a piano; `amount` 0 leaves it, 1 is the full curve.

    The stretch belongs to the pitch a key sounds at, not to the key, so a scale of any kind widens evenly.

    Raises:
        UsageError: `amount` outside 0 to 1, or what `stretch_cents` refuses.
    """
    try:
        amount = STRETCH.check(amount)
    except ValueError as error:
        raise UsageError(str(error)) from error
    cents = np.interp(tuning.notes, np.arange(N_KEYS), stretch_cents(inharmonicity))  # NaN in, NaN out
    return Tuning(tuning.notes + amount * cents / 100.0, tuning.name)


@cache
def _typical_curve() -> np.ndarray:
    curve = _curve(typical_inharmonicity(np.arange(N_KEYS)))
    curve.setflags(write=False)
    return curve


def _curve(inharmonicity: np.ndarray) -> np.ndarray:
    """The cents of every key from B of every key."""
    low = np.arange(A0, C8 - 12 + 1)  # lower keys of the octaves on a piano
    rho = _RHO_TREBLE + 0.5 * (_RHO_BASS - _RHO_TREBLE) * (1.0 - np.tanh((low - _MIDDLE_KEY) / _WIDTH_KEYS))
    b_low, b_high = inharmonicity[low], inharmonicity[low + 12]
    octave_cents = 600.0 * np.log2((1.0 + 4.0 * b_low * rho**2) / (1.0 + b_high * rho**2))
    # the step from one key to the next has the twelfth of the octave around it
    steps = np.interp(np.arange(N_KEYS - 1) + 0.5, low + 6.0, octave_cents) / 12.0
    cents = np.concatenate([[0.0], np.cumsum(steps)])
    return cents - cents[A4]


def _checked(inharmonicity) -> np.ndarray:
    """Rows of `[key, B]` by rising key."""
    try:
        rows = np.array(inharmonicity, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError("inharmonicity is not a table of numbers; give rows of [key, B]") from error
    if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) == 0:
        raise UsageError(f"inharmonicity has the shape {rows.shape}; give rows of [key, B]")
    keys, b = rows.T
    if not (np.all((keys >= 0) & (keys < N_KEYS)) and np.all((b >= 0.0) & (b <= MAX_INHARMONICITY))):
        raise UsageError(
            f"inharmonicity has a value out of range; use keys from 0 to 127 and B from 0 to {MAX_INHARMONICITY}"
        )
    return rows[np.argsort(keys, kind="stable")]
