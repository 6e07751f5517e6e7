"""Farthest points over shards: limits hold, and few rows more are left far than by the exact walk."""

import numpy as np
import pytest

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.farthest_shards import measure_radius, pick_in_shard, pick_in_union

NONE = np.empty(0, np.int64)


def draw(kind: str, *, seed: int) -> list[np.ndarray]:
    """Five shards of different sizes."""
    rng = np.random.default_rng(seed)
    sizes = (300, 40, 500, 7, 200)
    if kind == "equal":
        return [np.ones((size, 8), np.float32) for size in sizes]
    shards = [rng.normal(size=(size, 8)) for size in sizes]
    if kind == "clustered":  # each shard is a place of its own
        shards = [each * 0.1 + rng.normal(size=8) * 5 for each in shards]
    if kind == "duplicated":
        shards = [np.repeat(each[: len(each) // 3 + 1], 3, axis=0) for each in shards]
    return [each.astype(np.float32) for each in shards]


@pytest.mark.parametrize("kind", ["normal", "clustered", "duplicated", "equal"])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_pick_in_union__the_radius_is_within_its_limits(kind: str, count: int):
    for seed in range(5):
        shards = draw(kind, seed=seed)
        chosen = pick_in_union([pick_in_shard(each, count) for each in shards], count)
        everything = np.concatenate(shards)
        radius = measure_radius(everything, chosen.vectors)
        exact = walk_farthest(everything, count, chosen=NONE).indices
        exact_radius = measure_radius(everything, everything[exact])
        assert chosen.least_radius <= radius + 1e-6
        assert chosen.least_radius <= exact_radius + 1e-6
        assert radius <= chosen.bound + 1e-6
        assert chosen.bound <= 4 * exact_radius + 1e-6
        for shard, row, vector in zip(chosen.shards, chosen.rows, chosen.vectors, strict=True):
            np.testing.assert_array_equal(shards[shard][row], vector)
        brute = np.linalg.norm(everything[:, None] - chosen.vectors[None], axis=2).min(axis=1)
        assert radius == pytest.approx(float(brute.max()), abs=1e-4)


def test_pick_in_union__one_shard_is_the_exact_walk():
    (vectors, *_) = draw("normal", seed=1)
    chosen = pick_in_union([pick_in_shard(vectors, 30)], 30)
    walk = walk_farthest(vectors, 30, chosen=NONE)
    np.testing.assert_array_equal(chosen.rows, walk.indices)
    np.testing.assert_allclose(chosen.distances, walk.distances)


def test_pick_in_union__fewer_rows_than_the_budget():
    shards = draw("normal", seed=2)[3:4]
    chosen = pick_in_union([pick_in_shard(each, 50) for each in shards], 50)
    assert sorted(chosen.rows.tolist()) == list(range(7))
    assert chosen.bound == 0
