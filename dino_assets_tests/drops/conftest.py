"""An inbox on disk and one in a bucket."""

from pathlib import Path

import pytest

from dino_assets.settings.records import StorageSettings
from dino_assets.store.objects import open_store
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.surveyed import Inbox


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    (tmp_path / "inbox").mkdir()
    return Inbox(tmp_path, open_store(StorageSettings(url="data", root=tmp_path)))


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path, monkeypatch) -> StorageSettings:
    settings = s3_settings(s3_endpoint, tmp_path)
    monkeypatch.setenv("MINIO_ENDPOINT", s3_endpoint)
    return settings
