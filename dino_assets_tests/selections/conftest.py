from pathlib import Path

import pytest

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.curation import CurationWorld

DROPS = ("ridge-north", "river-burn")


@pytest.fixture(scope="session")
def flights(tmp_path_factory) -> Path:
    # 1200×900 px: more than 1024 on a side, so these are tiled.
    folder = tmp_path_factory.mktemp("flights")
    draw_flights(folder, scale=0.3)
    return folder


@pytest.fixture(scope="session")
def embedded_flights(flights: Path, checkpoint_dir: Path, engine_cache: Path) -> CurationWorld:
    """Made once; each test has a copy of its own."""
    store = ObjectStore.in_memory()
    sources = {name: FolderSource(flights / name, shown=name) for name in DROPS}
    return CurationWorld.make(store, sources, checkpoint_dir, cache=engine_cache)


@pytest.fixture
def world(embedded_flights: CurationWorld, short_trial: None) -> CurationWorld:
    return embedded_flights.copy()
