"""Oscillators, envelopes, routes and the voice filter, measured from what sounds."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import Envelope, Filter, Lfo, Modulation, Sound, Tuning, Voices, bare_preset
from neuralsynth.preset_sections import Envelope2, Morph
from neuralsynth.routes import DESTINATIONS, SOURCES, Route
from neuralsynth.units import gain_to_db, note_to_hz, ratio_to_cents
from tests.models import TINY_B, TINY_GRID, TINY_P, TINY_T, tiny_model, tiny_outputs, tiny_spec
from tests.test_engine import CONTROL, NOTE_OFF, NOTE_ON, RATE, at, play
from tests.test_model import set_constant

PRESSURE, BEND = 0xD0, 0xE0
_SILENT_NOISE = np.zeros((1, TINY_T, TINY_B))
_QUIET = {"level_0": 0.002, "level_1": 0.02}
#: Models whose sound is known: one partial; all partials alike; noise alone; the usual tiny one without noise.
MODELS = {
    "sine": {"slope_0": 30.0, "noise_shape": _SILENT_NOISE},
    "flat": {"index": np.zeros((1, TINY_P)), "noise_shape": _SILENT_NOISE} | _QUIET,
    "noise": {"envelope": np.zeros((1, TINY_T, 1)), "noise_shape": np.ones((1, TINY_T, TINY_B))} | _QUIET,
    "rich": {"noise_shape": _SILENT_NOISE, "level_0": 0.01, "level_1": 0.1},
    "whole": {"level_0": 0.01, "level_1": 0.1},
}


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """Make an instrument: `sound(kind of model, *routes, section=…)`."""
    folder, models = tmp_path_factory.mktemp("modulation"), {}

    def made(kind, *routes, **sections):
        path = folder / f"{kind}.onnx"
        if kind not in models:
            path.write_bytes(model_bytes(kind))
            models[kind] = InstrumentModel.load(path)
        preset = bare_preset(path)
        routes = tuple(Route(*route) for route in routes)
        return Instrument(msgspec.structs.replace(preset, routes=routes, **sections), models[kind], path)

    return made


def model_bytes(kind, **spec):
    model = tiny_model(msgspec.structs.replace(tiny_spec(sustaining=True), **spec))
    for name, value in MODELS[kind].items():
        set_constant(model, name, value)
    return model.SerializeToString()


def note(key=69, velocity=100, seconds=0.0, channel=0):
    return at(seconds, NOTE_ON | channel, key, velocity)


def cc(number, value, seconds=0.0):
    return at(seconds, CONTROL, number, value)


def hear(instrument, *events, seconds=1.0, **how):
    """Both sides, `[2, n]`, of some events; middle A if none is a note."""
    if not any(e.message[0] & 0xF0 == NOTE_ON for e in events):
        events = (*events, note())
    return play(instrument, sorted(events, key=lambda e: e.sample), seconds, **how)


def instant_hz(mono):
    """Frequency of a sine at every sample, from the phase of its analytic signal."""
    n = len(mono)
    spectrum = np.fft.fft(mono)
    spectrum[n // 2 :] = 0.0
    phase = np.unwrap(np.angle(np.fft.ifft(spectrum)))
    return np.gradient(phase) * RATE / (2.0 * np.pi)


def cents_at(mono, seconds, hz=440.0, width=768):
    """Pitch of a sine in cents from `hz` around some moments, averaged over 16 ms."""
    smooth = np.convolve(ratio_to_cents(np.maximum(instant_hz(mono), 1.0) / hz), np.ones(width) / width, mode="same")
    return smooth[np.round(np.asarray(seconds) * RATE).astype(int)]


def amplitudes(mono, hz, count=TINY_P):
    """Amplitude of each partial of a steady sound."""
    window = np.blackman(len(mono))
    turns = np.exp(-2j * np.pi * hz / RATE * np.arange(len(mono)))
    weighted, found = mono * window, []
    for _ in range(count):
        weighted = weighted * turns
        found.append(2.0 * abs(weighted.sum()) / window.sum())
    return np.array(found)


def partials_db(instrument, *events, key=45, seconds=0.6, velocity=100, hz=None):
    audio = hear(instrument, note(key, velocity), *events, seconds=seconds)[0][RATE // 5 :]
    return gain_to_db(amplitudes(audio, hz or note_to_hz(key)))


def level_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio)))))


# Oscillators

TIMES = np.arange(0.05, 1.45, 0.01)
SHAPES = {
    "sine": lambda turns: np.sin(2 * np.pi * turns),
    "triangle": lambda turns: 2.0 / np.pi * np.arcsin(np.sin(2 * np.pi * turns)),
    "saw_up": lambda turns: 2.0 * (turns % 1.0) - 1.0,
    "saw_down": lambda turns: 1.0 - 2.0 * (turns % 1.0),
    "square": lambda turns: np.where(turns % 1.0 < 0.5, 1.0, -1.0),
}


def wobble(sound, *events, seconds=1.5, amount=100.0, times=TIMES, **lfo):
    """Pitch over time of a note whose first LFO moves it by 100 cents."""
    instrument = sound("sine", ("lfo_1", "sound.tune_cents", amount), lfo_1=Lfo(**lfo))
    return cents_at(hear(instrument, *events, seconds=seconds)[0], times)


def away_from_jumps(turns, rate_hz, margin=0.02):
    """Moments that no jump of a shape (at whole and half turns) is near."""
    return np.abs(2.0 * turns - np.round(2.0 * turns)) / (2.0 * rate_hz) > margin


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("phase", [0.0, 0.3])
def test_each_shape_moves_the_pitch_as_its_formula_says(sound, shape, phase):
    turns = 2.0 * TIMES + phase
    moved = wobble(sound, shape=shape, rate_hz=2.0, phase=phase)
    steady = away_from_jumps(turns, 2.0)
    assert steady.sum() > 100
    assert np.abs(moved - 100.0 * SHAPES[shape](turns))[steady].max() < 3.0


@pytest.mark.parametrize("rate_hz", [0.5, 7.0])
def test_the_rate_is_in_hertz(sound, rate_hz):
    moved = wobble(sound, shape="sine", rate_hz=rate_hz, amount=50.0)
    assert np.abs(moved - 50.0 * np.sin(2 * np.pi * rate_hz * TIMES)).max() < 3.0


def test_a_fast_oscillator_keeps_its_rate_and_depth(sound):
    moved = wobble(sound, shape="sine", rate_hz=25.0, amount=50.0, times=np.arange(0.2, 1.2, 0.001))
    smoothed = np.sinc(25.0 * 768 / RATE)  # by the measurement
    spectrum = np.abs(np.fft.rfft(moved * np.hanning(len(moved)))) * 4.0 / len(moved)
    peak = int(np.argmax(spectrum[5:])) + 5
    assert peak == 25
    assert abs(spectrum[peak] - 50.0 * smoothed) < 2.0


def test_depth_scales_an_oscillator(sound):
    moved = wobble(sound, rate_hz=2.0, depth=0.3)
    assert np.abs(moved - 30.0 * np.sin(4 * np.pi * TIMES)).max() < 2.0


def test_an_oscillator_rests_for_its_delay_and_fades_in(sound):
    moved = wobble(sound, shape="square", rate_hz=0.1, delay_seconds=0.4, fade_seconds=0.5)
    expected = 100.0 * np.clip((TIMES - 0.4) / 0.5, 0.0, 1.0)
    assert np.abs(moved - expected).max() < 3.0


def test_a_delay_without_a_fade_ends_at_once(sound):
    moved = wobble(sound, shape="square", rate_hz=0.1, delay_seconds=0.4)
    assert np.abs(moved[TIMES < 0.38]).max() < 1.0
    assert np.abs(moved[TIMES > 0.42] - 100.0).max() < 1.0


def test_sample_and_hold_holds_for_a_turn_and_then_draws_anew(sound):
    times = np.arange(0.02, 3.98, 0.01)
    moved = wobble(sound, shape="sample_hold", rate_hz=2.0, seconds=4.0, times=times)
    turns = 2.0 * times
    steady = away_from_jumps(turns, 2.0)
    drawn = [moved[steady & (np.floor(turns) == turn)] for turn in range(8)]
    assert max(np.ptp(values) for values in drawn) < 1.0
    levels = np.array([values.mean() for values in drawn])
    assert len(np.unique(np.round(levels, 1))) == 8
    assert 30.0 < levels.std() < 90.0
    assert np.abs(levels).max() <= 101.0


def test_smooth_random_goes_from_one_drawn_number_to_the_next_without_a_jump(sound):
    times = np.arange(0.5, 3.96, 0.01)
    moved = wobble(sound, shape="smooth_random", rate_hz=2.0, seconds=4.2, times=times)
    assert np.abs(np.diff(moved)).max() < 100.0 * 2.0 * 2.0 * np.pi / 2.0 * 0.01 + 1.0
    for turn in range(1, 7):
        start, middle, end = (moved[np.argmin(np.abs(times - t / 2.0))] for t in (turn, turn + 0.5, turn + 1))
        assert abs(middle - 0.5 * (start + end)) < 3.0
    assert np.ptp(moved) > 30.0


def random_walks(sound, per_voice):
    """What two notes struck one after the other hear of a random LFO, from the same moments on."""
    instrument = sound(
        "sine", ("lfo_1", "sound.tune_cents", 100.0),
        lfo_1=Lfo(shape="smooth_random", rate_hz=2.0, per_voice=per_voice),
    )  # fmt: skip
    times = np.arange(1.0, 1.9, 0.01)
    both = hear(instrument, note(45, seconds=0.1), note(81, seconds=0.3), seconds=2.0)[0]
    return [cents_at(band(both, hz), times, hz) for hz in note_to_hz(np.array([45, 81]))]


def band(mono, hz, width=0.3):
    """Only what lies within a third of an octave around `hz`."""
    spectrum = np.fft.rfft(mono)
    frequencies = np.fft.rfftfreq(len(mono), 1.0 / RATE)
    spectrum[(frequencies < hz * 2.0**-width) | (frequencies > hz * 2.0**width)] = 0.0
    return np.fft.irfft(spectrum, len(mono))


def test_random_oscillators_differ_between_notes_unless_shared(sound):
    shared, own = random_walks(sound, per_voice=False), random_walks(sound, per_voice=True)
    assert np.abs(shared[0] - shared[1]).max() < 3.0
    assert np.abs(own[0] - own[1]).max() > 20.0


@pytest.mark.parametrize("sync", ["off", "1/2"])
@pytest.mark.parametrize("per_voice", [True, False])
def test_notes_struck_apart_share_a_phase_only_when_the_oscillator_is_shared(sound, per_voice, sync):
    instrument = sound(
        "sine", ("lfo_1", "sound.tune_cents", 100.0), lfo_1=Lfo(rate_hz=2.0, per_voice=per_voice, phase=0.1, sync=sync)
    )
    times, rate = np.arange(0.6, 1.8, 0.01), 2.0 if sync == "off" else 1.0
    both = hear(instrument, note(45), note(81, seconds=0.33), seconds=2.2)[0]
    for key, struck in ((45, 0.0), (81, 0.33)):
        expected = 100.0 * np.sin(2 * np.pi * (rate * (times - (struck if per_voice else 0.0)) + 0.1))
        hz = note_to_hz(key)
        assert np.abs(cents_at(band(both, hz), times, hz) - expected).max() < 3.0


def test_a_shared_oscillator_never_stops_between_notes(sound):
    instrument = sound("sine", ("lfo_1", "sound.tune_cents", 100.0), lfo_1=Lfo(rate_hz=1.3, per_voice=False))
    audio = hear(instrument, note(69), at(0.2, NOTE_OFF, 69, 0), note(69, seconds=1.0), seconds=2.0)[0]
    times = np.arange(1.1, 1.9, 0.01)
    assert np.abs(cents_at(audio[RATE * 9 // 10 :], times - 0.9) - 100.0 * np.sin(2 * np.pi * 1.3 * times)).max() < 3.0


def tempo(bpm, seconds=0.0):
    return at(seconds, 0xFF, 0x51, 0x03, *round(60e6 / bpm).to_bytes(3, "big"))


@pytest.mark.parametrize(
    ("sync", "beats"),
    [("4/1", 16.0), ("1/1", 4.0), ("1/2d", 3.0), ("1/4", 1.0), ("1/4t", 2 / 3), ("1/8d", 0.75), ("1/16", 0.25)],
)
def test_a_synchronised_turn_lasts_its_note_value_at_the_tempo_of_the_file(sound, sync, beats):
    rate = 75.0 / 60.0 / beats
    moved = wobble(sound, tempo(75.0), sync=sync, rate_hz=11.0)
    assert np.abs(moved - 100.0 * np.sin(2 * np.pi * rate * TIMES)).max() < 4.0


def tempo_steps(times, changes):
    """Turns of a quarter-note LFO at some times, the tempo changing at (second, bpm)."""
    ends = [second for second, _ in changes[1:]] + [np.inf]
    return sum(np.clip(times - a, 0.0, b - a) * bpm / 60.0 for (a, bpm), b in zip(changes, ends, strict=True))


@pytest.mark.parametrize("per_voice", [True, False])
def test_a_held_note_follows_a_tempo_change_of_the_file(sound, per_voice):
    moved = wobble(sound, tempo(100.0), tempo(170.0, 0.7), sync="1/4", per_voice=per_voice)
    turns = tempo_steps(TIMES, [(0.0, 100.0), (0.7, 170.0)])
    assert np.abs(moved - 100.0 * np.sin(2 * np.pi * turns)).max() < 3.0


def clock_ticks(*changes, until):
    """MIDI clock whose tempo changes at (second, bpm), on the tick."""
    events, beat_seconds = [], 0.0
    for (start, bpm), end in zip(changes, [c[0] for c in changes[1:]] + [until], strict=True):
        beat_seconds = max(beat_seconds, start)
        while beat_seconds < end - 1e-9:
            events.append(at(beat_seconds, 0xF8))
            beat_seconds += 60.0 / bpm / 24.0
    return events


def test_a_synchronised_oscillator_follows_midi_clock_and_its_changes(sound):
    instrument = sound("sine", ("lfo_1", "sound.tune_cents", 100.0), lfo_1=Lfo(sync="1/4", shape="saw_up"))
    ticks = clock_ticks((0.0, 90.0), (4.0, 150.0), until=8.0)
    audio = hear(instrument, note(69, seconds=2.0), *ticks, seconds=8.0)[0]
    for start, bpm in ((2.3, 90.0), (6.0, 150.0)):
        times = np.arange(start, start + 1.6, 0.005)
        moved = cents_at(audio[2 * RATE :], times - 2.0)
        jumps = times[1:][np.diff(moved) < -20.0]
        edges = jumps[np.insert(np.diff(jumps) > 0.1, 0, True)]
        assert len(edges) >= 2
        assert np.abs(np.diff(edges) - 60.0 / bpm).max() < 0.011


def test_a_shared_oscillator_stands_where_the_song_of_the_midi_clock_stands(sound):
    instrument = sound(
        "sine", ("lfo_1", "sound.tune_cents", 100.0), lfo_1=Lfo(sync="1/1", shape="triangle", per_voice=False)
    )
    ticks = [at(0.0, 0xFA), *clock_ticks((0.0, 100.0), until=4.0)]
    audio = hear(instrument, *ticks, note(69, seconds=2.1), seconds=4.0)[0]
    times = np.arange(2.2, 3.9, 0.01)
    expected = 100.0 * SHAPES["triangle"](times * 100.0 / 60.0 / 4.0)
    assert np.abs(cents_at(audio[2 * RATE :], times - 2.0) - expected).max() < 3.0


# The second envelope


def adsr(times, released, attack, decay, sustain, release):
    """The envelope's formula: towards 1.25 and cut at 1, then exponentials that fall by 60 dB of the way."""
    rise, fall = attack / math.log(5.0), math.log(1000.0)
    level = np.where(
        times < attack,
        1.25 * (1.0 - np.exp(-times / rise)),
        sustain + (1.0 - sustain) * np.exp(-(times - attack) * fall / decay),
    )
    at_release = sustain + (1.0 - sustain) * np.exp(-(released - attack) * fall / decay)
    return np.where(times < released, level, at_release * np.exp(-np.maximum(times - released, 0.0) * fall / release))


def test_the_second_envelope_bends_the_pitch_by_its_own_formula(sound):
    second = Envelope2(attack_seconds=0.3, decay_seconds=0.8, sustain_level=0.4, release_seconds=0.6)
    instrument = sound(
        "sine", ("envelope_2", "sound.tune_cents", 100.0), envelope=Envelope(release_seconds=4.0), envelope_2=second
    )
    audio = hear(instrument, note(), at(1.0, NOTE_OFF, 69, 0), seconds=1.5)[0]
    expected = 100.0 * adsr(TIMES, 1.0, 0.3, 0.8, 0.4, 0.6)
    smooth = np.abs(TIMES - 0.3) > 0.02
    assert np.abs(cents_at(audio, TIMES) - expected)[smooth & (np.abs(TIMES - 1.0) > 0.02)].max() < 3.0


def test_the_second_envelope_opens_the_filter_by_octaves(sound):
    instrument = sound(
        "flat", filter=Filter("lowpass", cutoff_hz=300.0, envelope_octaves=2.0), envelope_2=Envelope2(sustain_level=1.0)
    )
    assert (
        np.abs(partials_db(instrument) - partials_db(sound("flat", filter=Filter("lowpass", cutoff_hz=1200.0)))).max()
        < 0.1
    )


# The filter


def response_db(hz, cutoff_hz, kind, poles=2, resonance=0.0):
    """The analogue section in plain complex arithmetic; its second copy has no resonance."""
    s = 1j * np.asarray(hz) / cutoff_hz

    def section(q):
        above = {"lowpass": 1.0, "bandpass": s / q, "highpass": s * s}[kind]
        return above / (s * s + s / q + 1.0)

    plain = math.sqrt(0.5)
    return gain_to_db(section(plain * 2.0 ** (5.0 * resonance)) * (section(plain) if poles == 4 else 1.0))


@pytest.mark.parametrize("resonance", [0.0, 0.6])
@pytest.mark.parametrize("poles", [2, 4])
@pytest.mark.parametrize("kind", ["lowpass", "bandpass", "highpass"])
def test_each_filter_weighs_partials_by_its_formula(sound, kind, poles, resonance):
    settings = Filter(kind, poles=poles, cutoff_hz=500.0, resonance=resonance)
    gained = partials_db(sound("flat", filter=settings)) - partials_db(sound("flat"))
    expected = response_db(110.0 * np.arange(1, TINY_P + 1), 500.0, kind, poles, resonance)
    assert np.abs(gained - expected).max() < 0.3


@pytest.mark.parametrize("poles", [2, 4])
@pytest.mark.parametrize("kind", ["lowpass", "bandpass", "highpass"])
def test_each_filter_weighs_noise_bands_by_its_formula(sound, kind, poles):
    def levels(settings):
        audio = hear(sound("noise", filter=settings), seconds=1.5)[0][RATE // 4 :]
        power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
        hz, edges = np.fft.rfftfreq(len(audio), 1.0 / RATE), TINY_GRID.band_edges_hz
        return np.array(
            [
                10 * np.log10(power[(hz > 1.1 * a) & (hz < b / 1.1)].sum())
                for a, b in zip(edges[:-1], edges[1:], strict=True)
            ]
        )

    gained = levels(Filter(kind, poles=poles, cutoff_hz=1500.0)) - levels(Filter())
    middles = np.sqrt(TINY_GRID.band_edges_hz[:-1] * TINY_GRID.band_edges_hz[1:])
    expected = response_db(middles, 1500.0, kind, poles)
    heard = expected > -60.0
    assert heard.sum() >= 5
    assert np.abs(gained - expected)[heard].max() < 0.3


@pytest.mark.parametrize(("resonance", "peak_db"), [(0.0, -3.01), (0.5, 12.04), (1.0, 27.09)])
def test_resonance_lifts_the_partial_at_the_cutoff(sound, resonance, peak_db):
    settings = Filter("lowpass", cutoff_hz=440.0, resonance=resonance)
    gained = partials_db(sound("flat", filter=settings)) - partials_db(sound("flat"))
    assert abs(gained[3] - peak_db) < 0.1


@pytest.mark.parametrize("tracking", [0.0, 0.5, 1.0])
def test_key_tracking_takes_the_cutoff_along_from_middle_c(sound, tracking):
    settings = Filter("lowpass", poles=4, cutoff_hz=800.0, key_tracking=tracking)
    for key in (36, 60, 72):
        gained = partials_db(sound("flat", filter=settings), key=key) - partials_db(sound("flat"), key=key)
        cutoff = 800.0 * 2.0 ** (tracking * (key - 60) / 12.0)
        expected = response_db(note_to_hz(key) * np.arange(1, TINY_P + 1), cutoff, "lowpass", 4)
        assert np.abs(gained - expected)[expected > -60.0].max() < 0.3


@pytest.mark.parametrize("velocity", [127, 64])
def test_velocity_opens_the_filter_by_octaves(sound, velocity):
    settings = Filter("lowpass", poles=4, cutoff_hz=200.0, velocity_octaves=3.0)
    gained = partials_db(sound("flat", filter=settings), velocity=velocity) - partials_db(
        sound("flat"), velocity=velocity
    )
    expected = response_db(110.0 * np.arange(1, TINY_P + 1), 200.0 * 2.0 ** (3.0 * velocity / 127.0), "lowpass", 4)
    assert np.abs(gained - expected).max() < 0.3


def test_a_filter_takes_nothing_from_what_it_lets_through(sound):
    gained = partials_db(sound("flat", filter=Filter("lowpass", cutoff_hz=20_000.0))) - partials_db(sound("flat"))
    assert np.abs(gained).max() < 0.1


# Routes

#: Brings a source to a number that stays: what it is then, sections, messages.
_STILL = Lfo(shape="square", rate_hz=0.01)
AT_WORK = {
    "lfo_1": (1.0, {"lfo_1": _STILL}, []),
    "lfo_2": (1.0, {"lfo_2": _STILL}, []),
    "envelope": (1.0, {}, []),
    "envelope_2": (1.0, {"envelope_2": Envelope2(sustain_level=1.0)}, []),
    "velocity": (100 / 127, {}, []),
    "key": (-15 / 12, {}, []),
    "pressure": (64 / 127, {}, [at(0.0, PRESSURE, 64)]),
    "bend": (1.0, {"modulation": Modulation(bend_range_semitones=0.0)}, [at(0.0, BEND, 127, 127)]),
    "timbre": (1.0, {}, [cc(74, 127)]),
    "wheel": (100 / 127, {"modulation": Modulation(vibrato_depth_cents=0.0)}, [cc(1, 100)]),
    "breath": (64 / 127, {}, [cc(2, 64)]),
    "foot": (1.0, {}, [cc(4, 127)]),
    "expression": (1.0, {}, []),
    "morph": (0.5, {"morph": Morph(point="tiny", position=0.5)}, []),
    "one": (1.0, {}, []),
    "cc20": (64 / 127, {}, [cc(20, 64)]),
    "cc119": (1.0, {}, [cc(119, 127)]),
}


def test_the_table_of_sources_is_complete():
    assert set(SOURCES) == set(AT_WORK) - {"cc20", "cc119"} | {"release_velocity", "random"}


@pytest.mark.parametrize("source", AT_WORK)
def test_each_source_moves_the_pitch_by_its_amount(sound, source):
    value, sections, events = AT_WORK[source]
    moved = sound("sine", (source, "sound.tune_cents", 120.0), **sections)
    found = cents_at(hear(moved, note(45), *events, seconds=0.8)[0], [0.3, 0.4, 0.5], 110.0)
    assert np.abs(found - 120.0 * value).max() < 1.5


@pytest.mark.parametrize("source", ["velocity", "wheel", "key", "lfo_2"])
def test_via_scales_a_route(sound, source):
    value, sections, events = AT_WORK[source]
    moved = sound("sine", ("cc21", "sound.tune_cents", 400.0, source), **sections)
    found = cents_at(hear(moved, note(45), cc(21, 80), *events, seconds=0.8)[0], [0.3, 0.4, 0.5], 110.0)
    assert np.abs(found - 400.0 * value * 80 / 127).max() < 1.5


def test_release_velocity_is_heard_after_the_release(sound):
    instrument = sound("sine", ("release_velocity", "sound.tune_cents", 100.0), envelope=Envelope(release_seconds=4.0))
    audio = hear(instrument, note(), at(0.4, NOTE_OFF, 69, 64), seconds=1.0)[0]
    found = cents_at(audio, [0.2, 0.3, 0.6, 0.8])
    assert np.abs(found - 100.0 * np.array([0.0, 0.0, 64 / 127, 64 / 127])).max() < 1.5


def random_draws(sound, count, key=69):
    instrument = sound("sine", ("random", "sound.tune_cents", 100.0))
    events = [e for i in range(count) for e in (note(key, seconds=0.2 * i), at(0.2 * i + 0.1, NOTE_OFF, key, 0))]
    audio = hear(instrument, *events, seconds=0.2 * count + 0.1)[0]
    return cents_at(audio, 0.2 * np.arange(count) + 0.05)


def test_random_is_drawn_for_each_note_and_the_same_in_every_render(sound):
    drawn = random_draws(sound, 40)
    assert np.array_equal(drawn, random_draws(sound, 40))
    assert np.abs(drawn).max() < 103.0
    assert abs(drawn.mean()) < 35.0
    assert 40.0 < drawn.std() < 75.0
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.4


#: What each destination does: the knob moved, and the same knob set there. Sections of both, amount, sections then.
_SWEEP = ("lfo_1", "sound.tune_cents", 300.0)
_SWEEP_2 = ("lfo_2", "sound.tune_cents", 300.0)
_BEND_2 = ("envelope_2", "sound.tune_cents", 300.0)
_SHAPE = {"attack_seconds": 0.1, "decay_seconds": 0.3, "sustain_level": 0.4, "release_seconds": 0.2}


def _set(struct, values, **changes):
    return struct(**(values | changes))


def _envelopes(name, amount, value, section="envelope"):
    struct, routes = (Envelope, []) if section == "envelope" else (Envelope2, [_BEND_2])
    sections = {section: _set(struct, _SHAPE)}
    if section == "envelope_2":
        sections["envelope"] = Envelope(release_seconds=3.0)
    return "sine", routes, sections, amount, {section: _set(struct, _SHAPE, **{name: value})}


#: destination -> model, other routes, sections, amount, the sections that sound the same
MOVES = {
    "sound.tune_cents": ("rich", [], {}, 70.0, {"sound": Sound(tune_cents=70.0)}),
    "sound.gain_db": ("rich", [], {}, -9.0, {"sound": Sound(gain_db=-9.0)}),
    "sound.pan": ("rich", [], {"sound": Sound(pan=-0.2)}, 0.6, {"sound": Sound(pan=0.4)}),
    "sound.noise_db": ("noise", [], {}, -12.0, {"sound": Sound(noise_db=-12.0)}),
    "sound.dynamics": ("rich", [], {}, -0.4, {"sound": Sound(dynamics=-0.4)}),
    "filter.cutoff_hz": ("rich", [], {"filter": Filter("lowpass", cutoff_hz=300.0)}, 2.0, {"filter": Filter("lowpass", cutoff_hz=1200.0)}),
    "filter.resonance": ("rich", [], {"filter": Filter("lowpass", cutoff_hz=660.0)}, 0.7, {"filter": Filter("lowpass", cutoff_hz=660.0, resonance=0.7)}),
    "envelope.attack_seconds": _envelopes("attack_seconds", 1.0, 0.2),
    "envelope.decay_seconds": _envelopes("decay_seconds", -2.0, 0.075),
    "envelope.sustain_level": _envelopes("sustain_level", 0.5, 0.9),
    "envelope.release_seconds": _envelopes("release_seconds", 1.0, 0.4),
    "envelope_2.attack_seconds": _envelopes("attack_seconds", 1.0, 0.2, "envelope_2"),
    "envelope_2.decay_seconds": _envelopes("decay_seconds", -2.0, 0.075, "envelope_2"),
    "envelope_2.sustain_level": _envelopes("sustain_level", 0.5, 0.9, "envelope_2"),
    "envelope_2.release_seconds": _envelopes("release_seconds", 1.0, 0.4, "envelope_2"),
    "lfo_1.rate_hz": ("sine", [_SWEEP], {"lfo_1": Lfo(rate_hz=2.0)}, 1.0, {"lfo_1": Lfo(rate_hz=4.0)}),
    "lfo_1.depth": ("sine", [_SWEEP], {"lfo_1": Lfo(rate_hz=4.0, depth=0.2)}, 0.5, {"lfo_1": Lfo(rate_hz=4.0, depth=0.7)}),
    "lfo_2.rate_hz": ("sine", [_SWEEP_2], {"lfo_2": Lfo(rate_hz=2.0)}, 1.0, {"lfo_2": Lfo(rate_hz=4.0)}),
    "lfo_2.depth": ("sine", [_SWEEP_2], {"lfo_2": Lfo(rate_hz=4.0, depth=0.2)}, 0.5, {"lfo_2": Lfo(rate_hz=4.0, depth=0.7)}),
    "modulation.vibrato_rate_hz": ("sine", [], {"modulation": Modulation(2.0, 3.0, 100.0)}, 1.0, {"modulation": Modulation(2.0, 6.0, 100.0)}),
    "modulation.vibrato_depth_cents": ("sine", [], {"modulation": Modulation(2.0, 4.0, 50.0)}, 100.0, {"modulation": Modulation(2.0, 4.0, 150.0)}),
    "morph.position": ("rich", [], {"morph": Morph(point="bright")}, 0.7, {"morph": Morph(point="bright", position=0.7)}),
    "axes.brightness": ("rich", [], {}, -1.0, {"sound": Sound(axes={"brightness": -1.0})}),
    "latent.1": ("rich", [], {}, 2.0, {"sound": Sound(point="bright")}),
}  # fmt: skip


def test_the_table_of_destinations_is_complete():
    assert set(MOVES) == set(DESTINATIONS) | {"axes.brightness", "latent.1"}


def contour(instrument, *events):
    """Magnitudes over time of both sides of a note with the wheel up, and of its release."""
    audio = hear(instrument, note(), *events, at(0.7, NOTE_OFF, 69, 0), cc(1, 127), seconds=1.1)
    return magnitudes(audio, 2048)


def magnitudes(audio, size):
    """Short-time spectra, `[2, frames, bins]`."""
    window = np.hanning(size)
    frames = np.lib.stride_tricks.sliding_window_view(audio, size, axis=1)[:, :: size // 2] * window
    return np.abs(np.fft.rfft(frames)) / window.sum()


def difference(one, other):
    """The largest difference of two contours, as a share of the louder one's peak."""
    return np.abs(one - other).max() / max(one.max(), other.max())


@pytest.mark.parametrize("target", MOVES)
def test_each_destination_is_moved_in_its_own_unit(sound, target):
    kind, routes, sections, amount, there = MOVES[target]
    still = contour(sound(kind, *routes, **sections))
    moved = contour(sound(kind, *routes, ("one", target, amount), **sections))
    expected = contour(sound(kind, *routes, **(sections | there)))
    assert difference(still, expected) > 0.05
    assert difference(moved, expected) < 0.01


#: One destination of each kind.
ONE_OF_EACH = (
    "sound.gain_db", "sound.pan", "sound.noise_db", "sound.dynamics", "filter.cutoff_hz", "filter.resonance",
    "envelope.attack_seconds", "envelope.sustain_level", "envelope_2.decay_seconds", "lfo_1.rate_hz", "lfo_2.depth",
    "modulation.vibrato_rate_hz", "modulation.vibrato_depth_cents", "morph.position", "axes.brightness", "latent.1",
)  # fmt: skip
#: Where a source's way of being at work hides what the destination does.
_HIDDEN = {"wheel": ("modulation.",), "timbre": ("axes.", "latent."), "morph": ("axes.", "latent.")}


def can_be_heard(source, extra, target, routes, sections):
    """Whether a source can be told from others at a destination: it does not move itself, nothing is used twice."""
    hidden = _HIDDEN.get(source, ()) + ((f"{source}.",) if source.startswith(("lfo", "envelope", "morph")) else ())
    falls = source.startswith("envelope") and target.endswith("release_seconds")
    return not (target.startswith(hidden) or set(extra) & {*sections, *(r[0] for r in routes)} or falls)


@pytest.mark.parametrize(
    "source", [s for s in AT_WORK if s not in ("one", "wheel", "breath", "foot", "expression", "cc119")]
)
def test_every_kind_of_source_reaches_every_destination(sound, source):
    value, extra, events = AT_WORK[source]
    n_heard = 0
    for target in ONE_OF_EACH:
        kind, routes, sections, amount, there = MOVES[target]
        if can_be_heard(source, extra, target, routes, sections):
            moved = sound(kind, *routes, (source, target, amount / value), **(sections | extra))
            expected = sound(kind, *routes, **(extra | sections | there))
            seconds = 0.5 if source.startswith("envelope") else 0.7
            assert difference(*(contour_of_a(s, source, events, seconds) for s in (moved, expected))) < 0.03, target
            n_heard += 1
    assert n_heard >= 9


def contour_of_a(instrument, source, events, seconds):
    """As `contour`, in the key and at the touch that the table of sources holds for."""
    wheel = [] if source == "wheel" else [cc(1, 127)]
    return magnitudes(hear(instrument, note(45), *events, *wheel, at(0.5, NOTE_OFF, 45, 0), seconds=seconds), 4096)


def test_an_oscillator_moves_the_other_and_the_second_envelope(sound):
    still = Lfo(shape="square", rate_hz=0.01)
    swept = sound("sine", _SWEEP, ("lfo_2", "lfo_1.rate_hz", 1.0), lfo_1=Lfo(rate_hz=2.0), lfo_2=still)
    assert difference(contour(swept), contour(sound("sine", _SWEEP, lfo_1=Lfo(rate_hz=4.0)))) < 0.01
    bent = sound("sine", _BEND_2, ("lfo_1", "envelope_2.decay_seconds", 2.0), lfo_1=still)
    slower = sound("sine", _BEND_2, envelope_2=Envelope2(decay_seconds=1.2))
    assert difference(contour(bent), contour(slower)) < 0.01


def test_no_route_takes_an_oscillator_beyond_its_fastest_rate(sound):
    fast = sound("sine", _SWEEP, ("one", "lfo_1.rate_hz", 9.0), lfo_1=Lfo(rate_hz=10.0))
    assert difference(contour(fast), contour(sound("sine", _SWEEP, lfo_1=Lfo(rate_hz=40.0)))) < 0.01


# What single destinations promise the ear


@pytest.mark.parametrize("amount", [-1.0, -0.4, 0.3, 1.0])
def test_a_route_to_pan_keeps_the_power(sound, amount):
    middle = hear(sound("sine"), seconds=0.5)
    panned = hear(sound("sine", ("one", "sound.pan", amount)), seconds=0.5)[:, RATE // 10 :]
    left, right = (10.0 ** (level_db(side) / 20.0) for side in panned)
    assert abs(level_db(panned) - level_db(middle[:, RATE // 10 :])) < 0.02
    assert abs(math.degrees(math.atan2(right, left)) - 45.0 * (amount + 1.0)) < 0.5


@pytest.mark.parametrize("amount", [-24.0, 6.0])
def test_a_route_to_noise_moves_noise_alone(sound, amount):
    gains = []
    for kind in ("noise", "rich"):
        still, moved = (hear(sound(kind, *r), seconds=0.5)[0] for r in ([], [("one", "sound.noise_db", amount)]))
        gains.append(level_db(moved[4800:]) - level_db(still[4800:]))
    assert abs(gains[0] - amount) < 0.1
    assert abs(gains[1]) < 0.01


@pytest.mark.parametrize(("dynamics", "velocity"), [(0.5, 75), (1.0, 120), (0.2, 48)])
def test_dynamics_plays_the_layers_of_a_firmer_touch(sound, dynamics, velocity):
    moved = partials_db(sound("rich", ("one", "sound.dynamics", dynamics)), velocity=30)
    struck = partials_db(sound("rich"), velocity=velocity)
    heard = struck > struck.max() - 60.0
    assert heard.sum() >= 6
    assert np.abs(moved - struck)[heard].max() < 0.1


def latent_db(position, velocity=100):
    """Level of the partials of the tiny model at a place of its first latent number, by its formula, at a layer."""
    inputs = {"latent": [[position, 0.0]], "note": [45.0], "velocity": [velocity / 127.0]}
    found = tiny_outputs(**{k: np.array(v, np.float32) for k, v in inputs.items()}, sustaining=True)
    return gain_to_db(found["partials"][0, -1])


def test_an_axis_swept_by_an_oscillator_passes_through_the_sounds_of_its_ends(sound):
    sweep = sound("rich", ("lfo_1", "axes.brightness", 1.0), lfo_1=Lfo(shape="triangle", rate_hz=0.25, phase=0.25))
    audio = hear(sweep, note(45, 102), seconds=4.2)[0]  # 102 is a velocity layer, so that no layers are mixed
    static = {
        p: hear(sound("rich", sound=Sound(axes={"brightness": p})), note(45, 102))[0][RATE // 2 :] for p in (-1.0, 1.0)
    }
    ends = {place: gain_to_db(amplitudes(x, 110.0)) for place, x in static.items()}
    middle = gain_to_db(amplitudes(hear(sound("rich"), note(45, 102))[0][RATE // 2 :], 110.0))
    for seconds, expected in (
        (0.5, 0.5 * (middle + ends[1.0])), (1.0, middle), (1.5, 0.5 * (middle + ends[-1.0])), (2.0, ends[-1.0]), (4.0, ends[1.0]),
    ):  # fmt: skip
        centre = round(seconds * RATE)
        found = gain_to_db(amplitudes(audio[centre - 2400 : centre + 2400], 110.0))
        heard = expected > expected.max() - 50.0
        assert np.abs(found - expected)[heard].max() < 0.5
    shape = ends[1.0] - ends[-1.0]
    by_formula = latent_db(2.0, 102) - latent_db(-2.0, 102)
    assert np.abs((shape - by_formula)[:6]).max() < 0.1


def test_an_axis_moved_to_its_end_is_the_sound_decoded_there(sound):
    for place in (-1.0, 1.0):
        moved = partials_db(sound("rich", ("one", "axes.brightness", place)), velocity=102)
        decoded = partials_db(sound("rich", sound=Sound(axes={"brightness": place})), velocity=102)
        heard = decoded > decoded.max() - 60.0
        assert np.abs(moved - decoded)[heard].max() < 0.1


@pytest.mark.parametrize("own", [0.5, -1.0])
@pytest.mark.parametrize("place", [-1.0, 1.0])
def test_an_axis_is_moved_from_where_the_preset_has_it_and_no_further_than_its_end(sound, own, place):
    preset_sound = Sound(axes={"brightness": own})
    decoded = partials_db(sound("rich", sound=Sound(axes={"brightness": place})), velocity=102)
    heard = decoded > decoded.max() - 60.0
    for amount in (place - own, 2.0 * place):
        moved = partials_db(sound("rich", ("one", "axes.brightness", amount), sound=preset_sound), velocity=102)
        assert np.abs(moved - decoded)[heard].max() < 0.1


def test_as_many_sources_as_routes_can_name_are_followed(sound):
    numbers = [n for n in range(8, 120) if n not in (10, 11, 38, *range(64, 80), 91, 93, *range(96, 102))][:64]
    routes = [(f"cc{a}", "sound.tune_cents", 10.0, f"cc{b}") for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    audio = hear(sound("sine", *routes), *(cc(n, 127) for n in numbers if n != 8), note(69), seconds=0.6)[0]
    assert np.abs(cents_at(audio, [0.2, 0.3, 0.4]) - 310.0 - 10.0 * 64 / 127).max() < 1.0


# How a preset's own numbers sound


@pytest.mark.parametrize("curve", [-1.0, 0.5, 1.0])
def test_a_velocity_curve_makes_a_touch_count_as_another(sound, curve):
    for velocity in (40, 64, 100):
        bent = hear(sound("rich", sound=Sound(velocity_curve=curve)), note(69, velocity), seconds=0.3)[0]
        counts_as = 127.0 * (velocity / 127.0) ** (2.0**-curve)
        below, above = (
            level_db(hear(sound("rich"), note(69, v), seconds=0.3)[0]) for v in (int(counts_as), int(counts_as) + 1)
        )
        assert below - 0.05 <= level_db(bent) <= above + 0.05


@pytest.mark.parametrize("unison", [1, 2, 3, 8])
def test_a_unison_is_spread_evenly_over_its_detuning(sound, unison):
    voices = Voices(unison=unison, detune_cents=60.0, spread=0.0)
    audio = hear(sound("sine", voices=voices), note(93), seconds=3.0)[0][RATE // 4 :]
    spectrum = np.abs(np.fft.rfft(audio * np.blackman(len(audio)), 1 << 20))
    cents = ratio_to_cents(np.fft.rfftfreq(1 << 20, 1 / RATE)[1:] / note_to_hz(93))
    found = spectrum[1:]
    peaks = [i for i in np.flatnonzero(found > 0.3 * found.max()) if found[i] == found[max(i - 60, 0) : i + 61].max()]
    expected = np.linspace(-30.0, 30.0, unison) if unison > 1 else [0.0]
    assert len(peaks) == unison
    assert np.abs(cents[peaks] - expected).max() < 0.3


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_a_unison_reaches_to_the_sides_by_its_spread(sound, spread):
    audio = hear(sound("sine", voices=Voices(unison=2, detune_cents=100.0, spread=spread)), note(93), seconds=2.0)
    spectrum = np.abs(np.fft.rfft(audio[:, RATE // 4 :] * np.blackman(audio.shape[1] - RATE // 4), 1 << 19))
    hz = np.fft.rfftfreq(1 << 19, 1 / RATE)
    for side, (low, high) in ((-1, (1700, 1755)), (1, (1765, 1830))):
        left, right = spectrum[:, (hz > low) & (hz < high)].max(axis=1)
        assert abs(math.degrees(math.atan2(right, left)) - 45.0 * (1.0 + side * spread)) < 1.0


@pytest.mark.parametrize("unison", [2, 5, 8])
def test_a_unison_is_as_loud_as_one_voice(sound, unison):
    one = hear(sound("rich"), seconds=4.0)[:, RATE:]
    many = hear(sound("rich", voices=Voices(unison=unison, detune_cents=30.0)), seconds=4.0)[:, RATE:]
    assert abs(level_db(many) - level_db(one)) < 1.0


@pytest.mark.parametrize("key", [33, 69, 90])
def test_concert_pitch_moves_every_key(sound, key):
    audio = hear(sound("sine", tuning=Tuning(a4_hz=443.0)), note(key), seconds=1.0)[0]
    found = cents_at(audio, [0.4, 0.5, 0.6], note_to_hz(key), width=4800)
    assert np.abs(found - ratio_to_cents(443.0 / 440.0)).max() < 0.4


def test_stretch_widens_the_outer_octaves_and_leaves_a4(sound):
    def off(key, stretch):
        audio = hear(sound("sine", tuning=Tuning(stretch=stretch)), note(key), seconds=1.0)[0]
        return cents_at(audio, [0.5], note_to_hz(key), width=4800)[0]

    assert abs(off(69, 1.0)) < 0.2
    assert -36.0 < off(21, 1.0) < -24.0
    assert 24.0 < off(108, 1.0) < 36.0
    assert abs(off(108, 0.5) - 0.5 * off(108, 1.0)) < 0.5


def test_a_scale_sounds_at_its_ratios(sound, tmp_path):
    steps = [81 / 80, 9 / 8, 6 / 5, 5 / 4, 4 / 3, 45 / 32, 3 / 2, 8 / 5, 5 / 3, 16 / 9, 15 / 8, 2.0]
    (tmp_path / "just.scl").write_text("just\n12\n" + "\n".join(f"{ratio_to_cents(s):.6f}" for s in steps))
    plain = sound("sine")
    (tmp_path / "sine.onnx").write_bytes(plain.path.read_bytes())
    preset = msgspec.structs.replace(plain.preset, folder=tmp_path, tuning=Tuning(scale="just.scl"))
    tuned = Instrument(preset, plain.model, tmp_path / "sine.onnx")
    hz = {}
    for key in (60, 64, 67, 72):
        audio = hear(tuned, note(key), seconds=1.0)[0]
        hz[key] = float(note_to_hz(key) * 2.0 ** (cents_at(audio, [0.5], note_to_hz(key), width=4800)[0] / 1200.0))
    for key, ratio in ((64, 5 / 4), (67, 3 / 2), (72, 2.0)):
        assert abs(ratio_to_cents(hz[key] / hz[60] / ratio)) < 0.3


# Cutting time


BUSY = (
    [("lfo_1", "sound.tune_cents", 40.0), ("lfo_2", "filter.cutoff_hz", 1.0, "wheel"), ("envelope_2", "axes.brightness", 0.8),
     ("random", "sound.pan", 0.7), ("lfo_1", "lfo_2.rate_hz", 1.0), ("lfo_2", "lfo_1.rate_hz", 0.5), ("pressure", "morph.position", 1.0),
     ("key", "envelope.attack_seconds", 1.0), ("morph", "sound.gain_db", -6.0), ("velocity", "sound.dynamics", -0.3),
     ("bend", "sound.noise_db", 12.0), ("lfo_1", "envelope_2.decay_seconds", 1.0)],
    {"lfo_1": Lfo(shape="sample_hold", rate_hz=11.0, delay_seconds=0.05, fade_seconds=0.2),
     "lfo_2": Lfo(shape="triangle", sync="1/16", per_voice=False, phase=0.2),
     "filter": Filter("lowpass", 4, 900.0, 0.5, 0.4, 1.0, 1.5), "envelope": Envelope(0.01, 0.2, 0.6, 0.15),
     "envelope_2": Envelope2(0.05, 0.2, 0.3, 0.2), "morph": Morph(point="bright"),
     "voices": Voices(unison=2, detune_cents=20.0), "tuning": Tuning(stretch=0.7)},
)  # fmt: skip
BUSY_PHRASE = [
    note(45, 100), note(57, 60, 0.0113), tempo(133.0, 0.02), cc(1, 90, 0.03), at(0.04, BEND, 0, 90), at(0.05, PRESSURE, 80),
    cc(74, 100, 0.06), cc(71, 90, 0.061), note(64, 120, 0.07), at(0.09, NOTE_OFF, 45, 70), cc(73, 80, 0.1), cc(76, 90, 0.11),
    tempo(90.0, 0.15), cc(70, 100, 0.16), cc(99, 1, 0.2), cc(98, 5, 0.2), cc(6, 70, 0.2), cc(38, 30, 0.21), cc(1, 20, 0.25),
    at(0.3, NOTE_OFF, 64, 10), note(71, 90, 0.31), at(0.4, PRESSURE, 0), at(0.5, NOTE_OFF, 57, 0), at(0.55, NOTE_OFF, 71, 0),
]  # fmt: skip


@pytest.mark.parametrize("block", [1, 64, 65, 512, 8193])
def test_block_size_does_not_change_a_sample_with_everything_in_use(sound, block):
    routes, sections = BUSY
    busy = sound("whole", *routes, **sections)
    seconds = 0.13 if block == 1 else 0.7
    whole = hear(busy, *BUSY_PHRASE, seconds=0.7, block=48_000)
    cut = hear(busy, *BUSY_PHRASE, seconds=seconds, block=block)
    assert np.abs(whole).max() > 0.01
    assert np.array_equal(cut, whole[:, : cut.shape[1]])
