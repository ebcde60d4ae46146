"""Descriptors measure what they are named after, on sounds whose physics is known."""

from __future__ import annotations

import librosa
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from neuralsynth.analysis import distance
from neuralsynth.design.choose import DUPLICATE_DB
from neuralsynth.design.descriptors import DESCRIPTORS, Descriptors, describe, fingerprint, measured, names
from neuralsynth.design.fingerprints import SIZE
from neuralsynth.design.loudness import integrated_lufs, k_weighting
from neuralsynth.errors import UsageError
from neuralsynth.units import db_to_gain, hz_to_note, note_to_hz
from tests.effort import at_most
from tests.signals import synthetic_note
from tests.threads import said_with_threads

RATE = 44_100
LEVEL_NAMES = {"loudness_lufs", "peak_db"}


def seconds(length, rate=RATE):
    return np.arange(round(length * rate)) / rate


def sine(hz, length=2.0, rate=RATE, level_db=-12.0):
    return (db_to_gain(level_db) * np.sin(2.0 * np.pi * hz * seconds(length, rate)))[None]


def noise(length=2.0, level_db=-20.0, seed=0):
    return (db_to_gain(level_db) * np.random.default_rng(seed).standard_normal(round(length * RATE)))[None]


def saw(hz, length=2.0, n_partials=20, **more):
    return 0.2 * synthetic_note(hz, 1.0 / np.arange(1, n_partials + 1), length, RATE, **more)[None]


def pluck(hz, t60=1.0, length=2.0, n_partials=12, tilt=1.0):
    amplitudes = 1.0 / np.arange(1, n_partials + 1) ** tilt
    return 0.2 * synthetic_note(hz, amplitudes, length, RATE, decay_per_second=np.log(1000.0) / t60)[None]


class TestLoudness:
    def test_filters_are_the_published_ones(self):
        # ITU-R BS.1770-4, tables 1 and 2, at 48 kHz.
        shelf, high_pass = k_weighting(48_000)
        published = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
        np.testing.assert_allclose(shelf, published, atol=1e-9)
        np.testing.assert_allclose(high_pass, [1, -2, 1, 1, -1.99004745483398, 0.99007225036621], atol=1e-9)

    @pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 96_000])
    def test_full_scale_sine_in_one_channel_reads_minus_3(self, rate):
        # The definition: a 997 Hz sine at 0 dBFS in one front channel is -3.01 LUFS.
        assert integrated_lufs(sine(997, 3.0, rate, 0.0), rate) == pytest.approx(-3.01, abs=0.05)

    @pytest.mark.parametrize(
        "pieces, expected",
        [
            ([(-23, 10)], -23.0),  # EBU Tech 3341, cases 1 to 5, shortened where only the gate is asked
            ([(-33, 10)], -33.0),
            ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
            ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
            ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
        ],
    )
    def test_ebu_signals(self, pieces, expected):
        rate = 8000 if len(pieces) > 1 else 48_000  # the gate does not know the rate
        mono = np.concatenate([sine(1000, length, rate, level)[0] for level, length in pieces])
        assert integrated_lufs(np.stack([mono, mono]), rate) == pytest.approx(expected, abs=0.1)

    def test_short_sound_is_softer_and_silence_is_at_the_gate(self):
        assert integrated_lufs(sine(997, 0.1), RATE) == pytest.approx(-12.0 - 3.01 + 10 * np.log10(0.25), abs=0.2)
        assert describe(np.zeros((1, RATE)), RATE) == Descriptors()


class TestSpectrum:
    @pytest.mark.parametrize("hz", [100, 440, 1000, 5000])
    def test_centroid_of_a_sine_is_its_frequency(self, hz):
        assert describe(sine(hz), RATE).centroid_hz == pytest.approx(hz, rel=0.02)

    @pytest.mark.parametrize(
        "sound", [saw(220.0, lead_seconds=0.0), noise(), noise() + saw(440, lead_seconds=0.0)[:, : 2 * RATE]]
    )
    def test_centroid_and_bandwidth_are_near_librosas(self, sound):
        mono = sound[0][: 2 * RATE].astype(np.float32)
        theirs = np.median(librosa.feature.spectral_centroid(y=mono, sr=RATE, n_fft=1024))
        width = np.median(librosa.feature.spectral_bandwidth(y=mono, sr=RATE, n_fft=1024))
        found = describe(mono[None], RATE)
        # The mean spectrum is not the mean of spectra, and the floor takes a little.
        assert found.centroid_hz == pytest.approx(theirs, rel=0.06)
        assert found.bandwidth_hz == pytest.approx(width, rel=0.08)

    def test_brightness_is_a_position_on_an_octave_scale(self):
        # 100 Hz to 10 kHz: 1 kHz is the middle.
        assert describe(sine(1000), RATE).row()["brightness"] == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0, 30.0])
    def test_noise_has_the_share_that_was_mixed_in(self, snr_db):
        tone = saw(220.0, lead_seconds=0.0)
        hiss = noise(len(tone[0]) / RATE, 0.0) * np.sqrt(np.mean(tone**2)) * db_to_gain(-snr_db)
        expected = -10.0 * np.log10(1.0 + 10.0 ** (snr_db / 10.0))
        assert describe(tone + hiss, RATE).noise_db == pytest.approx(expected, abs=1.0)

    @pytest.mark.parametrize("length", [0.15, 0.4, 0.6, 2.0])
    def test_noise_is_noise_however_short(self, length):
        assert describe(noise(length), RATE).noise_db > -0.5

    def test_tone_is_no_noise(self):
        assert describe(sine(440), RATE).noise_db < -50.0
        assert describe(saw(55.0, n_partials=60), RATE).noise_db < -35.0

    def test_roughness_is_largest_for_close_sines(self):
        rough = {gap: describe(sine(440) + sine(440 * 2 ** (gap / 12)), RATE).roughness for gap in (1, 2, 7, 12)}
        assert rough[1] > 0.8 > rough[2] > rough[7] > rough[12]
        assert describe(sine(440), RATE).roughness == 0.0


class TestTime:
    @pytest.mark.parametrize("ramp", [0.02, 0.1, 0.5, 1.5])
    def test_attack_is_the_length_of_a_ramp(self, ramp):
        sound = sine(440, 3.0) * np.minimum(1.0, seconds(3.0) / ramp)
        assert describe(sound, RATE).attack_seconds == pytest.approx(ramp, rel=0.05, abs=0.004)

    def test_sudden_tone_has_nearly_no_attack(self):
        assert describe(sine(440), RATE).attack_seconds <= 0.005

    @pytest.mark.parametrize("t60", [0.1, 0.5, 2.0, 8.0])
    def test_decay_is_that_of_the_exponential_even_where_the_sound_is_cut_off(self, t60):
        found = describe(pluck(440.0, t60, 3.0, 1), RATE)
        # its ramp of 5 ms counts a little
        assert found.decay_seconds == pytest.approx(t60, rel=0.05, abs=0.015)
        assert found.duration_seconds == pytest.approx(min(t60, 3.0), rel=0.03, abs=0.015)

    def test_held_tone_does_not_decay_and_a_swell_neither(self):
        assert describe(sine(440), RATE).decay_seconds == 30.0
        assert describe(sine(440) * seconds(2.0), RATE).decay_seconds == 30.0
        held = sine(440, 2.0) * (seconds(2.0) < 1.0)
        assert describe(held, RATE).decay_seconds > 10.0
        assert describe(held, RATE).duration_seconds == pytest.approx(1.0, abs=0.01)

    def test_movement_tells_a_moving_sound_from_a_still_one(self):
        t = seconds(2.0)
        still = describe(sine(440), RATE).movement_db_per_second
        fading = describe(pluck(440.0, 4.0, 2.0, 1), RATE).movement_db_per_second
        tremolo = describe(sine(440) * (1.0 + 0.5 * np.sin(2 * np.pi * 4.0 * t)), RATE).movement_db_per_second
        low = describe(saw(55.0, n_partials=60), RATE).movement_db_per_second
        assert still < 0.1
        assert low < 3.0
        assert fading < 2.0  # the fade itself is 15 dB/s
        assert tremolo > 20.0


class TestPitch:
    @pytest.mark.parametrize("note", [24, 36, 45, 57, 69, 81, 93, 105])
    def test_harmonic_tone(self, note):
        hz = float(note_to_hz(note + 0.2))
        partials = max(1, min(20, int(18_000 / hz)))
        found = describe(saw(hz, 1.0, partials), RATE)
        assert float(hz_to_note(found.pitch_hz)) == pytest.approx(note + 0.2, abs=0.1)
        assert found.pitch_confidence > 0.5

    def test_missing_fundamental_and_librosas_yin(self):
        amplitudes = np.r_[0.0, 1.0 / np.arange(2, 15)]
        sound = 0.2 * synthetic_note(196.0, amplitudes, 1.0)[None]
        yin = np.median(librosa.yin(sound[0].astype(np.float32), fmin=60, fmax=2000, sr=RATE))
        assert describe(sound, RATE).pitch_hz == pytest.approx(196.0, rel=0.005)
        assert describe(sound, RATE).pitch_hz == pytest.approx(yin, rel=0.01)

    @pytest.mark.parametrize("rate", [16_000, 48_000, 96_000, 192_000])
    def test_other_rates(self, rate):
        sound = synthetic_note(220.0, 1.0 / np.arange(1, 16), 1.0, rate)[None]
        assert describe(sound, rate).pitch_hz == pytest.approx(220.0, rel=0.005)
        assert describe(sound, rate).centroid_hz == pytest.approx(
            describe(saw(220.0, 1.0, 15), RATE).centroid_hz, rel=0.1
        )

    def test_noise_and_silence_have_none(self):
        assert describe(noise(), RATE).pitch_hz is None
        assert describe(noise(), RATE).pitch_confidence == 0.0


class TestStereo:
    def test_width(self):
        left, right = noise(seed=1), noise(seed=2)
        assert describe(left, RATE).stereo_width == 0.0
        assert describe(np.vstack([left, left]), RATE).stereo_width == 0.0
        assert describe(np.vstack([left, right]), RATE).stereo_width == pytest.approx(0.5, abs=0.02)
        assert describe(np.vstack([left, -left]), RATE).stereo_width == 1.0

    def test_channels_that_cancel_are_heard(self):
        tone = saw(220.0)
        assert describe(np.vstack([tone, -tone]), RATE).pitch_hz == describe(tone, RATE).pitch_hz

    def test_two_equal_channels_are_3_db_louder_and_otherwise_the_same(self):
        mono, stereo = describe(saw(220.0), RATE), describe(np.vstack([saw(220.0)] * 2), RATE)
        assert stereo.loudness_lufs - mono.loudness_lufs == pytest.approx(3.01, abs=0.02)
        assert msgspec.structs.replace(stereo, loudness_lufs=mono.loudness_lufs) == mono


SOUNDS = {"saw": saw(220.0), "pluck": pluck(660.0), "noise": noise(), "vibrato": saw(330.0, vibrato_cents=30.0)}


def shifted(sound, samples):
    return np.concatenate([np.zeros((1, samples)), sound], axis=1)


class TestSameness:
    @pytest.mark.parametrize("name", SOUNDS)
    @pytest.mark.parametrize("gain_db", [-20.0, 6.0])
    def test_gain_changes_the_level_only(self, name, gain_db):
        before, after = describe(SOUNDS[name], RATE), describe(SOUNDS[name] * db_to_gain(gain_db), RATE)
        if name != "pluck":  # of a softer decay, the gate of -70 LUFS hides more
            assert after.loudness_lufs - before.loudness_lufs == pytest.approx(gain_db, abs=0.03)
        assert after.peak_db - before.peak_db == pytest.approx(gain_db, abs=0.03)
        for one in DESCRIPTORS:
            if one.name not in LEVEL_NAMES:
                expected = getattr(before, one.name)
                assert getattr(after, one.name) == (
                    expected if expected is None else pytest.approx(expected, rel=1e-3, abs=2e-3)
                )
        assert (
            np.linalg.norm(fingerprint(SOUNDS[name] * db_to_gain(gain_db), RATE) - fingerprint(SOUNDS[name], RATE))
            < 1e-3
        )

    @pytest.mark.parametrize("name", SOUNDS)
    @pytest.mark.parametrize("samples", [100, 441, 5000])
    def test_start_does_not_count(self, name, samples):
        before, after = describe(SOUNDS[name], RATE).row(), describe(shifted(SOUNDS[name], samples), RATE).row()
        # The onset is found to a millisecond; frames of noise that lie a little apart are another noise.
        assert after["attack_seconds"] == pytest.approx(before["attack_seconds"], abs=0.003)
        for position in ("decay", "brightness", "bandwidth", "noisiness", "movement"):
            assert after[position] == pytest.approx(before[position], abs=0.02), position
        away = np.linalg.norm(fingerprint(shifted(SOUNDS[name], samples), RATE) - fingerprint(SOUNDS[name], RATE))
        assert away < 0.5 * DUPLICATE_DB

    def test_same_samples_give_the_same_bits_whatever_the_threads_and_memory(self):
        code = """
import numpy as np
from tests.test_design_descriptors import SOUNDS, RATE, measured
for sound in SOUNDS.values():
    descriptors, mark = measured(sound, RATE)
    print(descriptors, mark.tobytes().hex())
"""
        said = said_with_threads(code, 1)
        assert said == said_with_threads(code, 4)
        own = []
        for sound in SOUNDS.values():
            strided = np.zeros((1, 3 * sound.shape[1] + 1), np.float32)[:, 1::3]
            strided[:] = sound
            descriptors, mark = measured(strided, RATE)
            own.append(f"{descriptors} {mark.tobytes().hex()}\n")
        assert "".join(own) == said

    def test_measured_is_both(self):
        descriptors, mark = measured(SOUNDS["saw"], RATE)
        assert descriptors == describe(SOUNDS["saw"], RATE)
        np.testing.assert_array_equal(mark, fingerprint(SOUNDS["saw"], RATE))
        assert mark.shape == (SIZE,) and mark.dtype == np.float32


class TestFingerprint:
    def test_another_sound_is_far_and_the_same_is_near(self):
        base = fingerprint(pluck(440.0), RATE)
        rng = np.random.default_rng(3)

        def away(sound):
            return np.linalg.norm(fingerprint(sound, RATE) - base)

        hiss = rng.standard_normal(pluck(440.0).shape) * 1e-3 * np.sqrt(np.mean(pluck(440.0) ** 2))
        assert away(pluck(440.0) + hiss) < DUPLICATE_DB
        assert away(pluck(440.0, tilt=1.02)) < DUPLICATE_DB
        assert away(pluck(440.0 * 2 ** (1 / 12))) > DUPLICATE_DB
        assert away(pluck(440.0, t60=0.6)) > DUPLICATE_DB
        assert away(pluck(440.0, tilt=1.6)) > DUPLICATE_DB
        assert away(pluck(880.0)) > 2.0 * DUPLICATE_DB
        assert away(np.zeros((1, RATE))) > 10.0 * DUPLICATE_DB

    def test_tremolo_is_another_sound(self):
        t = seconds(2.0)
        still, moving = sine(440), sine(440) * (1.0 + 0.4 * np.sin(2 * np.pi * 5.0 * t))
        assert np.linalg.norm(fingerprint(still, RATE) - fingerprint(moving, RATE)) > DUPLICATE_DB

    def test_trailing_silence_does_not_count(self):
        short, long = fingerprint(pluck(440.0, 0.5, 1.0), RATE), fingerprint(pluck(440.0, 0.5, 3.5), RATE)
        assert np.linalg.norm(short - long) < 0.3

    def test_goes_with_the_distance_of_analysis(self):
        rng = np.random.default_rng(4)
        sounds = [
            pluck(
                float(note_to_hz(rng.integers(45, 80))),
                rng.uniform(0.3, 3.0),
                1.5,
                int(rng.integers(3, 16)),
                rng.uniform(0.5, 2.0),
            )
            for _ in range(8)
        ]
        marks = [fingerprint(sound, RATE) for sound in sounds]
        pairs = [(i, j) for i in range(len(sounds)) for j in range(i)]
        ours = [np.linalg.norm(marks[i] - marks[j]) for i, j in pairs]
        theirs = [distance(sounds[i][0], sounds[j][0], RATE) for i, j in pairs]
        assert spearmanr(ours, theirs)[0] > 0.6  # 0.97 where many pairs are near: benchmarks/duplicates.py


class TestTable:
    def test_table_names_every_field_once(self):
        assert [one.name for one in DESCRIPTORS] == list(Descriptors.__struct_fields__)
        assert len(set(names())) == len(names())

    def test_positions_are_between_0_and_1(self):
        for one in DESCRIPTORS:
            if one.position:
                low, high = one.position.low, one.position.high
                assert (one.position.of(low), one.position.of(high)) == (0.0, 1.0)
                assert (one.position.of(low - 1e3), one.position.of(high + 1e5)) == (0.0, 1.0)

    def test_goes_through_json(self):
        found = describe(SOUNDS["pluck"], RATE)
        assert msgspec.json.decode(msgspec.json.encode(found), type=Descriptors) == found


@pytest.mark.parametrize(
    "audio, rate, says",
    [
        (np.zeros((3, 100)), RATE, "shape (3, 100)"),
        (np.zeros((1, 2, 100)), RATE, "shape (1, 2, 100)"),
        (np.array([[0.0, np.nan]]), RATE, "not finite"),
        (np.array([[0.0, np.inf]]), RATE, "not finite"),
        (np.zeros((1, 100)), 10, "sample_rate is 10"),
    ],
)
def test_what_cannot_be_measured_is_refused(audio, rate, says):
    with pytest.raises(UsageError, match=says.replace("(", r"\(").replace(")", r"\)")):
        describe(audio, rate)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 5000),
    rate=st.sampled_from([8000, 11_025, 44_100, 96_000]),
    channels=st.integers(1, 2),
    kind=st.sampled_from(["noise", "click", "constant", "alternating"]),
    gain=st.sampled_from([1e-7, 1e-5, 1.0, 1e6]),
)
def test_anything_finite_gives_finite_numbers(n, rate, channels, kind, gain):
    sound = np.zeros((channels, n), np.float32)
    if kind == "noise":
        sound[:] = np.random.default_rng(n).standard_normal((channels, n))
    elif kind == "click":
        sound[:, n // 2 : n // 2 + 1] = 1.0
    else:
        sound[:] = 1.0 if kind == "constant" else (-1.0) ** np.arange(n)
    found, mark = measured(gain * sound, rate)
    assert all(value is None or np.isfinite(value) for value in found.row().values())
    assert np.isfinite(mark).all()


def test_measuring_is_quick():
    sound = saw(220.0, 4.0)
    measured(sound, RATE)
    with at_most(0.25):  # about 6 ms each on an idle core
        for _ in range(5):
            measured(sound, RATE)
