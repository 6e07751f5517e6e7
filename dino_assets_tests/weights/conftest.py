"""Checkpoint folders of the weights' tests."""

import shutil
from pathlib import Path

import pytest

from dino_assets_tests.worlds.checkpoint_folders import write_model


@pytest.fixture(scope="module")
def sharded_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    write_model(folder, "dinov2", is_sharded=True)
    return folder


@pytest.fixture
def single(checkpoint_dir: Path, tmp_path: Path) -> Path:
    """A copy of the demo checkpoint: DINOv3, 16 dims, 2 layers, 4 registers."""
    return Path(shutil.copytree(checkpoint_dir, tmp_path / "single"))


@pytest.fixture
def sharded(sharded_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded_dir, tmp_path / "sharded"))
