"""Fixtures of the Python API's tests: an engine cache and small models."""

from pathlib import Path

import pytest

from dino_assets_tests.worlds.networks import Sample, write_sample


@pytest.fixture(autouse=True)
def engine_home(engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine cache for the whole session, outside the home folder."""
    monkeypatch.setenv("HF_HOME", str(engine_cache))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """One layer of DINOv2 S/14 with seeded weights."""
    folder = tmp_path_factory.mktemp("small")
    return write_sample(folder, "dinov2", dim=384, heads=6, layers=1, native_px=518)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A network of 48 dims, for tests that do not depend on the model."""
    return write_sample(tmp_path_factory.mktemp("tiny"), "dinov3_vit")
