"""Small parts, so that a few rows make several, and stores for tests of many steps."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits import tables
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import s3_settings


@pytest.fixture(scope="session")
def s3_bucket(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> StorageSettings:
    """One bucket for all: making one takes longer than most of the tests."""
    return s3_settings(s3_endpoint, tmp_path_factory.mktemp("bucket"))


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every kind of store the protocol is promised for, empty."""
    return _open(request, tmp_path)


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def swept_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """The same, for tests that go through hundreds of calls again and again."""
    return _open(request, tmp_path)


def _open(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return open_store(StorageSettings(url="store", root=tmp_path))
    if request.param == "memory":
        return ObjectStore.in_memory()
    bucket: StorageSettings = request.getfixturevalue("s3_bucket")
    return open_store(replace(bucket, url=f"{bucket.url}/{uuid.uuid4().hex}"))


@pytest.fixture
def two_rows_per_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_PART_ROWS", 2)
