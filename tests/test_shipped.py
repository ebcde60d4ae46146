"""The instruments and presets in presets/: in tune, bounded, small, honest about themselves."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest

from benchmarks.dynamics import least_rise_db
from benchmarks.morph import ways
from benchmarks.pitch import played, praat_cents, yin_cents
from neuralsynth.engine import Engine
from neuralsynth.events import Event
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.model_encoder import Encoder, encoder_path
from neuralsynth.preset import bare_preset, load_preset, shipped_folder, shipped_models, shipped_presets
from neuralsynth.units import gain_to_db

RATE = 44_100
LONGEST_HIT_SECONDS = 9.0  # of the kit: a ride
PRESETS = [path.stem for path in shipped_presets()]
#: Made of single-cycle waveforms: every waveform was learned, so none was left out to score on, and nothing in it moves
#: or is noise that an axis could turn. How exactly the waveforms come back is measured when it is built (export/build.py).
OF_CYCLES = {"single-cycles"}
#: Drums have no pitch to be in tune with or to be left out by; `benchmarks/drums.py` says how close they come.
OF_DRUMS = {"drum-kit"}
#: Two points of the GAN's that its encoder takes for a neighbour: it holds what it hears near N(0, I), points lie further out.
MISHEARD = {("inventions", "clarinet"), ("inventions", "violin")}
MODELS = [path.stem for path in shipped_models()]


@cache
def model_of(name):
    """A shipped model; loading one takes longer than playing it."""
    return InstrumentModel.load(shipped_folder() / f"{name}.onnx")


@pytest.fixture(scope="module", params=PRESETS)
def preset(request):
    return Instrument.load(request.param)


def places(model):
    """The points of a model that are instruments of their own; else its default one."""
    return [(model, point) for point in model_of(model).spec.traits or [""]]


@pytest.fixture(scope="module", params=[place for model in MODELS for place in places(model)], ids="-".join)
def bare(request):
    model, point = request.param
    path = shipped_folder() / f"{model}.onnx"
    preset = bare_preset(path)
    preset = msgspec.structs.replace(preset, sound=msgspec.structs.replace(preset.sound, point=point or None))
    return Instrument(preset, model_of(model), path)


def held(instrument, key, velocity=90, seconds=1.0):
    return instrument([(bytes([0x90, key, velocity]), 0.0)], seconds, RATE, num_channels=1)[0]


def test_the_three_first_instruments_are_here():
    assert {"alto-sax", "upright-piano", "cello"} <= set(PRESETS)


@pytest.fixture(scope="module")
def every_key(bare):
    """What each recorded key sounds like, by key; nothing of drums, which have no pitch."""
    spec, is_pitched = bare.spec, bare.model.path.stem not in OF_DRUMS
    return {key: played(bare, key) for key in range(spec.note_low, spec.note_high + 1) if is_pitched}


@pytest.mark.parametrize("tracker", [praat_cents, yin_cents])
def test_every_key_is_in_tune_within_ten_cents_by_two_trackers(every_key, tracker):
    if not every_key:
        pytest.skip("drums have no pitch")
    cents = {key: tracker(audio, key) for key, audio in every_key.items()}
    outside = {key: round(value, 1) for key, value in cents.items() if not abs(value) <= 10.0}
    assert len(outside) <= 0.01 * len(cents), outside


@pytest.mark.parametrize(("key", "velocity"), [(0, 127), (21, 64), (60, 1), (60, 127), (108, 64), (127, 127)])
def test_any_key_is_bounded_and_falls_silent_within_the_tail(preset, key, velocity):
    engine = Engine(preset, RATE, 4096)
    note = [Event(0, bytes([0x90, key, velocity])), Event(RATE // 2, bytes([0x80, key, 0]))]
    sounding = engine.process(note, RATE)
    release = max(zone.preset.envelope.release_seconds for _, zone in preset.zones)
    rings = max(0.0 if zone.spec.sustain or not layer.one_shot else LONGEST_HIT_SECONDS for layer, zone in preset.zones)
    tail = max(release * 1.6, rings) + engine.tail_seconds
    after = engine.process([], int(tail * RATE))
    silence = engine.process([], RATE // 4)
    audio = np.concatenate([sounding, after], axis=1)
    assert np.abs(audio).max() <= 0.99
    steady = audio.sum(axis=1) / max(audio.shape[1], 6 * RATE)  # of a key below hearing, no period may be whole
    assert gain_to_db(np.abs(steady).max()) <= -60
    assert gain_to_db(np.abs(silence).max()) <= -90


def test_loudness_rises_with_velocity(bare):
    spec = bare.spec
    keys = (spec.note_low + 5, (spec.note_low + spec.note_high) // 2, spec.note_high - 5)
    assert least_rise_db(bare, keys, range(1, 128, 7)) > 0.0


def test_ways_between_points_and_instruments_are_even_and_in_tune():
    walked = list(ways([model_of(name) for name in ("cello", "electric-bass", "upright-piano")], seconds=0.7))
    several = [model_of(name) for name in MODELS if name not in OF_DRUMS]  # nobody morphs a kick into a cymbal
    for model in [model for model in several if len(model.spec.points) > 1]:
        walked += ways([model], pairs=2, seconds=0.7, is_played=True)
        if model.path.stem != "inventions":  # what lies between its points is invented, and not even
            walked += ways([model], pairs=4, seconds=0.7)
    assert all(way.holds for way in walked), walked


def test_a_held_note_sustains_or_decays_as_its_spec_says(bare):
    spec = bare.spec
    audio = held(bare, (spec.note_low + spec.note_high) // 2, seconds=9.0)
    early, late = (gain_to_db(np.sqrt(np.mean(audio[int(s * RATE) : int((s + 0.5) * RATE)] ** 2))) for s in (0.5, 8.5))
    assert (late > early - 12) if spec.sustain else (late < early - 20)


def test_it_says_what_it_learned_from_and_how_well(bare):
    spec = bare.model.spec
    assert spec.licence
    assert spec.origin
    assert spec.provenance.recordings
    if bare.model.path.stem in OF_CYCLES:
        assert spec.quality is None and set(spec.axes) == {"brightness"}
        assert len(spec.points) == len(spec.provenance.recordings)
        return
    if bare.model.path.stem in OF_DRUMS:
        assert spec.quality is None and spec.axes == {}
        assert set(spec.points) == set(spec.traits) == set(bare.model.spec.variations)
        return
    if spec.traits:  # several instruments: each has a file of its own whose figures are kept
        assert set(spec.points) == set(spec.traits) and len(spec.points) == 12
        assert set(spec.axes) == {"brightness", "noisiness", "attack", "decay"}
        return
    assert spec.quality.n_recordings > 0
    assert spec.quality.play_db <= 1.15 * spec.quality.sampler_db
    assert spec.quality.floor_db < spec.quality.play_db
    assert set(spec.axes) >= {"brightness", "noisiness", "attack", "decay"}


def test_no_note_jumps_in_level_once_its_attack_is_over(bare):
    """A network may put a loud frame where little is learned: far from the recordings' own times."""
    spec, frames = bare.spec, np.array(bare.model.spec.frame_seconds)
    keys = np.arange(spec.note_low, spec.note_high + 1)
    latents = np.tile(bare.latent, (len(keys), 1))
    for velocity in (spec.velocity_low, spec.velocity_high):
        notes = bare.model.decode(latents, keys, np.full(len(keys), velocity / 127.0))
        power = 0.5 * (notes.partials**2).sum(2) + (notes.noise**2).sum(2)
        level_db = 10.0 * np.log10(np.maximum(power, 1e-12))
        heard = np.maximum(level_db[:, 1:], level_db[:, :-1]) > level_db.max(axis=1, keepdims=True) - 30.0
        steps_db = np.abs(np.diff(level_db, axis=1)) * heard * (frames[1:] > 0.15)
        assert steps_db.max() < 6.0, (keys[steps_db.max(axis=1).argmax()], velocity)


def test_its_file_is_small(bare):
    path = bare.model.path
    pair = path.with_name(path.stem + ".check.npz")
    assert path.stat().st_size <= 4_000_000
    assert path.stat().st_size + pair.stat().st_size + encoder_path(path).stat().st_size <= 5_000_000


def test_its_encoder_hears_each_instrument_at_its_own_point(bare):
    spec, key = bare.spec, (bare.spec.note_low + bare.spec.note_high) // 2
    if bare.model.path.stem in OF_CYCLES | OF_DRUMS:
        pytest.skip("among 315 waveforms, or the hits of two snares, some are alike")
    if (bare.model.path.stem, bare.preset.sound.point) in MISHEARD:
        pytest.skip("its encoder takes it for a neighbour")
    decoded = bare.model.decode(bare.latent[None], np.array([key]), np.array([0.7])).note(0, bare.model.spec.grid())
    mean, _ = Encoder.beside(bare.model.path).encode(decoded, key, 0.7)
    nearest = bare.model.spec.nearest_point(mean)
    assert nearest == bare.model.spec.nearest_point(bare.latent), (nearest, spec.name)


def test_presets_have_an_envelope_and_effects_of_their_own(preset):
    assert load_preset(preset.path).says
    for _, zone in preset.zones:
        assert zone.preset.effects
        assert zone.preset.envelope.release_seconds > 0.05
