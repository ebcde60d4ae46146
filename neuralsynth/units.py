"""Conversions between the units of music and those of signals. Scalars or numpy arrays, same shape out."""

from __future__ import annotations

import re

import numpy as np

A4_NOTE = 69
A4_HZ = 440.0
MIDDLE_C_OCTAVE = 4  # MIDI note 60 is C4 (International Pitch Notation, also SFZ)

_SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_NOTE_NAME = re.compile(r"^([A-Ga-g])([#♯sb♭]?)(-?\d{1,2})$")


def db_to_gain(level_db):
    """Decibels to linear amplitude: 0 dB is 1.0, -20 dB is 0.1."""
    return 10.0 ** (np.asarray(level_db) / 20.0)


def gain_to_db(gain, floor_db: float = -200.0):
    """Linear amplitude to decibels; zero gives `floor_db`."""
    return 20.0 * np.log10(np.maximum(np.abs(gain), 10.0 ** (floor_db / 20.0)))


def note_to_hz(note):
    """MIDI note number (fractions allowed) to hertz, equal temperament, A4 = note 69 = 440 Hz."""
    return A4_HZ * 2.0 ** ((np.asarray(note) - A4_NOTE) / 12.0)


def hz_to_note(pitch_hz):
    """Hertz to MIDI note number with its fraction."""
    return A4_NOTE + 12.0 * np.log2(np.asarray(pitch_hz) / A4_HZ)


def cents_to_ratio(cents):
    """Cents to a frequency ratio: 1200 cents is 2.0."""
    return 2.0 ** (np.asarray(cents) / 1200.0)


def ratio_to_cents(ratio):
    """Frequency ratio to cents."""
    return 1200.0 * np.log2(ratio)


def hz_to_mel(frequency_hz):
    """Hertz to mel (O'Shaughnessy 1987, the 2595·log10 form)."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency_hz) / 700.0)


def mel_to_hz(mel):
    """Mel to hertz, the inverse of `hz_to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def note_name(note: int) -> str:
    """MIDI note number to a name such as `C4` (= 60) or `A#3`."""
    return f"{_SHARP_NAMES[note % 12]}{note // 12 - 1}"


def parse_note_name(name: str) -> int:
    """A note name such as `A#3`, `Bb3` or `c-1` to its MIDI number, with C4 = 60.

    Raises:
        ValueError: `name` is no note name, or lies outside MIDI 0..127.
    """
    match = _NOTE_NAME.match(name.strip())
    if match is None:
        raise ValueError(f"{name!r} is no note name; use a letter, # or b, and an octave, such as A#3")
    letter, accidental, octave = match.groups()
    shift = {"#": 1, "♯": 1, "s": 1, "b": -1, "♭": -1, "": 0}[accidental]
    note = 12 * (int(octave) + 1) + _SEMITONES[letter.lower()] + shift
    if not 0 <= note <= 127:
        raise ValueError(f"{name!r} is note {note}; MIDI notes are 0 to 127 (C-1 to G9)")
    return note


def note_value_beats(note_value: str) -> float:
    """Quarter notes that a note value such as "1/4", "1/8d" (dotted) or "1/8t" (triplet) lasts."""
    whole, _, part = note_value.rstrip("dt").partition("/")
    return 4.0 * int(whole) / int(part) * {"d": 1.5, "t": 2.0 / 3.0}.get(note_value[-1], 1.0)
