"""The output guard: whatever comes in, what goes out is finite, bounded and harmless."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.sound.guard import ABSURD_GAIN, CEILING, OutputGuard
from neuralsynth.units import db_to_gain, gain_to_db

SAMPLE_RATE = 48_000


def tone(frequency_hz=220.0, gain=0.5, seconds=1.0, sample_rate=SAMPLE_RATE):
    phase = 2 * np.pi * frequency_hz * np.arange(int(seconds * sample_rate)) / sample_rate
    return (gain * np.stack([np.sin(phase), np.cos(phase)])).astype(np.float32)


def noise(gain, seconds=1.0, seed=0):
    return (gain * np.random.default_rng(seed).standard_normal((2, int(seconds * SAMPLE_RATE)))).astype(np.float32)


def guarded(audio, blocks=(512,), guard=None):
    """Run a copy of `audio` through a guard in blocks of the given sizes, over and over."""
    guard = guard or OutputGuard(SAMPLE_RATE)
    out, i, turn = audio.copy(), 0, 0
    while i < out.shape[1]:
        block = np.ascontiguousarray(out[:, i : i + blocks[turn % len(blocks)]])
        out[:, i : i + block.shape[1]] = guard.process(block)
        i, turn = i + block.shape[1], turn + 1
    return out


def rms_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))))


HARM = {
    "nan": np.nan,
    "infinity": np.inf,
    "minus infinity": -np.inf,
    "largest float": np.finfo(np.float32).max,
    "full scale and a bit": 1.0001,
}


@pytest.mark.parametrize("value", HARM.values(), ids=HARM.keys())
def test_every_sample_is_finite_and_at_most_0_99(value):
    audio = tone()
    audio[0, 1000:1010] = value
    audio[1, 30_000] = value
    out = guarded(audio)
    assert np.all(np.isfinite(out)) and np.max(np.abs(out)) <= 0.99


def test_random_bit_patterns_are_made_harmless():
    bits = np.random.default_rng(1).integers(0, 2**32, (2, 20_000), dtype=np.uint32)
    out = guarded(bits.view(np.float32))
    assert np.all(np.isfinite(out)) and np.max(np.abs(out)) <= 0.99


def test_sound_that_needs_no_guarding_passes_bit_for_bit():
    audio = np.concatenate([tone(gain=0.98), noise(0.1), np.full((2, 500), CEILING, np.float32)], axis=1)
    assert np.array_equal(guarded(audio), audio)


def test_sound_is_bit_for_bit_itself_again_after_a_peak():
    audio = tone(seconds=3.0)
    audio[:, 5000] = 3.0
    out = guarded(audio)
    assert not np.array_equal(out[:, 5001:6000], audio[:, 5001:6000])
    assert np.array_equal(out[:, 5000 + SAMPLE_RATE :], audio[:, 5000 + SAMPLE_RATE :])


@pytest.mark.parametrize("blocks", [(1,), (64,), (65,), (8193,), (3, 700, 1, 129)], ids=str)
def test_the_cut_into_blocks_does_not_change_a_sample(blocks):
    audio = np.concatenate([tone(gain=4.0, seconds=0.3), noise(0.6, 0.3), noise(40.0, 1.3), tone(seconds=1.4)], axis=1)
    audio[0, 2000:2100] = np.nan
    audio[1, 90_000] = np.inf
    assert np.array_equal(guarded(audio, blocks), guarded(audio))


def test_a_bad_sample_mutes_and_the_sound_is_back_within_a_block_of_512():
    audio = tone()
    audio[1, 10_000:10_050] = np.nan
    out = guarded(audio)
    assert np.all(out[:, 10_000:10_050] == 0.0)
    assert np.array_equal(out[:, 10_050 + 512 :], audio[:, 10_050 + 512 :])
    assert np.array_equal(out[:, :10_000], audio[:, :10_000])


def test_the_fade_back_in_does_not_click():
    audio = tone(gain=0.5)
    audio[:, 10_000] = np.nan
    steps = np.abs(np.diff(guarded(audio)[:, 10_000:11_000]))
    # A 220 Hz tone itself moves by 0.5 * 2 pi 220 / 48000 = 0.0144 per sample.
    assert steps.max() < 0.0144 + db_to_gain(-50)


def test_a_fault_is_told_to_the_caller_and_counted_once_per_stretch():
    guard = OutputGuard(SAMPLE_RATE)
    guard.process(tone(seconds=0.01))
    assert not guard.found_fault and guard.faults == 0
    bad = tone(seconds=0.01)
    bad[0, 10:20] = np.nan
    bad[1, 15:30] = np.inf
    bad[0, -1] = np.nan
    guard.process(bad)
    assert guard.found_fault and guard.faults == 2
    still_bad = tone(seconds=0.01)
    still_bad[0, 0] = np.nan  # goes on from the block before
    guard.process(still_bad)
    assert guard.found_fault and guard.faults == 2
    guard.process(tone(seconds=0.01))
    assert not guard.found_fault and guard.faults == 2


def test_both_channels_get_the_same_gain():
    audio = tone(gain=0.2)
    audio[0, 4000:4400] *= 20.0
    out = guarded(audio)
    quiet = slice(4000, 6000)
    ratio = out[1, quiet] / audio[1, quiet]
    loud = np.abs(audio[0, quiet]) > 1e-3
    np.testing.assert_allclose(out[0, quiet][loud] / audio[0, quiet][loud], ratio[loud], rtol=1e-4)
    assert ratio.min() < 0.5


def test_the_limiter_has_no_latency():
    audio = np.zeros((2, 1000), np.float32)
    audio[:, 500] = 5.0
    out = guarded(audio)
    assert np.flatnonzero(out[0]).tolist() == [500] and out[0, 500] == np.float32(CEILING)


@pytest.mark.parametrize("gain", [0.25, 0.577, 1.0, 100.0], ids=lambda g: f"gain {g}")
def test_sustained_full_scale_noise_mutes_itself(gain):
    out = guarded(noise(gain, 3.0))
    assert rms_db(out[:, :24_000]) > -20.0
    assert np.all(out[:, 2 * SAMPLE_RATE :] == 0.0)


def test_uniform_full_scale_noise_mutes_itself():
    audio = np.random.default_rng(3).uniform(-1, 1, (2, 3 * SAMPLE_RATE)).astype(np.float32)
    assert np.all(guarded(audio)[:, 2 * SAMPLE_RATE :] == 0.0)


def test_absurd_drive_mutes_itself_whatever_the_sound():
    out = guarded(tone(gain=1.2 / ABSURD_GAIN, seconds=3.0))
    assert np.all(out[:, 2 * SAMPLE_RATE :] == 0.0)


def test_muted_sound_comes_back_when_the_input_is_harmless_again():
    guard = OutputGuard(SAMPLE_RATE)
    guarded(noise(10.0, 2.0), guard=guard)
    assert guard.muted
    calm = tone(seconds=3.0)
    out = guarded(calm, guard=guard)
    assert not guard.muted and np.array_equal(out[:, -SAMPLE_RATE:], calm[:, -SAMPLE_RATE:])


MUSIC = {
    "noise at -20 dB": noise(0.1, 3.0),
    "loud low tone": tone(55.0, 0.99, 3.0),
    "loud high tone": tone(9000.0, 0.99, 3.0),
    "overdriven tone": tone(220.0, 6.0, 3.0),
    "square wave": np.sign(tone(440.0, 1.0, 3.0)).astype(np.float32),
    "chord driven into the limiter": sum(tone(f, 0.7, 3.0) for f in (220.0, 277.2, 329.6, 440.0, 1760.0)),
    "noise burst of half a second": np.concatenate(
        [noise(1.0, 0.5), np.zeros((2, 2 * SAMPLE_RATE), np.float32)], axis=1
    ),
    "piccolo at 22 kHz": tone(4186.0, 0.99, 3.0, 22_050),
}


@pytest.mark.parametrize("name", MUSIC)
def test_music_is_not_muted(name):
    guard = OutputGuard(22_050 if "22 kHz" in name else SAMPLE_RATE)
    audio = MUSIC[name]
    out = guarded(audio, guard=guard)
    assert not guard.muted
    assert rms_db(out) > rms_db(np.clip(audio, -0.99, 0.99)) - 9.0


def test_reset_forgets_the_sound_but_not_the_count():
    guard = OutputGuard(SAMPLE_RATE)
    bad = noise(100.0, 2.0)
    bad[0, 5] = np.nan
    first = guarded(bad, guard=guard)
    guard.reset()
    assert guard.faults == 1 and not guard.muted
    assert np.array_equal(guarded(bad, guard=guard), first)


@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_any_number_of_channels(n_channels):
    audio = np.full((n_channels, 100), 2.0, np.float32)
    audio[-1, 50] = np.nan
    out = OutputGuard(SAMPLE_RATE, n_channels).process(audio)
    assert np.all(out[:, 50] == 0.0) and np.all(out[:, :50] == np.float32(CEILING))
