import math
from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.farthest import walk_farthest
from dino_assets.selections.choosing import Selection, select
from dino_assets.selections.coverage import Coverage, certify, measure_coverage
from dino_assets.selections.strategies.cluster import limit_clusters, share_budget
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.selections.strategies.strategy import Reason
from dino_assets_tests.worlds.raising import raising

MANY = settings(max_examples=150, deadline=None)
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)

grids = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 3)),
    elements=st.sampled_from([-1, 0, 1, 2]),
)
clouds = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 3)),
    elements=st.floats(-1e3, 1e3, width=32),
)
pools = st.one_of(grids, clouds)


def pick(vectors: object, budget: int, strategy: StrategyName = "fps", **more: object) -> Selection:
    rng = np.random.default_rng(more.pop("seed", 0))
    return select(vectors, budget=budget, strategy=strategy, rng=rng, **more)  # type: ignore[arg-type]


def cloud(count: int, dims: int = 8, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dims)).astype(np.float32)


def naive_walk(points: np.ndarray, count: int, chosen: list[int]) -> list[int]:
    """The definition, with nothing kept between steps: the lowest row with the largest minimum."""
    points64 = points.astype(np.float64)
    picks: list[int] = []
    while len(picks) < count:
        sites = points64[chosen + picks] if chosen or picks else points64.mean(axis=0)[None]
        nearest = ((points64[:, None] - sites) ** 2).sum(axis=2).min(axis=1)
        nearest[chosen + picks] = -1
        picks.append(int(nearest.argmax()))
    return picks


# --- by hand --------------------------------------------------------------------------------


def test_select__fps_by_hand():
    selection = pick([[1], [3], [5]], 2)
    assert selection.indices.tolist() == [0, 2]
    assert selection.reasons == (Reason("first", None, 2), Reason("farthest", None, 4))


def test_select__fps_starts_from_chosen_rows():
    selection = pick([[0], [1], [6], [10]], 2, chosen=[3])
    assert selection.indices.tolist() == [0, 2]
    assert selection.reasons == (Reason("farthest", None, 10), Reason("farthest", None, 4))
    assert selection.excluded == 1


def test_select__cluster_by_hand():
    # Two groups of three and six: of three picks one and two, most central first, largest first.
    vectors = [[0], [1], [2], [100], [101], [102], [103], [104], [105.5]]
    selection = pick(vectors, 3, "cluster", n_clusters=2)
    assert selection.indices.tolist() == [6, 1, 5]
    assert [reason.word for reason in selection.reasons] == ["central"] * 3
    assert selection.reasons[0].cluster == selection.reasons[2].cluster
    assert selection.reasons[1].distance == 0
    assert selection.n_clusters == 2


def test_select__hybrid_by_hand():
    # One cluster with its centre at 3: half the quota around it, half as far from those as can be.
    selection = pick([[0], [2], [3], [4], [6]], 4, "hybrid", n_clusters=1)
    assert selection.indices.tolist() == [2, 1, 4, 0]
    assert [r.word for r in selection.reasons] == ["central", "central", "farthest", "farthest"]
    assert selection.reasons[2] == Reason("farthest", 0, 3)


def test_select__random_gives_a_reason_too():
    selection = pick(cloud(5), 2, "random")
    assert selection.reasons == (Reason("random"),) * 2
    assert selection.n_clusters == 0


def test_share_budget__by_hand():
    def share(budget: int, sizes: list[int], taken: list[int] | None = None) -> list[int]:
        return share_budget(budget, np.array(sizes), np.array(taken or [0] * len(sizes))).tolist()

    assert share(10, [50, 30, 20]) == [5, 3, 2]
    assert share(4, [10, 10, 10]) == [2, 1, 1]  # equal remainders: lowest index
    assert share(5, [96, 2, 2]) == [3, 1, 1]  # covered before fair
    assert share(20, [400, 60, 5, 3, 2]) == [15, 2, 1, 1, 1]  # 17 left for 400 : 60
    assert share(2, [1, 5, 9]) == [0, 1, 1]  # not enough for all: the largest
    assert share(5, [1, 1, 8], [0, 0, 5]) == [1, 1, 3]
    assert share(6, [10, 20, 20], [9, 0, 0]) == [0, 3, 3]
    assert share(4, [10, 10], [4, 0]) == [0, 4]  # earlier rounds count
    assert share(99, [3, 2], [1, 0]) == [2, 2]  # no more than there are


def test_measure_coverage__by_hand():
    assert measure_coverage([[0], [4], [10]], [0]) == 10
    assert measure_coverage([[0], [4], [10]], [0, 2]) == 4
    assert measure_coverage([[0], [4]], []) == math.inf
    assert measure_coverage(np.empty((0, 2)), []) == 0


# --- promises of every strategy -------------------------------------------------------------


@MANY
@given(pools, st.sampled_from(STRATEGIES), st.data())
def test_select__picks_distinct_open_rows_and_says_when_short(
    vectors: np.ndarray, strategy: StrategyName, data: st.DataObject
):
    count = len(vectors)
    budget = data.draw(st.integers(0, count + 3))
    chosen = data.draw(st.lists(st.integers(0, count - 1), max_size=5))
    n_clusters = data.draw(st.integers(1, 60))
    ratio = data.draw(st.sampled_from([0, 0.3, 0.5, 1]))
    options = {"chosen": chosen, "n_clusters": n_clusters, "fps_ratio": ratio}
    selection = pick(vectors, budget, strategy, **options)
    picks = selection.indices.tolist()
    open_rows = count - len(set(chosen))
    assert len(picks) == len(set(picks)) == len(selection.reasons) == min(budget, open_rows)
    assert not set(picks) & set(chosen)
    assert set(picks) <= set(range(count))
    assert bool(selection.shortfall) == (budget > open_rows)
    assert selection.n_clusters <= n_clusters
    repeated = pick(vectors, budget, strategy, **options)
    assert repeated.indices.tolist() == picks
    assert repeated.reasons == selection.reasons


@MANY
@given(pools, st.sampled_from(STRATEGIES), st.data())
def test_select__no_two_rows_that_exclude_each_other(
    vectors: np.ndarray, strategy: StrategyName, data: st.DataObject
):
    count = len(vectors)
    numbers = st.lists(st.integers(0, 9), min_size=count, max_size=count)
    groups = np.array(data.draw(numbers))
    chosen = data.draw(st.lists(st.integers(0, count - 1), max_size=5))
    closed = np.flatnonzero(np.isin(groups, groups[chosen]))
    budget = data.draw(st.integers(0, count))
    options = {
        "chosen": chosen,
        "closed": closed,
        "excludes": lambda row: np.flatnonzero(groups == groups[row]),
        "n_clusters": data.draw(st.integers(1, 9)),
        "fps_ratio": data.draw(st.sampled_from([0, 0.3, 0.5, 1])),
    }
    picked_groups = groups[pick(vectors, budget, strategy, **options).indices].tolist()
    assert len(set(picked_groups)) == len(picked_groups)
    assert not set(picked_groups) & set(groups[chosen])
    left = len(set(groups) - set(groups[chosen]))
    assert len(picked_groups) == min(budget, left)


@pytest.mark.parametrize("strategy", ["random", "fps", "medoids", "herding"])
def test_select__a_larger_budget_begins_with_a_smaller_one_where_rows_exclude_others(
    strategy: StrategyName,
):
    vectors, groups = cloud(200), np.arange(200) % 60
    options = {"excludes": lambda row: np.flatnonzero(groups == groups[row])}
    large = pick(vectors, 60, strategy, **options)
    assert len(large.indices) == 60
    assert "same ground" in pick(vectors, 61, strategy, **options).shortfall
    small = pick(vectors, 17, strategy, **options)
    assert small.indices.tolist() == large.indices[:17].tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("count", [0, 1, 2, 15])
@pytest.mark.parametrize("is_equal", [False, True])
def test_select__small_and_uniform_pools(strategy: StrategyName, count: int, is_equal: bool):
    vectors = np.full((count, 4), 0.1) if is_equal else cloud(count, 4)
    selection = pick(vectors, 10, strategy)
    assert len(set(selection.indices.tolist())) == min(count, 10)
    assert bool(selection.shortfall) == (count < 10)


def test_select__explains_a_shortfall():
    selection = pick(cloud(5), 9, "hybrid", chosen=[1, 1, 4])
    assert sorted(selection.indices.tolist()) == [0, 2, 3]
    assert selection.budget == 9
    assert selection.shortfall == (
        "9 were asked for and 3 picked: the pool has 5 tiles, 2 of them chosen before"
    )


@pytest.mark.parametrize("strategy", ["random", "cluster", "hybrid"])
def test_select__another_seed_is_another_selection(strategy: StrategyName):
    vectors = cloud(300)
    first_picks, second_picks = (
        pick(vectors, 20, strategy, seed=s).indices.tolist() for s in (1, 2)
    )
    assert first_picks != second_picks


@pytest.mark.parametrize("strategy", ["random", "fps", "medoids", "herding"])
def test_select__a_larger_budget_begins_with_a_smaller_one(strategy: StrategyName):
    vectors = cloud(200)
    large = pick(vectors, 60, strategy, chosen=[3, 9])
    for budget in (0, 1, 17):
        small = pick(vectors, budget, strategy, chosen=[3, 9])
        assert small.indices.tolist() == large.indices[:budget].tolist()
        assert small.reasons == large.reasons[:budget]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_select__names_the_row_that_is_not_finite(strategy: StrategyName):
    vectors = cloud(6)
    vectors[4, 1] = np.nan
    with raising(InvalidVectorsError, row=4):
        pick(vectors, 0, strategy)


@pytest.mark.parametrize(
    ("setting", "given", "refused"),
    [
        ("strategy", "best", "best"),
        ("budget", -1, -1),
        ("n_clusters", 0, 0),
        ("fps_ratio", 1.5, 1.5),
        ("fps_ratio", math.nan, math.nan),
        ("chosen", [0, 3], 3),
        ("chosen", [-1], -1),
        ("chosen", [0.5], [0.5]),
        ("chosen", [True, False, True], [True, False, True]),
    ],
)
def test_select__refuses_invalid_settings(setting: str, given: object, refused: object):
    with raising(ConfigError, setting=setting, value=refused):
        pick(np.eye(3), **({"budget": 1} | {setting: given}))  # type: ignore[arg-type]


# --- farthest points ------------------------------------------------------------------------


@MANY
@given(pools, st.data())
def test_walk_farthest__equals_the_definition(points: np.ndarray, data: st.DataObject):
    chosen = data.draw(st.lists(st.integers(0, len(points) - 1), max_size=4, unique=True))
    count = data.draw(st.integers(0, len(points) - len(chosen)))
    picks, _ = walk_farthest(points, count, chosen=np.array(sorted(chosen), np.int64))
    assert picks.tolist() == naive_walk(points, count, sorted(chosen))


@pytest.mark.parametrize("dims", [2, 100, 768])
def test_walk_farthest__equals_the_definition_in_many_dimensions(dims: int):
    # Near-equal rows, as an untrained encoder gives: float32 alone would change the order.
    points = (1 + 1e-4 * cloud(400, dims)).astype(np.float32)
    picks, distances = walk_farthest(points, 60, chosen=np.array([5, 8]))
    assert picks.tolist() == naive_walk(points, 60, [5, 8])
    assert (np.diff(distances) <= 0).all()


def test_walk_farthest__duplicates_come_last_and_in_order():
    points = np.array([[0.0], [0], [0], [9], [9]], np.float32)
    picks, distances = walk_farthest(points, 5, chosen=np.array([], np.int64))
    assert picks.tolist() == [3, 0, 1, 2, 4]
    assert distances[2:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_walk_farthest__does_not_depend_on_the_order_of_the_pool(seed: int):
    # Promised where distances differ; on ties the lowest row is another one after shuffling.
    points, no_rows = cloud(150, 5, seed=seed), np.array([], np.int64)
    order = np.random.default_rng(seed).permutation(150)
    plain_walk, shuffled_walk = (
        walk_farthest(p, 40, chosen=no_rows) for p in (points, points[order])
    )
    assert order[shuffled_walk[0]].tolist() == plain_walk[0].tolist()
    np.testing.assert_array_equal(shuffled_walk[1][1:], plain_walk[1][1:])


# --- clusters -------------------------------------------------------------------------------


@MANY
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12),
    st.integers(0, 300),
)
def test_share_budget__is_proportional_and_covers_all_clusters(
    clusters: list[tuple[int, int]], budget: int
):
    sizes = np.array([max(pair) for pair in clusters])
    taken_counts = np.array([min(pair) for pair in clusters])
    quotas = share_budget(budget, sizes, taken_counts)
    assert quotas.sum() == min(budget, (sizes - taken_counts).sum())
    assert ((quotas >= 0) & (quotas <= sizes - taken_counts)).all()
    uncovered = (taken_counts == 0) & (sizes > 0)
    if budget >= uncovered.sum():
        assert quotas[uncovered].all()
    if not taken_counts.any() and sizes.all() and len(sizes) <= budget <= sizes.sum():
        ideal_quotas = budget * sizes / sizes.sum()
        assert (quotas < np.maximum(ideal_quotas, 1) + 1).all()  # nobody is a whole tile ahead
        if (ideal_quotas >= 1).all():
            assert (quotas > ideal_quotas - 1).all()


def test_select__cluster_covers_every_cluster():
    rng = np.random.default_rng(0)
    sizes = [400, 60, 5, 3, 2]
    middle = 50 * np.eye(5)
    labels = np.repeat(np.arange(5), sizes)
    vectors = middle[labels] + rng.normal(size=(len(labels), 5))
    for strategy in ("cluster", "hybrid"):
        selection = pick(vectors, 20, strategy, n_clusters=5)
        assert labels[selection.indices[:5]].tolist() == [0, 1, 2, 3, 4]  # largest first
        assert np.bincount(labels[selection.indices]).tolist() == [15, 2, 1, 1, 1]


@pytest.mark.parametrize("strategy", ["cluster", "hybrid", "medoids", "herding", "herding+swaps"])
def test_select__chosen_rows_count_as_covered(strategy: StrategyName):
    labels = np.repeat([0, 1, 2], 40)
    vectors = 30 * np.eye(3)[labels] + cloud(120, 3)
    selection = pick(vectors, 4, strategy, n_clusters=3, chosen=[0, 1, 40, 41])
    # Eight tiles over three equal clusters: 3, 3 and 2, of which 2, 2 and 0 are there.
    assert np.bincount(labels[selection.indices]).tolist() in ([1, 1, 2], [1, 0, 3], [0, 1, 3])


def test_select__has_at_most_as_many_clusters_as_tiles():
    assert pick(cloud(300), 10, "cluster").n_clusters == 10
    assert pick(cloud(300), 10, "cluster", chosen=range(5)).n_clusters == 15
    assert pick(cloud(300), 200, "hybrid").n_clusters == 100
    assert pick(cloud(12), 50, "hybrid").n_clusters == 9  # 12 tiles are there
    assert pick(np.ones((12, 2)), 10, "hybrid").n_clusters == 1


def test_limit_clusters__by_hand():
    assert [limit_clusters(tiles, 0.5) for tiles in (1, 2, 20, 50, 100, 134)] == [
        1, 1, 15, 37, 75, 100,
    ]  # fmt: skip
    assert limit_clusters(20, 0.75) == 15
    # Two tiles of a cluster are of one kind: nothing is gained by fewer clusters.
    assert [limit_clusters(20, ratio) for ratio in (0, 0.25, 0.49, 1)] == [20] * 4


@pytest.mark.parametrize("budget", [20, 50, 100, 150])
def test_select__hybrid_mixes_central_and_farthest_by_default(budget: int):
    # Twelve regions of uneven sizes, as flights have.
    rng = np.random.default_rng(budget)
    region = rng.choice(12, 600, p=np.arange(1, 13) / 78)
    vectors = rng.normal(size=(12, 16))[region] + 0.4 * rng.normal(size=(600, 16))
    words = Counter(reason.word for reason in pick(vectors, budget, "hybrid").reasons)
    assert words.keys() == {"central", "farthest"}
    assert words["farthest"] >= 0.2 * budget
    assert words["central"] >= 0.5 * budget


def test_select__hybrid_mixes_central_and_farthest_in_later_rounds():
    vectors, chosen = cloud(900), []
    for _ in range(10):  # 20 of 900 up to the 200 that exceed the hundred clusters
        selection = pick(vectors, 20, "hybrid", chosen=chosen)
        chosen += selection.indices.tolist()
        assert sum(reason.word == "farthest" for reason in selection.reasons) >= 2
    assert len(set(chosen)) == 200


def test_select__hybrid_counts_chosen_rows_as_central():
    # One cluster, its middle chosen in an earlier round: the other half of two tiles is far from it.
    selection = pick([[0], [2], [3], [4], [7]], 1, "hybrid", n_clusters=1, chosen=[2])
    assert selection.indices.tolist() == [4]
    assert selection.reasons == (Reason("farthest", 0, 4),)


def test_select__hybrid_uses_fewer_clusters_on_request():
    selection = pick(cloud(300), 20, "hybrid", n_clusters=15)
    assert selection.n_clusters == 15
    assert pick(cloud(300), 20, "hybrid", n_clusters=4).n_clusters == 4


@pytest.mark.parametrize(("ratio", "farthest"), [(0, 0), (0.3, 6), (0.7, 14), (0.99, 19), (1, 20)])
def test_select__hybrid_share_of_farthest_points(ratio: float, farthest: int):
    reasons = pick(cloud(200), 20, "hybrid", n_clusters=1, fps_ratio=ratio).reasons
    assert sum(reason.word != "central" for reason in reasons) == farthest
    assert (reasons[0].word == "first") == (ratio == 1)


def test_select__hybrid_share_is_exact_despite_rounding():
    reasons = pick(cloud(200), 100, "hybrid", n_clusters=1, fps_ratio=0.29).reasons
    assert sum(reason.word == "farthest" for reason in reasons) == 29  # 0.29 · 100 is below 29


def test_select__hybrid_ties_go_to_the_lowest_row():
    # Rows 0 and 2 are as far from what is chosen; row 2 is the more central one.
    vectors = [[-5], [0], [5], [4], [4]]
    selection = pick(vectors, 1, "hybrid", n_clusters=1, fps_ratio=1, chosen=[1])
    assert selection.indices.tolist() == [0]


def test_select__hybrid_walks_inside_the_cluster_from_chosen_rows():
    vectors = np.array([[0.0], [4], [5], [6], [10], [1000], [1001]])
    chosen = [0, 5, 6]  # the far group is done
    selection = pick(vectors, 1, "hybrid", n_clusters=2, fps_ratio=1, chosen=chosen)
    assert selection.indices.tolist() == [4]
    assert selection.reasons[0][::2] == ("farthest", 10)


# --- certificates ---------------------------------------------------------------------------


def test_certify__farthest_points_cover_better_than_random():
    vectors = np.vstack([cloud(500), cloud(5, seed=1) + 40])  # a few rare tiles
    selection = pick(vectors, 20)
    coverage = certify(vectors, selection.indices, rng=np.random.default_rng(0))
    assert coverage.radius == measure_coverage(vectors, selection.indices)
    assert coverage.radius < 0.5 * coverage.random_radius


def test_certify__equals_naive_coverage_and_counts_chosen_rows():
    vectors, chosen = cloud(80).astype(np.float64), [4, 9]
    picks = pick(vectors, 5, chosen=chosen).indices
    coverage = certify(vectors, picks, rng=np.random.default_rng(0), chosen=chosen)
    sites = vectors[[*chosen, *picks]]
    naive_distances = np.sqrt(((vectors[:, None] - sites) ** 2).sum(axis=2)).min(axis=1)
    assert coverage.radius == pytest.approx(naive_distances.max())
    assert coverage.mean == pytest.approx(naive_distances.mean())
    # What was chosen serves all but one side for random picks as well.
    coverage_beside = certify([[0], [100], [1], [2]], [0], rng=np.random.default_rng(0), chosen=[1])
    assert coverage_beside.random_radius <= 2
    full_coverage = certify(vectors, range(80), rng=np.random.default_rng(0))
    assert full_coverage == Coverage(0, 0, 0, 0)
