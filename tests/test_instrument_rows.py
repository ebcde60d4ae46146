"""What a musician expects of a MIDI instrument, each promise heard in the sound that the engine makes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.events import Event
from neuralsynth.midi.learn import ControllerMap, Entry
from neuralsynth.preset_sections import Envelope, Filter, Layer, Lfo, Modulation, Morph, Sound, Tuning, Voices
from neuralsynth.routes import Route
from neuralsynth.sound import layout
from neuralsynth.units import note_to_hz
from tests.players import (
    BEND,
    CONTROL,
    KEY_PRESSURE,
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


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def plain(shelf):
    return shelf.patch("plain")


@pytest.fixture(scope="module")
def long(shelf):
    """Rings for a second after the key."""
    return shelf.patch("long", envelope=Envelope(release_seconds=1.0))


@pytest.fixture(scope="module")
def one_voice(shelf):
    return {mode: shelf.patch(mode, voices=Voices(mode=mode)) for mode in ("mono", "legato")}


def sounding(audio, key):
    """Level of a key's fundamental."""
    return strength_db(audio, note_to_hz(key))


def is_only_on(side, audio):
    """Whether one side sounds and the other is silent."""
    silent, heard = np.abs(audio[1 - side]).max(), np.abs(audio[side]).max()
    return silent < 1e-5 and heard > 0.01


# Polyphony


def test_sixty_four_keys_sound_at_once(plain):
    keys = range(30, 94)
    engine = Engine(plain, RATE, 4096)
    audio = play(engine, [at(0.0, CONTROL, 7, 40), *(at(0.0, NOTE_ON, key, 60) for key in keys)], 2.0)
    assert engine.n_sounding == 64
    assert engine.parts[0].pool.stolen_voices == 0
    alone = sounding(cut(play(plain, [at(0.0, CONTROL, 7, 40), at(0.0, NOTE_ON, 90, 60)], 2.0), 0.5), 90)
    assert all(sounding(cut(audio, 0.5), key) > alone - 12.0 for key in keys)


def test_a_full_polyphony_gives_the_oldest_quiet_note_away_and_its_note_off_harms_nobody(shelf):
    few = shelf.patch("few", voices=Voices(polyphony=4))
    engine = Engine(few, RATE, 4096)
    chord = [at(0.1 * i, NOTE_ON, key, 100) for i, key in enumerate((40, 49, 62, 73, 88))]
    audio = play(engine, [*chord, at(0.6, NOTE_OFF, 49, 0)], 1.2)
    now = cut(audio, 0.7)
    assert sounding(now, 49) < -60.0
    assert all(sounding(now, key) > -50.0 for key in (40, 62, 73, 88))
    assert engine.held_notes() == {(0, key): 1 for key in (40, 62, 73, 88)}


# Bend and wheel


def test_the_wheel_bends_sounding_notes_of_its_own_channel_alone(plain):
    notes = [at(0.0, NOTE_ON, 60, 100), at(0.0, NOTE_ON | 1, 67, 100)]
    audio = cut(play(plain, [*notes, at(0.2, BEND, 127, 127)], 0.7), 0.3)
    assert sounding(audio, 62) > sounding(audio, 60) + 30.0
    assert sounding(audio, 67) > sounding(audio, 69) + 30.0


def test_a_new_bend_range_moves_a_note_that_sounds_bent(plain):
    events = [at(0.0, BEND, 127, 127), at(0.0, NOTE_ON, 57, 100), *rpn(0.2, 0, 0, 7, 50)]
    assert abs(cents_from(cut(play(plain, events, 0.8), 0.3), 220.0) - 750.0) < 1.0


@pytest.mark.parametrize(("number", "msb", "lsb", "cents"), [(1, 96, 0, 50.0), (1, 32, 0, -50.0), (2, 69, None, 500.0)])
def test_fine_and_coarse_tune_move_sounding_notes(plain, number, msb, lsb, cents):
    audio = play(plain, [at(0.0, NOTE_ON, 57, 100), *rpn(0.2, 0, number, msb, lsb)], 0.8)
    assert abs(cents_from(cut(audio, 0.3), 220.0) - cents) < 1.0


def test_rpn_5_sets_how_deep_the_modulation_wheel_reaches(plain):
    def spread(*depth):
        audio = play(plain, [*depth, at(0.0, CONTROL, 1, 127), at(0.0, NOTE_ON, 69, 100)], 1.5)[0][RATE // 5 :]
        pitches = [cents_from(audio[None, i : i + 2048], 440.0) for i in range(0, len(audio) - 2048, 1800)]
        return np.ptp(pitches)

    own, wide = spread(), spread(*rpn(0.0, 0, 5, 1, 0))
    assert wide == pytest.approx(own * 100.0 / 35.0, rel=0.1)


# Pedals


def test_the_deeper_a_half_pedal_the_longer_the_release(plain):
    def left(depth):
        events = [at(0.0, CONTROL, 64, depth), at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64)]
        return level_db(cut(play(plain, events, 0.3), 0.15, 0.2))

    levels = [left(depth) for depth in (0, 10, 20, 30, 40, 50, 60, 63, 64)]
    assert all(b > a + 0.2 for a, b in itertools.pairwise(levels)), levels
    assert level_db(cut(play(plain, [at(0.0, NOTE_ON, 60, 100)], 0.2), 0.15)) - levels[-1] < 0.5


def test_a_half_pedal_that_moves_changes_a_release_on_its_way(plain):
    events = [at(0.0, CONTROL, 64, 60), at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64)]
    slow, fast = play(plain, events, 0.4), play(plain, [*events, at(0.15, CONTROL, 64, 0)], 0.4)
    assert level_db(cut(fast, 0.25)) < level_db(cut(slow, 0.25)) - 30.0


def test_half_pedal_can_be_switched_off(shelf):
    off = shelf.patch("no-half", voices=Voices(half_pedal=False))
    note = [at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64)]
    assert np.array_equal(play(off, [at(0.0, CONTROL, 64, 63), *note], 0.3), play(off, note, 0.3))


def test_a_pedal_pressed_again_catches_a_note_where_its_release_stands(long):
    note = [at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64)]
    audio = play(long, [*note, at(0.3, CONTROL, 64, 127), at(1.0, CONTROL, 64, 0)], 2.0)
    free = play(long, note, 1.0)
    caught = level_db(cut(audio, 0.9, 1.0))
    assert abs(caught - level_db(cut(audio, 0.31, 0.41))) < 0.5
    assert level_db(cut(free, 0.3, 0.31)) - 1.5 < caught < level_db(cut(free, 0.25, 0.26))
    assert level_db(cut(audio, 1.9)) < caught - 40.0


def test_sostenuto_holds_what_was_down_when_it_was_pressed_and_nothing_later(plain):
    events = [
        at(0.0, NOTE_ON, 60, 100), at(0.1, CONTROL, 66, 127), at(0.15, NOTE_ON, 67, 100), at(0.2, NOTE_OFF, 60, 64),
        at(0.2, NOTE_OFF, 67, 64), at(0.8, CONTROL, 66, 0),
    ]  # fmt: skip
    audio = play(plain, events, 1.3)
    held = cut(audio, 0.5, 0.8)
    assert sounding(held, 60) > -30.0 > -60.0 > sounding(held, 67)
    assert level_db(cut(audio, 1.1)) < -80.0


def test_the_soft_pedal_makes_new_notes_softer_and_darker_and_leaves_sounding_ones(plain):
    loud = play(plain, [at(0.0, NOTE_ON, 60, 100)], 0.4)
    soft = play(plain, [at(0.0, CONTROL, 67, 127), at(0.0, NOTE_ON, 60, 100)], 0.4)
    assert level_db(soft) < level_db(loud) - 2.0
    assert brightness(soft) < 0.95 * brightness(loud)
    assert np.allclose(play(plain, [at(0.0, NOTE_ON, 60, 100), at(0.1, CONTROL, 67, 127)], 0.4), loud, atol=1e-3)


def test_hold_2_holds_as_the_sustain_pedal_does(plain):
    events = [at(0.0, CONTROL, 69, 127), at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64), at(0.6, CONTROL, 69, 0)]
    audio = play(plain, events, 1.0)
    assert level_db(cut(audio, 0.4, 0.6)) > -40.0
    assert level_db(cut(audio, 0.9)) < -80.0


# Levels


@pytest.mark.parametrize("controller", [7, 11])
def test_volume_and_expression_move_sounding_notes(plain, controller):
    audio = play(
        plain, [at(0.0, CONTROL, controller, 127), at(0.0, NOTE_ON, 60, 100), at(0.2, CONTROL, controller, 64)], 0.5
    )
    change = level_db(cut(audio, 0.25)) - level_db(cut(audio, 0.1, 0.2))
    assert change == pytest.approx(40.0 * np.log10(64 / 127), abs=0.3)


def test_balance_lowers_one_side_and_leaves_the_other(plain):
    note = at(0.0, NOTE_ON, 60, 100)
    middle = play(plain, [note], 0.3)
    for value, kept in ((0, 0), (127, 1)):
        turned = play(plain, [at(0.0, CONTROL, 8, value), note], 0.3)
        assert np.allclose(turned[kept], middle[kept], atol=1e-6)
        assert np.abs(turned[1 - kept]).max() < 1e-6


def test_master_volume_lowers_all_channels_by_the_volumes_law(plain):
    notes = [at(0.0, NOTE_ON, 60, 100), at(0.0, NOTE_ON | 9, 67, 100)]
    audio = play(plain, [*notes, at(0.2, 0xF0, 0x7F, 0x7F, 4, 1, 0, 64, 0xF7)], 0.6)
    for key in (60, 67):
        change = sounding(cut(audio, 0.3), key) - sounding(cut(audio, 0.0, 0.2), key)
        assert change == pytest.approx(40.0 * np.log10(8192 / 16383), abs=1.0)


# Pressure


@pytest.fixture(scope="module")
def pressed(shelf):
    return shelf.patch("pressed", routes=(Route("pressure", "sound.gain_db", -30.0),))


def test_channel_pressure_moves_every_note_of_its_channel_by_a_route(pressed):
    notes = [at(0.0, NOTE_ON, 60, 100), at(0.0, NOTE_ON, 67, 100), at(0.0, NOTE_ON | 1, 76, 100)]
    audio = play(pressed, [*notes, at(0.3, PRESSURE, 127)], 0.7)
    change = {key: sounding(cut(audio, 0.4), key) - sounding(cut(audio, 0.0, 0.3), key) for key in (60, 67, 76)}
    assert change[60] == pytest.approx(-30.0, abs=1.0)
    assert change[67] == pytest.approx(-30.0, abs=1.0)
    assert abs(change[76]) < 1.0


def test_key_pressure_moves_its_own_key_alone_and_the_larger_pressure_counts(pressed):
    notes = [at(0.0, NOTE_ON, 60, 100), at(0.0, NOTE_ON, 67, 100)]
    audio = play(pressed, [*notes, at(0.3, KEY_PRESSURE, 67, 127), at(0.6, PRESSURE, 64)], 1.0)
    first, second, third = cut(audio, 0.0, 0.3), cut(audio, 0.35, 0.6), cut(audio, 0.65)
    assert abs(sounding(second, 60) - sounding(first, 60)) < 1.0
    assert sounding(second, 67) - sounding(first, 67) == pytest.approx(-30.0, abs=2.5)
    assert sounding(third, 60) - sounding(first, 60) == pytest.approx(-30.0 * 64 / 127, abs=1.0)
    assert abs(sounding(third, 67) - sounding(second, 67)) < 2.5


def test_reset_all_controllers_takes_bend_pressure_and_expression_off_a_sounding_note(pressed):
    moved = [at(0.1, PRESSURE, 127), at(0.1, BEND, 0, 90), at(0.1, CONTROL, 11, 60), at(0.1, CONTROL, 1, 127)]
    audio = play(pressed, [at(0.0, NOTE_ON, 69, 100), *moved, at(0.3, CONTROL, 121, 0)], 0.9)
    after = cut(audio, 0.4)
    assert abs(cents_from(after, 440.0)) < 1.0
    assert abs(level_db(after) - level_db(cut(audio, 0.02, 0.1))) < 0.5


def test_reset_all_controllers_lets_the_pedals_go(plain):
    for pedal in (64, 66, 69):
        events = [at(0.0, NOTE_ON, 60, 100), at(0.05, CONTROL, pedal, 127), at(0.1, NOTE_OFF, 60, 64)]
        audio = play(plain, [*events, at(0.3, CONTROL, 121, 0)], 0.7)
        assert level_db(cut(audio, 0.25, 0.3)) > -40.0
        assert level_db(cut(audio, 0.6)) < -80.0


# One voice, and glides


@pytest.mark.parametrize("mode", ["mono", "legato"])
def test_one_voice_sounds_the_newest_key_and_returns_to_the_one_still_down(one_voice, mode):
    engine = Engine(one_voice[mode], RATE, 4096)
    events = [
        at(0.0, NOTE_ON, 60, 100),
        at(0.3, NOTE_ON, 67, 100),
        at(0.6, NOTE_OFF, 67, 64),
        at(0.9, NOTE_OFF, 60, 64),
    ]
    audio = play(engine, events, 1.2)
    for start, key, other in ((0.4, 67, 60), (0.75, 60, 67)):
        piece = cut(audio, start, start + 0.15)
        assert sounding(piece, key) > sounding(piece, other) + 30.0
    assert not engine.is_gated


def test_mono_strikes_each_key_anew_and_legato_moves_on_without_an_attack(shelf):
    def dip(mode):
        slow = shelf.patch(f"slow-{mode}", envelope=Envelope(attack_seconds=0.2), voices=Voices(mode=mode))
        audio = play(slow, [at(0.0, NOTE_ON, 60, 100), at(0.5, NOTE_ON, 67, 100)], 0.8)
        return level_db(cut(audio, 0.51, 0.55)) - level_db(cut(audio, 0.4, 0.5))

    assert dip("legato") > -1.5
    assert dip("mono") < -4.0


def test_cc126_and_cc68_make_one_voice_and_cc127_many(plain):
    chord = [at(0.1, NOTE_ON, 60, 100), at(0.15, NOTE_ON, 64, 100), at(0.2, NOTE_ON, 67, 100)]

    def held(*before):
        engine = Engine(plain, RATE, 4096)
        play(engine, [*before, *chord], 0.3)
        return engine.held_notes().total()

    assert held() == 3
    assert held(at(0.0, CONTROL, 126, 1)) == 1
    assert held(at(0.0, CONTROL, 68, 127)) == 1
    assert held(at(0.0, CONTROL, 126, 1), at(0.05, CONTROL, 127, 0)) == 3


@pytest.mark.parametrize("controller", [123, 124, 125, 126, 127])
def test_all_notes_off_and_the_mode_messages_let_keys_go_and_leave_the_pedals_notes(plain, controller):
    note, off = at(0.0, NOTE_ON, 60, 100), at(0.2, CONTROL, controller, 0)
    assert level_db(cut(play(plain, [note, off], 0.6), 0.5)) < -80.0
    down = at(0.0, CONTROL, 64, 127)
    assert level_db(cut(play(plain, [down, note, off], 0.6), 0.5)) > -40.0


@pytest.mark.parametrize("mode", ["mono", "legato"])
def test_all_sound_off_counts_every_key_as_up(one_voice, mode):
    engine = Engine(one_voice[mode], RATE, 4096)
    events = [at(0.0, NOTE_ON, 60, 100), at(0.1, CONTROL, 120, 0), at(0.2, NOTE_ON, 67, 100), at(0.3, NOTE_OFF, 67, 64)]
    audio = play(engine, events, 0.7)
    assert not engine.is_gated
    assert level_db(cut(audio, 0.6)) < -80.0


def glide_way(patch, *before, keys=(57, 69), until=1.6):
    """Seconds from the second of two keys until the pitch is within 20 cents of it."""
    audio = play(patch, [*before, at(0.0, NOTE_ON, keys[0], 100), at(0.3, NOTE_ON, keys[1], 100)], until)
    goal = note_to_hz(keys[1])
    times = np.arange(0.3, until - 0.05, 0.03)
    far = [abs(cents_from(cut(audio, t, t + 0.04), goal)) > 20.0 for t in times]
    return times[np.flatnonzero(far)[-1]] - 0.3 if any(far) else 0.0


@pytest.fixture(scope="module")
def gliding(shelf):
    def make(mode):
        voices = Voices(mode="legato", glide="always", glide_mode=mode, glide_seconds=0.5)
        return shelf.patch(f"glide-{mode}", voices=voices)

    return {mode: make(mode) for mode in ("time", "rate")}


def test_a_glide_by_time_takes_its_time_for_any_interval(gliding):
    for keys in ((57, 69), (57, 64)):
        assert glide_way(gliding["time"], keys=keys) == pytest.approx(0.5, abs=0.06)


def test_a_glide_by_rate_takes_its_time_for_an_octave_and_half_of_it_for_half(gliding):
    assert glide_way(gliding["rate"], keys=(57, 69)) == pytest.approx(0.5, abs=0.06)
    assert glide_way(gliding["rate"], keys=(57, 63)) == pytest.approx(0.25, abs=0.06)


def test_cc65_switches_portamento_on_and_cc5_sets_its_time(one_voice):
    legato = one_voice["legato"]
    assert glide_way(legato, at(0.0, CONTROL, 5, 64)) < 0.05
    short, long_way = (glide_way(legato, at(0.0, CONTROL, 65, 127), at(0.0, CONTROL, 5, v)) for v in (30, 45))
    assert 0.05 < short < 0.6 * long_way


def test_cc84_lets_the_next_note_alone_glide_from_a_key(plain):
    portamento = [at(0.0, CONTROL, 5, 45), at(0.0, CONTROL, 84, 48)]
    audio = play(
        plain, [*portamento, at(0.0, NOTE_ON, 72, 100), at(1.0, NOTE_OFF, 72, 64), at(1.5, NOTE_ON, 72, 100)], 2.0
    )
    assert cents_from(cut(audio, 0.0, 0.05), note_to_hz(72)) < -1200.0
    assert abs(cents_from(cut(audio, 0.8, 1.0), note_to_hz(72))) < 5.0
    assert abs(cents_from(cut(audio, 1.52, 1.7), note_to_hz(72))) < 5.0


# Knobs by controller


def test_a_learned_controller_turns_its_knob_and_only_that_one(plain):
    controls = ControllerMap()
    controls.learn("sound.pan")
    engine = Engine(plain, RATE, 4096, controls=controls)
    learned = play(engine, [at(0.0, CONTROL, 20, 64), at(0.0, CONTROL, 20, 127), at(0.0, NOTE_ON, 60, 100)], 0.3)
    assert is_only_on(1, learned)
    engine.reset()
    other = play(engine, [at(0.0, CONTROL, 21, 127), at(0.0, NOTE_ON, 60, 100)], 0.3)
    assert np.allclose(other[0], other[1], atol=1e-6)


def test_a_learned_controller_turns_an_effect_and_a_reset_brings_its_place_back(shelf):
    patch = shelf.patch("loud", effects=(EffectSettings("gain", {"gain_db": 0.0}),))
    engine = Engine(patch, RATE, 4096, controls=ControllerMap([Entry(20, "effects.1.gain_db", None, 0.0, 1.0)]))
    note = at(0.0, NOTE_ON, 60, 60)
    first = play(engine, [note, at(0.3, CONTROL, 20, 20)], 0.8)
    assert abs(level_db(cut(first, 0.6)) - level_db(cut(first, 0.1, 0.3))) > 6.0
    after_ff = play(engine, [at(0.0, 0xFF), Event(4800, note.message)], 0.8)
    assert abs(level_db(cut(after_ff, 0.4)) - level_db(cut(first, 0.1, 0.3))) < 0.5
    engine.reset()
    play(engine, [at(0.0, CONTROL, 20, 20)], 0.3)
    engine.reset()
    assert np.array_equal(play(engine, [note], 0.3), cut(first, 0.0, 0.3))


def test_a_map_may_bind_a_controller_that_also_selects_banks(plain):
    engine = Engine(plain, RATE, 4096, controls=ControllerMap([Entry(32, "sound.pan")]))
    audio = play(engine, [at(0.0, NOTE_ON, 60, 100), at(0.1, CONTROL, 32, 127)], 0.4)
    assert np.abs(cut(audio, 0.2)[0]).max() < 1e-5


@pytest.mark.parametrize("value", [127, 0])
def test_cc72_makes_the_release_longer_or_shorter(plain, value):
    note = [at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64)]
    own, turned = play(plain, note, 0.3), play(plain, [at(0.0, CONTROL, 72, value), *note], 0.3)
    change = level_db(cut(turned, 0.12, 0.15)) - level_db(cut(own, 0.12, 0.15))
    assert change > 6.0 if value else change < -20.0


def test_cc73_makes_the_attack_slower(plain):
    own, slow = (play(plain, [*extra, at(0.0, NOTE_ON, 60, 100)], 0.3) for extra in ([], [at(0.0, CONTROL, 73, 127)]))
    assert level_db(cut(slow, 0.0, 0.05)) < level_db(cut(own, 0.0, 0.05)) - 6.0


def test_an_nrpn_puts_a_knob_to_a_place_on_its_travel(plain):
    pan = [at(0.1, CONTROL, 99, 1), at(0.1, CONTROL, 98, 2), at(0.1, CONTROL, 6, 127)]
    audio = play(plain, [at(0.0, NOTE_ON, 60, 100), *pan], 0.4)
    assert is_only_on(1, cut(audio, 0.2))


# Tunings


def test_a_scala_scale_and_its_key_map_tune_the_keys(shelf):
    (shelf.folder / "thirds.scl").write_text("! thirds.scl\n!\nfive\n5\n!\n240.\n480.\n720.\n960.\n2/1\n")
    (shelf.folder / "thirds.kbm").write_text("0\n0\n127\n69\n69\n440.0\n5\n")
    patch = shelf.patch("thirds", tuning=Tuning(scale="thirds.scl", keyboard="thirds.kbm"))
    for key, cents in ((69, 0.0), (70, 240.0), (67, -480.0), (74, 1200.0)):
        audio = cut(play(patch, [at(0.0, NOTE_ON, key, 100)], 0.8), 0.2)
        assert abs(cents_from(audio, 440.0) - cents) < 1.0


def single_note(key, note, hundredths=0, real_time=True):
    """MTS: one key of program 0 to a note number and hundredths of a semitone."""
    fraction = round(hundredths * 163.84)
    start = (0xF0, 0x7F if real_time else 0x7E, 0x7F, 8) + ((2,) if real_time else (7, 0))
    return (*start, 0, 1, key, note, fraction >> 7, fraction & 127, 0xF7)


def test_a_real_time_single_note_change_moves_the_sounding_note_and_no_other(plain):
    notes = [at(0.0, NOTE_ON, 60, 100), at(0.0, NOTE_ON, 72, 100)]
    audio = cut(play(plain, [*notes, at(0.2, *single_note(60, 64, 50))], 0.8), 0.3)
    assert sounding(audio, 64.5) > sounding(audio, 60) + 30.0
    assert sounding(audio, 72) > -35.0


def test_a_note_change_that_is_not_real_time_waits_for_the_next_note(plain):
    change = at(0.2, *single_note(60, 64, real_time=False))
    audio = play(plain, [at(0.0, NOTE_ON, 60, 100), change, at(0.8, NOTE_OFF, 60, 64), at(1.0, NOTE_ON, 60, 100)], 1.6)
    assert abs(cents_from(cut(audio, 0.3, 0.8), note_to_hz(60))) < 1.0
    assert abs(cents_from(cut(audio, 1.1), note_to_hz(64))) < 1.0


def test_a_retuned_layer_keeps_its_transposition_and_a_drum_its_own_key(shelf):
    shelf.preset("bare")
    twins = shelf.layered(
        "twins",
        Layer("bare.toml", key_low=60, key_high=60, transpose_semitones=12),
        Layer("bare.toml", key_low=62, key_high=62, fixed_key=48),
    )
    audio = play(twins, [at(0.0, NOTE_ON, 60, 100), at(0.2, *single_note(60, 61))], 0.7)
    assert abs(cents_from(cut(audio, 0.3), note_to_hz(73))) < 1.0
    audio = play(twins, [at(0.0, NOTE_ON, 62, 100), at(0.2, *single_note(62, 64))], 0.7)
    assert abs(cents_from(cut(audio, 0.3), note_to_hz(48))) < 1.0


def test_rpn_4_and_3_choose_a_tuning_program_for_one_channel_while_it_sounds(plain):
    written = at(0.0, 0xF0, 0x7F, 0x7F, 8, 7, 2, 5, 1, 60, 65, 0, 0, 0xF7)
    notes = [at(0.0, NOTE_ON, 60, 100), at(0.0, NOTE_ON | 1, 72, 100)]
    audio = play(plain, [written, *notes, *rpn(0.3, 0, 4, 2), *rpn(0.3, 0, 3, 5)], 0.9)
    assert sounding(cut(audio, 0.1, 0.3), 60) > -35.0
    after = cut(audio, 0.4)
    assert sounding(after, 65) > sounding(after, 60) + 30.0
    assert sounding(after, 72) > -35.0


def test_a_tuning_bank_waits_for_its_program_and_a_program_chosen_again_ends_an_octave_tuning(plain):
    written = at(0.0, 0xF0, 0x7F, 0x7F, 8, 7, 2, 0, 1, 60, 65, 0, 0, 0xF7)
    note = at(0.0, NOTE_ON, 60, 100)
    audio = play(plain, [written, note, *rpn(0.2, 0, 4, 2), *rpn(0.6, 0, 3, 0)], 1.0)
    assert abs(cents_from(cut(audio, 0.3, 0.6), note_to_hz(60))) < 1.0
    assert abs(cents_from(cut(audio, 0.7), note_to_hz(65))) < 1.0
    octave = at(0.1, 0xF0, 0x7F, 0x7F, 8, 8, 3, 127, 127, *[94] * 12, 0xF7)
    audio = play(plain, [octave, note, *rpn(0.4, 0, 3, 0)], 0.8)
    assert abs(cents_from(cut(audio, 0.15, 0.4), note_to_hz(60)) - 30.0) < 2.0
    assert abs(cents_from(cut(audio, 0.5), note_to_hz(60))) < 1.0


def test_an_octave_tuning_moves_the_channels_of_its_mask(plain):
    cents = [64] * 12
    cents[9] = 64 + 30
    tuning = at(0.2, 0xF0, 0x7F, 0x7F, 8, 8, 0, 0, 1, *cents, 0xF7)
    for channel, moved in ((0, 30.0), (1, 0.0)):
        audio = play(plain, [at(0.0, NOTE_ON | channel, 69, 100), tuning], 0.7)
        assert abs(cents_from(cut(audio, 0.3), 440.0) - moved) < 1.0


def test_master_tuning_moves_all_channels_and_coarse_tuning_leaves_drums(plain):
    fine, coarse = (0xF0, 0x7F, 0x7F, 4, 3, 0, 96, 0xF7), (0xF0, 0x7F, 0x7F, 4, 4, 0, 67, 0xF7)
    for channel, message, moved in ((0, fine, 50.0), (9, fine, 50.0), (0, coarse, 300.0), (9, coarse, 0.0)):
        audio = play(plain, [at(0.0, NOTE_ON | channel, 69, 100), at(0.2, *message)], 0.7)
        assert abs(cents_from(cut(audio, 0.3), 440.0) - moved) < 1.0


# Channels, splits, layers and kits


def test_sixteen_channels_have_their_own_preset_volume_and_pan(shelf):
    patches = {n: shelf.patch(f"own-{n}", sound=Sound(transpose_semitones=2 * n - 16)) for n in range(16)}
    alone = [
        play(
            patches[n],
            [at(0.0, CONTROL | n, 7, 30 + n), at(0.0, CONTROL | n, 10, 8 * n), at(0.0, NOTE_ON | n, 60, 60)],
            0.4,
        )
        for n in range(16)
    ]
    events = []
    for n in range(16):
        events += [at(0.0, CONTROL | n, 7, 30 + n), at(0.0, CONTROL | n, 10, 8 * n), at(0.0, NOTE_ON | n, 60, 60)]
    together = play(patches, events, 0.4)
    assert len({round(cents_from(cut(audio, 0.1), 440.0), -2) for audio in alone}) == 16
    assert np.allclose(together, sum(alone), atol=2e-5)


@pytest.mark.parametrize("controller", [91, 93])
def test_a_send_adds_its_wet_sound_per_channel_and_leaves_the_dry_one(plain, controller):
    note = at(0.0, NOTE_ON, 60, 100)
    dry = play(plain, [note], 0.6)

    def wet(value, channel=0):
        return play(plain, [at(0.0, CONTROL | channel, controller, value), note], 0.6) - dry

    assert np.abs(wet(127, channel=1)).max() == 0.0
    levels = [level_db(wet(value)) for value in (16, 64, 127)]
    assert levels[1] - levels[0] == pytest.approx(12.0, abs=0.5)
    assert levels[2] - levels[1] == pytest.approx(6.0, abs=0.5)
    assert -25.0 < levels[2] - level_db(dry) < 0.0


def test_a_split_plays_one_preset_below_a_key_and_another_above(shelf):
    shelf.preset("low", sound=Sound(pan=-1.0))
    shelf.preset("high", sound=Sound(pan=1.0))
    split = shelf.layered("split", Layer("low.toml", key_high=59), Layer("high.toml", key_low=60))
    for key, side in ((59, 0), (60, 1)):
        audio = play(split, [at(0.0, NOTE_ON, key, 100)], 0.2)
        assert is_only_on(side, audio)


def test_velocity_layers_switch_at_their_velocity_and_overlap_where_both_reach(shelf):
    shelf.preset("gentle", sound=Sound(transpose_semitones=12))
    shelf.preset("firm")
    both = shelf.layered("both", Layer("gentle.toml", velocity_high=80), Layer("firm.toml", velocity_low=64))
    for velocity, wanted in ((63, {72}), (70, {60, 72}), (81, {60})):
        engine = Engine(both, RATE, 4096)
        play(engine, [at(0.0, NOTE_ON, 60, velocity)], 0.1)
        heard = {
            round(float(part.pool.voices.numbers[voice, layout.NOTE])) for part in engine.parts for voice in np.flatnonzero(part.pool.held())
        }  # fmt: skip
        assert heard == wanted
        play(engine, [at(0.0, NOTE_OFF, 60, 64)], 1.0)
        assert engine.n_sounding == 0


@pytest.fixture(scope="module")
def kit(shelf):
    shelf.preset("drum", "struck.onnx")
    shelf.preset("hat", "struck.onnx", envelope=Envelope(release_seconds=3.0))
    return shelf.layered(
        "kit",
        Layer("drum.toml", key_low=36, key_high=40, fixed_key=45, one_shot=True),
        Layer("hat.toml", key_low=42, key_high=42, fixed_key=90, choke_group=1, one_shot=True),
        Layer("drum.toml", key_low=46, key_high=46, fixed_key=93, choke_group=1, one_shot=True),
        Layer("drum.toml", key_low=49, key_high=49, fixed_key=97, choke_group=2, one_shot=True),
    )


def test_every_key_of_a_fixed_layer_sounds_as_its_one_key(kit):
    for key in (36, 38, 40):
        assert abs(cents_from(play(kit, [at(0.0, NOTE_ON, key, 100)], 0.5), note_to_hz(45))) < 2.0


def test_a_one_shot_sounds_to_its_end_whatever_the_key_does_and_all_sound_off_stops_it(kit):
    hit = at(0.0, NOTE_ON, 36, 100)
    whole = play(kit, [hit], 0.6)
    assert np.array_equal(play(kit, [hit, at(0.02, NOTE_OFF, 36, 64)], 0.6), whole)
    assert np.array_equal(play(kit, [hit, at(0.02, CONTROL, 123, 0)], 0.6), whole)
    stopped = play(kit, [hit, at(0.1, CONTROL, 120, 0)], 0.6)
    assert np.abs(cut(stopped, 0.11)).max() == 0.0


@pytest.mark.parametrize(("first", "second"), [(42, 46), (46, 42)])
def test_a_choke_group_ends_its_other_notes_across_presets_and_spares_other_groups(kit, first, second):
    sounds = {42: 90, 46: 93, 49: 97}
    audio = play(kit, [at(0.0, NOTE_ON, first, 100), at(0.0, NOTE_ON, 49, 100), at(0.1, NOTE_ON, second, 100)], 0.5)
    after = cut(audio, 0.12, 0.4)
    assert sounding(after, sounds[first]) < sounding(after, sounds[second]) - 30.0
    assert sounding(after, sounds[49]) > sounding(after, sounds[second]) - 20.0


# Timbre


def test_timbre_moves_while_a_note_sounds_and_without_a_step(plain):
    sweep = [at(0.2 + 0.004 * i, CONTROL, 74, 64 + i) for i in range(64)]
    audio = play(plain, [at(0.0, NOTE_ON, 60, 100), *sweep], 0.8)
    places = [brightness(cut(audio, t, t + 0.05)) for t in np.arange(0.1, 0.7, 0.05)]
    assert places[-1] > 1.2 * places[0]
    assert all(b > 0.97 * a for a, b in itertools.pairwise(places)), places
    assert np.abs(np.diff(cut(audio, 0.1))).max() < 1.1 * np.abs(np.diff(cut(audio, 0.6))).max()


def test_a_morph_leads_from_its_own_sound_to_the_other_end_by_cc70(shelf):
    patch = shelf.patch("morphing", morph=Morph(point="bright"))
    bright = shelf.patch("bright", sound=Sound(point="bright"))
    note = at(0.0, NOTE_ON, 60, 100)
    here, there = play(shelf.patch("dull"), [note], 0.5), play(bright, [note], 0.5)
    assert np.allclose(play(patch, [note], 0.5), here, atol=1e-4)
    ends = play(patch, [at(0.0, CONTROL, 70, 127), note], 0.5)
    assert brightness(ends) == pytest.approx(brightness(there), rel=0.02)
    assert level_db(ends) == pytest.approx(level_db(there), abs=0.3)
    middle = brightness(play(patch, [at(0.0, CONTROL, 70, 96), note], 0.5))
    assert brightness(here) < 0.97 * middle < middle < 0.97 * brightness(ends)


@pytest.mark.parametrize(("kind", "gone"), [("lowpass", 5), ("highpass", 1)])
def test_a_filter_takes_away_what_lies_beyond_its_cutoff(shelf, kind, gone):
    patch = shelf.patch(kind, filter=Filter(type=kind, cutoff_hz=600.0, poles=4))
    note = at(0.0, NOTE_ON, 57, 100)
    change = [
        strength_db(play(patch, [note], 0.5), 220.0 * p)
        - strength_db(play(shelf.patch("open"), [note], 0.5), 220.0 * p)
        for p in (1, 5)
    ]
    lost, kept = (change[1], change[0]) if gone == 5 else (change[0], change[1])
    assert lost < -12.0
    assert kept > -4.0


def test_an_lfo_by_a_route_moves_the_level_at_its_rate(shelf):
    patch = shelf.patch("tremolo", lfo_1=Lfo(rate_hz=8.0), routes=(Route("lfo_1", "sound.gain_db", 6.0),))
    audio = cut(play(patch, [at(0.0, NOTE_ON, 69, 100)], 1.5), 0.25)
    levels = np.array([level_db(piece) for piece in np.split(audio[:, : 240 * 240], 240, axis=1)])
    spectrum = np.abs(np.fft.rfft((levels - levels.mean()) * np.hanning(240)))
    assert np.argmax(spectrum) * 200.0 / 240.0 == pytest.approx(8.0, abs=0.9)
    assert 9.0 < np.ptp(levels) < 13.5


@pytest.mark.parametrize("beats_per_minute", [90, 180])
def test_a_synced_lfo_follows_the_tempo(shelf, beats_per_minute):
    lfo = Lfo(sync="1/16", shape="sine")
    patch = shelf.patch("synced", lfo_1=lfo, routes=(Route("lfo_1", "sound.gain_db", 6.0),))
    tempo = at(0.0, 0xFF, 0x51, 3, *int(60e6 / beats_per_minute).to_bytes(3, "big"))
    audio = cut(play(patch, [tempo, at(0.0, NOTE_ON, 69, 100)], 1.5), 0.25)
    levels = np.array([level_db(piece) for piece in np.split(audio[:, : 240 * 240], 240, axis=1)])
    spectrum = np.abs(np.fft.rfft((levels - levels.mean()) * np.hanning(240)))
    assert np.argmax(spectrum) * 200.0 / 240.0 == pytest.approx(4.0 * beats_per_minute / 60.0, abs=0.9)


def test_a_route_is_scaled_by_its_second_source(shelf):
    patch = shelf.patch("via", routes=(Route("one", "sound.gain_db", -20.0, via="wheel"),))
    note = at(0.0, NOTE_ON, 69, 100)
    levels = [level_db(play(patch, [at(0.0, CONTROL, 1, value), note], 0.3)) for value in (0, 127)]
    assert levels[1] - levels[0] == pytest.approx(-20.0, abs=0.5)


def test_the_vibrato_of_the_wheel_waits_for_its_delay(shelf):
    patch = shelf.patch("late", modulation=Modulation(vibrato_depth_cents=100.0, vibrato_delay_seconds=0.5))
    audio = play(patch, [at(0.0, CONTROL, 1, 127), at(0.0, NOTE_ON, 81, 100)], 1.2)

    def spread(start, end):
        return np.ptp([cents_from(cut(audio, t, t + 0.04), 880.0) for t in np.arange(start, end, 0.02)])

    assert spread(0.1, 0.44) < 3.0
    assert spread(0.6, 1.1) > 100.0
