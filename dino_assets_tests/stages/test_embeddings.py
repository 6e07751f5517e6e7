"""Embeddings of real pictures: shards, receipts, resumption."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from dino_assets.core.decoding import decode_image
from dino_assets.core.encoder import Tokens
from dino_assets.core.tiling import make_grid
from dino_assets.errors import CommitRefusedError, NotCommittedError, SourceError
from dino_assets.records import ComputeSettings, Drop
from dino_assets.stages.embeddings import (
    cut_shards,
    draft_embeddings,
    make_encoder,
    make_space,
    name_space,
)
from dino_assets.stages.images import draft_images
from dino_assets.stages.sources import FolderSource
from dino_assets.stages.tiles import draft_tiles
from dino_assets.stages.weights import OUTPUT, checkpoint_of, draft_weights
from dino_assets.store.manifests import commit, read_manifest
from dino_assets.store.objects import ObjectStore
from dino_assets.store.readers import open_table
from dino_assets_tests.stages.inboxes import CountingSource, drone_photo, write_mosaic

COMPUTE = ComputeSettings(device="cpu", threads=1)
SIDE = 256


class Bench:
    """A drop of three pictures, tiled, and a model that counts its calls."""

    def __init__(self, store: ObjectStore, folder: Path, checkpoint_dir: Path) -> None:
        self.store, self.folder = store, folder
        self.source = FolderSource(folder, shown="card")
        commit(store, draft_weights(checkpoint_dir, "tiny"))
        self.weights = read_manifest(store, OUTPUT)
        self.checkpoint = checkpoint_of(self.weights)
        drop = Drop("d", str(folder), "", "d")
        commit(store, draft_images(drop, self.source, threads=1))
        commit(store, draft_tiles(open_table(store, "images"), "d", make_grid(SIDE)))
        self.space = name_space(make_space(self.checkpoint, COMPUTE, side_px=SIDE))
        self.calls = 0
        self.fail_at: int | None = None
        self.spoil = False

    def load(self) -> Callable[[np.ndarray], Tokens]:
        encode = make_encoder(self.store, self.weights, COMPUTE, cache=self.folder / ".c")()

        def counted(tiles: np.ndarray) -> Tokens:
            self.calls += 1
            if self.calls == self.fail_at:
                raise RuntimeError("the power went")
            tokens = encode(tiles)
            if self.spoil:
                tokens.mean[0, 0] = 1e6
            return tokens

        return counted

    def draft(self, **changes):
        options = {
            "source": self.source,
            "checkpoint": self.checkpoint,
            "compute": COMPUTE,
            "make_encode": self.load,
            "shard_tiles": 10,
        }
        return draft_embeddings(
            self.store, open_table(self.store, "tiles"), "d", **{**options, **changes}
        )

    def table(self):
        return open_table(self.store, "embeddings", space=self.space)


@pytest.fixture
def bench(store: ObjectStore, tmp_path: Path, checkpoint_dir: Path, write_photo) -> Bench:
    for number in range(3):
        # 1100×300 at 256 px and a step of 128: 8 × 2 tiles.
        write_photo(tmp_path / "card" / f"DJI_{number}.JPG", 1100, 300, seed=number)
    return Bench(store, tmp_path / "card", checkpoint_dir)


def test_draft_embeddings__one_vector_per_tile(bench: Bench):
    done = commit(bench.store, bench.draft())
    assert (done.manifest.rows, done.manifest.facts["shards"]) == (48, 3)
    rows = bench.table().read("d")
    assert (
        rows["tile_id"].to_pylist()
        == open_table(bench.store, "tiles").read("d")["tile_id"].to_pylist()
    )
    vectors = np.stack(rows["cls"].to_numpy(zero_copy_only=False))
    assert vectors.shape == (48, 16)
    assert np.isfinite(vectors).all()


def test_draft_embeddings__each_vector_is_its_tiles(bench: Bench):
    """Ids and vectors are not shifted against each other: one tile is embedded again by hand."""
    commit(bench.store, bench.draft())
    rows = bench.table().read("d").to_pylist()
    wanted = open_table(bench.store, "tiles").read("d").to_pylist()[37]
    pixels = decode_image(bench.source.read(wanted["path"]))
    x, y = wanted["x"], wanted["y"]
    tokens = bench.load()(pixels[None, y : y + SIDE, x : x + SIDE])
    (found,) = [row for row in rows if row["tile_id"] == wanted["tile_id"]]
    np.testing.assert_allclose(found["cls"], tokens.cls[0], atol=2e-3)
    np.testing.assert_allclose(found["mean"], tokens.mean[0], atol=2e-3)


def test_draft_embeddings__reads_each_image_once_for_all_of_its_tiles(bench: Bench):
    source = CountingSource(bench.folder)
    threads: set[str] = set()
    source.on_read = lambda path: threads.add(threading.current_thread().name)
    commit(bench.store, bench.draft(source=source, shard_tiles=1000))
    assert sorted(source.was_read) == [f"DJI_{n}.JPG" for n in range(3)]
    assert all(name.startswith("map-ahead") for name in threads)  # not where tiles are waited for


def test_draft_embeddings__of_a_mosaic(store: ObjectStore, tmp_path: Path, checkpoint_dir: Path):
    """Read by windows; what is empty has no vector, and a mosaic that changed since is refused."""
    path = write_mosaic(tmp_path / "card" / "ortho.tif", side_px=1100, nodata_from=500)
    bench = Bench(store, tmp_path / "card", checkpoint_dir)
    commit(store, bench.draft())
    rows = bench.table().read("d").to_pylist()
    tiles = open_table(store, "tiles").read("d").to_pylist()
    assert {tile["x"] for tile in tiles} == {0, 128, 256, 384}
    assert [row["tile_id"] for row in rows] == [tile["tile_id"] for tile in tiles]
    with rasterio.open(path) as file:
        pixels = file.read().transpose(1, 2, 0)
    x, y = tiles[9]["x"], tiles[9]["y"]
    tokens = bench.load()(pixels[None, y : y + SIDE, x : x + SIDE])
    np.testing.assert_allclose(rows[9]["cls"], tokens.cls[0], atol=2e-3)
    write_mosaic(path, side_px=1100, nodata_from=501)
    for info in list(store.list("receipts")):
        store.delete(info.key)
    with pytest.raises(SourceError, match="not the mosaic that was tiled"):
        commit(store, bench.draft(shard_tiles=7))


def test_draft_embeddings__by_metres_tiles_are_scaled(
    store: ObjectStore, tmp_path: Path, checkpoint_dir: Path
):
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_bytes(drone_photo(size=(1600, 1200)))
    bench = Bench(store, tmp_path / "card", checkpoint_dir)
    commit(store, draft_tiles(open_table(store, "images"), "d", make_grid(SIDE, side_m=20)))
    commit(store, bench.draft())
    tile = open_table(store, "tiles").read("d").to_pylist()[3]
    assert tile["span_px"] == tile["w"] == tile["h"] != SIDE
    x, y, span = tile["x"], tile["y"], tile["span_px"]
    cut = decode_image(bench.source.read("a.jpg"))[y : y + span, x : x + span]
    scaled = np.asarray(Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    tokens = bench.load()(scaled[None])
    (found,) = [r for r in bench.table().read("d").to_pylist() if r["tile_id"] == tile["tile_id"]]
    np.testing.assert_allclose(found["cls"], tokens.cls[0], atol=2e-3)


def test_draft_embeddings__rerun_calls_no_model(bench: Bench):
    commit(bench.store, bench.draft())
    calls = bench.calls
    assert commit(bench.store, bench.draft()).was_reused
    assert bench.calls == calls


@pytest.mark.parametrize("at", [1, 6, 12])
def test_draft_embeddings__resumes_at_the_shard(bench: Bench, at: int):
    """A run that dies is taken up where it was, with the same bytes as one that did not."""
    whole = commit(bench.store, bench.draft()).manifest
    for info in list(bench.store.list()):
        if info.key.startswith(("manifests/embeddings", "parts/embeddings", "receipts")):
            bench.store.delete(info.key)
    bench.calls, bench.fail_at = 0, at
    with pytest.raises(RuntimeError, match="the power went"):
        commit(bench.store, bench.draft())
    assert bench.table().drops == ()
    bench.calls, bench.fail_at = 0, None
    done = commit(bench.store, bench.draft())
    finished = (at - 1) // 4  # a shard is one image of 16 tiles, four to a call
    assert bench.calls == 4 * (3 - finished)
    assert done.told == {"shards_reused": finished, "shards_made": 3 - finished}
    assert done.manifest == whole


def test_draft_embeddings__as_many_threads_as_you_like(bench: Bench):
    """A machine with more processors makes the same bytes."""
    alone = commit(bench.store, bench.draft()).manifest
    for info in list(bench.store.list()):
        if info.key.startswith(("manifests/embeddings", "parts/embeddings", "receipts")):
            bench.store.delete(info.key)
    seen: set[str] = set()

    def load() -> Callable[[np.ndarray], Tokens]:
        encode = bench.load()

        def told(tiles: np.ndarray) -> Tokens:
            seen.add(threading.current_thread().name)
            return encode(tiles)

        return told

    three = commit(
        bench.store, bench.draft(compute=replace(COMPUTE, threads=3), make_encode=load)
    ).manifest
    assert three == alone
    assert len(seen) > 1


def test_draft_embeddings__another_side_is_another_space(bench: Bench):
    commit(bench.store, bench.draft())
    commit(bench.store, draft_tiles(open_table(bench.store, "images"), "d", make_grid(128)))
    done = commit(bench.store, bench.draft())
    assert not done.was_reused
    assert done.manifest.recipe.output.space != bench.space
    assert bench.table().drops == ("d",)  # the first space is still there


def test_draft_embeddings__a_photograph_that_changed(bench: Bench, write_photo):
    write_photo(bench.folder / "DJI_1.JPG", 1100, 300, seed=99)
    with pytest.raises(SourceError, match=r"'DJI_1.JPG' is not the photograph that was tiled"):
        commit(bench.store, bench.draft())
    assert bench.table().drops == ()


def test_draft_embeddings__a_value_beyond_fp16(bench: Bench):
    bench.spoil = True
    with pytest.raises(CommitRefusedError, match="4 tiles have a 'mean' vector with NaN"):
        commit(bench.store, bench.draft())
    assert bench.table().drops == ()


def test_draft_embeddings__no_tiles(bench: Bench):
    with pytest.raises(NotCommittedError, match="tiles/other is not in store"):
        draft_embeddings(
            bench.store,
            open_table(bench.store, "tiles"),
            "other",
            source=bench.source,
            checkpoint=bench.checkpoint,
            compute=COMPUTE,
            make_encode=bench.load,
        )


def test_cut_shards__whole_images(bench: Bench):
    tiles = open_table(bench.store, "tiles").read("d")
    sizes = lambda n: [s.tiles.num_rows for s in cut_shards(tiles, recipe_id="r", shard_tiles=n)]  # noqa: E731
    assert sizes(1) == [16, 16, 16]  # an image is never split
    assert sizes(16) == [16, 16, 16]
    assert sizes(32) == [32, 16]
    assert sizes(1000) == [48]
    assert cut_shards(tiles.slice(0, 0), recipe_id="r") == []
    first, second = (cut_shards(tiles, recipe_id=r, shard_tiles=16)[0].id for r in ("r", "s"))
    assert first != second
