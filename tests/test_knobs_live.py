"""Knobs turned while playing: sound controllers, NRPN, RPN 5, MIDI learn; heard in dB, cents and milliseconds."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.midi.learn import ControllerMap, Entry
from neuralsynth.midi.parameters import DESTINATIONS
from neuralsynth.preset import Envelope, Filter, Lfo, Modulation, Sound
from neuralsynth.preset_sections import Envelope2, Morph
from neuralsynth.routes import destination
from neuralsynth.units import gain_to_db, note_to_hz
from tests.models import TINY_P
from tests.test_engine import NOTE_OFF, RATE, at
from tests.test_modulation import (
    amplitudes,
    cc,
    cents_at,
    contour,
    difference,
    hear,
    level_db,
    model_bytes,
    note,
    partials_db,
    response_db,
    sound,  # noqa: F401  # a fixture
)

LOWPASS = Filter("lowpass", cutoff_hz=500.0)
PARTIALS_HZ = 110.0 * np.arange(1, TINY_P + 1)


def nrpn(msb, lsb, coarse, fine=None, seconds=0.0):
    """Select a knob and set it: to 14 bits if `fine` is given."""
    events = [cc(99, msb, seconds), cc(98, lsb, seconds), cc(6, coarse, seconds)]
    return events if fine is None else [*events, cc(38, fine, seconds)]


def knob_number(name):
    return DESTINATIONS.index(name)


# Sound controllers: 64 leaves the preset as it is


@pytest.mark.parametrize("number", range(71, 80))
def test_a_sound_controller_in_the_middle_changes_nothing(sound, number):  # noqa: F811
    instrument = sound("rich", filter=LOWPASS, envelope=Envelope(0.05, 0.1, 0.6, 0.2))
    events = [note(), cc(1, 100), at(0.3, NOTE_OFF, 69, 0)]
    still, turned = (hear(instrument, *events, *more, seconds=0.5) for more in ([], [cc(number, 64)]))
    assert np.array_equal(still, turned)


@pytest.mark.parametrize(("value", "octaves"), [(127, 3.0), (96, 3.0 * 32 / 63), (0, -3.0), (32, -1.5)])
def test_cc74_moves_the_cutoff_by_octaves(sound, value, octaves):  # noqa: F811
    found = partials_db(sound("flat", filter=LOWPASS), cc(74, value)) - partials_db(sound("flat"))
    expected = response_db(PARTIALS_HZ, 500.0 * 2.0**octaves, "lowpass")
    assert np.abs(found - expected).max() < 0.1


@pytest.mark.parametrize(("value", "resonance"), [(127, 0.7), (64, 0.2), (0, 0.0)])
def test_cc71_moves_the_resonance(sound, value, resonance):  # noqa: F811
    settings = Filter("lowpass", cutoff_hz=440.0, resonance=0.2)
    found = partials_db(sound("flat", filter=settings), cc(71, value)) - partials_db(sound("flat"))
    assert np.abs(found - response_db(PARTIALS_HZ, 440.0, "lowpass", 2, resonance)).max() < 0.1


def level_over_time(mono, step=240):
    """Level in dB every 5 ms."""
    frames = mono[: len(mono) // step * step].reshape(-1, step)
    return gain_to_db(np.sqrt(np.mean(frames**2, axis=1)))


def rise_seconds(instrument, *events):
    """When a note is 1 dB below where it stays."""
    levels = level_over_time(hear(instrument, note(), *events, seconds=2.5)[0])
    return float(np.argmax(levels > levels[-1] - 1.0)) * 0.005


def fall_seconds(mono, first, last):
    """How long 60 dB of fall take, by the level between two moments."""
    levels = level_over_time(mono)[round(first * 200) : round(last * 200)]
    return -60.0 / np.polyfit(0.005 * np.arange(len(levels)), levels, 1)[0]


def test_cc73_stretches_the_attack_by_octaves(sound):  # noqa: F811
    instrument = sound("sine", envelope=Envelope(attack_seconds=0.2))
    longest, own, shortest = (rise_seconds(instrument, cc(73, value)) for value in (127, 64, 0))
    assert abs(own - 0.13) < 0.02  # 1 dB below the top, on the way to 1.25
    assert abs(longest / own - 8.0 * 0.23 / 0.2) < 1.0
    assert abs(own / shortest - 8.0) < 3.0


def test_cc73_gives_an_attack_to_a_sound_without_one(sound):  # noqa: F811
    assert rise_seconds(sound("sine"), cc(73, 127)) > 0.1
    assert rise_seconds(sound("sine"), cc(73, 0)) < 0.011


@pytest.mark.parametrize(("value", "seconds"), [(127, 4.24), (64, 0.5), (32, 0.177), (0, 0.0625)])
def test_cc72_stretches_the_release_by_octaves(sound, value, seconds):  # noqa: F811
    instrument = sound("sine", envelope=Envelope(release_seconds=0.5))
    audio = hear(instrument, note(), cc(72, value), at(0.3, NOTE_OFF, 69, 0), seconds=1.0)[0]
    found = fall_seconds(audio, 0.31, 0.3 + min(0.5 * seconds, 0.6))
    assert abs(found / seconds - 1.0) < 0.05


@pytest.mark.parametrize(("value", "seconds"), [(127, 4.24), (64, 0.5), (0, 0.0625)])
def test_cc75_stretches_the_decay_by_octaves(sound, value, seconds):  # noqa: F811
    instrument = sound("sine", envelope=Envelope(decay_seconds=0.5, sustain_level=0.0))
    audio = hear(instrument, note(), cc(75, value), seconds=0.8)[0]
    assert abs(fall_seconds(audio, 0.01, min(0.5 * seconds, 0.7)) / seconds - 1.0) < 0.05


def vibrato(instrument, *events, seconds=2.0, start=0.3):
    """Rate in Hz and depth in cents of a note's vibrato."""
    times = np.arange(start, seconds - 0.1, 0.002)
    moved = cents_at(hear(instrument, note(81), *events, seconds=seconds)[0], times, note_to_hz(81), width=384)
    ups = times[1:][(moved[1:] > 0.0) & (moved[:-1] <= 0.0)]
    rate = 1.0 / np.diff(ups).mean() if len(ups) > 1 and np.ptp(moved) > 3.0 else 0.0
    return rate, 0.5 * np.ptp(moved)


VIBRATO = Modulation(vibrato_rate_hz=4.0, vibrato_depth_cents=60.0)


@pytest.mark.parametrize(("value", "rate"), [(127, 16.0), (64, 4.0), (32, 2.0), (0, 1.0)])
def test_cc76_moves_the_rate_of_the_vibrato_by_octaves(sound, value, rate):  # noqa: F811
    found, _ = vibrato(sound("sine", modulation=VIBRATO), cc(1, 127), cc(76, value), seconds=3.0)
    assert abs(found / rate - 1.0) < 0.02


@pytest.mark.parametrize(
    ("wheel", "value", "cents"), [(127, 127, 110.0), (127, 64, 60.0), (127, 0, 10.0), (0, 127, 50.0), (0, 0, 0.0)]
)
def test_cc77_deepens_and_flattens_the_vibrato(sound, wheel, value, cents):  # noqa: F811
    _, depth = vibrato(sound("sine", modulation=VIBRATO), cc(1, wheel), cc(77, value))
    assert abs(depth - cents) < 2.0


@pytest.mark.parametrize(("value", "seconds"), [(64, 0.2), (127, 1.84), (0, 0.025)])
def test_cc78_moves_the_delay_of_the_vibrato(sound, value, seconds):  # noqa: F811
    instrument = sound(
        "sine", modulation=Modulation(vibrato_rate_hz=6.0, vibrato_depth_cents=80.0, vibrato_delay_seconds=0.2)
    )
    times = np.arange(0.02, 2.2, 0.002)
    moved = cents_at(
        hear(instrument, note(81), cc(1, 127), cc(78, value), seconds=2.4)[0], times, note_to_hz(81), width=384
    )
    began = times[np.argmax(np.abs(moved) > 8.0)]
    assert seconds - 0.01 < began < seconds + 0.1


@pytest.mark.parametrize(("coarse", "fine", "cents"), [(1, 0, 100.0), (0, 64, 50.0), (0, 0, 0.0)])
def test_rpn_5_sets_the_depth_at_full_wheel(sound, coarse, fine, cents):  # noqa: F811
    select = [cc(101, 0), cc(100, 5), cc(6, coarse), cc(38, fine)]
    _, depth = vibrato(sound("sine", modulation=VIBRATO), cc(1, 127), *select)
    assert abs(depth - cents) < 1.5


@pytest.mark.parametrize(("value", "place"), [(127, 1.0), (0, -1.0), (64, 0.0)])
def test_cc74_moves_the_brightness_axis_while_the_filter_is_off(sound, value, place):  # noqa: F811
    turned = partials_db(sound("rich"), cc(74, value), velocity=102)
    decoded = partials_db(sound("rich", sound=Sound(axes={"brightness": place})), velocity=102)
    heard = decoded > decoded.max() - 50.0
    assert np.abs(turned - decoded)[heard].max() < 0.1


def test_cc79_moves_the_noisiness_axis(sound, tmp_path):  # noqa: F811
    from neuralsynth.instrument import Instrument
    from neuralsynth.spec import LatentAxis

    axes = {"noisiness": LatentAxis([-2.0, 0.0], [2.0, 0.0], 0.0, 1.0, "", "share of noise")}
    (tmp_path / "noisy.onnx").write_bytes(model_bytes("rich", axes=axes))
    noisy = Instrument.load(tmp_path / "noisy.onnx")
    for value, place in ((127, 1.0), (0, -1.0)):
        turned = partials_db(noisy, cc(79, value), velocity=102)
        decoded = partials_db(sound("rich", sound=Sound(axes={"brightness": place})), velocity=102)
        heard = decoded > decoded.max() - 50.0
        assert np.abs(turned - decoded)[heard].max() < 0.1


def test_a_controller_moves_a_held_note_without_a_step(sound):  # noqa: F811
    instrument = sound("rich", filter=LOWPASS)
    still = hear(instrument, note(), cc(74, 10), seconds=0.8)
    events = [cc(74, 10 + i, 0.2 + 0.002 * i) for i in range(117)]
    swept = hear(instrument, note(), cc(74, 10), *events, seconds=0.8)
    bright = hear(instrument, note(), cc(74, 127), seconds=0.8)
    steps = [np.abs(np.diff(x[0][RATE // 10 :])).max() for x in (still, swept, bright)]
    assert steps[1] < max(steps[0], steps[2]) + 0.01
    assert (
        np.abs(amplitudes(swept[0][RATE // 2 :], 440.0, 8) - amplitudes(bright[0][RATE // 2 :], 440.0, 8)).max() < 1e-4
    )


# NRPN


_SHAPED = {"attack_seconds": 0.05, "decay_seconds": 0.2, "sustain_level": 0.6, "release_seconds": 0.2}
#: knob -> model, routes, sections of the preset, the section and struct that holds it, MSB of the data
LIVE = {
    "sound.tune_cents": ("rich", [], {}, Sound, 100),
    "sound.gain_db": ("rich", [], {}, Sound, 80),
    "sound.pan": ("rich", [], {}, Sound, 90),
    "sound.noise_db": ("noise", [], {}, Sound, 80),
    "sound.dynamics": ("rich", [], {}, Sound, 30),
    "filter.cutoff_hz": ("rich", [], {"filter": LOWPASS}, Filter, 70),
    "filter.resonance": ("rich", [], {"filter": LOWPASS}, Filter, 110),
    **{f"envelope.{k}": ("sine", [], {"envelope": Envelope(**_SHAPED)}, Envelope, 40) for k in _SHAPED},
    **{
        f"envelope_2.{k}": (
            "sine", [("envelope_2", "sound.tune_cents", 300.0)],
            {"envelope_2": Envelope2(**_SHAPED), "envelope": Envelope(release_seconds=2.0)}, Envelope2, 40,
        )
        for k in _SHAPED
    },
    "lfo_1.rate_hz": ("sine", [("lfo_1", "sound.tune_cents", 200.0)], {"lfo_1": Lfo(rate_hz=1.0)}, Lfo, 90),
    "lfo_1.depth": ("sine", [("lfo_1", "sound.tune_cents", 200.0)], {}, Lfo, 20),
    "lfo_2.rate_hz": ("sine", [("lfo_2", "sound.tune_cents", 200.0)], {"lfo_2": Lfo(rate_hz=1.0)}, Lfo, 90),
    "lfo_2.depth": ("sine", [("lfo_2", "sound.tune_cents", 200.0)], {}, Lfo, 20),
    "modulation.vibrato_rate_hz": ("sine", [], {"modulation": VIBRATO}, Modulation, 120),
    "modulation.vibrato_depth_cents": ("sine", [], {"modulation": VIBRATO}, Modulation, 120),
    "morph.position": ("rich", [], {"morph": Morph(point="bright")}, Morph, 100),
}  # fmt: skip


def test_the_table_of_nrpns_is_complete():
    assert list(LIVE) == list(DESTINATIONS)


def preset_with(sections, struct, name, value):
    """The sections, with one knob where it is to be."""
    import msgspec

    section, _, key = name.partition(".")
    return sections | {section: msgspec.structs.replace(sections.get(section, struct()), **{key: value})}


@pytest.mark.parametrize("name", LIVE)
def test_an_nrpn_sets_a_knob_along_its_travel(sound, name):  # noqa: F811
    kind, routes, sections, struct, data = LIVE[name]
    value = destination(name).knob.from_position((data + 50 / 128) / 127.0)
    still = contour(sound(kind, *routes, **sections))
    turned = contour(sound(kind, *routes, **sections), *nrpn(1, knob_number(name), data, 50))
    expected = contour(sound(kind, *routes, **preset_with(sections, struct, name, value)))
    assert difference(still, expected) > 0.03
    assert difference(turned, expected) < 0.01


def test_nrpn_2_sets_axes_and_nrpn_3_latent_numbers(sound):  # noqa: F811
    ends = [
        partials_db(sound("rich", sound=Sound(axes={"brightness": place})), velocity=102)[:6] for place in (-1.0, 1.0)
    ]
    for msb, lsb in ((2, 0), (3, 1)):
        for data, expected in zip((0, 127), ends, strict=True):
            turned = partials_db(sound("rich"), *nrpn(msb, lsb, data), velocity=102)[:6]
            assert np.abs(turned - expected).max() < 0.1


@pytest.mark.parametrize(("data", "place"), [(0, -1.0), (127, 1.0)])
def test_an_axis_that_the_preset_has_moved_still_reaches_both_ends(sound, data, place):  # noqa: F811
    moved = sound("rich", sound=Sound(axes={"brightness": 0.5}))
    expected = partials_db(sound("rich", sound=Sound(axes={"brightness": place})), velocity=102)[:6]
    assert np.abs(partials_db(moved, *nrpn(2, 0, data), velocity=102)[:6] - expected).max() < 0.1


def test_nrpn_to_what_the_model_does_not_have_is_counted_and_changes_nothing(sound):  # noqa: F811
    engine = Engine(sound("rich"), RATE, 4096)
    still = hear(sound("rich"), seconds=0.2)
    unknown = [*nrpn(2, 1, 100), *nrpn(3, 0, 100), *nrpn(3, 3, 100), *nrpn(1, 22, 100), *nrpn(4, 0, 100)]
    assert np.array_equal(hear(engine, note(), *unknown, seconds=0.2), still)
    assert engine.ignored == 5


def test_increment_and_decrement_step_a_knob_from_where_the_preset_has_it(sound):  # noqa: F811
    instrument = sound("rich", sound=Sound(gain_db=-12.0))
    select = [cc(99, 1), cc(98, knob_number("sound.gain_db"))]
    own = level_db(hear(instrument, seconds=0.3))
    for controller, sign in ((96, 1.0), (97, -1.0)):
        found = level_db(hear(instrument, note(), *select, *[cc(controller, 0)] * 5, seconds=0.3)) - own
        assert abs(found - sign * 5 * 84.0 / 127.0) < 0.02


def test_the_lsb_moves_a_knob_by_less_than_a_step_of_the_msb(sound):  # noqa: F811
    levels = [
        level_db(hear(sound("rich"), note(), *nrpn(1, knob_number("sound.gain_db"), 90, fine), seconds=0.3))
        for fine in (0, 64)
    ]
    assert abs(levels[1] - levels[0] - 0.5 * 84.0 / 127.0) < 0.02


def test_the_vibrato_depth_knob_sets_the_depth_at_full_wheel_alone(sound):  # noqa: F811
    deep = nrpn(1, knob_number("modulation.vibrato_depth_cents"), 127)
    instrument = sound("sine", modulation=VIBRATO)
    assert abs(vibrato(instrument, cc(1, 127), *deep)[1] - 200.0) < 3.0
    assert abs(vibrato(instrument, cc(1, 64), *deep)[1] - 200.0 * 64 / 127) < 2.0
    assert vibrato(instrument, cc(1, 0), *deep)[1] < 0.5


def test_a_knob_set_by_nrpn_holds_for_its_channel_alone(sound):  # noqa: F811
    quiet = nrpn(1, knob_number("sound.gain_db"), 0)
    first = hear(sound("rich"), *quiet, note(), seconds=0.3)
    second = hear(sound("rich"), *quiet, note(channel=1), seconds=0.3)
    assert level_db(second) - level_db(first) > 50.0


# MIDI learn


def engine_of(instrument, *entries):
    return Engine(instrument, RATE, 8192, controls=ControllerMap([Entry(*entry) for entry in entries]))


def test_a_mapped_controller_turns_a_knob_along_its_range(sound):  # noqa: F811
    for value in (0, 64, 127):
        engine = engine_of(sound("flat", filter=LOWPASS), (21, "filter.cutoff_hz", None, 0.2, 0.8))
        cutoff = destination("filter.cutoff_hz").knob.from_position(0.2 + 0.6 * value / 127.0)
        found = partials_db(engine, cc(21, value)) - partials_db(sound("flat"))
        expected = response_db(PARTIALS_HZ, cutoff, "lowpass")
        heard = expected > -70.0
        assert np.abs(found - expected)[heard].max() < 0.2


def test_a_controller_learned_while_playing_turns_its_knob_from_then_on(sound):  # noqa: F811
    engine = engine_of(sound("rich"))
    engine.performer.controls.learn("sound.gain_db")
    audio = hear(engine, note(), cc(30, 94, 0.3), cc(30, 60, 0.6), cc(31, 10, 0.8), seconds=1.2)[0]
    own, high, low, same = (level_db(audio[round(s * RATE) : round((s + 0.15) * RATE)]) for s in (0.1, 0.4, 0.65, 1.0))
    assert abs(high - own - (-60.0 + 84.0 * 94 / 127)) < 0.1
    assert abs(low - own - (-60.0 + 84.0 * 60 / 127)) < 0.1
    assert abs(same - low) < 0.05


def test_a_map_for_one_channel_leaves_the_others(sound):  # noqa: F811
    quiet = [cc(21, 0), at(0.0, 0xB1, 21, 0)]
    engine = engine_of(sound("rich"), (21, "sound.gain_db", 1))
    first = level_db(hear(engine, *quiet, note(), seconds=0.3))
    engine = engine_of(sound("rich"), (21, "sound.gain_db", 1))
    second = level_db(hear(engine, *quiet, note(channel=1), seconds=0.3))
    assert first - second > 50.0


def test_a_mapped_controller_turns_an_effect(sound):  # noqa: F811
    effects = (EffectSettings("gain", {"gain_db": 0.0}),)
    engine = engine_of(sound("sine", effects=effects), (21, "effects.1.gain_db"))
    knob = engine.parts[0].chain.knobs()["effects.1.gain_db"]
    audio = hear(engine, note(), cc(21, 80, 0.5), seconds=1.0)[0]
    moved = level_db(audio[RATE * 3 // 4 :]) - level_db(audio[RATE // 4 : RATE // 2])
    assert abs(knob.from_position(80 / 127)) > 3.0
    assert abs(moved - knob.from_position(80 / 127)) < 0.1


def test_a_map_to_an_effect_that_is_not_there_changes_nothing(sound):  # noqa: F811
    engine = engine_of(sound("sine"), (21, "effects.3.room_size"), (22, "axes.unheard"), (23, "latent.9"))
    audio = hear(engine, note(), cc(21, 40), cc(22, 40), cc(23, 40), seconds=0.2)
    assert np.array_equal(audio, hear(sound("sine"), seconds=0.2))
