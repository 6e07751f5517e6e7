"""Embeddings of real pictures by a tiny model: every tile its vector, and what a rerun costs."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from dino_assets.core.decoding import decode_image
from dino_assets.core.encoder import Encoder, list_engines
from dino_assets.core.tiling import make_grid
from dino_assets.errors import (
    CommitRefusedError,
    ConfigError,
    DeviceMemoryError,
    NotCommittedError,
    SourceError,
)
from dino_assets.records import Draft, EmbeddingOptions, Facts, OutputId
from dino_assets.samples.checkpoint import write_demo_checkpoint
from dino_assets.stages.embeddings import check_options
from dino_assets.stages.engines import open_encoder
from dino_assets.stages.weights import OUTPUT, checkpoint_of, draft_weights
from dino_assets.store.collection import verify
from dino_assets.store.manifests import commit, read_manifest
from dino_assets.store.objects import ObjectStore
from dino_assets.store.readers import open_table
from dino_assets_tests.stages.embedding_bench import (
    COMPUTE,
    PHOTO_TILES,
    SIDE,
    Bench,
    Calls,
    write_photos,
)
from dino_assets_tests.stages.inboxes import CountingSource, drone_photo, write_mosaic
from dino_assets_tests.store.doubles import WatchedStore

MakeBench = Callable[[ObjectStore], Bench]
BOTH = EmbeddingOptions(("cls", "mean"), "fp32")
FP32 = EmbeddingOptions(("cls",), "fp32")


@pytest.fixture
def bench(make_bench: MakeBench, tmp_path: Path) -> Bench:
    """A drop of three photographs, 48 tiles."""
    bench = make_bench(ObjectStore.in_memory())
    return bench.add_drop("d", write_photos(tmp_path / "card", range(3)))


@pytest.fixture
def six(make_bench: MakeBench, tmp_path: Path) -> Bench:
    """A drop of six photographs, a shard each."""
    bench = make_bench(ObjectStore.in_memory())
    return bench.add_drop("d", write_photos(tmp_path / "card", range(6)))


@pytest.fixture
def six_anywhere(make_bench: MakeBench, tmp_path: Path, store: ObjectStore) -> Bench:
    """The same on every kind of store."""
    return make_bench(store).add_drop("d", write_photos(tmp_path / "card", range(6)))


def cut_by_hand(bench: Bench, row: int) -> np.ndarray:
    """A tile's pixels (1, side, side, 3), straight from its photograph."""
    tile = bench.tiles().to_pylist()[row]
    pixels = decode_image(bench.sources["d"].read(tile["path"]))
    return pixels[None, tile["y"] : tile["y"] + SIDE, tile["x"] : tile["x"] + SIDE]


def vectors_of(bench: Bench, column: str = "cls") -> np.ndarray:
    return np.stack(bench.rows()[column].to_numpy(zero_copy_only=False))


# --- what is stored -------------------------------------------------------------------------


def test_draft_embeddings__one_vector_per_tile(bench: Bench):
    done = bench.commit()
    assert (done.manifest.rows, done.manifest.facts["shards"]) == (48, 3)
    assert done.manifest.facts["images"] == 3
    assert bench.rows()["tile_id"].to_pylist() == bench.tiles()["tile_id"].to_pylist()
    assert bench.rows()["image_id"].to_pylist() == bench.tiles()["image_id"].to_pylist()
    assert vectors_of(bench).shape == (48, 16)
    assert bench.rows()["cls"].type.value_type == "halffloat"
    assert len(np.unique(vectors_of(bench), axis=0)) == 48


def test_draft_embeddings__tells_what_computed_it(bench: Bench):
    done = bench.commit()
    facts = done.manifest.facts
    assert facts["engine"] == "torch fp32 on cpu"
    assert facts["batch"] == [6, SIDE]
    assert facts["gate"]["tiles"] == 16
    assert list(facts["gate"]["norms"]) == ["cls"]
    assert "copied" not in facts
    assert "refused" not in facts
    assert done.read_s > 0
    assert done.compute_s > 0
    assert done.write_s > 0
    assert done.told["shards_made"] == 3
    assert done.told["tiles_per_s"] > 0
    assert done.told["forecast_s"] >= 0


def test_draft_embeddings__each_vector_is_its_tiles(bench: Bench):
    """Ids and vectors are not shifted against each other: tiles are embedded again by hand."""
    bench.commit(shard_tiles=32, options=BOTH)
    cls, mean = vectors_of(bench, "cls"), vectors_of(bench, "mean")
    for row in (0, 15, 16, 37, 47):
        tokens = bench.encode(cut_by_hand(bench, row), "cls", "mean")
        np.testing.assert_allclose(cls[row], tokens["cls"][0], atol=1e-6)
        np.testing.assert_allclose(mean[row], tokens["mean"][0], atol=1e-6)


def test_draft_embeddings__thumbnails_are_their_tiles(bench: Bench):
    bench.commit()
    from dino_assets.stages.embedding_rows import make_thumb

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


def test_draft_embeddings__the_same_bytes_however_it_is_cut_or_threaded(bench: Bench, calls: Calls):
    bench.commit(compute=replace(COMPUTE, batch=5))
    alone = bench.manifest_bytes(), vectors_of(bench)
    bench.forget()
    bench.commit(compute=replace(COMPUTE, batch=5, threads=3))
    assert bench.manifest_bytes() == alone[0]
    assert len(calls.threads) > 1
    bench.forget()
    bench.commit(compute=replace(COMPUTE, batch=5, threads=3), shard_tiles=1000)
    np.testing.assert_array_equal(vectors_of(bench), alone[1])


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
    done = bench.commit()
    assert done.read_s > 0
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
    with pytest.raises(SourceError, match="not the mosaic that was tiled"):
        bench.commit(shard_tiles=7)


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
    with pytest.raises(SourceError, match=r"'DJI_1.JPG' is not the photograph that was tiled"):
        bench.commit()
    assert bench.table().drops == ()


def test_draft_embeddings__no_tiles(bench: Bench):
    with pytest.raises(NotCommittedError, match="tiles/other is not in store"):
        bench.draft("other")


def test_draft_embeddings__a_drop_without_tiles_opens_no_model(bench: Bench, calls: Calls):
    manifest = open_table(bench.store, "tiles").manifest("d")
    recipe = replace(manifest.recipe, output=OutputId("tiles", "empty"))
    schema = bench.tiles().schema.remove_metadata()
    commit(bench.store, Draft(recipe, lambda: iter([Facts(manifest.facts)]), schema))
    done = bench.commit("empty", source=bench.sources["d"])
    assert (done.manifest.rows, bench.rows("empty").num_rows, calls.all) == (0, 0, 0)
    assert done.manifest.facts == {"images": 0, "shards": 0}


# --- columns --------------------------------------------------------------------------------


def test_draft_embeddings__columns_and_numbers_as_asked(bench: Bench):
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
    with pytest.raises(ConfigError, match="columns is 'pooled'; use one of cls, mean"):
        check_options(["pooled"], "fp16")
    with pytest.raises(ConfigError, match="dtype is 'bf16'; use one of fp16, fp32"):
        check_options(["cls"], "bf16")
    with pytest.raises(ConfigError, match="columns is empty; use cls, mean or both"):
        check_options([], "fp16")


def spoil(monkeypatch: pytest.MonkeyPatch, value: float, *, output: int) -> None:
    """The run's vectors (not the gate's) carry this value in the second tile of a batch."""
    inner = Encoder.encode

    def encode(encoder, tiles):
        tokens = inner(encoder, tiles)
        if threading.current_thread().name.startswith("map-ahead") and len(tiles) > 1:
            tokens[encoder.outputs[output]][1, 3] = value
        return tokens

    monkeypatch.setattr(Encoder, "encode", encode)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.nan, "NaN or infinity; is the checkpoint sound"),
        (-np.inf, "NaN or infinity"),
        (70_000.0, "a value beyond fp16; dtype: fp32 holds it"),
    ],
)
def test_draft_embeddings__never_stores_what_is_no_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, column: int, value: float, why: str
):
    spoil(monkeypatch, value, output=column)
    name, tile = ("cls", "mean")[column], bench.tiles()["tile_id"][1].as_py()
    wanted = rf"3 tiles have '{name}' numbers that cannot be stored, '{tile}' first: {why}"
    with pytest.raises(CommitRefusedError, match=wanted):
        bench.commit(options=EmbeddingOptions(("cls", "mean")))
    assert bench.table().drops == ()
    assert bench.receipts() == []


def test_draft_embeddings__fp32_holds_what_fp16_cannot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    spoil(monkeypatch, 70_000.0, output=0)
    bench.commit(options=EmbeddingOptions(("cls",), "fp32"))
    assert vectors_of(bench)[1, 3] == 70_000.0


# --- what is not computed again -------------------------------------------------------------


def test_draft_embeddings__rerun_calls_no_model(bench: Bench, calls: Calls):
    bench.commit()
    calls.reset()
    assert bench.commit().was_reused
    assert calls.all == 0


def test_draft_embeddings__a_lost_manifest_costs_no_call(bench: Bench, calls: Calls):
    bench.commit()
    whole = bench.manifest_bytes()
    for info in list(bench.store.list("manifests/embeddings")):
        bench.store.delete(info.key)
    calls.reset()
    done = bench.commit()
    assert (calls.all, bench.manifest_bytes()) == (0, whole)
    assert done.told == {"shards_reused": 3, "shards_made": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"options": EmbeddingOptions(("mean",))},
        {"options": EmbeddingOptions(("cls",), "fp32")},
        {"options": EmbeddingOptions(with_patches=True)},
        {"compute": replace(COMPUTE, precision="half")},
    ],
)
def test_draft_embeddings__anything_else_reuses_nothing(bench: Bench, calls: Calls, changes):
    bench.commit()
    calls.reset()
    done = bench.commit(**changes)
    assert not done.was_reused
    assert (sum(calls.of_run), done.told["shards_reused"]) == (48, 0)
    is_other_space = "compute" in changes
    assert (done.manifest.recipe.output.space != bench.space) == is_other_space


def test_draft_embeddings__another_side_is_another_space(bench: Bench, calls: Calls):
    bench.commit()
    bench.cut("d", make_grid(128))
    calls.reset()
    done = bench.commit()
    assert sum(calls.of_run) == bench.tiles().num_rows == done.manifest.rows
    assert done.manifest.recipe.output.space != bench.space
    assert bench.table().drops == ("d",)  # the first space is still there


def test_draft_embeddings__another_checkpoint_is_another_space(
    bench: Bench, calls: Calls, tmp_path: Path
):
    bench.commit()
    other = write_demo_checkpoint(tmp_path / "other", seed=1, dim=16, layers=2)
    commit(bench.store, draft_weights(other, "tiny"))
    weights = read_manifest(bench.store, OUTPUT)
    assert checkpoint_of(weights).weights_sha256 != bench.checkpoint.weights_sha256
    calls.reset()
    done = bench.commit(weights=weights)
    assert (sum(calls.of_run), done.told["shards_reused"]) == (48, 0)
    assert done.manifest.recipe.output.space != bench.space


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("preprocessor_config.json", {"image_std": [0.2, 0.2, 0.2]}),
        ("config.json", {"num_attention_heads": 2}),
        ("config.json", {"rope_theta": 50.0}),
    ],
)
def test_draft_embeddings__the_same_weights_in_another_network(
    bench: Bench, calls: Calls, checkpoint_dir: Path, tmp_path: Path, file: str, changes: dict
):
    """The very same tensors, and yet nothing of what they gave may be taken over."""
    bench.commit(options=FP32)
    before = vectors_of(bench)
    folder = shutil.copytree(checkpoint_dir, tmp_path / "other")
    said = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(said | changes))
    commit(bench.store, draft_weights(folder, "tiny"))
    weights = read_manifest(bench.store, OUTPUT)
    assert checkpoint_of(weights).weights_sha256 == bench.checkpoint.weights_sha256
    calls.reset()
    done = bench.commit(weights=weights, options=FP32)
    assert sum(calls.of_run) == 48
    bench.space = str(done.manifest.recipe.output.space)
    assert (np.abs(vectors_of(bench) - before).max(axis=1) > 1e-5).all()


def test_draft_embeddings__who_wrote_the_config_does_not_matter(
    bench: Bench, calls: Calls, checkpoint_dir: Path, tmp_path: Path
):
    bench.commit()
    folder = shutil.copytree(checkpoint_dir, tmp_path / "other")
    said = json.loads((folder / "config.json").read_text())
    said |= {"transformers_version": "9.9", "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(dict(reversed(said.items()))))
    commit(bench.store, draft_weights(folder, "tiny"))
    assert bench.commit(weights=read_manifest(bench.store, OUTPUT)).was_reused


def test_draft_embeddings__says_what_a_drop_will_not_have_any_more(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    bench.commit(options=EmbeddingOptions(("cls", "mean"), "fp32", with_patches=True))
    bench.commit(options=BOTH)
    assert "had patch maps, which this run does not ask for" in caplog.text
    bench.commit()
    assert "had column mean, fp32, which this run does not ask for" in caplog.text
    caplog.clear()
    bench.commit(options=BOTH)
    assert "does not ask for" not in caplog.text


def fail_and_resume(six: Bench, calls: Calls, caplog: pytest.LogCaptureFixture, *, at: int) -> None:
    """A run that dies is taken up where it was, with the same bytes as one that did not."""
    six.commit()
    whole = six.manifest_bytes()
    six.forget()
    calls.reset()
    calls.fail_at = at
    with pytest.raises(RuntimeError, match="the power went"):
        six.commit()
    assert six.table().drops == ()
    assert list(verify(six.store)) == []
    finished = (at - 1) // 3  # a shard is one photograph of 16 tiles, six to a call
    assert sum(calls.of_run) <= PHOTO_TILES * (finished + 1) + 2 * 6
    assert len(six.receipts()) == finished
    calls.reset()
    caplog.set_level(logging.INFO)
    done = six.commit()
    assert sum(calls.of_run) == PHOTO_TILES * (6 - finished)
    assert done.told["shards_reused"] == finished
    assert done.told["shards_made"] == 6 - finished
    assert six.manifest_bytes() == whole
    said = f"d: {finished} of 6 shards are there already and are reused, "
    assert (said + f"{PHOTO_TILES * (6 - finished)} tiles to compute" in caplog.text) == (
        finished > 0
    )
    assert f"shard 6 of 6, {finished} reused" in caplog.text


@pytest.mark.parametrize("at", [1, 4, 18])
def test_draft_embeddings__resumes_at_the_shard(
    six: Bench, calls: Calls, caplog: pytest.LogCaptureFixture, at: int
):
    fail_and_resume(six, calls, caplog, at=at)


def test_draft_embeddings__resumes_on_every_store(
    six_anywhere: Bench, calls: Calls, caplog: pytest.LogCaptureFixture
):
    fail_and_resume(six_anywhere, calls, caplog, at=9)


def test_draft_embeddings__a_slow_store_is_waited_for(
    make_bench: MakeBench, tmp_path: Path, calls: Calls
):
    """So a kill costs one shard: no more than the next batches are computed before it is stored."""
    computed: list[int] = []

    def note(verb: str, key: str) -> None:
        if verb == "put" and key.startswith("receipts/"):
            time.sleep(0.3)
            computed.append(sum(calls.of_run))

    bench = make_bench(WatchedStore(ObjectStore.in_memory(), before=note))
    bench.add_drop("d", write_photos(tmp_path / "card", range(3)))
    bench.commit()
    assert len(computed) == 3
    assert computed[0] > PHOTO_TILES  # but nobody waits idly
    for number, tiles in enumerate(computed):
        assert PHOTO_TILES * (number + 1) <= tiles <= PHOTO_TILES * (number + 1) + 2 * 6


def test_draft_embeddings__a_damaged_part_is_made_again(six: Bench, calls: Calls):
    six.commit()
    whole = six.manifest_bytes()
    part = six.table().manifest("d").parts[2]
    six.store.put(part.key, b"rot")
    for info in list(six.store.list("manifests/embeddings")):
        six.store.delete(info.key)
    calls.reset()
    done = six.commit()
    assert (sum(calls.of_run), done.told["shards_reused"]) == (PHOTO_TILES, 5)
    assert six.manifest_bytes() == whole
    assert list(verify(six.store)) == []


def test_draft_embeddings__a_resumed_drop_keeps_its_engine(
    bench: Bench, calls: Calls, monkeypatch: pytest.MonkeyPatch
):
    """Its first shards are by float32; auto would take another engine for the rest."""
    calls.fail_at = 5
    auto = replace(COMPUTE, precision="half")
    with monkeypatch.context() as patch:
        patch.setattr(
            "dino_assets.stages.engines.list_engines",
            lambda *_, **__: list_engines(COMPUTE, bench.checkpoint, side_px=SIDE),
        )
        open_encoder.cache_clear()
        with pytest.raises(RuntimeError, match="the power went"):
            bench.commit(compute=auto)
    open_encoder.cache_clear()
    done = bench.commit(compute=auto)
    assert done.told["shards_reused"] == 1
    assert done.manifest.facts["engine"] == "torch fp32 on cpu"
    assert "engines" not in done.manifest.facts


# --- memory, and being cancelled ------------------------------------------------------------


class SmallDevice:
    """Wraps the engine's ``_run``: no room for more than ``most`` tiles at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, most: int, from_when: str) -> None:
        from dino_assets.core.encoder.torch_engine import TorchEncoder

        inner = TorchEncoder._run

        def run(encoder, tiles):
            is_run = threading.current_thread().name.startswith("map-ahead")
            if len(tiles) > most and (is_run or from_when == "gate"):
                raise DeviceMemoryError("for the test")
            return inner(encoder, tiles)

        monkeypatch.setattr(TorchEncoder, "_run", run)
        open_encoder.cache_clear()


@pytest.mark.parametrize("from_when", ["run", "gate"])
def test_draft_embeddings__out_of_memory_halves_the_batch_and_goes_on(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    from_when: str,
    tmp_path: Path,
):
    bench.commit(options=EmbeddingOptions(("cls",), "fp32"))
    whole = vectors_of(bench)
    bench.forget()
    SmallDevice(monkeypatch, most=2, from_when=from_when)
    try:
        done = bench.commit(options=EmbeddingOptions(("cls",), "fp32"), cache=tmp_path / "new")
    finally:
        open_encoder.cache_clear()  # its batch stays halved
    np.testing.assert_allclose(vectors_of(bench), whole, atol=1e-5)
    assert done.told["warnings"][-1] == "out of memory: going on with 1 tiles per call"
    assert "d: out of memory: going on with 1 tiles per call" in caplog.text


def test_draft_embeddings__no_room_for_a_single_tile(bench: Bench, monkeypatch):
    SmallDevice(monkeypatch, most=0, from_when="run")
    try:
        with pytest.raises(DeviceMemoryError, match="no room for one tile of 256 px"):
            bench.commit()
    finally:
        open_encoder.cache_clear()


def own_threads() -> set[str]:
    names = {thread.name for thread in threading.enumerate()}
    return {n for n in names if n.startswith(("map-ahead", "ThreadPool", "write"))}


@pytest.mark.parametrize("how", ["close", "interrupt", "abandon"])
def test_draft_embeddings__cancelled(
    make_bench: MakeBench, local_store: ObjectStore, tmp_path: Path, calls: Calls, how: str
):
    """No thread goes on, the store is sound, and the next run completes it."""
    six = make_bench(local_store).add_drop("d", write_photos(tmp_path / "card", range(6)))
    six.commit()
    whole = six.manifest_bytes()
    six.forget()
    parts = six.draft().produce()
    next(parts)
    next(parts)
    if how == "close":
        parts.close()
    elif how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            parts.throw(KeyboardInterrupt)
    else:
        del parts
    assert own_threads() == set()
    assert list(verify(six.store)) == []
    assert six.table().drops == ()
    assert len(six.receipts()) >= 2
    calls.reset()
    done = six.commit()
    assert done.told["shards_reused"] >= 2
    assert six.manifest_bytes() == whole


def test_draft_embeddings__after_an_error_no_thread_is_left(bench: Bench, calls: Calls):
    """Also while somebody holds on to the error."""
    calls.fail_at = 4
    with pytest.raises(RuntimeError) as caught:
        bench.commit(shard_tiles=1000)
    assert own_threads() == set()
    assert caught.value.args == ("the power went",)
