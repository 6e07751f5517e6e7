"""Farthest tiles over drops, each read by a process: the same result for any number of processes."""

from pathlib import Path

import numpy as np
import pytest

from dino_assets.compute.processes import Workers
from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.stage.farthest_shards import EmbeddedDrops, choose_farthest_tiles
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import open_store
from dino_assets_tests.worlds.large_stores import DrawnVectors, write_embedded

COUNT = 25


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedDrops:
    """Four drops of 400 tiles on a disk."""
    root = tmp_path_factory.mktemp("drops")
    (root / "dagster.yaml").touch()
    write_embedded(root, drops=4, tiles_per_drop=400, vectors=DrawnVectors(48))
    storage = StorageSettings(url="data", root=root)
    (space,) = list_spaces(open_store(storage), "embeddings")
    return EmbeddedDrops(storage, str(space))


@pytest.mark.parametrize("processes", [1, 2])
def test_choose_farthest_tiles__the_radius_is_that_of_all_tiles(
    source: EmbeddedDrops, processes: int
):
    workers = Workers()
    try:
        chosen = choose_farthest_tiles(source, COUNT, workers=workers, devices=("cpu",) * processes)
    finally:
        workers.close()
    pool = read_pool(
        open_table(open_store(source.storage), "embeddings", space=source.space), "cls"
    )
    vectors = scale_to_unit(pool.vectors)
    place = {pair: row for row, pair in enumerate(zip(pool.drops, pool.tile_ids, strict=True))}
    rows = [place[tile] for tile in chosen.tiles]
    apart = np.linalg.norm(vectors[:, None] - vectors[rows][None], axis=2)
    assert len(set(rows)) == COUNT
    assert chosen.radius == pytest.approx(float(apart.min(axis=1).max()), abs=1e-5)
    assert chosen.least_radius <= chosen.radius <= chosen.bound
    earlier = [apart[row, :step].min() for step, row in enumerate(rows) if step]
    assert list(chosen.distances[1:]) == pytest.approx(earlier, abs=1e-5)


def test_choose_farthest_tiles__more_processes_give_the_same(source: EmbeddedDrops, tmp_path: Path):
    results = []
    for processes in (1, 2):
        workers = Workers()
        try:
            results.append(
                choose_farthest_tiles(source, COUNT, workers=workers, devices=("cpu",) * processes)
            )
        finally:
            workers.close()
    assert results[0] == results[1]
