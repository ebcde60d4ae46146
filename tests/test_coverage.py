"""Coverage and density: as their paper defines them, on features that hear what an ear hears."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.scoring.coverage import N_FEATURES, coverage, density, features, spectrum_features
from neuralsynth.spectrum import SpectrumGrid
from tests.signals import synthetic_note

RATE = 44_100
GRID = SpectrumGrid.warped(64, 1.5, 16, 24)


def by_hand(real, fake, k):
    """Naeem et al. 2020, equations 3 and 4, written out note by note."""
    radius = [sorted(float(np.linalg.norm(a - b)) for b in real)[k] for a in real]  # the nearest is itself
    inside = [[float(np.linalg.norm(a - b)) < r for b in fake] for a, r in zip(real, radius, strict=True)]
    covered = sum(any(row) for row in inside) / len(real)
    dense = sum(sum(row) for row in inside) / (k * len(fake))
    return covered, dense


@pytest.mark.parametrize("k", [1, 3, 5])
def test_both_are_what_the_paper_counts_note_by_note(k):
    rng = np.random.default_rng(k)
    real, fake = rng.standard_normal((40, 6)), 0.7 * rng.standard_normal((25, 6)) + 0.3
    assert (coverage(real, fake, k), density(real, fake, k)) == pytest.approx(by_hand(real, fake, k))
    assert 0.1 < coverage(real, fake, k) < 1.0


def test_a_generator_that_says_one_thing_covers_little_however_credible_it_is():
    rng = np.random.default_rng(0)
    real = rng.standard_normal((200, 8))
    collapsed = np.tile(real.mean(axis=0), (200, 1)) + 0.01 * rng.standard_normal((200, 8))
    same = rng.standard_normal((200, 8))
    assert coverage(real, collapsed) < 0.5
    assert coverage(real, same) > 0.9
    assert density(real, collapsed) > density(real, same) > 0.8
    assert coverage(real, same + 20.0) == density(real, same + 20.0) == 0.0


def test_too_few_notes_are_refused():
    with pytest.raises(ValueError, match="do not allow"):
        coverage(np.zeros((5, 3)), np.zeros((9, 3)))
    with pytest.raises(ValueError, match="do not allow"):
        density(np.zeros((9, 3)), np.zeros((0, 3)))


def test_level_and_delay_are_no_feature_and_colour_is():
    plain = synthetic_note(220.0, np.array([0.3, 0.1, 0.05]))
    bright = synthetic_note(220.0, np.array([0.1, 0.2, 0.3]))
    own = features(plain, RATE)
    assert own.shape == (N_FEATURES,)
    late = np.concatenate([np.zeros(4000), 0.2 * plain])
    assert np.abs(features(late, RATE) - own).max() < 1.0
    assert np.abs(features(bright, RATE) - own)[:32].max() > 2.5


@pytest.mark.parametrize(("hz", "column"), [(2.5, 0), (6.0, 1), (15.0, 2)])
def test_a_tremolo_is_heard_in_the_modulation_band_of_its_speed(hz, column):
    n = round(1.6 * RATE)
    audio = synthetic_note(440.0, np.array([0.3, 0.2, 0.1]), seconds=1.6, lead_seconds=0.0)
    swing = 1.0 + 0.5 * np.sin(2 * np.pi * hz * np.arange(n) / RATE)
    still, moved = (features(x, RATE)[-24:].reshape(3, 8).max(axis=1) for x in (audio, audio * swing))
    assert np.argmax(moved - still) == column and moved[column] - still[column] > 8.0


def of_spectra(partials, noise, note=60.0):
    one = partials[None], np.arange(1.0, 17.0)[None], noise[None], np.array([note])
    return spectrum_features(*one, GRID)[0]


def test_a_spectrum_has_the_features_of_its_sound():
    """Means (halved) within 4 dB where it is loud: a spectrum has no window that smears its partials."""
    from neuralsynth.scoring import play_spectrum
    from neuralsynth.spectrum import NoteSpectrum

    decay = np.exp(-2.0 * GRID.frame_seconds)[:, None]
    partials, noise = 0.2 * decay / np.arange(1.0, 17.0), 0.01 * decay * np.ones(24)
    spectrum = NoteSpectrum(GRID, partials, np.arange(1.0, 17.0), np.zeros(64), noise)
    heard = features(play_spectrum(spectrum, 72.0, int(1.5 * RATE), RATE, None), RATE)[:32]
    told = of_spectra(partials, noise, 72.0)[:32]
    loud = heard > heard.max() - 17.0
    assert loud.sum() >= 8
    assert np.abs((told - heard)[loud]).mean() < 2.0


def test_features_of_spectra_ignore_level_and_hear_noise_attack_and_decay():
    steady = np.ones((64, 16)) * 0.1 / np.arange(1, 17)
    quiet = np.full((64, 24), 1e-5)
    own = of_spectra(steady, quiet)
    assert np.allclose(of_spectra(0.1 * steady, 0.1 * quiet), own)
    rise = np.minimum(1.0, GRID.frame_seconds / 0.3 + 0.01)[:, None]
    fall = np.exp(-4.0 * GRID.frame_seconds)[:, None]
    first, last = slice(32, 40), slice(40, 48)
    assert of_spectra(steady * rise, quiet * rise)[first].min() < own[first].min() - 6.0
    assert of_spectra(steady * fall, quiet * fall)[last].min() < own[last].min() - 6.0
    assert np.abs(of_spectra(steady, np.full((64, 24), 3e-2)) - own)[:32].max() > 5.0
