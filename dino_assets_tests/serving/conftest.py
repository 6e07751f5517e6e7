"""Fixtures of the service's tests: stores, running services, a small model."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.ready import open_encoder
from dino_assets.serving.computing.engines import OUTPUTS, EngineSet
from dino_assets.settings.records import StorageSettings
from dino_assets.store.buckets import create_bucket
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.other_stores import azurite, make_container, swift
from dino_assets_tests.worlds.serving import Painter, Served, make_settings, serving

Serve = Callable[..., Served]


@dataclass(frozen=True)
class Place:
    """A store, and the environment that gives it to a service in another process."""

    store: ObjectStore
    environment: dict[str, str]
    uri: str  # the beginning of an embedding's address


SLOW_PLACES = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "swift", "azurite")]


@pytest.fixture(params=["disk", *SLOW_PLACES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every supported kind of store: each a real server, and empty."""
    if request.param == "disk":
        storage = StorageSettings(url="data", root=tmp_path)
        return Place(open_store(storage), {}, "data")
    if request.param == "azurite":
        connection: str = request.getfixturevalue("azurite_connection")
        bucket = f"b{uuid.uuid4().hex}"
        make_container(connection, bucket)
        storage = StorageSettings(f"az://{bucket}", tmp_path, azure_connection_string=connection)
        variables = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        environment = {"USE_MINIO": "false", "EMBED_BUCKET": bucket, **variables}
        return Place(open_store(storage), environment, storage.url)
    if request.param == "swift":
        server: StorageSettings = request.getfixturevalue("swift_storage")
        storage = replace(server, url=f"minio://b{uuid.uuid4().hex}")
        create_bucket(storage)
    else:
        storage = s3_settings(request.getfixturevalue("s3_endpoint"), tmp_path)
    variables = {
        "DINO_STORAGE": storage.url,
        "MINIO_ENDPOINT": str(storage.endpoint),
        "MINIO_ACCESS_KEY": str(storage.access_key),
        "MINIO_SECRET_KEY": str(storage.secret_key),
    }
    return Place(open_store(storage), variables, storage.url)


@pytest.fixture(scope="session")
def azurite_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as connection:
        yield connection


@pytest.fixture(scope="session")
def swift_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageSettings]:
    with swift(tmp_path_factory.mktemp("swift")) as storage:
        yield storage


@pytest.fixture
def serve(tmp_path: Path, local_store: ObjectStore) -> Iterator[Serve]:
    """``serve(engines, store=…, settings=…)``: a running service that ends with the test."""
    with ExitStack() as stack:

        def start(
            engines: Any = None,
            *,
            store: ObjectStore | None = None,
            settings: Any = None,
            **options: Any,
        ) -> Served:
            settings = settings or make_settings(tmp_path)
            return stack.enter_context(
                serving(settings, store or local_store, engines or Painter(), **options)
            )

        yield start


@pytest.fixture(scope="session")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small real DINOv2: 48 dims, 518 px a tile, 1369 patches."""
    return write_sample(tmp_path_factory.mktemp("dinov2") / "base", "dinov2")


@pytest.fixture(scope="session")
def dinov2_engines(dinov2: Any, engine_cache: Path) -> EngineSet:
    """The engines of `dinov2`, checked against the reference as in a service."""
    compute = ComputeSettings(device="cpu", threads=2, engine="torch", precision="fp32", batch=1)
    return EngineSet([open_encoder(dinov2.at(518, OUTPUTS), compute, cache=engine_cache).encoder])
