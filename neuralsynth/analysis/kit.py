"""A folder of drum hits, understood: which drum each file is, on which key it is played, how hard it was struck.

Drums have no pitch that could be checked, so names alone tell. A *piece* is one drum: the files of a sub-folder, or
those whose names say the same. Its key is the number that its names give (`m036`), else the General MIDI percussion
key of the drum they name (General MIDI 1, MMA 1991, "Percussion Key Map").
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from neuralsynth.analysis.layers import with_velocities
from neuralsynth.analysis.names import DYNAMICS, MARKS, read_names
from neuralsynth.analysis.recordings import Recording
from neuralsynth.analysis.sfz import SfzReading

#: A folder is a kit if so large a share of its files is named after drums, and fewer sound the notes they are named.
NAMED_SHARE, SOUNDING_SHARE = 0.7, 0.5
#: Keys of percussion in General MIDI, with those that Roland's GS adds at both ends; others get the next free ones.
LOWEST_KEY, HIGHEST_KEY, FIRST_FREE_KEY = 27, 87, 82
#: Words -> key. All words of a row must be there; the first row that fits counts.
_KEYS: tuple[tuple[str, int], ...] = (
    ("hat pedal", 44), ("hat foot", 44), ("hat open", 46), ("oh", 46), ("hat", 42), ("ch", 42),
    ("ride bell", 53), ("ride", 51), ("china", 52), ("splash", 55), ("crash", 49), ("cowbell", 56), ("cymbal", 49),
    ("sidestick", 37), ("stick", 37), ("rim", 37), ("clap", 39), ("snare", 38), ("kick", 36),
    ("tom floor", 41), ("tom low", 43), ("tom high", 50), ("tom", 47), ("tambourine", 54), ("vibraslap", 58),
    ("bongo", 60), ("conga", 63), ("timbale", 65), ("agogo", 67), ("cabasa", 69), ("maraca", 70), ("guiro", 73),
    ("clave", 75), ("woodblock", 76), ("cuica", 78), ("triangle", 81), ("shaker", 82), ("snap", 39),
)  # fmt: skip
#: How the words are also written; each stands for the words behind it.
_SPELLINGS = {
    "bd": "kick", "bassdrum": "kick", "kik": "kick", "kicks": "kick", "sd": "snare", "sn": "snare", "snares": "snare",
    "hh": "hat", "hihat": "hat", "hats": "hat", "toms": "tom", "lt": "tom low", "mt": "tom", "ht": "tom high",
    "hi": "high", "lo": "low", "rs": "rim", "rimshot": "rim", "cp": "clap", "claps": "clap", "handclap": "clap",
    "cb": "cowbell", "cy": "cymbal", "cymbals": "cymbal", "rd": "ride", "maracas": "maraca", "bongos": "bongo",
    "congas": "conga", "claves": "clave", "timbales": "timbale", "tamb": "tambourine",
}  # fmt: skip
_KEY_NUMBER = re.compile(r"(?<![A-Za-z])(?:m|n|note|midi|midinote|key)[ _.-]?(\d{2,3})(?!\d)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def drum_key(name: str) -> int | None:
    """The General MIDI percussion key of the drum that a name speaks of: `Snare hard 2` -> 38; None for no drum."""
    words = set(_words(name))
    return next((key for row, key in _KEYS if words.issuperset(row.split())), None)


def is_kit(names: Sequence[str], sounding: Sequence[bool]) -> bool:
    """Whether files are hits of drums, by their `names` and whether each sounds the note that it is named."""
    if not names:
        return False
    named = sum(drum_key(name) is not None for name in names)
    return named >= NAMED_SHARE * len(names) and sum(sounding) < SOUNDING_SHARE * len(names)


def as_hits(
    recordings: Sequence[Recording], level_db: Mapping[Path, float], sfz: Mapping[Path, SfzReading]
) -> list[Recording]:
    """The used recordings of a kit, each with its piece as `group`, the piece's key as `note`, and a velocity."""
    pieces = _pieces(recordings)
    taken: set[int] = set()
    result: list[Recording] = []
    for piece, members in sorted(pieces.items()):
        key, note_from = _key(piece, members, sfz, taken)
        taken.add(key)
        readings = read_names([Path(r.name).stem for r in members], [None] * len(members))
        struck = []
        for recording, reading in zip(members, readings, strict=True):
            told = sfz.get(recording.path.resolve())
            velocity, velocity_from = (told.velocity, "sfz") if told and told.velocity else (reading.velocity, "name")
            struck.append(
                replace(
                    recording, group=piece, note=key, note_from=note_from, is_hit=True, velocity=velocity,
                    velocity_from=velocity_from if velocity else None,
                )
            )  # fmt: skip
        result += with_velocities(struck, level_db)
    return result


def _pieces(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    """The recordings of each drum, by its name."""
    said = {r.path: "-".join(_own_words(Path(r.name).stem)) for r in recordings}
    keys = {r.path: _key_number(r.name) for r in recordings}
    in_folder = defaultdict(set)
    for r in recordings:
        in_folder[r.group].add((said[r.path], keys[r.path]))
    pieces = defaultdict(list)
    for r in recordings:
        several_keys = len({key for word, key in in_folder[r.group] if word == said[r.path]}) > 1
        own = said[r.path] + (f"-{keys[r.path]}" if several_keys else "")
        is_one = r.group and len(in_folder[r.group]) == 1
        pieces[r.group if is_one else "/".join(part for part in (r.group, own) if part) or "hit"].append(r)
    return dict(pieces)


def _key(piece: str, members: Sequence[Recording], sfz: Mapping[Path, SfzReading], taken: set[int]) -> tuple[int, str]:
    """The key of a piece, and where it comes from."""
    told = Counter(r.note for r in map(sfz.get, (m.path.resolve() for m in members)) if r and r.note is not None)
    named = Counter(key for key in (_key_number(m.name) for m in members) if key is not None)
    for found, source in ((told, "sfz"), (named, "name")):
        if found:
            return found.most_common(1)[0][0], source
    by_name = drum_key(piece) or drum_key(members[0].name)
    if by_name is not None:
        return by_name, "drum"
    return next(key for key in (*range(FIRST_FREE_KEY, 128), *range(FIRST_FREE_KEY)) if key not in taken), "free"


def _key_number(name: str) -> int | None:
    """The percussion key that stands in a name as a marked number, such as `m036`."""
    found = [int(number) for number in _KEY_NUMBER.findall(Path(name).stem)]
    return next((number for number in found if LOWEST_KEY <= number <= HIGHEST_KEY), None)


def _words(name: str) -> list[str]:
    """The words of a path in one spelling."""
    words = [word.lower() for word in _WORD.findall(name)]
    return " ".join(_SPELLINGS.get(word, word) for word in words).split()


def _own_words(stem: str) -> list[str]:
    """The words of a file name that say what it is, not how it was struck or counted."""
    words = [word.lower() for word in _WORD.findall(stem)]
    return [word for word in words if word not in DYNAMICS and word not in MARKS and word != "hit"]
