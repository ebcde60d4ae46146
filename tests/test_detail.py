"""Detail, encoders and points with traits: what lets one model hold many sounds, and come close to any given one."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pytest
import torch

from neuralsynth.analysis import NoteAnalysis
from neuralsynth.detail_fit import fit_detail
from neuralsynth.errors import ModelError
from neuralsynth.instrument import Instrument
from neuralsynth.latent_search import LatentSearch
from neuralsynth.model import RATIOS, InstrumentModel
from neuralsynth.model_encoder import Encoder, encoder_path
from neuralsynth.note_bank import steady
from neuralsynth.preset import bare_preset
from neuralsynth.sound.rows import VoiceSound
from neuralsynth.spec import Detail, InstrumentSpec, Sustain, Traits
from neuralsynth.spectrum import SpectrumGrid, stretched_ratios
from neuralsynth.training import augment, detail, export, prepare, vae
from neuralsynth.training.blocks import BetweenPlaces
from neuralsynth.training.config import N_TURNS, VaeConfig
from neuralsynth.units import gain_to_db, note_to_hz
from tests.models import tiny_instrument
from tests.players import level_db
from tests.test_training import table_of_formants

GRID = SpectrumGrid.warped(32, 1.0, 16, 8)
CONFIG = VaeConfig(
    width=16, latent_size=8, condition_size=16, envelope_points=12, note_step=4.0, body_points=24, lowest_frames=8,
    detail_functions=3, detail_partials=10,
)  # fmt: skip
RATE = 44_100


def network(table, seed=0):
    """An untrained VAE for a table, its detail learned from what it misses."""
    torch.manual_seed(seed)
    made = vae.Vae(CONFIG, table.grid, prepare.statistics_of(table), len(table.groups)).eval()
    made.settle()
    made.requires_grad_(False)
    return made, detail.learn_detail(made, table)


@pytest.fixture(scope="module")
def table():
    return table_of_formants(range(45, 76, 3), GRID)


@pytest.fixture(scope="module")
def detailed(table, tmp_path_factory):
    """A model with detail and an encoder, on disk."""
    made, found = network(table)
    spec = InstrumentSpec(
        family="vae", name="detailed", sample_rate=RATE, frame_seconds=list(map(float, GRID.frame_seconds)),
        band_edges_hz=list(map(float, GRID.band_edges_hz)), n_partials=16, latent_size=8 + found.size, detail=found,
        points={"a": [0.0] * 8}, default_point="a", note_low=45, note_high=75, velocity_low=90, velocity_high=90,
        sustain=Sustain(0.3, 0.9), licence="CC0-1.0", origin="made",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("detailed") / "detailed.onnx"
    assert export.export_instrument(made.decoder, spec, path) >= 90.0
    assert export.export_encoder(made, spec, path) >= 90.0
    return InstrumentModel.load(path)


def decoded(model, latent, note=60.0):
    batch = model.decode(np.asarray(latent, np.float32)[None], np.array([note]), np.array([90 / 127.0]))
    return batch.note(0, model.spec.grid())


def loudest_difference_db(one, other):
    """How far two spectra are apart at equal loudness, in dB over what is heard: the 95th percentile."""
    both = [gain_to_db(np.concatenate([s.partials, s.noise], axis=1) + 1e-6) for s in (one, other)]
    heard = both[0] > both[0].max() - 60.0
    off = (both[0] - both[1])[heard]
    return float(np.percentile(np.abs(off - np.median(off)), 95))


def test_a_sound_whose_single_partials_and_bands_are_off_is_met_by_the_detail(detailed):
    rng, plain = np.random.default_rng(4), np.zeros(8)
    away = np.concatenate([plain, rng.uniform(-1.5, 1.5, detailed.spec.detail.size)])
    target = decoded(detailed, away)
    found = fit_detail(detailed, target, GRID.n_frames, np.zeros(detailed.spec.latent_size), 60.0, 90 / 127.0)
    before, after = (loudest_difference_db(target, decoded(detailed, latent)) for latent in (plain, found))
    assert before > 9.0 and after < 2.5


def test_detail_is_the_same_for_a_recording_at_another_level(detailed):
    away = np.concatenate([np.zeros(8), np.random.default_rng(5).uniform(-1.0, 1.0, detailed.spec.detail.size)])
    target = decoded(detailed, away)
    softer = replace(target, partials=target.partials * 0.1, noise=target.noise * 0.1)
    start = np.zeros(detailed.spec.latent_size)
    one, other = (fit_detail(detailed, s, GRID.n_frames, start, 60.0, 90 / 127.0) for s in (target, softer))
    assert loudest_difference_db(decoded(detailed, one), decoded(detailed, other)) < 0.3


def test_a_model_without_detail_is_left_where_it_is(decaying):
    model = decaying.model
    spectrum = decoded(model, [0.4, 0.0])
    found = fit_detail(model, spectrum, 10, np.array([0.3, 0.1]), 60.0, 0.7)
    assert np.array_equal(found, np.array([0.3, 0.1], np.float32))


def test_the_detail_learned_from_a_networks_errors_takes_most_of_them_away(table):
    made, found = network(table)
    assert found == Detail(3, 10, 8)
    errors, heard = detail.errors_of(made, table)
    courses, scale = made.decoder.detail_functions.numpy(), made.decoder.detail_scale_db.numpy()
    assert scale.shape == (3, 18) and (scale >= detail.LEAST_SCALE_DB).all() and (scale <= detail.MOST_SCALE_DB).all()
    weights = detail.weights_of(courses, errors, heard)
    left = (errors - np.einsum("mrk,kt->mrt", weights, courses)) * heard
    assert np.abs(left).sum() < 0.4 * np.abs(errors * heard).sum()


@pytest.mark.parametrize("n", [1, 3, 10])
def test_each_course_of_the_detail_is_a_span_of_time_and_leaves_what_is_beyond_its_neighbours(n):
    courses = detail.spans(GRID.frame_seconds, n)
    assert courses.shape == (n, GRID.n_frames) and np.allclose(courses.sum(axis=0), 1.0)
    peaks = courses.argmax(axis=1)
    assert np.all(np.diff(peaks) > 0) and courses[0, 0] == 1.0 and courses[-1, -1] == 1.0
    for k in range(n - 2):
        assert not courses[k, peaks[k + 2] :].any() and not courses[k + 2, : peaks[k] + 1].any()


@pytest.fixture(scope="module")
def stiff(table, tmp_path_factory):
    """A model of a decaying string whose recordings are as stiff as a piano's."""
    strings = replace(table, inharmonicity=np.full(len(table.note), 4e-4), sustains=np.zeros(len(table.note), bool))
    made, found = network(strings)
    assert found == Detail(3, 10, 8, 1)
    spec = InstrumentSpec(
        family="vae", name="stiff", sample_rate=RATE, frame_seconds=list(map(float, GRID.frame_seconds)),
        band_edges_hz=list(map(float, GRID.band_edges_hz)), n_partials=16, latent_size=8 + found.size, detail=found,
        points={"a": [0.0] * 8}, default_point="a", note_low=45, note_high=75, velocity_low=90, velocity_high=90,
        licence="CC0-1.0", origin="made",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("stiff") / "stiff.onnx"
    assert export.export_instrument(made.decoder, spec, path) >= 90.0
    return InstrumentModel.load(path)


@pytest.mark.parametrize("inharmonicity", [0.0, 5e-5, 4e-4, 1.5e-3])
def test_the_detail_makes_a_string_as_stiff_as_it_is_in_the_sound(stiff, inharmonicity):
    plain = np.zeros(stiff.spec.latent_size)
    target = replace(decoded(stiff, plain), ratios=stretched_ratios(16, inharmonicity))
    found = fit_detail(stiff, target, GRID.n_frames, plain, 60.0, 90 / 127.0)
    ratios = decoded(stiff, found).ratios
    assert 1200.0 * np.abs(np.log2(ratios / ratios[0] / target.ratios)).max() < 1.5
    assert found[-1] == pytest.approx(np.log(max(inharmonicity, 1e-9) / 4e-4), abs=0.2) or inharmonicity == 0.0


def test_partials_of_the_stiffest_string_stay_within_what_a_file_may_hold_also_where_it_is_tuned(table, monkeypatch):
    strings = replace(table, inharmonicity=np.full(len(table.note), 4e-4), sustains=np.zeros(len(table.note), bool))
    decoder = network(strings)[0].decoder
    highest, flat = torch.full((1, 16), vae.HIGHEST_RATIO), torch.full((1, vae.N_TUNED_NOTES), -200.0)
    monkeypatch.setattr(type(decoder), "ratios", lambda *_: highest)
    monkeypatch.setattr(type(decoder.sharp), "forward", lambda *_: flat)
    tuned = decoder.tuned_ratios(torch.zeros(1, 8), torch.tensor([60.0]))
    assert tuned.max() <= RATIOS[1]


def test_the_character_alone_can_be_decoded_and_a_preset_may_leave_the_detail_out(detailed, tmp_path):
    whole = decoded(detailed, np.concatenate([np.full(8, 0.2), np.zeros(detailed.spec.detail.size)]))
    assert np.array_equal(whole.partials, decoded(detailed, np.full(8, 0.2)).partials)
    bare = bare_preset(detailed.path)
    sound = msgspec.structs.replace(bare.sound, latent=tuple([0.2] * 8))
    played = Instrument(msgspec.structs.replace(bare, sound=sound), detailed, detailed.path)
    assert played.latent.shape == (detailed.spec.latent_size,) and not played.latent[8:].any()


# ---- the encoder


def test_the_encoder_beside_a_model_hears_what_torch_hears_at_any_level(detailed, table):
    made, _ = network(table)
    encoder = Encoder.beside(detailed.path)
    spectrum = decoded(detailed, np.zeros(8))
    levels = (
        torch.from_numpy(20 * np.log10(np.maximum(x.T[None], 10 ** (-110 / 20))))
        for x in (spectrum.partials, spectrum.noise)
    )
    with torch.no_grad():
        wanted, _ = made.encode(*levels, torch.tensor([60.0]), torch.tensor([90 / 127.0]))
    mean, deviation = encoder.encode(spectrum, 60.0, 90 / 127.0)
    assert np.allclose(mean, wanted[0].numpy(), atol=1e-4) and (deviation > 0).all()
    softer = replace(spectrum, partials=spectrum.partials * 0.25, noise=spectrum.noise * 0.25)
    assert np.allclose(encoder.encode(softer, 60.0, 90 / 127.0)[0], mean, atol=0.02)


def test_a_search_with_an_encoder_tries_where_it_points(detailed, monkeypatch):
    far = np.full(8, 1.7)
    analysis = NoteAnalysis(decoded(detailed, far), float(note_to_hz(60)), 0.0, GRID.n_frames, 0.0, sustains=True)
    encoder = Encoder.beside(detailed.path)
    monkeypatch.setattr(encoder, "encode", lambda *_: (far.astype(np.float32), np.ones(8, np.float32)))
    tried = LatentSearch(detailed, analysis, 60, RATE, encoder).starts(90)
    alone = LatentSearch(detailed, analysis, 60, RATE).starts(90)
    assert any(np.allclose(place.latent[:8], far) for place in tried)
    assert min(place.cost for place in tried) < 0.05 < min(place.cost for place in alone)


def test_an_encoder_of_other_sizes_is_not_used(detailed, decaying):
    encoder = Encoder.beside(detailed.path)
    spectrum = decoded(decaying.model, [0.0, 0.0])
    analysis = NoteAnalysis(spectrum, float(note_to_hz(60)), 0.0, 8, 0.0, sustains=False)
    with_it, without = (LatentSearch(decaying.model, analysis, 60, RATE, e).starts(90) for e in (encoder, None))
    assert [place.cost for place in with_it] == [place.cost for place in without]


def spoiled(data, damage):
    """An encoder file with something wrong in it."""
    model = onnx.load_from_string(data)
    if damage == "operator":
        model.graph.node[0].op_type = "RandomNormalLike"
    elif damage == "spec":
        model.metadata_props[0].value = model.metadata_props[0].value.replace('"n_bands":8', '"n_bands":9')
    elif damage == "key":
        model.metadata_props[0].value = model.metadata_props[0].value.replace("n_bands", "bands")
    elif damage == "version":
        model.metadata_props[0].value = model.metadata_props[0].value.replace(
            '"format_version":1', '"format_version":9'
        )
    return b"PK\x03\x04" + data if damage == "bytes" else model.SerializeToString()


@pytest.mark.parametrize(
    "damage, complaint",
    [
        ("operator", "operator RandomNormalLike"), ("spec", "where its spec says 9"), ("key", "unknown field `bands`"),
        ("version", "format version 9"), ("bytes", ""),
    ],
)  # fmt: skip
def test_a_spoiled_encoder_is_refused_in_one_line(detailed, tmp_path, damage, complaint):
    path = tmp_path / "x.onnx"
    encoder_path(path).write_bytes(spoiled(encoder_path(detailed.path).read_bytes(), damage))
    with pytest.raises(ModelError) as caught:
        Encoder.beside(path)
    text = str(caught.value)
    assert text.startswith(str(encoder_path(path))) and complaint in text and "\n" not in text


def test_an_instrument_is_no_encoder_and_an_encoder_no_instrument(detailed, tmp_path):
    encoder_path(tmp_path / "a.onnx").write_bytes(detailed.path.read_bytes())
    with pytest.raises(ModelError, match="is no encoder"):
        Encoder.beside(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(encoder_path(detailed.path).read_bytes())
    with pytest.raises(ModelError, match="no neuralsynth instrument"):
        InstrumentModel.load(tmp_path / "b.onnx")


# ---- several instruments in one file


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """One file of two instruments: `tiny` sustains over the whole keyboard, `bright` decays and has few keys."""
    own = Traits(note_low=50, note_high=60, velocity_low=80, velocity_high=80, sustain=None)
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    return tiny_instrument(path, sustaining=True, traits={"bright": own})


def at_point(path, point):
    bare, model = bare_preset(path), InstrumentModel.load(path)
    preset = msgspec.structs.replace(bare, sound=msgspec.structs.replace(bare.sound, point=point))
    return Instrument(preset, model, path)


def test_each_point_keeps_its_own_range_and_layers(two):
    tiny, bright = at_point(two, "tiny"), at_point(two, "bright")
    assert bright.bank.note(70) == bright.bank.note(60) and tiny.bank.note(70) != tiny.bank.note(60)
    assert len(bright.bank.velocities) == 1 and len(tiny.bank.velocities) > 1
    assert (bright.spec.note_low, bright.spec.note_high) == (50, 60)


def test_a_point_that_decays_is_not_held_where_the_file_sustains(two):
    held = [at_point(two, point)([(bytes([0x90, 55, 100]), 0.0)], 6.0, RATE)[0] for point in ("tiny", "bright")]
    tiny, bright = (level_db(audio[int(5.5 * RATE) :]) - level_db(audio[int(0.5 * RATE) : RATE]) for audio in held)
    assert tiny > -3.0 and bright < -20.0


def test_a_nameless_place_takes_sustain_from_the_nearest_point_and_range_from_the_file(two):
    model = InstrumentModel.load(two)
    near_bright, near_tiny = model.spec.at(np.array([1.4, 0.0])), model.spec.at(np.array([0.4, 0.0]))
    assert near_bright.sustain is None and near_tiny.sustain is not None
    assert (near_bright.note_low, near_bright.note_high) == (21, 108)


@pytest.mark.parametrize(
    "wrong, complaint",
    [
        ({"traits": {"dull": Traits(1, 2, 3, 4)}}, "no point"),
        ({"traits": {"tiny": Traits(60, 50, 3, 4)}}, "note_low"),
        ({"traits": {"tiny": Traits(50, 60, 3, 4, Sustain(0.1, 99.0))}}, "sustain"),
        ({"detail": Detail(1, 1, 1)}, "detail takes 2 of 2"),
        ({"detail": Detail(1, 99, 0)}, "detail is"),
        ({"detail": Detail(1, 1, 0, 2)}, "detail is"),
        ({"detail": Detail(1, 1, 0)}, "does not have 1 numbers"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(tmp_path, wrong, complaint):
    with pytest.raises(ModelError, match=complaint):
        InstrumentModel.load(tiny_instrument(tmp_path / "wrong.onnx", pair=False, **wrong))


def falling_sound(db_per_second):
    gain = 10.0 ** (db_per_second * GRID.frame_seconds / 20.0)
    return VoiceSound(
        0.1 * gain[:, None] * np.ones(16), np.arange(1.0, 17.0), np.zeros(32), 1e-3 * gain[:, None] * np.ones(8)
    )


@pytest.mark.parametrize("db_per_second", [-30.0, 20.0])
def test_what_falls_or_rises_in_the_sustain_region_is_held_still(db_per_second):
    held = steady(falling_sound(db_per_second), GRID, (0.3, 0.9))
    inside = (GRID.frame_seconds >= 0.3) & (GRID.frame_seconds <= 0.9)
    level = gain_to_db(held.partials[inside, 0])
    assert np.ptp(level) <= 3.2
    before = GRID.frame_seconds < 0.3
    assert np.array_equal(
        held.partials[before], falling_sound(db_per_second).partials[before].astype(np.float32)
    ) or np.allclose(held.partials[before], falling_sound(db_per_second).partials[before])


def test_a_small_swell_of_a_recording_is_left_as_it_was():
    sound = falling_sound(-3.0)
    assert steady(sound, GRID, (0.3, 0.9)) is sound and steady(falling_sound(-30.0), GRID, None).partials[-1, 0] < 1e-2


def test_numbers_between_places_are_exact_at_them_and_their_mean_half_way():
    torch.manual_seed(0)
    places, numbers = torch.randn(4, 6), torch.randn(4, 3)
    between = BetweenPlaces(6, 3)
    between.set_(places, numbers)
    assert torch.allclose(between(places), numbers, atol=1e-4)
    assert torch.allclose(between(places[:2].mean(0, keepdim=True)), numbers[:2].mean(0), atol=1e-4)


def two_groups():
    """A table of two instruments with the same keys."""
    one = table_of_formants(range(45, 76, 6), GRID)
    both = {
        name: np.concatenate([getattr(one, name)] * 2)
        for name in ("partials_db", "noise_db", "cents", "inharmonicity", "n_valid", "note", "velocity", "sustains")
    }
    both["partials_db"][len(one.note) :, 1::2] -= 20.0  # the second one is hollow
    group = np.repeat([0, 1], len(one.note))
    return replace(one, **both, group=group, groups=("full", "hollow"), digests=one.digests * 2)


def test_two_instruments_are_mixed_as_their_points_are():
    batches = augment.Batches(two_groups(), 1, 64)
    table = batches.table
    batch = batches.draw(3)
    mixed = np.flatnonzero((batch.share > 0.0) & np.all(batch.turned == 0.0, axis=1))
    assert len(mixed) > 2 and (batch.group[mixed] != batch.other[mixed]).all()
    for i in mixed:
        share = batch.share[i] if batch.other[i] == 1 else 1.0 - batch.share[i]
        hollow = batch.partials_db[i, 1::2].mean() - batch.partials_db[i, ::2].mean()
        plain = table.partials_db[table.note == 57][0]  # the formant makes a difference of its own
        assert hollow - (plain[1::2].mean() - plain[::2].mean()) == pytest.approx(-20.0 * share, abs=6.0)
    made = vae.Vae(CONFIG, GRID, prepare.statistics_of(table), 2)
    place = made.place(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.25]), torch.zeros(1, N_TURNS))[0]
    assert torch.allclose(place[N_TURNS:], 0.75 * made.points[0] + 0.25 * made.points[1])


def test_a_turn_moves_its_own_number_of_the_latent_alone():
    made = vae.Vae(CONFIG, GRID, prepare.statistics_of(two_groups()), 2)
    for index in range(N_TURNS):
        step = made.turn_step(index, -1.0)
        assert step[index] == -vae.TURN_LENGTH and torch.count_nonzero(step) == 1
