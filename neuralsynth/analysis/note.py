"""`analyse_note`: one recorded note to its `NoteSpectrum`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.clock import PitchClock, spectra_of, warp
from neuralsynth.analysis.fundamental import constant_clock, find_pitch, follow
from neuralsynth.analysis.noise import LOG_MEAN_BIAS, band_matrix, bin_to_density, noise_log_density
from neuralsynth.analysis.partials import partial_powers
from neuralsynth.analysis.signal import ENVELOPE_STEP_SECONDS, envelope, find_end_seconds, find_onset_seconds
from neuralsynth.analysis.stiffness import fit_stiffness
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid, stretched_ratios
from neuralsynth.units import note_to_hz

MIN_SECONDS = 0.05
SILENT_BELOW = 1e-4  # -80 dBFS
#: A sustained note is this near its early level for most of the time it is within `HEARD_DB` of it,
SUSTAIN_DB, HEARD_DB = 15.0, 40.0
#: falls by less than this over that time,
FALL_DB = 10.5
#: and is released where it last was this near its middle level.
RELEASE_DB = 8.0


@dataclass(frozen=True)
class NoteAnalysis:
    """What one recording says about one note."""

    spectrum: NoteSpectrum  # frame 0 is the onset; amplitudes in full scale of the recording
    pitch_hz: float  # median fundamental of the loud part; `spectrum.cents` are relative to it
    inharmonicity: float  # B of k·sqrt(1 + B·k²); 0.0 for harmonic sounds
    n_valid_frames: int  # frames inside the usable recording; later ones hold the last valid values
    onset_seconds: float  # where in the recording frame 0 is
    sustains: bool  # blown, bowed, organ: the note's last part is nearly as loud as its first


def analyse_note(audio_mono: np.ndarray, sample_rate: int, note: float, grid: SpectrumGrid) -> NoteAnalysis:
    """Describe a recording of one note, whose pitch lies near `note` (MIDI number), on `grid`.

    Raises:
        RecordingError: silent, too short, or nothing of this pitch in it.
    """
    audio = np.asarray(audio_mono, dtype=np.float64)
    audio = audio - np.mean(audio) if len(audio) else audio  # an offset is no sound, and would hide the onset
    if len(audio) < MIN_SECONDS * sample_rate:
        raise RecordingError(f"lasts {len(audio) / sample_rate:.3f} s; a note needs at least {MIN_SECONDS} s")
    if np.max(np.abs(audio)) < SILENT_BELOW:
        raise RecordingError("is silent (never louder than -80 dB of full scale)")
    onset, end = find_onset_seconds(audio, sample_rate), find_end_seconds(audio, sample_rate)
    if end - onset < MIN_SECONDS:
        raise RecordingError(f"holds {end - onset:.3f} s of sound; a note needs at least {MIN_SECONDS} s")
    note_audio = audio[round(onset * sample_rate) :]
    length = end - onset
    rate = float(sample_rate)
    clock, inharmonicity = _follow_pitch(note_audio, rate, length, float(note_to_hz(note)))
    pitch_hz = _median_pitch(note_audio, rate, clock)
    sustains, usable = _sustain(note_audio, rate, length)
    n_valid = max(1, int(np.searchsorted(grid.frame_seconds, usable, side="right")))
    spectrum = _measure(note_audio, rate, clock, pitch_hz, inharmonicity, grid, n_valid)
    return NoteAnalysis(spectrum, pitch_hz, inharmonicity, n_valid, onset, sustains)


def _sustain(audio: np.ndarray, rate: float, length: float) -> tuple[bool, float]:
    """Whether the note sustains, and how much of it is usable in seconds (before a release).

    A sustained note stays near its early level for most of the time it can be heard, and has no steady fall in it.
    """
    level = 20 * np.log10(np.maximum(envelope(audio[: round(length * rate)], int(rate), 0.05), 1e-9))
    early = np.max(level[: max(1, min(len(level), 600))])
    near = int(np.nonzero(level > early - SUSTAIN_DB)[0][-1])
    heard = int(np.nonzero(level > early - HEARD_DB)[0][-1])
    first = int(np.argmax(level > early - 1.0))
    body = level[first : near + 1]
    if near < 0.6 * heard or len(body) < 2 or len(body) * np.polyfit(np.arange(len(body)), body, 1)[0] < -FALL_DB:
        return False, length
    steady = np.median(body)
    last = np.nonzero(level > steady - RELEASE_DB)[0][-1]
    return True, max(0.02, last * ENVELOPE_STEP_SECONDS - 0.02)


def _follow_pitch(audio: np.ndarray, rate: float, length: float, nominal_hz: float) -> tuple[PitchClock, float]:
    """The note's pitch clock and stiffness."""
    start = min(0.05, 0.2 * length)
    stop = max(min(start + 0.5, length), start + 0.02)
    guess = find_pitch(audio[round(start * rate) : round(stop * rate)], rate, nominal_hz)
    clock = follow(audio, rate, constant_clock(guess.pitch_hz, length), guess.inharmonicity)
    string = fit_stiffness(audio, rate, clock, guess.inharmonicity, start, stop)
    if guess.inharmonicity != 0.0:
        clock = PitchClock(clock.seconds, clock.pitch_hz * 2.0 ** (string.shift_cents / 1200.0))
        clock = follow(audio, rate, clock, string.inharmonicity)
    return clock, string.inharmonicity


def _median_pitch(audio: np.ndarray, rate: float, clock: PitchClock) -> float:
    """Median fundamental over the part within 20 dB of the peak."""
    level = envelope(audio, int(rate), 0.02)
    at = np.minimum((clock.seconds / ENVELOPE_STEP_SECONDS).astype(int), len(level) - 1)
    return float(np.median(clock.pitch_hz[level[at] >= 0.1 * level.max()]))


def _centres(grid: SpectrumGrid, n_valid: int, step: float = 0.004) -> tuple[np.ndarray, np.ndarray]:
    """Window centres `[N]` in seconds, and which frame each belongs to `[N]`."""
    times = grid.frame_seconds[:n_valid]
    edges = np.concatenate([[0.0], 0.5 * (times[1:] + times[:-1]), times[-1:]])
    centres, owner = [], []
    for i, t in enumerate(times):
        span = edges[i + 1] - edges[i]
        n = max(1, int(span / step))
        centres.append(np.linspace(edges[i], edges[i + 1], n + 2)[1:-1] if n > 1 else np.array([t]))
        owner.append(np.full(n, i))
    return np.concatenate(centres), np.concatenate(owner)


def _window_cycles(times: np.ndarray, pitch_hz: float, grow: float, shortest: float, longest: float) -> np.ndarray:
    """Window lengths in cycles (4, 8, 16 ...) for frames at `times`: short at the attack, long where the note is steady."""
    seconds = np.clip(grow * times, shortest, longest)
    return (4 * 2 ** np.maximum(0, np.round(np.log2(seconds * pitch_hz / 4)))).astype(int)


ARITH = True
W = dict(noise=(0.5, 0.01, 0.08), partials=(0.5, 0.01, 0.03))


def _measure(audio, rate, clock, pitch_hz, inharmonicity, grid, n_valid) -> NoteSpectrum:
    ratios = stretched_ratios(grid.n_partials, inharmonicity)
    warped = warp(audio, rate, clock)
    times = grid.frame_seconds[:n_valid]
    frame_pitch = np.interp(times, clock.seconds, clock.pitch_hz)
    centres, owner = _centres(grid, n_valid)
    edges = grid.band_edges_hz
    width = np.diff(np.minimum(edges, 0.5 * rate))
    noise = np.zeros((n_valid, grid.n_bands))
    partials = np.zeros((n_valid, grid.n_partials))
    noise_cycles = _window_cycles(times, pitch_hz, *W["noise"])
    partial_cycles = _window_cycles(times, pitch_hz, *W["partials"])
    for cycles in np.unique(np.concatenate([noise_cycles, partial_cycles])):
        chosen = (noise_cycles == cycles) | (partial_cycles == cycles)
        which = np.nonzero(chosen[owner])[0]
        mine = owner[which]
        starts = np.concatenate([[0], np.nonzero(np.diff(mine))[0] + 1])
        counts = np.diff(np.append(starts, len(mine)))[:, None]
        at = np.maximum(centres[which], 0.5 * cycles / pitch_hz * 0.8)
        spectra = spectra_of(warped, clock, at, int(cycles), padding=2)
        log_density = noise_log_density(spectra, ratios)
        density = np.add.reduceat(log_density, starts, axis=0) / counts
        frame_noise = np.repeat(np.exp(density), counts[:, 0], axis=0)
        powers = partial_powers(spectra, ratios, frame_noise)
        amplitude = np.sqrt(np.add.reduceat(powers, starts, axis=0) / counts)
        matrix = band_matrix(spectra, edges, pitch_hz, 0.5 * rate)
        bands = np.exp(density @ matrix)
        if ARITH:
            plain = np.add.reduceat(np.exp(log_density - LOG_MEAN_BIAS), starts, axis=0) / counts
            bands = np.minimum(bands, plain @ matrix)
        bands = np.sqrt(bands * bin_to_density(spectra, frame_pitch[chosen])[:, None] * width)
        noise = np.where((noise_cycles == cycles)[:, None], _spread(bands, chosen), noise)
        partials = np.where((partial_cycles == cycles)[:, None], _spread(amplitude, chosen), partials)
    partials *= frame_pitch[:, None] * ratios < 0.48 * rate
    cents = 1200 * np.log2(frame_pitch / pitch_hz)
    hold = np.minimum(np.arange(grid.n_frames), n_valid - 1)
    return NoteSpectrum(grid, partials[hold], ratios, cents[hold], noise[hold])


def _spread(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    full = np.zeros((len(chosen), values.shape[1]))
    full[chosen] = values
    return full
