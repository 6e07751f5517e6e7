"""Checkpoints that the engines' tests share; nobody writes into them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets.records import Checkpoint
from dino_assets_tests.core.encoder.networks import FAMILIES, Sample, write_sample


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sample]:
    """Write a checkpoint, or give the one that was written with the same arguments."""
    written: dict[str, Sample] = {}

    def get(family: str, **options: object) -> Sample:
        key = f"{family} {sorted(options.items())}"
        if key not in written:
            folder: Path = tmp_path_factory.mktemp("network")
            written[key] = write_sample(folder, family, **options)  # type: ignore[arg-type]
        return written[key]

    return get


@pytest.fixture(params=FAMILIES)
def tiny(request: pytest.FixtureRequest, sample_of: Callable[..., Sample]) -> Sample:
    """A tiny network of each family."""
    return sample_of(request.param)


@pytest.fixture
def one_tiny(sample_of: Callable[..., Sample]) -> Sample:
    """A tiny network, where the family does not matter."""
    return sample_of("dinov3_vit")


@pytest.fixture(scope="session")
def one_tiny_checkpoint(sample_of: Callable[..., Sample]) -> Checkpoint:
    """What the tiny network of ``one_tiny`` is."""
    return sample_of("dinov3_vit").checkpoint
