"""`analyse_note`: one recorded note to its `NoteSpectrum`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.clock import DenseAudio, PitchClock, dense
from neuralsynth.analysis.fundamental import constant_clock, find_pitch, follow
from neuralsynth.analysis.partials import HIGHEST_SHARE_OF_RATE, measure
from neuralsynth.analysis.signal import ENVELOPE_STEP_SECONDS, envelope, find_end_seconds, find_onset_seconds
from neuralsynth.analysis.stiffness import fit_stiffness
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid, stretched_ratios
from neuralsynth.units import note_to_hz, ratio_to_cents

MIN_SECONDS = 0.05
SILENT_BELOW = 1e-4  # -80 dBFS
#: A sustained note is this near its early level for most of the time it is within `HEARD_DB` of it,
SUSTAIN_DB, HEARD_DB = 15.0, 40.0
#: falls by less than this over that time,
FALL_DB = 10.5
#: and is released where it last was this near its middle level.
RELEASE_DB = 8.0
#: Partials must explain this much of the sound: right notes give over 0.9, noise 0.1, other notes up to 0.3.
MIN_TONE_SHARE = 0.4
#: Sound heard beyond the last frame, so that its windows are full.
SPARE_SECONDS = 0.25


@dataclass(frozen=True)
class NoteAnalysis:
    """What one recording says about one note."""

    spectrum: NoteSpectrum  # frame 0 is the onset; amplitudes in full scale of the recording
    pitch_hz: float  # median fundamental of the loud part; `spectrum.cents` are relative to it
    inharmonicity: float  # B of k·sqrt(1 + B·k²); 0.0 for harmonic sounds
    n_valid_frames: int  # frames inside the usable recording; later ones hold the last valid values
    onset_seconds: float  # where in the recording frame 0 is
    sustains: bool  # blown, bowed, organ: the note's last part is nearly as loud as its first
    usable_seconds: float = math.inf  # from the onset on; where a sustained note is let go, else where it is unheard


def analyse_note(audio_mono: np.ndarray, sample_rate: int, note: float, grid: SpectrumGrid) -> NoteAnalysis:
    """Describe a recording of one note, whose pitch lies near `note` (MIDI number), on `grid`.

    Raises:
        RecordingError: silent, too short, or nothing of this pitch in it.
    """
    audio, onset, end = sounding_part(np.asarray(audio_mono, dtype=np.float64), sample_rate)
    rate, length = float(sample_rate), end - onset
    nominal_hz = float(note_to_hz(note))
    missing = RecordingError(f"no tone of about {nominal_hz:.1f} Hz (note {note:g}) stands out in it")
    if nominal_hz > HIGHEST_SHARE_OF_RATE * rate:
        raise missing
    first = round(onset * rate)
    sustains, usable = _sustain(audio[first : round(end * rate)], rate, length)
    length = min(length, float(grid.frame_seconds[-1]) + SPARE_SECONDS)
    heard = audio[first : first + round((length + SPARE_SECONDS) * rate)]
    between = dense(heard, rate)
    clock, inharmonicity = _follow_pitch(heard, between, length, nominal_hz)
    pitch_hz = _median_pitch(heard, rate, clock)
    n_valid = max(1, int(np.searchsorted(grid.frame_seconds, usable, side="right")))
    ratios = stretched_ratios(grid.n_partials, inharmonicity)
    measured = measure(heard, between, clock, pitch_hz, ratios, grid, n_valid)
    times = grid.frame_seconds[:n_valid]
    if _tone_share(heard, rate, pitch_hz, times, measured.partials) < MIN_TONE_SHARE:
        raise missing
    cents = ratio_to_cents(np.interp(times, clock.seconds, clock.pitch_hz) / pitch_hz)
    hold = np.minimum(np.arange(grid.n_frames), n_valid - 1)
    spectrum = NoteSpectrum(grid, measured.partials[hold], ratios, cents[hold], measured.noise[hold])
    return NoteAnalysis(spectrum, pitch_hz, inharmonicity, n_valid, onset, sustains, usable)


def sounding_part(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, float, float]:
    """The recording without its constant offset (which would hide the onset), and where the sound begins and ends."""
    if len(audio) < MIN_SECONDS * sample_rate:
        raise RecordingError(f"lasts {len(audio) / sample_rate:.3f} s; a note needs at least {MIN_SECONDS} s")
    audio = audio - np.mean(audio)
    if np.max(np.abs(audio)) < SILENT_BELOW:
        raise RecordingError("is silent (never louder than -80 dB of full scale)")
    onset, end = find_onset_seconds(audio, sample_rate), find_end_seconds(audio, sample_rate)
    if end - onset < MIN_SECONDS:
        raise RecordingError(f"holds {end - onset:.3f} s of sound; a note needs at least {MIN_SECONDS} s")
    return audio, onset, end


def _sustain(audio: np.ndarray, rate: float, length: float) -> tuple[bool, float]:
    """Whether the note sustains, and how much of it is usable in seconds (before a release).

    A sustained note stays near its early level for most of the time it can be heard, and has no steady fall in it.
    """
    level = 20 * np.log10(np.maximum(envelope(audio, int(rate), 0.05), 1e-9))
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


def _follow_pitch(audio: np.ndarray, between: DenseAudio, length: float, nominal_hz: float) -> tuple[PitchClock, float]:
    """The note's pitch clock and stiffness."""
    rate = between.sample_rate
    start = min(0.05, 0.2 * length)
    stop = max(min(start + 0.5, length), start + 0.02)
    guess = find_pitch(audio[round(start * rate) : round(stop * rate)], rate, nominal_hz)
    clock = follow(between, constant_clock(guess.pitch_hz, length), guess.inharmonicity)
    string = fit_stiffness(between, clock, guess.inharmonicity, start, stop)
    if guess.inharmonicity != 0.0:
        clock = PitchClock(clock.seconds, clock.pitch_hz * 2.0 ** (string.shift_cents / 1200.0))
        clock = follow(between, clock, string.inharmonicity)
    return clock, string.inharmonicity


def _median_pitch(audio: np.ndarray, rate: float, clock: PitchClock) -> float:
    """Median fundamental over the part within 20 dB of the peak."""
    level = envelope(audio, int(rate), 0.02)
    at = np.minimum((clock.seconds / ENVELOPE_STEP_SECONDS).astype(int), len(level) - 1)
    return float(np.median(clock.pitch_hz[level[at] >= 0.1 * level.max()]))


def _tone_share(audio: np.ndarray, rate: float, pitch_hz: float, times: np.ndarray, partials: np.ndarray) -> float:
    """Share of the power from a little below the fundamental up that the partials explain, in the note's best quarter.

    What lies below cannot be the note: the knock of a piano's top keys is louder than their tone.
    """
    from scipy.signal import butter, sosfilt

    cut = min(0.7 * pitch_hz, 0.45 * rate)
    level = envelope(sosfilt(butter(4, cut, "high", fs=rate, output="sos"), audio), int(rate), 0.03)
    at = np.minimum((times / ENVELOPE_STEP_SECONDS).astype(int), len(level) - 1)
    power = 0.5 * np.sum(partials**2, axis=1)
    return float(np.percentile(power / np.maximum(level[at] ** 2, 1e-20), 75))
