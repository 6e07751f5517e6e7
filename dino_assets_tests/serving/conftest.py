"""What the tests of the service share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.ready import open_encoder
from dino_assets.serving.computing.engines import OUTPUTS, EngineSet
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.serving import Painter, Served, make_settings, serving

Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path, local_store: ObjectStore) -> Iterator[Serve]:
    """``serve(engines, store=…, settings=…)``: a running service that ends with the test."""
    with ExitStack() as running:

        def start(
            engines: Any = None,
            *,
            store: ObjectStore | None = None,
            settings: Any = None,
            **options: Any,
        ) -> Served:
            settings = settings or make_settings(tmp_path)
            return running.enter_context(
                serving(settings, store or local_store, engines or Painter(), **options)
            )

        yield start


@pytest.fixture(scope="session")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small real DINOv2: 48 dims, 518 px a tile, 1369 patches."""
    return write_sample(tmp_path_factory.mktemp("dinov2") / "base", "dinov2")


@pytest.fixture(scope="session")
def dinov2_engines(dinov2: Any, engine_cache: Path) -> EngineSet:
    """Its engine, held against the reference as a service does it."""
    compute = ComputeSettings(device="cpu", threads=2, engine="torch", precision="fp32", batch=1)
    return EngineSet([open_encoder(dinov2.at(518, OUTPUTS), compute, cache=engine_cache).encoder])
