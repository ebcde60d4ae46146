"""`analyse_piece`: the recorded hits of one drum to `NoteSpectrum`s, the noun that notes have too.

Modes are partials at free ratios that all hits of the piece share; a falling pitch is in `cents`; what the modes leave
is noise in bands, most of it for cymbals. Noise windows are as short as 3 ms at the stroke, and as long as the narrow
low bands want them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from neuralsynth.analysis.modes import Hit, find_modes, mode_levels
from neuralsynth.analysis.note import SPARE_SECONDS, NoteAnalysis, sounding_part
from neuralsynth.analysis.sweep import LEAST_SHARE, Sweep, find_sweep, lowest_mode
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid
from neuralsynth.units import note_to_hz

#: Hits whose lowest modes lie within this share of each other are strokes on one drum.
SAME_DRUM = 0.2
NOISE_WINDOW_SECONDS = 0.003 * 2.0 ** np.arange(5)
#: A noise window is this share of the time since the stroke, at least so many periods of its band's width.
NOISE_GROW, NOISE_LONGEST_SECONDS, NOISE_PERIODS = 0.6, 0.04, 2.0
#: Mean magnitude of Gaussian noise, of its RMS: magnitudes are distributed after Rayleigh.
MEAN_MAGNITUDE = 0.5 * math.sqrt(math.pi)
_AHEAD = 0.42  # of a window: so near to the stroke its middle may come


def analyse_piece(
    recordings: Sequence[tuple[np.ndarray, int]], key: float, grid: SpectrumGrid
) -> list[NoteAnalysis | RecordingError]:
    """Describe recordings of one drum (mono `[S]` and sample rate each) on `grid`, their modes in common.

    Args:
        key: MIDI note that plays the drum as recorded; ratios and cents count from its pitch.

    Returns:
        For each recording its analysis, or the `RecordingError` that says why there is none.
    """
    found = [_from_onset(audio, rate, grid) for audio, rate in recordings]
    sounds = [one for one in found if not isinstance(one, RecordingError)]
    hits, reference_hz, has_pitch = _with_sweeps([(audio, rate) for audio, rate, _, _ in sounds])
    modes_hz = np.zeros(0)
    if hits:
        modes_hz = find_modes(hits, reference_hz, grid.n_partials, reference_hz if has_pitch else 0.0)
    own_hz, rest = float(note_to_hz(key)), iter(zip(hits, sounds, strict=True))
    ratios = np.arange(1.0, grid.n_partials + 1.0)  # of modes that are not there, and silent
    ratios[: len(modes_hz)] = modes_hz / own_hz
    answers: list[NoteAnalysis | RecordingError] = []
    for one in found:
        if isinstance(one, RecordingError):
            answers.append(one)
            continue
        hit, (_, _, onset, length) = next(rest)
        spectrum, n_valid = _spectrum(hit, modes_hz, reference_hz, ratios, grid, length)
        answers.append(NoteAnalysis(spectrum, own_hz, 0.0, n_valid, onset, sustains=False, usable_seconds=length))
    return answers


def _from_onset(
    audio: np.ndarray, rate: int, grid: SpectrumGrid
) -> tuple[np.ndarray, float, float, float] | RecordingError:
    """The sound from its onset on, its rate, and where in the recording that is and how long it is heard (seconds)."""
    try:
        whole, onset, end = sounding_part(np.asarray(audio, dtype=np.float64), rate)
    except RecordingError as error:
        return error
    length = end - onset
    heard = min(length, float(grid.frame_seconds[-1]) + SPARE_SECONDS)
    return whole[round(onset * rate) : round((onset + heard) * rate)], float(rate), onset, length


def _with_sweeps(sounds: Sequence[tuple[np.ndarray, float]]) -> tuple[list[Hit], float, bool]:
    """The hits of a piece with their sweeps, the frequency its lowest mode ends at, and whether it has such a one."""
    lows = [lowest_mode(audio, rate) for audio, rate in sounds]
    if not lows:
        return [], 1.0, False
    middle_hz = float(np.median([hz for hz, _ in lows]))
    if np.median([share for _, share in lows]) < LEAST_SHARE:
        return [Hit(audio, rate, Sweep(middle_hz)) for audio, rate in sounds], middle_hz, False
    is_one_drum = np.ptp([hz for hz, _ in lows]) < SAME_DRUM * middle_hz
    hits = [
        Hit(audio, rate, find_sweep(audio, rate, middle_hz if is_one_drum else hz))
        for (audio, rate), (hz, _) in zip(sounds, lows, strict=True)
    ]
    return hits, float(np.median([hit.sweep.end_hz for hit in hits])), True


def _spectrum(
    hit: Hit, modes_hz: np.ndarray, reference_hz: float, ratios: np.ndarray, grid: SpectrumGrid, length: float
) -> tuple[NoteSpectrum, int]:
    """One hit on the grid, and how many frames lie inside its recording."""
    n_valid = max(1, int(np.searchsorted(grid.frame_seconds, length, side="right")))
    times = grid.frame_seconds[:n_valid]
    partials = np.zeros((n_valid, grid.n_partials))
    partials[:, : len(modes_hz)], rest = mode_levels(hit, modes_hz / reference_hz, times)
    noise = noise_levels(rest, hit.sample_rate, times, grid.band_edges_hz)
    hold = np.minimum(np.arange(grid.n_frames), n_valid - 1)
    cents = hit.sweep.cents(grid.frame_seconds, reference_hz)
    return NoteSpectrum(grid, partials[hold], ratios, cents, noise[hold]), n_valid


def noise_levels(audio: np.ndarray, rate: float, times: np.ndarray, band_edges_hz: np.ndarray) -> np.ndarray:
    """RMS of a noise `[S]` in each band at `times` in seconds: `[T, B]`.

    It is told from mean magnitudes, as those of noise are distributed: what stands out of a band, as close modes that
    are no partials do, then raises less what lies between.
    """
    wanted = np.clip(NOISE_GROW * times, NOISE_WINDOW_SECONDS[0], NOISE_LONGEST_SECONDS)[:, None]
    resolving = np.minimum(NOISE_PERIODS / np.diff(band_edges_hz), NOISE_LONGEST_SECONDS)
    wanted = np.maximum(wanted, resolving)
    choice = np.argmin(np.abs(np.log(NOISE_WINDOW_SECONDS / wanted[:, :, None])), axis=2)
    levels = np.zeros(wanted.shape)
    for i, seconds in enumerate(NOISE_WINDOW_SECONDS):
        frames = np.flatnonzero((choice == i).any(axis=1))
        if len(frames):
            found = np.zeros_like(levels)
            found[frames] = _band_levels(audio, rate, times, frames, band_edges_hz, float(seconds))
            levels = np.where(choice == i, found, levels)
    return levels


def _band_levels(
    audio: np.ndarray, rate: float, times: np.ndarray, frames: np.ndarray, band_edges_hz: np.ndarray, seconds: float
) -> np.ndarray:
    """RMS in bands of some frames with windows of one length, as many as fit between a frame's neighbours: `[F, B]`."""
    from scipy.fft import rfft

    size = 2 * max(2, round(0.5 * seconds * rate))
    edges = np.concatenate([times[:1], 0.5 * (times[1:] + times[:-1]), times[-1:]])
    counts = np.maximum(1, (np.diff(edges)[frames] / (0.5 * seconds)).astype(int))
    centres = np.concatenate(
        [
            np.linspace(edges[f], edges[f + 1], n + 2)[1:-1] if n > 1 else times[f : f + 1]
            for f, n in zip(frames, counts, strict=True)
        ]
    )
    padded = np.pad(audio, (size, 2 * size))
    start = np.round(np.maximum(centres, _AHEAD * seconds) * rate).astype(int) + size - size // 2
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(size) + 0.5) / size)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, size)[np.minimum(start, len(padded) - size)]
    magnitude = np.abs(rfft(pieces * window, 2 * size, axis=1, workers=1)) * np.sqrt(2.0 / rate / np.sum(window**2))
    overlaps = _overlaps(magnitude.shape[1], 0.5 * rate / size, band_edges_hz, 0.5 * rate)
    means = magnitude @ (overlaps / np.sqrt(np.maximum(overlaps.sum(axis=0), 1e-12)))  # times the root of the width
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.add.reduceat(means, first, axis=0) / (MEAN_MAGNITUDE * counts[:, None])


def _overlaps(n_bins: int, step_hz: float, band_edges_hz: np.ndarray, nyquist_hz: float) -> np.ndarray:
    """Hertz of each band that each bin stands for, `[F, B]`; nothing above `nyquist_hz`."""
    low = (np.arange(n_bins) - 0.5) * step_hz
    edges = np.minimum(band_edges_hz, nyquist_hz)
    return np.maximum(np.minimum(low[:, None] + step_hz, edges[1:]) - np.maximum(low[:, None], edges[:-1]), 0.0)
