"""Offline host: a MIDI file through instruments to an audio file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from neuralsynth.audiofile import audio_writer, subtype_for
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.hosts.midi_file import Song, read_midi_file
from neuralsynth.units import db_to_gain, gain_to_db

if TYPE_CHECKING:  # the engine takes a second to import: a bad song or name is told before that
    from neuralsynth.engine import Engine
    from neuralsynth.instrument import Instrument

BLOCK_SIZE = 16384
#: The tail ends when nothing sounds and the output stayed below this level for `QUIET_SECONDS`.
QUIET_DB, QUIET_SECONDS, LONGEST_TAIL_SECONDS = -90.0, 0.25, 60.0

Choice = Union[str, Path, "Instrument"]


@dataclass(frozen=True)
class RenderReport:
    """What came out of a render."""

    output: str
    seconds: float
    sample_rate: int
    peak_db: float
    rms_db: float
    notes: int
    stolen_voices: int
    muted_faults: int
    times_real_time: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        return asdict(self)


def render(
    midi_path: str | Path,
    preset: Choice,
    sample_rate: int = 48_000,
    channels: Mapping[int, Choice] | None = None,
) -> np.ndarray:
    """Render a MIDI file: float32 `[2, samples]`, tails included.

    Args:
        preset: preset name, path, or a loaded instrument, for all channels not named in `channels`.
        channels: MIDI channel 1..16 -> preset.

    Raises:
        NeuralSynthError: as `read_midi_file`, `Instrument.load` and `Engine`.
    """
    song = read_midi_file(midi_path)
    engine = _engine_for(song, preset, sample_rate, channels or {})
    return np.concatenate(list(_blocks(song, engine)), axis=1)


def render_file(
    midi_path: str | Path,
    output: str | Path,
    preset: Choice,
    sample_rate: int = 48_000,
    channels: Mapping[int, Choice] | None = None,
    depth: str = "24",
    overwrite: bool = False,
    progress: Callable[[float, float], None] | None = None,
) -> RenderReport:
    """Render a MIDI file into a wav or flac file, block by block.

    Args:
        overwrite: replace an existing file.
        progress: called with (seconds done, seconds of the song).

    Raises:
        NeuralSynthError: as `render`; also when `output` exists, is the input, or cannot be written.
    """
    output = Path(output)
    check_output(output, midi_path, overwrite)
    subtype_for(output, depth)
    began = time.perf_counter()
    song = read_midi_file(midi_path)
    engine = _engine_for(song, preset, sample_rate, channels or {})
    meter = _Meter()
    with audio_writer(output, sample_rate, depth) as write:
        for block in _blocks(song, engine):
            meter.add(block)
            write(block)
            if progress is not None:
                progress(min(meter.n_samples / sample_rate, song.duration_seconds), song.duration_seconds)
    seconds = meter.n_samples / sample_rate
    return RenderReport(
        output=str(output),
        seconds=round(seconds, 3),
        sample_rate=sample_rate,
        peak_db=round(float(gain_to_db(meter.peak)), 2),
        rms_db=round(float(gain_to_db(meter.rms)), 2),
        notes=song.n_notes,
        stolen_voices=sum(part.pool.stolen_voices for part in engine.parts),
        muted_faults=engine.faults,
        times_real_time=round(seconds / max(time.perf_counter() - began, 1e-9), 1),
        warnings=song.warnings,
    )


def render_stems(
    midi_path: str | Path,
    folder: str | Path,
    preset: Choice,
    sample_rate: int = 48_000,
    channels: Mapping[int, Choice] | None = None,
    depth: str = "24",
    overwrite: bool = False,
) -> list[Path]:
    """Render each channel that holds notes into `folder`/channel-NN.wav, with its effects; returns the paths.

    Raises:
        NeuralSynthError: as `render_file`.
    """
    song = read_midi_file(midi_path)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    paths = []
    for channel in song.channels_used():
        path = folder / f"channel-{channel + 1:02d}.wav"
        check_output(path, midi_path, overwrite)
        engine = _engine_for(song, preset, sample_rate, channels or {}, only=channel)
        with audio_writer(path, sample_rate, depth) as write:
            for block in _blocks(song, engine):
                write(block)
        paths.append(path)
    return paths


def check_output(output: Path, source: str | Path, overwrite: bool) -> None:
    """Refuse to write over the input, a folder or an existing file before any work is done.

    Raises:
        UsageError: the output is the input, a folder, or there already.
        OutputError: its folder does not exist.
    """
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; name a .wav or .flac file")
    if not output.parent.is_dir():
        raise OutputError(f"{output}: its folder does not exist; make it first")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input; name another file")
    if output.exists() and output.is_file() and not overwrite:
        raise UsageError(f"{output}: exists already; add --force to replace it")


def _engine_for(
    song: Song, preset: Choice, sample_rate: int, channels: Mapping[int, Choice], only: int | None = None
) -> Engine:
    """An engine with an instrument for each channel that holds notes (or for `only` one), its keys decoded."""
    from neuralsynth.engine import Engine
    from neuralsynth.instrument import Instrument

    for channel in channels:
        if not 1 <= channel <= 16:
            raise UsageError(f"channel is {channel}; use 1 to 16")
    loaded: dict = {}
    chosen: dict[int, Instrument] = {}
    for channel in song.channels_used() if only is None else (only,):
        choice = channels.get(channel + 1, preset)
        key = choice if isinstance(choice, Instrument) else str(choice)
        if key not in loaded:
            loaded[key] = choice if isinstance(choice, Instrument) else Instrument.load(choice)
        chosen[channel] = loaded[key]
    engine = Engine(chosen, sample_rate, BLOCK_SIZE)
    engine.prepare(_keys_by_channel(song))
    return engine


def _keys_by_channel(song: Song) -> dict[int, np.ndarray]:
    status, key = song.packed & 0xFF, (song.packed >> 8) & 0x7F
    return {channel: np.unique(key[status == 0x90 | channel]) for channel in song.channels_used()}


def _blocks(song: Song, engine: Engine) -> Iterator[np.ndarray]:
    """The song, then its tail until it is quiet; what effects delay is moved back to its place."""
    skip = engine.latency_samples
    for block in _played(song, engine):
        kept = block[:, skip:]
        skip -= block.shape[1] - kept.shape[1]
        if kept.shape[1]:
            yield kept


def _played(song: Song, engine: Engine) -> Iterator[np.ndarray]:
    from neuralsynth.engine import play_events

    rate = engine.sample_rate
    n_song = round(song.duration_seconds * rate) + 1
    yield from play_events(engine, song.events(rate), n_song, BLOCK_SIZE)
    n_quiet, n_tail = 0, 0
    while n_tail < LONGEST_TAIL_SECONDS * rate and n_quiet < QUIET_SECONDS * rate:
        block = engine.process([], BLOCK_SIZE)
        n_tail += BLOCK_SIZE
        is_quiet = engine.n_sounding == 0 and np.max(np.abs(block)) < db_to_gain(QUIET_DB)
        n_quiet = n_quiet + BLOCK_SIZE if is_quiet else 0
        yield block


class _Meter:
    """Peak, power and length of what was written."""

    def __init__(self) -> None:
        self.n_samples, self.peak, self._power = 0, 0.0, 0.0

    def add(self, block: np.ndarray) -> None:
        self.n_samples += block.shape[1]
        self.peak = max(self.peak, float(block.max(initial=0.0)), -float(block.min(initial=0.0)))
        self._power += sum(float(np.vdot(side, side)) for side in block) / len(block)

    @property
    def rms(self) -> float:
        return (self._power / max(self.n_samples, 1)) ** 0.5
