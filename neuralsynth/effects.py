"""`EffectChain`: a preset's effects as one box, samples in, as many samples out. The only import of pedalboard.

The same samples come out however the sound is cut into blocks, also while knobs and tempo change. These things see
to it (measured with pedalboard 0.9.26, held by `tests/test_effects.py`):

- each plugin runs in a stage of `effect_stages`, which gives it blocks it can bear;
- knobs that may move while they sound do so in a stage of `effect_moves`, which keeps them from clicking;
- pedalboard's plain filters round their state at the end of each block: `sound.biquad` does their work;
- pedalboard's pitch shifter gives silence when fed block by block: `sound.pitch_shifter` does its work;
- pedalboard's delay repeats the click of a changed time in each echo: `sound.echoes` does its work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neuralsynth.audiofile import read_audio
from neuralsynth.checking import file_beside, one_of
from neuralsynth.effect_moves import MAX_ECHO_SECONDS, MOVABLE, is_synced, live_knobs, movable
from neuralsynth.effect_stages import CHUNK, Direct, InSegments, OnGrid, Stage, measured_lag
from neuralsynth.effect_table import EFFECTS, EffectSettings, checked_effects
from neuralsynth.errors import EnvironmentProblem, PresetError, RecordingError
from neuralsynth.knobs import Knob
from neuralsynth.plugin_list import allowed_plugins, plugin_list_path
from neuralsynth.sound.pitch_shifter import PitchShifter
from neuralsynth.units import note_value_beats

HIGHEST_CUTOFF = 0.49  # of the sample rate
MAX_IMPULSE_SECONDS = 30.0
MAX_IMPULSE_BYTES = 64 << 20
DEFAULT_TEMPO = 120.0  # beats per minute, until `set_tempo` says otherwise
HIGHEST_TEMPO = 1e9
LEAST_TEMPO_CHANGE = 0.001  # of the tempo; a MIDI clock is not steadier


class EffectChain:
    """The effects of one preset, ready to run at one sample rate.

    Args:
        settings: what `Preset.effects` holds; checked again here.
        sample_rate: in Hz.
        max_block_size: the block size to expect; larger blocks work too.
        folder: where the preset lies, for files that lie beside it.
        where: what error messages start with, normally the preset's path.
        live: whether `knobs` may be turned; some effects then work for two.

    Raises:
        PresetError: an unknown effect, a value out of range, a file that cannot be used.
        EnvironmentProblem: a plugin that is not here or that does not run.
    """

    def __init__(
        self,
        settings: Sequence[EffectSettings],
        sample_rate: float,
        max_block_size: int = CHUNK,
        folder: Path | None = None,
        where: str = "preset",
        live: bool = True,
    ):
        self._settings = checked_effects(settings, where)
        self._sample_rate, self._tempo = float(sample_rate), DEFAULT_TEMPO
        self._values = [_prepared(s, self._sample_rate, DEFAULT_TEMPO) for s in self._settings]
        names = [f'{where}: effect {i} "{s.type}"' for i, s in enumerate(self._settings, 1)]
        steps = zip(self._settings, self._values, names, strict=True)
        self._stages = [_stage(s.type, values, self._sample_rate, folder, name, live) for s, values, name in steps]
        moving = enumerate(self._settings if live else (), 1)
        self._knobs = {(i, k.name): k for i, s in moving for k in live_knobs(s.type, s.values)}
        self.latency_samples = sum(stage.latency_samples for stage in self._stages)
        self._tell_tail()
        self.reset()
        self.process(np.zeros((2, min(max_block_size, CHUNK)), np.float32))  # larger ones come in chunks
        self.reset()

    def knobs(self) -> dict[str, Knob]:
        """The numbers that may change while they sound, as "effects.NUMBER.NAME" with numbers from 1.

        Not among them: all of vst3, convolution, pitch_shift, resample, gsm, mp3 and brickwall_limiter, a chorus's
        centre_delay_ms, and the delay_seconds of a delay that goes by the tempo.
        """
        return {f"effects.{number}.{name}": knob for (number, name), knob in self._knobs.items()}

    def set_parameter(self, effect_number: int, name: str, value: float) -> None:
        """Begin to move a knob of `knobs` to `value` with the next sample; most take 20 to 80 ms to arrive.

        [audio thread] Makes no click and raises nothing: a value out of range is taken as the end of the range, one
        that is no number or a knob that is not there is ignored.
        """
        knob = self._knobs.get((effect_number, name))
        if knob is not None and value == value:  # noqa: PLR0124 - NaN is not
            self._move(effect_number - 1, name, float(min(max(value, knob.low), knob.high)))

    def set_tempo(self, beats_per_minute: float) -> None:
        """Begin to bring delays that go by the tempo to it with the next sample; they are there after 20 ms.

        [audio thread] Makes no click and raises nothing: what is no tempo is ignored, and so is a change too small to
        tell from a clock's jitter.
        """
        if not 0.0 < beats_per_minute < math.inf:
            return
        tempo = float(min(beats_per_minute, HIGHEST_TEMPO))
        if abs(tempo - self._tempo) >= LEAST_TEMPO_CHANGE * self._tempo:
            self._follow(tempo)

    def _follow(self, tempo: float) -> None:
        self._tempo = tempo
        for i, settings in enumerate(self._settings):
            if is_synced(settings.values):
                self._move(i, "delay_seconds", _echo_seconds(settings.values["sync"], tempo))

    def _move(self, i: int, name: str, value: float) -> None:
        stage: Any = self._stages[i]
        value = _bounded(self._settings[i].type, name, value, self._sample_rate)
        if value != self._values[i][name]:
            self._values[i][name] = value
            stage.move(name, value)
            self._tell_tail()

    def _tell_tail(self) -> None:
        ringing = sum(EFFECTS[s.type].tail_seconds(v) for s, v in zip(self._settings, self._values, strict=True))
        self.tail_seconds = ringing + self.latency_samples / self._sample_rate

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Return the next block `float32 [2, n]` for `audio [2, n]`, any n; the input is left as it is.

        [audio thread] Holds no lock of ours and touches no file. The sound is `latency_samples` late.
        """
        if not self._stages:
            return audio
        if audio.shape[1] <= CHUNK:
            return self._process_chunk(audio)
        starts = range(0, audio.shape[1], CHUNK)
        return np.concatenate([self._process_chunk(audio[:, s : s + CHUNK]) for s in starts], axis=1)

    def _process_chunk(self, audio: np.ndarray) -> np.ndarray:
        if audio.shape[1] == 0:
            return audio
        audio = np.ascontiguousarray(audio, np.float32)
        for stage in self._stages:
            audio = stage.process(audio)
        return audio

    def reset(self) -> None:
        """Forget all earlier sound, non-finite samples included; knobs and tempo stay where they are or were going.

        What follows sounds as from a fresh chain with these values.
        """
        for stage in self._stages:
            stage.reset()

    def restore(self) -> None:
        """Put knobs and tempo back to where they were at first, and forget all earlier sound."""
        self._follow(DEFAULT_TEMPO)
        for number, name in self._knobs:
            self._move(number - 1, name, self._settings[number - 1].values[name])
        self.reset()


def _prepared(settings: EffectSettings, sample_rate: float, tempo: float) -> dict[str, Any]:
    """The values with every cutoff in its bounds and every delay in time with the music."""
    values = {n: _bounded(settings.type, n, value, sample_rate) for n, value in settings.values.items()}
    if is_synced(values):
        values["delay_seconds"] = _echo_seconds(values["sync"], tempo)
    return values


def _bounded(effect_type: str, name: str, value: Any, sample_rate: float) -> Any:
    """`value`, or the highest cutoff at this rate."""
    return min(value, HIGHEST_CUTOFF * sample_rate) if name in EFFECTS[effect_type].cutoffs else value


def _echo_seconds(note_value: str, tempo: float) -> float:
    """Length of a note; a beat is a quarter."""
    return min(60.0 * note_value_beats(note_value) / tempo, MAX_ECHO_SECONDS)


def _stage(
    effect_type: str, values: dict[str, Any], sample_rate: float, folder: Path | None, where: str, live: bool
) -> Stage:
    """Build one step of the chain."""
    if effect_type in MOVABLE:
        return movable(effect_type, values, sample_rate, lambda: _builtin(effect_type, values), live)
    if effect_type == "vst3":
        plugin = _vst3(values, where)
        return OnGrid(plugin, sample_rate, _vst3_lag(plugin, sample_rate, where))
    if effect_type == "convolution":
        return Direct(_convolution(values, folder, where), sample_rate)
    if effect_type == "pitch_shift":
        return PitchShifter(sample_rate, values["semitones"])
    plugin = _builtin(effect_type, values)
    if effect_type == "gsm":
        return InSegments(plugin, sample_rate)
    if EFFECTS[effect_type].cut != "grid":
        return Direct(plugin, sample_rate)
    try:
        return OnGrid(plugin, sample_rate, _builtin_lag(effect_type, tuple(values.items()), sample_rate))
    except ValueError as error:  # the MP3 encoder knows but a few rates
        raise PresetError(f"{where}: does not work at {sample_rate:g} Hz ({error})") from error


#: Effects done by pedalboard: its class, by our type.
_CLASSES = {
    "bitcrush": "Bitcrush", "brickwall_limiter": "BrickwallLimiter", "chorus": "Chorus", "clipping": "Clipping",
    "compressor": "Compressor", "distortion": "Distortion", "gain": "Gain",
    "gsm": "GSMFullRateCompressor", "invert": "Invert", "ladder": "LadderFilter", "limiter": "Limiter",
    "mp3": "MP3Compressor", "noise_gate": "NoiseGate", "phaser": "Phaser", "resample": "Resample", "reverb": "Reverb",
}  # fmt: skip


def _builtin(effect_type: str, values: dict[str, Any]) -> Any:
    """A pedalboard plugin with these values."""
    import pedalboard

    values = dict(values)
    if "quality" in values:
        camel = values["quality"].title().replace("_", "")
        values["quality"] = pedalboard.Resample.Quality.__members__[camel]
    if "mode" in values:
        values["mode"] = pedalboard.LadderFilter.Mode.__members__[values["mode"].upper()]
    return getattr(pedalboard, _CLASSES[effect_type])(**values)


@lru_cache(maxsize=256)
def _builtin_lag(effect_type: str, values: tuple[tuple[str, Any], ...], sample_rate: float) -> tuple[int, int]:
    return measured_lag(_builtin(effect_type, dict(values)), sample_rate)


def _convolution(values: dict[str, Any], folder: Path | None, where: str) -> Any:
    """A convolution with the impulse response that lies beside the preset."""
    import pedalboard

    path = file_beside(folder, values["file"], where)
    if path.stat().st_size > MAX_IMPULSE_BYTES:
        raise PresetError(
            f"{where}: {values['file']} is larger than {MAX_IMPULSE_BYTES >> 20} MB; use a shorter impulse response"
        )
    impulse, impulse_rate = _read_impulse(path, where)
    return pedalboard.Convolution(impulse, values["mix"], impulse_rate)


def _read_impulse(path: Path, where: str) -> tuple[np.ndarray, float]:
    try:
        audio, rate = read_audio(path, MAX_IMPULSE_SECONDS)
    except RecordingError as error:
        raise PresetError(f"{where}: {error}; use a wav, flac or aiff file") from error
    audio = np.ascontiguousarray(np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio[:2])
    if audio.shape[1] < 3:
        raise PresetError(f"{where}: {path.name} holds too few samples")
    return audio, float(rate)


def _vst3(values: dict[str, Any], where: str) -> Any:
    """Load an allowed plugin, check that it is the one the preset means, and set its parameters."""
    import pedalboard

    name, allowed = values["plugin"], allowed_plugins()
    if name not in allowed:
        known = f"allowed are {one_of(name, allowed)}" if allowed else "none is allowed yet"
        raise EnvironmentProblem(f"{where}: plugin {name!r} is not in {plugin_list_path()}; {known}")
    if not allowed[name].exists():
        raise EnvironmentProblem(f"{where}: plugin {name!r} should be at {allowed[name]}, and is not there")
    try:
        plugin: Any = pedalboard.load_plugin(str(allowed[name]))
    except Exception as error:  # pedalboard raises ImportError, RuntimeError, ValueError and others here
        raise EnvironmentProblem(f"{where}: plugin {name!r} cannot be loaded ({error})") from error
    for key, found in (("vendor", plugin.manufacturer_name), ("version", plugin.version)):
        if values[key] and values[key] != found:
            raise EnvironmentProblem(
                f"{where}: {key} of plugin {name!r} here is {found!r}; the preset needs {values[key]!r}"
            )
    if not plugin.is_effect:
        raise EnvironmentProblem(f"{where}: plugin {name!r} is no effect")
    for key, value in values["parameters"].items():
        _set_parameter(plugin, key, value, where)
    return plugin


def _set_parameter(plugin: Any, key: str, value: Any, where: str) -> None:
    """Set one parameter of a plugin inside the plugin's own range."""
    if key not in plugin.parameters:
        raise PresetError(f"{where}: parameter {key!r} is unknown; use {one_of(key, plugin.parameters)}")
    try:
        setattr(plugin, key, value)
    except (ValueError, TypeError, AttributeError) as error:
        raise PresetError(f"{where}: parameter {key}: {error}") from error


def _vst3_lag(plugin: Any, sample_rate: float, where: str) -> tuple[int, int]:
    try:
        return measured_lag(plugin, sample_rate)
    except (ValueError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"{where}: the plugin does not run in stereo at {sample_rate:g} Hz ({error})"
        ) from error
