"""Exports that several tests open; nobody writes into them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets.exports.onnx import export_onnx
from dino_assets.exports.placing import fill_folder
from dino_assets.exports.settings import make_settings
from dino_assets_tests.worlds.networks import FAMILIES, Sample, write_sample


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sample]:
    samples: dict[str, Sample] = {}

    def get(family: str) -> Sample:
        if family not in samples:
            folder = tmp_path_factory.mktemp("network")
            (folder / "LICENSE.md").write_text("the licence of the weights\n")
            (folder / "README.md").write_text("---\nlicense: other\n---\n")
            samples[family] = write_sample(folder, family)  # type: ignore[arg-type]
        return samples[family]

    return get


@pytest.fixture(scope="session")
def export_of(
    sample_of: Callable[[str], Sample], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Sample, Path]]:
    """Export a tiny network at four patches (its own side has five), once for equal arguments."""
    folders: dict[str, Path] = {}

    def get(family: str, *, torchscript: bool = False, **values: object) -> tuple[Sample, Path]:
        sample, key = sample_of(family), f"{family} {torchscript} {sorted(values.items())}"
        if key not in folders:
            folder = tmp_path_factory.mktemp("exports") / "model"
            settings = make_settings(side=4 * sample.checkpoint.patch_px, **values)
            fill_folder(
                folder,
                lambda new: export_onnx(
                    sample.folder, sample.checkpoint, settings, new, with_torchscript=torchscript
                ),
            )
            folders[key] = folder
        return sample, folders[key]

    return get


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param
