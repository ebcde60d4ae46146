"""Renders every song of a folder and checks it event by event against a reading of its own.

python benchmarks/songs.py FOLDER [--sample-rate 48000]

The second reading shares nothing with neuralsynth: mido reads the file, `TinySynth` below says what each message
means. For each song: the same messages at the same samples (one sample off at most), the same tempos; after each
message of a live engine the same keys held, pedals, bends (14 bit), bend ranges and tempo. Then the render with the
General MIDI bank: finite, never above 0.99, nothing held at the end, and as long as the song. One line per song;
the exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import mido
import msgspec
import numpy as np

from neuralsynth.engine import Engine, play_events
from neuralsynth.errors import NeuralSynthError
from neuralsynth.hosts.cast import Cast
from neuralsynth.hosts.midi_file import Song, read_midi_file
from neuralsynth.hosts.render import LONGEST_TAIL_SECONDS, Meter, song_blocks
from neuralsynth.patch import Patch

STATE_SAMPLE_RATE = 8_000  # the engine that is watched need not sound well
SHOWN_MISMATCHES = 5
RESETS = {
    "f07e7f0901f7", "f07e7f0902f7", "f07e7f0903f7", "f04110421240007f0041f7", "f04110421240007f7f42f7",
    "f043104c00007e00f7",
}  # fmt: skip


@dataclass
class SongCheck:
    """What came out for one song."""

    n_events: int = 0
    mismatches: list[str] = field(default_factory=list)
    seconds: float = 0.0
    times_real_time: float = 0.0
    peak: float = 0.0
    stolen_voices: int = 0
    ignored_messages: int = 0

    def expect(self, what: str, ours: object, theirs: object) -> None:
        """Note a mismatch unless both are equal."""
        if ours != theirs:
            self.mismatches.append(f"{what}: {ours} instead of {theirs}")


def check_song(
    path: Path, sample_rate: int = 48_000, bank: str | Path = "general-midi", watched: str | Path = "cello"
) -> SongCheck:
    """Check one song; `watched` is a preset of a sustained sound, for what is held."""
    check, song = SongCheck(), read_midi_file(path)
    messages, tempos = mido_reading(path)
    compare_readings(check, song, messages, tempos, sample_rate)
    watch_engine(check, song, messages, tempos, watched)
    check_render(check, song, sample_rate, bank)
    return check


# The second reading


def mido_reading(path: Path) -> tuple[list[tuple[float, bytes]], list[tuple[float, int]]]:
    """(seconds, message) of channel and system exclusive messages, and (seconds, microseconds per quarter note)."""
    file = mido.MidiFile(path)
    messages: list[tuple[float, bytes]] = []
    tempos: list[tuple[float, int]] = []
    tick, tempo_tick, seconds, tempo = 0, 0, 0.0, 500_000
    for message in mido.merge_tracks(file.tracks):
        tick += message.time
        now = seconds + mido.tick2second(tick - tempo_tick, file.ticks_per_beat, tempo)
        if message.type == "set_tempo":
            if tempos and tick == tempo_tick:
                tempos.pop()
            tempo_tick, seconds, tempo = tick, now, message.tempo
            tempos.append((now, tempo))
        elif not message.is_meta:
            messages.append((now, bytes(message.bytes())))
    return messages, tempos


class TinySynth:
    """What a synthesizer holds after some messages: keys, pedals, bends, bend ranges; of the modes only poly."""

    def __init__(self) -> None:
        self.power_on()

    def power_on(self) -> None:
        """Everything at rest."""
        self.down: set[tuple[int, int]] = set()  # keys, by channel and key
        self.left: set[tuple[int, int]] = set()  # held by the sustain pedal alone
        self.latched: set[tuple[int, int]] = set()  # held by the sostenuto pedal
        self.pedals = {(channel, cc): 0 for channel in range(16) for cc in (64, 66, 67, 69)}
        self.bend, self.cents, self.parameter = [8192] * 16, [(2, 0)] * 16, [(127, 127)] * 16

    def state(self) -> tuple:
        """Keys held, pedals that are down, bends, and bend ranges."""
        pedals = {pedal for pedal, value in self.pedals.items() if value >= 64}
        return self.down | self.left | self.latched, pedals, self.bend, [low + high / 100 for low, high in self.cents]

    def hear(self, message: bytes) -> None:
        """Take one message."""
        kind, channel, data = message[0] & 0xF0, message[0] & 15, message[1:]
        if kind == 0xF0:
            if message.hex() in RESETS:
                self.power_on()
        elif kind == 0x90 and data[1]:
            self.left.discard((channel, data[0]))
            self.down.add((channel, data[0]))
        elif kind in (0x80, 0x90):
            self.release({(channel, data[0])})
        elif kind == 0xE0:
            self.bend[channel] = data[0] + 128 * data[1]
        elif kind == 0xB0:
            self.control(channel, *data)

    def control(self, channel: int, number: int, value: int) -> None:
        """Take a control change."""
        if (channel, number) in self.pedals:
            self.pedal(channel, number, value)
        elif number in (100, 101):
            coarse, fine = self.parameter[channel]
            self.parameter[channel] = (value, fine) if number == 101 else (coarse, value)
        elif number in (98, 99):
            self.parameter[channel] = (127, 127)
        elif number in (6, 38) and self.parameter[channel] == (0, 0):
            self.cents[channel] = (value, 0) if number == 6 else (self.cents[channel][0], value)
        elif number == 120:
            for keys in (self.down, self.left, self.latched):
                keys -= {key for key in keys if key[0] == channel}
        elif number == 121:
            self.bend[channel], self.parameter[channel] = 8192, (127, 127)
            for pedal in (66, 64, 67, 69):
                self.pedal(channel, pedal, 0)
        elif number >= 123:
            self.release({key for key in self.down if key[0] == channel})

    def pedal(self, channel: int, number: int, value: int) -> None:
        """Move a pedal."""
        self.pedals[channel, number] = value
        if number == 66:  # it takes the keys that are down, not what the sustain pedal holds
            before = {key for key in self.latched if key[0] == channel}
            self.latched -= before
            if value >= 64:
                self.latched |= before | {key for key in self.down if key[0] == channel}
            elif self.sustained(channel):
                self.left |= before - self.down
        elif not self.sustained(channel):
            self.left -= {key for key in self.left if key[0] == channel}

    def sustained(self, channel: int) -> bool:
        """Whether one of the two pedals that sustain is down."""
        return max(self.pedals[channel, 64], self.pedals[channel, 69]) >= 64

    def release(self, keys: set[tuple[int, int]]) -> None:
        """Let keys go: a pedal may keep them."""
        gone = keys & self.down
        self.down -= gone
        self.left |= {key for key in gone if self.sustained(key[0]) and key not in self.latched}


# The checks


def compare_readings(
    check: SongCheck,
    song: Song,
    messages: Sequence[tuple[float, bytes]],
    tempos: Sequence[tuple[float, int]],
    sample_rate: int,
) -> None:
    """The song must say the same at the same samples; then it may only let go what the file forgot."""
    told = list(song.events(sample_rate))
    ours = [event for event in told if event.message[0] < 0xFF]
    check.expect(
        "tempos", [int.from_bytes(e.message[3:]) for e in told if e.message[0] == 0xFF], [t for _, t in tempos]
    )
    times = [event.sample for event in told if event.message[0] == 0xFF]
    off = [abs(at - seconds * sample_rate) > 1.0 for at, (seconds, _) in zip(times, tempos, strict=False)]
    check.expect("tempos at another sample", sum(off), 0)
    check.expect("samples that go back", sum(b.sample < a.sample for a, b in pairwise(told)), 0)
    for event, (seconds, message) in zip(ours, messages, strict=False):
        check.n_events += 1
        check.expect(f"message at {seconds:.3f} s", event.message.hex(), message.hex())
        if abs(event.sample - seconds * sample_rate) > 1.0:
            check.expect(f"sample of {message.hex()}", event.sample, round(seconds * sample_rate))
    check.expect("messages missing", max(len(messages) - len(ours), 0), 0)
    added = [event.message for event in ours[len(messages) :]]
    check.expect("messages added", [m.hex() for m in added if m[0] & 0xF0 != 0x80 and (m[1] < 64 or m[2])], [])


def watch_engine(
    check: SongCheck,
    song: Song,
    messages: Sequence[tuple[float, bytes]],
    tempos: Sequence[tuple[float, int]],
    watched: str | Path,
) -> None:
    """After each message that a live engine obeys, its state must be that of a `TinySynth` which heard mido's reading.

    The preset's release catch is switched off, for what it catches depends on how long a sound rings; and its voices
    are many, so that none is stolen.
    """
    patch = Patch.load(watched)
    voices = msgspec.structs.replace(patch.preset.voices, polyphony=256, pedal_catch=False)
    modulation = msgspec.structs.replace(patch.preset.modulation, bend_range_semitones=2.0)
    preset = msgspec.structs.replace(patch.preset, voices=voices, modulation=modulation, effects=())
    engine, tiny = Engine(Patch(preset, patch.model, patch.path), STATE_SAMPLE_RATE), TinySynth()
    performer, obey = engine.performer, engine.performer.handle
    heard, tempo_heard = iter([message for _, message in messages]), iter([tempo for _, tempo in tempos])
    in_force = [500_000]

    def handle(now: int, message: bytes) -> None:
        obey(now, message)
        if message[0] == 0xFF:
            in_force[0] = next(tempo_heard, 0)
        else:
            for expected in heard:  # of several strikes of one key at one sample the engine plays the last
                tiny.hear(expected)
                if expected == message:
                    break
            else:
                tiny.hear(message)  # added by the reader at the end
        compare_state(check, engine, tiny, in_force[0], f"after {message[:8].hex()} at {now / STATE_SAMPLE_RATE:.3f} s")

    performer.handle = handle  # type: ignore[method-assign]
    events = list(song.events(STATE_SAMPLE_RATE))
    for _ in play_events(engine, events, events[-1].sample + 1):
        pass
    check.expect("keys held at the end", sorted(engine.held_notes()), [])
    check.expect("messages the engine left out", len(list(heard)) + len(list(tempo_heard)), 0)


def compare_state(check: SongCheck, engine: Engine, tiny: TinySynth, tempo: int, when: str) -> None:
    """Keys, pedals, bends, bend ranges and tempo."""
    channels = engine.performer.band.channels
    held, pedals, bends, ranges = tiny.state()
    down = {pedal for pedal in tiny.pedals if channels[pedal[0]].values[pedal[1]] >= 64}
    steps = [round(8192 + channel.bend * (8192 if channel.bend < 0 else 8191)) for channel in channels]
    check.expect(f"keys held {when}", sorted(engine.held_notes()), sorted(held))
    check.expect(f"pedals {when}", sorted(down), sorted(pedals))
    check.expect(f"bends {when}", steps, bends)
    check.expect(f"bend ranges {when}", [round(c.bend_range_semitones, 6) for c in channels], ranges)
    beats = min(max(60e6 / tempo, 3.0), 6000.0) if tempo else 0.0
    check.expect(f"tempo {when}", round(engine.performer.clock.beats_per_minute, 6), round(beats, 6))


def check_render(check: SongCheck, song: Song, sample_rate: int, bank: str | Path) -> None:
    """The sound of the song with a bank."""
    engine, meter, is_finite = Cast(song, programs=bank).engine(sample_rate), Meter(), True
    began = time.perf_counter()
    for block in song_blocks(song, engine):
        is_finite = is_finite and bool(np.isfinite(block).all())
        meter.add(block)
    check.seconds = meter.n_samples / sample_rate
    check.times_real_time = check.seconds / max(time.perf_counter() - began, 1e-9)
    check.peak = meter.peak
    check.stolen_voices = sum(part.pool.stolen_voices for part in engine.parts)
    check.ignored_messages = engine.ignored
    check.expect("finite", is_finite, True)
    check.expect("peak at most 0.99 and above 0.001", 0.001 < meter.peak <= 0.99, True)
    check.expect("notes held after the render", sorted(engine.held_notes()), [])
    check.expect("voices that sound after the render", engine.n_sounding, 0)
    longest = song.duration_seconds + LONGEST_TAIL_SECONDS
    check.expect("length", song.duration_seconds <= check.seconds < longest, True)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample-rate", type=int, default=48_000)
    options = parser.parse_args()
    songs = sorted(options.folder.glob("*.mid"))
    if not songs:
        print(f"{options.folder}: holds no .mid files", file=sys.stderr)
        return 2
    n_bad = 0
    for path in songs:
        try:
            check = check_song(path, options.sample_rate)
        except NeuralSynthError as error:
            check = SongCheck(mismatches=[str(error)])
        n_bad += bool(check.mismatches)
        print(
            f"{path.name}: {check.n_events} events, {len(check.mismatches)} mismatches, {check.seconds:.1f} s, "
            f"{check.times_real_time:.0f} x real time, peak {check.peak:.3f}, {check.stolen_voices} voices stolen, "
            f"{check.ignored_messages} messages ignored",
            flush=True,
        )
        for mismatch in check.mismatches[:SHOWN_MISMATCHES]:
            print(f"  {mismatch[:300]}")
    return int(n_bad > 0)


if __name__ == "__main__":
    sys.exit(main())
