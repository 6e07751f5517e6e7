"""Stores of every kind, and a small limit of rows per part."""

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
    """One bucket for all tests: creating one takes longer than most of them."""
    return s3_settings(s3_endpoint, tmp_path_factory.mktemp("bucket"))


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of every kind that the commit protocol supports."""
    return _open(request, tmp_path)


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def swept_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of every kind, for tests of many hundreds of calls."""
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
