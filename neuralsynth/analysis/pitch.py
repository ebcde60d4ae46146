"""The pitch of one recorded note, and how much the spectrum speaks for any other. The only import of parselmouth.

Three witnesses are added up on one logarithmic grid of candidates, 25 Hz to 5.2 kHz:

- SWIPE' (`analysis.swipe`): does the spectrum have its peaks at the first and the prime harmonics, and its valleys
  between?
- Praat's autocorrelation (Boersma, IFA Proceedings 17, 1993): which periods repeat, frame by frame?
- the strongest single partial, which decides for short, bright sounds such as the top of a piano.

The first gives the octave, the second the cents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.swipe import LOWEST_HZ, STEPS_PER_OCTAVE, candidates_hz, peak_hz, series_evidence
from neuralsynth.errors import MissingExtra

LOUD_SECONDS = 1.5
SHORTEST_SECONDS = 0.05
_LOWEST_RATE_HZ = 2000
#: The hammer, the tongue and the bow are over after this long.
_ATTACK_SECONDS = 0.06
_PARTIAL_WEIGHT = _PERIOD_WEIGHT = 0.1
#: A lone partial above this is taken for the pitch when no series of harmonics is seen.
_LONE_PARTIAL_HZ, _LONE_PARTIAL_SHARE, _LONE_PARTIAL_CONFIDENCE, _NO_SERIES = 1200.0, 0.35, 0.2, 0.3
#: Below this confidence the periods are not asked for the cents: those of stiff low strings are sharp.
_SURE = 0.3


@dataclass(frozen=True)
class PitchEstimate:
    """A pitch in hertz and the trust to put in it, 0 to 1; without any pitch both are 0."""

    pitch_hz: float
    confidence: float


@dataclass(frozen=True)
class Listening:
    """What was heard in one recording: the estimate, and the evidence for every candidate."""

    estimate: PitchEstimate
    candidates_hz: np.ndarray  # [K], increasing
    evidence: np.ndarray  # [K], about 0.2 (barely) to 0.9 (clearly) at the true pitch
    undertones: frozenset[int] = frozenset()  # those of 2, 3, 4 for which pitch / n has partials of its own

    def evidence_for(self, pitch_hz: float, semitones: float = 0.6) -> float:
        """Most evidence within `semitones` of `pitch_hz`; 0 outside the range of candidates."""
        near = np.abs(12.0 * np.log2(self.candidates_hz / pitch_hz)) <= semitones
        return float(max(self.evidence[near].max(), 0.0)) if near.any() else 0.0


NOTHING_HEARD = Listening(PitchEstimate(0.0, 0.0), np.array([LOWEST_HZ]), np.zeros(1))


def measure_pitch(audio_mono: np.ndarray, sample_rate: int) -> PitchEstimate:
    """Measure the pitch of one note, `[samples]`, over its loudest 1.5 s.

    Raises:
        MissingExtra: praat-parselmouth is not installed.
    """
    return listen(audio_mono, sample_rate).estimate


def listen(audio_mono: np.ndarray, sample_rate: int) -> Listening:
    """Measure the pitch of one note, `[samples]`, and keep the evidence for other pitches.

    Raises:
        MissingExtra: praat-parselmouth is not installed.
    """
    audio = loud_part(np.asarray(audio_mono, dtype=np.float64), sample_rate)
    if len(audio) < SHORTEST_SECONDS * sample_rate or sample_rate < _LOWEST_RATE_HZ or not np.any(audio):
        return NOTHING_HEARD
    candidates = candidates_hz()
    series = series_evidence(audio, sample_rate)
    partial = _partial_evidence(audio, sample_rate)
    frames = _praat_frames(audio, sample_rate)
    periods = _period_evidence(frames)
    evidence = series + _PARTIAL_WEIGHT * partial + _PERIOD_WEIGHT * periods
    best = int(np.argmax(evidence))
    confidence = _confidence(best, evidence, series)
    lone = _lone_partial(partial)
    if series[best] < _NO_SERIES and lone is not None and candidates[lone] > 8.0 * candidates[best]:
        best, confidence = lone, _LONE_PARTIAL_CONFIDENCE
        pitch_hz = _partial_hz(audio, sample_rate, candidates[best])
    else:
        sure_hz = _median_pitch(candidates[best], frames) if confidence >= _SURE else None
        pitch_hz = sure_hz or peak_hz(best, series)
    undertones = frozenset(n for n in (2, 3, 4) if _has_undertone(audio, sample_rate, pitch_hz, n))
    return Listening(PitchEstimate(pitch_hz, confidence), candidates, evidence, undertones)


def loud_part(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The stretch of at most 1.5 s with the most energy, without the attack; all of it if that leaves too little."""
    hop = max(sample_rate // 100, 1)
    if len(audio) < 2 * hop:
        return audio
    energy = np.add.reduceat(audio**2, np.arange(0, len(audio), hop))
    width = int(LOUD_SECONDS * 100)
    total = np.concatenate([[0.0], np.cumsum(energy)])
    start = int(np.argmax(total[width:] - total[:-width])) if len(energy) > width else 0
    onset = int(np.flatnonzero(energy >= energy.max() * 10.0**-1.2)[0])  # within 12 dB of the loudest 10 ms
    start = max(start, onset + int(_ATTACK_SECONDS * 100))
    part = audio[start * hop : start * hop + int(LOUD_SECONDS * sample_rate)]
    whole_is_better = len(part) < SHORTEST_SECONDS * sample_rate
    return audio[: int(LOUD_SECONDS * sample_rate)] if whole_is_better else part


def _lone_partial(partial: np.ndarray) -> int | None:
    """The candidate at a high partial that stands alone once the spectrum is tilted up by 6 dB per octave, or None.

    The top notes of a piano are such a partial, under louder knocks of the case.
    """
    tilted = partial * candidates_hz()
    strongest = int(np.argmax(tilted))
    others = tilted.copy()
    others[max(strongest - 4, 0) : strongest + 5] = 0.0
    alone = others.max() < _LONE_PARTIAL_SHARE * tilted[strongest]
    return strongest if alone and candidates_hz()[strongest] > _LONE_PARTIAL_HZ else None


def _confidence(best: int, evidence: np.ndarray, series: np.ndarray) -> float:
    """Trust from the series of harmonics seen, and from the lead over the best candidate on another hill."""
    low, high = best, best
    while low > 0 and evidence[low - 1] < evidence[low]:
        low -= 1
    while high < len(evidence) - 1 and evidence[high + 1] < evidence[high]:
        high += 1
    low, high = min(low, max(best - 4, 0)), max(high, best + 4)  # the same note, give or take a semitone
    rivals = np.concatenate([evidence[:low], evidence[high + 1 :], [0.0]])
    lead = evidence[best] - float(rivals.max())
    return float(np.clip((series[best] - 0.1) / 0.4, 0.0, 1.0) * np.clip(lead / 0.1, 0.0, 1.0))


def _partial_evidence(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Magnitude of the strongest partial within a quarter semitone of each candidate, `[K]`, largest 1."""
    magnitude, bin_hz = _magnitudes(audio, sample_rate)
    reach = 2.0 ** (0.25 / 12.0)
    edges = candidates_hz()[:, None] * np.array([1.0 / reach, reach]) / bin_hz
    edges = np.clip(edges.astype(int), 0, len(magnitude) - 2)
    found = np.array([magnitude[low : high + 1].max() for low, high in edges])
    return found / max(float(found.max()), 1e-12)


def _has_undertone(audio: np.ndarray, sample_rate: int, pitch_hz: float, divisor: int) -> bool:
    """Whether partials stand between those of `pitch_hz`, at other multiples of `pitch_hz / divisor`.

    If so, the lower pitch may be the true one, say of an organ whose octave stop is the loudest. Their median must
    be at most 28 dB under the strongest partial and 20 dB above the noise: more than any right estimate showed.
    """
    magnitude, bin_hz = _magnitudes(audio, sample_rate)
    step = pitch_hz / divisor / bin_hz
    levels, prominences = [], []
    for multiple in range(1, 3 * divisor):
        centre = multiple * step
        first, last = int(centre - step / 2), int(centre + step / 2) + 2
        if multiple % divisor and last < len(magnitude):
            peak = magnitude[int(0.9855 * centre) : int(1.0145 * centre) + 2].max()
            levels.append(peak / magnitude.max())
            prominences.append(peak / max(float(np.median(magnitude[first:last])), 1e-12))
    return bool(levels) and bool(np.median(levels) > 0.04 and np.median(prominences) > 10.0)


def _partial_hz(audio: np.ndarray, sample_rate: int, near_hz: float) -> float:
    """Frequency of the strongest partial within half a semitone of `near_hz`."""
    magnitude, bin_hz = _magnitudes(audio, sample_rate)
    first, last = int(near_hz * 0.9715 / bin_hz), int(near_hz * 1.0293 / bin_hz) + 1
    return float(bin_hz * (first + np.argmax(magnitude[first : last + 1])))


def _magnitudes(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, float]:
    """Magnitude spectrum of the whole stretch and the width of its bins in Hz."""
    size = max(2 ** int(np.ceil(np.log2(len(audio)))), 2**15)
    return np.abs(np.fft.rfft(audio * np.hanning(len(audio)), size)), sample_rate / size


def _praat_frames(audio: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """Praat's candidates, one array `[n, 2]` of (Hz, strength) per frame; empty where the note is too short for it."""
    try:
        import parselmouth
    except ImportError as error:
        raise MissingExtra("measuring pitch needs praat-parselmouth: pip install 'neuralsynth[train]'") from error
    floor_hz = max(LOWEST_HZ, 4.0 * sample_rate / len(audio))  # Praat wants three periods in the sound
    sound = parselmouth.Sound(audio, sample_rate)
    try:
        pitch = sound.to_pitch_ac(
            time_step=0.05, pitch_floor=floor_hz, pitch_ceiling=min(5000.0, 0.45 * sample_rate),
            max_number_of_candidates=15, silence_threshold=0.01, voicing_threshold=0.2,
        )  # fmt: skip
    except parselmouth.PraatError:
        return []
    frames = [pitch.get_frame(i) for i in range(1, pitch.n_frames + 1)]
    pairs = [[(c.frequency, c.strength) for c in frame.candidates if c.frequency > 0] for frame in frames]
    return [np.array(one).reshape(-1, 2) for one in pairs]


def _period_evidence(frames: list[np.ndarray]) -> np.ndarray:
    """Mean strength of Praat's candidates near each of ours, `[K]`."""
    evidence = np.zeros(len(candidates_hz()))
    for frame in frames:
        for frequency_hz, strength in frame:
            step = round(STEPS_PER_OCTAVE * np.log2(frequency_hz / LOWEST_HZ))
            evidence[max(step - 1, 0) : max(step + 2, 0)] += strength / len(frames)
    return evidence


def _median_pitch(near_hz: float, frames: list[np.ndarray]) -> float | None:
    """Median over frames of Praat's candidate near `near_hz`; None if fewer than half of the frames have one."""
    found = []
    for frame in frames:
        if len(frame):
            away = np.abs(12.0 * np.log2(frame[:, 0] / near_hz))
            if away.min() < 0.5:
                found.append(frame[np.argmin(away), 0])
    return float(np.median(found)) if found and len(found) >= 0.5 * len(frames) else None
