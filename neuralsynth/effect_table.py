"""The effects a preset may use, as data: names, knobs, tails, and whether the cut into blocks is exact.

No pedalboard here: presets are checked, listed and documented without it. `effects` turns settings into sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from neuralsynth.checking import one_of, shown
from neuralsynth.errors import PresetError
from neuralsynth.knobs import Knob
from neuralsynth.settings import NOTE_VALUES, Choice, FileName, Parameters, Setting, Text, checked_value

MAX_EFFECTS = 32
SILENCE_DB = 110.0  # what a tail must fall by: -90 dB of full scale, and headroom for a chain that amplifies


@dataclass(frozen=True)
class Effect:
    """One type of effect.

    `tail_seconds` maps checked values to the longest time the effect rings after its input has stopped
    (latency not included). `cut` is "exact" when any cut into blocks gives the same samples, "grid" when
    that is bought with a fixed internal block of 64 samples, and otherwise says how far apart cuts may be.
    `cutoffs` names the knobs that are kept below 0.49 of the sample rate.
    """

    type: str
    says: str
    settings: tuple[Setting, ...] = ()
    tail_seconds: Callable[[Mapping[str, Any]], float] = lambda values: 0.0
    cut: str = "exact"
    cutoffs: tuple[str, ...] = ()


class EffectSettings(msgspec.Struct, frozen=True):
    """One effect of a preset: its type and the values of all its settings (defaults filled in)."""

    type: str
    values: dict[str, Any] = {}


def checked_effect(effect_type: object, values: Mapping[str, Any], where: str) -> EffectSettings:
    """Return the effect with every value checked and every default filled in.

    Raises:
        PresetError: an unknown type or setting, or a value out of range; the text starts with `where`.
    """
    if not isinstance(effect_type, str) or effect_type not in EFFECTS:
        raise PresetError(f"{where}: type {shown(effect_type)} is unknown; use {one_of(effect_type, EFFECTS)}")
    effect = EFFECTS[effect_type]
    where = f'{where} "{effect_type}"'
    by_name = {setting.name: setting for setting in effect.settings}
    for name in values:
        if name not in by_name:
            raise PresetError(f"{where}: {shown(name)} is unknown; use {one_of(name, by_name) or 'no settings'}")
    for name, setting in by_name.items():
        if isinstance(setting, Text) and setting.required and name not in values:
            raise PresetError(f"{where}: {name} is missing; {setting.says}")
    try:
        checked = {name: checked_value(by_name[name], value) for name, value in values.items()}
    except ValueError as error:
        raise PresetError(f"{where}: {error}") from error
    defaults: dict[str, Any] = {s.name: {} if isinstance(s, Parameters) else s.default for s in effect.settings}
    return EffectSettings(effect_type, {**defaults, **checked})


def checked_effects(effects: Iterable[EffectSettings], where: str) -> tuple[EffectSettings, ...]:
    """Check a whole chain; see `checked_effect`."""
    effects = tuple(effects)
    if len(effects) > MAX_EFFECTS:
        raise PresetError(f"{where}: {len(effects)} effects; use at most {MAX_EFFECTS}")
    return tuple(checked_effect(e.type, e.values, f"{where}: effect {i}") for i, e in enumerate(effects, 1))


def _echoes(loop_seconds: float, feedback: float) -> float:
    """Seconds until a loop with this feedback has fallen by `SILENCE_DB`."""
    if feedback == 0.0:
        return loop_seconds
    return loop_seconds * (1.0 + SILENCE_DB / (-20.0 * math.log10(abs(feedback))))


def _filter_tail(values: Mapping[str, Any]) -> float:
    """Ringing of a resonance: its amplitude falls as exp(-pi·f·t / q), and gain sharpens or shifts it."""
    bend = 10.0 ** (abs(values.get("gain_db", 0.0)) / 40.0)
    ringing = 14.0 * max(values.get("q", 0.5), 0.5) * bend**1.5 / (math.pi * values["cutoff_frequency_hz"])
    return 0.02 + ringing  # the constant is for cutoffs near half the sample rate, where the bilinear transform rings


def _ladder_tail(values: Mapping[str, Any]) -> float:
    return 0.1 + 80.0 / values["cutoff_hz"]


def _reverb_tail(values: Mapping[str, Any]) -> float:
    """The longest comb of the Schroeder-Moorer network, with the feedback that JUCE derives from the room size."""
    return 0.1 + _echoes(1640 / 44_100, 0.7 + 0.28 * values["room_size"])


def _phaser_tail(values: Mapping[str, Any]) -> float:
    """Six all-pass filters at 20 Hz, the lowest the sweep may reach, delay by 6 / (pi·20 Hz)."""
    return 0.5 + _echoes(6.0 / (math.pi * 20.0), values["feedback"])


def _hz(name: str, default: float, says: str, low: float = 10.0, high: float = 90_000.0) -> Knob:
    return Knob(name, low, high, default, "Hz", 0.3, says)


def _equaliser(effect_type: str, says: str) -> Effect:
    knobs = (
        _hz("cutoff_frequency_hz", 440.0, "where it acts"),
        Knob("gain_db", -36.0, 24.0, 0.0, "dB", 1.0, "how much louder or softer"),
        Knob("q", 0.1, 18.0, 0.7071, "", 0.5, "how narrow or steep"),
    )
    return Effect(effect_type, says, knobs, _filter_tail, "exact", ("cutoff_frequency_hz",))


_QUALITIES = ("zero_order_hold", "linear", "catmull_rom", "lagrange", "windowed_sinc",
              *(f"windowed_sinc_{n}" for n in (256, 128, 64, 32, 16, 8)))  # fmt: skip
_CUTOFF = ("cutoff_frequency_hz",)
_MIX = Knob("mix", 0.0, 1.0, 0.5, "", 1.0, "0 is the input alone, 1 the effect alone")

_TABLE = (
    Effect("bitcrush", "fewer bits per sample", (Knob("bit_depth", 1.0, 32.0, 8.0, "bits", 1.0, "resolution"),)),
    Effect(
        "brickwall_limiter", "keeps peaks below a ceiling by looking ahead",
        (
            Knob("ceiling_db", -40.0, 0.0, -1.0, "dB", 1.0, "the highest peak"),
            Knob("release_ms", 1.0, 3000.0, 100.0, "ms", 0.5, "how fast the level comes back"),
            Knob("lookahead_ms", 0.1, 20.0, 5.0, "ms", 1.0, "how early it acts; adds as much latency"),
            Choice("true_peak", (False, True), False, "also hold the peaks between samples"),
        ),
        lambda values: 0.05, "grid",
    ),
    Effect(
        "chorus", "slightly detuned copies",
        (
            Knob("rate_hz", 0.01, 20.0, 1.0, "Hz", 0.4, "speed of the movement"),
            Knob("depth", 0.0, 1.0, 0.25, "", 1.0, "width of the movement"),
            Knob("centre_delay_ms", 1.0, 50.0, 7.0, "ms", 0.5, "delay around which it moves"),
            Knob("feedback", -0.95, 0.95, 0.0, "", 1.0, "output fed back"),
            _MIX,
        ),
        lambda values: _echoes(values["centre_delay_ms"] / 1000.0 + 0.02, values["feedback"]),
    ),
    Effect("clipping", "cuts peaks off", (Knob("threshold_db", -60.0, 0.0, -6.0, "dB", 1.0, "where it cuts"),)),
    Effect(
        "compressor", "makes loud passages softer",
        (
            Knob("threshold_db", -80.0, 0.0, 0.0, "dB", 1.0, "level above which it acts"),
            Knob("ratio", 1.0, 100.0, 1.0, "", 0.4, "dB in for one dB out"),
            Knob("attack_ms", 0.1, 1000.0, 1.0, "ms", 0.4, "how fast it acts"),
            Knob("release_ms", 1.0, 5000.0, 100.0, "ms", 0.4, "how fast it lets go"),
        ),
    ),
    Effect(
        "convolution", "the sound of a room or a box, from a recording of its impulse response",
        (
            FileName("file", True, "a wav, flac or aiff file beside the preset, at most 30 seconds"),
            Knob("mix", 0.0, 1.0, 1.0, "", 1.0, "0 is the input alone, 1 the effect alone"),
        ),
        lambda values: 30.0, "within 1e-6 (its Fourier blocks round differently)",
    ),
    Effect(
        "delay", "echoes",
        (
            Knob("delay_seconds", 0.0, 5.0, 0.5, "s", 0.5, "time between echoes, if `sync` is off"),
            Choice("sync", NOTE_VALUES, "off", "time between echoes as a note at the song's tempo, at most 30 s"),
            Knob("feedback", 0.0, 0.95, 0.0, "", 1.0, "level of each echo in the next"),
            _MIX,
        ),
        lambda values: 0.01 + _echoes(values["delay_seconds"], values["feedback"]),
    ),
    Effect("distortion", "soft saturation (tanh)", (Knob("drive_db", 0.0, 60.0, 25.0, "dB", 1.0, "gain before it"),)),
    Effect("gain", "louder or softer", (Knob("gain_db", -80.0, 36.0, 0.0, "dB", 1.0, "change of level"),)),
    Effect(
        "gsm", "a mobile phone of the nineties (GSM full rate, 8 kHz, mono)",
        (Choice("quality", _QUALITIES, "windowed_sinc_8", "how it resamples"),),
        lambda values: 0.3, "grid",
    ),
    _equaliser("high_shelf", "more or less treble"),
    Effect("highpass", "takes the lows away, 6 dB per octave", (_hz("cutoff_frequency_hz", 50.0, "where it starts"),),
           _filter_tail, "exact", _CUTOFF),
    Effect("invert", "turns the waveform upside down"),
    Effect(
        "ladder", "the resonant filter of analogue synthesizers",
        (
            Choice("mode", ("lpf12", "hpf12", "bpf12", "lpf24", "hpf24", "bpf24"), "lpf12", "shape and slope"),
            _hz("cutoff_hz", 200.0, "where it acts", low=20.0),
            Knob("resonance", 0.0, 0.9, 0.0, "", 1.0, "emphasis at the cutoff"),
            Knob("drive", 1.0, 20.0, 1.0, "", 0.5, "saturation"),
        ),
        _ladder_tail, "exact", ("cutoff_hz",),
    ),
    Effect(
        "limiter", "loud and even: two compressors in a row, with make-up gain",
        (
            Knob("threshold_db", -60.0, 0.0, -10.0, "dB", 1.0, "level above which it acts"),
            Knob("release_ms", 1.0, 5000.0, 100.0, "ms", 0.4, "how fast it lets go"),
        ),
    ),
    _equaliser("low_shelf", "more or less bass"),
    Effect("lowpass", "takes the highs away, 6 dB per octave", (_hz("cutoff_frequency_hz", 5000.0, "where it starts"),),
           _filter_tail, "exact", _CUTOFF),
    Effect(
        "mp3", "the artefacts of MP3 coding",
        (Knob("vbr_quality", 0.0, 9.5, 2.0, "", 1.0, "0 is the best, 9.5 the worst"),),
        lambda values: 0.3, "grid",
    ),
    Effect(
        "noise_gate", "silences what is soft",
        (
            Knob("threshold_db", -100.0, 0.0, -100.0, "dB", 1.0, "level below which it acts"),
            Knob("ratio", 1.0, 100.0, 10.0, "", 0.4, "dB out for one dB in"),
            Knob("attack_ms", 0.1, 1000.0, 1.0, "ms", 0.4, "how fast it opens"),
            Knob("release_ms", 1.0, 5000.0, 100.0, "ms", 0.4, "how fast it closes"),
        ),
    ),
    _equaliser("peak", "more or less of one band"),
    Effect(
        "phaser", "moving notches",
        (
            Knob("rate_hz", 0.01, 20.0, 1.0, "Hz", 0.4, "speed of the movement"),
            Knob("depth", 0.0, 1.0, 0.5, "", 1.0, "width of the movement"),
            _hz("centre_frequency_hz", 1300.0, "where the notches lie", low=20.0, high=20_000.0),
            Knob("feedback", -0.95, 0.95, 0.0, "", 1.0, "output fed back"),
            _MIX,
        ),
        _phaser_tail, "exact", ("centre_frequency_hz",),
    ),
    Effect(
        "pitch_shift", "higher or lower (two gliding read heads)",
        (Knob("semitones", -24.0, 24.0, 0.0, "semitones", 1.0, "how far"),),
        lambda values: 0.07,
    ),
    Effect(
        "resample", "the sound of a lower sample rate",
        (
            Knob("target_sample_rate", 1000.0, 96_000.0, 8000.0, "Hz", 0.4, "the lower rate"),
            Choice("quality", _QUALITIES, "windowed_sinc_32", "how it resamples"),
        ),
        lambda values: 0.1 + 512.0 / values["target_sample_rate"], "grid",
    ),
    Effect(
        "reverb", "a room (Schroeder-Moorer, as in Freeverb)",
        (
            Knob("room_size", 0.0, 1.0, 0.5, "", 1.0, "how long it rings"),
            Knob("damping", 0.0, 1.0, 0.5, "", 1.0, "how fast the treble dies"),
            Knob("wet_level", 0.0, 1.0, 0.33, "", 1.0, "level of the room"),
            Knob("dry_level", 0.0, 1.0, 0.4, "", 1.0, "level of the input"),
            Knob("width", 0.0, 1.0, 1.0, "", 1.0, "stereo width of the room"),
        ),
        _reverb_tail,
    ),
    Effect(
        "vst3", "a VST3 effect plugin that the user has allowed by name",
        (
            Text("plugin", True, "the name that the user's plugins.toml gives it"),
            Text("vendor", False, "if given, the plugin's vendor must be this"),
            Text("version", False, "if given, the plugin's version must be this"),
            Parameters("parameters", "the plugin's own parameters by name"),
        ),
        lambda values: 10.0, "grid",
    ),
)  # fmt: skip

#: All effects by type, in alphabetical order.
EFFECTS: dict[str, Effect] = {effect.type: effect for effect in _TABLE}
