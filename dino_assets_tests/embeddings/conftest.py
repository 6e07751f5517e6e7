"""What the tests of ``embeddings`` share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.embedding_bench import Bench, Calls, write_photos

MakeBench = Callable[[ObjectStore], Bench]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.fixture
def make_bench(checkpoint_dir: Path, engine_cache: Path, short_trial: None) -> MakeBench:
    """``make_bench(store)``: no drop yet."""
    return lambda store: Bench(store, checkpoint_dir, engine_cache)


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
