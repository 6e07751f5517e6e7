"""Embeddings of real pictures by a tiny model: every tile its vector, and what a rerun costs."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from dino_assets.compute.turns import taking_turn
from dino_assets.embeddings.options import EmbeddingOptions, check_options
from dino_assets.errors import CommitRefusedError, ConfigError, NotCommittedError, SourceError
from dino_assets.images.decoding import decode_image
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.worlds.embedding_bench import (
    COMPUTE,
    SIDE,
    Bench,
    Calls,
    vectors_of,
    write_photos,
)
from dino_assets_tests.worlds.inboxes import CountingSource, drone_photo, write_mosaic
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising

MakeBench = Callable[[ObjectStore], Bench]
BOTH = EmbeddingOptions(("cls", "mean"), "fp32")
FP32 = EmbeddingOptions(("cls",), "fp32")


def cut_by_hand(bench: Bench, row: int) -> np.ndarray:
    """A tile's pixels (1, side, side, 3), straight from its photograph."""
    tile = bench.tiles().to_pylist()[row]
    pixels = decode_image(bench.sources["d"].read(tile["path"]))
    return pixels[None, tile["y"] : tile["y"] + SIDE, tile["x"] : tile["x"] + SIDE]


# --- what is stored -------------------------------------------------------------------------


def test_draft_embeddings__one_vector_per_tile(bench: Bench):
    committed = bench.commit()
    assert (committed.manifest.rows, committed.manifest.facts["shards"]) == (48, 3)
    assert committed.manifest.facts["images"] == 3
    assert bench.rows()["tile_id"].to_pylist() == bench.tiles()["tile_id"].to_pylist()
    assert bench.rows()["image_id"].to_pylist() == bench.tiles()["image_id"].to_pylist()
    assert vectors_of(bench).shape == (48, 16)
    assert bench.rows()["cls"].type.value_type == "halffloat"
    assert len(np.unique(vectors_of(bench), axis=0)) == 48


def test_draft_embeddings__records_the_engine(bench: Bench):
    committed = bench.commit()
    facts = committed.manifest.facts
    assert facts["engine"] == "torch fp32 on cpu"
    assert facts["batch"] == [6, SIDE]
    assert facts["gate"]["tiles"] == 16
    assert list(facts["gate"]["norms"]) == ["cls"]
    assert "copied" not in facts
    assert "refused" not in facts
    assert committed.read_s > 0
    assert committed.compute_s > 0
    assert committed.write_s > 0
    assert committed.metadata["shards_made"] == 3
    assert committed.metadata["tiles_per_s"] > 0
    assert committed.metadata["forecast_s"] >= 0


def test_draft_embeddings__each_vector_belongs_to_its_tile(bench: Bench):
    """Ids and vectors are not shifted against each other: tiles are embedded again by hand."""
    bench.commit(shard_tiles=32, options=BOTH)
    cls, mean = vectors_of(bench, "cls"), vectors_of(bench, "mean")
    for row in (0, 15, 16, 37, 47):
        tokens = bench.encode(cut_by_hand(bench, row), "cls", "mean")
        np.testing.assert_allclose(cls[row], tokens["cls"][0], atol=1e-6)
        np.testing.assert_allclose(mean[row], tokens["mean"][0], atol=1e-6)


def test_draft_embeddings__each_thumbnail_belongs_to_its_tile(bench: Bench):
    bench.commit()
    from dino_assets.embeddings.rows import make_thumb

    thumbs = bench.rows()["thumb"].to_pylist()
    for row in (0, 17, 47):
        assert thumbs[row] == make_thumb(cut_by_hand(bench, row)[0])


@pytest.mark.parametrize(
    ("shard_tiles", "batches"),
    [
        (16, [6, 6, 4] * 3),  # a shard's last batch is what is left of it
        (32, [6, 6, 6, 6, 6, 2, 6, 6, 4]),  # over the border of two photographs
        (1000, [6] * 8),
    ],
)
def test_draft_embeddings__batches_span_images_but_not_shards(
    bench: Bench, calls: Calls, shard_tiles: int, batches: list[int]
):
    bench.commit(shard_tiles=shard_tiles)
    assert calls.of_run == batches


def test_draft_embeddings__equal_bytes_with_any_shards_and_threads(bench: Bench, calls: Calls):
    bench.commit(compute=replace(COMPUTE, batch=5))
    expected = bench.manifest_bytes(), vectors_of(bench)
    bench.forget()
    bench.commit(compute=replace(COMPUTE, batch=5, threads=3))
    assert bench.manifest_bytes() == expected[0]
    assert len(calls.threads) > 1
    bench.forget()
    bench.commit(compute=replace(COMPUTE, batch=5, threads=3), shard_tiles=1000)
    np.testing.assert_array_equal(vectors_of(bench), expected[1])


def test_draft_embeddings__waits_for_another_run_on_its_device(bench: Bench, calls: Calls):
    """And only then looks at the model, tries it out and forecasts: beside nobody."""
    with ThreadPoolExecutor(1) as pool:
        with taking_turn(bench.cache / "turns", "cpu", holder="embeddings/other"):
            commit_future = pool.submit(bench.commit)
            with pytest.raises(TimeoutError):
                commit_future.result(1)
            assert calls.all == 0
        assert commit_future.result(60).manifest.rows == len(bench.tiles())
    assert calls.all > 0


def test_draft_embeddings__reads_each_image_once_for_all_of_its_tiles(bench: Bench):
    """Beside the one that is tried out; and never where tiles are waited for."""
    source = CountingSource(bench.sources["d"].folder)
    threads: list[str] = []
    source.on_read = lambda path: threads.append(threading.current_thread().name)
    bench.commit(source=source, shard_tiles=1000)
    assert source.was_read[0] == "DJI_0.JPG" or source.was_read[0] in source.was_read[1:]
    assert sorted(source.was_read[1:]) == [f"DJI_{n}.JPG" for n in range(3)]
    assert all(name.startswith("map-ahead") for name in threads[1:])


def test_draft_embeddings__of_a_mosaic(make_bench: MakeBench, tmp_path: Path):
    """Read by windows; what is empty has no vector, and a mosaic that changed since is refused."""
    path = write_mosaic(tmp_path / "card" / "ortho.tif", side_px=1100, nodata_from=500)
    bench = make_bench(ObjectStore.in_memory()).add_drop("d", tmp_path / "card")
    committed = bench.commit()
    assert committed.read_s > 0
    tiles = bench.tiles().to_pylist()
    assert {tile["x"] for tile in tiles} == {0, 128, 256, 384}
    assert bench.rows()["tile_id"].to_pylist() == [tile["tile_id"] for tile in tiles]
    with rasterio.open(path) as file:
        pixels = file.read().transpose(1, 2, 0)
    x, y = tiles[9]["x"], tiles[9]["y"]
    tokens = bench.encode(pixels[None, y : y + SIDE, x : x + SIDE])
    np.testing.assert_allclose(vectors_of(bench)[9], tokens["cls"][0], atol=2e-3)
    write_mosaic(path, side_px=1100, nodata_from=501)
    bench.forget()
    with pytest.raises(SourceError) as caught:
        bench.commit(shard_tiles=7)
    assert caught.value.path == "ortho.tif"


def test_draft_embeddings__by_metres_tiles_are_scaled(make_bench: MakeBench, tmp_path: Path):
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_bytes(drone_photo(size=(1600, 1200)))
    bench = make_bench(ObjectStore.in_memory())
    bench.add_drop("d", tmp_path / "card", grid=make_grid(SIDE, side_m=20))
    bench.commit()
    tile = bench.tiles().to_pylist()[3]
    assert tile["span_px"] == tile["w"] == tile["h"] != SIDE
    x, y, span = tile["x"], tile["y"], tile["span_px"]
    cut = decode_image(bench.sources["d"].read("a.jpg"))[y : y + span, x : x + span]
    scaled = np.asarray(Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    tokens = bench.encode(scaled[None])
    np.testing.assert_allclose(vectors_of(bench)[3], tokens["cls"][0], atol=2e-3)


def test_draft_embeddings__a_photograph_that_changed(bench: Bench):
    write_photos(bench.sources["d"].folder, [99])
    (bench.sources["d"].folder / "DJI_99.JPG").rename(bench.sources["d"].folder / "DJI_1.JPG")
    with pytest.raises(SourceError) as caught:
        bench.commit()
    assert caught.value.path == "DJI_1.JPG"
    assert bench.table().drops == ()


def test_draft_embeddings__no_tiles(bench: Bench):
    with pytest.raises(NotCommittedError):
        bench.draft("other")


def test_draft_embeddings__a_drop_without_tiles_opens_no_model(bench: Bench, calls: Calls):
    manifest = open_table(bench.store, "tiles").manifest("d")
    recipe = replace(manifest.recipe, output=OutputId("tiles", "empty"))
    schema = bench.tiles().schema.remove_metadata()
    commit(bench.store, Draft(recipe, pushing([manifest.facts]), schema))
    committed = bench.commit("empty", source=bench.sources["d"])
    assert (committed.manifest.rows, bench.rows("empty").num_rows, calls.all) == (0, 0, 0)
    assert committed.manifest.facts == {"images": 0, "shards": 0, "caveat": CAVEAT}


# --- columns --------------------------------------------------------------------------------


def test_draft_embeddings__stores_the_requested_columns_and_dtype(bench: Bench):
    bench.commit(options=BOTH)
    wide = {name: vectors_of(bench, name) for name in ("cls", "mean")}
    assert bench.rows()["cls"].type.value_type == "float"
    for column in ("cls", "mean"):
        bench.commit(options=EmbeddingOptions((column,)))
        assert set(bench.rows().column_names) == {"tile_id", "image_id", column, "thumb"}
        # What else is asked changes how the last block is computed, in the last bit.
        np.testing.assert_allclose(vectors_of(bench, column), wide[column], atol=2e-3)
    assert np.abs(wide["cls"] - wide["mean"]).max() > 0.1


def test_check_options__one_order_and_known_words():
    assert check_options(["mean", "cls"], "fp32", with_patches=True) == EmbeddingOptions(
        ("cls", "mean"), "fp32", True
    )


@pytest.mark.parametrize(
    ("columns", "dtype", "setting", "value"),
    [
        (["pooled"], "fp16", "columns", "pooled"),
        (["cls"], "bf16", "dtype", "bf16"),
        ([], "fp16", "columns", ()),
    ],
)
def test_check_options__refuses_invalid_values(columns, dtype, setting: str, value: object):
    with pytest.raises(ConfigError) as caught:
        check_options(columns, dtype)
    assert (caught.value.setting, caught.value.value) == (setting, value)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "not-finite"), (-np.inf, "not-finite"), (70_000.0, "beyond-fp16")],
)
def test_draft_embeddings__does_not_store_nan_and_infinity(
    bench: Bench, calls: Calls, column: int, value: float, reason: str
):
    calls.spoils = (value, column)
    name, tile = ("cls", "mean")[column], bench.tiles()["tile_id"][1].as_py()
    sentence = f"3 tiles have '{name}' vectors that cannot be stored. The first, '{tile}', has "
    with raising(CommitRefusedError, column=name, first=tile, reason=reason, match=sentence):
        bench.commit(options=EmbeddingOptions(("cls", "mean")))
    assert bench.table().drops == ()
    assert bench.receipts() == []


def test_draft_embeddings__fp32_holds_what_fp16_cannot(bench: Bench, calls: Calls):
    calls.spoils = (70_000.0, 0)
    bench.commit(options=EmbeddingOptions(("cls",), "fp32"))
    assert vectors_of(bench)[1, 3] == 70_000.0
