"""The effect chain: every effect at every end of its knobs, any cut into blocks, and what it refuses."""

from __future__ import annotations

import gc
import math
import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from neuralsynth.effect_table import EFFECTS, MAX_EFFECTS, Choice, EffectSettings, Text, checked_effect
from neuralsynth.effects import EffectChain
from neuralsynth.errors import EnvironmentProblem, PresetError
from neuralsynth.knobs import Knob
from neuralsynth.units import gain_to_db
from tests.signals import programme

SAMPLE_RATE = 48_000
SAMPLE_RATES = (22_050, 44_100, 48_000, 96_000)
BUILT_IN = [name for name in EFFECTS if name not in ("vst3", "convolution")]
EXACT = [name for name in BUILT_IN if EFFECTS[name].cut in ("exact", "grid")]

#: Values at which each effect does something: many defaults are neutral.
LIVELY = {
    "bitcrush": {"bit_depth": 5},
    "brickwall_limiter": {"ceiling_db": -20},
    "chorus": {"feedback": 0.5, "rate_hz": 3},
    "clipping": {"threshold_db": -20},
    "compressor": {"threshold_db": -30, "ratio": 6},
    "delay": {"delay_seconds": 0.03, "feedback": 0.6},
    "gain": {"gain_db": 3},
    "high_shelf": {"cutoff_frequency_hz": 2000, "gain_db": 9},
    "ladder": {"mode": "bpf24", "cutoff_hz": 900, "resonance": 0.7, "drive": 4},
    "limiter": {"threshold_db": -30},
    "low_shelf": {"cutoff_frequency_hz": 300, "gain_db": -9},
    "noise_gate": {"threshold_db": -25},
    "peak": {"cutoff_frequency_hz": 700, "gain_db": 12, "q": 4},
    "phaser": {"feedback": 0.5, "rate_hz": 3},
    "pitch_shift": {"semitones": 7},
}


def chain(*types, sample_rate=SAMPLE_RATE, max_block_size=512, folder=None, **values):
    """A chain of lively effects, or of one effect with the given values."""
    settings = [EffectSettings(t, values or LIVELY.get(t, {})) for t in types]
    return EffectChain(settings, sample_rate, max_block_size, folder)


def run(effects, audio, blocks=(512,)):
    """Reset the chain and give it `audio` in blocks of these sizes, over and over."""
    effects.reset()
    parts, i, turn = [], 0, 0
    while i < audio.shape[1]:
        block = audio[:, i : i + blocks[turn % len(blocks)]]
        parts.append(effects.process(block))
        assert parts[-1].shape == block.shape and parts[-1].dtype == np.float32
        i, turn = i + block.shape[1], turn + 1
    return np.concatenate(parts, axis=1)


def rms_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))))


def ends_of_every_setting(name):
    """Default values, then each setting alone at each of its ends."""
    yield {}
    for setting in EFFECTS[name].settings:
        if isinstance(setting, Knob):
            yield {setting.name: setting.low}
            yield {setting.name: setting.high}
        elif isinstance(setting, Choice):
            yield from ({setting.name: option} for option in setting.options)


# ---- any cut, the same samples

CUTS = {
    "64": (64,),
    "65": (65,),
    "8193": (8193,),
    "1 and 2": (1, 2),
    "random": tuple(np.random.default_rng(5).integers(1, 3000, 40)),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_cut_into_blocks_does_not_change_a_sample(name):
    effects = chain(name)
    audio = programme(12_000)
    expected = run(effects, audio)
    assert np.any(expected)
    for label, blocks in CUTS.items():
        assert np.array_equal(run(effects, audio, blocks), expected), f"blocks of {label}"
    assert np.array_equal(run(effects, audio[:, :3000], (1,)), expected[:, :3000]), "blocks of 1"


def test_a_chain_of_all_exact_effects_does_not_depend_on_the_cut_nor_on_the_largest_block():
    names = [name for name in EXACT if name != "noise_gate"]
    audio = programme(24_000)
    expected = run(chain(*names), audio)
    assert rms_db(expected) > -80.0
    for max_block_size, blocks in ((1, (1, 700)), (64, (64,)), (8193, (8193,))):
        assert np.array_equal(run(chain(*names, max_block_size=max_block_size), audio, blocks), expected)


def test_every_effect_is_exact_or_named_as_not():
    assert [name for name, effect in EFFECTS.items() if effect.cut not in ("exact", "grid")] == ["convolution"]


def impulse_response(path, seconds=0.3, sample_rate=SAMPLE_RATE, channels=2):
    n = int(seconds * sample_rate)
    decay = np.exp(-np.arange(n) / (0.05 * sample_rate))[:, None]
    soundfile.write(path, 0.05 * decay * np.random.default_rng(1).standard_normal((n, channels)), sample_rate)


def test_convolution_differs_between_cuts_by_no_more_than_it_says(tmp_path):
    impulse_response(tmp_path / "room.wav")
    effects = chain("convolution", folder=tmp_path, file="room.wav")
    audio = programme(12_000)
    expected = run(effects, audio)
    for blocks in ((64,), (8193,), CUTS["random"]):
        assert np.max(np.abs(run(effects, audio, blocks) - expected)) < 1e-6


@pytest.mark.parametrize("target, quality, seconds", [(7993.7, "linear", 20), (1000.0, "windowed_sinc_256", 3)])
def test_resampling_never_runs_out_of_samples(target, quality, seconds):
    effects = chain("resample", target_sample_rate=target, quality=quality, sample_rate=44_100)
    steady = np.full((2, seconds * 44_100), 0.5, np.float32)
    out = run(effects, steady, (1000, 24))
    settled = effects.latency_samples + math.ceil(0.3 * 44_100)
    assert np.min(out[:, settled:]) > 0.49


# ---- bounded sound


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_end_of_every_knob_gives_finite_bounded_sound_at_every_rate(name):
    rates = [rate for rate in SAMPLE_RATES if name != "mp3" or rate <= 48_000]
    for sample_rate in rates:
        audio = programme(6000, sample_rate)
        for values in ends_of_every_setting(name):
            if "quality" in values and sample_rate != 48_000:
                continue  # eleven resamplers, one after the other: slow to prepare
            settings = checked_effect(name, values, "test")
            out = run(EffectChain([settings], sample_rate), audio, (1024,))
            assert np.all(np.isfinite(out)), (sample_rate, values)
            assert np.max(np.abs(out)) < 500.0, (sample_rate, values)  # +54 dB: +36 dB gain on peaks of +4 dB


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_sound_is_over_when_the_tail_is(name):
    for values in ends_of_every_setting(name):
        effects = EffectChain([checked_effect(name, values, "test")], SAMPLE_RATE)
        n_tail = math.ceil(effects.tail_seconds * SAMPLE_RATE)
        if n_tail > 40 * SAMPLE_RATE:
            continue  # echoes of 5 s: the same formula is checked at shorter delays
        audio = np.concatenate([programme(9000)[:, :3000], np.zeros((2, n_tail + 2400), np.float32)], axis=1)
        after = run(effects, audio, (8192,))[:, 3000 + n_tail :]
        assert gain_to_db(np.max(np.abs(after))) <= -90.0, values


def test_the_tail_of_long_echoes_is_their_sum():
    effects = chain("delay", delay_seconds=0.2, feedback=0.8)
    n_echoes = 110.0 / (-20.0 * math.log10(0.8))
    assert effects.tail_seconds == pytest.approx(0.2 * (1.0 + n_echoes) + 0.01)


@pytest.mark.parametrize("name", ["brickwall_limiter", "mp3", "resample", "pitch_shift", "gsm"])
def test_latency_is_what_the_chain_says(name):
    values = {"semitones": 0.0} if name == "pitch_shift" else {}
    effects = chain(name, **values)
    audio = np.zeros((2, 24_000), np.float32)
    click = np.hanning(480) * np.sin(2 * np.pi * 900 * np.arange(480) / SAMPLE_RATE)
    audio[:, 8000:8480] = 0.5 * click
    out = run(effects, audio)
    lag = int(np.argmax(np.correlate(out[0], audio[0, 8000:8480]))) - 8000
    assert abs(lag - effects.latency_samples) <= 12  # a quarter of a millisecond


def test_a_cutoff_saved_at_96_khz_opens_at_44_1_khz():
    for name, knob in (("lowpass", "cutoff_frequency_hz"), ("highpass", "cutoff_frequency_hz"), ("ladder", "cutoff_hz"),
                       ("peak", "cutoff_frequency_hz"), ("high_shelf", "cutoff_frequency_hz")):  # fmt: skip
        out = run(chain(name, sample_rate=44_100, **{knob: 40_000.0}), programme(6000))
        assert np.all(np.isfinite(out)) and np.max(np.abs(out)) < 10.0


# ---- our own arithmetic against its models


@pytest.mark.parametrize("name, values, pedalboard_name", [
    ("lowpass", {"cutoff_frequency_hz": 1000.0}, "LowpassFilter"),
    ("highpass", {"cutoff_frequency_hz": 300.0}, "HighpassFilter"),
    ("low_shelf", {"cutoff_frequency_hz": 200.0, "gain_db": 6.0, "q": 0.9}, "LowShelfFilter"),
    ("high_shelf", {"cutoff_frequency_hz": 3000.0, "gain_db": -8.0, "q": 0.6}, "HighShelfFilter"),
    ("peak", {"cutoff_frequency_hz": 1500.0, "gain_db": 9.0, "q": 3.0}, "PeakFilter"),
])  # fmt: skip
def test_filters_sound_as_pedalboards_own(name, values, pedalboard_name):
    import pedalboard

    audio = programme(12_000)
    reference = getattr(pedalboard, pedalboard_name)(**values).process(audio, SAMPLE_RATE)
    # pedalboard's coefficients have single precision, ours double.
    assert rms_db(run(chain(name, **values), audio) - reference) < rms_db(reference) - 85.0


@pytest.mark.parametrize("semitones", [-12.0, -5.0, 7.0, 12.0])
def test_pitch_shift_moves_a_tone_by_so_many_semitones(semitones):
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE) * np.ones((2, 1))
    out = run(chain("pitch_shift", semitones=semitones), tone.astype(np.float32))[0, 8000:40_768]
    peak_hz = np.argmax(np.abs(np.fft.rfft(out * np.hanning(len(out))))) * SAMPLE_RATE / len(out)
    cents = 1200 * math.log2(peak_hz / (440 * 2 ** (semitones / 12)))
    # The gliding heads repeat every 60 ms / |1 - ratio|, which splits the tone into lines up to that far apart.
    assert abs(cents) < 60.0
    assert -6.0 < rms_db(out) - rms_db(tone) < 1.0


# ---- no state is left over


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_reset_chain_sounds_as_a_fresh_one_even_after_nan(name):
    effects = chain(name)
    audio = programme(9000, seed=1)
    expected = run(effects, audio)
    effects.process(programme(9000, seed=2) * 3)
    poison = audio[:, :600].copy()
    poison[:, 100:110] = np.nan
    poison[0, 300] = np.inf
    effects.process(poison)
    assert np.array_equal(run(effects, audio), expected)
    assert np.array_equal(run(chain(name), audio), expected)


def test_the_input_is_left_as_it_is():
    audio = programme(3000)
    before = audio.copy()
    run(chain(*EXACT), audio)
    assert np.array_equal(audio, before)


def test_an_empty_chain_changes_nothing():
    effects = EffectChain((), SAMPLE_RATE)
    audio = programme(1000)
    assert np.array_equal(run(effects, audio), audio)
    assert effects.tail_seconds == 0.0 and effects.latency_samples == 0


def test_an_empty_block_gives_an_empty_block():
    assert chain(*EXACT).process(np.zeros((2, 0), np.float32)).shape == (2, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="measures with getrusage")
def test_loading_a_chain_a_thousand_times_keeps_no_memory():
    names = ("chorus", "compressor", "ladder", "low_shelf", "phaser", "reverb", "brickwall_limiter", "limiter")

    def load(times):
        for _ in range(times):
            chain(*names).process(np.zeros((2, 64), np.float32))
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    unit = 1 if sys.platform == "darwin" else 1024
    before = load(150)
    assert (load(850) - before) * unit < 8 << 20


# ---- what is refused

NOT_A_NUMBER = [math.nan, math.inf, -math.inf, 10**400, -(10**400), True, "0.5", None, [0.5], {}]


@pytest.mark.parametrize("name", EFFECTS)
def test_no_knob_takes_what_is_not_a_number_in_its_range(name):
    needed = {s.name: "a" for s in EFFECTS[name].settings if isinstance(s, Text) and s.required}
    for knob in EFFECTS[name].settings:
        if not isinstance(knob, Knob):
            continue
        span = knob.high - knob.low
        for value in (*NOT_A_NUMBER, knob.low - 0.01 * span, knob.high + 0.01 * span, 1e30, -1e30):
            with pytest.raises(PresetError, match=rf'^x: effect 1 "{name}": {knob.name} is .*; use .*{knob.low:g} to'):
                checked_effect(name, {**needed, knob.name: value}, "x: effect 1")


@pytest.mark.parametrize("name, knob, value", [
    ("mp3", "vbr_quality", math.nan), ("resample", "target_sample_rate", math.nan), ("phaser", "rate_hz", math.inf),
    ("lowpass", "cutoff_frequency_hz", -5.0), ("gain", "gain_db", 25_000.0), ("chorus", "feedback", 25_000.0),
    ("reverb", "room_size", math.nan), ("noise_gate", "attack_ms", math.nan), ("ladder", "drive", -math.inf),
])  # fmt: skip
def test_values_that_kill_or_hang_pedalboard_are_refused(name, knob, value):
    with pytest.raises(PresetError, match=knob):
        EffectChain([EffectSettings(name, {knob: value})], SAMPLE_RATE)


def test_a_wrong_value_is_told_with_place_and_range():
    settings = [EffectSettings("gain"), EffectSettings("reverb", {"room_size": math.nan})]
    with pytest.raises(PresetError) as caught:
        EffectChain(settings, SAMPLE_RATE, where="a.toml")
    assert str(caught.value) == 'a.toml: effect 2 "reverb": room_size is nan; use a number from 0 to 1'


def test_an_unknown_type_lists_the_known_ones_closest_first():
    with pytest.raises(PresetError, match=r"^x: type 'revreb' is unknown; use reverb, .*chorus"):
        checked_effect("revreb", {}, "x")


def test_an_unknown_setting_lists_the_known_ones_closest_first():
    with pytest.raises(PresetError, match=r"^x \"reverb\": 'roomsize' is unknown; use room_size, "):
        checked_effect("reverb", {"roomsize": 0.5}, "x")


def test_a_wrong_mode_lists_the_modes():
    with pytest.raises(PresetError, match=r"mode is 'lp12'; use lpf12, .*bpf24"):
        checked_effect("ladder", {"mode": "lp12"}, "x")


def test_more_than_32_effects_are_refused():
    EffectChain([EffectSettings("invert")] * MAX_EFFECTS, SAMPLE_RATE)
    with pytest.raises(PresetError, match="33 effects; use at most 32"):
        EffectChain([EffectSettings("invert")] * (MAX_EFFECTS + 1), SAMPLE_RATE)


@pytest.mark.parametrize("sample_rate", [96_000, 37_800])
def test_mp3_says_which_rates_it_cannot_do(sample_rate):
    with pytest.raises(PresetError, match=f'effect 1 "mp3": does not work at {sample_rate} Hz'):
        chain("mp3", sample_rate=sample_rate)


# ---- convolution: a file beside the preset


def test_convolution_sounds_as_the_impulse_response(tmp_path):
    impulse_response(tmp_path / "room.wav", channels=1)
    response = soundfile.read(tmp_path / "room.wav")[0]
    audio = np.zeros((2, 20_000), np.float32)
    audio[:, 100] = 1.0
    out = run(chain("convolution", folder=tmp_path, file="room.wav"), audio)
    shape = out[0, 100 : 100 + len(response)]
    assert np.corrcoef(shape, response)[0, 1] > 0.999


def test_convolution_takes_only_files_of_the_presets_own_folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    impulse_response(tmp_path / "outside.wav")
    impulse_response(home / "inside.wav")
    (home / "link.wav").symlink_to(tmp_path / "outside.wav")
    (home / "text.wav").write_text("no audio")
    chain("convolution", folder=home, file="inside.wav")
    outside = ("../outside.wav", str(tmp_path / "outside.wav"), "link.wav", "https://x.org/a.wav", "..", "a\0b.wav")
    for name in (*outside, "none.wav", "text.wav", ""):
        with pytest.raises(PresetError):
            chain("convolution", folder=home, file=name)
    with pytest.raises(PresetError, match="file is missing"):
        EffectChain([EffectSettings("convolution")], SAMPLE_RATE, folder=home)


@pytest.mark.parametrize("seconds, value, complaint", [(31.0, 0.1, "at most 30 s"), (0.1, math.nan, "not finite"),
                                                       (0.0, 0.0, "no samples")])  # fmt: skip
def test_a_useless_impulse_response_is_refused(tmp_path, seconds, value, complaint):
    soundfile.write(tmp_path / "a.wav", np.full(int(8000 * seconds), value, np.float32), 8000, subtype="FLOAT")
    with pytest.raises(PresetError, match=complaint):
        chain("convolution", folder=tmp_path, file="a.wav")


# ---- plugins: only what the user has allowed


@pytest.fixture
def settings_folder(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "APPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    from neuralsynth.plugin_list import plugin_list_path

    plugin_list_path().parent.mkdir(parents=True)
    return plugin_list_path()


def test_a_plugin_that_is_not_allowed_is_not_loaded(settings_folder):
    with pytest.raises(EnvironmentProblem, match=r"'Verb' is not in .*plugins.toml; none is allowed yet"):
        chain("vst3", plugin="Verb")
    settings_folder.write_text('[plugins]\nZamVerb = "/nowhere/ZamVerb.vst3"\n')
    with pytest.raises(EnvironmentProblem, match=r"allowed are ZamVerb"):
        chain("vst3", plugin="Verb")
    with pytest.raises(EnvironmentProblem, match=r"should be at .*ZamVerb.vst3, and is not there"):
        chain("vst3", plugin="ZamVerb")


def test_a_file_that_is_no_plugin_is_told(settings_folder, tmp_path):
    (tmp_path / "x.vst3").write_text("no plugin")
    settings_folder.write_text(f"[plugins]\nX = '{tmp_path / 'x.vst3'}'\n")
    with pytest.raises(EnvironmentProblem, match="'X' cannot be loaded"):
        chain("vst3", plugin="X")


def test_a_damaged_plugin_list_is_told(settings_folder):
    settings_folder.write_text("[plugins\n")
    with pytest.raises(EnvironmentProblem, match="plugins.toml: cannot be read"):
        chain("vst3", plugin="X")


def test_a_preset_cannot_say_where_a_plugin_lies():
    with pytest.raises(PresetError, match="'path' is unknown"):
        checked_effect("vst3", {"plugin": "X", "path": "/usr/lib/vst3/X.vst3"}, "x")


REAL_PLUGIN = Path("/usr/lib/vst3/ZamCompX2.vst3")  # Debian's zam-plugins


@pytest.mark.skipif(
    not REAL_PLUGIN.exists() and "CI" not in os.environ, reason="needs a VST3 effect: apt install zam-plugins"
)
def test_an_allowed_plugin_plays_and_takes_its_parameters(settings_folder):
    settings_folder.write_text(f'[plugins]\nComp = "{REAL_PLUGIN}"\nMono = "{REAL_PLUGIN.with_name("ZamComp.vst3")}"\n')
    gentle, hard = (
        chain("vst3", plugin="Comp", vendor="Damien Zammit", parameters={"threshold_db": t, "ratio": 10.0})
        for t in (0.0, -40.0)
    )
    audio = programme(12_000)
    out = run(hard, audio)
    assert rms_db(out) < rms_db(run(gentle, audio)) - 6.0
    for blocks in ((1,), (65,), (8193,)):
        assert np.array_equal(run(hard, audio, blocks), out)
    for values, complaint in (
        ({"parameters": {"treshold_db": -3}}, "'treshold_db' is unknown; use threshold_db, "),
        ({"parameters": {"threshold_db": 1e6}}, "threshold_db: .*out of range"),
    ):
        with pytest.raises(PresetError, match=complaint):
            chain("vst3", plugin="Comp", **values)
    for values, complaint in (
        ({"plugin": "Comp", "vendor": "other"}, "vendor of plugin 'Comp' here is 'Damien Zammit'"),
        ({"plugin": "Comp", "version": "0.0"}, "version of plugin 'Comp' here is"),
        ({"plugin": "Mono"}, "does not run in stereo"),
    ):
        with pytest.raises(EnvironmentProblem, match=complaint):
            chain("vst3", **values)
