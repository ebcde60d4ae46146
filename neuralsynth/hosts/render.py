"""Offline host: a MIDI file through instruments to an audio file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuralsynth.audiofile import audio_writer, subtype_for
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.events import TEMPO, Event, sample_at
from neuralsynth.hosts.cast import BLOCK_SIZE, Cast, Choice
from neuralsynth.hosts.midi_file import Song, read_midi_file
from neuralsynth.midi.learn import ControllerMap
from neuralsynth.performance import Performance
from neuralsynth.tuning.sysex import Reset, read_sysex
from neuralsynth.units import db_to_gain, gain_to_db

if TYPE_CHECKING:  # the engine takes a second to import: a bad song or name is told before that
    from neuralsynth.engine import Engine

#: The tail ends when nothing sounds, the output is below this level, and no echo is to come; so much silence stays.
QUIET_DB, QUIET_SECONDS, LONGEST_TAIL_SECONDS = -90.0, 0.25, 60.0
#: A share of the song that is limited without being worth a warning.
MUCH_LIMITED = 0.02


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
    limited_seconds: float  # how long the output guard lowered the mix by 1 dB or more
    muted_faults: int
    ignored_messages: int  # that said nothing to the instrument
    times_real_time: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        return asdict(self)


def render(
    midi_path: str | Path,
    preset: Choice | None = None,
    sample_rate: int = 48_000,
    channels: Mapping[int, Choice] | None = None,
    programs: str | Path | Performance | None = None,
    controls: str | Path | ControllerMap | None = None,
    gain_db: float | None = None,
) -> np.ndarray:
    """Render a MIDI file: float32 `[2, samples]`, tails included.

    Args:
        preset: preset name, path, or a loaded instrument, for all channels not named in `channels`; without it and
            without `programs` the piano.
        channels: MIDI channel 1..16 -> preset, whatever the song's program changes say.
        programs: performance (name, path, or loaded) that says what channels start with and what programs bring.
        controls: controller map, or its path.
        gain_db: level of the mix; None turns the mix of N channels down by 10·log10(N) dB.

    Raises:
        NeuralSynthError: as `read_midi_file`, `Cast` and `Cast.engine`.
    """
    song = read_midi_file(midi_path)
    engine = Cast(song, preset, channels, programs, controls).engine(sample_rate, gain_db=gain_db)
    return np.concatenate(list(song_blocks(song, engine)), axis=1)


def render_file(
    midi_path: str | Path,
    output: str | Path,
    preset: Choice | None = None,
    sample_rate: int = 48_000,
    channels: Mapping[int, Choice] | None = None,
    depth: str = "24",
    overwrite: bool = False,
    progress: Callable[[float, float], None] | None = None,
    programs: str | Path | Performance | None = None,
    controls: str | Path | ControllerMap | None = None,
    gain_db: float | None = None,
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
    cast = Cast(song, preset, channels, programs, controls)
    engine, meter = cast.engine(sample_rate, gain_db=gain_db), Meter()
    with audio_writer(output, sample_rate, depth) as write:
        for block in song_blocks(song, engine):
            meter.add(block)
            write(block)
            if progress is not None:
                progress(min(meter.n_samples / sample_rate, song.duration_seconds), song.duration_seconds)
    return _report(str(output), song, engine, meter, time.perf_counter() - began, song.warnings + cast.warnings())


def render_stems(
    midi_path: str | Path,
    folder: str | Path,
    preset: Choice | None = None,
    sample_rate: int = 48_000,
    channels: Mapping[int, Choice] | None = None,
    depth: str = "24",
    overwrite: bool = False,
    programs: str | Path | Performance | None = None,
    controls: str | Path | ControllerMap | None = None,
    gain_db: float | None = None,
) -> list[Path]:
    """Render each channel that holds notes into `folder`/channel-NN.wav, with its effects; returns the paths.

    An MPE zone is one stem, its master's. The stems add up to the mix where no two channels share a patch, nothing
    goes to the shared reverb or chorus, and the output guard leaves the mix alone; voices that share a patch share
    its noise, its effects and its polyphony, so that there the sum comes close.

    Raises:
        NeuralSynthError: as `render_file`.
    """
    song, folder = read_midi_file(midi_path), Path(folder)
    cast = Cast(song, preset, channels, programs, controls)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    paths = []
    for channel in cast.players:
        path = folder / f"channel-{channel + 1:02d}.wav"
        check_output(path, midi_path, overwrite)
        with audio_writer(path, sample_rate, depth) as write:
            for block in song_blocks(song, cast.engine(sample_rate, channel, gain_db)):
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


def _report(
    output: str, song: Song, engine: Engine, meter: Meter, took_seconds: float, warnings: tuple[str, ...]
) -> RenderReport:
    seconds = meter.n_samples / engine.sample_rate
    if engine.limited_seconds > MUCH_LIMITED * seconds:
        warnings += (f"the mix is too loud: {engine.limited_seconds:.0f} s of it were limited; use a lower --gain",)
    return RenderReport(
        output=output,
        seconds=round(seconds, 3),
        sample_rate=round(engine.sample_rate),
        peak_db=round(float(gain_to_db(meter.peak)), 2),
        rms_db=round(float(gain_to_db(meter.rms)), 2),
        notes=song.n_notes,
        stolen_voices=sum(part.pool.stolen_voices for part in engine.parts),
        limited_seconds=round(engine.limited_seconds, 2),
        muted_faults=engine.faults,
        ignored_messages=engine.ignored,
        times_real_time=round(seconds / max(took_seconds, 1e-9), 1),
        warnings=warnings,
    )


def song_blocks(song: Song, engine: Engine) -> Iterator[np.ndarray]:
    """The song, then its tail until it is quiet: yields float32 `[2, n]`.

    What effects delay is moved back to its place.
    """
    skip = engine.latency_samples
    for block in _played(song, engine):
        kept = block[:, skip:]
        skip -= block.shape[1] - kept.shape[1]
        if kept.shape[1]:
            yield kept


def _played(song: Song, engine: Engine) -> Iterator[np.ndarray]:
    from neuralsynth.engine import play_events

    rate = engine.sample_rate
    n_song = int(sample_at(song.duration_seconds, rate)) + 1
    yield from play_events(engine, _without_first_resets(song.events(rate)), n_song, BLOCK_SIZE)
    yield from _tail(engine)


def _tail(engine: Engine) -> Iterator[np.ndarray]:
    """What rings on, and a little silence; an echo may come after a longer one."""
    rate = engine.sample_rate
    wait_seconds = min(max(QUIET_SECONDS, engine.tail_seconds), LONGEST_TAIL_SECONDS)
    silence: list[np.ndarray] = []
    for _ in range(math.ceil(LONGEST_TAIL_SECONDS * rate / BLOCK_SIZE)):
        block = engine.process([], BLOCK_SIZE)
        if engine.n_sounding == 0 and np.max(np.abs(block)) < db_to_gain(QUIET_DB):
            silence.append(block)
            if len(silence) * BLOCK_SIZE >= wait_seconds * rate:
                break
            continue
        yield from silence
        silence.clear()
        yield block
    yield from silence[: math.ceil(QUIET_SECONDS * rate / BLOCK_SIZE)]


def _without_first_resets(events: Iterable[Event]) -> Iterator[Event]:
    """Leave out the resets that songs begin with: a fresh engine needs none, and each would dip the first notes."""
    is_first = True
    for event in events:
        is_reset = is_first and isinstance(read_sysex(event.message), Reset)
        is_first = is_reset or (is_first and event.message.startswith(TEMPO))
        if not is_reset:
            yield event


class Meter:
    """Peak, power and length of what was written."""

    def __init__(self) -> None:
        self.n_samples, self.peak, self._power = 0, 0.0, 0.0

    def add(self, block: np.ndarray) -> None:
        """Count a block `[2, n]`."""
        self.n_samples += block.shape[1]
        self.peak = max(self.peak, float(block.max(initial=0.0)), -float(block.min(initial=0.0)))
        self._power += sum(float(np.vdot(side, side)) for side in block) / len(block)

    @property
    def rms(self) -> float:
        """Root of the mean power of both sides."""
        return (self._power / max(self.n_samples, 1)) ** 0.5
