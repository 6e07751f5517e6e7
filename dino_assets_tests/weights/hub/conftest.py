"""Location of a checkpoint of the test's Hub, with short waits that are recorded."""

from pathlib import Path

import numpy as np
import pytest

from dino_assets.weights.hub.transfer import TransferRetries
from dino_assets_tests.worlds.finding import (
    REPO,
    find_checkpoint,
)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def find(tmp_path: Path, waits: list[float]):
    def call(model: str = REPO, **arguments: object) -> Path:
        retries = TransferRetries(
            attempts=4, stall_s=20, sleep=waits.append, rng=np.random.default_rng(0)
        )
        return find_checkpoint(model, root=tmp_path, retries=retries, **arguments)

    return call
