"""Recordings of one note to `NoteSpectrum`: what is put in comes out."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.analysis import analyse_note, distance
from neuralsynth.analysis.signal import find_end_seconds, find_onset_seconds, to_mono
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid, stretched_ratios
from neuralsynth.units import note_to_hz
from tests.signals import band_noise, resynthesise, synthetic_note

RATE = 44_100
GRID = SpectrumGrid.warped(n_frames=64, duration_seconds=1.4, n_partials=40, n_bands=24)
STEADY = slice(34, 60)  # about 0.2 s to 1.2 s


def db(x):
    return 20 * np.log10(np.maximum(x, 1e-12))


@pytest.mark.parametrize("note", [28, 45, 60, 76, 96])
def test_partial_amplitudes_come_back_within_a_tenth_of_a_db(note):
    pitch = float(note_to_hz(note))
    n = min(12, int(18_000 / pitch))
    amplitudes = 0.2 * 0.7 ** np.arange(n)
    found = analyse_note(synthetic_note(pitch, amplitudes), RATE, note, GRID)
    assert found.pitch_hz == pytest.approx(pitch, rel=1e-4)
    np.testing.assert_allclose(db(found.spectrum.partials[STEADY, :n]), db(np.tile(amplitudes, (26, 1))), atol=0.1)
    assert found.spectrum.partials[STEADY, n:].max(initial=0.0) < 1e-4 * amplitudes[0]


@pytest.mark.parametrize("cents", [-60.0, -40.0, 40.0, 60.0])
def test_a_tone_out_of_tune_is_found_and_its_tuning_taken_out(cents):
    pitch = 220.0 * 2 ** (cents / 1200)
    found = analyse_note(synthetic_note(pitch, 0.2 / np.arange(1, 11)), RATE, 57, GRID)
    assert 1200 * np.log2(found.pitch_hz / pitch) == pytest.approx(0.0, abs=0.5)
    assert np.abs(found.spectrum.cents[STEADY]).max() < 1.0


@pytest.mark.parametrize("vibrato_cents", [10.0, 35.0])
def test_vibrato_comes_back_within_two_cents(vibrato_cents):
    sound = synthetic_note(330.0, 0.2 / np.arange(1, 16), vibrato_cents=vibrato_cents, vibrato_hz=5.0, lead_seconds=0.0)
    found = analyse_note(sound, RATE, 64, GRID)
    at = found.onset_seconds + GRID.frame_seconds[STEADY]
    played = 1200 * np.log2(330.0 / found.pitch_hz) + vibrato_cents * np.sin(2 * np.pi * 5.0 * at)
    assert np.sqrt(np.mean((found.spectrum.cents[STEADY] - played) ** 2)) < 2.0


@pytest.mark.parametrize(("note", "stiffness"), [(33, 3e-4), (60, 4e-4), (84, 2e-3)])
def test_the_stiffness_of_a_string_comes_back_within_five_per_cent(note, stiffness):
    pitch = float(note_to_hz(note)) * 1.004
    n = min(20, int(15_000 / pitch))
    ratios = stretched_ratios(n, stiffness)
    sound = synthetic_note(pitch, 0.2 * 0.85 ** np.arange(n), ratios=ratios, decay_per_second=2.0)
    found = analyse_note(sound, RATE, note, GRID)
    assert found.inharmonicity == pytest.approx(stiffness, rel=0.05)
    assert 1200 * np.log2(found.pitch_hz / pitch) == pytest.approx(0.0, abs=1.0)
    np.testing.assert_allclose(found.spectrum.ratios, stretched_ratios(40, found.inharmonicity))


@pytest.mark.parametrize("note", [40, 57, 74])
def test_a_harmonic_tone_with_vibrato_and_breath_has_no_stiffness(note):
    rng = np.random.default_rng(note)
    sound = synthetic_note(float(note_to_hz(note)), 0.2 / np.arange(1, 16), vibrato_cents=20.0)
    assert analyse_note(sound + 1e-3 * rng.standard_normal(len(sound)), RATE, note, GRID).inharmonicity == 0.0


@pytest.mark.parametrize("note", [40, 57, 74])
def test_noise_between_the_partials_comes_back_within_a_db(note):
    rng = np.random.default_rng(5)
    sound = synthetic_note(float(note_to_hz(note)), 0.2 * 0.8 ** np.arange(15))
    sigma = 2e-3
    found = analyse_note(sound + sigma * rng.standard_normal(len(sound)), RATE, note, GRID)
    width = np.diff(np.minimum(GRID.band_edges_hz, 0.5 * RATE))
    expected = sigma * np.sqrt(width / (0.5 * RATE))
    level = np.sqrt(np.mean(found.spectrum.noise[STEADY] ** 2, axis=0))
    # Below 700 Hz a band of this note has only a few bins between partials: the estimate itself scatters.
    np.testing.assert_allclose(db(level[2:5]), db(expected[2:5]), atol=1.6)
    np.testing.assert_allclose(db(level[5:]), db(expected[5:]), atol=1.0)


def test_one_noisy_band_is_found_in_its_place_at_its_level():
    rng = np.random.default_rng(6)
    low, high = GRID.band_edges_hz[12], GRID.band_edges_hz[13]
    sound = synthetic_note(440.0, 0.2 * 0.5 ** np.arange(6))
    sound[882:] += 0.005 * band_noise(rng, len(sound) - 882, RATE, low, high)
    noise = np.sqrt(np.mean(analyse_note(sound, RATE, 69, GRID).spectrum.noise[STEADY] ** 2, axis=0))
    assert db(noise[12] / 0.005) == pytest.approx(0.0, abs=1.0)
    assert db(np.delete(noise, [11, 12, 13]) / 0.005).max() < -30.0


def test_a_steady_tone_leaves_no_noise():
    found = analyse_note(synthetic_note(220.0, 0.2 / np.arange(1, 11)), RATE, 57, GRID)
    assert db(np.sqrt(np.sum(found.spectrum.noise[STEADY] ** 2, axis=1)) / 0.2).max() < -75.0


def test_a_knock_at_the_attack_lands_in_the_noise():
    rng = np.random.default_rng(7)
    sound = synthetic_note(220.0, 0.1 / np.arange(1, 11), decay_per_second=3.0)
    knock = 0.2 * rng.standard_normal(400) * np.exp(-np.arange(400) / 100)
    start = round(0.02 * RATE)
    sound[start : start + 400] += knock
    noise = analyse_note(sound, RATE, 57, GRID).spectrum.noise
    level = db(np.sqrt(np.sum(noise**2, axis=1)))
    assert level[:3].max() > -26.0  # the knock's own RMS over its first 2 ms is near -16 dB
    assert level[STEADY].max() < level[:3].max() - 35.0


def test_resynthesis_of_a_known_spectrum_is_analysed_back():
    """The circle recording -> spectrum -> sound -> spectrum closes within the randomness of noise."""
    times = GRID.frame_seconds
    partials = np.exp(-np.outer(times, 1.0 + 0.15 * np.arange(40))) * 0.2 * 0.8 ** np.arange(40)
    noise = 1e-3 * np.exp(-2.0 * times)[:, None] * 0.9 ** np.arange(24)
    spectrum = NoteSpectrum(GRID, partials, np.arange(1.0, 41.0), np.zeros(64), noise)
    first = resynthesise(spectrum, 196.0, round(1.4 * RATE), RATE, seed=1)
    found = analyse_note(first, RATE, 55, GRID)
    second = resynthesise(found.spectrum, found.pitch_hz, round(1.4 * RATE), RATE, seed=2)
    other_noise = resynthesise(spectrum, 196.0, round(1.4 * RATE), RATE, seed=3)
    assert distance(first, second, RATE) < 1.15 * distance(first, other_noise, RATE) + 0.1


def test_frame_zero_is_the_onset():
    found = analyse_note(synthetic_note(220.0, np.array([0.3]), lead_seconds=0.25), RATE, 57, GRID)
    assert found.onset_seconds == pytest.approx(0.25, abs=0.004)


def test_frames_past_the_end_of_the_recording_hold_the_last_valid_one():
    found = analyse_note(synthetic_note(220.0, 0.2 / np.arange(1, 5), seconds=0.6), RATE, 57, GRID)
    n = found.n_valid_frames
    assert 0.5 < GRID.frame_seconds[n - 1] <= 0.61
    assert np.all(found.spectrum.partials[n:] == found.spectrum.partials[n - 1])
    assert np.all(found.spectrum.noise[n:] == found.spectrum.noise[n - 1])


def test_a_released_tone_is_valid_only_until_its_release():
    sound = synthetic_note(220.0, 0.2 / np.arange(1, 5), seconds=1.3)
    release = round(0.82 * RATE)
    sound[release:] *= np.exp(-np.arange(len(sound) - release) / (0.05 * RATE))
    found = analyse_note(sound, RATE, 57, GRID)
    assert found.sustains
    assert 0.7 < GRID.frame_seconds[found.n_valid_frames - 1] < 0.85


@pytest.mark.parametrize(("decay_per_second", "sustains"), [(0.0, True), (0.3, True), (2.5, False), (8.0, False)])
def test_struck_decays_do_not_sustain_and_steady_tones_do(decay_per_second, sustains):
    sound = synthetic_note(220.0, 0.2 / np.arange(1, 5), seconds=2.0, decay_per_second=decay_per_second)
    assert analyse_note(sound, RATE, 57, GRID).sustains is sustains


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000, 96_000])
def test_any_sample_rate_gives_the_same_amplitudes(rate):
    amplitudes = 0.2 * 0.8 ** np.arange(8)
    found = analyse_note(synthetic_note(440.0, amplitudes, sample_rate=rate), rate, 69, GRID)
    np.testing.assert_allclose(db(found.spectrum.partials[STEADY, :8]), db(np.tile(amplitudes, (26, 1))), atol=0.1)
    assert np.all(np.isfinite(found.spectrum.noise))


def test_a_constant_offset_changes_nothing():
    sound = synthetic_note(220.0, 0.2 / np.arange(1, 11))
    plain, offset = (analyse_note(s, RATE, 57, GRID) for s in (sound, sound + 0.05))
    assert plain.onset_seconds == offset.onset_seconds
    np.testing.assert_allclose(plain.spectrum.partials, offset.spectrum.partials, atol=1e-5)


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 0.3), "silent"),
        (np.zeros(10), "s; a note needs"),
        (np.zeros(0), "s; a note needs"),
        (np.concatenate([np.zeros(RATE), np.ones(1)]), "a note needs"),
        (0.1 * np.random.default_rng(8).standard_normal(RATE), "no tone"),
        (synthetic_note(311.1, 0.2 / np.arange(1, 5)), "no tone"),
    ],
    ids=["zeros", "offset only", "ten samples", "nothing", "a click", "noise", "another note"],
)
def test_what_holds_no_such_note_is_refused_with_a_reason(sound, says):
    with pytest.raises(RecordingError, match=says):
        analyse_note(sound, RATE, 57, GRID)


@pytest.mark.parametrize("rate", [8_000, 44_100])
@pytest.mark.parametrize("note", [0, 21, 60, 100, 127])
@pytest.mark.parametrize("seconds", [0.06, 0.2])
def test_short_notes_at_the_ends_of_the_keyboard_are_described_or_refused(rate, note, seconds):
    pitch = float(note_to_hz(note))
    sound = synthetic_note(min(pitch, 0.45 * rate), np.array([0.2]), seconds=seconds, sample_rate=rate)
    try:
        found = analyse_note(sound, rate, note, GRID)
    except RecordingError:
        assert pitch > 0.3 * rate or seconds * pitch < 8.0  # too few cycles, or too near half the rate, to be sure
        return
    assert np.all(np.isfinite(found.spectrum.partials)) and np.all(np.isfinite(found.spectrum.noise))
    assert np.all(np.isfinite(found.spectrum.cents)) and np.all(found.spectrum.partials >= 0.0)


def test_channels_are_averaged():
    np.testing.assert_array_equal(to_mono(np.array([[1.0, 2.0], [3.0, 6.0]])), [2.0, 4.0])


def test_onset_and_end_are_found_within_milliseconds():
    sound = np.concatenate([synthetic_note(220.0, np.array([0.3]), seconds=1.0, lead_seconds=0.3), np.zeros(RATE)])
    assert find_onset_seconds(sound, RATE) == pytest.approx(0.3, abs=0.004)
    assert find_end_seconds(sound, RATE) == pytest.approx(1.3, abs=0.02)


def test_a_fade_out_is_cut_off():
    sound = synthetic_note(220.0, np.array([0.3]), seconds=2.0, lead_seconds=0.0)
    sound[-round(0.1 * RATE) :] *= np.linspace(1, 0, round(0.1 * RATE))
    assert 1.7 < find_end_seconds(sound, RATE) <= 1.92  # at most 2 dB into the fade
