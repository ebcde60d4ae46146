"""What was played, as a MIDI file that has the very samples: one tick is one sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from neuralsynth.errors import UsageError
from neuralsynth.events import TEMPO, Event
from neuralsynth.hosts.midi_file import MAX_DELTA, midi_bytes

LEAST_RATE, MOST_RATE = 8_000, 192_000  # Hz
MAX_DIVISION = (1 << 15) - 1
_USUAL_TEMPO = 500_000  # microseconds per quarter note: 120 beats per minute
_NOTHING = b"\xff\x01\x00"  # an empty text


def sample_clock(sample_rate: int) -> tuple[int, int]:
    """Ticks per quarter note and microseconds per quarter note with which a tick lasts exactly one sample.

    120 beats per minute where that is possible, else a multiple of it, else what comes nearest.

    Raises:
        UsageError: the rate is out of range, or no such pair is exact.
    """
    given = f"sample rate is {sample_rate} Hz; a MIDI file whose ticks are samples"
    if sample_rate != int(sample_rate) or not LEAST_RATE <= sample_rate <= MOST_RATE:
        raise UsageError(f"{given} needs a whole number of {LEAST_RATE} to {MOST_RATE}")
    common = math.gcd(int(sample_rate), 1_000_000)
    ticks, microseconds = int(sample_rate) // common, 1_000_000 // common
    most = min(MAX_DIVISION // ticks, _USUAL_TEMPO // microseconds)
    if most < 1:
        raise UsageError(f"{given} cannot be exact at this rate; use 44100, 48000 or another multiple of 100")
    times = next((n for n in range(most, 0, -1) if _USUAL_TEMPO % (n * microseconds) == 0), most)
    return times * ticks, times * microseconds


def midi_file_bytes(events: Sequence[Event], sample_rate: int, n_samples: int = 0) -> bytes:
    """A type 0 MIDI file of `events`, in which one tick is one sample; it lasts at least `n_samples`.

    Events may come in any order; those of one sample keep theirs. Tempo changes are left out: the tempo of this file
    is its clock.

    Raises:
        UsageError: a rate of which no tick is exactly a sample, a negative sample, or no whole message.
    """
    division, tempo = sample_clock(sample_rate)
    track = sorted((event for event in events if event.message[:3] != TEMPO), key=lambda event: event.sample)
    if n_samples > (track[-1].sample if track else 0):
        track.append(Event(n_samples, _NOTHING))
    first = Event(0, TEMPO + tempo.to_bytes(3, "big"))
    return midi_bytes([[first, *_in_steps(track)]], division, "MIDI file")


def _in_steps(track: Iterable[Event]) -> Iterator[Event]:
    """The same, with empty texts where two events are further apart than a file can say."""
    now = 0
    for event in track:
        while event.sample - now > MAX_DELTA:
            now += MAX_DELTA
            yield Event(now, _NOTHING)
        now = event.sample
        yield event
