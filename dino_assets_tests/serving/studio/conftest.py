"""The studio's project, made once; tests that change it have a copy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets_tests.worlds.studio import (
    RunningStudio,
    StudioProject,
    make_project,
    running_studio,
)


@pytest.fixture(scope="session")
def made_project(tmp_path_factory, checkpoint_dir: Path, engine_cache: Path) -> StudioProject:
    folder = tmp_path_factory.mktemp("studio") / "project"
    return make_project(folder, checkpoint_dir, engine_cache)


@pytest.fixture
def studio_project(made_project: StudioProject, tmp_path: Path) -> StudioProject:
    return made_project.copy(tmp_path / "studio-project")


@pytest.fixture(scope="module")
def shared_project(made_project: StudioProject, tmp_path_factory) -> StudioProject:
    """A copy that the tests of a module share: each uses persons of its own."""
    return made_project.copy(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="module")
def studio(shared_project: StudioProject) -> Iterator[RunningStudio]:
    with running_studio(shared_project) as running:
        yield running
