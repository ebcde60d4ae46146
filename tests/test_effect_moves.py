"""Knobs and tempo that move while effects sound: no click, any cut into blocks, and echoes on the beat."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neuralsynth.effect_table import EFFECTS, EffectSettings
from neuralsynth.effects import EffectChain
from neuralsynth.units import gain_to_db
from tests.signals import programme

SAMPLE_RATE = 48_000
BUILT_IN = [name for name in EFFECTS if name not in ("vst3", "convolution")]
MOVE_CUTS = (1, 63, 64, 65, 1000)
FIXED = {"vst3", "convolution", "pitch_shift", "resample", "gsm", "mp3", "brickwall_limiter", "invert"}
#: What a knob is heard with: beside a setting that does nothing, no move can be heard.
MOVING = {
    "chorus": {"feedback": 0.3}, "phaser": {"feedback": 0.3}, "ladder": {"cutoff_hz": 900.0, "resonance": 0.5},
    "low_shelf": {"gain_db": 9.0}, "high_shelf": {"gain_db": 9.0}, "peak": {"gain_db": 12.0, "q": 4.0},
    "compressor": {"threshold_db": -30.0, "ratio": 6.0}, "limiter": {"threshold_db": -20.0},
    "noise_gate": {"threshold_db": -12.0, "ratio": 3.0, "release_ms": 5.0},
    "delay": {"delay_seconds": 0.02, "feedback": 0.5},
}  # fmt: skip


def chain(*types, sample_rate=SAMPLE_RATE, max_block_size=512, **values):
    """A chain of effects of these types, or of one with the given values."""
    return EffectChain([EffectSettings(t, values) for t in types], sample_rate, max_block_size)


def run(effects, audio):
    """Reset the chain and give it `audio`."""
    effects.reset()
    return run_moving(effects, audio, [])


def rms_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))))


def live_knobs():
    for name in BUILT_IN:
        for key, knob in chain(name, **MOVING.get(name, {})).knobs().items():
            assert key == f"effects.1.{knob.name}"
            yield name, knob


def run_moving(effects, audio, moves, size=1024):
    """Give `audio` in blocks of `size`, and each of `moves`, `(sample, function)`, at its sample."""
    parts, position = [], 0
    for sample, move in (*moves, (audio.shape[1], lambda: None)):
        while position < sample:
            parts.append(effects.process(audio[:, position : min(position + size, sample)]))
            position += parts[-1].shape[1]
        move()
    return np.concatenate(parts, axis=1)


def turned(effects, sample, name, value):
    return sample, lambda: effects.set_parameter(1, name, value)


def tempo(effects, sample, beats_per_minute):
    return sample, lambda: effects.set_tempo(beats_per_minute)


def largest_step(audio):
    return float(np.max(np.abs(np.diff(audio[:, 4000:]))))


def tones(*pitches_hz, n_samples=60_000):
    t = np.arange(n_samples) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * hz * t + hz) for hz in pitches_hz) * 0.5 / len(pitches_hz)
    return np.tile(tone, (2, 1)).astype(np.float32)


def synced(sync="1/4", **values):
    return chain("delay", **{"sync": sync, "feedback": 0.5, "mix": 0.5, **values})


def test_the_effects_that_cannot_move_are_those_named():
    assert {name for name in EFFECTS if name not in {n for n, _ in live_knobs()}} == FIXED
    assert "effects.1.centre_delay_ms" not in chain("chorus").knobs()
    assert "effects.1.delay_seconds" in chain("delay").knobs()
    assert "effects.1.delay_seconds" not in synced().knobs()


def test_knobs_are_named_by_the_place_of_their_effect_from_1():
    knobs = chain("invert", "gain", "gain").knobs()
    assert list(knobs) == ["effects.2.gain_db", "effects.3.gain_db"]
    assert knobs["effects.2.gain_db"] is EFFECTS["gain"].settings[0]


@pytest.mark.parametrize("name, knob", list(live_knobs()), ids=lambda x: getattr(x, "name", x))
def test_a_knob_turned_from_end_to_end_makes_no_click(name, knob):
    high = min(knob.high, 0.49 * SAMPLE_RATE) if name in ("ladder", "phaser") or knob.unit == "Hz" else knob.high
    middle = knob.from_position(0.5 * knob.to_position(high))
    for audio in (tones(220), tones(60), tones(110, 277, 660, 1500)):
        still = [run(chain(name, **{**MOVING.get(name, {}), knob.name: v}), audio) for v in (knob.low, middle, high)]
        for start, end in ((knob.low, high), (high, knob.low)):
            effects = chain(name, **{**MOVING.get(name, {}), knob.name: start})
            out = run_moving(effects, audio, [turned(effects, 20_057, knob.name, end)])
            assert largest_step(out) <= max(map(largest_step, still)) + 0.01


@pytest.mark.parametrize("name, knob", list(live_knobs()), ids=lambda x: getattr(x, "name", x))
def test_a_turned_knob_arrives_and_stays(name, knob):
    values, audio = MOVING.get(name, {}), programme(24_000)
    effects = chain(name, **values)
    target = knob.from_position(0.8 if knob.to_position(values.get(knob.name, knob.default)) < 0.5 else 0.2)
    run_moving(effects, 0 * audio, [turned(effects, 77, knob.name, target)])
    fresh = chain(name, **{**values, knob.name: target})
    assert effects.tail_seconds == fresh.tail_seconds
    assert np.array_equal(run(effects, audio), run(fresh, audio))
    effects.restore()
    assert np.array_equal(run(effects, audio), run(chain(name, **values), audio))


def test_knobs_turned_one_after_the_other_all_count_also_without_a_reset():
    turns = (("cutoff_frequency_hz", 700.0), ("gain_db", 15.0), ("q", 3.0))
    audio, effects = tones(220, 700, 1500), chain("peak")
    moves = [turned(effects, 5000 * i, knob, value) for i, (knob, value) in enumerate(turns, 1)]
    out, fresh = run_moving(effects, audio, moves), run(chain("peak", **dict(turns)), audio)
    assert np.max(np.abs(out - fresh)[:, 30_000:]) < 1e-5


def test_a_turned_gain_is_heard_within_20_ms():
    effects, steady = chain("gain", gain_db=0.0), np.full((2, 4800), 0.1, np.float32)
    out = run_moving(effects, steady, [turned(effects, 1001, "gain_db", 20.0)])[0]
    assert np.all(out[:1001] == out[0]) and out[1002] > out[1001] > out[1000]
    assert out[1001 + 960 :] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name, knob", list(live_knobs()), ids=lambda x: getattr(x, "name", x))
def test_moves_at_the_same_samples_give_the_same_samples_however_time_is_cut(name, knob):
    audio = programme(9000)

    def played(size):
        effects = chain(name, **MOVING.get(name, {}), max_block_size=size)
        positions = ((1000, 0.9), (1500, 0.1), (1500, 0.2), (4777, 0.6), (8001, 1.0))
        return run_moving(
            effects, audio, [turned(effects, s, knob.name, knob.from_position(p)) for s, p in positions], size
        )

    expected = played(9000)
    assert not np.array_equal(expected, run(chain(name, **MOVING.get(name, {})), audio))
    for size in MOVE_CUTS:
        assert np.array_equal(played(size), expected), size


def test_a_chain_moves_several_effects_at_once_however_time_is_cut():
    audio = programme(12_000)

    def played(size):
        effects = chain("gain", "chorus", "resample", "lowpass", "ladder", "delay", "reverb")
        moves = [(2222, lambda k=key, p=knob: effects.set_parameter(int(k.split(".")[1]), p.name, p.from_position(0.7)))
                 for key, knob in effects.knobs().items()]  # fmt: skip
        return run_moving(effects, audio, moves, size)

    expected = played(12_000)
    assert not np.array_equal(
        expected, run(chain("gain", "chorus", "resample", "lowpass", "ladder", "delay", "reverb"), audio)
    )
    for size in MOVE_CUTS:
        assert np.array_equal(played(size), expected), size


def test_a_knob_turned_without_end_moves_on_without_a_click():
    for name, knob, values in (("gain", "gain_db", (-6.0, 6.0)), ("lowpass", "cutoff_frequency_hz", (300.0, 3000.0)),
                               ("delay", "delay_seconds", (0.1, 0.13)), ("reverb", "wet_level", (0.0, 1.0))):  # fmt: skip
        audio = tones(110, 277, 660)
        still = max(largest_step(run(chain(name, **{knob: v}), audio)) for v in values)
        effects = chain(name, **{knob: values[0]})
        moves = [turned(effects, s, knob, values[i % 2]) for i, s in enumerate(range(10_000, 50_000, 331))]
        assert largest_step(run_moving(effects, audio, moves)) <= still + 0.01, name


def test_values_out_of_range_go_to_the_end_of_the_range_and_nonsense_is_ignored():
    audio = programme(3000)
    for name, knob, given, meant in (("gain", "gain_db", 1e9, 36.0), ("gain", "gain_db", -math.inf, -80.0), ("gain", "gain_db", 10**400, 36.0),
                                     ("delay", "feedback", 7.0, 0.95), ("lowpass", "cutoff_frequency_hz", math.inf, 90_000.0),
                                     ("gain", "gain_db", math.nan, 0.0)):  # fmt: skip
        effects = chain(name, **{knob: 0.5 if knob == "feedback" else 0.0 if knob == "gain_db" else 100.0})
        effects.set_parameter(1, knob, given)
        assert np.array_equal(run(effects, audio), run(chain(name, **{knob: meant}), audio)), (knob, given)
    effects = chain("gain", "mp3")
    expected = run(effects, audio)
    for number, knob in ((0, "gain_db"), (-1, "gain_db"), (3, "gain_db"), (1, "gain"), (2, "vbr_quality")):
        effects.set_parameter(number, knob, 9.0)
    assert np.array_equal(run(effects, audio), expected)


# ---- echoes in time with the music


@pytest.mark.parametrize("sync, beats", [("1/1", 4.0), ("1/2d", 3.0), ("1/4", 1.0), ("1/4t", 2 / 3), ("1/8d", 0.75),
                                         ("1/8", 0.5), ("1/8t", 1 / 3), ("1/16", 0.25)])  # fmt: skip
@pytest.mark.parametrize("beats_per_minute", [60.0, 97.3, 200.0])
def test_echoes_fall_on_the_beat(sync, beats, beats_per_minute):
    effects = synced(sync)
    effects.set_tempo(beats_per_minute)
    click = np.zeros((2, round(9.0 * SAMPLE_RATE)), np.float32)
    click[:, 2000] = 1.0
    out = run_moving(effects, click, [])[0]
    places = np.flatnonzero(out)[:3]
    period = round(60.0 / beats_per_minute * beats * SAMPLE_RATE)
    assert list(places) == [2000 + i * period for i in range(len(places))] and len(places) >= 2
    assert out[places] == pytest.approx([0.5, 0.5, 0.25][: len(places)])


def test_without_a_tempo_echoes_fall_at_120_beats_per_minute():
    click = np.zeros((2, 30_000), np.float32)
    click[:, 0] = 1.0
    assert list(np.flatnonzero(run(synced("1/4"), click)[0])) == [0, 24_000]


def test_echoes_after_a_change_of_tempo_fall_on_the_new_beat():
    effects = synced("1/8")  # 12 000 samples
    clicks = np.zeros((2, 60_000), np.float32)
    clicks[:, 30_000] = 1.0
    out = run_moving(effects, clicks, [tempo(effects, 20_000, 150.0)])
    assert list(np.flatnonzero(out[0])) == [30_000, 39_600, 49_200, 58_800]


def test_a_change_of_tempo_makes_no_click_not_even_in_later_echoes():
    for before, after in ((120.0, 123.1), (120.0, 61.7), (83.0, 300.0)):
        values = {"sync": "1/8", "feedback": 0.8}
        audio = tones(110, 277, 660, n_samples=150_000)
        audio[:, :5000] *= np.linspace(0.0, 1.0, 5000, dtype=np.float32)
        still = []
        for speed in (before, after):
            effects = chain("delay", **values)
            effects.set_tempo(speed)
            still.append(run(effects, audio))
        effects = chain("delay", **values)
        effects.set_tempo(before)
        effects.reset()
        out = run_moving(effects, audio, [tempo(effects, 60_123, after)])
        assert largest_step(out) <= max(map(largest_step, still)) + 0.01
        bends = [np.max(np.abs(np.diff(sound[:, 8000:], 2))) for sound in (out, *still)]
        assert bends[0] <= max(bends[1:]) + 0.002


def test_changes_of_tempo_at_the_same_samples_give_the_same_samples_however_time_is_cut():
    audio = programme(40_000)

    def played(size):
        effects = synced("1/16", feedback=0.7)
        places = ((1111, 130.0), (1500, 90.0), (20_000, 250.0), (20_000, 251.0), (36_005, 100.0))
        return run_moving(effects, audio, [tempo(effects, *place) for place in places], size)

    expected = played(40_000)
    for size in MOVE_CUTS:
        assert np.array_equal(played(size), expected), size


def test_a_clocks_jitter_changes_nothing_but_a_slow_drift_does():
    audio = programme(20_000)
    expected = run(synced("1/16"), audio)
    effects = synced("1/16")
    jitter = [tempo(effects, s, 120.0 * (1.0 + 0.0009 * (-1) ** i)) for i, s in enumerate(range(0, 20_000, 1000))]
    assert np.array_equal(run_moving(effects, audio, jitter), expected)
    for i in range(1, 21):
        effects.set_tempo(120.0 * 1.0005**i)
    effects.reset()
    click = np.zeros((2, 10_000), np.float32)
    click[:, 0] = 1.0
    assert np.flatnonzero(run(effects, click)[0])[1] == pytest.approx(6000 / 1.0005**20, abs=6)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, 0.0, -120.0])
def test_what_is_no_tempo_is_ignored(nonsense):
    effects, audio = synced("1/16"), programme(9000)
    expected = run(effects, audio)
    effects.set_tempo(nonsense)
    assert np.array_equal(run(effects, audio), expected)


def test_echoes_at_extreme_tempos_stay_between_one_sample_and_30_seconds():
    for beats_per_minute, n_samples in ((1e-300, 30 * 8000), (0.1, 30 * 8000), (1e300, 1), (10**400, 1)):
        effects = chain("delay", sample_rate=8000, sync="1/1", mix=1.0)
        effects.set_tempo(beats_per_minute)
        click = np.zeros((2, 31 * 8000), np.float32)
        click[:, 0] = 1.0
        assert list(np.flatnonzero(run(effects, click)[0])) == [n_samples]


def test_the_tail_follows_the_tempo_and_restore_takes_it_back():
    effects = synced("1/4", feedback=0.0)
    effects.set_tempo(30.0)
    assert effects.tail_seconds == pytest.approx(2.01)
    for beats_per_minute in (30.0, 119.85, 119.98):  # the last is nearer to the first tempo than a change must be
        effects.set_tempo(beats_per_minute)
    effects.restore()
    assert effects.tail_seconds == pytest.approx(0.51)
    click = np.zeros((2, 30_000), np.float32)
    click[:, 0] = 1.0
    assert list(np.flatnonzero(run(effects, click)[0])) == [0, 24_000]


def test_a_reset_delay_has_forgotten_even_a_whole_line_of_sound():
    effects = chain("delay", sample_rate=8000, delay_seconds=0.5, feedback=0.9)
    noise = np.random.default_rng(3).uniform(-1.0, 1.0, (2, 6 * 8000)).astype(np.float32)
    run(effects, noise)
    assert not np.any(run(effects, np.zeros((2, 6 * 8000), np.float32)))


def test_a_delay_sounds_as_pedalboards_own():
    import pedalboard

    audio = programme(24_000)
    for values in (
        {"delay_seconds": 0.0625, "feedback": 0.6, "mix": 0.5},
        {"delay_seconds": 0.125, "feedback": 0.0, "mix": 1.0},
    ):
        reference = pedalboard.Delay(**values).process(audio, SAMPLE_RATE)
        assert rms_db(run(chain("delay", **values), audio) - reference) < rms_db(reference) - 110.0
