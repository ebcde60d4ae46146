"""`InstrumentSpec`: what an instrument file says about itself. No torch, no onnxruntime.

The spec is one JSON document under the metadata key `neuralsynth` of the `.onnx` file (format version 1,
described in `presets/README.md`). Unknown keys are refused by name; older versions are upgraded in
`_upgraded` and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from neuralsynth.errors import ModelError
from neuralsynth.prior import Prior
from neuralsynth.spec_checks import MAX_BANDS, MAX_FRAMES, MAX_LATENT_SIZE, MAX_PARTIALS, complaints
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.strokes import Strokes

FORMAT_VERSION = 1
METADATA_KEY = "neuralsynth"
ENCODER_KEY, ENCODER_SUFFIX = "neuralsynth-encoder", ".encoder.onnx"


class Sustain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stretch of a sustaining sound in which a held note wanders."""

    start_seconds: float
    end_seconds: float


class Texture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a held note lives: random movement around its spectrum, drawn anew for each note.

    `partials_db` has the standard deviation of each partial on its own, the last one for all that follow; `level_db`
    that of all partials together, `cents` that of the pitch; `seconds` the time in which they forget where they were.
    """

    partials_db: list[float]
    level_db: float
    cents: float
    seconds: float


class Detail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the last numbers of the latent describe one sound's own deviation from the model: its *detail*.

    There are `n_functions` runs of `n_partials + n_bands` numbers: number `r` of run `k` raises the level of partial
    (or noise band) `r` by so many times a fixed course over time, in dB. With `n_stiffness` 1 there is one number more,
    the last: how much stiffer the string is (the natural logarithm of a factor to its inharmonicity B). All are zero at
    every named point.
    """

    n_functions: int
    n_partials: int
    n_bands: int
    n_stiffness: int = 0  # 0 or 1

    @property
    def size(self) -> int:
        """How many numbers of the latent they are."""
        return self.n_functions * (self.n_partials + self.n_bands) + self.n_stiffness


class Waveform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How audio of kind `waveform` is heard: what its graph really takes, and where on the keyboard its sound lies.

    Where it takes no note, `sounds_at` is the key (MIDI, with fraction) that plays the sound as it is.
    """

    takes_note: bool
    takes_velocity: bool
    is_pitched: bool
    sounds_at: float = 60.0


class Traits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a named point has of its own in a model of several instruments; elsewhere the whole file's count."""

    note_low: int
    note_high: int
    velocity_low: int
    velocity_high: int
    sustain: Sustain | None = None
    texture: Texture | None = None


class LatentAxis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A direction in latent space named by what it does, from `low` (position -1) to `high` (position +1).

    The ends are offsets that are added to a latent point. `low_value` and `high_value` are the descriptor measured
    there, in `unit`.
    """

    low: list[float]
    high: list[float]
    low_value: float
    high_value: float
    unit: str
    says: str = ""


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean distances in dB on recordings left out of training (`docs/quality.md`)."""

    floor_db: float
    reconstruct_db: float
    play_db: float
    sampler_db: float
    interpolated_db: float
    n_recordings: int


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the instrument came to be."""

    data_digest: str  # SHA-256 over the recordings' digests, hex
    recordings: list[str]  # first 16 hex digits of each training file's SHA-256: `score` knows what was seen
    seed: int
    steps: int
    minutes: float
    versions: dict[str, str]


class InstrumentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a player must know of an instrument file besides its graph."""

    format_version: int = FORMAT_VERSION
    kind: Literal["spectral", "waveform"] = "spectral"
    family: str
    name: str
    sample_rate: int  # Hz of the recordings; playing works at any rate
    waveform: Waveform | None = None  # of kind waveform
    frame_seconds: list[float] = []  # [T]; of kind waveform the grid on which audio is heard
    band_edges_hz: list[float] = []  # [B + 1]
    n_partials: int = 0
    latent_size: int  # Z, the detail included
    detail: Detail | None = None
    points: dict[str, list[float]]  # `character_size` numbers each
    default_point: str
    axes: dict[str, LatentAxis] = {}
    own_axes: dict[str, dict[str, LatentAxis]] = {}  # of points at which an axis goes another way
    prior: Prior | None = None
    traits: dict[str, Traits] = {}  # of points that differ from the file as a whole
    variations: dict[str, list[list[float]]] = {}  # of drums: how recorded hits differ from their point
    strokes: dict[str, Strokes] = {}  # of drums whose strokes repeat each other's waveform, by point
    note_low: int
    note_high: int
    velocity_low: int  # softest and loudest recorded layer, MIDI 0..127;
    velocity_high: int  # equal when there is one layer
    sustain: Sustain | None = None
    texture: Texture | None = None
    licence: str
    origin: str
    provenance: Provenance | None = None
    quality: Quality | None = None

    def grid(self) -> SpectrumGrid:
        """The time and frequency grid of a spectral instrument."""
        return SpectrumGrid(np.array(self.frame_seconds), np.array(self.band_edges_hz), self.n_partials)

    @property
    def character_size(self) -> int:
        """How many of the latent's numbers say what instrument it is and how it is turned: all but the detail."""
        return self.latent_size - (self.detail.size if self.detail else 0)

    def place(self, numbers: Sequence[float] | np.ndarray) -> np.ndarray:
        """The full latent `[Z]` float32 of a point, or of a whole latent: missing detail is zero."""
        latent = np.zeros(self.latent_size, np.float32)
        latent[: len(numbers)] = numbers
        return latent

    def vary(self, point: str, rng: np.random.Generator, amount: float = 1.0) -> np.ndarray:
        """A step in the latent `[Z]` float32 from a point to a hit that nobody recorded: a mixture of recorded ones.

        The shares are drawn evenly from all that there are (a flat Dirichlet distribution). No step where a point has
        no variations.
        """
        hits = self.variations.get(point, [])
        shares = rng.dirichlet(np.ones(len(hits))) if hits else np.zeros(0)
        step = self.place([])
        for share, hit in zip(shares, hits, strict=True):
            step += np.float32(amount * share) * self.place(hit)
        return step

    def nearest_point(self, latent: np.ndarray) -> str:
        """The name of the point whose character is nearest to that of a latent."""
        character = np.asarray(latent, np.float64)[: self.character_size]
        return min(self.points, key=lambda name: float(np.sum((character - self.points[name]) ** 2)))

    def around(self, point: str) -> InstrumentSpec:
        """The spec with the range, dynamics, sustain, texture and axes of one of its points."""
        traits, axes = self.traits.get(point), self.own_axes.get(point)
        told = msgspec.structs.asdict(traits) if traits else {}
        told |= {"axes": self.axes | axes} if axes else {}
        return msgspec.structs.replace(self, **told) if told else self

    def at(self, latent: np.ndarray) -> InstrumentSpec:
        """The spec with what a nameless place has from its nearest point: sustain, texture and axes, not the range."""
        own = self.around(self.nearest_point(latent))
        return msgspec.structs.replace(self, sustain=own.sustain, texture=own.texture, axes=own.axes)

    def to_json(self) -> str:
        """The document that goes into the file."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> InstrumentSpec:
        """Read and check a spec.

        Raises:
            ModelError: not JSON, an unknown key, a wrong type, a value out of range, or a newer version;
                the text starts with `where`.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where}: its spec is no JSON document ({error})") from error
        try:
            spec = msgspec.convert(_upgraded(document, where), cls)
        except msgspec.ValidationError as error:
            raise ModelError(f"{where}: its spec is wrong: {error}") from error
        for complaint in complaints(spec):
            raise ModelError(f"{where}: its spec is wrong: {complaint}")
        return spec


class EncoderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an encoder file (`NAME.encoder.onnx`) says about itself; it belongs to the instrument `NAME.onnx`."""

    format_version: int = FORMAT_VERSION
    n_frames: int
    n_partials: int
    n_bands: int
    character_size: int

    def fits(self, spec: InstrumentSpec) -> bool:
        """Whether the sizes are those of an instrument."""
        own = (self.n_frames, self.n_partials, self.n_bands, self.character_size)
        theirs = (len(spec.frame_seconds), spec.n_partials, len(spec.band_edges_hz) - 1, spec.character_size)
        return own == theirs

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> EncoderSpec:
        """Read and check a spec.

        Raises:
            ModelError: not JSON, an unknown key, a wrong type or size, or another version.
        """
        try:
            spec = msgspec.convert(_upgraded(json.loads(text), where), cls)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where}: its encoder spec is wrong: {error}") from error
        limits = (MAX_FRAMES, MAX_PARTIALS, MAX_BANDS, MAX_LATENT_SIZE)
        sizes = (spec.n_frames, spec.n_partials, spec.n_bands, spec.character_size)
        if not all(1 <= size <= limit for size, limit in zip(sizes, limits, strict=True)):
            raise ModelError(f"{where}: its encoder spec is wrong: sizes {sizes}; use 1 to {limits}")
        return spec


def latent_size(spec: InstrumentSpec) -> str:
    """How large the latent is, in words."""
    more = f" and {spec.detail.size} of detail" if spec.detail else ""
    return f"latent size {spec.character_size}{more}"


def point_name(group: str, otherwise: str = "instrument") -> str:
    """The name of the latent point of a group of recordings: `Alto Sax (2018)` -> `alto-sax-2018`."""
    return re.sub(r"[^a-z0-9]+", "-", group.lower()).strip("-") or otherwise


def _upgraded(document: Any, where: str) -> Any:
    """Bring an older document to `FORMAT_VERSION`; version 1 is the first, so there is nothing to change yet."""
    version = document.get("format_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelError(f"{where}: its spec has format_version {version!r}; {FORMAT_VERSION} is known")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{where}: it is of format version {version}, this neuralsynth reads up to {FORMAT_VERSION}; "
            "update with: pip install -U neuralsynth"
        )
    return document
