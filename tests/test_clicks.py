"""Nothing that may happen to a sound makes a click: no sample step larger than those of the sounds themselves."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.preset_sections import Envelope, Layer, Sound, Voices
from neuralsynth.programs import Programs
from tests.players import BEND, CONTROL, NOTE_OFF, NOTE_ON, PROGRAM, RATE, Shelf, at, play, rpn

#: What a step may exceed those of the undisturbed sounds by.
MARGIN = 0.01


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("clicks"))


@pytest.fixture(scope="module")
def patches(shelf):
    soft = Sound(gain_db=-6.0)
    return {
        "poly": shelf.patch("poly", sound=soft),
        "two": shelf.patch("two", sound=soft, voices=Voices(polyphony=2)),
        "mono": shelf.patch("mono", sound=soft, voices=Voices(mode="mono")),
        "legato": shelf.patch("legato", sound=soft, voices=Voices(mode="legato")),
        "gliding": shelf.patch("gliding", sound=soft, voices=Voices(mode="legato", glide="always", glide_seconds=0.1)),
        "long": shelf.patch("long", sound=soft, envelope=Envelope(release_seconds=1.0)),
        "echoing": shelf.patch(
            "echoing", sound=soft, effects=(EffectSettings("delay", {"delay_seconds": 0.04, "feedback": 0.4}),)
        ),
    }


def step(audio):
    """The largest difference between neighbouring samples."""
    return float(np.abs(np.diff(audio)).max())


def own_step(patch, *notes, before=()):
    """The sum of the largest steps of notes that nothing disturbs."""
    return sum(step(play(patch, [*before, at(0.0, *note)], 0.4)) for note in notes)


def assert_no_click(patch, events, limit, seconds=0.7):
    for shift in (0.0, 0.0004, 0.0021):  # wherever in the wave it happens
        moved = [
            event._replace(sample=event.sample + round(shift * RATE)) if event.sample else event for event in events
        ]
        found = step(play(patch, moved, seconds))
        assert found <= limit + MARGIN, f"step {found:.4f}, alone {limit:.4f}"


A, B, C = (NOTE_ON, 57, 90), (NOTE_ON, 64, 90), (NOTE_ON, 69, 90)


def test_no_click_where_a_voice_is_stolen(patches):
    limit = own_step(patches["two"], A, B, C)
    assert_no_click(patches["two"], [at(0.0, *A), at(0.0, *B), at(0.3, *C), at(0.31, *A), at(0.32, *B)], limit)


def test_no_click_where_a_burst_of_notes_steals_every_voice_and_the_fading_ones_too(patches):
    burst = [at(0.3 + 0.0002 * i, NOTE_ON, 57 + i, 90) for i in range(4)]
    limit = own_step(patches["two"], A, B, *((NOTE_ON, 57 + i, 90) for i in range(4)))
    assert_no_click(patches["two"], [at(0.0, *A), at(0.0, *B), *burst], limit)


@pytest.mark.parametrize("name", ["poly", "mono"])
def test_no_click_where_a_key_is_struck_again(patches, name):
    events = [at(0.0, *A), at(0.3, *A), at(0.35, NOTE_OFF, 57, 64), at(0.352, *A)]
    assert_no_click(patches[name], events, own_step(patches[name], A, A))


def test_no_click_where_a_key_is_struck_again_under_the_pedal(patches):
    events = [at(0.0, CONTROL, 64, 127), at(0.0, *A), at(0.2, NOTE_OFF, 57, 64), at(0.3, *A), at(0.5, CONTROL, 64, 0)]
    assert_no_click(patches["poly"], events, own_step(patches["poly"], A, A))


@pytest.mark.parametrize("name", ["mono", "legato", "gliding"])
def test_no_click_where_one_voice_goes_to_another_key_and_back(patches, name):
    events = [at(0.0, *A), at(0.3, *C), at(0.5, NOTE_OFF, 69, 64)]
    assert_no_click(patches[name], events, own_step(patches[name], A, C))


@pytest.mark.parametrize("semitones", [2, 48])
def test_no_click_where_the_wheel_jumps_over_its_whole_range(patches, semitones):
    key, ranges = 57 if semitones == 2 else 50, rpn(0.0, 0, 0, semitones)
    top, bottom = at(0.0, BEND, 127, 127), at(0.0, BEND, 0, 0)
    limit = max(own_step(patches["poly"], (NOTE_ON, key, 90), before=[*ranges, bend]) for bend in (top, bottom))
    jumps = [at(0.3, *bottom.message), at(0.4, *top.message), at(0.5, *bottom.message), at(0.6, BEND, 0, 64)]
    assert_no_click(patches["poly"], [*ranges, top, at(0.0, NOTE_ON, key, 90), *jumps], limit)


@pytest.mark.parametrize("controller", [7, 8, 10, 11])
def test_no_click_where_volume_pan_or_expression_jumps(patches, controller):
    jumps = [at(0.3, CONTROL, controller, 0), at(0.4, CONTROL, controller, 127), at(0.5, CONTROL, controller, 0)]
    limit = max(own_step(patches["poly"], A, before=[at(0.0, CONTROL, controller, v)]) for v in (0, 64, 127))
    assert_no_click(patches["poly"], [at(0.0, *A), *jumps, at(0.6, CONTROL, controller, 127)], limit)


def test_no_click_where_a_send_opens_and_shuts(patches):
    events = [at(0.0, *A), at(0.3, CONTROL, 91, 127), at(0.4, CONTROL, 91, 0), at(0.4, CONTROL, 93, 127)]
    limit = own_step(patches["poly"], A, before=[at(0.0, CONTROL, 91, 127), at(0.0, CONTROL, 93, 127)])
    assert_no_click(patches["poly"], [*events, at(0.5, CONTROL, 93, 0)], limit)


def test_no_click_where_the_pedal_catches_a_note_and_lets_it_go(patches):
    events = [at(0.0, *A), at(0.2, NOTE_OFF, 57, 64), at(0.3, CONTROL, 64, 127), at(0.5, CONTROL, 64, 0)]
    assert_no_click(patches["long"], events, own_step(patches["long"], A))


def test_no_click_where_a_half_pedal_moves_under_a_release(patches):
    pedals = [at(0.22 + 0.02 * i, CONTROL, 64, depth) for i, depth in enumerate((63, 0, 40, 10, 63, 0, 64, 0))]
    events = [at(0.0, *A), at(0.2, NOTE_OFF, 57, 64), *pedals]
    assert_no_click(patches["poly"], events, own_step(patches["poly"], A))


def test_no_click_where_the_program_changes_under_a_note(shelf, patches):
    path = shelf.folder / "two.performance.toml"
    path.write_text(
        'format_version = 1\nname = "Two"\n[channels]\ndefault = "poly.toml"\n'
        '[[programs]]\nprogram = 2\npreset = "mono.toml"\n[[programs]]\nprogram = 1\npreset = "poly.toml"\n'
    )
    programs = Programs.load(path)
    engine = Engine(programs.start(), RATE, 4096, programs=programs)
    limit = own_step(patches["poly"], A) + own_step(patches["mono"], C)
    audio = play(engine, [at(0.0, *A), at(0.3, PROGRAM, 1), at(0.35, *C), at(0.5, PROGRAM, 0)], 0.7)
    assert step(audio) <= limit + MARGIN


def test_no_click_where_a_choke_group_ends_a_note(shelf, patches):
    kit = shelf.layered(
        "kit", Layer("poly.toml", key_high=60, choke_group=1), Layer("long.toml", key_low=61, choke_group=1)
    )
    limit = own_step(patches["poly"], A) + own_step(patches["long"], C)
    assert_no_click(kit, [at(0.0, *A), at(0.3, *C), at(0.4, *A), at(0.5, *A)], limit)


@pytest.mark.parametrize("name", ["poly", "echoing"])
@pytest.mark.parametrize("stop", [(CONTROL, 120, 0), (0xFF,)])
def test_no_click_where_all_sound_stops_and_a_note_follows_at_once(patches, name, stop):
    send = at(0.0, CONTROL, 91, 100)
    events = [send, at(0.0, *A), at(0.3, *stop), at(0.3002, *C), at(0.5, *stop), at(0.504, *stop), at(0.507, *A)]
    assert_no_click(patches[name], events, own_step(patches[name], A, C, before=[send]))


def test_no_click_in_the_echo_of_a_note_that_follows_at_once_when_all_sound_stopped(patches):
    audio = play(patches["echoing"], [at(0.0, *A), at(0.3, CONTROL, 120, 0), at(0.3002, *C)], 0.6)
    later = play(patches["echoing"], [at(0.3002, *C)], 0.6)
    from_here = round(0.33 * RATE)  # the first echo comes at 0.34 s
    assert step(audio[:, from_here:]) <= 1.05 * step(later[:, from_here:])


def test_no_click_where_controllers_are_reset(patches):
    moved = [at(0.0, CONTROL, 11, 30), at(0.0, BEND, 0, 0), at(0.0, CONTROL, 1, 127)]
    assert_no_click(patches["poly"], [*moved, at(0.0, *A), at(0.3, CONTROL, 121, 0)], own_step(patches["poly"], A))


@pytest.mark.parametrize(
    "message",
    [
        (0xF0, 0x7F, 0x7F, 8, 2, 0, 1, 57, 69, 0, 0, 0xF7),
        (0xF0, 0x7F, 0x7F, 8, 8, 3, 127, 127, *[127] * 12, 0xF7),
        (0xF0, 0x7F, 0x7F, 4, 4, 0, 76, 0xF7),
        (0xF0, 0x7F, 0x7F, 4, 1, 0, 0, 0xF7),
    ],
)
def test_no_click_where_a_tuning_or_the_master_volume_changes(patches, message):
    limit = max(own_step(patches["poly"], note) for note in (A, C))
    assert_no_click(patches["poly"], [at(0.0, *A), at(0.3, *message)], limit)


def test_no_click_where_the_timbre_jumps(patches):
    limit = max(own_step(patches["poly"], A, before=[at(0.0, CONTROL, 74, v)]) for v in (0, 127))
    jumps = [at(0.3, CONTROL, 74, 0), at(0.4, CONTROL, 74, 127), at(0.5, CONTROL, 74, 0)]
    assert_no_click(patches["poly"], [at(0.0, CONTROL, 74, 127), at(0.0, *A), *jumps], limit)


def test_no_click_where_an_mpe_zone_begins_and_ends(patches):
    events = [
        at(0.0, *A),
        at(0.0, NOTE_ON | 1, 69, 90),
        *rpn(0.3, 0, 6, 5),
        at(0.35, NOTE_ON | 1, 64, 90),
        *rpn(0.5, 0, 6, 0),
    ]
    assert_no_click(patches["poly"], events, own_step(patches["poly"], A, B, C))
