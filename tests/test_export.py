"""torch to ONNX: the same numbers, the allowed operators, the golden pair, and nothing written that disagrees."""

from __future__ import annotations

import csv

import numpy as np
import onnx
import pytest
import torch

from neuralsynth.errors import ModelError, UsageError
from neuralsynth.model import InstrumentModel
from neuralsynth.model_graph import OPERATORS, check_graph
from neuralsynth.preset import shipped_models
from neuralsynth.spec import Detail, InstrumentSpec, Quality
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training import export, tuning, vae
from neuralsynth.training.config import VaeConfig

GRID = SpectrumGrid.warped(32, 0.5, 20, 8)
CONFIG = VaeConfig(
    width=16,
    latent_size=6,
    condition_size=16,
    envelope_points=12,
    note_step=4.0,
    body_points=24,
    lowest_frames=8,
    detail_functions=2,
    detail_partials=5,
)


def detail_of(decoder):
    return Detail(n_functions=2, n_partials=5, n_bands=8, n_stiffness=decoder.n_stiffness)


def latents(n, decoder):
    return torch.randn(n, 6 + detail_of(decoder).size)


def lively(kind):
    """A decoder with lively weights and normalisation statistics, as after training."""
    torch.manual_seed(3)
    curve = np.array([[0.3, 0.2, np.log(4e-4)]]) if kind == "stiff" else None
    means = vae.Statistics(np.full(20, -40.0), np.full(8, -60.0), curve, centred_frames=(8, 24))
    made = vae.Decoder(CONFIG, GRID, means).train()
    for _ in range(20):
        made(latents(16, made), torch.rand(16) * 60 + 30, torch.rand(16))
    torch.nn.init.normal_(made.body.weight, std=0.1)
    torch.nn.init.normal_(made.body.bias, std=0.2)
    made.detail_functions.normal_()
    made.detail_scale_db.fill_(3.0)
    return made.eval()


@pytest.fixture(scope="module", params=["harmonic", "stiff"])
def decoder(request):
    """A decoder of either kind."""
    return lively(request.param)


@pytest.fixture(scope="module")
def spec(decoder):
    detail = detail_of(decoder)
    return InstrumentSpec(
        family="vae", name="test", sample_rate=44_100, frame_seconds=list(map(float, GRID.frame_seconds)),
        band_edges_hz=list(map(float, GRID.band_edges_hz)), n_partials=20, latent_size=6 + detail.size, detail=detail,
        points={"a": [0, 0, 0, 0, 0.1, 0]}, default_point="a", note_low=30, note_high=90, velocity_low=40, velocity_high=110, licence="CC0-1.0", origin="made",
    )  # fmt: skip


def test_parity_holds_at_batch_sizes_other_than_the_exported_one(decoder, spec, tmp_path):
    agreement = export.export_instrument(decoder, spec, tmp_path / "a.onnx")
    assert agreement >= 90.0
    model = InstrumentModel.load(tmp_path / "a.onnx")
    for n in (1, 7, 50):
        rng = np.random.default_rng(n)
        inputs = rng.standard_normal((n, spec.latent_size)), rng.uniform(30, 90, n), rng.uniform(0, 1, n)
        inputs = [x.astype(np.float32) for x in inputs]
        found = model.decode(*inputs)
        with torch.no_grad():
            wanted = decoder(*map(torch.from_numpy, inputs))
        for name, value in zip(export.OUTPUTS, wanted, strict=True):
            error = np.linalg.norm(getattr(found, name) - value.numpy()) / np.linalg.norm(value.numpy())
            assert error < 10 ** (-90 / 20), (n, name)


def test_the_graph_holds_allowed_operators_of_one_domain_and_nothing_outside(decoder, spec, tmp_path):
    path = tmp_path / "a.onnx"
    export.export_instrument(decoder, spec, path)
    assert check_graph(path.read_bytes(), "a").name == "test"
    model = onnx.load(path)
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= OPERATORS and "BatchNormalization" not in kinds
    assert [(o.domain, o.version) for o in model.opset_import] == [("", export.OPSET)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.check.npz", "a.onnx"]


def test_the_golden_pair_is_what_torch_gives_and_is_replayed_at_loading(decoder, spec, tmp_path):
    path = tmp_path / "a.onnx"
    export.export_instrument(decoder, spec, path)
    with np.load(tmp_path / "a.check.npz") as pair:
        golden = dict(pair)
    with torch.no_grad():
        wanted = decoder(*(torch.from_numpy(golden[name]) for name in export.INPUTS))
    assert all(np.array_equal(golden[name], value.numpy()) for name, value in zip(export.OUTPUTS, wanted, strict=True))
    InstrumentModel.load(path)
    golden["partials"] = golden["partials"] * 1.01
    np.savez(tmp_path / "a.check.npz", **golden)
    with pytest.raises(ModelError, match="golden pair"):
        InstrumentModel.load(path)


def test_a_graph_that_disagrees_with_torch_is_not_written(decoder, spec, tmp_path, monkeypatch):
    def broken(plain, spec):
        with torch.no_grad():
            plain.noise.bias += 0.01
        return kept(plain, spec)

    kept = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", broken)
    with pytest.raises(ModelError, match="agree to"):
        export.export_instrument(decoder, spec, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_notes_beyond_the_range_and_wild_latents_stay_finite_and_bounded(decoder, spec, tmp_path):
    export.export_instrument(decoder, spec, tmp_path / "a.onnx")
    model = InstrumentModel.load(tmp_path / "a.onnx")
    rng = np.random.default_rng(0)
    latent = (8 * rng.standard_normal((64, spec.latent_size))).astype(np.float32)
    found = model.decode(latent, rng.uniform(0, 127, 64).astype(np.float32), rng.uniform(0, 1, 64).astype(np.float32))
    for value in (found.partials, found.noise, found.cents, found.ratios):
        assert np.isfinite(value).all()
    assert found.partials.max() <= 1.0 and found.noise.max() <= 1.0 and np.abs(found.cents).max() <= 200.0


def test_partials_beyond_hearing_are_silent(decoder):
    with torch.no_grad():
        partials, ratios, _, _ = decoder(torch.zeros(1, 6), torch.tensor([100.0]), torch.tensor([1.0]))
    hz = 440.0 * 2 ** ((100 - 69) / 12) * ratios[0].numpy()
    assert (hz > 20_000).any() and np.all(partials[0].numpy()[:, hz > 20_100] == 0.0)


def test_the_softest_and_the_hardest_touch_of_a_stiff_note_are_heard_equally_far_off(monkeypatch):
    tuned = lively("stiff")
    torch.manual_seed(1)
    torch.nn.init.normal_(
        tuned.by_number.weight, std=0.1
    )  # with this seed a firm touch is heard elsewhere than a soft one
    monkeypatch.setattr(tuning, "VELOCITIES", (0.1, 0.15, 1.0))
    point, note = torch.zeros(1, 6), 60.0  # one of the notes that are tuned
    tuning.tune(tuned, point, GRID, [(30.0, 90.0)])
    n = len(tuning.VELOCITIES)
    with torch.no_grad():
        found = tuned(point.expand(n, -1), torch.full((n,), note), torch.tensor(tuning.VELOCITIES))
    partials, ratios, cents, _ = (value.numpy() for value in found)
    heard = [tuning.sharpness_cents(partials[i], ratios[i], cents[i], GRID, note) for i in range(n)]
    assert max(heard) - min(heard) > 1.5 and abs(max(heard) + min(heard)) <= 2.0 * tuning.SEARCH_STEP_CENTS


def test_the_beginning_of_a_harmonic_note_and_the_whole_of_it_are_equally_far_off():
    tuned = lively("harmonic")
    tuning.tune(tuned, torch.zeros(1, 6), GRID, [(30.0, 90.0)])
    with torch.no_grad():
        cents = tuned(latents(8, tuned), torch.rand(8) * 60 + 30, torch.rand(8))[2].numpy()
    seconds, steps = GRID.frame_seconds, np.gradient(GRID.frame_seconds)
    early = steps * ((seconds >= 0.05) & (seconds <= 1.0))
    beginning = (cents * early).sum(1) / early.sum()
    whole = (cents[:, 8:24] * steps[8:24]).sum(1) / steps[8:24].sum()
    assert np.abs(beginning).max() > 0.05 and np.abs(beginning + whole).max() < 0.01
    assert torch.all(tuned.sharp.bias == 0.0)


def test_pitch_movement_averages_to_the_played_note_in_the_sustained_part(decoder):
    with torch.no_grad():
        cents = decoder(latents(8, decoder), torch.rand(8) * 60 + 30, torch.rand(8))[2].numpy()
    weights = np.gradient(GRID.frame_seconds)[8:24]
    assert np.abs((cents[:, 8:24] * weights).sum(1) / weights.sum()).max() < 0.01


# ---- the workshop


@pytest.fixture(scope="module")
def workshop():
    """`export/build.py` as a module."""
    import importlib.util
    import sys
    from pathlib import Path

    path = Path(__file__).parents[1] / "export" / "build.py"
    source = importlib.util.spec_from_file_location("build", path)
    module = importlib.util.module_from_spec(source)
    sys.modules["build"] = module
    source.loader.exec_module(module)
    return module


RECIPES = [
    "alto-flute", "alto-sax", "cello", "choir-voice", "clarinet", "classical-guitar", "drum-kit", "electric-bass", "inventions", "orchestra", "single-cycles",
    "transistor-organ", "trumpet", "upright-piano", "violin", "xylophone",
]  # fmt: skip


def test_every_recipe_is_read_and_names_the_origin_and_licence_of_its_recordings(workshop):
    assert sorted(path.stem for path in workshop.HERE.glob("*.toml")) == RECIPES
    page = (workshop.HERE / "README.md").read_text()
    with (workshop.HERE / "recordings.csv").open(newline="") as file:
        recordings = list(csv.DictReader(file))
    for name in RECIPES:
        recipe = workshop.read_recipe(name)
        assert recipe.config(1).check().steps == recipe.steps
        if recipe.folder == ".":  # of all single instruments
            assert recipe.licence == "Public domain" and "export/README.md names each" in recipe.origin
            assert f"| `{name}` | the recordings of all twelve" in page
            continue
        own = [row for row in recordings if row["instrument"].split("/")[0] == recipe.folder]
        sources = {(r["source_repository"], r["source_commit"], r["licence"]) for r in own}
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        if recipe.folder == "drums":  # of several sources, the least free of which counts
            assert recipe.licence == "CC-BY-4.0" and {licence for *_, licence in sources} == {"CC0-1.0", "CC-BY-4.0"}
            assert all(s in recipe.origin and c[:12] in recipe.origin and s in row and c in row for s, c, _ in sources)
            continue
        assert len(sources) == 1
        repository, commit, licence = sources.pop()
        assert licence.startswith(recipe.licence) and recipe.licence in ("CC0-1.0", "Public domain")
        assert repository in recipe.origin and commit[:12] in recipe.origin
        assert repository in row and commit in row and recipe.licence.lower() in row.lower()


def test_every_shipped_model_was_made_by_a_recipe_and_says_its_licence(workshop):
    models = shipped_models()
    assert models
    for path in models:
        recipe, spec = workshop.read_recipe(path.stem), InstrumentModel.load(path).spec
        assert (spec.name, spec.licence, spec.origin) == (recipe.name, recipe.licence, recipe.origin)


@pytest.mark.parametrize("text", ["step = 3", "name = 3", "[model\n", 'steps = "many"'])
def test_a_wrong_recipe_is_refused(workshop, tmp_path, monkeypatch, text):
    (tmp_path / "odd.toml").write_text((workshop.HERE / "cello.toml").read_text().replace("seed = 1", text))
    monkeypatch.setattr(workshop, "HERE", tmp_path)
    with pytest.raises(UsageError, match="odd.toml: is no recipe"):
        workshop.read_recipe("odd")


def test_publishing_adds_the_quality_and_changes_nothing_else(workshop, decoder, spec, tmp_path):
    export.export_instrument(decoder, spec, tmp_path / "a.onnx")
    (tmp_path / "out").mkdir()
    quality = Quality(
        floor_db=1.0, reconstruct_db=2.0, play_db=3.0004, sampler_db=4.0, interpolated_db=5.0, n_recordings=6
    )
    workshop.publish(tmp_path / "a.onnx", tmp_path / "out", quality)
    model = InstrumentModel.load(tmp_path / "out" / "a.onnx")
    assert model.spec.quality.play_db == 3.0 and model.spec.points == spec.points
    a, b = (onnx.load(path).graph.SerializeToString() for path in (tmp_path / "a.onnx", tmp_path / "out" / "a.onnx"))
    assert a == b


def test_the_workshop_hears_a_mistuned_note(workshop):
    seconds = np.arange(44_100) / 44_100
    pitch = 440.0 * 2 ** ((64 - 69) / 12) * 2 ** (30 / 1200)
    audio = sum(np.sin(2 * np.pi * pitch * k * seconds) / k for k in range(1, 9))
    heard = workshop.heard_pitch_hz(audio, 44_100, 64)
    assert 1200 * np.log2(heard / pitch) == pytest.approx(0.0, abs=2.0)
