"""What a note's spectrum is like in four numbers: the qualities that axes are named after."""

from __future__ import annotations

import numpy as np

from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.units import note_to_hz

UNITS = {"brightness": "Hz", "noisiness": "dB", "attack": "s", "decay": "dB/s"}
SAYS = {
    "brightness": "spectral centroid of the first second",
    "noisiness": "noise against partials",
    "attack": "time to within 3 dB of the loudest moment",
    "decay": "change of level after the attack",
}


def describe(
    partials: np.ndarray, ratios: np.ndarray, noise: np.ndarray, grid: SpectrumGrid, note: float
) -> dict[str, float]:
    """Brightness, noisiness, attack and decay of a decoded note, in `UNITS`."""
    times = grid.frame_seconds
    early = (np.gradient(times) * (times < 1.0))[:, None]
    partial_power, noise_power = (0.5 * partials**2 * early).sum(0), (noise**2 * early).sum(0)
    total = partial_power.sum() + noise_power.sum() + 1e-20
    hz = float(note_to_hz(note)) * ratios
    centroid = ((partial_power * hz).sum() + (noise_power * grid.band_centres_hz).sum()) / total
    level = 10.0 * np.log10(0.5 * (partials**2).sum(1) + (noise**2).sum(1) + 1e-12)
    top = int(np.argmax(level[times < 2.0]))
    risen = int(np.argmax(level >= level[top] - 3.0))
    attack = float(np.interp(level[top] - 3.0, level[[risen - 1, risen]], times[[risen - 1, risen]])) if risen else 0.0
    start = min(max(risen, int(np.searchsorted(times, 0.2))), int(np.searchsorted(times, 0.5 * times[-1])))
    audible = times[start:][level[start:] > level[top] - 60.0]
    stop = int(np.searchsorted(times, audible[-1])) if len(audible) else start
    slope = np.polyfit(times[start : stop + 1], level[start : stop + 1], 1)[0] if stop - start >= 3 else -200.0
    ratio_db = 10.0 * np.log10((noise_power.sum() + 1e-20) / (partial_power.sum() + 1e-20))
    return {"brightness": float(centroid), "noisiness": float(ratio_db), "attack": attack, "decay": float(slope)}
