"""The prior of an instrument file: a flow that can be walked both ways, draws that are plausible, hostile ones refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pitch import RATE, loud_part, yin_cents
from neuralsynth.cli import main
from neuralsynth.design.asking import Asked, asked_for
from neuralsynth.design.plan import Output
from neuralsynth.errors import ModelError, PresetError
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.patch import Patch, latent_of
from neuralsynth.preset import bare_preset, load_preset, save_preset, shipped_folder, shipped_models
from neuralsynth.preset_sections import Sound
from neuralsynth.prior import (
    MAX_COUPLINGS,
    MAX_HIDDEN,
    MAX_WAYS,
    MAX_WEIGHT,
    Coupling,
    Prior,
    complaints,
    halves,
    standard_normal,
)
from neuralsynth.scoring import play_spectrum
from neuralsynth.spec import Detail, InstrumentSpec
from neuralsynth.training.augment import Batches
from neuralsynth.training.dataset import NoteTable
from neuralsynth.training.flow import Flow, fit_flow
from neuralsynth.training.posterior import add_prior, in_tune
from tests.models import TINY_B, TINY_P, tiny_instrument, tiny_spec

SHORT = Output(seconds=0.3, hold_seconds=0.15, sample_rate=22_050)


def some_prior(seed=0, size=2, n_couplings=3, hidden=4, n_ways=0, detail_size=0, spread=0.7):
    """A flow with random weights into a box that is another on each side."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in range(n_couplings):
        kept, moved = (len(range(size)[half]) for half in halves(layer))
        shapes = (hidden, kept), hidden, (moved, hidden), moved, (moved, hidden), moved
        layers.append(Coupling(*((spread * rng.standard_normal(shape)).tolist() for shape in shapes)))
    low = -2.0 - rng.random(size)
    return Prior(low.tolist(), (low + 3.0 + rng.random(size)).tolist(), layers,
                 rng.standard_normal((n_ways, detail_size)).tolist())  # fmt: skip


def spec_text(prior, **changes):
    spec = json.loads(msgspec.structs.replace(tiny_spec(), **changes).to_json())
    return json.dumps(spec | {"prior": prior})


# ---- the flow


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 5))
def test_the_way_from_a_latent_to_its_numbers_and_back_ends_where_it_began(seed, size, n_couplings):
    prior = some_prior(seed, size, n_couplings, spread=0.5)
    low, high = np.array(prior.low), np.array(prior.high)
    share = np.random.default_rng(seed).uniform(0.05, 0.95, (20, size))
    characters = low + share * (high - low)
    numbers = prior.numbers(characters)
    near = np.abs(numbers).max(axis=1) < 8.0  # numbers further out are held
    np.testing.assert_allclose(prior.latents(numbers)[near], characters[near], atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.lists(st.floats(allow_subnormal=False), min_size=7, max_size=7))
def test_any_numbers_give_a_finite_latent_inside_the_box(seed, numbers):
    prior = some_prior(seed, 5, 6, n_ways=2, detail_size=4, spread=20.0)
    latent = prior.latents(np.array([numbers]))[0]
    assert latent.shape == (9,)
    assert latent.dtype == np.float32
    assert np.isfinite(latent).all()
    assert np.all(latent[:5] >= np.float32(prior.low))
    assert np.all(latent[:5] <= np.float32(prior.high))


def test_the_density_is_that_of_a_probability_and_nothing_lies_outside_the_box():
    prior = some_prior(3, spread=0.3)
    (x, y), n = ((np.arange(400) + 0.5) / 400 for _ in range(2)), 400**2
    share = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    width = np.array(prior.high) - prior.low
    density = np.exp(prior.log_density(prior.low + share * width))
    assert density.sum() * np.prod(width) / n == pytest.approx(1.0, abs=0.01)
    assert prior.log_density(np.array([[prior.low[0] - 0.1, 0.0]]))[0] == -np.inf


def test_a_draw_belongs_to_whoever_asked():
    """The last one is remembered, for who plans a sound asks as well as who plays it."""
    prior = some_prior(5)
    wanted, other = prior.draw(7).copy(), prior.draw(8).copy()
    prior.draw(7)[:] = 99.0
    assert np.array_equal(prior.draw(7), wanted)
    assert np.array_equal(prior.draw(8), other) and not np.array_equal(wanted, other)


def test_draws_lie_as_densely_as_the_density_says():
    prior = some_prior(5)
    latents = np.array([prior.draw(seed) for seed in range(1, 3001)])
    middle = np.median(latents, axis=0)
    (x, y), width = ((np.arange(200) + 0.5) / 200 for _ in range(2)), np.array(prior.high) - prior.low
    places = prior.low + np.stack(np.meshgrid(x, y), -1).reshape(-1, 2) * width
    density = np.exp(prior.log_density(places))
    wanted = density[np.all(places < middle, axis=1)].sum() / density.sum()
    assert np.mean(np.all(latents < middle, axis=1)) == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("size", [2, 5, 100])
def test_the_standard_normal_prior_is_one(size):
    prior = standard_normal(size)
    assert not list(complaints(prior, size, 0))
    z = np.random.default_rng(0).standard_normal((300, size))
    np.testing.assert_allclose(prior.latents(z), z, atol=0.05 + 0.02 * np.abs(z).max() ** 2)
    np.testing.assert_allclose(prior.latents(z[:, :]).std(), 1.0, atol=0.05)
    near = np.zeros((1, size))
    assert prior.log_density(near)[0] == pytest.approx(-0.5 * size * np.log(2 * np.pi), abs=1e-6)


def test_a_step_of_a_walk_stays_in_the_box_and_no_step_stays_where_it_is():
    prior = some_prior(4, 6, 4, n_ways=3, detail_size=5)
    here = prior.draw(1)[:6].astype(np.float64)
    np.testing.assert_array_equal(prior.walked(here, np.zeros(6)), here)
    places = np.array([prior.walked(here, np.random.default_rng(i).standard_normal(6)) for i in range(50)])
    assert np.all(places > np.array(prior.low) - 1e-4)
    assert np.all(places < np.array(prior.high) + 1e-4)
    assert np.std(places, axis=0).min() > 0.05


def test_numpy_runs_the_flow_as_torch_trained_it():
    torch.manual_seed(0)
    flow = Flow(7)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    prior = Prior([-1.0] * 7, [1.0] * 7, flow.couplings())
    characters = np.random.default_rng(0).uniform(-0.9, 0.9, (50, 7))
    share = 0.5 * (characters + 1.0)
    numbers, log_volume = flow(torch.logit(torch.tensor(share, dtype=torch.float32)))
    np.testing.assert_allclose(prior.numbers(characters), numbers.detach().numpy(), atol=2e-3)
    box = -np.sum(np.log(2.0 * share * (1.0 - share)), axis=1)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(numbers).sum(1) + log_volume
    np.testing.assert_allclose(prior.log_density(characters), density.detach().numpy() + box, atol=5e-3)


def test_a_fitted_flow_draws_what_it_was_fitted_to_and_little_between():
    rng = np.random.default_rng(0)
    centres = np.array([[-1.5, 1.0, 0.0], [1.5, -1.0, 0.5]])
    places = centres[rng.integers(2, size=600)] + 0.2 * rng.standard_normal((600, 3))
    low, high = np.full(3, -2.5), np.full(3, 2.5)
    prior = Prior(low.tolist(), high.tolist(), fit_flow(places, low, high, seed=0))
    draws = np.array([prior.draw(seed) for seed in range(1, 501)])
    apart = np.linalg.norm(draws[:, None] - centres, axis=2)
    assert np.mean(apart.min(axis=1) < 0.8) > 0.85  # of N(0, I) it is one in eight
    assert 0.35 < np.mean(apart.argmin(axis=1)) < 0.65
    assert np.median(apart.min(axis=1)) > 0.15  # it is a cloud, not two points


def test_a_fit_is_a_pure_function_of_its_seed_and_leaves_other_draws_alone(monkeypatch):
    monkeypatch.setattr("neuralsynth.training.flow.STEPS", 20)
    places = np.random.default_rng(1).standard_normal((40, 4))
    low, high = np.full(4, -4.0), np.full(4, 4.0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = fit_flow(places, low, high, seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert fit_flow(places, low, high, seed=2) == one
    assert fit_flow(places, low, high, seed=3) != one


# ---- in the file


def test_a_spec_with_a_prior_is_written_and_read_again_and_one_without_still_is():
    prior = some_prior(1, n_ways=0)
    spec = msgspec.structs.replace(tiny_spec(), prior=prior)
    assert InstrumentSpec.from_json(spec.to_json(), "x.onnx") == spec
    old = json.loads(tiny_spec().to_json())
    del old["prior"]
    assert InstrumentSpec.from_json(json.dumps(old), "x.onnx").prior is None


def hostile():
    good = json.loads(msgspec.json.encode(some_prior(0)))

    def broken(**changes):
        return json.loads(json.dumps(good | changes))

    first = good["couplings"][0]

    def coupling(**changes):
        return broken(couplings=[first | changes, *good["couplings"][1:]])

    yield "one side too few", broken(low=good["low"][:1])
    yield "a box inside out", broken(low=good["high"], high=good["low"])
    yield "an endless box", broken(high=[1e9, 1e9])
    yield "a box of no number", broken(low=[float("nan"), 0.0])
    yield "no couplings", broken(couplings=[])
    yield "too many couplings", broken(couplings=good["couplings"][:1] * (MAX_COUPLINGS + 2))
    yield "a huge weight", coupling(hidden=[[1e30]] * 4)
    yield "a weight that is no number", coupling(shift_bias=[float("nan")])
    yield "an endless weight", coupling(scale_bias=[float("inf")])
    yield "a row too few", coupling(hidden=first["hidden"][:2])
    yield "rows of unlike length", coupling(shift=[[0.0] * 3])
    yield "nothing hidden", coupling(hidden=[], hidden_bias=[], scale=[[]], shift=[[]])
    yield "too much hidden", coupling(
        hidden=[[0.0]] * (MAX_HIDDEN + 1), hidden_bias=[0.0] * (MAX_HIDDEN + 1),
        scale=[[0.0] * (MAX_HIDDEN + 1)], shift=[[0.0] * (MAX_HIDDEN + 1)],
    )  # fmt: skip
    yield "detail where there is none", broken(detail=[[1.0]])
    yield "an unknown key", broken(code="print()")
    yield "a text for a weight", coupling(hidden=[["x"]] * 4)


@pytest.mark.parametrize("prior", [prior for _, prior in hostile()], ids=[what for what, _ in hostile()])
def test_a_hostile_prior_is_refused_in_a_sentence(prior):
    with pytest.raises(ModelError, match=r"^x\.onnx: its spec is wrong: .{5,200}$"):
        InstrumentSpec.from_json(spec_text(prior), "x.onnx")


@pytest.mark.parametrize("detail", [[[0.0] * 5], [[MAX_WEIGHT * 2] * 8], [[0.0] * 8] * (MAX_WAYS + 1)])
def test_ways_of_detail_must_fit_the_detail(detail):
    wide = {
        "latent_size": 10, "detail": Detail(1, 4, 4), "prior": some_prior(0, 2, n_ways=1, detail_size=8),
    }  # fmt: skip
    assert TINY_P >= 4 <= TINY_B
    text = msgspec.structs.replace(tiny_spec(), **wide).to_json()
    assert InstrumentSpec.from_json(text, "x.onnx").prior is not None
    document = json.loads(text)
    document["prior"]["detail"] = detail
    with pytest.raises(ModelError, match="prior: its detail"):
        InstrumentSpec.from_json(json.dumps(document), "x.onnx")


# ---- a preset and a batch


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A tiny instrument with a prior, one without, and a preset of each."""
    folder = tmp_path_factory.mktemp("prior")
    tiny_instrument(folder / "with.onnx", sustaining=True, prior=some_prior(2))
    tiny_instrument(folder / "without.onnx")
    for name in ("with", "without"):
        save_preset(bare_preset(folder / f"{name}.onnx"), folder / f"{name}.toml")
    return folder


def drawn_patch(shelf, **sound):
    preset = msgspec.structs.replace(load_preset(shelf / "with.toml"), sound=Sound(**sound))
    path = shelf / "drawn.toml"
    save_preset(preset, path)
    return Patch.load(path)


def test_a_preset_asks_for_a_draw_by_its_number(shelf):
    prior = some_prior(2)
    np.testing.assert_array_equal(drawn_patch(shelf, random=9).latent, prior.draw(9))
    assert not np.array_equal(prior.draw(9), prior.draw(10))
    np.testing.assert_array_equal(drawn_patch(shelf, random=9, point="bright").latent, [2.0, 0.0])
    np.testing.assert_array_equal(drawn_patch(shelf, random=9, latent=(0.5, 0.25)).latent, [0.5, 0.25])


def test_a_draw_of_a_model_without_prior_is_refused(shelf):
    preset = msgspec.structs.replace(load_preset(shelf / "without.toml"), sound=Sound(random=1))
    save_preset(preset, shelf / "none.toml")
    with pytest.raises(PresetError, match="none.toml.*no prior"):
        Patch.load(shelf / "none.toml")


def planned(shelf, name="with", **what):
    planner = asked_for(Asked(presets=(str(shelf / f"{name}.toml"),), output=SHORT, **what)).planner
    return planner, [planner.planned(i) for i in range(len(planner))]


def test_random_sounds_are_draws_of_the_prior_and_a_pure_function_of_seed_and_number(shelf):
    prior = some_prior(2)
    planner, sounds = planned(shelf, random=30, seed=4)
    for sound in sounds:
        latent = prior.draw(int(sound.changes["sound.random"]))
        assert [sound.changes[f"latent.{i}"] for i in (1, 2)] == pytest.approx(latent, rel=1e-6)
        assert sound.changes["axes.brightness"] == 0.0
        assert planner.preset(sound).sound.latent == pytest.approx(tuple(latent), rel=1e-6)
    assert len({sound.changes["sound.random"] for sound in sounds}) == 30
    assert [s.changes for s in planned(shelf, random=50, seed=4)[1][:30]] == [s.changes for s in sounds]
    assert planned(shelf, random=30, seed=5)[1][0].changes != sounds[0].changes


def test_sounds_around_a_preset_stay_where_the_prior_lies(shelf):
    prior = some_prior(2)
    _, sounds = planned(shelf, around=str(shelf / "with.toml"), count=40, spread=0.9)
    places = np.array([[s.changes.get(f"latent.{i}", 0.0) for i in (1, 2)] for s in sounds[1:]])
    assert np.all(places > np.array(prior.low) - 1e-4)
    assert np.all(places < np.array(prior.high) + 1e-4)
    _, plain = planned(shelf, "without", around=str(shelf / "without.toml"), count=40, spread=0.9)
    away = np.array([[s.changes.get(f"latent.{i}", 0.0) for i in (1, 2)] for s in plain[1:]])
    assert np.abs(away).max() > 3.0  # without a prior nothing holds them
    assert all("sound.random" not in s.changes for s in (*sounds, *plain))


def test_a_way_between_two_draws_of_a_model_goes_straight_and_ends_at_both(shelf):
    prior, paths = some_prior(2), []
    for number in (3, 8):
        preset = msgspec.structs.replace(load_preset(shelf / "with.toml"), sound=Sound(random=number))
        paths.append(shelf / f"draw-{number}.toml")
        save_preset(preset, paths[-1])
    planner = asked_for(Asked(between=(str(paths[0]), str(paths[1])), steps=5, output=SHORT)).planner
    latents = [latent_of(planner.preset(planner.planned(i)).sound, planner_spec(shelf)) for i in range(5)]
    np.testing.assert_allclose(latents[0], prior.draw(3), atol=1e-5)
    np.testing.assert_allclose(latents[4], prior.draw(8), atol=1e-5)
    np.testing.assert_allclose(latents[2], 0.5 * (prior.draw(3) + prior.draw(8)), atol=1e-5)


def planner_spec(shelf):
    return InstrumentModel.load(shelf / "with.onnx").spec


def test_info_says_that_a_file_has_a_prior(shelf, capsys):
    for name, is_told in (("with", True), ("without", False)):
        assert main(["info", str(shelf / f"{name}.onnx")]) == 0
        assert ("of its draws" in capsys.readouterr().out) == is_told


def test_half_of_the_draws_are_likelier_than_the_middle_one_and_all_than_a_place_outside():
    prior = some_prior(3, 4, spread=0.3)
    draws = np.array([prior.draw(seed) for seed in range(1, 102)], np.float64)
    middle = draws[np.argsort(prior.log_density(draws))[50]]
    assert prior.plausibility(middle) == pytest.approx(0.5, abs=0.15)
    assert prior.plausibility(middle + 100.0) == 0.0


def test_the_python_of_the_page_runs():
    page = (Path(__file__).parents[1] / "docs" / "prior.md").read_text()
    found: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], found)
    np.testing.assert_allclose(
        found["prior"].latents(np.pad(found["z"], ((0, 0), (0, 8))))[0, :16], found["latent"][:16], atol=1e-4
    )
    assert np.isfinite(found["density"]).all()


# ---- made for a finished file


def decoded_table(model, notes):
    """Notes that a model itself plays, as a table of recordings."""
    n, spec = len(notes), model.spec
    decoded = model.decode(np.tile(spec.points[spec.default_point], (n, 1)), notes, np.full(n, 0.7))
    levels = [20.0 * np.log10(np.maximum(x, 1e-5)).transpose(0, 2, 1) for x in (decoded.partials, decoded.noise)]
    return NoteTable(
        spec.grid(), *(x.astype(np.float32) for x in (*levels, decoded.cents)), np.zeros(n),
        np.full(n, len(spec.frame_seconds)), notes.astype(np.float32), np.full(n, 0.7, np.float32), np.zeros(n, int),
        ("cello",), np.full(n, fill_value=True), ("0",) * n,
    )  # fmt: skip


@pytest.fixture(scope="module")
def renewed(tmp_path_factory):
    """A copy of the shipped cello whose prior was fitted anew, and the file before."""
    folder = tmp_path_factory.mktemp("renewed")
    for file in shipped_folder().glob("cello.*"):
        shutil.copy(file, folder)
    before = (folder / "cello.onnx").read_bytes()
    model = InstrumentModel.load(folder / "cello.onnx")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("neuralsynth.training.flow.STEPS", 50)
        add_prior(folder / "cello.onnx", Batches(decoded_table(model, np.arange(40.0, 80.0, 2.0)), 0, 24))
    return folder / "cello.onnx", before


def test_a_renewed_prior_leaves_graph_and_golden_pair_as_they_were(renewed):
    path, before = renewed
    model = InstrumentModel.load(path)  # replays the golden pair
    assert model.spec.prior is not None
    one, other = (onnx.load_from_string(data) for data in (before, path.read_bytes()))
    assert one.graph.SerializeToString() == other.graph.SerializeToString()
    old = msgspec.structs.replace(InstrumentModel(before, path).spec, prior=None)
    assert msgspec.structs.replace(model.spec, prior=None) == old


def test_places_where_the_model_is_out_of_tune_are_left_out():
    class Strings:
        """Heard a semitone sharp where the first number is above zero; a little stretched everywhere."""

        spec = tiny_spec()

        def decode(self, latent, note, velocity):
            n, t = len(note), len(self.spec.frame_seconds)
            ratios = np.arange(1.0, TINY_P + 1) ** 1.0005 * np.where(latent[:, :1] > 0.0, 2.0 ** (1 / 12), 1.0)
            return Decoded(
                np.ones((n, t, TINY_P)) / np.arange(1, TINY_P + 1), ratios, np.zeros((n, t)), np.zeros((n, t, TINY_B))
            )

    characters = np.random.default_rng(0).standard_normal((40, 2))
    np.testing.assert_array_equal(in_tune(Strings(), characters, 0), characters[:, 0] <= 0.0)


def test_a_fitted_prior_holds_the_turns_inside_what_was_trained_and_the_points_are_likely(renewed):
    model = InstrumentModel.load(renewed[0])
    prior, size = model.spec.prior, model.spec.character_size
    draws = np.array([prior.draw(seed) for seed in range(1, 301)])
    assert np.abs(draws[:, :4]).max() < 4.0
    assert draws[:, :4].std(axis=0).min() > 0.1  # varied
    assert draws[:, size:].std() > 0.02  # and so is the detail
    usual = prior.log_density(draws[:, :size].astype(np.float64))
    assert prior.log_density(np.array([model.spec.points["cello"]]))[0] > np.quantile(usual, 0.2)


# ---- shipped


@pytest.mark.parametrize("path", shipped_models(), ids=lambda path: path.stem)
def test_every_shipped_instrument_has_a_prior_whose_draws_are_apart(path):
    spec = InstrumentModel.load(path).spec
    draws = np.array([spec.place(spec.prior.draw(seed)) for seed in range(1, 101)])
    assert draws[:, : spec.character_size].std(axis=0).max() > 0.2
    assert np.abs(draws[:, : spec.character_size]).max() < 8.0


@pytest.mark.parametrize("name", ["cello", "orchestra", "upright-piano"])
def test_drawn_notes_are_in_tune(name):
    model = InstrumentModel.load(shipped_folder() / f"{name}.onnx")
    notes = np.array([48.0, 55.0, 60.0, 67.0, 72.0])
    latents = np.array([model.spec.prior.draw(seed) for seed in range(1, 6)])
    decoded = model.decode(latents, notes, np.full(5, 0.7))
    for i, note in enumerate(notes):
        audio = play_spectrum(decoded.note(i, model.spec.grid()), float(note), RATE, RATE, None)
        assert abs(yin_cents(loud_part(audio, int(note), RATE), int(note))) < 50.0
