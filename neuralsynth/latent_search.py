"""The place in a model's latent space whose note is nearest to a recorded one, and the velocity that goes with it.

First the character is searched, then the detail fitted to what is left (`detail_fit`).

Both notes are compared as a listener's ear would: as levels in dB of mel bands over time, at equal loudness, with
what the recording cannot show (frames after its end, bands above half its rate) left out. The nearest place is found
by nonlinear least squares with a robust loss (trust region reflective: Branch, Coleman and Li, SIAM J. Sci. Comput.
21(1), 1999), from several starts: every named point and both ends of every axis there. Derivatives are finite
differences of one decoded batch, so any family of model can be searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis import NoteAnalysis
from neuralsynth.detail_fit import fit_detail
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.model_encoder import Encoder
from neuralsynth.spectrum import HIGHEST_BAND_HZ, LOWEST_BAND_HZ
from neuralsynth.units import hz_to_mel

N_BANDS = 64
_HIGHEST_SHARE_OF_RATE = 0.45
_FLOOR_DB = 80.0
_ROBUST_DB = 4.0  # larger differences count by their size, not by its square
_PRIOR_DB = 0.15  # what one deviation from the nearest named point costs,
_FAR, _FAR_PRIOR_DB = 2.5, 0.5  # and what one beyond so many costs: few trained notes lie there
_VIBRATO_DB_PER_CENT = 0.15
_STEP = 0.05  # of the finite differences
_LEAST_BOUND, _BEYOND_POINTS = 4.0, 1.0  # how far the search goes
_REFINED = 3  # starts that are refined
_EVALUATIONS = 25  # of the residual, for each
_TRIED_VELOCITIES = 4
_VELOCITY_HALF_RANGE = 2.0  # the recorded velocities stand for -2 to 2


@dataclass(frozen=True)
class Place:
    """A latent and a velocity, and how far what they decode to is from the recording."""

    latent: np.ndarray  # [Z]; its detail is zero until it is fitted
    velocity: int  # MIDI
    cost: float  # robust mean square, dB²
    start: str  # the named point from which it was found


class LatentSearch:
    """The search for one recorded note in one model."""

    def __init__(
        self,
        model: InstrumentModel,
        analysis: NoteAnalysis,
        note: int,
        sample_rate: int,
        encoder: Encoder | None = None,
    ) -> None:
        """Prepare the comparison; `analysis` must be on the model's own grid.

        An `encoder` that fits the model gives the search one more start.
        """
        self._encoder = encoder if encoder is not None and encoder.spec.fits(model.spec) else None
        self._model, self._spec, self._grid = model, model.spec, model.spec.grid()
        self._analysis = analysis
        self._note = float(np.clip(note, self._spec.note_low, self._spec.note_high))
        self._pitch_hz = analysis.pitch_hz
        self._n = analysis.n_valid_frames
        highest = min(HIGHEST_BAND_HZ, _HIGHEST_SHARE_OF_RATE * sample_rate)
        self._corners = np.linspace(hz_to_mel(LOWEST_BAND_HZ), hz_to_mel(highest), N_BANDS + 2)
        self._noise_shares = self._band_shares()
        seconds = np.gradient(self._grid.frame_seconds)[: self._n] if self._n > 1 else np.ones(1)
        self._share = seconds / seconds.sum()
        # Half of the weight is the same for each frame, half goes by its length: neither attack nor body is drowned.
        self._weights = np.sqrt((0.5 / self._n + 0.5 * self._share) / N_BANDS)
        spectrum = analysis.spectrum
        one = Decoded(spectrum.partials[None], spectrum.ratios[None], spectrum.cents[None], spectrum.noise[None])
        self._floor_db = -np.inf
        target = self._bands_db(one)
        self._floor_db = float(target.max()) - _FLOOR_DB
        self._target, self._vibrato = np.maximum(target, self._floor_db)[0], self._vibrato_cents(one)[0]

    def nearest(self, velocity: int | None = None) -> list[Place]:
        """The best places found, nearest first; with `velocity` (MIDI) only the latent is searched."""
        from scipy.optimize import least_squares

        starts = self.starts(velocity)
        bound = max(_LEAST_BOUND, _BEYOND_POINTS + max(float(np.abs(place.latent).max()) for place in starts))
        reach = np.full(self._spec.character_size, min(bound, self._model.latent_reach))
        if velocity is None and self._several_velocities:
            reach = np.append(reach, _VELOCITY_HALF_RANGE)
        found = []
        for start in starts[:_REFINED]:
            x = self._as_numbers(start, len(reach))
            result = least_squares(
                lambda x, s=start: self._residuals(x[None], s)[0],
                np.clip(x, -0.999 * reach, 0.999 * reach),
                jac=lambda x, s=start: self._slopes(x, s),
                bounds=(-reach, reach), max_nfev=_EVALUATIONS, xtol=1e-4, ftol=1e-4,
            )  # fmt: skip
            found.append(self._place(result.x, start))
        return sorted(found, key=lambda place: place.cost)

    def detailed(self, place: Place) -> Place:
        """The place with the detail that brings it nearest; the same place in a model without detail."""
        analysis, velocity = self._analysis, place.velocity
        latent = fit_detail(self._model, analysis.spectrum, self._n, place.latent, self._note, velocity / 127.0)
        return self._placed(np.round(latent, 3), velocity, place.start)

    def best(self, velocity: int | None = None) -> Place:
        """The nearest place altogether, detail included."""
        places = [*self.nearest(velocity)[:1], *self.at_points(velocity)[:1]]
        return min((self.detailed(place) for place in places), key=lambda place: place.cost)

    def at_points(self, velocity: int | None = None) -> list[Place]:
        """The named points, each at the velocity that fits it best, nearest first."""
        points = {name: self._spec.place(point).astype(np.float64) for name, point in self._spec.points.items()}
        return self._at_best_velocity(points, velocity)

    @property
    def _several_velocities(self) -> bool:
        return self._spec.velocity_high > self._spec.velocity_low

    def starts(self, velocity: int | None) -> list[Place]:
        """Where the search may begin, the likeliest first: named points, and both ends of every axis at the best."""
        points = self.at_points(velocity)
        best = points[0]
        ends: dict[str, np.ndarray] = {}
        for axis in self._spec.at(best.latent).axes.values():
            for end in (axis.low, axis.high):
                ends[f"{best.start}{len(ends)}"] = best.latent + 0.5 * self._spec.place(end)
        if self._encoder is not None:
            ends["encoded"] = self._encoded(velocity)
        moved = self._at_best_velocity(ends, velocity) if ends else []
        named = [Place(place.latent, place.velocity, place.cost, best.start) for place in moved]
        return [best, *sorted([*points[1:], *named], key=lambda place: place.cost)]

    def _encoded(self, velocity: int | None) -> np.ndarray:
        """Where the encoder hears the recording, `[Z]`."""
        assert self._encoder is not None
        touch = 0.5 * (self._spec.velocity_low + self._spec.velocity_high) if velocity is None else velocity
        mean, _ = self._encoder.encode(self._analysis.spectrum, self._note, touch / 127.0)
        return self._spec.place(mean).astype(np.float64)

    def _at_best_velocity(self, latents: dict[str, np.ndarray], velocity: int | None) -> list[Place]:
        tried = [velocity] if velocity is not None else self._velocities()
        places = []
        for name, latent in latents.items():
            x = np.tile(latent, (len(tried), 1))
            costs = np.sum(self._compare(x, np.array(tried) / 127.0) ** 2, axis=1)
            best = int(np.argmin(costs))
            places.append(Place(latent, tried[best], float(costs[best]), name))
        return sorted(places, key=lambda place: place.cost)

    def _velocities(self) -> list[int]:
        low, high = self._spec.velocity_low, self._spec.velocity_high
        return sorted({round(v) for v in np.linspace(max(low, 1), max(high, 1), _TRIED_VELOCITIES)})

    def _as_numbers(self, place: Place, size: int) -> np.ndarray:
        low, high = self._spec.velocity_low, self._spec.velocity_high
        character = place.latent[: self._spec.character_size].copy()
        if size == len(character):
            return character
        turned = _VELOCITY_HALF_RANGE * (2.0 * (place.velocity - low) / (high - low) - 1.0)
        return np.append(character, turned)

    def _velocity(self, x: np.ndarray, otherwise: int) -> np.ndarray:
        """MIDI velocities of rows of numbers, `[N]`."""
        if x.shape[1] == self._spec.character_size:
            return np.full(len(x), float(otherwise))
        low, high = self._spec.velocity_low, self._spec.velocity_high
        return low + (high - low) * 0.5 * (1.0 + x[:, -1] / _VELOCITY_HALF_RANGE)

    def _place(self, x: np.ndarray, start: Place) -> Place:
        """The numbers of a search as a place, with the velocity made whole."""
        latent = self._spec.place(np.round(x[: self._spec.character_size], 4)).astype(np.float64)
        velocity = int(np.clip(round(float(self._velocity(x[None], start.velocity)[0])), 1, 127))
        return self._placed(latent, velocity, start.start)

    def _placed(self, latent: np.ndarray, velocity: int, start: str) -> Place:
        cost = np.sum(self._compare(latent[None], np.array([velocity / 127.0])) ** 2)
        return Place(latent, velocity, float(cost), start)

    def _residuals(self, x: np.ndarray, start: Place) -> np.ndarray:
        """Rows of numbers to weighted differences and what the prior costs, `[N, R]` in dB."""
        size = self._spec.character_size
        differences = self._compare(x[:, :size], self._velocity(x, start.velocity) / 127.0)
        away = x.copy()
        away[:, :size] -= self._spec.points[start.start]
        beyond = np.maximum(np.abs(x) - _FAR, 0.0)
        return np.concatenate([differences, away * _PRIOR_DB, beyond * _FAR_PRIOR_DB], axis=1)

    def _slopes(self, x: np.ndarray, start: Place) -> np.ndarray:
        rows = self._residuals(np.concatenate([x[None], x + _STEP * np.eye(len(x))]), start)
        return ((rows[1:] - rows[0]) / _STEP).T

    def _compare(self, latent: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Weighted differences of decoded notes to the recording, `[N, n · N_BANDS + 1]` in dB."""
        decoded = self._model.decode(latent, np.full(len(latent), self._note), velocity)
        differences = _robust(self._bands_db(decoded) - self._target) * self._weights[:, None]
        vibrato = _VIBRATO_DB_PER_CENT * (self._vibrato_cents(decoded) - self._vibrato)
        return np.concatenate([differences.reshape(len(latent), -1), vibrato[:, None]], axis=1)

    def _bands_db(self, notes: Decoded) -> np.ndarray:
        """Levels in the bands at equal loudness of the notes, floored, `[N, n, N_BANDS]`."""
        mel = hz_to_mel(self._pitch_hz * notes.ratios.astype(np.float64))
        power = 0.5 * notes.partials[:, : self._n].astype(np.float64) ** 2 @ self._triangles(mel)
        power += notes.noise[:, : self._n].astype(np.float64) ** 2 @ self._noise_shares
        loudness = np.einsum("t,ntb->n", self._share, power)
        level_db = 10.0 * np.log10(np.maximum(power / np.maximum(loudness, 1e-30)[:, None, None], 1e-15))
        return np.maximum(level_db, self._floor_db)

    def _triangles(self, mel: np.ndarray) -> np.ndarray:
        """How partials at `mel` `[N, P]` fall into the bands, `[N, P, N_BANDS]`."""
        width = self._corners[1] - self._corners[0]
        return np.maximum(0.0, 1.0 - np.abs(mel[..., None] - self._corners[1:-1]) / width)

    def _band_shares(self) -> np.ndarray:
        """How the noise bands of the grid fall into ours, by power, `[B, N_BANDS]`."""
        fine = np.linspace(0.0, 1.0, 33)[:-1] + 0.5 / 32
        edges = self._grid.band_edges_hz
        inside = hz_to_mel(edges[:-1, None] + fine * np.diff(edges)[:, None])
        return self._triangles(inside).mean(axis=1)

    def _vibrato_cents(self, notes: Decoded) -> np.ndarray:
        """Spread of the pitch over time, `[N]`."""
        cents = notes.cents[:, : self._n].astype(np.float64)
        mean = cents @ self._share
        return np.sqrt(np.maximum(((cents - mean[:, None]) ** 2) @ self._share, 0.0))


def _robust(differences_db: np.ndarray) -> np.ndarray:
    """Differences whose squares grow like the square near 0 and like the size far from it (the loss `soft_l1`)."""
    bent = np.sqrt(2.0 * (np.sqrt(1.0 + (differences_db / _ROBUST_DB) ** 2) - 1.0))
    return _ROBUST_DB * np.copysign(bent, differences_db)
