"""Checkpoints that the engines' tests share; nobody writes into them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets.weights.records import Checkpoint
from dino_assets_tests.worlds.networks import FAMILIES, Sample, write_sample
from dino_assets_tests.worlds.trials import IMAGENET, Trial, try_out

SampleOf = Callable[..., Sample]


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sample]:
    """Write a checkpoint, or give the one that was written with the same arguments."""
    samples: dict[str, Sample] = {}

    def get(family: str, **options: object) -> Sample:
        key = f"{family} {sorted(options.items())}"
        if key not in samples:
            folder: Path = tmp_path_factory.mktemp("network")
            samples[key] = write_sample(folder, family, **options)  # type: ignore[arg-type]
        return samples[key]

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


@pytest.fixture(scope="session")
def trial_of(sample_of: SampleOf) -> Callable[..., Trial]:
    trials: dict[str, Trial] = {}

    def get(family: str, *, patches: int = 7, **options: object) -> Trial:
        key = f"{family} {patches} {sorted(options.items())}"
        if key not in trials:
            sizes = {"dim": 128, "layers": 4, "heads": 4, "statistics": IMAGENET, **options}
            sample = sample_of(family, **sizes)
            trials[key] = try_out(sample, patches * sample.checkpoint.patch_px)
        return trials[key]

    return get


@pytest.fixture(params=FAMILIES)
def sharp_trial(request: pytest.FixtureRequest, trial_of: Callable[..., Trial]) -> Trial:
    """Places and registers are told by attention alone: here it is as uneven as a trained one's."""
    return trial_of(request.param, is_sharp=True)


@pytest.fixture(params=FAMILIES)
def trial(request: pytest.FixtureRequest, trial_of: Callable[..., Trial]) -> Trial:
    return trial_of(request.param)
