"""Patch maps: an opt-in array that Zarr opens, a chunk per tile, never by default."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.stage import worker as embedding_work
from dino_assets.embeddings.stage.patch_maps import ARRAY, describe_array, read_patches
from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.images.decoding import decode_image
from dino_assets.store.commits.parts import read_part
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.embedding_bench import SIDE, Bench, Calls, PowerCut, write_photos
from dino_assets_tests.worlds.raising import raising

MAPS = EmbeddingOptions(("cls",), "fp32", with_patches=True)
CELLS = SIDE // 16


@pytest.fixture
def bench(make_bench: Callable[[ObjectStore], Bench], tmp_path: Path) -> Bench:
    """Three photographs, 48 tiles of 16 × 16 patches."""
    bench = make_bench(ObjectStore.in_memory())
    return bench.add_drop("d", write_photos(tmp_path / "card", range(3)))


def export(bench: Bench, folder: Path) -> Path:
    """The files of a committed drop under their names."""
    for part in bench.table().manifest("d").parts:
        if part.name is not None:
            (folder / part.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / part.name).write_bytes(read_part(bench.store, part))
    return folder / ARRAY


def expect_own_patches(bench: Bench, maps: np.ndarray) -> None:
    """Each tile's map is what the model says of that tile, row by row."""
    tiles = bench.tiles().to_pylist()
    assert maps.shape == (len(tiles), CELLS, CELLS, 16)
    for row in range(0, len(tiles), 7):
        tile = tiles[row]
        pixels = decode_image(bench.sources["d"].read(tile["path"]))
        cut = pixels[None, tile["y"] : tile["y"] + SIDE, tile["x"] : tile["x"] + SIDE]
        expected = bench.encode(cut, "cls", "patches")["patches"][0]
        np.testing.assert_allclose(maps[row].reshape(-1, 16), expected, atol=1e-5)
        assert not np.allclose(maps[row], maps[row].transpose(1, 0, 2), atol=1e-3)


def test_draft_embeddings__no_patches_by_default(bench: Bench):
    committed = bench.commit()
    assert all(part.name is None for part in committed.manifest.parts)
    output = str(committed.manifest.recipe.output)
    with raising(NotCommittedError, output=output, reason="no-patches"):
        read_patches(bench.table(), "d", [0])


@pytest.mark.parametrize(("dtype", "kind"), [("fp32", np.float32), ("fp16", np.float16)])
def test_draft_embeddings__zarr_opens_the_exported_array(bench: Bench, tmp_path: Path, dtype, kind):
    zarr = pytest.importorskip("zarr")
    committed = bench.commit(options=EmbeddingOptions(("cls",), dtype, with_patches=True))
    array = zarr.open_array(export(bench, tmp_path / "out"), mode="r")
    assert array.dtype == kind
    assert array.chunks == (1, CELLS, CELLS, 16)
    assert array.metadata.dimension_names == ("tile", "row", "column", "feature")
    assert array.attrs["space"] == bench.space
    maps = read_patches(bench.table(), "d", range(48))
    np.testing.assert_array_equal(array[:], maps)
    if dtype == "fp32":
        expect_own_patches(bench, maps)
    assert committed.manifest.rows == 48
    assert sum(part.name is not None for part in committed.manifest.parts) == 48 + 1
    assert list(verify(bench.store)) == []


def test_draft_embeddings__resumes_with_patches(bench: Bench, calls: Calls):
    bench.commit(options=MAPS)
    manifest_bytes = bench.manifest_bytes()
    bench.forget()
    calls.reset()
    calls.fail_at = 5
    with pytest.raises(PowerCut):
        bench.commit(options=MAPS)
    calls.reset()
    committed = bench.commit(options=MAPS)
    assert (sum(calls.of_run), committed.metadata["shards_reused"]) == (32, 1)
    assert bench.manifest_bytes() == manifest_bytes


def test_draft_embeddings__a_lost_chunk_is_made_again(bench: Bench, calls: Calls):
    bench.commit(options=MAPS)
    manifest_bytes = bench.manifest_bytes()
    lost_parts = [p for p in bench.table().manifest("d").parts if p.name == f"{ARRAY}/c/20/0/0/0"]
    for key in [lost_parts[0].key, *(i.key for i in bench.store.list("manifests/embeddings"))]:
        bench.store.delete(key)
    calls.reset()
    bench.commit(options=MAPS)
    assert (sum(calls.of_run), bench.manifest_bytes()) == (16, manifest_bytes)


def test_draft_embeddings__patches_of_a_drop_that_grew(bench: Bench, calls: Calls):
    """A photograph that comes before others moves their rows: their chunks are named anew."""
    bench.commit(options=MAPS)
    first_images = set(bench.tiles()["image_id"].to_pylist())
    folder = bench.sources["d"].folder
    for seed in range(3, 12):  # rows are in the order of hashes
        bench.add_drop("d", write_photos(folder, [seed]))
        if bench.tiles()["image_id"][0].as_py() not in first_images:
            break
    assert bench.tiles()["image_id"][0].as_py() not in first_images
    calls.reset()
    bench.commit(options=MAPS)
    rows = bench.tiles().num_rows
    assert sum(calls.of_run) == rows
    expect_own_patches(bench, read_patches(bench.table(), "d", range(rows)))


def test_draft_embeddings__patches_are_stored_as_they_are_computed(
    bench: Bench, calls: Calls, monkeypatch: pytest.MonkeyPatch
):
    """Not a shard's at a time, which would be a gigabyte."""
    batch_sizes: list[int] = []
    put_patches = embedding_work.put_patches

    def count(store, output, patches, rows):
        batch_sizes.append(len(patches))
        return put_patches(store, output, patches, rows)

    monkeypatch.setattr(embedding_work, "put_patches", count)
    bench.commit(options=MAPS, shard_tiles=1000)
    assert batch_sizes == [6] * 8
    assert calls.most_maps_held <= 1


def test_draft_embeddings__does_not_store_nan_in_patches(bench: Bench, calls: Calls):
    calls.spoils = (np.nan, 1)
    tile = bench.tiles()["tile_id"][1].as_py()
    with pytest.raises(CommitRefusedError) as caught:
        bench.commit(options=MAPS)
    assert (caught.value.column, caught.value.first) == ("patches", tile)
    assert bench.table().drops == ()


def test_read_patches__some_rows_in_the_order_asked(bench: Bench):
    bench.commit(options=MAPS)
    maps = read_patches(bench.table(), "d", range(48))
    np.testing.assert_array_equal(read_patches(bench.table(), "d", [40, 3]), maps[[40, 3]])
    assert read_patches(bench.table(), "d", []).shape == (0, CELLS, CELLS, 16)
    with pytest.raises(NotCommittedError):
        read_patches(bench.table(), "d", [48])


def test_read_patches__a_damaged_chunk(bench: Bench):
    bench.commit(options=MAPS)
    (part,) = [p for p in bench.table().manifest("d").parts if p.name == f"{ARRAY}/c/3/0/0/0"]
    bench.store.put(part.key, b"rot")
    with pytest.raises(CorruptObjectError):
        read_patches(bench.table(), "d", [3])


def test_describe_array__shape_and_names():
    named_bytes = describe_array(tiles=3, side=4, dim=8, dtype="float16", space="abc")
    assert named_bytes.name == "patches.zarr/zarr.json"
    description = json.loads(named_bytes.data)
    assert (description["shape"], description["data_type"]) == ([3, 4, 4, 8], "float16")
    assert description["chunk_grid"]["configuration"]["chunk_shape"] == [1, 4, 4, 8]
