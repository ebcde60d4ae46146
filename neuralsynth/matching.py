"""Match: from one recorded sound to a preset of an instrument that plays it.

The steadiest loud note of the recording is found and analysed (`analysis`), the model's latent space is searched for
the note nearest to it (`latent_search`), envelope and level are fitted, and the preset is played by the real engine to
say how close it came. All distances are those of `analysis.distance`, in dB, at the recording's own tuning:

- *floor*: the recording's own analysis, played back. What the description can do at best.
- *match*: the preset as it is written.
- *nearest*: the best of the model's named points, with a neutral envelope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.analysis import distance
from neuralsynth.analysis.heard import Heard, hear
from neuralsynth.envelope_fit import fit_envelope
from neuralsynth.errors import PresetError, one_line
from neuralsynth.instrument import Instrument
from neuralsynth.latent_search import LatentSearch, Place
from neuralsynth.model import InstrumentModel
from neuralsynth.model_encoder import Encoder
from neuralsynth.preset import Preset, find_preset, load_preset, save_with_model, shipped_presets
from neuralsynth.preset_sections import Envelope, Sound
from neuralsynth.scoring import play_spectrum
from neuralsynth.units import hz_to_note

__all__ = ["Heard", "Match", "base_preset", "hear", "match", "match_all", "save_match", "shipped_bases"]

_GAIN_DB = (-60.0, 24.0)  # what a preset may say
_MISSED_DB = 0.5  # a level missed by more is told
MOST_MATCHED = 4  # models that are searched for one recording
_CANDIDATES, _POINTS = 2, 3  # places of the search and named points that are listened to


@dataclass(frozen=True)
class Match:
    """A preset made for a recording, and how close it came."""

    instrument: str  # the model's file name without its ending
    preset: Preset  # its folder is the model's
    note: int
    velocity: int
    tuning_cents: float  # of the recording; the preset itself stays in tune
    floor_db: float
    match_db: float
    nearest_db: float
    nearest_point: str
    character_size: int  # how many of the latent's numbers are not detail
    remarks: tuple[str, ...] = ()

    @property
    def latent(self) -> tuple[float, ...]:
        """Where in the model the sound lies, its detail included."""
        assert self.preset.sound.latent is not None
        return self.preset.sound.latent

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        names = ("instrument", "note", "velocity", "tuning_cents", "floor_db", "match_db", "nearest_db")
        rounded = {n: round(v, 3) if isinstance(v := getattr(self, n), float) else v for n in names}
        sound, envelope = self.preset.sound, msgspec.structs.asdict(self.preset.envelope)
        return {
            **rounded,
            "nearest_point": self.nearest_point,
            "latent": list(self.latent),
            "gain_db": sound.gain_db,
            "envelope": envelope,
            "remarks": list(self.remarks),
        }


def match(heard: Heard, base: Preset, velocity: int | None = None) -> Match:
    """The sound of `base`'s model nearest to a recording; velocity (MIDI) is searched too unless it is given.

    Of `base` only the model, the voices, the wheels and the release are kept.

    Raises:
        RecordingError: the note cannot be described.
        ModelError: the model cannot be used.
        PresetError: the preset is made of layers, or its model is no spectral one.
    """
    return _Matching(heard, base, velocity).result()


def match_all(
    heard: Heard,
    bases: Iterable[Preset],
    velocity: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Match]:
    """Matches of the models whose points lie nearest, the closest first; `progress` is called with (done, total).

    Of many models the `MOST_MATCHED` most promising are searched.
    """
    bases = list(bases)
    steps = len(bases) + min(len(bases), MOST_MATCHED)
    tell = progress or (lambda _done, _total: None)
    promising = []
    for done, base in enumerate(bases, 1):
        promising.append(_Matching(heard, base, velocity))
        promising[-1].prepare()
        tell(done, steps)
    found = []
    for done, one in enumerate(sorted(promising, key=lambda m: m.promise)[:MOST_MATCHED], len(bases) + 1):
        found.append(one.result())
        tell(done, steps)
    return sorted(found, key=lambda one: one.match_db)


def base_preset(name_or_path: str | Path) -> Preset:
    """The preset whose model shall be matched.

    Raises:
        PresetError: there is no such preset, or it is made of layers.
    """
    path = find_preset(name_or_path)
    preset = load_preset(path)
    if preset.layers:
        raise PresetError(f"{path}: is made of layers; give a preset that has a model, or an .onnx file")
    return preset


def shipped_bases() -> list[Preset]:
    """One preset for every shipped model, the one called like it if there is one."""
    found: dict[Path, Preset] = {}
    for path in shipped_presets():
        preset = load_preset(path)
        if not preset.layers and (preset.model_path not in found or path.stem == preset.model_path.stem):
            found[preset.model_path] = preset
    return list(found.values())


def save_match(found: Match, path: Path | str) -> list[Path]:
    """Write the preset, its model copied beside it where it lies elsewhere; returns the copies.

    Raises:
        UsageError: another file of the model's name lies there.
        OutputError: a file cannot be written.
    """
    return save_with_model(found.preset, path)


class _Matching:
    """One recording against one model."""

    def __init__(self, heard: Heard, base: Preset, velocity: int | None) -> None:
        self._heard, self._base = heard, base
        self._model = InstrumentModel.load(base.model_path)
        spec = self._model.spec
        if spec.kind != "spectral":
            raise PresetError(f"{base.model_path}: is of kind {spec.kind!r}; only 'spectral' models can be matched")
        self._note = heard.place.note
        self._grid = spec.grid()
        self._analysis = heard.analysis(self._grid)
        self._reference = heard.held(self._analysis)
        self._tuning = float(hz_to_note(self._analysis.pitch_hz))
        encoder = Encoder.beside(base.model_path)
        self._search = LatentSearch(self._model, self._analysis, self._note, heard.sample_rate, encoder)
        self._wanted_velocity = velocity
        self.promise = float("inf")

    def prepare(self) -> None:
        """Look how near the model's points are."""
        self.promise = self._search.at_points(self._wanted_velocity)[0].cost

    def result(self) -> Match:
        """Search, fit, play and tell."""
        searched = self._search.nearest(self._wanted_velocity)[:_CANDIDATES]
        points = self._search.at_points(self._wanted_velocity)[:_POINTS]
        places = [*searched, points[0]]
        if self._model.spec.detail:
            places += [self._search.detailed(place) for place in places]
        shaped = [(place, self._preset(place, self._envelope(place))) for place in places]
        plain = [(self._judged(preset, point), point, preset) for point, preset in self._neutral(points)]
        nearest_db, nearest, _ = min(plain, key=lambda row: row[0])
        judged = [(self._judged(preset, place), place, preset) for place, preset in shaped]
        _, place, preset = min([*judged, *plain], key=lambda row: row[0])
        preset, remarks = self._levelled(preset, place.velocity)
        match_db = self._judged(preset, place)
        floor = play_spectrum(
            self._analysis.spectrum, self._tuning, len(self._reference), self._heard.sample_rate, self._sustain(place)
        )
        return Match(
            instrument=self._base.model_path.stem,
            preset=self._told(preset, place, match_db),
            note=self._note,
            velocity=place.velocity,
            tuning_cents=100.0 * (self._tuning - self._note),
            floor_db=distance(self._reference, floor, self._heard.sample_rate),
            match_db=match_db,
            nearest_db=nearest_db,
            nearest_point=nearest.start,
            character_size=self._model.spec.character_size,
            remarks=(*self._range_remarks(), *remarks),
        )

    def _neutral(self, places: list[Place]) -> list[tuple[Place, Preset]]:
        envelope = Envelope(release_seconds=self._base.envelope.release_seconds)
        return [(place, self._preset(place, envelope)) for place in places]

    def _sustain(self, place: Place) -> tuple[float, float] | None:
        region = self._model.spec.at(place.latent).sustain
        return (region.start_seconds, region.end_seconds) if region else None

    def _envelope(self, place: Place) -> Envelope:
        spec = self._model.spec
        note = np.clip(self._note, spec.note_low, spec.note_high)
        decoded = self._model.decode(place.latent[None], np.array([note]), np.array([place.velocity / 127.0]))
        heard = self._heard
        return fit_envelope(
            heard.audio, heard.sample_rate, self._analysis, decoded.note(0, self._grid), self._base.envelope
        )

    def _preset(self, place: Place, envelope: Envelope) -> Preset:
        base = self._base
        return Preset(
            name=base.name,
            model=base.model,
            folder=base.folder,
            licence=self._model.spec.licence[:100],
            sound=Sound(latent=tuple(float(x) for x in place.latent)),
            envelope=envelope,
            modulation=base.modulation,
            voices=base.voices,
        )

    def _play(self, preset: Preset, velocity: int) -> np.ndarray:
        """The held note of a preset at the recording's tuning, mono, as long as what is compared."""
        cents = 100.0 * (self._tuning - self._note)
        tuned = msgspec.structs.replace(preset, sound=msgspec.structs.replace(preset.sound, tune_cents=cents))
        instrument = Instrument(tuned, self._model, self._base.model_path)
        rate = self._heard.sample_rate
        strike = [(bytes([0x90, self._note, velocity]), 0.0)]
        return instrument(strike, len(self._reference) / rate, rate, num_channels=1)[0]

    def _judged(self, preset: Preset, place: Place) -> float:
        return distance(self._reference, self._play(preset, place.velocity), self._heard.sample_rate)

    def _levelled(self, preset: Preset, velocity: int) -> tuple[Preset, list[str]]:
        """The preset at the recording's level, and what to say if that cannot be."""
        missing_db = 0.0
        for _ in range(2):  # a second time, since what is too loud at first is held down by the output guard
            wanted_db = preset.sound.gain_db + _level_db(self._reference) - _level_db(self._play(preset, velocity))
            gain_db = round(float(np.clip(wanted_db, *_GAIN_DB)), 2)
            missing_db = wanted_db - gain_db
            preset = msgspec.structs.replace(preset, sound=msgspec.structs.replace(preset.sound, gain_db=gain_db))
        remarks = []
        if abs(missing_db) > _MISSED_DB:
            remarks.append(f"{missing_db:+.1f} dB are missing to the recording's level; a gain ends at {gain_db:g} dB")
        return preset, remarks

    def _range_remarks(self) -> list[str]:
        spec = self._model.spec
        remarks = []
        if not spec.note_low <= self._note <= spec.note_high:
            own = f"{spec.note_low} to {spec.note_high}"
            remarks.append(f"note {self._note} lies outside the instrument's own range, {own}")
        if abs(self._tuning - self._note) > 1.0:
            remarks.append(f"sounds {self._tuning - self._note:+.1f} semitones from note {self._note}")
        return remarks

    def _told(self, preset: Preset, place: Place, match_db: float) -> Preset:
        """The preset with a name and a sentence."""
        source = one_line(self._heard.path.name, 80)
        says = f"matched to {source} (note {self._note}, velocity {place.velocity}): {match_db:.2f} dB away"
        return msgspec.structs.replace(preset, name=one_line(self._heard.path.stem, 80) or "Match", says=says)


def _level_db(audio: np.ndarray) -> float:
    return float(10.0 * np.log10(max(float(np.mean(np.square(audio, dtype=np.float64))), 1e-20)))
