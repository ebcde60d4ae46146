"""`NoteBank`: the notes of one sound, decoded ahead: velocity layers, and the ways to other sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.sound.layout import RowArrays
from neuralsynth.sound.rows import NoteRows, SpectrumRows, VoiceSound
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.struck import Struck
from neuralsynth.units import db_to_gain

#: Velocity layers decoded per key where the recordings have several dynamics.
N_LAYERS = 6
#: As many where audio must be generated and heard for each (kind `waveform`).
N_HEARD_LAYERS = 3
_DECODE_BATCH = 16
LEVEL_LAW_DB_PER_DECADE = 40.0  # General MIDI: level follows 40·log10(velocity / 127)
_STEADY_DB, _FEWEST_FRAMES = 3.0, 4
_LEAST_RISE = 0.1  # of that law: how much louder a louder layer is at least, where recordings hardly rise

#: Gives the velocity layers of some keys, softest first: how a direction of timbre ends.
Layers = Callable[[Sequence[int]], list[list[VoiceSound]]]


@dataclass(frozen=True)
class Growth:
    """What a bank has that an older copy of it has not."""

    first_row: int
    rows: RowArrays
    notes: Mapping[int, tuple[NoteRows, ...]]
    ways: Mapping[tuple[int, int], int]


class NoteBank:
    """Decoded notes of one latent point, by key; fills itself on demand.

    `spec` has the range and layers at this point. `directions` says where the directions of timbre lead, by their
    number in the voices (`sound.layout`). `steps` `[K, Z]` lead from the point to each variant of a note.

    A copy in another process cannot decode. It plays what was decoded before; ways that it lacks are silent and noted
    in `wanted`, until `admit` brings them.
    """

    def __init__(
        self,
        model: InstrumentModel,
        latent: np.ndarray,
        spec: InstrumentSpec | None = None,
        steps: np.ndarray | None = None,
        struck: Struck | None = None,
        softest: float = 0.0,
    ) -> None:
        """Lay out the velocity layers between the softest and the loudest recorded one; decode nothing yet.

        Args:
            softest: the lowest MIDI velocity that will be asked for; layers that only softer ones need are left out.
        """
        self.spec = spec = spec or model.spec
        most = N_LAYERS if spec.waveform is None else N_HEARD_LAYERS
        count = most if spec.velocity_high > spec.velocity_low else 1
        self.model, self.latent = model, latent
        self.steps = np.zeros((1, len(latent)), np.float32) if steps is None else steps
        velocities = np.linspace(spec.velocity_low, spec.velocity_high, count)
        self.velocities = velocities[max(0, int(np.searchsorted(velocities, softest, "right")) - 1) :]
        self.struck = struck
        self.rows = struck.rows(spec.grid()) if struck else SpectrumRows(spec.grid())
        self.directions: dict[int, Layers] = {}
        self.region = (spec.sustain.start_seconds, spec.sustain.end_seconds) if spec.sustain else None
        self._notes: dict[int, tuple[NoteRows, ...]] = {}  # a row for each variant
        self._ways: dict[tuple[int, int], int] = {}  # (key, direction) -> first row
        self.wanted: set[tuple[int, int]] = set()  # (key, direction) that a copy was asked for and has not

    def __getstate__(self) -> dict:
        """What travels to another process: not how directions are decoded."""
        return self.__dict__ | {"directions": dict.fromkeys(self.directions), "wanted": set()}

    def __len__(self) -> int:
        """Decoded spectra in the bank, directions included."""
        return len(self.rows)

    def prepare(self, keys: Iterable[int], directions: Iterable[int] = ()) -> None:
        """Decode these keys and directions, those not yet there, in batches."""
        if not self.model.can_decode:
            return
        keys = {self._playable(key) for key in keys}
        for some in self._batches(keys - self._notes.keys()):
            variants = [self._variant(i, some) for i in range(len(self.steps))]
            for key, of_key in zip(some, zip(*variants, strict=True), strict=True):
                self._notes[key] = tuple(self.rows.add(layers) for layers in of_key)
        for direction in directions:
            end = self.directions.get(direction)
            if end is None:
                continue
            for some in self._batches(key for key in keys if (key, direction) not in self._ways):
                for key, layers in zip(some, end(some), strict=True):
                    here = self.rows.layers(self._notes[key][0])
                    self._ways[key, direction] = self.rows.add_direction(here, layers)

    def note(self, key: int, variant: int = 0) -> NoteRows:
        """Where the spectra of a key lie, those of one of its variants."""
        key = self._playable(key)
        if key not in self._notes:
            self.prepare([key])
        if key not in self._notes:  # a copy that was not given all keys
            key = min(self._notes, key=lambda other: abs(other - key))
        return self._notes[key][variant % len(self.steps)]

    def direction_rows(self, key: int, directions: Sequence[int]) -> list[int]:
        """First rows of a key's directions by their number, -1 for those not asked for."""
        if not directions:
            return []
        key = self._playable(key)
        if any((key, direction) not in self._ways for direction in directions):
            self.prepare([key], directions)
            self.wanted.update((key, d) for d in directions if d in self.directions and (key, d) not in self._ways)
        rows = [-1] * (max(directions) + 1)
        for direction in directions:
            rows[direction] = self._ways.get((key, direction), -1)
        return rows

    def growth(self, since: int) -> Growth:
        """What was decoded since the bank had `since` rows (its `len`)."""
        notes = {key: note for key, note in self._notes.items() if note[0].row >= since}
        ways = {way: row for way, row in self._ways.items() if row >= since}
        return Growth(since, self.rows.since(since), notes, ways)

    def admit(self, growth: Growth) -> None:
        """Take over what the bank that this one is a copy of has decoded since; growths come in order.

        Raises:
            ValueError: there is a gap between the two.
        """
        self.rows.extend(growth.first_row, growth.rows)
        self._notes |= growth.notes
        self._ways |= growth.ways

    def layer_of(self, velocity: float) -> float:
        """The place of a MIDI velocity among the layers, with its fraction."""
        return float(np.interp(velocity, self.velocities, np.arange(len(self.velocities))))

    def layers_at(self, latent: np.ndarray, keys: Sequence[int]) -> list[list[VoiceSound]]:
        """Decode all layers of some keys at any latent, `[Z]`: a list per key, softest first."""
        n_layers = len(self.velocities)
        notes = np.repeat(np.array(keys, np.float32), n_layers)
        velocities = np.tile(self.velocities / 127.0, len(keys)).astype(np.float32)
        decoded = self.model.decode(np.tile(latent, (len(notes), 1)), notes, velocities)
        return [self._rising(decoded, slice(i * n_layers, (i + 1) * n_layers)) for i in range(len(keys))]

    def layers_for(
        self,
        velocities: Sequence[float],
        grid: SpectrumGrid,
        keys: Sequence[int],
        region: tuple[float, float] | None = None,
    ) -> list[list[VoiceSound]]:
        """These keys at other velocities, on another grid, and steady in another sustain region: the end of a morph."""
        places = [self.layer_of(velocity) for velocity in velocities]
        found = self.layers_at(self.latent, [self._playable(key) for key in keys])
        return [
            [steady(regridded(_between(layers, place), self.rows.grid, grid), grid, region) for place in places]
            for layers in found
        ]

    def _variant(self, variant: int, keys: Sequence[int]) -> list[list[VoiceSound]]:
        """The layers of some keys as one variant plays them."""
        found, struck = self.layers_at(self.latent + self.steps[variant], keys), self.struck
        if struck is None:
            return found
        grid, velocities = self.rows.grid, self.velocities.tolist()
        return [
            [struck.sound(sound, grid, v, variant) for sound, v in zip(layers, velocities, strict=True)]
            for layers in found
        ]

    def _playable(self, key: int) -> int:
        """The key whose spectrum serves `key`: outside the trained range, that of the range's end."""
        return int(min(max(key, self.spec.note_low), self.spec.note_high))

    def _batches(self, keys: Iterable[int]) -> list[list[int]]:
        at_once, ordered = max(1, _DECODE_BATCH // len(self.velocities)), sorted(keys)
        return [ordered[start : start + at_once] for start in range(0, len(ordered), at_once)]

    def _rising(self, decoded: Decoded, rows: slice) -> list[VoiceSound]:
        """The layers of one key, made to rise with velocity where the recordings did not."""
        partials, noise, frame_seconds = decoded.partials[rows], decoded.noise[rows], self.rows.grid.frame_seconds
        power = _power(partials, noise)
        levels_db = _levels_db(frame_seconds, power)
        steps_db = _LEAST_RISE * LEVEL_LAW_DB_PER_DECADE * np.diff(np.log10(np.maximum(self.velocities, 1.0)))
        wanted_db = rising_levels_db(levels_db, steps_db)
        gains_db = (wanted_db - levels_db)[:, None] + _steadying_db(frame_seconds, power, self.region)
        gains = db_to_gain(gains_db).astype(np.float32)[:, :, None]
        louder = zip(partials * gains, noise * gains, _tail_rates(frame_seconds, power), strict=True)
        about = zip(decoded.ratios[rows], decoded.cents[rows], strict=True)
        return [VoiceSound(p, r, c, n, float(tail)) for (p, n, tail), (r, c) in zip(louder, about, strict=True)]


def regridded(sound: VoiceSound, grid: SpectrumGrid, to: SpectrumGrid) -> VoiceSound:
    """A spectrum on another grid: frames between frames, noise by the share of each band, partials as they are."""
    times, n_partials = to.frame_seconds, min(grid.n_partials, to.n_partials)
    partials = np.zeros((to.n_frames, to.n_partials), np.float32)
    for partial in range(n_partials):
        partials[:, partial] = np.interp(times, grid.frame_seconds, sound.partials[:, partial])
    ratios = np.arange(1, to.n_partials + 1) * float(sound.ratios[-1] / grid.n_partials)
    ratios[:n_partials] = sound.ratios[:n_partials]
    power = np.array([np.interp(times, grid.frame_seconds, band) for band in (sound.noise**2).T]).T
    noise = np.sqrt(power @ _band_shares(grid.band_edges_hz, to.band_edges_hz))
    cents = np.interp(times, grid.frame_seconds, sound.cents)
    return VoiceSound(partials, ratios.astype(np.float32), cents, noise.astype(np.float32), sound.tail_rate)


def steady(sound: VoiceSound, grid: SpectrumGrid, region: tuple[float, float] | None) -> VoiceSound:
    """A spectrum whose level keeps still in the sustain region (seconds), where a held note goes back and forth.

    What a sound between a sustaining and a decaying one loses there would swell again each time the note turns back. A
    fall or rise that stays within `_STEADY_DB` is the recordings' own, and left.
    """
    gain_db = _steadying_db(grid.frame_seconds, _power(sound.partials, sound.noise)[None], region)[0]
    if not gain_db.any():
        return sound
    gain = db_to_gain(gain_db).astype(np.float32)[:, None]
    return replace(sound, partials=sound.partials * gain, noise=sound.noise * gain)


def _steadying_db(seconds: np.ndarray, power: np.ndarray, region: tuple[float, float] | None) -> np.ndarray:
    """What to add to spectra of this power `[L, T]` so that their level keeps still in the sustain region, `[L, T]`."""
    nothing = np.zeros(power.shape)
    if region is None:
        return nothing
    inside = (seconds >= region[0]) & (seconds <= region[1])
    if np.count_nonzero(inside) < _FEWEST_FRAMES:
        return nothing
    level_db = 10.0 * np.log10(np.maximum(power[:, inside], 1e-14))
    slopes = _slopes(seconds[inside], level_db)
    change_db = np.abs(slopes * (region[1] - region[0]))
    kept = 1.0 - _STEADY_DB / np.maximum(change_db, _STEADY_DB)
    return -(kept * slopes)[:, None] * (np.clip(seconds, *region) - region[0])


def _band_shares(edges_hz: np.ndarray, to_hz: np.ndarray) -> np.ndarray:
    """How much of the power of each band falls into each of the other bands, `[B, B']`."""
    low, high = np.maximum.outer(edges_hz[:-1], to_hz[:-1]), np.minimum.outer(edges_hz[1:], to_hz[1:])
    return np.maximum(high - low, 0.0) / np.diff(edges_hz)[:, None]


def _between(layers: Sequence[VoiceSound], place: float) -> VoiceSound:
    """The spectrum at a place among the layers."""
    soft = layers[min(int(place), len(layers) - 1)]
    loud, share = layers[min(int(place) + 1, len(layers) - 1)], np.float32(place - int(place))
    return VoiceSound(
        soft.partials + share * (loud.partials - soft.partials),
        soft.ratios,
        soft.cents + share * (loud.cents - soft.cents),
        soft.noise + share * (loud.noise - soft.noise),
        soft.tail_rate,
    )


def _power(partials: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Mean square of spectra `[..., T, P]`, `[..., T, B]` at each frame, `[..., T]`."""
    return 0.5 * np.einsum("...p,...p->...", partials, partials) + np.einsum("...b,...b->...", noise, noise)


def _levels_db(seconds: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Mean level of the first second of spectra of this power `[L, T]`, dB `[L]`."""
    early = seconds <= 1.0
    energy = np.trapezoid(power[:, early].astype(np.float64), seconds[early], axis=1)
    return 10.0 * np.log10(np.maximum(energy, 1e-20))


def rising_levels_db(levels_db: np.ndarray, steps_db: np.ndarray) -> np.ndarray:
    """The levels `[L]` nearest to given ones, the last kept, that rise from each to the next by `steps_db` or more.

    Nearest by least squares in how they lie to one another, so that a rise which two layers lack is taken from the
    steps on both sides of them: isotonic regression, by its min-max formula (Barlow, Bartholomew, Bremner and Brunk,
    "Statistical Inference under Order Restrictions", 1972).
    """
    least_db = np.concatenate([[0.0], np.cumsum(steps_db)])
    sums = np.concatenate([[0.0], np.cumsum(levels_db - least_db)])
    first, last = np.ogrid[: len(levels_db), : len(levels_db)]
    means = np.where(first <= last, (sums[1:] - sums[:-1, None]) / np.maximum(last - first + 1, 1), np.inf)
    lowest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    found_db = np.where(first <= last, lowest, -np.inf).max(axis=0) + least_db
    return found_db + (levels_db[-1] - found_db[-1])


def _tail_rates(seconds: np.ndarray, power: np.ndarray) -> np.ndarray:
    """How fast the last quarter of notes of this power decays, per second (natural logarithm of amplitude), `[L]`."""
    late = seconds >= 0.75 * seconds[-1]
    late[-2:] = True  # on a coarse grid
    return -_slopes(seconds[late], 0.5 * np.log(np.maximum(power[:, late], 1e-20)))


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope of the straight line through each row of `y [L, N]` by least squares, `[L]`."""
    away = x - x.mean()
    return (y @ away) / (away @ away)
