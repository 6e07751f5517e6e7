"""A Hub with one commit of a repository, and a folder to fetch it into."""

from pathlib import Path

import pytest

from dino_assets_tests.worlds.hub_server import HubServer
from dino_assets_tests.worlds.versions import REPO, version


@pytest.fixture
def hub(hub: HubServer) -> HubServer:
    hub.add(REPO, version(1))
    return hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "teacher"
