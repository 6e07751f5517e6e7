from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.labels.stage.answers import put_answers
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.worlds.curation import CurationWorld

DROPS = ("ridge-north", "river-burn")


@pytest.fixture(scope="session")
def labelled_flights(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_dir: Path, engine_cache: Path
) -> CurationWorld:
    """Two drawn flights, embedded; every third tile has a class that follows from its vector."""
    folder = tmp_path_factory.mktemp("flights")
    draw_flights(folder, scale=0.3)
    sources = {name: FolderSource(folder / name, shown=name) for name in DROPS}
    store = ObjectStore.in_memory()
    world = CurationWorld.make(store, sources, checkpoint_dir, cache=engine_cache)
    label_tiles(world, list_classes(world, every=3))
    return world


def label_tiles(
    world: CurationWorld, classes: Mapping[str, str], *, by: str = "anna", after_s: int = 0
) -> None:
    """Put an answer about each tile, and commit the labels; a tile that is in no drop is of no photograph."""
    pool = read_pool(world.embeddings(), "cls")
    images = dict(zip(pool.tile_ids, pool.image_ids, strict=True))
    answers = [
        give(
            tile_target(tile_id, image_id=images.get(tile_id, "ab" * 32)),
            class_name,
            by=by,
            after_s=after_s + number,
        )
        for number, (tile_id, class_name) in enumerate(sorted(classes.items()))
    ]
    put_answers(world.store, answers)
    commit(world.store, draft_labels(world.store))


def list_classes(world: CurationWorld, *, every: int) -> dict[str, str]:
    """Name classes of some tiles, by the first principal component of their vectors."""
    pool = read_pool(world.embeddings(), "cls")
    centred = pool.vectors - pool.vectors.mean(axis=0)
    first = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    names = np.where(first > np.median(first), "bare", "wood")
    return {pool.tile_ids[row]: str(names[row]) for row in range(0, len(pool), every)}


@pytest.fixture
def world(labelled_flights: CurationWorld, short_trial: None) -> CurationWorld:
    return labelled_flights.copy()
