"""A project with cards, and a run config without UMAP, which would take most of the time."""

import json
from pathlib import Path

import pytest

from dino_assets_tests.worlds.ui import LINEAR


@pytest.fixture
def cards(project: Path, write_photo, ready_engines: None) -> Path:
    """Photographs in `cards/a` and `cards/b`, and a file that is no picture in `cards/bad`."""
    for seed, name in enumerate(("a", "b")):
        write_photo(project / "cards" / name / "DJI_0001.JPG", 1100, 700, seed=seed)
    (project / "cards" / "bad").mkdir()
    (project / "cards" / "bad" / "DJI_0001.JPG").write_text("not a picture")
    (project / "linear.json").write_text(json.dumps(LINEAR))
    return project
