"""Program changes and bank select: what a performance's programs bring, and what happens to notes that sound."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.preset_sections import Envelope, Sound, Voices
from neuralsynth.programs import Programs
from neuralsynth.units import note_to_hz
from tests.players import CONTROL, NOTE_OFF, NOTE_ON, PROGRAM, RATE, Shelf, at, cents_from, cut, level_db, play

BAND = """
format_version = 1
name = "Band"

[channels]
default = "low.toml"
3 = "high.toml"

[[programs]]
program = 1
preset = "low.toml"

[[programs]]
program = 2
preset = "high.toml"

[[programs]]
program = 2
bank_msb = 1
bank_lsb = 5
preset = "highest.toml"

[[programs]]
program = "4-6"
channel = 2
preset = "highest.toml"

[[programs]]
program = 7
preset = "alone.toml"

[[programs]]
program = 8
preset = "echoing.toml"
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("programs"))
    shelf.preset("low", sound=Sound(transpose_semitones=-12), envelope=Envelope(release_seconds=0.05))
    shelf.preset("high", sound=Sound(transpose_semitones=12))
    shelf.preset("highest", sound=Sound(transpose_semitones=24))
    shelf.preset("alone", voices=Voices(mode="mono"))
    shelf.preset("echoing", effects=(EffectSettings("delay", {"delay_seconds": 0.03, "feedback": 0.6}),))
    path = shelf.folder / "band.performance.toml"
    path.write_text(BAND)
    return Programs.load(path)


def band(programs):
    return Engine(programs.start(), RATE, 4096, programs=programs)


def heard(audio, key):
    return abs(cents_from(audio, note_to_hz(key))) < 2.0


def test_a_program_change_leaves_the_sounding_note_and_gives_later_ones_the_new_preset(programs):
    events = [at(0.0, NOTE_ON, 60, 100), at(0.2, PROGRAM, 1), at(0.6, NOTE_OFF, 60, 64), at(0.8, NOTE_ON, 60, 100)]
    audio = play(band(programs), events, 1.3)
    assert heard(cut(audio, 0.25, 0.6), 48)
    assert level_db(cut(audio, 0.75, 0.8)) < -60.0
    assert heard(cut(audio, 0.9), 72)


def test_a_program_change_changes_no_sample_of_the_sounding_note(programs):
    note = at(0.0, NOTE_ON, 60, 100)
    held, changed = play(band(programs), [note], 0.5), play(band(programs), [note, at(0.2, PROGRAM, 1)], 0.5)
    assert np.allclose(changed, held, atol=1e-3)
    assert level_db(changed - held) < level_db(held) - 50.0


def test_the_pedal_holds_and_lets_go_notes_of_the_preset_before(programs):
    down = [at(0.0, CONTROL, 64, 127), at(0.0, NOTE_ON, 60, 100), at(0.1, PROGRAM, 1), at(0.2, NOTE_OFF, 60, 64)]
    engine = band(programs)
    audio = play(engine, [*down, at(0.6, CONTROL, 64, 0)], 0.9)
    assert heard(cut(audio, 0.3, 0.6), 48)
    assert level_db(cut(audio, 0.8)) < -80.0
    assert engine.n_sounding == 0


def test_controllers_and_all_sound_off_still_reach_notes_of_the_preset_before(programs):
    start = [at(0.0, NOTE_ON, 60, 100), at(0.1, PROGRAM, 1)]
    bent = play(band(programs), [*start, at(0.2, 0xE0, 127, 127)], 0.7)
    assert abs(cents_from(cut(bent, 0.3), note_to_hz(50))) < 2.0
    stopped = play(band(programs), [*start, at(0.2, CONTROL, 120, 0)], 0.3)
    assert np.abs(cut(stopped, 0.21)).max() == 0.0


def test_the_bank_waits_for_its_program_change_and_an_unknown_bank_falls_back(programs):
    bank = [at(0.0, CONTROL, 0, 1), at(0.0, CONTROL, 32, 5)]
    note = at(0.1, NOTE_ON, 60, 100)
    assert heard(cut(play(band(programs), [*bank, note], 0.6), 0.2), 48)
    assert heard(cut(play(band(programs), [*bank, at(0.05, PROGRAM, 1), note], 0.6), 0.2), 84)
    other = [at(0.0, CONTROL, 0, 9), at(0.0, CONTROL, 32, 9), at(0.05, PROGRAM, 1), note]
    assert heard(cut(play(band(programs), other, 0.6), 0.2), 72)


def test_programs_are_those_of_their_own_channel(programs):
    for channel, program, key in ((0, 0, 48), (2, 0, 48), (1, 4, 84), (1, 5, 84), (0, 1, 72)):
        events = [at(0.0, PROGRAM | channel, program), at(0.1, NOTE_ON | channel, 60, 100)]
        assert heard(cut(play(band(programs), events, 0.6), 0.2), key)
    assert heard(cut(play(band(programs), [at(0.0, NOTE_ON | 2, 60, 100)], 0.5), 0.1), 72)


def test_an_unknown_program_is_counted_and_changes_nothing(programs):
    engine = band(programs)
    audio = play(engine, [at(0.0, PROGRAM, 99), at(0.1, NOTE_ON, 60, 100)], 0.6)
    assert engine.ignored == 1
    assert heard(cut(audio, 0.2), 48)


def test_volume_goes_with_the_channel_from_program_to_program(programs):
    quiet = at(0.0, CONTROL, 7, 50)
    levels = []
    for before in ([], [quiet]):
        engine = band(programs)
        levels.append(level_db(play(engine, [*before, at(0.05, PROGRAM, 1), at(0.1, NOTE_ON, 60, 100)], 0.4)))
    assert levels[1] - levels[0] == pytest.approx(40.0 * np.log10(50 / 100), abs=0.3)


def test_a_system_reset_brings_the_first_preset_back(programs):
    audio = play(band(programs), [at(0.0, PROGRAM, 1), at(0.1, 0xFF), at(0.2, NOTE_ON, 60, 100)], 0.7)
    assert heard(cut(audio, 0.3), 48)


def test_all_sound_off_ends_the_echoes_of_a_preset_of_before(programs):
    start = [at(0.0, PROGRAM, 7), at(0.05, NOTE_ON, 60, 100), at(0.2, NOTE_OFF, 60, 64), at(0.22, PROGRAM, 0)]
    ringing = play(band(programs), start, 0.5)
    assert level_db(cut(ringing, 0.31, 0.4)) > -60.0
    stopped = play(band(programs), [*start, at(0.3, CONTROL, 120, 0)], 0.5)
    assert np.abs(cut(stopped, 0.31)).max() == 0.0


@pytest.mark.parametrize("program", range(8))
def test_no_program_change_leaves_a_note_hanging(programs, program):
    engine = band(programs)
    keys = [at(0.01 * i, NOTE_ON, 50 + i, 100) for i in range(5)]
    ups = [at(0.3 + 0.01 * i, NOTE_OFF, 50 + i, 64) for i in range(5)]
    play(engine, [*keys, at(0.2, PROGRAM, program), *ups], 0.4)
    assert not engine.is_gated
