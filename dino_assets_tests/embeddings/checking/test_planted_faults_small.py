"""Five faults at the size of a ViT-S/14 and S/16, at 224 px: each named in less than a minute.

Times are not asserted: `python -m pytest -m slow --durations=0` on this file prints them, the export's
apart, since it is a fixture.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dino_assets_tests.embeddings.checking.conftest import Check, change_weights, names
from dino_assets_tests.embeddings.checking.test_planted_faults import HALF
from dino_assets_tests.worlds.model_faults import SHIPMENTS, enlarge_hidden, quantise
from dino_assets_tests.worlds.model_files import write_onnx
from dino_assets_tests.worlds.networks import Sample, write_sample

pytestmark = pytest.mark.slow
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# One of each family, and one of each way to plant a fault; `test_planted_faults.py` has all, on tiny models.
FAMILY_BY_FAULT = {
    "RoPE halves swapped": "dinov3_vit",
    "registers among patches": "dinov2_with_registers",
    "LayerNorm epsilon of PyTorch": "dinov2",
    "overflow": "dinov2",
    "int8-collapse": "dinov3_vit",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sample]:
    """``small(family)``: a ViT-S of the published architecture, lively random weights."""
    samples: dict[str, Sample] = {}

    def get(family: str) -> Sample:
        if family not in samples:
            folder = tmp_path_factory.mktemp("small") / family
            native = 224 if family == "dinov3_vit" else 518
            samples[family] = write_sample(
                folder, family, dim=384, layers=12, heads=6, native_px=native, statistics=IMAGENET
            )
        return samples[family]

    return get


@pytest.fixture
def shipped(request: Any, small: Callable[..., Sample], tmp_path: Path) -> tuple[Path, Sample, str]:
    """A file with a fault, its checkpoint, and the fault's name."""
    words = request.param
    sample = small(FAMILY_BY_FAULT[words])
    if words in SHIPMENTS:
        shipment = SHIPMENTS[words]
        with shipment.around():
            file = write_onnx(
                sample, tmp_path / "m.onnx", shipment.shipped(sample.checkpoint), side=224
            )
        return file, sample, shipment.named
    if words == "overflow":
        folder = tmp_path / "large"
        folder.mkdir()
        for path in sample.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        sample = change_weights(Sample(folder, sample.checkpoint), enlarge_hidden)
        return write_onnx(sample, tmp_path / "m.onnx", HALF, side=224), sample, words
    float_file = write_onnx(sample, tmp_path / "whole.onnx", side=224)
    return quantise(float_file, tmp_path / "m.onnx", side=224), sample, words


@pytest.mark.parametrize("shipped", FAMILY_BY_FAULT, indirect=True)
def test_check_model__names_the_planted_fault(shipped: tuple[Path, Sample, str], check: Check):
    file, sample, named = shipped
    assert names(check(file, sample)) == [named]
