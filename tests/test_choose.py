"""Duplicates are found, picks are varied, and every choice is the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness

from neuralsynth.design.choose import DUPLICATE_DB, most_varied, near_duplicates, nearest, rank
from neuralsynth.design.descriptors import fingerprint
from neuralsynth.design.layout import map_2d
from neuralsynth.errors import UsageError
from neuralsynth.units import note_to_hz
from tests.effort import at_most
from tests.signals import band_noise, synthetic_note
from tests.threads import said_with_threads

RATE = 44_100


def slow_duplicates(rows, limit):
    """The rule, word for word."""
    kept, of = [], []
    for i, row in enumerate(rows):
        away = [np.sqrt(np.sum((rows[j] - row) ** 2)) for j in kept]
        if away and min(away) <= limit:
            of.append(kept[int(np.argmin(away))])
        else:
            kept.append(i)
            of.append(i)
    return kept, of


def clusters(n_clusters=60, n_each=20, size=32, seed=0, spread=0.2):
    rng = np.random.default_rng(seed)
    centres = 10.0 * rng.standard_normal((n_clusters, size))
    return np.repeat(centres, n_each, axis=0) + spread * rng.standard_normal((n_clusters * n_each, size))


class TestDuplicates:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.floats(0, 4, allow_subnormal=False))
    def test_follows_the_rule(self, seed, n, limit):
        rows = np.random.default_rng(seed).integers(0, 4, (n, 4)).astype(float)
        found = near_duplicates(rows, limit)
        kept, of = slow_duplicates(rows, limit)
        assert np.flatnonzero(found.kept).tolist() == kept
        assert found.of.tolist() == of
        np.testing.assert_allclose(found.distance, np.linalg.norm(rows - rows[found.of], axis=1) if n else [])

    def test_follows_the_rule_across_blocks(self):
        rows = np.random.default_rng(1).permutation(clusters(spread=0.5))
        found = near_duplicates(rows, 4.0)
        kept, of = slow_duplicates(rows, 4.0)
        assert np.flatnonzero(found.kept).tolist() == kept
        assert found.of.tolist() == of

    def test_order_does_not_change_which_belong_together(self):
        rows = clusters()
        order = np.random.default_rng(2).permutation(len(rows))
        found, again = near_duplicates(rows, 4.0), near_duplicates(rows[order], 4.0)
        assert found.kept.sum() == again.kept.sum() == 60
        np.testing.assert_array_equal(order[again.of] // 20, order // 20)

    def test_equal_sounds_leave_the_first_and_distance_0_means_equal(self):
        rows = np.ones((2000, 128))
        rows[7] += 1e-4
        found = near_duplicates(rows, 0.0)
        assert np.flatnonzero(found.kept).tolist() == [0, 7]
        assert set(found.of) == {0, 7}

    def test_large_offsets_do_not_blur_small_distances(self):
        rows = clusters(spread=0.01) + 1e4
        assert near_duplicates(rows, 1.0).kept.sum() == 60

    def test_many_are_compared_in_seconds(self):
        rows = 10.0 * np.random.default_rng(3).standard_normal((5000, 128))
        with at_most(5.0):  # 0.3 s on an idle core; 10,000 take 1 s
            assert near_duplicates(rows).kept.all()

    def test_planted_near_duplicates_of_sounds(self):
        """Near: gain, a shift, faint noise, other phases, a nearly equal timbre. Far: pitch, decay, brightness, noise."""
        rng = np.random.default_rng(5)
        sounds, family = [], []

        def note(hz, t60, tilt, breath, lead=0.02, seed=0):
            tone = 0.2 * synthetic_note(
                hz, 1.0 / np.arange(1, 13) ** tilt, 0.8, RATE, decay_per_second=6.9 / t60, lead_seconds=lead
            )  # fmt: skip
            hiss = band_noise(np.random.default_rng(seed), len(tone), RATE, 500.0, 6000.0)
            return (tone + 10 ** (breath / 20) * hiss * np.exp(-6.9 / t60 * np.arange(len(tone)) / RATE))[None]

        for i in range(25):
            hz, t60 = float(note_to_hz(rng.integers(40, 84))), rng.uniform(0.3, 3.0)
            tilt, breath = rng.uniform(0.6, 2.0), rng.uniform(-60, -40)
            near = [
                (hz, t60, tilt, breath), (hz, t60, tilt, breath, 0.027), (hz, t60, tilt, breath, 0.02, 9),
                (hz, 1.01 * t60, tilt + 0.01, breath),
            ]  # fmt: skip
            far = [
                (hz * 2 ** (1 / 12), t60, tilt, breath),
                (hz, 0.5 * t60, tilt, breath),
                (hz, t60, tilt + 0.5, breath),
                (hz, t60, tilt, breath + 25),
            ]
            made = [note(*one) for one in near]
            made += [0.75 * made[0], made[0] + 1e-3 * made[0].std() * rng.standard_normal(made[0].shape)]
            sounds += made + [note(*one) for one in far]
            family += [5 * i] * len(made) + [5 * i + k for k in range(1, 5)]
        marks = np.array([fingerprint(sound, RATE) for sound in sounds])
        order = rng.permutation(len(marks))
        family = np.array(family)[order]
        found = near_duplicates(marks[order], DUPLICATE_DB)
        first = np.array([np.flatnonzero(family == one)[0] for one in family]) == np.arange(len(family))
        assert np.mean(~found.kept[~first]) >= 0.99
        assert np.mean(~found.kept[first]) <= 0.01
        assert (family[found.of] == family).mean() >= 0.99

    @pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf"), "near"])
    def test_impossible_distances_are_refused(self, limit):
        with pytest.raises(UsageError, match="distance is"):
            near_duplicates(clusters(), limit)


class TestVaried:
    def test_takes_one_of_each_cluster(self):
        picked = most_varied(clusters(), 60)
        assert sorted(picked // 20) == list(range(60))

    def test_each_is_the_furthest_from_those_before(self):
        rows = np.random.default_rng(4).standard_normal((200, 5))
        picked = most_varied(rows, 20, start=3)
        assert picked[0] == 3
        for n in range(1, 20):
            away = np.min(np.linalg.norm(rows[:, None] - rows[picked[:n]], axis=2), axis=1)
            assert away[picked[n]] == pytest.approx(away.max())

    def test_more_of_them_begin_with_the_same(self):
        rows = clusters()
        np.testing.assert_array_equal(most_varied(rows, 50)[:10], most_varied(rows, 10))

    def test_no_sound_is_taken_twice_even_if_all_are_equal(self):
        assert most_varied(np.zeros((5, 3)), 9).tolist() == [0, 1, 2, 3, 4]

    def test_edges(self):
        assert most_varied(np.zeros((0, 3)), 2).tolist() == []
        for k in (0, -1, 1.5, True):
            with pytest.raises(UsageError, match="k is"):
                most_varied(clusters(), k)
        for start in (-1, 1200):
            with pytest.raises(UsageError, match="use an index from 0 to 1199"):
                most_varied(clusters(), 2, start)


ROWS = [
    {"a": 2.0, "b": 1},
    {"a": None, "b": 5},
    {"a": 1.0, "b": 3},
    {"a": 2.0, "b": 0},
    {"b": 4, "a": float("nan")},
]


class TestOrder:
    @pytest.mark.parametrize(
        "by, expected",
        [
            ("a", [2, 0, 3, 1, 4]),
            ("-a", [0, 3, 2, 1, 4]),
            ("a,b", [2, 3, 0, 4, 1]),
            ("-a, -b", [0, 3, 2, 1, 4]),
            ("b", [3, 0, 2, 4, 1]),
        ],
    )
    def test_rank(self, by, expected):
        assert rank(ROWS, by).tolist() == expected

    def test_unknown_names_are_refused(self):
        with pytest.raises(UsageError, match="cannot rank by 'brigthness'; use one of brightness, decay"):
            rank([{"decay": 1, "brightness": 2}], "-brigthness")

    def test_nearest(self):
        rows = clusters()
        order, away = nearest(rows, rows[105], 20)
        assert order[0] == 105 and away[0] == 0.0
        assert set(order // 20) == {5}
        assert np.all(np.diff(away) >= 0)
        assert nearest(np.zeros((3, 2)), np.zeros(2))[0].tolist() == [0, 1, 2]
        with pytest.raises(UsageError, match="give 32 finite numbers"):
            nearest(rows, np.zeros(3))


class TestMap:
    def test_like_lies_beside_like(self):
        rows = np.random.default_rng(6).permutation(clusters(n_clusters=40, n_each=15, spread=1.0))
        places = map_2d(rows)
        assert places.shape == (600, 2)
        assert places.min() == 0.0 and places.max() == 1.0
        assert trustworthiness(rows, places, n_neighbors=10) > 0.97

    def test_a_sheet_stays_a_sheet(self):
        rng = np.random.default_rng(7)
        flat = rng.uniform(0, 1, (500, 2))
        rows = flat @ rng.standard_normal((2, 30)) + 0.01 * rng.standard_normal((500, 30))
        assert trustworthiness(flat, map_2d(rows), n_neighbors=10) > 0.97

    @pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 13, 30])
    def test_few_sounds_and_equal_ones(self, n):
        for rows in (np.zeros((n, 8)), np.random.default_rng(n).standard_normal((n, 8)), np.ones((n, 1))):
            places = map_2d(rows)
            assert places.shape == (n, 2)
            assert np.isfinite(places).all() and (places >= 0.0).all() and (places <= 1.0).all()


def test_choices_are_the_same_whatever_the_threads():
    code = """
import numpy as np
from tests.test_choose import clusters, map_2d, most_varied, near_duplicates
rows = clusters(seed=9, spread=1.5).astype(np.float32)
found = near_duplicates(rows, 8.0)
print(found.of.tolist(), found.distance.tobytes().hex(), most_varied(rows, 50).tolist(), map_2d(rows).tobytes().hex())
"""
    assert said_with_threads(code, 1) == said_with_threads(code, 4)


@pytest.mark.parametrize("rows", [np.zeros(5), np.zeros((2, 3, 4)), np.full((3, 2), np.nan)])
@pytest.mark.parametrize(
    "choose", [near_duplicates, map_2d, lambda rows: most_varied(rows, 2), lambda rows: nearest(rows, np.zeros(2))]
)
def test_no_fingerprints_are_refused(choose, rows):
    with pytest.raises(UsageError, match="fingerprints have shape"):
        choose(rows)
