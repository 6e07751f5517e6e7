"""Fixtures that several tests here need."""

from pathlib import Path

import pytest

from dino_assets_tests.worlds.source_files import SECRET


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card's folder, and beside it a file that no source may read."""
    (tmp_path / "secret.jpg").write_bytes(SECRET)
    folder = tmp_path / "card"
    folder.mkdir()
    return folder
