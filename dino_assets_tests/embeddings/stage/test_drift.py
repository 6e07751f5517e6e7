"""The drift of committed drops: warns, never blocks, names tiles."""

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.embeddings.drift import MIN_PAST_DROPS
from dino_assets.embeddings.stage.drift import PastDrops, compare_drops, compare_embedded
from dino_assets.errors import InvalidVectorsError, NotCommittedError
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.verdicts import Verdict
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.store_doubles import WatchedStore

DIM = 6
STRANGE_TILES = 3


def embed(store: ObjectStore, drop: str, vectors: np.ndarray, *, column: str = "cls") -> None:
    """Commit vectors as the stage would: float16, ids beside them."""
    count, dim = vectors.shape
    values = pa.array(vectors.astype(np.float16).ravel())
    batch = pa.record_batch(
        {
            "tile_id": [f"{drop}-t{number:03d}" for number in range(count)],
            "image_id": [f"{drop}-i{number // 10}" for number in range(count)],
            column: pa.FixedSizeListArray.from_arrays(values, dim),
        }
    )
    recipe = Recipe(OutputId("embeddings", drop, "space1"), "1", {}, {"tiles": drop})
    commit(store, Draft(recipe, pushing([batch]), batch.schema))


def draw(seed: int, *, strange: int = 0, tiles: int = 40) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(0, 1, (tiles, DIM))
    vectors[:strange] += 30
    return vectors


@pytest.fixture(scope="module")
def flown() -> ObjectStore:
    """As many usual drops as are needed, and one with three strange tiles. Nobody changes it."""
    store = ObjectStore.in_memory()
    for seed in range(MIN_PAST_DROPS):
        embed(store, f"flight-{seed:02d}", draw(seed))
    embed(store, "fire", draw(99, strange=STRANGE_TILES))
    return store


def open_space(store: ObjectStore) -> CommittedTable:
    return open_table(store, "embeddings", space="space1")


def judge(embeddings: CommittedTable, drop: str, **options: str) -> Verdict:
    (drift,) = compare_drops(embeddings, [drop], **options)
    return drift.verdict


def test_compare_drops__warns_and_does_not_block(flown):
    verdict = judge(open_space(flown), "fire")
    assert (verdict.subject, verdict.passed, verdict.warns) == ("fire", True, True)
    assert "this drop differs from the 24 other drops compared" in verdict.sentence
    assert "look at tile fire-t00" in verdict.sentence


def test_compare_drops__a_usual_drop(flown):
    verdict = judge(open_space(flown), "flight-03")
    assert (verdict.passed, verdict.warns) == (True, False)
    assert verdict.sentence.startswith("drift: none, this drop is like the 24 other drops compared")


def test_compare_drops__lists_the_most_novel_tiles_first(flown):
    fire_drift, usual_drift = compare_drops(open_space(flown), ["fire", "flight-00"])
    assert {tile.tile_id for tile in fire_drift.novel[:STRANGE_TILES]} == {
        f"fire-t{n:03d}" for n in range(3)
    }
    assert {tile.image_id for tile in fire_drift.novel[:STRANGE_TILES]} == {"fire-i0"}
    assert [tile.drop for tile in fire_drift.novel] == ["fire"] * 10
    scores = [tile.novelty for tile in fire_drift.novel]
    assert scores == sorted(scores, reverse=True)
    assert len(usual_drift.novel) == 10


def test_compare_drops__reads_each_drop_of_the_past_once(flown):
    """Each is one part: 25 as the past of others, three of them as the ones that are judged, too."""
    read_keys: list[str] = []
    watched_store = WatchedStore(flown, before=lambda verb, key: read_keys.append(key))
    compare_drops(open_space(watched_store), ["fire", "flight-00", "flight-01"])
    assert len([key for key in read_keys if key.startswith("parts/")]) == MIN_PAST_DROPS + 1 + 3


def test_past_drops__chooses_the_same_drops_of_many(flown):
    first_choice, second_choice = (PastDrops(open_space(flown), "cls", 10) for _ in range(2))
    assert len(first_choice.read_others("fire")) == 10
    assert set(first_choice.read_others("fire")) == set(second_choice.read_others("fire"))
    assert "fire" not in first_choice.read_others("fire")
    (drift,) = compare_drops(open_space(flown), ["fire"], past_drops=10)
    assert drift.verdict.sentence.startswith("drift: 10 past drops to compare with")


def test_compare_drops__explains_too_few_past_drops():
    store = ObjectStore.in_memory()
    for seed in range(4):
        embed(store, f"flight-{seed}", draw(seed))
    verdict = judge(open_space(store), "flight-0")
    assert (verdict.passed, verdict.warns) == (True, False)
    assert verdict.sentence.startswith("drift: 3 past drops to compare with; 24 are needed")


def test_compare_drops__small_past_drops_do_not_count():
    store = ObjectStore.in_memory()
    for seed in range(30):
        embed(store, f"flight-{seed}", draw(seed, tiles=5))
    assert "drift: 5 tiles; 8 are needed" in judge(open_space(store), "flight-0").sentence
    embed(store, "large", draw(30))
    assert "drift: 0 past drops" in judge(open_space(store), "large").sentence


def test_compare_embedded__opens_other_drops_only_for_large_drops():
    store = ObjectStore.in_memory()
    for seed in range(3):
        embed(store, f"small-{seed}", draw(seed, tiles=5))
        embed(store, f"large-{seed}", draw(seed))
    verbs: list[str] = []
    watched_store = WatchedStore(store, before=lambda verb, key: verbs.append(verb))
    table = open_space(watched_store)
    verbs.clear()
    drifts = compare_embedded({"small-0": table, "small-1": table})
    assert [drift.verdict.subject for drift in drifts] == ["small-0", "small-1"]
    assert not verbs
    drifts = compare_embedded(dict.fromkeys(("large-0", "small-0", "large-1", "gone"), table))
    assert {drift.verdict.subject for drift in drifts} == {"large-0", "small-0", "large-1"}
    assert verbs.count("list") == 1


def test_compare_drops__a_drop_embedded_without_the_column(flown):
    verdict = judge(open_space(flown), "fire", column="mean")
    assert (verdict.passed, verdict.warns) == (True, False)
    assert verdict.sentence == "drift: this drop was embedded without the column 'mean'"


def test_compare_drops__past_drops_without_the_column_do_not_count():
    store = ObjectStore.in_memory()
    for seed in range(30):
        embed(store, f"flight-{seed:02d}", draw(seed), column="mean" if seed < 10 else "cls")
    verdict = judge(open_space(store), "flight-20")
    assert "drift: 19 past drops to compare with" in verdict.sentence


def test_compare_drops__vectors_of_another_size():
    store = ObjectStore.in_memory()
    for seed in range(MIN_PAST_DROPS):
        embed(store, f"flight-{seed:02d}", draw(seed))
    embed(store, "odd", draw(1)[:, :4])
    with pytest.raises(InvalidVectorsError) as caught:
        judge(open_space(store), "odd")
    assert caught.value.dims == (DIM, 4)


def test_compare_drops__a_drop_that_is_not_committed(flown):
    with pytest.raises(NotCommittedError):
        judge(open_space(flown), "nowhere")
