"""Models, folders and files to import."""

from pathlib import Path
from typing import Any

import pytest

from dino_assets_tests.worlds.original_files import write
from dino_assets_tests.worlds.originals import State, as_meta_v3, make_model


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model("dinov3_vit")


@pytest.fixture
def saved(tmp_path: Path, model: Any) -> Path:
    """A folder as written by `save_pretrained`: without preprocessor, card and licence."""
    model.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.fixture(scope="module")
def state() -> State:
    return as_meta_v3(make_model("dinov3_vit"))


@pytest.fixture
def source(tmp_path: Path, state: State) -> Path:
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "weights.pth", state)
