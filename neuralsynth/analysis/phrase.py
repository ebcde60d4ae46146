"""Where in a recording its best single note lies: the one to learn from when a phrase was recorded.

The pitch is measured in windows; windows in a row with one pitch and no new attack between them are a note.
The best is long, loud and steady.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralsynth.analysis.folder import HEARD
from neuralsynth.analysis.pitch import listen
from neuralsynth.analysis.signal import envelope
from neuralsynth.errors import RecordingError
from neuralsynth.units import hz_to_note

WINDOW_SECONDS, HOP_SECONDS = 0.25, 0.1
_STEP_SECONDS = 0.01  # of the level in which attacks are seen
_UNHEARD_DB = 40.0  # windows this far below the loudest are not listened to
_SOFTEST_DB = 30.0  # a note is no softer than this below the loudest
_SAME_NOTE = 0.6  # semitones
_SLIPS = np.array([0.0, 12.0, 19.0, 24.0])  # how far the ear may slip within one note: to an overtone and back
_DYING_DB = 20.0  # what is softer than its note by so much, and was not struck, is the end of it
_RISE_DB, _RISE_STEPS = 12.0, 5  # a new attack: the level rises by so much within so many steps
_ENOUGH_SECONDS = 2.0  # a longer note is no better
_STEADY = 0.2  # semitones of spread that halve the worth of a note
_LEGATO_SECONDS = 0.04  # a slurred note is taken from so long after the change of pitch
_FADE_SECONDS = 0.004


@dataclass(frozen=True)
class NotePlace:
    """A note in a recording."""

    start_seconds: float
    end_seconds: float
    note: int  # MIDI, the nearest
    pitch_hz: float
    n_notes: int  # how many notes were heard in the whole recording

    def cut(self, audio_mono: np.ndarray, sample_rate: int) -> np.ndarray:
        """The samples of the note alone; where the recording goes on beside it, it is faded within 4 ms."""
        first, last = round(self.start_seconds * sample_rate), round(self.end_seconds * sample_rate)
        part = np.array(audio_mono[first:last], np.float64)
        fade = np.linspace(0.0, 1.0, max(2, round(_FADE_SECONDS * sample_rate)))
        if first > 0 and len(part) > 2 * len(fade):
            part[: len(fade)] *= fade
        if last < len(audio_mono) and len(part) > 2 * len(fade):
            part[-len(fade) :] *= fade[::-1]
        return part


@dataclass(frozen=True)
class _Run:
    """Windows in a row that hold one note."""

    windows: list[int]
    notes: np.ndarray  # MIDI with fraction, one per window
    level_db: np.ndarray

    def worth(self) -> float:
        """How good a note to learn from: long, loud, steady."""
        seconds = min(HOP_SECONDS * len(self.windows), _ENOUGH_SECONDS)
        return seconds * 10.0 ** (float(self.level_db.max()) / 40.0) / (1.0 + float(self.notes.std()) / _STEADY)


def find_note(audio_mono: np.ndarray, sample_rate: int, note: int | None = None) -> NotePlace:
    """The steadiest loud note of a recording; with `note` (MIDI), the best of that pitch if there is one.

    Raises:
        RecordingError: nothing in it has a clear pitch.
        MissingExtra: praat-parselmouth is not installed.
    """
    audio = np.asarray(audio_mono, np.float64)
    audio = audio - np.mean(audio)
    attacks = _attacks(audio, sample_rate)
    runs = _runs(audio, sample_rate, attacks)
    wanted = [run for run in runs if note is not None and abs(float(np.median(run.notes)) - note) < _SAME_NOTE]
    end = len(audio) / sample_rate
    if not runs:
        start, stop = 0.0, end
    else:
        best = max(wanted or runs, key=_Run.worth)
        start, stop = _bounds(runs, runs.index(best), attacks, end)
    estimate = listen(audio[round(start * sample_rate) : round(stop * sample_rate)], sample_rate).estimate
    if estimate.confidence < HEARD and note is None:
        raise RecordingError("has no clear pitch; record one steady note, or give its note with --note")
    measured = float(hz_to_note(estimate.pitch_hz)) if estimate.pitch_hz > 0.0 else float(note or 0)
    return NotePlace(start, stop, note if note is not None else _key(measured), estimate.pitch_hz, len(runs))


def _key(note: float) -> int:
    return min(max(round(note), 0), 127)


def _runs(audio: np.ndarray, sample_rate: int, attacks: np.ndarray) -> list[_Run]:
    """The notes of a recording, in order."""
    size, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    pieces = [audio[at : at + size] for at in range(0, max(len(audio) - size, 0) + 1, hop)]
    level_db = np.array([20.0 * np.log10(max(float(np.sqrt(np.mean(piece**2))), 1e-10)) for piece in pieces])
    level_db -= level_db.max()
    runs: list[_Run] = []
    for i, piece in enumerate(pieces):
        if level_db[i] < -_UNHEARD_DB:
            continue
        estimate = listen(piece, sample_rate).estimate
        if estimate.confidence < HEARD:
            continue
        heard = float(hz_to_note(estimate.pitch_hz))
        if runs and _goes_on(runs[-1], i, heard, level_db, attacks):
            last = runs[-1]
            runs[-1] = _Run([*last.windows, i], np.append(last.notes, heard), np.append(last.level_db, level_db[i]))
        else:
            runs.append(_Run([i], np.array([heard]), level_db[i : i + 1]))
    clear = [run for run in runs if len(run.windows) > 1 and run.level_db.max() > -_SOFTEST_DB]
    return clear or runs


def _goes_on(run: _Run, window: int, heard: float, level_db: np.ndarray, attacks: np.ndarray) -> bool:
    """Whether a window holds the note of the run before it: its pitch, an overtone or what is left, not struck anew."""
    away = abs(float(np.median(run.notes)) - heard)
    dying = level_db[window] < run.level_db.max() - _DYING_DB
    if np.abs(away - _SLIPS).min() > _SAME_NOTE and not dying:
        return False
    if level_db[run.windows[-1] : window].min() < -_UNHEARD_DB:
        return False
    since, until = (HOP_SECONDS * w + 0.5 * WINDOW_SECONDS for w in (run.windows[-1], window))
    struck = np.any((attacks > since) & (attacks <= until))
    return not struck or len(run.windows) < 3


def _attacks(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Where the level rises fast, seconds."""
    stride = round(_STEP_SECONDS / 0.001)
    level_db = 20.0 * np.log10(np.maximum(envelope(audio, sample_rate, 2.0 * _STEP_SECONDS)[::stride], 1e-10))
    if len(level_db) <= 2 * _RISE_STEPS:
        return np.zeros(0)
    ahead = np.lib.stride_tricks.sliding_window_view(level_db, _RISE_STEPS)[_RISE_STEPS:].max(axis=1)
    behind = np.lib.stride_tricks.sliding_window_view(level_db, _RISE_STEPS)[:-_RISE_STEPS].mean(axis=1)
    rises = (ahead - behind > _RISE_DB) & (ahead > level_db.max() - 30.0)
    first = np.flatnonzero(rises & ~np.concatenate([[False], rises[:-1]]))
    return (first + 2 * _RISE_STEPS - 1) * _STEP_SECONDS


def _bounds(runs: list[_Run], index: int, attacks: np.ndarray, end: float) -> tuple[float, float]:
    """Where a run's note begins and ends: at its attack, or midway between two pitches."""
    if len(runs) == 1:
        return 0.0, end
    start = _beginning(runs, index, attacks) if index > 0 else 0.0
    stop = _beginning(runs, index + 1, attacks) if index + 1 < len(runs) else end
    return start, max(stop, start + HOP_SECONDS)


def _beginning(runs: list[_Run], index: int, attacks: np.ndarray) -> float:
    """Where the note of a run begins."""
    clear = HOP_SECONDS * runs[index].windows[0] + 0.5 * WINDOW_SECONDS
    before = HOP_SECONDS * runs[index - 1].windows[-1] + 0.5 * WINDOW_SECONDS
    near = attacks[(attacks > min(before, clear - HOP_SECONDS)) & (attacks < clear + 0.5 * HOP_SECONDS)]
    if len(near):
        return max(0.0, float(near[-1]) - _STEP_SECONDS)
    if clear - before > 3.0 * HOP_SECONDS:
        return max(before, clear - 2.0 * HOP_SECONDS)
    return 0.5 * (before + clear) + _LEGATO_SECONDS
