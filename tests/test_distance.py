"""The distance between two sounds."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.analysis import distance
from neuralsynth.analysis.distance import RESOLUTIONS, mel_spectrogram
from tests.signals import synthetic_note

RATE = 44_100


@pytest.fixture
def note() -> np.ndarray:
    rng = np.random.default_rng(1)
    sound = synthetic_note(220.0, 0.2 / np.arange(1, 21))
    return sound + 1e-4 * rng.standard_normal(len(sound)) * (np.abs(sound) > 0)


def test_a_sound_is_at_no_distance_from_itself(note):
    assert distance(note, note, RATE) == 0.0


@pytest.mark.parametrize("gain", [0.03, 0.5, 4.0])
def test_level_does_not_count(note, gain):
    assert distance(note, gain * note, RATE) < 1e-3


def test_a_delay_does_not_count(note):
    assert distance(note, np.concatenate([np.zeros(round(0.1 * RATE)), note]), RATE) < 0.05


def test_a_late_beginning_counts_where_sounds_are_known_to_begin_together(note):
    late = np.concatenate([np.zeros(round(0.1 * RATE)), note])
    assert distance(note, late, RATE, trimmed=False) > 1.0 and distance(note, note, RATE, trimmed=False) == 0.0


def test_a_constant_offset_does_not_count(note):
    assert distance(note, note + 0.01, RATE) < 0.2


def test_white_noise_with_half_its_band_6_db_lower_is_3_db_away():
    # Every mel band below 1 kHz keeps its level, every one above loses 6.02 dB; matching the level of the whole
    # moves both by the same amount, so the two groups differ by 6.02 dB and their mean is weighted by band count.
    rng = np.random.default_rng(2)
    spectrum = np.fft.rfft(rng.standard_normal(RATE))
    tilted = spectrum * np.where(np.arange(len(spectrum)) < 1000, 1.0, 0.5)
    reference, other = np.fft.irfft(spectrum), np.fft.irfft(tilted)
    lift = 20 * np.log10(np.sqrt(np.mean(reference**2) / np.mean(other**2)))
    mel = 2595 * np.log10(1 + np.array([20.0, 1000.0, 20_000.0]) / 700)
    below = (mel[1] - mel[0]) / (mel[2] - mel[0])
    expected = below * lift + (1 - below) * (20 * np.log10(2) - lift)
    assert distance(reference, other, RATE) == pytest.approx(expected, abs=0.12)


def test_what_lies_80_db_below_the_maximum_counts_for_nothing(note):
    rng = np.random.default_rng(3)
    hiss = 1e-8 * rng.standard_normal(len(note))
    assert distance(synthetic_note(220.0, np.array([0.5])), synthetic_note(220.0, np.array([0.5])) + hiss, RATE) < 1e-3


def test_only_the_common_length_counts(note):
    # The level is matched over the common length too; only the last window sees the cut.
    assert distance(note, note[: len(note) // 2], RATE) < 0.05


def test_silence_against_silence_is_zero_and_against_sound_is_large(note):
    silence = np.zeros(RATE)
    assert distance(silence, silence, RATE) == 0.0
    assert distance(note, silence, RATE) > 10.0


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_a_sinusoid_peaks_in_the_mel_band_that_holds_it(size):
    tone = np.sin(2 * np.pi * 1000.0 * np.arange(RATE) / RATE)
    n_bands = RESOLUTIONS[size]
    mel = lambda hz: 2595 * np.log10(1 + hz / 700)  # noqa: E731
    expected = (mel(1000.0) - mel(20.0)) / (mel(20_000.0) - mel(20.0)) * (n_bands + 1) - 1
    assert abs(int(np.argmax(mel_spectrogram(tone, RATE, size, n_bands).mean(axis=0))) - expected) <= 1.0
