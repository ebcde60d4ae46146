"""`adopt`: a third-party one-shot generator in ONNX becomes an instrument file of kind `waveform`.

Its graph goes into the file as it is, wrapped (`adoption_graph`), and passes the same gate as every instrument file.
What the author does not say of the sound is measured at the first point: whether it has a pitch, and which.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from neuralsynth.adoption_graph import Mapping, Wrapped
from neuralsynth.adoption_pair import golden_pair
from neuralsynth.analysis import analyse_note
from neuralsynth.errors import ModelError, RecordingError, UsageError
from neuralsynth.model import MAX_FILE_BYTES, InstrumentModel
from neuralsynth.model_gate import approve
from neuralsynth.model_graph import check_graph
from neuralsynth.prior import standard_normal
from neuralsynth.regular_file import read_regular_file
from neuralsynth.spec import METADATA_KEY, InstrumentSpec, Sustain, Waveform
from neuralsynth.spectrum import SpectrumGrid, mel_band_edges_hz, warped_frame_seconds
from neuralsynth.storage import whole_file
from neuralsynth.toml_file import read_toml
from neuralsynth.units import hz_to_note, note_to_hz

MAX_SPEC_BYTES = 64 << 10
N_POINTS = 8  # drawn where the author names none
N_FRAMES, LEAST_SECONDS, MOST_SECONDS = 128, 0.05, 12.0
N_BANDS = 64
N_MODES, LEAST_PARTIALS, MOST_PARTIALS, HIGHEST_PARTIAL_HZ = 48, 32, 128, 16_000.0
SURE = 0.35  # of a pitch that is measured: what is heard with less confidence is taken for a hit
MIDDLE_NOTE = 60.0


_Midi = Annotated[int, msgspec.Meta(ge=0, le=127)]


class Inputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the graph's inputs are ours, by name, and in what units it takes them."""

    latent: str = ""
    latent_size: int = 0
    note: str = ""
    note_unit: Literal["midi", "hz", "0..1"] = "midi"
    velocity: str = ""
    velocity_unit: Literal["0..1", "midi"] = "0..1"


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the graph's outputs is the sound, and how its sizes are ordered."""

    audio: str = ""
    layout: Literal["", "NS", "NCS", "NSC"] = ""


class Sound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the sound; what is not said is measured."""

    pitched: bool | None = None
    sounds_at: float | None = None
    note_low: _Midi = 21
    note_high: _Midi = 108
    velocity_low: _Midi = 20
    velocity_high: _Midi = 127
    sustain_seconds: tuple[float, float] | None = None


class AdoptionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `SPEC.toml` (`docs/adopt.md`)."""

    name: str
    licence: str
    origin: str
    sample_rate: int
    family: str = "adopted"
    inputs: Inputs = Inputs()
    output: Output = Output()
    sound: Sound = Sound()
    points: dict[str, int | list[float]] = {}


def read_spec(path: Path) -> AdoptionSpec:
    """Read a `SPEC.toml`.

    Raises:
        UsageError: it cannot be read, is no TOML, or has a key or value that is not allowed.
    """
    document = read_toml(path, MAX_SPEC_BYTES, UsageError)
    try:
        return msgspec.convert(document, AdoptionSpec)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from error


def adopt(model_path: Path, spec_path: Path, output: Path) -> InstrumentModel:
    """Wrap a generator and write `output` with its golden pair; returns the instrument, opened.

    Raises:
        UsageError: the `SPEC.toml` is wrong.
        ModelError: the generator cannot be mapped, is refused by the gate, or gives nothing to hear.
        OutputError: a file cannot be written.
    """
    asked = read_spec(spec_path)
    data = read_regular_file(model_path, MAX_FILE_BYTES, ModelError)
    wrapped = Wrapped(data, _mapping(asked), model_path)
    points = _points(asked, wrapped.latent_size, spec_path)
    takes = Waveform(bool(asked.inputs.note), bool(asked.inputs.velocity), is_pitched=False)
    spec = _checked(_spec(asked, wrapped.latent_size, points, takes), spec_path)
    # Only what the gate has approved is run here; that which says how the sound is heard changes no number in it.
    model = _approved(wrapped, spec, model_path)
    first = _first_sound(model)
    takes = _heard(asked, takes, first, spec_path)
    spec = _checked(_spec(asked, wrapped.latent_size, points, takes, first.shape[-1] / asked.sample_rate), spec_path)
    pair = golden_pair(data, _mapping(asked), spec, model_path)
    return _published(wrapped.with_document(METADATA_KEY, spec.to_json()), pair, output)


def _mapping(asked: AdoptionSpec) -> Mapping:
    i, o = asked.inputs, asked.output
    return Mapping(i.latent, i.note, i.velocity, i.note_unit, i.velocity_unit, o.audio, o.layout, i.latent_size)


def _points(asked: AdoptionSpec, size: int, where: Path) -> dict[str, list[float]]:
    """The named places: numbers as they are, seeds as draws from a standard normal distribution."""
    named: dict[str, int | list[float]] = asked.points or {f"sound-{i}": i for i in range(1, N_POINTS + 1)}
    found = {}
    for name, place in named.items():
        if isinstance(place, int) and not 0 <= place < 2**63:
            raise UsageError(f"{where}: [points] {name} is {place}; use a seed from 0 up, or {size} numbers")
        draw = np.random.default_rng(place).standard_normal(size) if isinstance(place, int) else place
        found[name] = [round(float(x), 5) for x in draw]
    return found


def _spec(
    asked: AdoptionSpec, size: int, points: dict[str, list[float]], waveform: Waveform, seconds: float | None = None
) -> InstrumentSpec:
    """What the file says of itself, where a sound lasts `seconds`; before that is known, a draft for the gate."""
    sound = asked.sound
    lowest_hz = float(note_to_hz(sound.note_low if waveform.takes_note else waveform.sounds_at))
    n_partials = int(np.clip(16 * round(HIGHEST_PARTIAL_HZ / lowest_hz / 16), LEAST_PARTIALS, MOST_PARTIALS))
    frames = warped_frame_seconds(N_FRAMES, min(max(seconds or 1.0, LEAST_SECONDS), MOST_SECONDS))
    return InstrumentSpec(
        kind="waveform",
        family=asked.family,
        name=asked.name,
        sample_rate=asked.sample_rate,
        waveform=waveform,
        frame_seconds=[float(t) for t in frames],
        band_edges_hz=[float(f) for f in mel_band_edges_hz(N_BANDS)],
        n_partials=n_partials if waveform.is_pitched else N_MODES,
        latent_size=size,
        points=points,
        default_point=next(iter(points)),
        prior=standard_normal(size) if size > 1 else None,
        note_low=sound.note_low,
        note_high=sound.note_high,
        velocity_low=sound.velocity_low if waveform.takes_velocity else 127,
        velocity_high=sound.velocity_high if waveform.takes_velocity else 127,
        sustain=Sustain(*sound.sustain_seconds) if sound.sustain_seconds and seconds else None,
        licence=asked.licence,
        origin=asked.origin,
    )


def _checked(spec: InstrumentSpec, where: Path) -> InstrumentSpec:
    """The spec, if a file may say that."""
    try:
        return InstrumentSpec.from_json(spec.to_json(), str(where))
    except ModelError as error:
        raise UsageError(str(error).replace("its spec is wrong: ", "")) from error


def _approved(wrapped: Wrapped, spec: InstrumentSpec, where: Path) -> InstrumentModel:
    """The wrapped graph, opened after the gate has let it pass."""
    data = wrapped.with_document(METADATA_KEY, spec.to_json())
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(f"{where}: is {len(data) >> 20} MB large; at most {MAX_FILE_BYTES >> 20} MB are allowed")
    check_graph(data, str(where))
    approve(where, data, None)
    return InstrumentModel(data, where)


def _first_sound(model: InstrumentModel) -> np.ndarray:
    """What the default point gives in the middle of the keyboard, mono `[S]`."""
    spec = model.spec
    latent = spec.place(spec.points[spec.default_point])[None]
    audio = model.run(latent, np.array([_middle(spec)], np.float32), np.ones(1, np.float32))["audio"][0].mean(axis=0)
    if np.ptp(audio) < 1e-4:
        raise ModelError(f"{model.path}: is silent at its first point; name another under [points]")
    return audio


def _middle(spec: InstrumentSpec) -> float:
    return float(np.clip(MIDDLE_NOTE, spec.note_low, spec.note_high))


def _heard(asked: AdoptionSpec, takes: Waveform, audio: np.ndarray, where: Path) -> Waveform:
    """How the sound is heard: as the author says, and for the rest as it is measured."""
    sound, note, pitched = asked.sound, asked.sound.sounds_at, asked.sound.pitched
    if note is not None and not 0.0 <= note <= 127.0:
        raise UsageError(f"{where}: [sound] sounds_at is {note:g}; use a MIDI note from 0 to 127")
    if takes.takes_note:
        if note is not None:
            raise UsageError(f"{where}: [sound] sounds_at is {note:g}, but the graph takes a note; leave one out")
        spec_note = float(np.clip(MIDDLE_NOTE, sound.note_low, sound.note_high))
        pitched = _has_pitch(audio, asked.sample_rate, spec_note) if pitched is None else pitched
        return msgspec.structs.replace(takes, is_pitched=pitched)
    if note is None and pitched is not False:
        from neuralsynth.analysis.pitch import measure_pitch

        found = measure_pitch(audio, asked.sample_rate)
        if found.pitch_hz > 0.0 and (pitched or found.confidence >= SURE):
            note = float(np.clip(hz_to_note(found.pitch_hz), 0.0, 127.0))
            pitched = _has_pitch(audio, asked.sample_rate, note) if pitched is None else pitched
    note = MIDDLE_NOTE if note is None or (not pitched and sound.sounds_at is None) else note
    return msgspec.structs.replace(takes, is_pitched=bool(pitched), sounds_at=round(note, 3))


def _has_pitch(audio: np.ndarray, rate: int, note: float) -> bool:
    """Whether a tone of about this note stands out in the sound."""
    seconds = min(len(audio) / rate, 2.0)
    grid = SpectrumGrid(warped_frame_seconds(N_FRAMES, seconds), mel_band_edges_hz(N_BANDS), LEAST_PARTIALS)
    try:
        analyse_note(audio, rate, note, grid)
    except RecordingError:
        return False
    return True


def _published(data: bytes, pair: dict[str, np.ndarray], output: Path) -> InstrumentModel:
    """Write file and pair, but only if they pass the gate together."""
    with tempfile.TemporaryDirectory(prefix="adopt-") as folder:
        trial = Path(folder) / output.name
        with trial.with_suffix(".check.npz").open("wb") as file:
            np.savez_compressed(file, **pair)  # type: ignore[arg-type]  # numpy's stub mixes its keywords in
        trial.write_bytes(data)
        golden = trial.with_suffix(".check.npz").read_bytes()
        approve(output, data, golden)
    for path, content in ((output.with_suffix(".check.npz"), golden), (output, data)):
        with whole_file(path) as part:
            part.write_bytes(content)
    return InstrumentModel(data, output)
