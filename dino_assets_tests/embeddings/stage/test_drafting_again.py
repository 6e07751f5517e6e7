"""What a run of embeddings need not compute again, and what it leaves when it is cut short."""

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

from dino_assets.compute.threads import THREAD_PREFIX
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.embeddings.encoder.choosing import list_engines
from dino_assets.embeddings.encoder.ready import forget_encoders
from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.errors import DeviceMemoryError
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Part
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.verifying import verify
from dino_assets.tiles.grid import make_grid
from dino_assets.weights.stage import OUTPUT, checkpoint_of, draft_weights
from dino_assets_tests.worlds.embedding_bench import (
    COMPUTE,
    PHOTO_TILES,
    SIDE,
    Bench,
    Calls,
    PowerCut,
    vectors_of,
    write_photos,
)
from dino_assets_tests.worlds.store_doubles import WatchedStore

MakeBench = Callable[[ObjectStore], Bench]
BOTH = EmbeddingOptions(("cls", "mean"), "fp32")
FP32 = EmbeddingOptions(("cls",), "fp32")


# --- what is not computed again -------------------------------------------------------------


def test_draft_embeddings__rerun_calls_no_model(bench: Bench, calls: Calls):
    bench.commit()
    calls.reset()
    assert bench.commit().was_reused
    assert calls.all == 0


def test_draft_embeddings__a_lost_manifest_needs_no_model_call(bench: Bench, calls: Calls):
    bench.commit()
    manifest_bytes = bench.manifest_bytes()
    for info in list(bench.store.list("manifests/embeddings")):
        bench.store.delete(info.key)
    calls.reset()
    committed = bench.commit()
    assert (calls.all, bench.manifest_bytes()) == (0, manifest_bytes)
    assert committed.metadata == {"shards_reused": 3, "shards_made": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"options": EmbeddingOptions(("mean",))},
        {"options": EmbeddingOptions(("cls",), "fp32")},
        {"options": EmbeddingOptions(with_patches=True)},
        {"compute": replace(COMPUTE, precision="half")},
    ],
)
def test_draft_embeddings__other_settings_reuse_nothing(bench: Bench, calls: Calls, changes):
    bench.commit()
    calls.reset()
    committed = bench.commit(**changes)
    assert not committed.was_reused
    assert (sum(calls.of_run), committed.metadata["shards_reused"]) == (48, 0)
    is_other_space = "compute" in changes
    assert (committed.manifest.recipe.output.space != bench.space) == is_other_space


def test_draft_embeddings__another_side_is_another_space(bench: Bench, calls: Calls):
    bench.commit()
    bench.cut("d", make_grid(128))
    calls.reset()
    committed = bench.commit()
    assert sum(calls.of_run) == bench.tiles().num_rows == committed.manifest.rows
    assert committed.manifest.recipe.output.space != bench.space
    assert bench.table().drops == ("d",)  # the first space is still there


def test_draft_embeddings__another_checkpoint_is_another_space(
    bench: Bench, calls: Calls, tmp_path: Path
):
    bench.commit()
    other_folder = write_demo_checkpoint(tmp_path / "other", seed=1, dim=16, layers=2)
    commit(bench.store, draft_weights(other_folder, "tiny"))
    weights = read_manifest(bench.store, OUTPUT)
    assert checkpoint_of(weights).weights_sha256 != bench.checkpoint.weights_sha256
    calls.reset()
    committed = bench.commit(weights=weights)
    assert (sum(calls.of_run), committed.metadata["shards_reused"]) == (48, 0)
    assert committed.manifest.recipe.output.space != bench.space


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
    entries = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(entries | changes))
    commit(bench.store, draft_weights(folder, "tiny"))
    weights = read_manifest(bench.store, OUTPUT)
    assert checkpoint_of(weights).weights_sha256 == bench.checkpoint.weights_sha256
    calls.reset()
    committed = bench.commit(weights=weights, options=FP32)
    assert sum(calls.of_run) == 48
    bench.space = str(committed.manifest.recipe.output.space)
    assert (np.abs(vectors_of(bench) - before).max(axis=1) > 1e-5).all()


def test_draft_embeddings__order_and_versions_in_the_config_do_not_matter(
    bench: Bench, calls: Calls, checkpoint_dir: Path, tmp_path: Path
):
    bench.commit()
    folder = shutil.copytree(checkpoint_dir, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    config |= {"transformers_version": "9.9", "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    commit(bench.store, draft_weights(folder, "tiny"))
    assert bench.commit(weights=read_manifest(bench.store, OUTPUT)).was_reused


def test_draft_embeddings__warns_of_columns_that_are_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    bench.commit(options=EmbeddingOptions(("cls", "mean"), "fp32", with_patches=True))
    bench.commit(options=BOTH)
    assert "had patch maps; this run's configuration does not include it" in caplog.text
    bench.commit()
    assert "had column mean, fp32; this run's configuration does not include it" in caplog.text
    caplog.clear()
    bench.commit(options=BOTH)
    assert "does not include it" not in caplog.text


def fail_and_resume(six: Bench, calls: Calls, caplog: pytest.LogCaptureFixture, *, at: int) -> None:
    """A run that dies is taken up where it was, with the same bytes as one that did not."""
    six.commit()
    manifest_bytes = six.manifest_bytes()
    six.forget()
    calls.reset()
    calls.fail_at = at
    with pytest.raises(PowerCut):
        six.commit()
    assert six.table().drops == ()
    assert list(verify(six.store)) == []
    stored_shards = (at - 1) // 3  # a shard is one photograph of 16 tiles, six to a call
    assert sum(calls.of_run) <= PHOTO_TILES * (stored_shards + 1) + 2 * 6
    assert len(six.receipts()) == stored_shards
    calls.reset()
    caplog.set_level(logging.INFO)
    committed = six.commit()
    assert sum(calls.of_run) == PHOTO_TILES * (6 - stored_shards)
    assert committed.metadata["shards_reused"] == stored_shards
    assert committed.metadata["shards_made"] == 6 - stored_shards
    assert six.manifest_bytes() == manifest_bytes
    message = f"d: {stored_shards} of 6 shards are already stored and are reused, "
    assert (message + f"{PHOTO_TILES * (6 - stored_shards)} tiles to compute" in caplog.text) == (
        stored_shards > 0
    )
    assert f"shard 6 of 6, {stored_shards} reused" in caplog.text


@pytest.mark.parametrize("at", [1, 4, 18])
def test_draft_embeddings__resumes_at_the_shard(
    six: Bench, calls: Calls, caplog: pytest.LogCaptureFixture, at: int
):
    fail_and_resume(six, calls, caplog, at=at)


def test_draft_embeddings__resumes_on_every_store(
    six_anywhere: Bench, calls: Calls, caplog: pytest.LogCaptureFixture
):
    fail_and_resume(six_anywhere, calls, caplog, at=9)


def test_draft_embeddings__waits_for_a_slow_store(
    make_bench: MakeBench, tmp_path: Path, calls: Calls
):
    """So a kill costs one shard: no more than the next batches are computed before it is stored."""
    tile_counts: list[int] = []

    def note(verb: str, key: str) -> None:
        if verb == "put" and key.startswith("receipts/"):
            time.sleep(0.3)
            tile_counts.append(sum(calls.of_run))

    bench = make_bench(WatchedStore(ObjectStore.in_memory(), before=note))
    bench.add_drop("d", write_photos(tmp_path / "card", range(3)))
    bench.commit()
    assert len(tile_counts) == 3
    assert tile_counts[0] > PHOTO_TILES  # but nobody waits idly
    for number, tiles in enumerate(tile_counts):
        assert PHOTO_TILES * (number + 1) <= tiles <= PHOTO_TILES * (number + 1) + 2 * 6


def test_draft_embeddings__a_damaged_part_is_made_again(six: Bench, calls: Calls):
    six.commit()
    manifest_bytes = six.manifest_bytes()
    part = six.table().manifest("d").parts[2]
    six.store.put(part.key, b"rot")
    for info in list(six.store.list("manifests/embeddings")):
        six.store.delete(info.key)
    calls.reset()
    committed = six.commit()
    assert (sum(calls.of_run), committed.metadata["shards_reused"]) == (PHOTO_TILES, 5)
    assert six.manifest_bytes() == manifest_bytes
    assert list(verify(six.store)) == []


def test_draft_embeddings__a_resumed_drop_keeps_its_engine(bench: Bench, calls: Calls):
    """Its first shard is by PyTorch; auto would take another engine for the rest."""
    calls.fail_at = 5
    auto_compute = replace(COMPUTE, precision="half", engine="auto")
    best_spec = next(list_engines(auto_compute, bench.checkpoint, side_px=SIDE))
    with pytest.raises(PowerCut):
        bench.commit(compute=replace(auto_compute, engine="torch"))
    committed = bench.commit(compute=auto_compute)
    assert committed.metadata["shards_reused"] == 1
    assert best_spec.engine == "openvino"
    assert str(committed.manifest.facts["engine"]).startswith("torch ")
    assert "engines" not in committed.manifest.facts


# --- memory, and being cancelled ------------------------------------------------------------


class SmallDevice:
    """Wraps the engine's ``run_batch``: no room for more than ``most`` tiles at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, most: int, from_when: str) -> None:
        from dino_assets.embeddings.encoder.torch_engine import TorchEncoder

        inner = TorchEncoder.run_batch

        def run(encoder, tiles):
            is_run = threading.current_thread().name.startswith(THREAD_PREFIX)
            if len(tiles) > most and (is_run or from_when == "gate"):
                raise DeviceMemoryError("for the test")
            return inner(encoder, tiles)

        monkeypatch.setattr(TorchEncoder, "run_batch", run)
        forget_encoders()


@pytest.mark.parametrize("from_when", ["run", "gate"])
def test_draft_embeddings__out_of_memory_halves_the_batch(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    from_when: str,
    tmp_path: Path,
):
    bench.commit(options=EmbeddingOptions(("cls",), "fp32"))
    vectors = vectors_of(bench)
    bench.forget()
    SmallDevice(monkeypatch, most=2, from_when=from_when)
    try:
        committed = bench.commit(options=EmbeddingOptions(("cls",), "fp32"), cache=tmp_path / "new")
    finally:
        forget_encoders()  # its batch stays halved
    np.testing.assert_allclose(vectors_of(bench), vectors, atol=1e-5)
    assert committed.metadata["warnings"][-1] == "out of memory: continuing with 1 tiles per call"
    assert "d: out of memory: continuing with 1 tiles per call" in caplog.text


def test_draft_embeddings__not_enough_memory_for_one_tile(bench: Bench, monkeypatch):
    SmallDevice(monkeypatch, most=0, from_when="run")
    try:
        with pytest.raises(DeviceMemoryError):
            bench.commit()
    finally:
        forget_encoders()


def own_threads() -> set[str]:
    names = {thread.name for thread in threading.enumerate()}
    return {n for n in names if n.startswith(("map-ahead", "ThreadPool", "write"))}


class InterruptedWriter:
    """A writer that is interrupted when the third shard's part comes."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error
        self.parts = 0

    def part(self, part: Part) -> None:
        self.parts += 1
        if self.parts == 3:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, MemoryError])
def test_draft_embeddings__cancelled(
    make_bench: MakeBench,
    local_store: ObjectStore,
    tmp_path: Path,
    calls: Calls,
    error: type[BaseException],
):
    """No thread goes on, the store is sound, and the next run completes it."""
    six = make_bench(local_store).add_drop("d", write_photos(tmp_path / "card", range(6)))
    six.commit()
    manifest_bytes = six.manifest_bytes()
    six.forget()
    with pytest.raises(error):
        six.draft().produce(InterruptedWriter(error))
    assert own_threads() == set()
    assert list(verify(six.store)) == []
    assert six.table().drops == ()
    assert len(six.receipts()) >= 2
    calls.reset()
    committed = six.commit()
    assert committed.metadata["shards_reused"] >= 2
    assert six.manifest_bytes() == manifest_bytes


def test_draft_embeddings__after_an_error_no_thread_is_left(bench: Bench, calls: Calls):
    """Also while somebody holds on to the error."""
    calls.fail_at = 4
    with pytest.raises(PowerCut) as caught:
        bench.commit(shard_tiles=1000)
    assert own_threads() == set()
    assert caught.traceback  # held until here
