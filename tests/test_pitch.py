"""The pitch of single notes: right octave, right cents, and modest where there is no pitch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from neuralsynth.analysis.pitch import listen, measure_pitch
from neuralsynth.errors import MissingExtra
from neuralsynth.units import hz_to_note, note_to_hz, ratio_to_cents

RATE = 44_100
#: Partial amplitudes k = 1, 2, 3 … by timbre.
TIMBRES = {
    "sine": lambda k: 1.0 * (k == 1),
    "sawtooth": lambda k: 1.0 / k,
    "odd partials": lambda k: (k % 2) / k,
}
#: Harder ones: an octave louder by 20 dB, and a fundamental that only the ear supplies.
AMBIGUOUS = {
    "loud octave": lambda k: (0.1, 1.0, 0.1, 0.3, 0.05, 0.1)[k - 1] if k <= 6 else 0.0,
    "no fundamental": lambda k: (k > 1) / k,
}


def tone(pitch_hz, amplitude=TIMBRES["sawtooth"], seconds=1.0, rate=RATE, stiffness=0.0, decay_seconds=2.0):
    """A note `[samples]`; partial k lies at k·sqrt(1 + stiffness·k²)."""
    t = np.arange(int(seconds * rate)) / rate
    audio = np.zeros_like(t)
    for k in range(1, 80):
        frequency = pitch_hz * k * np.sqrt(1.0 + stiffness * k * k)
        if frequency < 0.45 * rate and amplitude(k):
            audio += amplitude(k) * np.sin(2 * np.pi * frequency * t + 0.7 * k)
    return (0.3 * audio * np.exp(-t / decay_seconds) * np.minimum(t / 0.01, 1.0)).astype(np.float32)


def cents_off(estimate, pitch_hz):
    """How far the estimate is off, in cents."""
    return abs(ratio_to_cents(estimate.pitch_hz / pitch_hz))


@pytest.mark.parametrize("timbre", TIMBRES)
@pytest.mark.parametrize("note", [36, 48, 57.3, 69, 81, 96])
def test_pitch_is_right_in_octave_and_cents(timbre, note):
    estimate = measure_pitch(tone(note_to_hz(note), TIMBRES[timbre]), RATE)
    assert cents_off(estimate, note_to_hz(note)) < 5
    assert estimate.confidence >= 0.5


@pytest.mark.parametrize("timbre", AMBIGUOUS)
@pytest.mark.parametrize("note", [36, 48, 57.3, 69])
def test_loud_overtones_do_not_move_the_octave(timbre, note):
    heard = listen(tone(note_to_hz(note), AMBIGUOUS[timbre]), RATE)
    assert cents_off(heard.estimate, note_to_hz(note)) < 5


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000])
def test_sample_rate_does_not_move_the_pitch(rate):
    estimate = measure_pitch(tone(220.0, rate=rate), rate)
    assert cents_off(estimate, 220.0) < 5


def test_stiff_low_string_is_found_within_half_a_semitone():
    # A piano's lowest A: inharmonicity about 3e-4, next to no fundamental.
    strings = tone(27.5, lambda k: (0.02, 0.1, 0.4)[k - 1] if k <= 3 else k**-0.5, 1.6, stiffness=3e-4)
    heard = measure_pitch(strings, RATE)
    assert abs(hz_to_note(heard.pitch_hz) - 21) < 0.5


def test_top_piano_note_is_heard_above_the_knock_of_the_case():
    rng = np.random.default_rng(1)
    t = np.arange(int(0.6 * RATE)) / RATE
    knock = sum(np.sin(2 * np.pi * f * t + p) for f, p in zip((57, 142, 301, 880), rng.uniform(0, 6, 4), strict=True))
    audio = 0.3 * np.exp(-t / 0.1) * np.sin(2 * np.pi * 3520.0 * t) + 0.1 * np.exp(-t / 0.06) * knock
    assert cents_off(measure_pitch(audio, RATE), 3520.0) < 30


def test_vibrato_is_averaged_to_its_middle():
    t = np.arange(RATE) / RATE
    phase = 2 * np.pi * np.cumsum(440.0 * 2 ** (30 / 1200 * np.sin(2 * np.pi * 5.5 * t))) / RATE
    audio = sum(np.sin(k * phase) / k for k in range(1, 20))
    assert cents_off(measure_pitch(0.2 * audio, RATE), 440.0) < 10


def test_noise_is_not_taken_for_a_sure_pitch():
    for seed in range(4):
        noise = 0.3 * np.random.default_rng(seed).standard_normal(RATE)
        assert measure_pitch(noise, RATE).confidence < 0.5


def test_other_octaves_and_notes_have_less_evidence():
    heard = listen(tone(220.0), RATE)
    true = heard.evidence_for(220.0, 0.4)
    for other_hz in (110.0, 440.0, 660.0, 73.3, 233.1, 330.0):
        assert heard.evidence_for(other_hz, 0.4) < 0.75 * true
    assert heard.evidence_for(9.0) == 0.0


def test_partials_between_the_harmonics_are_reported_as_undertones():
    heard = listen(tone(440.0) + 0.12 * tone(220.0, lambda k: 1.0 * (k in (1, 3, 5))), RATE)
    assert cents_off(heard.estimate, 440.0) < 5
    assert 2 in heard.undertones
    assert listen(tone(440.0), RATE).undertones == frozenset()


@pytest.mark.parametrize("audio", [np.zeros(RATE), np.zeros(0), np.ones(1), np.ones(100), np.full(RATE, 0.2)])
def test_no_sound_has_no_sure_pitch(audio):
    assert measure_pitch(audio.astype(np.float32), RATE).confidence < 0.05


@pytest.mark.parametrize("rate", [1, 100, 2_000, 4_000, 384_000])
@pytest.mark.parametrize("n_samples", [50, 300, 3_001, 40_000])
def test_odd_rates_and_lengths_never_fail(rate, n_samples):
    estimate = measure_pitch(np.sin(0.3 * np.arange(n_samples)), rate)
    assert np.isfinite(estimate.pitch_hz)
    assert 0.0 <= estimate.confidence <= 1.0


def test_missing_praat_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(MissingExtra, match=r"pip install 'neuralsynth\[train\]'"):
        measure_pitch(tone(220.0), RATE)
