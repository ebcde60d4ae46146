"""What a spec must keep that its types cannot say: limits, and that its parts fit each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from neuralsynth import prior, strokes

if TYPE_CHECKING:
    from neuralsynth.spec import Detail, InstrumentSpec, Sustain, Texture, Traits

#: Limits a file must keep, so that a hostile one cannot ask for the whole memory.
MAX_FRAMES, MAX_PARTIALS, MAX_BANDS, MAX_LATENT_SIZE, MAX_NAMED = 1024, 512, 256, 2048, 1024
MAX_TEXTURE = 12.0  # dB and cents
MAX_VARIATIONS = 16


def complaints(spec: InstrumentSpec) -> Iterator[str]:
    """What is wrong with a spec; nothing if all is right.

    A complaint may rest on what those before it made sure of: take the first, and ask for no more.
    """
    if not 1 <= spec.latent_size <= MAX_LATENT_SIZE:
        yield f"latent_size is {spec.latent_size}; use 1 to {MAX_LATENT_SIZE}"
    if spec.detail is not None:
        yield from _about_detail(spec.detail, spec)
    yield from _about_places(spec)
    if not 8_000 <= spec.sample_rate <= 384_000:
        yield f"sample_rate is {spec.sample_rate}; use 8000 to 384000 Hz"
    if spec.waveform is not None and spec.kind != "waveform":
        yield "it has a waveform, but its kind is spectral"
    if spec.waveform is not None and not 0.0 <= spec.waveform.sounds_at <= 127.0:
        yield "waveform: sounds_at must lie in 0 to 127"
    if spec.kind == "spectral" or spec.waveform is not None:
        yield from _about_grid(spec)
    for what in ("own_axes", "traits", "variations", "strokes"):
        if not getattr(spec, what).keys() <= spec.points.keys():
            yield f"{what} has a name that is no point"
    for name, ways in spec.variations.items():
        yield from _about_variations(name, ways, spec)
    for name, own in spec.strokes.items():
        yield from (f"strokes of {name}: {complaint}" for complaint in strokes.complaints(own))
    yield from _about_traits(spec, spec)
    for traits in spec.traits.values():
        yield from _about_traits(traits, spec)


def _about_places(spec: InstrumentSpec) -> Iterator[str]:
    """Points, axes and prior, which all speak of the latent."""
    if not 1 <= len(spec.points) <= MAX_NAMED:
        yield f"{len(spec.points)} points; use 1 to {MAX_NAMED}"
    if len(spec.axes) > MAX_NAMED:
        yield f"{len(spec.axes)} axes; use at most {MAX_NAMED}"
    if spec.default_point not in spec.points:
        yield f"default_point {spec.default_point!r} is not among its points"
    if not all(own.keys() <= spec.axes.keys() for own in spec.own_axes.values()):
        yield "own_axes has a name that is no axis"
    axes = [axis for some in (spec.axes, *spec.own_axes.values()) for axis in some.values()]
    vectors = [*spec.points.values(), *(v for a in axes for v in (a.low, a.high))]
    z = spec.character_size
    if not all(len(v) == z for v in vectors):
        yield f"a point or axis does not have {z} numbers"
    if not all(_is_moderate(v) for v in vectors):
        yield "a latent number is not finite or huge"
    if spec.prior is not None:
        yield from (f"prior: {complaint}" for complaint in prior.complaints(spec.prior, z, spec.latent_size - z))


def _about_detail(detail: Detail, spec: InstrumentSpec) -> Iterator[str]:
    bands = len(spec.band_edges_hz) - 1
    is_sized = detail.n_functions >= 1 and 0 <= detail.n_partials <= spec.n_partials and 0 <= detail.n_bands <= bands
    if not (is_sized and 0 <= detail.n_stiffness <= 1):
        yield f"detail is {detail}"
    if not 0 < detail.size < spec.latent_size:
        yield f"detail takes {detail.size} of {spec.latent_size} latent numbers"


def _about_variations(name: str, ways: list[list[float]], spec: InstrumentSpec) -> Iterator[str]:
    if len(ways) > MAX_VARIATIONS:
        yield f"{name} has {len(ways)} variations; use at most {MAX_VARIATIONS}"
    sizes = (spec.character_size, spec.latent_size)
    if not all(len(way) in sizes for way in ways):
        yield f"a variation of {name} does not have {sizes[0]} or {sizes[1]} numbers"
    if not all(_is_moderate(way) for way in ways):
        yield f"a variation of {name} is not finite or huge"


def _about_traits(own: InstrumentSpec | Traits, spec: InstrumentSpec) -> Iterator[str]:
    if not 0 <= own.note_low <= own.note_high <= 127:
        yield "note_low..note_high must lie in 0..127"
    if not 0 <= own.velocity_low <= own.velocity_high <= 127:
        yield "velocity_low..velocity_high must lie in 0..127"
    if own.sustain is not None and spec.frame_seconds:
        yield from _about_sustain(own.sustain, spec.frame_seconds[-1])
    if own.texture is not None:
        yield from _about_texture(own.texture)


def _about_sustain(sustain: Sustain, last_seconds: float) -> Iterator[str]:
    start, end = sustain.start_seconds, sustain.end_seconds
    if not (math.isfinite(start) and 0 <= start < end <= last_seconds):
        yield f"sustain {start}..{end} s lies outside its frames"


def _about_texture(texture: Texture) -> Iterator[str]:
    if not 1 <= len(texture.partials_db) <= MAX_PARTIALS:
        yield f"texture has {len(texture.partials_db)} partials; use 1 or more"
    if not all(0.0 <= x <= MAX_TEXTURE for x in (*texture.partials_db, texture.level_db, texture.cents)):
        yield f"texture goes beyond 0 to {MAX_TEXTURE:g} dB or cents"
    if not 0.005 <= texture.seconds <= 5.0:
        yield f"texture has {texture.seconds} seconds; use 0.005 to 5"


def _about_grid(spec: InstrumentSpec) -> Iterator[str]:
    times, edges = np.array(spec.frame_seconds), np.array(spec.band_edges_hz)
    if not 2 <= len(times) <= MAX_FRAMES:
        yield f"{len(times)} frame times; use 2 to {MAX_FRAMES}"
    if not 2 <= len(edges) <= MAX_BANDS + 1:
        yield f"{len(edges)} band edges; use 2 to {MAX_BANDS + 1}"
    if not 1 <= spec.n_partials <= MAX_PARTIALS:
        yield f"n_partials is {spec.n_partials}; use 1 to {MAX_PARTIALS}"
    is_finite = bool(np.all(np.isfinite(times)) and np.all(np.isfinite(edges)))
    if not (is_finite and np.all(np.diff(times) > 0)):
        yield "frame_seconds must increase"
    if not (times[0] == 0.0 and times[-1] <= 120.0):
        yield "frame_seconds must run from 0 to at most 120"
    if not (np.all(np.diff(edges) > 0) and edges[0] > 0):
        yield "band_edges_hz must be positive and increase"


def _is_moderate(numbers: list[float]) -> bool:
    return all(math.isfinite(x) and abs(x) < 1e3 for x in numbers)
