"""What a note is called: bright, noisy, slow, long, each by what a player means and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.analysis.descriptors import SAYS, UNITS, describe
from neuralsynth.spectrum import SpectrumGrid

GRID = SpectrumGrid.warped(128, 3.0, 16, 8)
TIMES = GRID.frame_seconds
RATIOS = np.arange(1.0, 17.0)


def told(level_db=0.0, tilt=-6.0, noise_db=-40.0, noise_tilt=0.0):
    """Descriptors of a tone that falls by `tilt` dB per octave, over whose frames the level goes as `level_db`."""
    level = np.broadcast_to(np.asarray(level_db, float), TIMES.shape)[:, None]
    partials = 10.0 ** ((level + tilt * np.log2(RATIOS) - 20.0) / 20.0)
    noise = 10.0 ** ((level + noise_db + noise_tilt * np.arange(8) - 20.0) / 20.0)
    return describe(partials, RATIOS, noise, GRID, 57.0)


def fade_db(seconds):
    return 20.0 * np.log10(np.maximum(1.0 - np.exp(-(TIMES + 1e-4) / seconds), 1e-3))


def test_every_descriptor_has_a_unit_and_a_sentence():
    assert set(told()) == set(UNITS) == set(SAYS)


def test_a_sine_lies_no_octave_above_its_fundamental_and_even_octaves_half_way():
    assert told(tilt=-100.0)["brightness"] == pytest.approx(0.0, abs=1e-3)
    partials = np.zeros((128, 16))
    partials[:, [0, 1, 3]] = 0.1
    assert describe(partials, RATIOS, np.zeros((128, 8)), GRID, 57.0)["brightness"] == pytest.approx(1.0, abs=1e-6)


def test_hiss_is_not_brightness_and_brightness_no_hiss():
    plain, hissing = told(), told(noise_db=-10.0, noise_tilt=2.0)
    assert hissing["brightness"] == pytest.approx(plain["brightness"], abs=1e-9)
    assert hissing["noisiness"] > plain["noisiness"] + 20.0
    louder_noise = told(noise_db=-34.0)["noisiness"]
    assert louder_noise - plain["noisiness"] == pytest.approx(6.0, abs=1e-6)


def test_what_is_above_hearing_does_not_count():
    high = describe(np.full((128, 16), 0.1), RATIOS, np.zeros((128, 8)), GRID, 108.0)
    assert high["brightness"] == pytest.approx(np.log2(RATIOS[:4]).mean(), abs=1e-6)  # 4186 Hz has four below 20 kHz


@pytest.mark.parametrize("octaves", [2.0, 4.0, 6.0])
def test_a_tone_that_jumps_in_late_has_that_attack(octaves):
    level = np.where(0.001 * 2.0**octaves > TIMES, -80.0, 0.0)
    assert told(level)["attack"] == pytest.approx(octaves, abs=0.35)


def test_a_slower_fade_is_a_slower_attack_and_an_accent_a_faster_one():
    attacks = [told(fade_db(seconds))["attack"] for seconds in (0.002, 0.008, 0.032, 0.1)]
    assert np.all(np.diff(attacks) > 1.0), attacks
    assert told(6.0 * np.exp(-TIMES / 0.03))["attack"] < told()["attack"] - 1.0


@pytest.mark.parametrize("slope", [-150.0, -40.0, 0.0])
def test_a_louder_accent_is_never_a_slower_attack(slope):
    attacks = [told(slope * TIMES + db * np.exp(-TIMES / 0.03))["attack"] for db in (0.0, 6.0, 12.0, 18.0, 24.0)]
    assert np.all(np.diff(attacks) < 0.0), attacks


def test_a_short_note_that_rings_on_softly_has_the_attack_of_one_that_does_not():
    """A struck bar's knock, half as loud again: what is left of it 45 dB below says nothing about its beginning."""
    short = -180.0 * TIMES
    for onset in (0.0, fade_db(0.01), 6.0 * np.exp(-TIMES / 0.03)):
        plain, ringing = told(short + onset), told(np.maximum(short + onset, -45.0 - 20.0 * TIMES))
        assert ringing["attack"] == pytest.approx(plain["attack"], abs=0.5)


@pytest.mark.parametrize("slope", [-30.0, -12.0, 4.0])
def test_neither_decay_nor_swell_is_an_attack(slope):
    quick = told(fade_db(0.005))["attack"]
    assert told(fade_db(0.005) + slope * TIMES)["attack"] == pytest.approx(quick, abs=0.35)


@pytest.mark.parametrize("slope", [-120.0, -30.0, -3.0, 0.0, 3.0])
def test_decay_is_the_slope_in_decibels_whatever_the_attack_and_the_silence_after(slope):
    for attack in (0.0, fade_db(0.01)):
        level = np.maximum(attack + slope * TIMES, -85.0)
        assert told(level)["decay"] == pytest.approx(slope, rel=0.06, abs=0.3)


def test_ringing_longer_is_neither_brighter_nor_noisier():
    short, long = told(-40.0 * TIMES), told(-20.0 * TIMES)
    for name in ("brightness", "noisiness"):
        assert short[name] == pytest.approx(long[name], abs=0.02)
