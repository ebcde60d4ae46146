"""What a GAN's generator cannot get wrong at any latent, whatever it learned: its laws, on weights that say anything."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuralsynth.analysis.descriptors import UNITS, describe
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.training import gan, prominence, vae
from neuralsynth.training.config import VaeConfig
from neuralsynth.units import note_to_hz
from tests.test_training import analysed_at

MODEL = VaeConfig(
    width=24, latent_size=8, detail_functions=2, detail_partials=8, condition_size=24, envelope_points=12, note_step=6.0,
    body_points=24, lowest_frames=8,
)  # fmt: skip
CEILING_DB = np.linspace(0.0, -40.0, prominence.N_CORNERS)
VELOCITIES = torch.linspace(0.0, 1.0, 9)


@pytest.fixture(scope="module")
def wild():
    """A generator whose weights say anything at all, with normalisation statistics as after training."""
    torch.manual_seed(3)
    grid = SpectrumGrid.warped(32, 1.0, 16, 8)
    means = vae.Statistics(np.full(16, -40.0), np.full(8, -35.0), None, centred_frames=(8, 28))
    made = gan.Generator(MODEL, grid, means, np.array([-20.0, 2.0, -1.0, 25.0]), CEILING_DB).train()
    for head in (made.by_number, made.by_frequency, made.noise, made.movement):
        torch.nn.init.normal_(head.weight, std=0.1)
    with torch.no_grad():
        for _ in range(20):
            made(torch.randn(16, 8), torch.rand(16) * 60 + 30, torch.rand(16))
    return made.eval(), grid


def played(generator, latent, note, velocity):
    """Partials, ratios, cents and noise that the instrument file would give."""
    with torch.no_grad():
        return [x.numpy().astype(float) for x in generator(latent, note, torch.full((len(note),), velocity))]


def loudness_db(partials, noise, grid):
    """Loudness of partials and of noise `[N]`, as the law counts it: before the trim of noise."""
    weights = gan.loud_weights(grid)
    powers = (0.5 * partials**2).sum(2) @ weights, (noise**2).sum(2) @ weights / 10 ** (vae.NOISE_TRIM_DB / 10)
    return [10 * np.log10(power) for power in powers]


@contextmanager
def outburst(generator, frame=-2, number=slice(None), units=3.0):
    """A network that says partials 60 dB louder at a frame than it would."""

    def louder(module, inputs, output):
        output = output.clone()
        output[:, number, frame] += units
        return output

    hook = generator.by_number.register_forward_hook(louder)
    try:
        yield
    finally:
        hook.remove()


def decoded(wild, n=50):
    """Notes at random latents and pitches, each at all of `VELOCITIES`; power of partials and noise over frames."""
    generator, grid = wild
    torch.manual_seed(0)
    latent, note = torch.randn(n, 8).repeat_interleave(9, 0), (40 + 40 * torch.rand(n)).repeat_interleave(9)
    with torch.no_grad():
        found = [x.numpy().astype(float) for x in generator(latent, note, VELOCITIES.repeat(n))]
    return found, grid


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_loudness_rises_with_velocity_by_the_law_at_every_latent_and_however_long_one_listens(wild, seconds):
    (partials, _, _, noise), grid = decoded(wild)
    weights = np.gradient(grid.frame_seconds) * (grid.frame_seconds < seconds)
    level = 10 * np.log10((0.5 * partials**2).sum(2) @ weights + (noise**2).sum(2) @ weights).reshape(-1, 9)
    law = 25.0 * np.log10(gan.SOFTEST_SHARE + (1 - gan.SOFTEST_SHARE) * VELOCITIES.numpy())
    away = level - level[:, -1:] - law
    assert np.median(np.abs(away)) < 0.05
    assert np.all(np.diff(level, axis=1) > 0.0, axis=1).mean() >= 0.98


@pytest.mark.parametrize("bursting", [False, True])
def test_a_note_is_as_loud_as_the_law_says_at_every_latent(wild, bursting):
    """Also where the network lets a moment after a second burst out, which is taken away again."""
    generator, grid = wild
    torch.manual_seed(0)
    latent, note = torch.randn(100, 8), 40 + 60 * torch.rand(100)
    with outburst(generator) if bursting else nullcontext():
        partials, _, _, noise = played(generator, latent, note, gan.MIDDLE_VELOCITY)
    level_db = np.logaddexp(*(x * np.log(10) / 10 for x in loudness_db(partials, noise, grid))) * 10 / np.log(10)
    wanted_db = gan.wanted_db(generator.loudness, note, torch.full((100,), gan.MIDDLE_VELOCITY)).numpy()
    assert np.abs(level_db - wanted_db).max() < 0.01 and np.ptp(wanted_db) > 3.0


def test_nothing_bursts_out_late_in_a_note(wild):
    """Planted: a frame after a second that is 60 dB louder than the note."""
    generator, grid = wild
    torch.manual_seed(0)
    with outburst(generator):
        partials, _, _, noise = played(generator, torch.randn(20, 8), 40 + 40 * torch.rand(20), 0.5)
    level = 10 * np.log10((0.5 * partials**2).sum(2) + (noise**2).sum(2))
    early = grid.frame_seconds < gan.SETTLED_SECONDS
    # A little more than the limit: early noise is held down afterwards.
    assert np.all(level[:, -2] < level[:, early].max(axis=1) + gan.MOST_RISE_DB + 5.0)
    assert np.all(level[:, early].max(axis=1) > -60.0)


def test_partials_are_harmonics_and_the_pitch_averages_to_the_note_at_every_latent(wild):
    (_, ratios, cents, _), grid = decoded(wild)
    assert np.array_equal(ratios, np.tile(np.arange(1.0, 17.0), (len(ratios), 1)))
    weights = np.gradient(grid.frame_seconds)[8:28]
    inside = np.abs(cents).max(1) < 200.0  # where nothing is clipped
    assert inside.sum() > 50
    assert np.abs(cents[inside][:, 8:28] @ weights / weights.sum()).max() < 0.01


@pytest.mark.parametrize(("turned", "most_db"), [(1.0, -5.0), (0.0, -8.0)])
def test_noise_never_drowns_the_partials_at_any_latent(wild, turned, most_db):
    """From C5 up by a quarter of a decibel less with each semitone. A late burst taken away leaves up to 2 dB more."""
    generator, grid = wild
    torch.manual_seed(0)
    latent, note, velocity = torch.randn(400, 8), 40 + 60 * torch.rand(400), torch.full((400,), gan.MIDDLE_VELOCITY)
    latent[:, :4] *= turned
    with torch.no_grad():
        found = generator.decode(latent, note, velocity)
        partials, _, _, noise = generator(latent, note, velocity)
    gains = [10.0 ** (x.numpy().astype(float).transpose(0, 2, 1) / 20) for x in (found.partials_db, found.noise_db)]
    gains[1] *= 10 ** (vae.NOISE_TRIM_DB / 20)
    high = note.numpy() > 80.0
    for pair, more_db in ((gains, 0.05), ((partials.numpy().astype(float), noise.numpy().astype(float)), 2.0)):
        tone_db, hiss_db = loudness_db(*pair, grid)
        below_db = hiss_db - tone_db + 0.25 * np.maximum(note.numpy() - 72.0, 0.0)
        for some in (high, ~high):
            assert below_db[some].max() < most_db + more_db
            assert np.mean(below_db[some] > most_db - 3.0) > 0.1  # many of these notes were held down


def test_a_turn_moves_its_own_quality_at_every_latent_and_no_other(wild):
    """All four at once, independently: what each does is told apart by correlation over positions, at each latent."""
    generator, grid = wild
    torch.manual_seed(4)
    n, found = 48, []
    for _ in range(12):
        latent, turns = torch.randn(1, 8).repeat(n, 1), 4.0 * torch.rand(n, 4) - 2.0
        latent[:, :4] = turns
        note = torch.full((n,), float(45 + 30 * torch.rand(())))
        with torch.no_grad():
            outputs = generator(latent, note, torch.full((n,), gan.MIDDLE_VELOCITY))
        partials, ratios, _, noise = (x.numpy().astype(float) for x in outputs)
        told = [describe(partials[i], ratios[i], noise[i], grid, float(note[i])) for i in range(n)]
        values = np.array([[one[name] for name in UNITS] for one in told])
        found.append(np.corrcoef(turns.numpy(), values, rowvar=False)[:4, 4:])
    own = np.array([np.diag(r) for r in found])
    assert np.all(np.median(own, axis=0) > 0.95) and np.mean(own > 0.85) > 0.9, own


@pytest.mark.parametrize(
    ("turn", "most"),  # of what brightness (octaves), noisiness (dB), attack (dB) and decay (dB per second) move by
    [
        ("brightness", {"noisiness": 0.01, "attack": 0.01, "decay": 0.01}),
        ("noisiness", {"brightness": 0.001, "attack": 0.01, "decay": 0.01}),
        ("attack", {"brightness": 0.03, "noisiness": 0.3, "decay": 1.0}),
        ("decay", {"brightness": 0.01, "noisiness": 0.1, "attack": 0.2}),
    ],
)
def test_one_turn_leaves_the_other_qualities_where_they_were(wild, turn, most):
    """From one end to the other, in the median of latents; the turned one moves by 0.8 octaves, 11, 7 dB or 6 dB/s."""
    generator, grid = wild
    torch.manual_seed(4)
    n, told = 40, []
    latent, note = torch.randn(n, 8), 45 + 30 * torch.rand(n)
    latent[:, :4] = 0.0
    for amount in (-2.0, 2.0):
        latent[:, list(UNITS).index(turn)] = amount
        partials, ratios, _, noise = played(generator, latent, note, gan.MIDDLE_VELOCITY)
        told.append([describe(partials[i], ratios[i], noise[i], grid, float(note[i])) for i in range(n)])
    moved = {name: np.median([abs(b[name] - a[name]) for a, b in zip(*told, strict=True)]) for name in UNITS}
    assert moved[turn] > 0.5
    assert all(moved[name] < limit for name, limit in most.items()), moved


def test_the_network_does_not_see_the_turns(wild):
    """Vibrato is not turned, so it tells what the network was asked."""
    generator, _ = wild
    torch.manual_seed(5)
    latent, note = torch.randn(20, 8), 45 + 30 * torch.rand(20)
    _, _, cents, _ = played(generator, latent, note, 0.5)
    latent[:, :4] = torch.randn(20, 4)
    assert np.array_equal(played(generator, latent, note, 0.5)[2], cents) and np.abs(cents).max() > 1.0


def test_a_high_partial_that_whistles_is_held_down_and_a_natural_slope_is_left_alone():
    grid = SpectrumGrid.warped(32, 1.0, 40, 8)
    limit = prominence.Prominence(grid, CEILING_DB)
    number = torch.arange(1.0, 41.0)
    slope_db = (-9.0 * torch.log2(number))[None, :, None].repeat(1, 1, 32)
    hz = 220.0 * number[None]
    assert float((limit(slope_db, hz) - slope_db).abs().max()) < 0.5
    whistling = slope_db.clone()
    whistling[:, 29] += 50.0
    held = limit(whistling, hz)
    assert float(held[0, 29, 0] - held[0, [25, 26, 27, 28, 30, 31, 32, 33], 0].max()) < prominence.MOST_ABOVE_DB + 1.0
    assert float((held - whistling)[:, :25].abs().max()) < 0.5
    ceiling = float(torch.lerp(torch.tensor(0.0), torch.tensor(-40.0), torch.log2(hz[0, 29] / 1000.0) / 4.0))
    assert float(held[0, 29, 0]) <= ceiling + 1.0
    course = whistling + torch.linspace(0.0, -20.0, 32)  # what moves in time, moves as it did
    away = limit(course, hz) - course
    assert float((away - away[:, :, :1]).abs().max()) < 1e-4


def test_many_high_partials_that_whistle_together_are_held_under_the_ceiling():
    grid = SpectrumGrid.warped(32, 1.0, 40, 8)
    number = torch.arange(1.0, 41.0)
    levels_db = (-9.0 * torch.log2(number))[None, :, None].repeat(1, 1, 32)
    levels_db[:, 24:] += 50.0
    held = prominence.Prominence(grid, CEILING_DB)(levels_db, 220.0 * number[None])
    ceiling_db = -40.0 * torch.log2(220.0 * number / 1000.0).clamp(0.0, 4.0) / 4.0
    assert float((held[0, 24:, 0] - ceiling_db[24:]).max()) < 1.0
    assert float((held - levels_db)[:, :24].abs().max()) < 0.5


def test_no_number_of_a_played_note_stands_out_at_any_latent(wild):
    """Planted: a network that says its twelfth partial 60 dB louder."""
    generator, grid = wild
    torch.manual_seed(6)
    latent, note = torch.randn(40, 8), 40 + 20 * torch.rand(40)
    latent[:, :4] = 0.0
    with outburst(generator, frame=slice(None), number=11):
        partials, _, _, _ = played(generator, latent, note, gan.MIDDLE_VELOCITY)
    level_db = 10 * np.log10((partials**2).transpose(0, 2, 1) @ np.gradient(grid.frame_seconds))
    assert (
        level_db[:, 11] - level_db[:, [7, 8, 9, 10, 12, 13, 14, 15]].max(axis=1)
    ).max() < prominence.MOST_ABOVE_DB + 2.0


def test_detail_moves_the_finished_levels_by_just_what_it_says(wild):
    """Behind all laws: a law would take back a part of it."""
    generator, _ = wild
    torch.manual_seed(7)
    kept = generator.detail_functions.clone(), generator.detail_scale_db.clone()
    generator.detail_functions[:] = torch.stack([torch.ones(32), torch.linspace(-1.0, 1.0, 32)])
    generator.detail_scale_db[:] = 3.0
    latent, detail, note = torch.randn(20, 8), torch.randn(20, 2, 16), 40 + 20 * torch.rand(20)
    try:
        plain = played(generator, latent, note, 0.5)
        moved = played(generator, torch.cat([latent, detail.flatten(1)], dim=1), note, 0.5)
    finally:
        generator.detail_functions[:], generator.detail_scale_db[:] = kept
    said_db = 3.0 * np.einsum("nfc,ft->ntc", detail.numpy(), [np.ones(32), np.linspace(-1.0, 1.0, 32)])
    for before, after, wanted in (
        (plain[0][:, :, :8], moved[0][:, :, :8], said_db[:, :, :8]),
        (plain[3], moved[3], said_db[:, :, 8:]),
    ):
        told = (before > 1e-5) & (after > 1e-5)
        assert told.mean() > 0.5 and np.abs(20 * np.log10(after[told] / before[told]) - wanted[told]).max() < 0.01
    assert np.array_equal(moved[0][:, :, 8:], plain[0][:, :, 8:])


@pytest.mark.parametrize("softer_db", [0.0, 20.0])
def test_the_ceiling_of_partials_is_that_of_the_recordings(softer_db):
    """That of the loud ones, where half of the recordings have softer overtones."""
    note, number = np.arange(40.0, 76.0), np.arange(1, 41)
    octaves = np.log2(note_to_hz(note)[:, None] * number / 1000.0)
    levels_db = -20.0 - 10.0 * np.maximum(octaves, 0.0)  # level up to 1 kHz, 10 dB per octave from there on
    levels_db[::2, prominence.LOW_PARTIALS :] -= softer_db
    table = replace(analysed_at({(60, 90): -20.0}), partials_db=np.repeat(levels_db[:, :, None], 32, axis=2), note=note)
    wanted = -10.0 * np.linspace(0.0, 4.0, prominence.N_CORNERS)
    assert np.abs(prominence.ceiling_of(table) - wanted).max() < 10.0 / 3 + 0.2  # up to a corner's third of an octave


def test_the_law_of_loudness_is_that_of_the_recordings():
    rises = {(n, v): -50.0 + 30.0 * np.log10(0.08 + 0.92 * v / 127) for n in range(48, 73, 4) for v in (30, 70, 110)}
    assert gan.loudness_law(analysed_at(rises))[3] == pytest.approx(30.0, abs=2.0)
    flat = {(n, v): -20.0 for n in range(48, 73, 4) for v in (90,)}
    assert gan.loudness_law(analysed_at(flat))[3] == gan.LEAST_LAW * 40.0  # one layer: no touch was recorded
