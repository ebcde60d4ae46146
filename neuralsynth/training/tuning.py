"""In tune to the ear: where a note with stretched partials is heard, and how far its first partial must give way.

A stiff string's partials lie above the multiples of the first, and a listener (or an autocorrelation tracker) places
the pitch of a bass note between them, up to half a semitone above the first partial. A piano tuner therefore tunes by
ear; so do we: the autocorrelation of each decoded spectrum is searched for its peak near the played period.

Boersma, "Accurate short-term analysis of the fundamental frequency", IFA Proceedings 17, 1993, is the tracker whose
ear this is; without noise and windows its autocorrelation has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training.vae import LOWEST_TUNED_NOTE, N_TUNED_NOTES, TUNED_STEP, Decoder
from neuralsynth.units import note_to_hz

SEARCHED_CENTS = 130.0
SEARCH_STEP_CENTS = 0.5
HEARD_SECONDS = np.linspace(0.05, 0.75, 15)
VELOCITIES = (0.3, 0.6, 0.9)
BEGINNING_SECONDS = (0.05, 1.0)


@torch.no_grad()
def tune(decoder: Decoder, places: torch.Tensor, grid: SpectrumGrid, ranges: Sequence[tuple[float, float]]) -> None:
    """Set a decoder's `sharp` so that its notes at `places` `[G, Z]`, of these note ranges, are heard in tune.

    A string struck harder is heard sharper, so a note's softest and hardest touch end equally far off. Where partials
    are exact harmonics only the movement counts: a note's beginning, all that is heard of a short one, and the note
    as a whole end equally far off. Drums have no pitch to be in tune with.
    """
    if decoder.modes is not None:
        return
    times = grid.frame_seconds
    if decoder.is_harmonic:
        early = np.gradient(times) * ((times >= BEGINNING_SECONDS[0]) & (times <= BEGINNING_SECONDS[1]))
        early = torch.tensor(early / max(early.sum(), 1e-9), dtype=torch.float32)
        decoder.centring.mul_(0.5).add_(0.5 * early)
        return
    own = decoder.own(places)
    decoder.sharp.set_(own, torch.zeros(len(own), N_TUNED_NOTES))
    heard = np.stack([_heard_sharp(decoder, place, grid, *ends) for place, ends in zip(places, ranges, strict=True)])
    decoder.sharp.set_(own, torch.tensor(heard, dtype=torch.float32))


def _heard_sharp(
    decoder: Decoder, place: torch.Tensor, grid: SpectrumGrid, note_low: float, note_high: float
) -> np.ndarray:
    """Cents by which the notes at a place `[Z]` are heard sharp, `[N_TUNED_NOTES]`."""
    notes = LOWEST_TUNED_NOTE + TUNED_STEP * np.arange(N_TUNED_NOTES)
    heard = np.zeros(N_TUNED_NOTES)
    inside = np.flatnonzero((notes > note_low - TUNED_STEP) & (notes < note_high + TUNED_STEP))
    for i in inside:
        note = torch.full((len(VELOCITIES),), float(notes[i]))
        partials, ratios, cents, _ = decoder(place.expand(len(VELOCITIES), -1), note, torch.tensor(VELOCITIES))
        found = [
            sharpness_cents(partials[v].numpy(), ratios[v].numpy(), cents[v].numpy(), grid, float(notes[i]))
            for v in range(len(VELOCITIES))
        ]
        heard[i] = 0.5 * (min(found) + max(found))
    heard[: inside[0]], heard[inside[-1] :] = heard[inside[0]], heard[inside[-1]]
    return heard


def sharpness_cents(
    partials: np.ndarray, ratios: np.ndarray, cents: np.ndarray, grid: SpectrumGrid, note: float
) -> float:
    """Cents by which a note is heard above its nominal pitch: median over time of its autocorrelation's peak."""
    steps = np.arange(-SEARCHED_CENTS, SEARCHED_CENTS + SEARCH_STEP_CENTS, SEARCH_STEP_CENTS)
    frames = np.searchsorted(grid.frame_seconds, HEARD_SECONDS).clip(max=grid.n_frames - 1)
    power = partials[frames].astype(np.float64) ** 2 * (float(note_to_hz(note)) * ratios < 20_000.0)
    cycles = ratios[:, None] * 2.0 ** (-steps / 1200.0)[None, :]  # of each partial within one tried period
    peaks = steps[np.argmax(power @ np.cos(2.0 * np.pi * cycles), axis=1)]
    return float(np.median(peaks + cents[frames]))
