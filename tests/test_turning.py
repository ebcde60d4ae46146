"""What a network starts from when it is turned, and what holds its turns in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.axes import correlations
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training import losses, vae
from neuralsynth.training.config import VaeConfig
from neuralsynth.training.turning import UsualTurn
from neuralsynth.training.turns import Levels
from tests.test_turns import GRID, NOTES, TIMES, note_of, told

EVERY = (True, True, True, True)


def turned(kind, amounts, turnable=EVERY):
    """Levels of a note of `test_turns` at each of `amounts` `[K, 4]`."""
    note, levels, _ = note_of(kind)
    partials, noise = (torch.tensor(x, dtype=torch.float32)[None] for x in (levels.partials_db, levels.noise_db))
    n = len(amounts)
    moved = UsualTurn(GRID, turnable)(
        partials.expand(n, -1, -1), noise.expand(n, -1, -1), torch.tensor(amounts, dtype=torch.float32)
    )
    return note, [Levels(p, b, levels.cents) for p, b in zip(*(x.double().numpy() for x in moved), strict=True)]


@pytest.mark.parametrize("kind", NOTES)
def test_the_usual_turn_moves_its_own_descriptor_most(kind):
    amounts = np.random.default_rng(3).uniform(-1.0, 1.0, (128, 4))
    note, levels = turned(kind, amounts)
    r = correlations(amounts[None], np.array([told(one, note) for one in levels])[None])
    assert np.all(np.diag(r) >= [0.9, 0.9, 0.8, 0.4]), np.round(r, 2)  # how fast a struck note dies is learned
    assert np.all(np.argmax(np.abs(r[:3]), axis=1) == np.arange(3)), np.round(r, 2)


def test_no_turn_and_turns_that_mean_nothing_leave_the_levels_alone():
    _, levels, _ = note_of("blown")
    for amounts, turnable in ((np.zeros((1, 4)), EVERY), (np.ones((1, 4)), (False,) * 4)):
        moved = turned("blown", amounts, turnable)[1][0]
        assert np.abs(moved.partials_db - levels.partials_db).max() < 0.35
        assert np.abs(moved.noise_db - levels.noise_db).max() < 0.35


def test_a_network_that_has_learned_nothing_is_brighter_when_turned_so_and_as_loud():
    torch.manual_seed(0)
    means = vae.Statistics(-20.0 - 6.0 * np.log2(np.arange(1.0, 25.0)), np.full(12, -60.0), None)
    network = vae.Vae(VaeConfig(width=8, latent_size=6, condition_size=8, note_step=8.0), GRID, means).eval()
    places = torch.stack([network.group_places()[0] + network.turn_step(0, side) for side in (-1.0, 1.0)])
    with torch.no_grad():
        decoded = network.decoder.decode(places, torch.full((2,), 60.0), torch.full((2,), 0.7))
    dark, bright = (told(Levels(*(x[i].double().numpy() for x in levels), np.zeros(1)), 60.0)
                    for levels in [(decoded.partials_db, decoded.noise_db)] for i in (0, 1))  # fmt: skip
    assert bright[0] > dark[0] + 0.5
    louder = 10.0 * torch.log10(
        (10.0 ** (decoded.partials_db / 10.0)).sum(1) @ torch.tensor(np.gradient(TIMES)).float()
    )
    assert abs(float(louder[1] - louder[0])) < 2.0


# ---- the price of a quality

PARTIALS = torch.tensor([0.0, -12.0, -20.0, -26.0])[:, None]
COURSES = SpectrumGrid.warped(64, 3.0, 4, 8)
T = torch.tensor(COURSES.frame_seconds, dtype=torch.float32)


def price(found_db, wanted_db):
    """What `Qualities` asks for one course of level `[T]` in the place of another."""
    quality = losses.Qualities(COURSES)
    weights, noise = torch.ones(1, len(T)), torch.full((1, 8, len(T)), -80.0)
    levels = [(PARTIALS + course - 20.0).clamp(min=-110.0)[None] for course in (found_db, wanted_db)]
    decoded = vae.Decoded(levels[0], noise, torch.zeros(1, len(T)), torch.ones(1, 4))
    return float(quality(decoded, levels[1], noise, weights, 20.0))


def test_an_equal_course_costs_nothing():
    assert price(-20.0 * T, -20.0 * T) == pytest.approx(0.0, abs=1e-3)


def test_a_note_that_is_soon_over_counts_as_much_as_one_that_lasts():
    short, long = (price(-slope * 1.5 * T, -slope * T) for slope in (150.0, 15.0))
    assert short > 0.5 * long, (short, long)


def test_what_rings_on_after_a_note_is_over_costs():
    over = -200.0 * T
    ringing = torch.maximum(over, torch.tensor(-45.0))
    assert price(ringing, over) > price(over - 1.0, over) + 5.0


def test_the_same_tilt_costs_more_where_the_second_partial_is_hardly_there_than_its_brightness_moves():
    """What a tilt does to the brightness of a note that is nearly one partial is little, and is what it has."""
    costs, moved = [], []
    for levels in (PARTIALS, torch.tensor([0.0, -34.0, -46.0, -52.0])[:, None]):
        tilted = levels + 2.5 * torch.log2(torch.arange(1.0, 5.0))[:, None]
        weights, noise = torch.ones(1, len(T)), torch.full((1, 8, len(T)), -80.0)
        plain, found = ((x - 20.0).expand(-1, len(T))[None] for x in (levels, tilted))
        decoded = vae.Decoded(found, noise, torch.zeros(1, len(T)), torch.ones(1, 4))
        asked = [losses.Qualities(COURSES)(decoded, plain, noise, weights, price) for price in (40.0, 0.0)]
        costs.append(float(asked[0] - asked[1]))
        gains = 10.0 ** (torch.cat([tilted, levels], dim=1) / 20.0)
        both = (gains / gains.sum(0) * torch.log2(torch.arange(1.0, 5.0))[:, None]).sum(0)
        moved.append(float(both[0] - both[1]))
    assert costs[1] / costs[0] > 2.0 * moved[1] / moved[0], (costs, moved)


def test_a_wrong_slope_costs_more_than_its_frames_that_waver_as_much():
    wrong = 2.0 * (T - T.mean())
    waver = wrong.abs() * torch.tensor([1.0, -1.0]).repeat(len(T) // 2)
    still = torch.zeros(len(T))
    assert price(wrong, still) > 1.2 * price(waver, still)


@pytest.mark.parametrize("frame", [1, 20, -1])
def test_one_loud_frame_sets_no_course_right(frame):
    wrong, still = -3.0 * T, torch.zeros(len(T))
    loud = wrong.clone()
    loud[frame] += 30.0
    assert price(loud, still) > price(wrong, still)


def test_a_fade_in_costs_more_the_slower_it_is():
    fades = [20.0 * torch.log10((1.0 - torch.exp(-(T + 1e-3) / s)).clamp(min=1e-3)) for s in (0.002, 0.008, 0.03, 0.1)]
    prices = [price(fade, torch.zeros(len(T))) for fade in fades]
    assert np.all(np.diff(prices) > 0.2), prices
