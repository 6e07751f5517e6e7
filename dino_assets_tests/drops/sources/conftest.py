"""A card's folder, and one without root's rights."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets_tests.worlds.cards import SECRET


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card's folder, and beside it a file that no source may read."""
    (tmp_path / "secret.jpg").write_bytes(SECRET)
    folder = tmp_path / "card"
    folder.mkdir()
    return folder


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder reached without root's rights, which would open anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        if os.geteuid():
            yield folder
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)
