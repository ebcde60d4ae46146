"""What the file names of a folder say: note and velocity of every recording, decided over all names together.

A single name is often ambiguous (`piano_60_127`, `organ_003-053-127`, `take 2 C4`). So every place in a name that could
hold a note is a *slot* (the second bare number, the number after `m`, the first note name …), the slots are read
through the whole folder, and the slot that agrees with the sounding pitches, or looks most like notes, is believed.
Notes are read with C4 = 60; whether the folder means C3 = 60 is decided elsewhere, by listening.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

#: Semitones a sounding note may be off the one that a name gives.
TOLERANCE = 0.8
DYNAMICS = {
    "ppp": 12, "pp": 24, "p": 40, "mp": 60, "mf": 80, "f": 100, "ff": 118, "fff": 127,
    "pianissimo": 24, "mezzopiano": 60, "mezzoforte": 80, "forte": 100, "fortissimo": 118,
    "quiet": 50, "soft": 50, "med": 80, "medium": 80, "hard": 110, "loud": 110,
}  # fmt: skip
_NOTE_PREFIXES = {"m", "n", "note", "midi", "midinote", "key", "pitch"}
_VELOCITY_PREFIXES = {"v", "vel", "velo", "velocity", "vl"}
_LAYER_PREFIXES = {"l", "lay", "layer", "lyr", "dyn", "dynamic"}
_NEVER_NOTES = _VELOCITY_PREFIXES | _LAYER_PREFIXES | {
    "r", "rr", "round", "robin", "take", "tk", "t", "alt", "var", "variation", "mic", "ch", "chan", "channel", "track",
    "part", "version", "ver", "rev", "session", "day", "no", "nr", "bpm", "hz", "khz", "bit", "bits", "sr", "id",
}  # fmt: skip
#: Words before numbers, which say nothing of what a recording is.
MARKS = _NOTE_PREFIXES | _NEVER_NOTES
_UNITS = r"(?:\.\d+)?\s?(?:k|khz|hz|bits?|ms|s|sec|db|bpm|cents?|st)(?![A-Za-z])"
_SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_WORDS = "|".join(w.replace("mezzo", "mezzo[- _]?") for w in sorted(DYNAMICS, key=len, reverse=True))
_MARKS = "|".join(sorted(MARKS, key=len, reverse=True))
_NOTE_NAME = re.compile(
    r"(?:(?<![A-Za-z#])|(?<=[a-z])(?=[A-G]))"  # at the start of a word, or a capital inside one (PianoC4)
    r"([A-Ga-g])[ _]?(#|♯|sharp|is|s|b|♭|flat|es)?[ _]?(-?)(\d)(?![\d#♯])"
    rf"(?=[^A-Za-z]|$|v\d|vel|rr?\d|(?:{_WORDS})(?![A-Za-z]))"
)
_NUMBER = re.compile(
    rf"(?<![A-Za-z])(?:({_MARKS})[ _.-]?(?=\d)|([A-Za-z]+)(?=\d))?(?<!\d)(\d+)(?!\d)(?!{_UNITS})", re.IGNORECASE
)
_DYNAMIC = re.compile(rf"(?<![A-Za-z])({_WORDS})(?![A-Za-z\d])", re.IGNORECASE)
#: Numbers that are bit depths or kilohertz when they never change.
_TECHNICAL = {8, 16, 22, 24, 32, 44, 48, 88, 96}


@dataclass(frozen=True)
class NameReading:
    """What one name says, None where it says nothing; `as_number` if the note stood there as a MIDI number."""

    note: int | None
    velocity: int | None
    as_number: bool = False


@dataclass(frozen=True)
class Slot:
    """One place in the names: its kind ("name", "hyphen", "number"), the letters before it, and which one it is."""

    kind: str
    prefix: str
    index: int


def read_names(stems: Sequence[str], heard: Sequence[float | None]) -> list[NameReading]:
    """Read note and velocity from the names (without ending) of one instrument's recordings.

    `heard` are the sounding notes (MIDI with fraction), None where the ear is unsure; the names are trusted more
    or less by them, but they are not mixed into the answer.
    """
    found = [_slots(stem) for stem in stems]
    ranked = _note_slots(found, heard)
    velocities = _velocities(stems, found, ranked)
    readings = []
    for slots, velocity in zip(found, velocities, strict=True):
        slot = next((s for s in ranked if s in slots), None)
        note = slots[slot] if slot else None
        readings.append(NameReading(note, velocity, slot is not None and slot.kind == "number"))
    return readings


def octave_votes(notes: Sequence[int | None], heard: Sequence[float | None]) -> Counter[int]:
    """How many sounding notes lie 0, 1, -1 … octaves above the named ones; those off by another interval abstain."""
    votes: Counter[int] = Counter()
    for note, sounding in zip(notes, heard, strict=True):
        if note is not None and sounding is not None:
            octaves = round((sounding - note) / 12.0)
            if abs(sounding - note - 12 * octaves) < TOLERANCE:
                votes[octaves] += 1
    return votes


def _slots(stem: str) -> dict[Slot, int]:
    """Every place of one name that could hold a note or a velocity, and its value there."""
    slots: dict[Slot, int] = {}
    names = list(_NOTE_NAME.finditer(stem))
    for place, match in enumerate(names):
        letter, accidental, hyphen, octave = match.groups()
        for index in (place, place - len(names)):  # counted from the left and from the right
            slots[Slot("name", "", index)] = _note_number(letter, accidental, int(f"{hyphen}{octave}"))
            if hyphen:  # `piano-C-4`: a separator, no sign
                slots[Slot("hyphen", "", index)] = _note_number(letter, accidental, int(octave))
    taken = [m.span() for m in names]
    numbers = [m for m in _NUMBER.finditer(stem) if not any(a < m.end(3) and m.start(3) < b for a, b in taken)]
    prefixed = [((m.group(1) or m.group(2) or "").lower(), int(m.group(3)[:6])) for m in numbers]
    for prefix in {p for p, _ in prefixed}:
        values = [v for p, v in prefixed if p == prefix]
        for place, value in enumerate(values):
            slots[Slot("number", prefix, place)] = value
            slots[Slot("number", prefix, place - len(values))] = value
    return slots


def _note_number(letter: str, accidental: str | None, octave: int) -> int:
    """MIDI number, C4 = 60, of a note name; may lie outside 0..127 until the octave convention is known."""
    signs = {"#": 1, "♯": 1, "sharp": 1, "is": 1, "s": 1, "b": -1, "♭": -1, "flat": -1, "es": -1, None: 0}
    sign = signs[accidental]
    if (letter.lower(), accidental) == ("e", "s"):  # German Es is E flat, and nobody writes E sharp
        sign = -1
    return 12 * (octave + 1) + _SEMITONES[letter.lower()] + sign


def _note_slots(found: list[dict[Slot, int]], heard: Sequence[float | None]) -> list[Slot]:
    """The slots that hold notes, most trusted first."""
    scores = {}
    for slot in {s for slots in found for s in slots}:
        score = _note_score(slot, [slots.get(slot) for slots in found], heard)
        if score > 0:
            scores[slot] = score
    return sorted(scores, key=lambda s: (-scores[s], s.kind, s.prefix, s.index < 0, abs(s.index)))


def _note_score(slot: Slot, values: list[int | None], heard: Sequence[float | None]) -> float:
    """How much a slot looks like the note: 0 is not at all."""
    present = [v for v in values if v is not None]
    number = slot.kind == "number"
    if slot.prefix in _NEVER_NOTES or (number and not all(0 <= v <= 127 for v in present)):
        return 0.0
    coverage = len(present) / len(values)
    voters = [(v, h) for v, h in zip(values, heard, strict=True) if v is not None and h is not None]
    votes = octave_votes(values, heard)
    agreeing = max(votes.values(), default=0)
    if number and len(voters) < 5:
        agreeing = votes[0]  # so few numbers agree by chance in some octave
    agreement = agreeing / max(len(voters), 1)
    prior = _prior(slot, present)
    if not voters:
        return coverage * prior
    explicit = not number or slot.prefix in _NOTE_PREFIXES or (len(voters) < 3 and min(present) >= 21)
    varies = len(set(present)) > 1 or len(values) < 3
    if agreement < 0.5 and not (explicit and varies):
        return 0.0  # a bare number must sound like the note; a constant one is no note
    return coverage * (prior + 2.0 * agreement)


def _prior(slot: Slot, present: list[int]) -> float:
    """Trust in a slot by its looks alone, 0 to 1.2; more where it varies more."""
    varied = len(set(present)) > 1 or len(present) <= 2
    variety = 0.1 * len(set(present)) / len(present)
    if slot.kind == "name":
        return variety + (1.0 if varied else 0.2)
    if slot.kind == "hyphen":
        return variety + (1.1 if max(present) >= 36 and varied else 0.1)  # no top octave is -2 or lower
    if slot.prefix in _NOTE_PREFIXES:
        return variety + 0.8
    looks_musical = min(present) >= 12 and varied
    return variety + (0.3 if not slot.prefix else 0.1) if looks_musical else 0.0


def _velocities(stems: Sequence[str], found: list[dict[Slot, int]], notes: list[Slot]) -> list[int | None]:
    """Velocity of each name: a number after `v` or `vel`, a layer, a dynamics word, or the number by the note."""
    result: list[int | None] = [None] * len(stems)
    for slot in _velocity_slots(found, notes):
        values = [slots.get(slot) for slots in found]
        top = max(v for v in values if v is not None)
        layers = slot.prefix in _LAYER_PREFIXES or top <= 12
        for i, value in enumerate(values):
            if result[i] is None and value is not None and value <= 127:
                result[i] = max(1, round(127 * value / top)) if layers and top else max(1, value)
    for i, stem in enumerate(stems):
        words = _DYNAMIC.findall(stem)
        if result[i] is None and words:
            result[i] = DYNAMICS[re.sub("[- _]", "", words[-1].lower())]
    return result


def _velocity_slots(found: list[dict[Slot, int]], notes: list[Slot]) -> list[Slot]:
    """Slots that hold velocities: the marked ones first, then a bare number beside the note."""
    every = {s for slots in found for s in slots if s.kind == "number" and s.index >= 0}
    marked = [s for s in every if s.prefix in _VELOCITY_PREFIXES or s.prefix in _LAYER_PREFIXES]
    marked.sort(key=lambda s: (s.prefix in _LAYER_PREFIXES, s.prefix, s.index))
    if marked or not notes:
        return marked
    bare = [s for s in every if not s.prefix and _like_velocities([x[s] for x in found if s in x], len(found))]
    note = notes[0]
    if note.kind == "number" and not note.prefix:
        n_bare = max(sum(s.kind == "number" and not s.prefix and s.index >= 0 for s in slots) for slots in found)
        place = note.index if note.index >= 0 else n_bare + note.index
        right, left = Slot("number", "", place + 1), Slot("number", "", place - 1)
        return [s for s in (right, left) if s in bare][:1]
    return sorted(bare, key=lambda s: -s.index)[:1]


def _like_velocities(values: list[int], n_files: int) -> bool:
    """Whether bare numbers can be velocities: in range, few different ones, no round robins, no bit depth."""
    different = set(values)
    if max(values) > 127 or max(values) < 20 or (len(different) == 1 and different <= _TECHNICAL):
        return False
    return len(values) >= 0.5 * n_files and len(different) <= max(16, n_files // 2)
