"""Generator and discriminator against each other, step by step: who pays for what, and when a training goes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from neuralsynth.errors import UsageError
from neuralsynth.spectrum import stretched_ratios
from neuralsynth.training import adversary, checkpoints, collapse, gan_fit, vae
from neuralsynth.training.augment import Batches, Mixing
from neuralsynth.training.config import GanConfig, TrainConfig, VaeConfig
from neuralsynth.training.families import GanFamily
from neuralsynth.training.fit import to_tensors
from neuralsynth.training.losses import MelEar
from neuralsynth.training.optimisation import Schedule
from neuralsynth.training.prepare import Data
from tests.test_training import analysed_at

MODEL = VaeConfig(
    width=12, latent_size=6, condition_size=12, envelope_points=12, note_step=6.0, body_points=24, lowest_frames=8
)  # fmt: skip
ADVERSARY = GanConfig(portrait=0.0)  # nothing but the verdicts counts, and how the encoder hears inventions


def data_of(table):
    return Data(table, None, (), "digest", 44_100, ())


@pytest.fixture(scope="module")
def table():
    """Notes of four partials that fall by 4 dB from one to the next, no two alike."""
    made = analysed_at({(n, v): -30.0 + 0.1 * v for n in range(40, 80, 2) for v in (50, 110)}, noise_db=-60.0)
    rng = np.random.default_rng(0)
    slope_db = -4.0 * np.arange(4.0)[None, :, None] + rng.normal(0.0, 2.0, (len(made.note), 4, 1))
    return replace(made, partials_db=(made.partials_db + slope_db).astype(np.float32))


@pytest.fixture
def made(table):
    """Makes a training and a batch for it."""

    def make(config=ADVERSARY, steps=1000):
        torch.manual_seed(1)
        family = GanFamily(TrainConfig(family="gan", model=MODEL, gan=config), data_of(table), MelEar(table.grid))
        training = family.training(family.network(), family.network(), Schedule(1, steps, 2e-3, 0.0))
        return training, to_tensors(Batches(table, 0, 16, Mixing(turns=False)).draw(0))

    return make


def pay(training, batch, step=1):
    """The loss of a step, with the random numbers of always, and its gradients left behind."""
    torch.manual_seed(5)
    training.network.zero_grad()
    loss, facts = training.loss(batch, step)
    loss.backward()
    return float(loss.detach()), facts


def slopes(part):
    return sum(float((p.grad**2).sum()) for p in part.parameters() if p.grad is not None)


def move(part, by):
    with torch.no_grad():
        for p in part.parameters():
            if p.grad is not None:
                p -= by * p.grad


# ---- who pays for what


def test_the_generator_learns_from_the_verdicts_and_the_discriminator_from_its_own_price_alone(made, monkeypatch):
    training, batch = made()
    pay(training, batch)
    assert slopes(training.network.discriminator) > 0.0 and slopes(training.network.decoder) > 0.0
    monkeypatch.setattr(gan_fit, "hinge", lambda real, fake: 0.0 * (real + fake).sum())
    pay(training, batch)
    assert slopes(training.network.discriminator) == 0.0 < slopes(training.network.decoder)


def test_each_side_moves_the_verdicts_its_own_way(made):
    """The generator up, for its own notes; the discriminator apart."""
    for side, verdict in (("decoder", 1.0), ("discriminator", -1.0)):
        training, batch = made(replace(ADVERSARY, disguise=0.0, steepness=0.0))
        pay(training, batch)
        apart = training.margin
        move(getattr(training.network, side), 1e-3)
        pay(training, batch)
        assert (apart - training.margin) * verdict > 1e-5, side


def test_recordings_are_to_be_over_one_and_inventions_under_minus_one():
    assert float(adversary.hinge(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -3.0]))) == 0.0
    assert float(adversary.hinge(torch.tensor([0.5]), torch.tensor([-0.25]))) == pytest.approx(1.25)


@pytest.mark.parametrize("returns", [0, 1, 2])
def test_steepness_is_paid_for_every_eighth_step_and_dearer_after_each_return(made, returns):
    training, batch = made(replace(ADVERSARY, disguise=0.0))
    training.returns = returns
    network = training.network
    real = network.recorded(batch["partials_db"], batch["noise_db"], batch["cents"], batch["note"])
    steep = float(adversary.steepness(network.discriminator, real, batch["note"], batch["velocity"]).detach())
    more = pay(training, batch, 8)[0] - pay(training, batch, 9)[0]
    assert more == pytest.approx(0.5 * 8 * ADVERSARY.steepness * 4.0**returns * steep, rel=0.05) and steep > 1e-4


def test_learning_is_slower_after_each_return_and_slower_than_a_vaes(made):
    training, _ = made()
    rates = []
    for training.returns in range(3):
        rates.append(training.rate(300) / training.schedule.rate(300))
    assert rates == pytest.approx([0.5, 0.25, 0.125])


def test_both_sides_are_disguised_before_they_are_judged(made, monkeypatch):
    training, batch = made()
    seen = []

    def blank(rows, n_partials, strength):
        seen.append((n_partials, strength))
        return torch.zeros_like(rows)

    pay(training, batch)
    assert training.margin != 0.0
    monkeypatch.setattr(gan_fit, "disguised", blank)
    pay(training, batch)
    assert training.margin == 0.0 and set(seen) == {(4, ADVERSARY.disguise)}


def test_portraits_and_what_the_encoder_hears_are_paid_for(made, monkeypatch):
    training, batch = made(GanConfig(portrait=1.0))
    loss, facts = pay(training, batch)
    assert float(training.network.points.grad.abs().sum()) > 0.0
    alone, _ = made()
    without, _ = pay(alone, batch)
    assert loss - without > 0.5 * (facts["play_db"] + facts["latent_db"])
    monkeypatch.setattr(gan_fit, "RECOGNITION", gan_fit.RECOGNITION + 1.0)
    more, facts = pay(alone, batch)
    assert more - without == pytest.approx(facts["unheard"], rel=0.01)


# ---- what the discriminator sees


def test_the_disguise_moves_colour_and_nothing_else_and_lets_gradients_through():
    torch.manual_seed(0)
    rows = torch.zeros(64, 16 + 8 + 1, 12, requires_grad=True)
    moved = adversary.disguised(rows, 16, 1.0)
    assert torch.equal(moved[:, -1], rows[:, -1]) and float(moved[:, :24].detach().std()) > 0.1
    assert torch.allclose(moved, moved[:, :, :1].expand_as(moved))  # the same at all times
    assert torch.equal(adversary.disguised(rows, 16, 0.0), rows)
    moved.sum().backward()
    assert torch.equal(rows.grad, torch.ones_like(rows))


def test_steepness_is_the_squared_slope_of_the_verdict():
    class Slope(torch.nn.Module):
        def forward(self, rows, note, velocity):
            return 3.0 * rows[:, 0, 0] - 4.0 * rows[:, 1, 0]

    rows = torch.randn(5, 3, 4)
    assert float(adversary.steepness(Slope(), rows, None, None).detach()) == pytest.approx(25.0)
    weight = torch.nn.Parameter(torch.tensor(3.0))

    class Weighted(torch.nn.Module):
        def forward(self, rows, note, velocity):
            return weight * rows[:, 0, 0]

    adversary.steepness(Weighted(), rows, None, None).backward()
    assert float(weight.grad) == pytest.approx(6.0)  # it can be learned from


@pytest.fixture
def judge(table):
    torch.manual_seed(2)
    return adversary.Discriminator(MODEL, table.grid), torch.randn(6, 4 + 8 + 1, 32), torch.full((6,), 60.0)


def test_a_verdict_depends_on_note_and_velocity_and_on_how_alike_the_batch_is(judge):
    discriminator, rows, note = judge
    half = torch.full((6,), 0.5)
    with torch.no_grad():
        plain, alike = discriminator(rows, note, half), discriminator(rows[:1].repeat(6, 1, 1), note, half)
        higher, harder = discriminator(rows, note + 7.0, half), discriminator(rows, note, half + 0.3)
    assert float((higher - plain).abs().min()) > 1e-4
    assert float((harder - plain).abs().min()) > 1e-4
    assert float((alike[0] - plain[0]).abs()) > 1e-4


def test_a_verdict_depends_on_partials_that_stand_out(judge):
    """All other inputs of the first stage are cut off."""
    discriminator, rows, note = judge
    with torch.no_grad():
        discriminator.stages[0].weight[:, : rows.shape[1]] = 0.0
    louder = rows.clone()
    louder[:, 2] += 3.0
    verdicts = [discriminator(x, note, torch.full((6,), 0.5)) for x in (rows, louder)]
    assert float((verdicts[0] - verdicts[1]).abs().min()) > 1e-4
    level = torch.tensor([[0.0, 1.0, 5.0, 1.0, 2.0]])[:, :, None]
    assert adversary.standing_out(level)[0, :, 0].tolist() == [0.0, 0.0, 4.0, 0.0, 0.5]


def test_partials_beyond_hearing_are_hidden_since_no_generated_note_has_any(made):
    training, batch = made()
    high = torch.full_like(batch["note"], 112.0)  # 5.3 kHz: the fourth partial is above 20 kHz
    levels = batch["partials_db"].clone()
    rows = training.network.recorded(levels, batch["noise_db"], batch["cents"], high)
    levels[:, 3] += 40.0
    assert vae.HIGHEST_PARTIAL_HZ < 4 * 440 * 2 ** ((112 - 69) / 12)
    assert torch.equal(training.network.recorded(levels, batch["noise_db"], batch["cents"], high), rows)


# ---- how its health is measured


def told(reference, rows, hiss=1.0):
    """Coverage, density and spread if the generator said these recordings, with so much more noise."""
    partials, noise = (10.0 ** (x[rows].transpose(0, 2, 1) / 20) for x in (reference.partials_db, reference.noise_db))
    middle = float(np.median(reference.note))
    return (*reference.coverage(partials, hiss * noise), reference.spread(partials, hiss * noise, middle))


def test_coverage_density_and_spread_tell_a_sound_generator_from_one_that_hisses_and_one_that_repeats_itself(table):
    reference = collapse.Reference(table)
    n = len(reference.note)
    same, hissing, one = told(reference, np.arange(n)), told(reference, np.arange(n), 300.0), told(reference, [0] * n)
    assert same[0] == 1.0 and same[1] > 0.8 and same[2] > 0.3
    assert hissing[0] < 0.1 and hissing[1] < 0.1
    assert one[2] < 0.01


def test_a_network_that_is_not_finite_any_more_is_told(made, table):
    training, _ = made()
    with torch.no_grad():
        for network in (training.network, training.average):
            network.decoder.by_number.weight[:] = float("nan")
    assert np.isfinite(training.score(table))
    assert "not finite" in training.health.complaint(10, 1000, 0.0)


def test_the_margin_is_that_of_verdicts_on_recordings_and_inventions(made, table):
    training, _ = made()
    training.score(table)
    before = training.health.margin
    with torch.no_grad():
        training.network.discriminator.verdict.weight *= 100.0
        training.network.discriminator.projection.weight *= 100.0
    training.score(table)
    assert training.health.margin == pytest.approx(100.0 * before, rel=0.01) and abs(before) > 1e-4
    assert training.network.training  # and not left in the mode of looking


@pytest.mark.parametrize(
    ("step", "margin", "looks"),
    [
        (10, 2.0, True),
        (11, 2.0, False),
        (100, 2.0, True),
        (110, 2.0, False),
        (110, 40.0, True),
        (115, 40.0, False),
        (110, float("nan"), True),
    ],
)
def test_a_training_is_looked_at_often_when_young_and_when_the_verdicts_are_far_apart(made, step, margin, looks):
    training, _ = made(steps=1000)
    training.first_step, training.margin = step, margin
    assert training.wary() is looks


# ---- when it is lost


@pytest.fixture
def lost(made, tmp_path, monkeypatch):
    """A training at step 400, its optimiser, and the run with a best checkpoint of step 200."""
    training, batch = made()
    optimizer = training.configure_optimizers()
    monkeypatch.setattr(type(training), "optimizer", lambda self: optimizer)

    def learn(step):
        pay(training, batch)
        optimizer.step()
        training.first_step = step
        with torch.no_grad():
            training.average.points += 1.0

    run = checkpoints.Run(tmp_path)
    run.create()
    learn(200)
    training.best_coverage = 0.8
    run.save(training.state(0.2), True)
    learn(400)
    training.health = collapse.Health(0.1, 0.1, 0.5, 2.0)
    return training, optimizer, run


def test_a_lost_training_goes_back_with_all_that_the_best_had(lost):
    training, optimizer, run = lost
    best = run.best()
    said = training.rescue(run)
    assert said == "the training collapsed at step 400: coverage fell to 0.10 from 0.80; back to the best, of step 200"
    for part in ("network", "average"):
        for name, value in getattr(training, part).state_dict().items():
            assert torch.equal(value, best[part][name]), f"{part} {name}"
    moments = [state["exp_avg_sq"] for state in optimizer.state_dict()["state"].values()]
    kept = [state["exp_avg_sq"] for state in best["optimizer"]["state"].values()]
    assert len(kept) > 10 and all(torch.equal(a, b) for a, b in zip(moments, kept, strict=True))
    assert training.returns == 1 and training.best_coverage == 0.8


def test_a_healthy_training_goes_on_and_its_best_is_remembered(lost):
    training, _, run = lost
    training.health = collapse.Health(0.9, 1.0, 0.9, 2.0)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    assert training.rescue(run) is None and training.best_coverage == 0.9 and training.returns == 0
    assert all(torch.equal(value, before[name]) for name, value in training.network.state_dict().items())


def test_it_goes_back_four_times_at_most_and_at_the_very_end(lost):
    training, _, run = lost
    training.returns = 4
    assert training.rescue(run) is None
    training.first_step = training.schedule.steps
    assert "back to the best, of step 200" in training.rescue(run)


def test_a_training_lost_before_anything_was_kept_says_so(lost, tmp_path):
    training, _, _ = lost
    (tmp_path / "empty").mkdir()
    empty = checkpoints.Run(tmp_path / "empty")
    empty.create()
    assert "there is nothing to go back to yet" in training.rescue(empty)


def test_a_resumed_training_knows_its_returns_and_its_best_coverage(lost, made):
    training, _, _ = lost
    training.returns = 2
    other, _ = made()
    other.restore(training.state(0.2))
    assert (other.returns, other.best_coverage, other.step) == (2, 0.8, 400)


def test_drums_are_refused(table):
    modes = np.tile(stretched_ratios(4, 0.0), (1, 1))
    with pytest.raises(UsageError, match="drums; use family vae"):
        GanFamily(TrainConfig(family="gan"), data_of(replace(table, ratios=modes)), MelEar(table.grid))
