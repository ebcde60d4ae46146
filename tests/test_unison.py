"""Ensembles: the voices of a unison are drawn apart, begin and end cleanly, and are as loud struck as held."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from neuralsynth.engine import Engine
from neuralsynth.preset_sections import Envelope, Layer, Lfo, Sound, Voices
from neuralsynth.routes import Route
from neuralsynth.spec import Texture
from tests.models import tiny_instrument
from tests.players import BEND, CONTROL, NOTE_OFF, NOTE_ON, RATE, Shelf, at, cut, level_db, play

KEY, SPREAD_SECONDS = 69, 0.2
STRIKE = (NOTE_ON, KEY, 100)
#: One voice on each side, so that each channel of the audio is one player.
APART = Voices(unison=2, detune_cents=0.0, spread=1.0)
LATE = msgspec.structs.replace(APART, onset_spread_seconds=SPREAD_SECONDS)
HEARD = 0.02  # what the first samples of a voice leave on the other side, before it is at its place, is less


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("unison"))


@pytest.fixture(scope="module")
def late(shelf):
    return shelf.patch("late", voices=LATE, sound=Sound(gain_db=-6.0))


def onsets(audio):
    """When each side is first heard, seconds; nan if never."""
    heard = np.stack([np.convolve(np.abs(side), np.ones(96) / 96, "same") for side in audio]) > HEARD
    return np.where(heard.any(axis=1), heard.argmax(axis=1) / RATE, np.nan)


def strikes(patch, count=24, seconds=0.5):
    """The same note struck again and again, each with its own audio."""
    engine = Engine(patch, RATE, 4096)
    return [
        np.concatenate(
            [play(engine, [at(0.0, *STRIKE)], seconds), play(engine, [at(0.0, NOTE_OFF, KEY, 64)], 0.3)], axis=1
        )
        for _ in range(count)
    ]


def gaps(patch):
    """By how much the right side of many strikes comes later than the left, seconds; the first is on time."""
    times = np.array([onsets(audio) for audio in strikes(patch)])
    assert times.min(axis=1).max() < 0.003
    return times[:, 1] - times[:, 0]


def late_strike(patch, least=0.05):
    """How many strikes to let pass until one side comes later than `least` seconds, and that side."""
    for count, audio in enumerate(strikes(patch)):
        times = onsets(audio)
        if abs(times[1] - times[0]) > least:
            return count, int(np.argmax(times))
    raise AssertionError("no strike is that far apart")


def struck_late(patch, events, seconds=0.6, count=None, block=4096):
    """Events on an engine whose next strike has a late voice: audio and that side, and the engine."""
    passed, side = late_strike(patch) if count is None else count
    engine = Engine(patch, RATE, max(block, 64))
    for _ in range(passed):
        play(engine, [at(0.0, *STRIKE), at(0.01, NOTE_OFF, KEY, 64)], 0.8)
    engine_time = round(0.8 * RATE) * passed
    assert engine_time % 64 == 0
    return play(engine, events, seconds, block), side, engine


def test_the_first_voice_is_on_time_and_the_others_are_drawn_within_the_spread(late):
    found = gaps(late)
    assert np.abs(found).max() < SPREAD_SECONDS + 0.003
    assert np.abs(found).max() > 0.5 * SPREAD_SECONDS
    assert (found > 0.01).any()
    assert (found < -0.01).any()
    assert len(np.unique(np.round(found, 3))) > 15  # no two strikes alike


def test_without_a_spread_all_begin_together(shelf):
    together = shelf.patch("together", voices=APART)
    assert np.abs(gaps(together)).max() < 0.001


def test_every_render_draws_the_same(late):
    for one, other in zip(strikes(late, 3), strikes(late, 3), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("unison", [2, 3, 4, 5, 8])
def test_a_unison_is_as_loud_when_struck_as_one_voice(shelf, unison):
    def struck_db(count):
        voices = Voices(unison=count, detune_cents=1.0, spread=0.0)
        audio = play(shelf.patch(f"struck-{count}", voices=voices), [at(0.0, *STRIKE)], 0.06)
        return level_db(cut(audio, 0.01, 0.06))

    assert abs(struck_db(unison) - struck_db(1)) < 0.5


def test_a_voice_whose_note_ends_before_it_began_stays_silent_and_is_free_again(late):
    audio, side, engine = struck_late(late, [at(0.0, *STRIKE), at(0.02, NOTE_OFF, KEY, 64)])
    assert np.isnan(onsets(audio)[side])
    assert onsets(audio)[1 - side] < 0.003
    assert engine.n_sounding == 0


def test_the_pedal_holds_a_voice_that_has_not_begun(late):
    pedal = [at(0.0, CONTROL, 64, 127), at(0.0, *STRIKE), at(0.02, NOTE_OFF, KEY, 64)]
    audio, side, engine = struck_late(late, pedal)
    assert level_db(cut(audio[side], 0.4)) > -40.0
    play(engine, [at(0.0, CONTROL, 64, 0)], 0.5)
    assert engine.n_sounding == 0


@pytest.mark.parametrize("stop", [(CONTROL, 120, 0), (CONTROL, 123, 0), (0xFF,)])
def test_a_voice_that_has_not_begun_obeys_a_panic(late, stop):
    audio, side, engine = struck_late(late, [at(0.0, *STRIKE), at(0.02, *stop)])
    assert np.isnan(onsets(audio)[side])
    assert engine.n_sounding == 0


def test_a_voice_that_has_not_begun_can_be_choked(shelf, late):
    kit = shelf.layered(
        "kit", Layer("late.toml", key_high=80, choke_group=1), Layer("late.toml", key_low=81, choke_group=1)
    )
    count, side = late_strike(kit)
    audio, side, engine = struck_late(
        kit, [at(0.0, *STRIKE), at(0.02, NOTE_ON, 90, 1), at(0.025, NOTE_OFF, 90, 64)], count=(count, side)
    )
    assert level_db(cut(audio, 0.3)) < -60.0
    assert engine.n_sounding == 0


def test_a_voice_that_has_not_begun_can_be_stolen(shelf):
    few = shelf.patch("few", voices=msgspec.structs.replace(LATE, polyphony=2))
    burst = [at(0.005 * i, NOTE_ON, 60 + i, 100) for i in range(12)]
    engine = Engine(few, RATE, 4096)
    play(engine, burst, 1.0)
    assert engine.n_sounding == 2
    play(engine, [at(0.0, NOTE_OFF, 60 + i, 64) for i in range(12)], 0.5)
    assert engine.n_sounding == 0


def test_controllers_do_not_make_a_voice_begin_early(late):
    busy = [
        at(0.001 * i, *message)
        for i in range(1, 40)
        for message in ((BEND, i, 64), (CONTROL, 11, 126 + i % 2), (0xD0, i))
    ]
    calm, side, _ = struck_late(late, [at(0.0, *STRIKE)])
    moved, _, _ = struck_late(late, [at(0.0, *STRIKE), *busy])
    assert abs(onsets(moved)[side] - onsets(calm)[side]) < 0.001


def test_a_late_voice_moves_with_a_legato_note(shelf):
    slurred = shelf.patch("slurred", voices=msgspec.structs.replace(LATE, mode="legato"), sound=Sound(gain_db=-6.0))
    audio, side, _ = struck_late(slurred, [at(0.0, *STRIKE), at(0.02, NOTE_ON, KEY + 12, 100)], 1.0)
    end = cut(audio, 0.5)
    spectrum = np.abs(np.fft.rfft(end * np.hanning(end.shape[1])))
    assert np.argmax(spectrum[side]) == np.argmax(spectrum[1 - side])


@pytest.mark.parametrize("block", [1, 65, 512])
def test_late_voices_do_not_depend_on_the_block_size(late, block):
    chord = [at(0.003 * i, NOTE_ON, 57 + 3 * i, 90) for i in range(4)]
    moves = [at(0.03, BEND, 0, 80), at(0.05, CONTROL, 7, 60), at(0.07, NOTE_OFF, 60, 64), at(0.09, CONTROL, 1, 90)]
    np.testing.assert_array_equal(play(late, [*chord, *moves], 0.3), play(late, [*chord, *moves], 0.3, block))


def test_late_voices_begin_and_end_without_a_click(late):
    def step(audio):
        return float(np.abs(np.diff(audio)).max())

    lone = step(play(late, [at(0.0, *STRIKE)], 0.6))
    for moment in (0.004, 0.03, 0.0613, 0.11, 0.19):
        events = [at(0.0, *STRIKE), at(moment, CONTROL, 7, 40), at(moment + 0.011, NOTE_OFF, KEY, 64)]
        assert step(play(late, events, 0.6)) < lone + 0.01


def swing(audio):
    """How the level of each side moves, 10 ms by 10 ms, `[2, n]`, without its mean."""
    width = RATE // 100
    pieces = audio[:, : audio.shape[1] // width * width].reshape(2, -1, width)
    levels = 10.0 * np.log10(np.mean(pieces**2, axis=2) + 1e-12)
    return levels - levels.mean(axis=1, keepdims=True)


def tremolo(shelf, name, lfo=None, **voices):
    return shelf.patch(
        name,
        voices=msgspec.structs.replace(APART, **voices),
        lfo_1=lfo or Lfo(rate_hz=2.0),
        routes=(Route("lfo_1", "sound.gain_db", 6.0),),
    )


def likeness(audio):
    one, other = swing(cut(audio, 0.3, 1.3))
    return float(np.mean(one * other) / np.sqrt(np.mean(one**2) * np.mean(other**2)))


def test_the_lfos_of_a_unison_move_together_without_a_spread_and_apart_with_one(shelf):
    alike = [likeness(audio) for audio in strikes(tremolo(shelf, "alike"), 6, 1.3)]
    apart = [likeness(audio) for audio in strikes(tremolo(shelf, "apart", lfo_spread=1.0), 12, 1.3)]
    assert min(alike) > 0.98
    assert min(apart) < -0.5
    assert np.ptp(apart) > 1.0  # drawn for each strike


def test_the_vibrato_of_a_unison_moves_apart_with_a_spread(shelf):
    def pitch_moves(name, lfo_spread):
        voices = msgspec.structs.replace(APART, lfo_spread=lfo_spread)
        patch = shelf.patch(name, voices=voices)
        audio = play(patch, [at(0.0, CONTROL, 1, 127), at(0.0, *STRIKE)], 1.0)
        base = audio * np.exp(-2j * np.pi * 440.0 * np.arange(audio.shape[1]) / RATE)
        smooth = [np.convolve(side, np.ones(1200) / 1200, "valid")[RATE // 4 :: 480] for side in base]
        one, other = (np.diff(np.unwrap(np.angle(side))) for side in smooth)
        return float(np.corrcoef(one, other)[0, 1])

    assert pitch_moves("wheel-together", 0.0) > 0.95
    assert pitch_moves("wheel-apart", 1.0) < 0.9


def test_an_lfo_that_all_notes_share_is_where_the_others_are_when_a_voice_begins_late(shelf):
    shared = tremolo(shelf, "shared", Lfo(rate_hz=2.0, per_voice=False), onset_spread_seconds=SPREAD_SECONDS)
    in_time = tremolo(shelf, "in-time", Lfo(sync="1/4", per_voice=False), onset_spread_seconds=SPREAD_SECONDS)
    for patch in (shared, in_time):
        assert min(likeness(audio) for audio in strikes(patch, 6, 1.3)) > 0.98


def test_random_numbers_and_texture_are_drawn_for_each_voice(shelf):
    lively = Texture(partials_db=[2.0, 2.0, 2.0], level_db=1.0, cents=3.0, seconds=0.05)
    tiny_instrument(shelf.folder / "lively.onnx", sustaining=True, texture=lively)
    audio = play(shelf.patch("textured", "lively.onnx", voices=APART), [at(0.0, *STRIKE)], 3.0)
    assert abs(likeness(audio)) < 0.5
    drawn = shelf.patch("drawn", voices=APART, routes=(Route("random", "sound.gain_db", 12.0),))
    differences = [level_db(a[0]) - level_db(a[1]) for a in strikes(drawn, 8)]
    assert np.abs(differences).max() > 4.0
    assert np.std(differences) > 2.0


def test_a_struck_ensemble_with_a_slow_attack_is_bounded_and_falls_silent(shelf):
    section = shelf.patch(
        "section",
        voices=Voices(unison=8, onset_spread_seconds=0.25, lfo_spread=1.0),
        envelope=Envelope(attack_seconds=0.3),
    )
    engine = Engine(section, RATE, 4096)
    audio = play(engine, [at(0.0, NOTE_ON, key, 127) for key in (48, 55, 60, 64)], 1.0)
    assert np.abs(audio).max() <= 0.99
    play(engine, [at(0.0, NOTE_OFF, key, 64) for key in (48, 55, 60, 64)], 1.0)
    assert engine.n_sounding == 0
