"""Voices: pitch, level, timing and stealing, against plain numpy and against what an ear would notice."""

from __future__ import annotations

import numpy as np
import pytest

from neuralsynth.sound import envelope, layout
from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid, stretched_ratios
from neuralsynth.units import gain_to_db, note_to_hz, ratio_to_cents
from tests.signals import resynthesise

RATE = 48_000
GRID = SpectrumGrid.warped(64, 2.0, 48, 16)


def steady_sound(n_partials_sounding=1, amplitude=0.1, noise=0.0, ratios=None, cents=0.0):
    partials = np.zeros((GRID.n_frames, GRID.n_partials), np.float32)
    partials[:, :n_partials_sounding] = amplitude
    ratios = np.arange(1.0, GRID.n_partials + 1) if ratios is None else ratios
    shape = (GRID.n_frames, GRID.n_bands)
    return VoiceSound(partials, ratios, np.full(GRID.n_frames, cents), np.full(shape, noise, np.float32))


def pool_of(rate=RATE, attack=0.0, decay=0.0, sustain_level=1.0, release=0.08, **settings):
    pool = VoicePool(SpectrumRows(GRID), rate, VoiceSettings(**({"sustain": (0.5, 1.5)} | settings)), 8192)
    pool.set_envelope(attack, decay, sustain_level, release)
    return pool


def start(pool, now, note, channel, gain, sound):
    return pool.start(now, pool.rows.add([sound]), Strike(note, channel, gain))


def play(pool, n_samples, first=0, block=1000):
    parts = [
        pool.render(at, min(block, first + n_samples - at))[:2].copy() for at in range(first, first + n_samples, block)
    ]
    return np.concatenate(parts, axis=1)


def strongest_hz(audio, rate=RATE):
    """Frequency of the strongest partial, by parabolic interpolation of a long windowed FFT."""
    power = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 19)) + 1e-12)
    k = int(np.argmax(power))
    a, b, c = power[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * rate / (1 << 19)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("note", [21, 45, 69, 84.37, 108])
def test_a_voice_sounds_at_its_pitch_within_a_tenth_of_a_cent(note, rate):
    pool = pool_of(rate)
    start(pool, 0, note, 0, 1.0, steady_sound())
    audio = play(pool, rate)[0][rate // 10 :]
    assert abs(ratio_to_cents(strongest_hz(audio, rate) / note_to_hz(note))) < 0.1


def test_a_partial_has_the_level_the_spectrum_says():
    pool = pool_of()
    start(pool, 0, 69, 0, 1.0, steady_sound(amplitude=0.25))
    rms = np.sqrt(np.mean(play(pool, RATE)[0][RATE // 4 :] ** 2))
    assert abs(gain_to_db(rms) - gain_to_db(0.25 / np.sqrt(2))) < 0.01


def test_noise_bands_have_the_level_and_the_place_the_spectrum_says():
    sound = steady_sound(0)
    sound.noise[:, 10] = 0.1
    pool = pool_of()
    start(pool, 0, 69, 0, 1.0, sound)
    audio = play(pool, 2 * RATE)[0][RATE // 4 :]
    assert abs(gain_to_db(np.sqrt(np.mean(audio**2))) - gain_to_db(0.1)) < 0.3
    power = np.abs(np.fft.rfft(audio)) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / RATE)
    inside = (hz > 0.98 * GRID.band_edges_hz[10]) & (hz < 1.02 * GRID.band_edges_hz[11])
    assert power[inside].sum() > 0.999 * power.sum()


def test_noise_of_two_voices_adds_in_power():
    def level(count):
        pool = pool_of()
        for _ in range(count):
            start(pool, 0, 60, 0, 1.0, steady_sound(0, noise=0.01))
        return np.sqrt(np.mean(play(pool, RATE)[0][RATE // 4 :] ** 2))

    assert abs(gain_to_db(level(2) / level(1)) - gain_to_db(np.sqrt(2))) < 0.05


def test_a_moving_inharmonic_spectrum_matches_a_plain_numpy_resynthesis():
    rng = np.random.default_rng(3)
    times = GRID.frame_seconds
    decay = np.exp(-times[:, None] * rng.uniform(1, 6, GRID.n_partials))
    partials = (0.05 * rng.uniform(0.1, 1, GRID.n_partials) * decay * np.minimum(times / 0.01, 1)[:, None]).astype("f4")
    cents = 20.0 * np.sin(2 * np.pi * 2.0 * times)
    spectrum = NoteSpectrum(
        GRID, partials, stretched_ratios(GRID.n_partials, 3e-4), cents, np.zeros((GRID.n_frames, GRID.n_bands))
    )
    pool = pool_of(sustain=None)
    start(pool, 0, 48, 0, 1.0, VoiceSound(partials, spectrum.ratios, cents, spectrum.noise))
    ours = play(pool, int(1.5 * RATE))[0]
    plain = resynthesise(spectrum, float(note_to_hz(48)), len(ours), RATE)
    window = np.hanning(4096)
    for at in range(2048, len(ours) - 4096, 8192):  # magnitudes, because starting phases differ
        a, b = (np.abs(np.fft.rfft(x[at : at + 4096] * window)) for x in (ours, plain))
        peaks = [k for k in range(2, len(b) - 2) if b[k] == b[k - 2 : k + 3].max() > 1e-3 * b.max()]
        differences_db = [gain_to_db(a[k - 2 : k + 3].max() / b[k]) for k in peaks]
        assert len(peaks) >= 8
        assert np.median(np.abs(differences_db)) < 0.25


def test_partials_above_nyquist_are_silent_not_folded():
    pool = pool_of(22_050)
    start(pool, 0, 96, 0, 1.0, steady_sound(48))  # 2093 Hz: the sixth partial lies above 11 kHz
    audio = play(pool, 22_050)[0][4096:]
    power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / 22_050)
    harmonic = np.abs(hz / note_to_hz(96) - np.round(hz / note_to_hz(96))) < 0.02
    assert gain_to_db(np.sqrt(power[~harmonic].sum() / power.sum())) < -80


BLOCKS = [1, 64, 65, 512, 8192]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_size_does_not_change_a_sample(block):
    def phrase(size):
        pool = pool_of(attack=0.02, decay=0.1, sustain_level=0.5)
        script = {37: "low", 2500: "high", 7001: "release", 9000: "kill", 12_345: "bend", 15_000: "again"}
        voices, now, out = [], 0, []
        while now < 20_000:
            stop = min(now + size, 20_000)
            for at in [s for s in sorted(script) if now <= s < stop] + [stop]:
                if at > now:
                    out.append(pool.render(now, at - now)[:2].copy())
                    now = at
                event = script.get(at) if at < stop else None
                if event in ("low", "high", "again"):
                    note = {"low": 40, "high": 64, "again": 52}[event]
                    voices.append(start(pool, at, note, 0, 1.0, steady_sound(30, 0.02, 1e-3)))
                elif event == "release":
                    pool.release(voices[0])
                elif event == "kill":
                    pool.kill(voices[1])
                elif event == "bend":
                    pool.channels[0, layout.CHANNEL_CENTS] = 150.0
                    pool.touch(0)
        return np.concatenate(out, axis=1)

    assert np.array_equal(phrase(block), phrase(8000))


@pytest.mark.parametrize("offset", [0, 1, 31, 33, 63])
def test_a_note_begins_at_its_sample_and_without_a_click(offset):
    pool = pool_of()
    play(pool, 640 + offset, block=640 + offset)
    start(pool, 640 + offset, 81, 0, 1.0, steady_sound(1, 0.5))
    audio = play(pool, 4800, first=640 + offset)[0]
    assert np.any(audio[:16] != 0.0)
    steady = np.max(np.abs(np.diff(audio[2400:])))
    assert np.max(np.abs(np.diff(audio[:480], prepend=0.0))) < steady + 0.01


def test_the_polyphony_holds_and_the_newest_note_is_heard_at_once():
    pool = pool_of(polyphony=8)
    for i in range(8 + 64):
        start(pool, 0, 30 + i, 0, 1.0, steady_sound(1, 0.01))
    newest = start(pool, 0, 100, 0, 1.0, steady_sound(1, 0.05))
    play(pool, 4800)
    assert pool.held().sum() == 8
    assert pool.held()[newest]
    assert abs(ratio_to_cents(strongest_hz(play(pool, 9600, first=4800)[0]) / note_to_hz(100))) < 1


def test_stealing_takes_released_voices_first_then_quiet_old_ones_and_spares_the_bass():
    pool = pool_of(polyphony=4, release=2.0)
    bass = start(pool, 0, 28, 0, 1.0, steady_sound(1, 0.001))  # the quietest, but the bass
    quiet = start(pool, 0, 60, 0, 1.0, steady_sound(1, 0.01))
    loud = start(pool, 0, 64, 0, 1.0, steady_sound(1, 0.2))
    released = start(pool, 0, 67, 0, 1.0, steady_sound(1, 0.3))
    play(pool, 4800)
    pool.release(released)
    play(pool, 480, first=4800)
    start(pool, 5280, 70, 0, 1.0, steady_sound(1, 0.1))
    play(pool, 64, first=5280)
    assert pool.voices.states[released, layout.STAGE] in (envelope.KILL, envelope.OFF)
    start(pool, 5344, 72, 0, 1.0, steady_sound(1, 0.1))
    play(pool, 64, first=5344)
    assert pool.voices.states[quiet, layout.STAGE] in (envelope.KILL, envelope.OFF)
    assert pool.held()[[bass, loud]].all()


def test_a_stolen_voice_fades_for_at_least_three_milliseconds():
    pool = pool_of()
    voice = start(pool, 0, 81, 0, 1.0, steady_sound(1, 0.5))
    before = play(pool, 4800)[0]
    pool.kill(voice)
    fade = play(pool, 960, first=4800)[0]
    sounding = np.flatnonzero(np.abs(fade) > 1e-4)
    assert 0.003 < (sounding[-1] + 1) / RATE < 0.010
    steady = np.max(np.abs(np.diff(before[2400:])))
    assert np.max(np.abs(np.diff(np.concatenate([before[-1:], fade])))) < steady + 0.01


@pytest.mark.parametrize("seconds", [0.03, 0.1, 1.0])
def test_release_falls_by_60_db_in_its_time(seconds):
    pool = pool_of(release=seconds)
    voice = start(pool, 0, 81, 0, 1.0, steady_sound(1, 0.5))
    play(pool, RATE // 4)
    pool.release(voice)
    audio = play(pool, int(seconds * RATE) + 4800, first=RATE // 4)[0]
    at = int(seconds * RATE)
    tail = np.max(np.abs(audio[at : at + 240]))
    assert -66 < gain_to_db(tail / 0.5) < -50


def test_the_shortest_release_is_silent_within_ten_milliseconds():
    pool = pool_of(release=0.003)
    voice = start(pool, 0, 81, 0, 1.0, steady_sound(1, 0.5))
    play(pool, RATE // 4)
    pool.release(voice)
    assert gain_to_db(np.max(np.abs(play(pool, 4800, first=RATE // 4)[0][480:])) / 0.5) < -60


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.5])
def test_attack_reaches_full_level_in_its_time(seconds):
    pool = pool_of(attack=seconds)
    start(pool, 0, 93, 0, 1.0, steady_sound(1, 0.5))
    audio = np.abs(play(pool, RATE)[0])
    at = int(seconds * RATE)
    assert gain_to_db(audio[at + 200 : at + 1000].max() / 0.5) > -0.1
    if seconds:
        assert 0.3 < audio[at // 2 - 200 : at // 2 + 200].max() / 0.5 < 0.95


def test_decay_settles_at_the_sustain_level():
    pool = pool_of(decay=0.2, sustain_level=0.25)
    start(pool, 0, 93, 0, 1.0, steady_sound(1, 0.5))
    audio = np.abs(play(pool, RATE)[0])
    assert abs(gain_to_db(audio[RATE // 2 :].max() / 0.5) - gain_to_db(0.25)) < 0.1


def test_a_note_released_in_its_attack_falls_from_where_it_is():
    pool = pool_of(attack=1.0, release=0.2)
    voice = start(pool, 0, 93, 0, 1.0, steady_sound(1, 0.5))
    before = np.abs(play(pool, RATE // 5)[0])[-500:].max()
    pool.release(voice)
    after = np.abs(play(pool, RATE // 5, first=RATE // 5)[0])
    assert after.max() < before * 1.02
    assert after[:300].max() > 0.8 * before


def test_a_held_note_of_a_sustaining_sound_lasts_and_a_decaying_one_ends():
    times = GRID.frame_seconds
    fading = np.tile(np.exp(-3 * times)[:, None], (1, GRID.n_partials)).astype("f4") * 0.1
    decaying = VoiceSound(fading, np.arange(1.0, 49), np.zeros(64), np.zeros((64, 16), "f4"), tail_rate=3.0)
    held, struck = pool_of(), pool_of(sustain=None)
    start(held, 0, 60, 0, 1.0, steady_sound())
    start(struck, 0, 60, 0, 1.0, decaying)
    late_held, late_struck = (play(p, 12 * RATE)[0][10 * RATE :] for p in (held, struck))
    assert gain_to_db(np.abs(late_held).max() / 0.1) > -1
    assert np.abs(late_struck).max() == 0.0
    assert struck.n_sounding == 0


@pytest.mark.parametrize("last_db", [-45, -70, -90])
@pytest.mark.parametrize("block", [64, 1000, 4099])
def test_a_decaying_voice_is_over_when_what_is_left_cannot_be_heard(last_db, block):
    """Past its frames (2 s) it falls by 13 dB/s, in partials and noise alike, and ends below -100 dBFS."""
    levels = (10.0 ** (np.linspace(-10.0, last_db, GRID.n_frames) / 20.0)).astype(np.float32)[:, None]
    noise, partials = np.repeat(levels, GRID.n_bands, 1), np.repeat(levels, GRID.n_partials, 1)
    pool = pool_of(sustain=None)
    start(pool, 0, 33, 0, 1.0, VoiceSound(partials, np.arange(1.0, 49.0), np.zeros(GRID.n_frames), noise))
    last, now = np.zeros(0), 0
    while pool.n_sounding and now < 9 * RATE:
        heard = pool.render(now, block)[0]
        now += block
        last = np.concatenate([last, heard])[-RATE // 5 :]
    inaudible_at = 2.0 + (last_db + 100.0) / (1.5 * gain_to_db(np.e))  # seconds
    assert 0.0 <= now / RATE - inaudible_at < 0.15
    assert gain_to_db(np.sqrt(np.mean(last**2))) < -80.0  # 64 of them, each below -100 dBFS


def test_a_voice_does_not_depend_on_what_was_played_before_reset():
    def chord(pool):
        pool.reset()
        for note in (50, 57, 62):
            start(pool, 0, note, 0, 1.0, steady_sound(20, 0.02, 1e-3))
        return play(pool, 6000)

    pool = pool_of()
    first = chord(pool)
    for i in range(30):
        start(pool, 6000, 40 + i, i % 16, 1.0, steady_sound(10, 0.02, 1e-2))
    play(pool, 777, first=6000)
    assert np.array_equal(first, chord(pool))


def level_with_touches(pool, voice_sound, every, release_at=None):
    """Level in dB of 20 ms half a second into a note whose voice an event touches every `every` samples."""
    voice, out = start(pool, 0, 69, 0, 1.0, voice_sound), []
    for now in range(0, RATE // 2 + 960, every):
        if release_at is not None and now >= release_at:
            pool.release(voice)
        pool.touch(0)
        out.append(pool.render(now, every)[0].copy())
    piece = np.concatenate(out)[RATE // 2 : RATE // 2 + 960]
    return gain_to_db(np.sqrt(np.mean(piece**2)))


@pytest.mark.parametrize("release_at", [None, 14_400])  # a multiple of both steps
def test_events_do_not_hurry_a_note_or_its_release(release_at):
    fading = np.zeros((GRID.n_frames, GRID.n_partials), np.float32)
    fading[:, 0] = 0.3 * np.exp(-3.0 * GRID.frame_seconds)
    sound = VoiceSound(fading, np.arange(1.0, 49), np.zeros(64), np.zeros((64, 16), "f4"))
    calm, busy = (
        level_with_touches(pool_of(sustain=None, release=1.0), sound, every, release_at) for every in (4800, 12)
    )
    assert abs(busy - calm) < 0.3
