"""The shared reverb and chorus: wet only, as loud as they say, the same however time is cut, and over in time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neuralsynth.sends import KINDS, SendBus
from neuralsynth.units import gain_to_db

SAMPLE_RATE = 48_000


def run(bus, audio, blocks=(512,)):
    """Reset the bus and give it `audio` in blocks of these sizes, over and over."""
    bus.reset()
    parts, i, turn = [], 0, 0
    while i < audio.shape[1]:
        parts.append(bus.process(audio[:, i : i + blocks[turn % len(blocks)]]))
        i, turn = i + parts[-1].shape[1], turn + 1
    return np.concatenate(parts, axis=1)


def noise(n_samples, seed=0):
    return (0.2 * np.random.default_rng(seed).standard_normal((2, n_samples))).astype(np.float32)


def sustained_note(note, seconds=2.0):
    """A bright tone of RMS 0.1 on both sides."""
    pitch_hz = 440.0 * 2.0 ** ((note - 69) / 12.0)
    numbers = np.arange(1, int(min(10_000.0 / pitch_hz, 20)) + 1)[:, None]
    phase = 2 * np.pi * pitch_hz * numbers * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE + numbers**2
    tone = np.sum(np.sin(phase) / numbers**1.2, axis=0)
    return np.tile(0.1 * tone / np.sqrt(np.mean(tone**2)), (2, 1)).astype(np.float32)


def rms_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_into_blocks_does_not_change_a_sample(kind):
    bus, audio = SendBus(kind, SAMPLE_RATE, 512), noise(8000)
    expected = run(bus, audio)
    assert rms_db(expected) > -40.0
    for size in (1, 63, 64, 65, 1000, 8000):
        assert np.array_equal(run(SendBus(kind, SAMPLE_RATE, size), audio, (size,)), expected), size


@pytest.mark.parametrize("kind", KINDS)
def test_a_sustained_note_sent_in_full_returns_6_db_softer(kind):
    bus = SendBus(kind, SAMPLE_RATE)
    levels = []
    for note in range(33, 94, 5):
        audio = sustained_note(note)
        levels.append(rms_db(run(bus, audio)[:, SAMPLE_RATE:]) - rms_db(audio))
    assert np.mean(levels) == pytest.approx(-6.0, abs=1.0)
    assert min(levels) > -11.0 and max(levels) < -1.0, levels


@pytest.mark.parametrize("kind", KINDS)
def test_what_returns_is_wet_only_and_not_late(kind):
    bus = SendBus(kind, SAMPLE_RATE)
    click = np.zeros((2, 9600), np.float32)
    click[:, 100] = 1.0
    wet = run(bus, click)
    assert bus.latency_samples == 0
    assert not np.any(wet[:, :102]), "the dry click comes through"
    first = int(np.argmax(np.max(np.abs(wet), axis=0) > 0.01 * np.max(np.abs(wet)))) - 100
    assert 0 < first < 0.035 * SAMPLE_RATE


@pytest.mark.parametrize("kind", KINDS)
def test_what_returns_is_wide_and_as_loud_on_both_sides(kind):
    left, right = run(SendBus(kind, SAMPLE_RATE), np.tile(noise(48_000)[:1], (2, 1)))[:, 24_000:]
    assert rms_db(left) == pytest.approx(rms_db(right), abs=0.5)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_a_mono_send_sounds_as_the_same_on_both_sides(kind):
    bus, audio = SendBus(kind, SAMPLE_RATE), noise(4000)[:1]
    assert np.array_equal(run(bus, audio), run(bus, np.repeat(audio, 2, axis=0)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sound_is_over_when_the_tail_is(kind):
    bus = SendBus(kind, SAMPLE_RATE)
    n_tail = math.ceil(bus.tail_seconds * SAMPLE_RATE)
    audio = np.concatenate([np.clip(4 * noise(24_000), -1, 1), np.zeros((2, n_tail + 4800), np.float32)], axis=1)
    wet = run(bus, audio, (4096,))
    assert gain_to_db(np.max(np.abs(wet[:, 24_000 + n_tail :]))) < -90.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_bus_sounds_as_a_fresh_one_even_after_nan(kind):
    bus, audio = SendBus(kind, SAMPLE_RATE), noise(6000)
    expected = run(bus, audio)
    bus.process(np.full((2, 300), np.nan, np.float32))
    assert np.array_equal(run(bus, audio), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample_rate", [8000, 44_100, 192_000])
def test_every_rate_gives_finite_bounded_sound(kind, sample_rate):
    wet = run(SendBus(kind, sample_rate), np.clip(5 * noise(20_000), -1, 1))
    assert np.all(np.isfinite(wet)) and 0.05 < np.max(np.abs(wet)) < 4.0
