"""Writes presets/demo-tune.mid: "Low Water", a short ballad of the project's own (CC0), for piano, saxophone and cello.

Run it again after a change: python export/demo_tune.py
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from neuralsynth.hosts.midi_file import name_message, tempo_message, write_midi_file
from neuralsynth.units import parse_note_name

TICKS = 480
BAR = 4 * TICKS
TEMPO_BPM = 76
PIANO, SAX, CELLO = 0, 1, 2

#: One row per bar: bass note, then the tones of the broken chord.
HARMONY = [
    ("F2", "C3 A3 E4 G4"),
    ("D2", "C3 F3 A3 E4"),
    ("G2", "D3 Bb3 F4 A4"),
    ("C2", "Bb2 E3 A3 D4"),
    ("A2", "E3 G3 C4 E4"),
    ("D2", "C3 F3 A3 E4"),
    ("Bb1", "F3 A3 D4 F4"),
    ("C2", "Bb2 F3 G3 D4"),
    ("F2", "C3 A3 E4 G4"),
    ("D2", "C3 F3 A3 E4"),
    ("G2", "D3 Bb3 F4 A4"),
    ("C2", "Bb2 E3 A3 D4"),
    ("A2", "E3 G3 C4 E4"),
    ("D2", "C3 F#3 A3 Eb4"),
    ("G2", "D3 Bb3 F4 A4"),
    ("C2", "Bb2 E3 G3 Db4"),
    ("Bb1", "F3 A3 D4 F4"),
    ("Bb1", "F3 Ab3 Db4 F4"),
    ("A1", "E3 G3 C4 E4"),
    ("D2", "C3 F#3 A3 Eb4"),
    ("G2", "D3 Bb3 F4 A4"),
    ("C2", "Bb2 E3 A3 D4"),
    ("F2", "C3 A3 E4 G4"),
    ("F2", "C3 A3 E4 C5"),
]
#: Melody: (bar, beat, beats long, note, velocity); the saxophone sings from bar 4, softly, then louder.
MELODY = [
    (4, 0, 1.5, "C5", 58),
    (4, 1.5, 0.5, "D5", 62),
    (4, 2, 2, "E5", 70),
    (5, 0, 1, "A4", 60),
    (5, 1, 3, "C5", 68),
    (6, 0, 1.5, "D5", 72),
    (6, 1.5, 0.5, "C5", 64),
    (6, 2, 1, "A4", 62),
    (6, 3, 1, "F4", 58),
    (7, 0, 3.5, "G4", 66),
    (8, 0, 1.5, "C5", 74),
    (8, 1.5, 0.5, "D5", 76),
    (8, 2, 1, "E5", 82),
    (8, 3, 1, "G5", 88),
    (9, 0, 1, "F5", 84),
    (9, 1, 1, "E5", 80),
    (9, 2, 2, "C5", 76),
    (10, 0, 1.5, "D5", 80),
    (10, 1.5, 0.5, "F5", 84),
    (10, 2, 2, "A5", 92),
    (11, 0, 1, "G5", 86),
    (11, 1, 1, "E5", 80),
    (11, 2, 1.5, "D5", 76),
    (12, 0, 2, "E5", 82),
    (12, 2, 1, "C5", 76),
    (12, 3, 1, "G4", 70),
    (13, 0, 2.5, "A4", 76),
    (13, 3, 1, "C5", 78),
    (14, 0, 1.5, "Bb4", 76),
    (14, 1.5, 0.5, "A4", 72),
    (14, 2, 2, "D5", 84),
    (15, 0, 3.5, "C5", 78),
    (20, 0, 2, "D5", 78),
    (20, 2, 1, "C5", 72),
    (20, 3, 1, "A4", 66),
    (21, 0, 2, "G4", 66),
    (21, 2, 2, "E4", 60),
    (22, 0, 7, "F4", 56),
]
#: The cello answers in the bridge and holds the end.
CELLO_LINE = [
    (8, 0, 4, "A3", 48),
    (9, 0, 4, "F3", 50),
    (10, 0, 4, "Bb3", 54),
    (11, 0, 3.8, "G3", 52),
    (16, 0, 1.5, "D4", 76),
    (16, 1.5, 0.5, "E4", 78),
    (16, 2, 2, "F4", 86),
    (17, 0, 1, "Ab4", 92),
    (17, 1, 1, "F4", 84),
    (17, 2, 2, "Db4", 78),
    (18, 0, 1.5, "E4", 84),
    (18, 1.5, 0.5, "D4", 78),
    (18, 2, 2, "C4", 76),
    (19, 0, 2, "A3", 74),
    (19, 2, 1.8, "F#3", 70),
    (20, 0, 4, "G3", 60),
    (21, 0, 4, "E3", 54),
    (22, 0, 7, "C3", 50),
]


def notes(channel: int, rows) -> list[tuple[int, bytes]]:
    """Note-on and note-off events of melody rows."""
    events = []
    for bar, beat, beats, name, velocity in rows:
        start, end = bar * BAR + round(beat * TICKS), bar * BAR + round((beat + beats) * TICKS) - 20
        key = parse_note_name(name)
        events += [(start, bytes([0x90 | channel, key, velocity])), (end, bytes([0x80 | channel, key, 64]))]
    return events


def swell(channel: int, rows) -> list[tuple[int, bytes]]:
    """Expression and, late in long notes, vibrato by the mod wheel."""
    events = [(0, bytes([0xB0 | channel, 11, 100]))]
    for bar, beat, beats, _, _ in rows:
        start = bar * BAR + round(beat * TICKS)
        for step in range(max(1, round(beats * 4))):
            at, share = start + step * TICKS // 4, step / max(1.0, beats * 4)
            events.append((at, bytes([0xB0 | channel, 11, round(88 + 34 * math.sin(math.pi * min(share * 1.2, 1)))])))
            events.append((at, bytes([0xB0 | channel, 1, round(max(0.0, min(1.0, (beats * share - 0.6))) * 80)])))
    return events


def piano() -> list[tuple[int, bytes]]:
    """Broken chords with the pedal changed every bar, growing into the bridge and fading at the end."""
    events = []
    for bar, (bass, tones) in enumerate(HARMONY):
        start = bar * BAR
        loud = 52 + 26 * math.sin(math.pi * min(bar / 19.0, 1.0)) - 2.5 * max(0, bar - 20)
        keys = [parse_note_name(tone) for tone in tones.split()]
        pattern = [parse_note_name(bass), *keys, keys[2], keys[1], keys[0]]
        events += [(start + 20, bytes([0xB0, 64, 127])), (start + BAR - 30, bytes([0xB0, 64, 0]))]
        for index, key in enumerate(pattern):
            at = start + index * TICKS // 2
            velocity = round(loud + (10 if index == 0 else 0) + (4 if index % 2 == 0 else -3))
            events += [(at, bytes([0x90, key, velocity])), (at + TICKS // 2, bytes([0x80, key, 64]))]
        if bar >= 16:  # the right hand joins with soft chords
            for key in keys[2:]:
                events += [
                    (start, bytes([0x90, key + 12, round(loud - 4)])),
                    (start + BAR - 60, bytes([0x80, key + 12, 64])),
                ]
    return events


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = Path(__file__).parents[1] / "presets"
    parser.add_argument("-o", "--output", type=Path, default=folder / "demo-tune.mid")
    output = parser.parse_args().output
    slower = [(bar * BAR, tempo_message(tempo)) for bar, tempo in ((0, TEMPO_BPM), (21, 68), (22, 58), (23, 50))]
    mix = [
        (0, bytes([0xB0 | c, k, v]))
        for c, k, v in ((PIANO, 7, 96), (SAX, 7, 100), (CELLO, 7, 100), (SAX, 10, 76), (CELLO, 10, 44))
    ]
    write_midi_file(
        output,
        [
            [(0, name_message("Low Water")), *slower, *mix],
            piano(),
            notes(SAX, MELODY) + swell(SAX, MELODY),
            notes(CELLO, CELLO_LINE) + swell(CELLO, CELLO_LINE),
        ],
        TICKS,
    )
    print(output)


if __name__ == "__main__":
    main()
