"""The engine: MIDI in, the same samples out however time is cut, and no note that stays."""

from __future__ import annotations

import itertools
import random

import mido
import numpy as np
import onnx
import pytest

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine, play_events
from neuralsynth.errors import UsageError
from neuralsynth.events import TEMPO, Event
from neuralsynth.instrument import Instrument
from neuralsynth.preset import Envelope, Voices, load_preset, save_preset
from neuralsynth.units import gain_to_db, note_to_hz, ratio_to_cents
from tests.models import tiny_instrument
from tests.test_model import set_constant
from tests.test_voices import strongest_hz

RATE = 48_000
NOTE_ON, NOTE_OFF, CONTROL, BEND = 0x90, 0x80, 0xB0, 0xE0


def at(seconds, *message):
    return Event(round(seconds * RATE), bytes(message))


def play(instrument, events, seconds, block=4096, rate=RATE):
    engine = instrument if isinstance(instrument, Engine) else Engine(instrument, rate, max(block, 64))
    return np.concatenate(list(play_events(engine, events, round(seconds * rate), block)), axis=1)


def level_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(audio**2))))


PHRASE = [
    at(0.0, CONTROL, 7, 110),
    at(0.0101, NOTE_ON, 48, 100),
    at(0.05, NOTE_ON, 60, 64),
    at(0.0513, CONTROL, 64, 127),
    at(0.1, NOTE_OFF, 48, 0),
    at(0.12, CONTROL, 1, 90),
    at(0.15, BEND, 0, 80),
    at(0.2, NOTE_ON, 60, 120),
    at(0.25, CONTROL, 10, 20),
    at(0.3, CONTROL, 64, 0),
    at(0.35, CONTROL, 11, 60),
    at(0.4, CONTROL, 120, 0),
    at(0.42, NOTE_ON, 72, 90),
    at(0.6, NOTE_OFF, 72, 0),
]


def with_effects(instrument, folder, *effects, **envelope):
    """The instrument under a preset of its own."""
    preset = load_preset(instrument.path)
    (folder / "tiny.onnx").write_bytes(instrument.path.read_bytes())
    changed = {f: getattr(preset, f) for f in preset.__struct_fields__} | {
        "folder": folder,
        "model": "tiny.onnx",
        "effects": effects,
        "envelope": Envelope(**envelope),
    }
    save_preset(type(preset)(**changed), folder / "tiny.toml")
    return Instrument.load(folder / "tiny.toml")


@pytest.fixture(scope="module")
def with_chain(sustaining, tmp_path_factory):
    effects = (
        EffectSettings("highpass", {"cutoff_frequency_hz": 60.0}),
        EffectSettings("compressor", {"threshold_db": -30.0, "ratio": 3.0}),
        EffectSettings("chorus", {}),
        EffectSettings("delay", {"delay_seconds": 0.05, "feedback": 0.4}),
        EffectSettings("reverb", {}),
    )
    folder = tmp_path_factory.mktemp("chain")
    return with_effects(sustaining, folder, *effects, attack_seconds=0.01, release_seconds=0.1)


@pytest.mark.parametrize("block", [1, 64, 65, 512, 8193])
def test_block_size_does_not_change_a_sample_effects_included(with_chain, block):
    seconds = 0.12 if block == 1 else 0.8
    whole = play(with_chain, PHRASE, 0.8, block=38_400)
    cut = play(with_chain, PHRASE, seconds, block=block)
    assert np.abs(whole).max() > 0.01
    assert np.array_equal(cut, whole[:, : cut.shape[1]])


def test_voices_that_run_ahead_of_effects_change_no_sample(with_chain, decaying):
    """Long blocks are shared by two threads; what events do to effects and sends happens at its sample all the same."""
    rng, events = random.Random(7), []
    for beat in range(60):
        channel, second, key = rng.randrange(2), 0.05 * beat + 0.03 * rng.random(), rng.randint(40, 80)
        events += [
            at(second, NOTE_ON | channel, key, rng.randint(30, 127)),
            at(second + 0.2, NOTE_OFF | channel, key, 0),
        ]
        events.append(at(second, CONTROL | channel, rng.choice((91, 93)), rng.randint(0, 127)))
    events += [at(second, *TEMPO, 4 + round(second), 0, 0) for second in (0.4, 1.1, 2.2)]
    events += [at(1.503, CONTROL, 120, 0), at(1.503, CONTROL | 1, 120, 0), at(2.61, 0xFF)]
    events.sort(key=lambda event: event.sample)
    patches = {0: with_chain, 1: decaying}
    together = play(Engine(patches, RATE, 4096), events, 3.2, block=4096)
    apart = play(Engine(patches, RATE, 512), events, 3.2, block=512)
    assert np.abs(together[:, RATE:]).max() > 0.01
    assert np.array_equal(together, apart)


def test_random_cuts_do_not_change_a_sample(with_chain):
    whole = play(with_chain, PHRASE, 0.8)
    engine, rng, now, out = Engine(with_chain, RATE, 1000), random.Random(4), 0, []
    while now < whole.shape[1]:
        n = min(rng.randint(1, 1500), whole.shape[1] - now)
        out.append(engine.process([Event(e.sample - now, e.message) for e in PHRASE if now <= e.sample < now + n], n))
        now += n
    assert np.array_equal(np.concatenate(out, axis=1), whole)


def test_a_render_does_not_depend_on_the_one_before(with_chain):
    first = play(with_chain, PHRASE, 0.8)
    engine = Engine(with_chain, RATE, 4096)
    play(engine, [at(0.0, NOTE_ON, 30 + k, 120) for k in range(60)], 0.3)
    engine.reset()
    assert np.array_equal(play(engine, PHRASE, 0.8), first)


@pytest.mark.parametrize("note", [24, 60, 69, 100])
def test_a_key_sounds_at_its_pitch(sustaining, note):
    audio = play(sustaining, [at(0.0, NOTE_ON, note, 100)], 1.0)[0][RATE // 5 :]
    assert abs(ratio_to_cents(strongest_hz(audio) / note_to_hz(note))) < 1.0


@pytest.mark.parametrize(("value", "cents"), [(0, -200.0), (8192, 0.0), (16383, 200.0), (12288, 100.0)])
def test_pitch_bend_moves_by_two_semitones_at_its_ends(sustaining, value, cents):
    events = [at(0.0, BEND, value & 127, value >> 7), at(0.0, NOTE_ON, 69, 100)]
    audio = play(sustaining, events, 1.0)[0][RATE // 5 :]
    assert abs(ratio_to_cents(strongest_hz(audio) / 440.0) - cents) < 1.0


def test_rpn_0_sets_the_bend_range_in_semitones_and_cents(sustaining):
    select = [at(0.0, CONTROL, 101, 0), at(0.0, CONTROL, 100, 0), at(0.0, CONTROL, 6, 12), at(0.0, CONTROL, 38, 50)]
    events = [*select, at(0.0, BEND, 127, 127), at(0.0, NOTE_ON, 57, 100)]
    audio = play(sustaining, events, 1.0)[0][RATE // 5 :]
    assert abs(ratio_to_cents(strongest_hz(audio) / 220.0) - 1250.0) < 1.0


def test_the_mod_wheel_brings_vibrato(sustaining):
    def wobble(depth):
        events = [at(0.0, CONTROL, 1, depth), at(0.0, NOTE_ON, 69, 100)]
        audio = play(sustaining, events, 1.5)[0][RATE // 5 :]
        hz = [strongest_hz(audio[i : i + 2048]) for i in range(0, len(audio) - 2048, 1024)]
        return np.ptp(ratio_to_cents(np.array(hz) / 440.0))

    assert wobble(0) < 2.0
    assert 45.0 < wobble(127) < 75.0  # 35 cents each way, a little smoothed by the window


@pytest.mark.parametrize("controller", [7, 11])
@pytest.mark.parametrize("value", [127, 100, 64, 20])
def test_volume_and_expression_follow_40_log(sustaining, controller, value):
    def level(v):
        return level_db(play(sustaining, [at(0.0, CONTROL, controller, v), at(0.0, NOTE_ON, 69, 100)], 0.5))

    assert abs(level(value) - level(127) - 40 * np.log10(value / 127)) < 0.1


def test_pan_goes_from_hard_left_over_an_equal_centre_to_hard_right(sustaining):
    def sides(pan):
        audio = play(sustaining, [at(0.0, CONTROL, 10, pan), at(0.0, NOTE_ON, 69, 100)], 0.3)
        return [np.sqrt(np.mean(side**2)) for side in audio]

    left, right = sides(64)
    assert abs(gain_to_db(left / right)) < 0.1
    assert sides(0)[1] < 1e-4 * left
    assert sides(127)[0] < 1e-4 * left
    assert abs(gain_to_db(np.hypot(*sides(20)) / np.hypot(left, right))) < 0.1


def test_louder_velocity_is_louder_and_brighter(sustaining):
    def level_and_centroid(velocity):
        audio = play(sustaining, [at(0.0, NOTE_ON, 60, velocity)], 0.5)[0]
        power = np.abs(np.fft.rfft(audio)) ** 2
        return level_db(audio), np.sum(power * np.arange(len(power))) / power.sum()

    rows = [level_and_centroid(v) for v in (1, 10, 40, 70, 100, 127)]
    levels, centroids = zip(*rows, strict=True)
    assert all(b > a + 0.3 for a, b in zip(levels, levels[1:], strict=False))
    assert centroids[4] > 1.1 * centroids[2]


def test_layers_rise_with_velocity_even_where_the_model_has_them_upside_down(tmp_path):
    path = tiny_instrument(tmp_path / "tiny.onnx", pair=False, sustaining=True)
    model = onnx.load(path)
    set_constant(model, "level_0", 0.2)
    set_constant(model, "level_1", -0.15)
    path.write_bytes(model.SerializeToString())
    upside_down = Instrument.load(path)
    levels = [level_db(play(upside_down, [at(0.0, NOTE_ON, 60, v)], 0.5)) for v in (30, 48, 66, 84, 102, 120)]
    assert all(b > a + 0.2 for a, b in itertools.pairwise(levels)), levels


def test_note_on_with_velocity_0_is_a_note_off(sustaining):
    audio = play(sustaining, [at(0.0, NOTE_ON, 60, 100), at(0.2, NOTE_ON, 60, 0)], 1.0)
    assert np.abs(audio[:, int(0.6 * RATE) :]).max() < 1e-4


def test_the_pedal_holds_released_notes_until_it_is_lifted(sustaining):
    events = [at(0.0, CONTROL, 64, 127), at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 0), at(0.6, CONTROL, 64, 0)]
    audio = play(sustaining, events, 1.2)
    assert level_db(audio[:, int(0.4 * RATE) : int(0.6 * RATE)]) > -40
    assert np.abs(audio[:, RATE:]).max() < 1e-4


def test_all_notes_off_leaves_what_the_pedal_holds_and_all_sound_off_does_not(sustaining):
    down = [at(0.0, CONTROL, 64, 127), at(0.0, NOTE_ON, 60, 100), at(0.2, CONTROL, 123, 0)]
    held = play(sustaining, down, 0.8)
    assert level_db(held[:, int(0.6 * RATE) :]) > -40
    cut = play(sustaining, [*down, at(0.4, CONTROL, 120, 0)], 0.8)
    assert np.abs(cut[:, int(0.41 * RATE) :]).max() == 0.0


def test_all_sound_off_silences_effect_tails_within_ten_milliseconds(with_chain):
    events = [at(0.0, NOTE_ON, 60, 120), at(0.2, NOTE_OFF, 60, 0), at(0.3, CONTROL, 120, 0)]
    audio = play(with_chain, events, 0.6)
    assert np.abs(audio[:, int(0.29 * RATE) : int(0.3 * RATE)]).max() > 1e-3
    assert gain_to_db(np.abs(audio[:, int(0.31 * RATE) :]).max()) < -90


def test_reset_controllers_keeps_volume_and_pan_and_resets_the_rest(sustaining):
    before = [at(0.0, CONTROL, 7, 50), at(0.0, CONTROL, 10, 30)]
    moved = [at(0.0, CONTROL, 11, 10), at(0.0, CONTROL, 1, 127), at(0.0, BEND, 0, 100), at(0.0, CONTROL, 121, 0)]
    note = [at(0.01, NOTE_ON, 60, 100)]
    assert np.array_equal(play(sustaining, before + note, 0.4), play(sustaining, before + moved + note, 0.4))


def test_restriking_a_held_key_releases_the_old_voice(sustaining):
    engine = Engine(sustaining, RATE, 4096)
    play(engine, [at(0.1 * i, NOTE_ON, 60, 100) for i in range(10)], 2.0)
    assert engine.n_sounding == 1
    play(engine, [Event(0, bytes([NOTE_OFF, 60, 0]))], 1.0)
    assert engine.n_sounding == 0


def test_a_million_strikes_of_one_key_at_once_cost_what_one_does(sustaining):
    strikes = [at(0.001, NOTE_ON, 60, 1 + i % 127) for i in range(1_000_000)]
    engine = Engine(sustaining, RATE, 4096)
    engine.process(strikes, 4096)
    assert engine.parts[0].pool.stolen_voices == 0
    assert engine.n_sounding == 1


def test_channels_are_independent(sustaining, decaying):
    engine = Engine({0: sustaining, 5: decaying}, RATE, 4096)
    audio = play(engine, [at(0.0, NOTE_ON | 5, 60, 100), at(0.0, NOTE_ON | 3, 72, 100), at(0.0, BEND, 0, 127)], 1.0)
    assert abs(ratio_to_cents(strongest_hz(audio[0]) / note_to_hz(60))) < 1.0
    assert engine.n_sounding == 1  # channel 4 has no instrument


@pytest.mark.parametrize(
    "panic", [[(CONTROL, 120, 0)], [(CONTROL, 64, 0), (CONTROL, 66, 0), (CONTROL, 69, 0), (CONTROL, 123, 0)], [(0xFF,)]]
)
def test_no_note_sticks_after_random_and_hostile_events_and_a_panic(sustaining, panic):
    engine, rng = Engine(sustaining, RATE, 1024), np.random.default_rng(11)
    for _ in range(300):
        n = int(rng.integers(0, 40))
        events = [Event(int(s), rng.bytes(int(rng.integers(1, 5)))) for s in np.sort(rng.integers(0, 256, n))]
        status = (0x80, 0x90, 0x90, 0x90, 0xA0, 0xB0, 0xB0, 0xC0, 0xD0, 0xE0)
        events = [Event(s, bytes([rng.choice(status) | (m[0] & 15), *(b & 127 for b in m[1:])])) for s, m in events]
        out = engine.process(events, 256)
        assert np.isfinite(out).all()
        assert np.abs(out).max() <= 0.99
    messages = [bytes([m[0] | c if m[0] < 0xF0 else m[0], *m[1:]]) for m in panic for c in range(16)]
    engine.process([Event(0, m) for m in messages], 64)
    assert not engine.is_gated


def test_a_hundred_and_twenty_eight_held_notes_keep_the_newest(sustaining, tmp_path):
    model = tiny_instrument(tmp_path / "tiny.onnx", sustaining=True)
    small = Instrument.load(model)
    preset = small.preset
    values = {f: getattr(preset, f) for f in preset.__struct_fields__} | {"voices": Voices(polyphony=16)}
    limited = Instrument(type(preset)(**values), small.model, small.path)
    engine = Engine(limited, RATE, 4096)
    audio = play(engine, [at(0.0, NOTE_ON, k, 100) for k in range(128)], 0.5)
    assert engine.parts[0].pool.held().sum() == 16
    assert np.isfinite(audio).all()
    assert engine.parts[0].pool.stolen_voices == 112


def test_parts_with_slow_effects_and_without_sound_together(sustaining, tmp_path):
    slow = with_effects(sustaining, tmp_path, EffectSettings("pitch_shift", {"semitones": 0.0}))
    engine = Engine({0: slow, 1: sustaining}, RATE, 4096)
    assert engine.latency_samples > 100
    alone = Engine({1: sustaining}, RATE, 4096)
    note = [at(0.1, NOTE_ON | 1, 60, 100)]
    late, early = play(engine, note, 0.5), play(alone, note, 0.5)
    n = engine.latency_samples
    assert np.array_equal(late[:, n:], early[:, :-n])


def test_the_call_of_pedalboards_instruments_works_with_mido_messages_and_pairs(sustaining):
    messages = [mido.Message("note_on", note=60, velocity=100, time=0.1), mido.Message("note_off", note=60, time=0.5)]
    pairs = [(bytes(m.bytes()), m.time) for m in messages]
    a = sustaining(messages, duration=1.0, sample_rate=44_100)
    b = sustaining(pairs, 1.0, 44_100, num_channels=2, buffer_size=333)
    mono = sustaining(pairs, 1.0, 44_100, num_channels=1)
    assert a.shape == (2, 44_100)
    assert a.dtype == np.float32
    assert np.array_equal(a, b)
    assert np.allclose(mono, a.mean(axis=0, keepdims=True))
    assert np.abs(a[:, :4409]).max() == 0.0 < np.abs(a[:, 4410:4500]).max()


def test_without_reset_the_sound_of_the_last_call_goes_on(sustaining):
    whole = sustaining([(bytes([NOTE_ON, 60, 100]), 0.0)], 1.0)
    first = sustaining([(bytes([NOTE_ON, 60, 100]), 0.0)], 0.5)
    second = sustaining([], 0.5, reset=False)
    assert np.array_equal(np.concatenate([first, second], axis=1), whole)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"sample_rate": 0}, "sample rate"),
        ({"sample_rate": float("nan")}, "sample rate"),
        ({"sample_rate": 1e9}, "sample rate"),
        ({"max_block_size": 0}, "block size"),
        ({"max_block_size": 10**9}, "block size"),
    ],
)
def test_engine_arguments_out_of_range_are_told(sustaining, arguments, word):
    with pytest.raises(UsageError, match=word):
        Engine(sustaining, **arguments)


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf")])
def test_a_duration_out_of_range_is_told(sustaining, duration):
    with pytest.raises(UsageError, match="duration"):
        sustaining([], duration)


def test_delta_times_and_odd_messages_are_told(sustaining):
    with pytest.raises(UsageError, match="absolute"):
        sustaining([(bytes([NOTE_ON, 60, 100]), -1.0)], 1.0)
    with pytest.raises(UsageError, match="pairs"):
        sustaining(["hello"], 1.0)
