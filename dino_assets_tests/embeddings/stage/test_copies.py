"""The same photographs in two drops: copied where they are stored in the same way, else computed."""

import contextlib
import itertools
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.encoder.choosing import list_engines
from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.run.shards import cut_shards
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.copies import ReusableVectors
from dino_assets.embeddings.stage.drafting import CODE_VERSION
from dino_assets.embeddings.stage.holders import find_holders
from dino_assets.embeddings.stage.judging import judge_embeddings
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets_tests.worlds.embedding_bench import (
    COMPUTE,
    PHOTO_TILES,
    Bench,
    Calls,
    PowerCut,
    write_photos,
)
from dino_assets_tests.worlds.outputs import contents, pushing, restore
from dino_assets_tests.worlds.store_doubles import Strike, WatchedStore

FP16 = EmbeddingOptions()
BOTH = EmbeddingOptions(("cls", "mean"))


def make_twins(bench: Bench, folder: Path) -> Bench:
    """Two drops of the same three photographs; nothing is embedded."""
    bench.add_drop("old", write_photos(folder / "old", range(3)))
    shutil.copytree(folder / "old", folder / "new")
    return bench.add_drop("new", folder / "new")


@pytest.fixture
def bench(make_bench: Callable[[ObjectStore], Bench], tmp_path: Path) -> Bench:
    return make_twins(make_bench(ObjectStore.in_memory()), tmp_path)


@pytest.fixture
def anywhere(
    make_bench: Callable[[ObjectStore], Bench], tmp_path: Path, store: ObjectStore
) -> Bench:
    return make_twins(make_bench(store), tmp_path)


def test_draft_embeddings__copies_stored_vectors(
    anywhere: Bench,
    calls: Calls,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
):
    """No model is called, nor loaded, nor judged; the bytes are those of computing."""
    bench = anywhere
    bench.commit("old")
    mean_commit = bench.commit("new", options=EmbeddingOptions(("mean",), "fp32"))  # another recipe
    assert mean_commit.metadata.get("tiles_copied") is None
    calls.reset()
    caplog.set_level(logging.INFO)
    committed = bench.commit("new", cache=tmp_path / "fresh")
    assert calls.all == 0
    assert not (tmp_path / "fresh").exists()  # a model that is opened is judged, and that is kept
    assert bench.rows("new").equals(bench.rows("old"))
    old_manifest, new_manifest = (bench.table().manifest(name) for name in ("old", "new"))
    assert [part.sha256 for part in new_manifest.parts] == [
        part.sha256 for part in old_manifest.parts
    ]
    assert new_manifest.facts == old_manifest.facts  # whichever of the two was first
    assert (committed.metadata["tiles_copied"], committed.metadata["shards_copied"]) == (48, 3)
    assert (committed.metadata["shards_made"], committed.metadata["shards_reused"]) == (0, 0)
    assert (
        "new: 48 tiles of 3 images copied from stored embeddings, 0 tiles to compute" in caplog.text
    )
    verdict = judge_embeddings(open_table(bench.store, "tiles"), bench.table(), "new")
    assert verdict.passed, verdict.sentence
    assert "torch fp32 on cpu" in verdict.sentence


@pytest.fixture
def partly(make_bench: Callable[[ObjectStore], Bench], tmp_path: Path) -> Bench:
    """Two of the new drop's four photographs are known."""
    bench = make_bench(ObjectStore.in_memory())
    bench.add_drop("old", write_photos(tmp_path / "old", [0, 1]))
    return bench.add_drop("new", write_photos(tmp_path / "new", [0, 1, 2, 3]))


@pytest.mark.parametrize("shard_tiles", [16, 32, 1000])
def test_draft_embeddings__copies_stored_vectors_of_some_images(
    partly: Bench, calls: Calls, shard_tiles: int, caplog: pytest.LogCaptureFixture
):
    wide = EmbeddingOptions(("cls",), "fp32")
    partly.commit("new", options=wide, shard_tiles=shard_tiles)
    computed_rows = partly.rows("new")
    facts = partly.table().manifest("new").facts
    partly.forget()
    partly.commit("old", options=wide)
    calls.reset()
    caplog.set_level(logging.INFO)
    committed = partly.commit("new", options=wide, shard_tiles=shard_tiles)
    assert sum(calls.of_run) == 2 * PHOTO_TILES
    assert committed.metadata["tiles_copied"] == 2 * PHOTO_TILES
    assert committed.manifest.facts == facts
    assert "32 of 32 tiles (100 %)" in caplog.text
    assert partly.rows("new").drop_columns("cls").equals(computed_rows.drop_columns("cls"))
    vectors, expected = (
        np.stack(rows["cls"].to_numpy(zero_copy_only=False))
        for rows in (partly.rows("new"), computed_rows)
    )
    np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize(
    ("old", "new", "is_copied"),
    [
        (BOTH, FP16, False),  # a network that gives both rounds cls otherwise
        (FP16, BOTH, False),
        (EmbeddingOptions(("mean",)), FP16, False),
        (EmbeddingOptions(("cls",), "fp32"), FP16, False),
        (EmbeddingOptions(with_patches=True), FP16, False),
        (BOTH, BOTH, True),
        (FP16, EmbeddingOptions(with_patches=True), False),
    ],
)
def test_draft_embeddings__copies_only_with_equal_options(
    bench: Bench, calls: Calls, old: EmbeddingOptions, new: EmbeddingOptions, is_copied: bool
):
    bench.commit("old", options=old)
    calls.reset()
    committed = bench.commit("new", options=new)
    assert sum(calls.of_run) == (0 if is_copied else 48)
    assert committed.metadata.get("tiles_copied") == (48 if is_copied else None)
    assert bench.rows("new").schema.names == ["tile_id", "image_id", *new.columns, "thumb"]


def test_draft_embeddings__a_drop_that_grew_copies_its_own_vectors(bench: Bench, calls: Calls):
    """Its shards are cut anew, wherever the new photograph comes among the others."""
    bench.commit("old", shard_tiles=32)
    before = {row["tile_id"]: row for row in bench.rows("old").to_pylist()}
    bench.add_drop("old", write_photos(bench.sources["old"].folder, [8, 9]))
    calls.reset()
    committed = bench.commit("old", shard_tiles=32)
    assert sum(calls.of_run) == 2 * PHOTO_TILES
    assert committed.manifest.rows == 5 * PHOTO_TILES
    after = {row["tile_id"]: row for row in bench.rows("old").to_pylist()}
    assert {name: after[name] for name in before} == before


def test_draft_embeddings__does_not_copy_from_older_code(partly: Bench, calls: Calls):
    manifest = partly.commit("old").manifest
    older_recipe = replace(manifest.recipe, code_version="2")
    schema = partly.draft("old").schema
    commit(
        partly.store, Draft(older_recipe, pushing([*manifest.parts, dict(manifest.facts)]), schema)
    )
    calls.reset()
    partly.commit("new")
    assert sum(calls.of_run) == 4 * PHOTO_TILES


def test_draft_embeddings__copies_have_the_facts_of_their_engine(bench: Bench):
    """Two sizes of calls after a shortage of memory, and the engine that was refused."""
    manifest = bench.commit("old").manifest
    engine_facts = {"batch": [[4, 1], [8, 1]], "refused": ["openvino bf16 on cpu: other numbers"]}
    facts = {**manifest.facts, **engine_facts}
    schema = bench.draft("old").schema
    draft = Draft(manifest.recipe, pushing([*manifest.parts, facts]), schema, is_anew=True)
    commit(bench.store, draft)
    assert bench.commit("new").manifest.facts == facts


def test_draft_embeddings__another_space_is_not_copied(partly: Bench, calls: Calls):
    partly.commit("old")
    calls.reset()
    partly.commit("new", compute=replace(COMPUTE, precision="half"))
    assert sum(calls.of_run) == 4 * PHOTO_TILES


@pytest.mark.parametrize(("overlap", "computed"), [(0.0, 4), (0.75, 2)])
def test_draft_embeddings__an_image_is_copied_if_all_its_tiles_are_stored(
    partly: Bench, calls: Calls, overlap: float, computed: int
):
    """Without an overlap, tiles are missing; with half the step, each tile is there among others."""
    partly.cut("old", make_grid(256, overlap=overlap))
    partly.commit("old")
    calls.reset()
    partly.commit("new")
    assert sum(calls.of_run) == computed * PHOTO_TILES
    assert partly.rows("new")["tile_id"].to_pylist() == partly.tiles("new")["tile_id"].to_pylist()


def test_draft_embeddings__copies_from_a_second_drop_if_the_first_lacks_tiles(
    partly: Bench, calls: Calls, tmp_path: Path
):
    partly.cut("old", make_grid(256, overlap=0.0))
    partly.commit("old")
    partly.add_drop("other", write_photos(tmp_path / "other", [1, 0]))
    partly.commit("other")
    calls.reset()
    partly.commit("new")
    assert sum(calls.of_run) == 2 * PHOTO_TILES


def test_draft_embeddings__a_damaged_drop_is_not_copied_from(
    partly: Bench, calls: Calls, caplog: pytest.LogCaptureFixture
):
    partly.commit("old")
    part = partly.table().manifest("old").parts[1]
    partly.store.put(part.key, b"rot")
    calls.reset()
    committed = partly.commit("new")
    assert sum(calls.of_run) == 4 * PHOTO_TILES
    assert "tiles_copied" not in committed.metadata
    assert "embeddings/old@" in caplog.text
    assert "its vectors are not reused: part" in caplog.text


@pytest.mark.parametrize(("drop", "shard_tiles"), [("new", 16), ("new", 1000), ("twin", 1000)])
def test_draft_embeddings__a_part_damaged_before_copying_is_computed(
    partly: Bench, calls: Calls, drop: str, shard_tiles: int
):
    """Whole shards or pieces of one: they are computed after all."""
    partly.add_drop("twin", partly.sources["old"].folder)
    partly.commit("old")
    parts = [part.key for part in partly.table().manifest("old").parts]
    store = partly.store
    read_keys: list[str] = []

    def rot(verb: str, key: str) -> None:
        """Once all are read that say which tiles there are."""
        if verb == "get" and key in parts:
            read_keys.append(key)
            if key == parts[-1] and len(read_keys) == len(parts):
                for part in parts:
                    store.put(part, b"rot")

    partly.store = WatchedStore(store, after=rot)
    calls.reset()
    partly.commit(drop, shard_tiles=shard_tiles)
    assert read_keys[: len(parts)] == parts
    assert sum(calls.of_run) == partly.rows(drop).num_rows == partly.tiles(drop).num_rows


def test_draft_embeddings__resumed_after_copying(partly: Bench, calls: Calls):
    partly.commit("old")
    partly.commit("new")
    manifest_bytes = partly.manifest_bytes("new")
    key = next(i.key for i in partly.store.list("manifests/embeddings") if "/new" in i.key)
    partly.store.delete(key)
    calls.reset()
    assert partly.commit("new").metadata == {"shards_reused": 4, "shards_made": 0}
    assert (calls.all, partly.manifest_bytes("new")) == (0, manifest_bytes)


def test_draft_embeddings__computes_the_rest_with_the_engine_of_the_copies(partly: Bench):
    """A drop is one engine's, if this machine has it."""
    auto_compute = replace(COMPUTE, precision="half", engine="auto")
    partly.commit("old", compute=replace(auto_compute, engine="torch"))
    engine = (
        open_table(
            partly.store,
            "embeddings",
            space=current_space(partly.checkpoint, auto_compute, tile_px=256),
        )
        .manifest("old")
        .facts["engine"]
    )
    assert str(next(list_engines(auto_compute, partly.checkpoint, side_px=256))) != engine
    committed = partly.commit("new", compute=auto_compute)
    assert committed.manifest.facts["engine"] == engine
    assert "engines" not in committed.manifest.facts


def test_reusable_vectors__reads_no_vectors_of_drops_that_share_nothing(
    partly: Bench, tmp_path: Path
):
    partly.add_drop("alien", write_photos(tmp_path / "alien", [7]))
    partly.commit("alien")
    partly.commit("old")
    read_keys: list[str] = []
    watched_store = WatchedStore(partly.store, before=lambda verb, key: read_keys.append(key))
    shards = cut_shards(partly.tiles("new"), recipe_id="r")
    reusable = ReusableVectors(
        watched_store,
        OutputId("embeddings", "new", partly.space),
        FP16,
        shards,
        code_version=CODE_VERSION,
    )
    assert len(reusable.list_images(shards[0])) == 2
    parts = [key for key in read_keys if key.startswith("parts/embeddings/")]
    assert len(parts) == 2
    assert all(key.startswith("parts/embeddings/old/") for key in parts)


def test_reusable_vectors__reads_rows_only_for_requested_shards(partly: Bench):
    partly.commit("old")
    shards = cut_shards(partly.tiles("new"), recipe_id="r", shard_tiles=16)
    reusable = ReusableVectors(
        partly.store,
        OutputId("embeddings", "new", partly.space),
        FP16,
        shards,
        code_version=CODE_VERSION,
    )
    image_counts = [len(reusable.list_images(shard)) for shard in shards]
    assert sorted(image_counts) == [0, 0, 1, 1]
    for shard, count in zip(shards, image_counts, strict=True):
        shard_with_rows = reusable.add_copied_rows(shard)
        assert shard.copied_rows is None
        assert (shard_with_rows.copied_rows is None) == (count == 0)
        if shard_with_rows.copied_rows is not None:
            assert (
                shard_with_rows.copied_rows["tile_id"].to_pylist()
                == shard.tiles["tile_id"].to_pylist()
            )
            assert reusable.read_facts(shard)["engine"] == "torch fp32 on cpu"


def list_index(bench: Bench) -> list[str]:
    return sorted(info.key for info in bench.store.list("indexes/embeddings"))


def lose(bench: Bench, keys: list[str]) -> None:
    for key in keys:
        bench.store.delete(key)


def spoil(bench: Bench, keys: list[str]) -> None:
    bench.store.put(keys[0], b"rot")


@pytest.mark.parametrize("harm", [lose, spoil])
def test_draft_embeddings__rebuilds_a_lost_or_damaged_index(
    partly: Bench, calls: Calls, tmp_path: Path, harm: Callable[[Bench, list[str]], None]
):
    partly.commit("old")
    partly.add_drop("other", write_photos(tmp_path / "other", [2]))
    partly.commit("other")
    harm(partly, list_index(partly))
    calls.reset()
    assert partly.commit("new").metadata["tiles_copied"] == 3 * PHOTO_TILES
    assert sum(calls.of_run) == PHOTO_TILES


def test_draft_embeddings__rebuilds_the_index_from_vectors(
    partly: Bench, calls: Calls, tmp_path: Path
):
    """Whose tiles were cut anew since: then the vectors themselves say of which images they are."""
    partly.commit("old")
    lose(partly, list_index(partly))
    partly.cut("old", make_grid(256, overlap=0.0))
    calls.reset()
    assert partly.commit("new").metadata["tiles_copied"] == 2 * PHOTO_TILES


def test_draft_embeddings__ignores_index_entries_without_embeddings(
    partly: Bench, calls: Calls, tmp_path: Path
):
    """A drop that was forgotten, and one that was killed before its manifest: nothing comes of their rows."""
    partly.commit("old")
    partly.forget()
    assert list_index(partly)
    calls.reset()
    assert "tiles_copied" not in partly.commit("new").metadata
    assert sum(calls.of_run) == 4 * PHOTO_TILES


def test_draft_embeddings__an_outdated_index_does_no_harm(
    partly: Bench, calls: Calls, tmp_path: Path
):
    """As from a backup: what it does not know is computed again, and nothing is wrong."""
    partly.add_drop("other", write_photos(tmp_path / "other", [2]))
    partly.commit("other")
    partly.commit("old")
    lose(partly, list_index(partly)[:1])
    committed = partly.commit("new")
    assert committed.manifest.rows == 4 * PHOTO_TILES
    assert committed.metadata["tiles_copied"] in (PHOTO_TILES, 2 * PHOTO_TILES)


def test_draft_embeddings__killed_at_every_write_copies_or_computes(partly: Bench, calls: Calls):
    """Row, parts, receipts and manifest, in whatever order: the drop after it has all its tiles once."""
    partly.commit("old")
    store, before = partly.store, contents(partly.store)
    partly.commit("new")
    complete_rows = partly.rows("new")
    for n in itertools.count():
        restore(store, before)
        strike = Strike(n, cut_power, verbs=("put",))
        partly.store = WatchedStore(store, after=strike)
        with contextlib.suppress(PowerCut):
            partly.commit("new")
        partly.store = store
        if not strike.has_struck:
            break
        partly.commit("new")
        assert partly.rows("new").equals(complete_rows)
    assert n > 6


def cut_power(verb: str, key: str) -> None:
    raise PowerCut


def test_reusable_vectors__reads_no_vectors_of_a_drop_that_was_embedded_again(
    partly: Bench, tmp_path: Path
):
    partly.commit("old")
    partly.add_drop("old", write_photos(tmp_path / "others", [7]))
    partly.commit("old")
    read_keys: list[str] = []
    partly.store = WatchedStore(partly.store, before=lambda verb, key: read_keys.append(key))
    assert "tiles_copied" not in partly.commit("new").metadata
    assert not [key for key in read_keys if key.startswith("parts/embeddings/old/")]


def test_find_holders__reads_no_other_drop(partly: Bench, tmp_path: Path):
    """However many there are: one listing, of the index, and no manifest but those that are named."""
    for seed in (7, 8, 9):
        partly.add_drop(f"alien-{seed}", write_photos(tmp_path / str(seed), [seed]))
        partly.commit(f"alien-{seed}")
    partly.commit("old")
    store_calls: list[tuple[str, str]] = []
    watched_store = WatchedStore(partly.store, before=lambda *call: store_calls.append(call))
    output = OutputId("embeddings", "new", partly.space)
    images = set(partly.tiles("new")["image_id"].to_pylist())
    assert [drop for drop, _ in find_holders(watched_store, output, images)] == ["old"]
    assert {key.split("/")[0] for _, key in store_calls} == {"indexes"}
    assert [verb for verb, _ in store_calls].count("list") == 1
