"""MPE as it sounds: each note bends, is pressed and changes its timbre alone, and the master moves them all."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.engine import Engine
from neuralsynth.routes import Route
from neuralsynth.units import note_to_hz
from tests.players import (
    BEND,
    CONTROL,
    NOTE_OFF,
    NOTE_ON,
    PRESSURE,
    RATE,
    Shelf,
    at,
    brightness,
    cents_from,
    cut,
    level_db,
    play,
    rpn,
    strength_db,
)

UP, DOWN = (127, 127), (0, 0)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("mpe"))


@pytest.fixture(scope="module")
def plain(shelf):
    return shelf.patch("plain")


@pytest.fixture(scope="module")
def pressed(shelf):
    return shelf.patch("pressed", routes=(Route("pressure", "sound.gain_db", -30.0),))


def zone(members, master=0):
    return rpn(0.0, master, 6, members)


def sounding(audio, key):
    return strength_db(audio, note_to_hz(key))


NOTES = [at(0.01, NOTE_ON | 1, 60, 100), at(0.01, NOTE_ON | 2, 67, 100)]


def test_a_members_bend_moves_its_own_note_by_48_semitones_at_most(plain):
    for data, key in ((UP, 88), (DOWN, 0)):
        note = at(0.01, NOTE_ON | 1, 40 if data == UP else 48, 100)
        audio = cut(play(plain, [*zone(5), note, at(0.2, BEND | 1, *data)], 1.5), 0.3)
        assert abs(cents_from(audio, note_to_hz(key))) < 2.0


def test_a_members_bend_leaves_the_other_notes(plain):
    audio = cut(play(plain, [*zone(5), *NOTES, at(0.2, BEND | 1, 0, 72)], 0.9), 0.3)  # 1/8 of 48 semitones
    assert sounding(audio, 66) > sounding(audio, 60) + 30.0
    assert sounding(audio, 67) > -40.0


def test_the_masters_bend_moves_all_notes_by_two_semitones_and_adds_to_their_own(plain):
    events = [*zone(5), *NOTES, at(0.2, BEND, *UP), at(0.2, BEND | 1, 0, 72)]
    audio = cut(play(plain, events, 0.9), 0.3)
    assert sounding(audio, 68) > -40.0
    assert sounding(audio, 69) > -40.0
    assert max(sounding(audio, key) for key in (60, 66, 67)) < -55.0


def test_a_note_struck_after_its_channels_bend_starts_bent(plain):
    audio = play(plain, [*zone(5), at(0.01, BEND | 1, 0, 72), at(0.02, NOTE_ON | 1, 60, 100)], 0.6)
    assert abs(cents_from(cut(audio, 0.1), note_to_hz(66))) < 1.0


def test_a_bend_range_on_one_member_holds_for_all(plain):
    events = [*zone(5), *rpn(0.005, 3, 0, 24), *NOTES, at(0.2, BEND | 1, *UP)]
    assert sounding(cut(play(plain, events, 0.9), 0.3), 84) > -40.0


def test_pressure_of_a_member_reaches_its_note_alone_and_the_masters_reaches_all(pressed):
    audio = play(pressed, [*zone(5), *NOTES, at(0.3, PRESSURE | 1, 127), at(0.6, PRESSURE, 127)], 1.0)
    before, one, both = cut(audio, 0.05, 0.3), cut(audio, 0.35, 0.6), cut(audio, 0.65)
    assert sounding(one, 60) < sounding(before, 60) - 25.0
    assert abs(sounding(one, 67) - sounding(before, 67)) < 1.0
    assert sounding(both, 67) < sounding(before, 67) - 25.0


def test_cc74_of_a_member_moves_the_timbre_of_its_note_alone(plain):
    def overtone(audio, key):
        return strength_db(audio, 4.0 * note_to_hz(key)) - sounding(audio, key)

    notes = [NOTES[0], at(0.01, NOTE_ON | 2, 66, 100)]  # a tritone shares no partial
    audio = play(plain, [*zone(5), *notes, at(0.3, CONTROL | 1, 74, 127)], 0.9)
    before, after = cut(audio, 0.05, 0.3), cut(audio, 0.4)
    assert overtone(after, 60) > overtone(before, 60) + 4.0
    assert abs(overtone(after, 66) - overtone(before, 66)) < 2.0


def test_timbre_moves_a_latent_number_of_one_note_by_a_route(shelf):
    patch = shelf.patch("latent", routes=(Route("timbre", "latent.1", 2.0),))

    def alone(value):
        return brightness(cut(play(patch, [*zone(5), NOTES[0], at(0.1, CONTROL | 1, 74, value)], 0.6), 0.2))

    assert alone(0) < 0.95 * alone(64) < 0.9 * alone(127)
    other = cut(play(patch, [*zone(5), NOTES[1], at(0.1, CONTROL | 1, 74, 127)], 0.6), 0.2)
    rest = cut(play(patch, [*zone(5), NOTES[1]], 0.6), 0.2)
    assert np.allclose(other, rest, atol=1e-4)


def test_the_masters_pedal_holds_members_notes_and_lets_them_go(plain):
    ups = [at(0.2, NOTE_OFF | 1, 60, 64), at(0.2, NOTE_OFF | 2, 67, 64)]
    engine = Engine(plain, RATE, 4096)
    audio = play(engine, [*zone(5), *NOTES, at(0.1, CONTROL, 64, 127), *ups, at(0.6, CONTROL, 64, 0)], 1.0)
    held = cut(audio, 0.4, 0.6)
    assert sounding(held, 60) > -40.0
    assert sounding(held, 67) > -40.0
    assert level_db(cut(audio, 0.9)) < -80.0
    assert not engine.is_gated


@pytest.mark.parametrize("controller", [66, 69])
def test_the_masters_other_pedals_hold_members_notes_too(plain, controller):
    off = at(0.2, NOTE_OFF | 1, 60, 64)
    audio = play(
        plain, [*zone(5), *NOTES[:1], at(0.1, CONTROL, controller, 127), off, at(0.5, CONTROL, controller, 0)], 0.9
    )
    assert level_db(cut(audio, 0.3, 0.5)) > -40.0
    assert level_db(cut(audio, 0.8)) < -80.0


def test_the_masters_volume_holds_for_its_members(plain):
    levels = [level_db(play(plain, [*zone(5), at(0.0, CONTROL, 7, v), *NOTES], 0.3)) for v in (100, 50)]
    assert levels[1] - levels[0] == pytest.approx(40.0 * np.log10(0.5), abs=0.3)


def test_all_sound_off_and_all_notes_off_on_the_master_reach_its_members(plain):
    stopped = play(plain, [*zone(5), *NOTES, at(0.2, CONTROL, 120, 0)], 0.3)
    assert np.abs(cut(stopped, 0.21)).max() == 0.0
    let_go = play(plain, [*zone(5), *NOTES, at(0.2, CONTROL, 123, 0)], 0.6)
    assert level_db(cut(let_go, 0.5)) < -80.0


def test_reset_all_controllers_on_the_master_resets_its_members(plain):
    bent = [at(0.1, BEND | 1, *UP), at(0.1, BEND, *UP), at(0.1, CONTROL | 1, 74, 127)]
    audio = play(plain, [*zone(5), NOTES[0], *bent, at(0.2, CONTROL, 121, 0)], 0.7)
    assert abs(cents_from(cut(audio, 0.3), note_to_hz(60))) < 1.0


def test_the_end_of_a_zone_ends_its_notes_and_restores_channels(plain):
    engine = Engine(plain, RATE, 4096)
    events = [*zone(5), *NOTES, at(0.1, BEND | 1, *UP), *rpn(0.2, 0, 6, 0), at(0.6, NOTE_ON | 1, 60, 100)]
    audio = play(engine, [*events, at(0.7, BEND | 1, *UP)], 1.2)
    assert level_db(cut(audio, 0.5, 0.6)) < -80.0
    assert abs(cents_from(cut(audio, 0.61, 0.7), note_to_hz(60))) < 10.0
    assert abs(cents_from(cut(audio, 0.8), note_to_hz(62))) < 1.0  # the preset's own range again
    assert engine.held_notes() == {(1, 60): 1}


def test_two_zones_play_at_once_each_with_its_own_master(plain):
    notes = [at(0.01, NOTE_ON | 1, 60, 100), at(0.01, NOTE_ON | 14, 67, 100)]
    both = [*zone(6), *zone(6, master=15), *notes]
    audio = cut(play(plain, [*both, at(0.2, BEND, *UP)], 0.8), 0.3)
    assert sounding(audio, 62) > -40.0
    assert sounding(audio, 67) > -40.0
    audio = cut(play(plain, [*both, at(0.2, BEND | 15, *DOWN), at(0.2, BEND | 1, 0, 72)], 0.8), 0.3)
    assert sounding(audio, 66) > -40.0
    assert sounding(audio, 65) > -40.0
    assert max(sounding(audio, key) for key in (60, 67)) < -55.0


def test_a_channel_outside_the_zone_plays_as_ever(plain):
    audio = play(plain, [*zone(3), at(0.01, NOTE_ON | 9, 60, 100), at(0.1, BEND, *UP), at(0.2, BEND | 9, *UP)], 0.7)
    assert abs(cents_from(cut(audio, 0.3), note_to_hz(62))) < 1.0
