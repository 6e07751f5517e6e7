"""Committed checkpoints restored as folders."""

from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.writing import commit
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.stage import checkpoint_folder, checkpoint_of, draft_weights
from dino_assets_tests.worlds.raising import raising


def test_checkpoint_folder__round_trip(store, tmp_path, checkpoint_dir):
    manifest = commit(store, draft_weights(checkpoint_dir, "tiny")).manifest
    folder = checkpoint_folder(store, manifest, cache=tmp_path / "cache")
    assert read_checkpoint(folder, model="tiny") == checkpoint_of(manifest)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert checkpoint_folder(store, manifest, cache=tmp_path / "cache") == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_checkpoint_folder__flipped_byte(local_store, tmp_path, checkpoint_dir):
    manifest = commit(local_store, draft_weights(checkpoint_dir, "tiny")).manifest
    part = max(manifest.parts, key=lambda p: p.bytes)
    data = bytearray(local_store.get(part.key))
    data[-1] ^= 1
    local_store.put(part.key, bytes(data))
    with raising(CorruptObjectError, key=part.key, is_gone=False):
        checkpoint_folder(local_store, manifest, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
