"""`EffectChain`: a preset's effects as one box, samples in, as many samples out. The only import of pedalboard.

The same samples come out however the sound is cut into blocks. Three things see to it (measured with
pedalboard 0.9.26, held by `tests/test_effects.py`):

- pedalboard forgets its state when a larger block arrives than any before, so each plugin is first given
  `CHUNK` samples of silence after every reset, and never more at once;
- plugins with latency return fewer samples than they were given, how many fewer depends on the cut, and some
  work in frames of their own: these run on a fixed grid of `GRID` samples behind a queue, whose
  length is the latency that `latency_samples` tells;
- pedalboard's plain filters round their state at the end of each block: `sound.biquad` does their work.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuralsynth.effect_table import EFFECTS, EffectSettings, checked_effects, one_of
from neuralsynth.errors import EnvironmentProblem, PresetError
from neuralsynth.sound import biquad

CHUNK = 1024  # the largest block a plugin ever sees
GRID = 64  # the block of plugins that have latency anyway
HIGHEST_CUTOFF = 0.49  # of the sample rate
MAX_IMPULSE_SECONDS = 30.0
MAX_IMPULSE_BYTES = 64 << 20
MP3_MAX_SAMPLE_RATE = 48_000


class Stage(Protocol):
    """One step of the chain: blocks of at most `CHUNK` samples, as many out as in."""

    latency_samples: int

    def process(self, audio: np.ndarray) -> np.ndarray: ...

    def reset(self) -> None: ...


class EffectChain:
    """The effects of one preset, ready to run at one sample rate.

    Args:
        settings: what `Preset.effects` holds; checked again here.
        sample_rate: in Hz.
        max_block_size: the block size to expect; larger blocks work too.
        folder: where the preset lies, for files that lie beside it.
        where: what error messages start with, normally the preset's path.

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
    ):
        settings = checked_effects(settings, where)
        names = [f'{where}: effect {i} "{s.type}"' for i, s in enumerate(settings, 1)]
        self._stages = [_stage(s, float(sample_rate), folder, n) for s, n in zip(settings, names, strict=True)]
        self.latency_samples = sum(stage.latency_samples for stage in self._stages)
        ringing = sum(EFFECTS[s.type].tail_seconds(_prepared(s, sample_rate)) for s in settings)
        self.tail_seconds = ringing + self.latency_samples / sample_rate
        self.reset()
        self.process(np.zeros((2, max_block_size), np.float32))
        self.reset()

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
        """Forget all earlier sound, non-finite samples included: what follows sounds as from a fresh chain."""
        for stage in self._stages:
            stage.reset()


class _Direct:
    """A plugin without latency whose samples do not depend on the cut."""

    latency_samples = 0

    def __init__(self, plugin: Any, sample_rate: float):
        self._plugin, self._sample_rate = plugin, sample_rate

    def process(self, audio: np.ndarray) -> np.ndarray:
        return self._plugin.process(audio, self._sample_rate, CHUNK, False)

    def reset(self) -> None:
        self._plugin.reset()
        self._plugin.process(np.zeros((2, CHUNK), np.float32), self._sample_rate, CHUNK, False)


class _Filter(biquad.Biquad):
    """One of our own filters."""

    latency_samples = 0


class _OnGrid:
    """A plugin that is given exactly `GRID` samples at a time and returns them when it likes.

    Input waits in `_block` until it is full; output waits in `_queue`, which starts with as many zeros as the
    plugin's return ever lags, so that it never runs dry.
    """

    def __init__(self, plugin: Any, sample_rate: float, lag: tuple[int, int]):
        self._plugin, self._sample_rate = plugin, sample_rate
        primed, later = lag
        self._n_zeros = later + GRID - 1
        self.latency_samples = primed + self._n_zeros
        self._block = np.zeros((2, GRID), np.float32)
        self._queue = np.zeros((2, 2 * (self._n_zeros + CHUNK + 2 * GRID)), np.float32)
        self._n_waiting = self._start = self._end = 0

    def process(self, audio: np.ndarray) -> np.ndarray:
        n, taken = audio.shape[1], 0
        while taken < n:
            step = min(GRID - self._n_waiting, n - taken)
            self._block[:, self._n_waiting : self._n_waiting + step] = audio[:, taken : taken + step]
            self._n_waiting += step
            taken += step
            if self._n_waiting == GRID:
                self._n_waiting = 0
                self._push(_returned(self._plugin, self._block, self._sample_rate))
        out = np.zeros((2, n), np.float32)
        ready = min(n, self._end - self._start)
        out[:, n - ready :] = self._queue[:, self._start : self._start + ready]
        self._start += ready
        return out

    def _push(self, audio: np.ndarray) -> None:
        n = audio.shape[1]
        if self._end + n > self._queue.shape[1]:
            kept = self._queue[:, self._start : self._end].copy()
            self._start, self._end = 0, kept.shape[1]
            self._queue[:, : self._end] = kept
        self._queue[:, self._end : self._end + n] = audio
        self._end += n

    def reset(self) -> None:
        _prime(self._plugin, self._sample_rate)
        self._queue[:] = 0.0
        self._n_waiting, self._start, self._end = 0, 0, self._n_zeros


def _returned(plugin: Any, audio: np.ndarray, sample_rate: float) -> np.ndarray:
    """What a plugin returns for a block, as `[2, k]` also when k is 0 (pedalboard then drops the channels)."""
    out = plugin.process(audio, sample_rate, CHUNK, False)
    return out if out.size else np.zeros((2, 0), np.float32)


def _prime(plugin: Any, sample_rate: float) -> int:
    """Reset a plugin and show it the largest block; returns how many samples of it are still inside."""
    plugin.reset()
    return CHUNK - _returned(plugin, np.zeros((2, CHUNK), np.float32), sample_rate).shape[1]


def _lag(plugin: Any, sample_rate: float) -> tuple[int, int]:
    """How far a plugin's return lags on the grid: after priming, and at most from then on (two seconds tried)."""
    primed = _prime(plugin, sample_rate)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, GRID)).astype(np.float32)
    lag = later = 0
    for _ in range(int(2.0 * sample_rate) // GRID):
        lag += GRID - _returned(plugin, noise, sample_rate).shape[1]
        later = max(later, lag)
    return primed, later


def _prepared(settings: EffectSettings, sample_rate: float) -> dict[str, Any]:
    """The values with every cutoff below `HIGHEST_CUTOFF` of the sample rate."""
    highest = HIGHEST_CUTOFF * sample_rate
    cutoffs = EFFECTS[settings.type].cutoffs
    return {name: min(value, highest) if name in cutoffs else value for name, value in settings.values.items()}


def _stage(settings: EffectSettings, sample_rate: float, folder: Path | None, where: str) -> Stage:
    """Build one step of the chain."""
    values = _prepared(settings, sample_rate)
    if settings.type in _FILTERS:
        return _Filter(_FILTERS[settings.type](sample_rate, **values))
    if settings.type == "vst3":
        plugin = _vst3(values, where)
        return _OnGrid(plugin, sample_rate, _vst3_lag(plugin, sample_rate, where))
    if settings.type == "mp3" and sample_rate > MP3_MAX_SAMPLE_RATE:
        raise PresetError(f"{where}: works up to {MP3_MAX_SAMPLE_RATE} Hz, not at {sample_rate:g} Hz; use a lower sample rate")
    if settings.type == "convolution":
        return _Direct(_convolution(values, folder, where), sample_rate)
    plugin = _builtin(settings.type, values)
    if EFFECTS[settings.type].cut == "grid":
        return _OnGrid(plugin, sample_rate, _builtin_lag(settings.type, tuple(values.items()), sample_rate))
    return _Direct(plugin, sample_rate)


_FILTERS = {
    "lowpass": biquad.lowpass,
    "highpass": biquad.highpass,
    "low_shelf": biquad.low_shelf,
    "high_shelf": biquad.high_shelf,
    "peak": biquad.peak,
}

#: Effects done by pedalboard: its class, by our type.
_CLASSES = {
    "bitcrush": "Bitcrush", "brickwall_limiter": "BrickwallLimiter", "chorus": "Chorus", "clipping": "Clipping",
    "compressor": "Compressor", "delay": "Delay", "distortion": "Distortion", "gain": "Gain",
    "gsm": "GSMFullRateCompressor", "invert": "Invert", "ladder": "LadderFilter", "limiter": "Limiter",
    "mp3": "MP3Compressor", "noise_gate": "NoiseGate", "phaser": "Phaser", "pitch_shift": "PitchShift",
    "resample": "Resample", "reverb": "Reverb",
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
    return _lag(_builtin(effect_type, dict(values)), sample_rate)


def _convolution(values: dict[str, Any], folder: Path | None, where: str) -> Any:
    """A convolution with the impulse response that lies beside the preset."""
    import pedalboard

    from neuralsynth.preset import file_beside

    path = file_beside(folder, values["file"], where)
    if path.stat().st_size > MAX_IMPULSE_BYTES:
        raise PresetError(f"{where}: {values['file']} is larger than {MAX_IMPULSE_BYTES >> 20} MB; use a shorter impulse response")
    impulse, impulse_rate = _read_impulse(path, where)
    return pedalboard.Convolution(impulse, values["mix"], impulse_rate)


def _read_impulse(path: Path, where: str) -> tuple[np.ndarray, float]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > MAX_IMPULSE_SECONDS * file.samplerate:
                raise PresetError(f"{where}: {path.name} is longer than {MAX_IMPULSE_SECONDS:g} s; use a shorter one")
            audio, rate = file.read(dtype="float32", always_2d=True).T, file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise PresetError(f"{where}: {path.name} cannot be read as audio ({error}); use wav, flac or aiff") from error
    audio = np.ascontiguousarray(np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio[:2])
    if audio.shape[1] < 3 or not np.all(np.isfinite(audio)):
        raise PresetError(f"{where}: {path.name} is empty or holds samples that are not finite")
    return audio, float(rate)


def plugin_list_path() -> Path:
    """The user's list of allowed plugins: `plugins.toml` in the folder where this system keeps settings."""
    if sys.platform == "win32":
        home = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support"
    else:
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "neuralsynth" / "plugins.toml"


def allowed_plugins() -> dict[str, Path]:
    """Read the user's list: plugin name -> path, from the table `[plugins]`; empty where there is no list."""
    path = plugin_list_path()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise EnvironmentProblem(f"{path}: cannot be read ({error}); write lines such as: Name = \"/path/to/it.vst3\"") from error
    plugins = document.get("plugins", {})
    if not isinstance(plugins, dict) or not all(isinstance(p, str) for p in plugins.values()):
        raise EnvironmentProblem(f"{path}: [plugins] must map names to paths")
    return {name: Path(place).expanduser() for name, place in plugins.items()}


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
        plugin = pedalboard.load_plugin(str(allowed[name]))
    except Exception as error:  # pedalboard raises ImportError, RuntimeError, ValueError and others here
        raise EnvironmentProblem(f"{where}: plugin {name!r} cannot be loaded ({error})") from error
    for key, found in (("vendor", plugin.manufacturer_name), ("version", plugin.version)):
        if values[key] and values[key] != found:
            raise EnvironmentProblem(f"{where}: {key} of plugin {name!r} here is {found!r}; the preset needs {values[key]!r}")
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
        return _lag(plugin, sample_rate)
    except (ValueError, RuntimeError) as error:
        raise EnvironmentProblem(f"{where}: the plugin does not run in stereo at {sample_rate:g} Hz ({error})") from error
