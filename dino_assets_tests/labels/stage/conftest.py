from pathlib import Path

import pytest

from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.labelling import LabelWorld, make_label_world


@pytest.fixture
def world(tmp_path: Path) -> LabelWorld:
    """A flight and a round of five tiles, without labels."""
    return make_label_world(ObjectStore.in_memory(), tmp_path / "flight")
