"""Checkpoints, and checks of what was shipped of them."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from dino_assets.embeddings.checking.checking import check_model
from dino_assets.embeddings.checking.opening import open_candidate
from dino_assets.embeddings.checking.reference import ReferenceModel
from dino_assets.embeddings.checking.report import ModelReport
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets_tests.worlds.networks import Sample, write_sample

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TINY = {"dim": 64, "layers": 3, "heads": 4, "statistics": IMAGENET, "is_sharp": True}
GetSample = Callable[..., Sample]
Check = Callable[[Path, Sample], ModelReport]


@pytest.fixture(scope="session")
def shipped_sample(tmp_path_factory: pytest.TempPathFactory) -> GetSample:
    """``shipped_sample(family)``: a tiny checkpoint, written once; with a ``change``, another one."""

    @cache
    def get(family: str, change: Callable[[Any], None] | None = None) -> Sample:
        folder = tmp_path_factory.mktemp("shipped") / family
        sample = write_sample(folder, family, **TINY)  # type: ignore[arg-type]
        side = 5 * sample.checkpoint.patch_px
        processor = folder / "preprocessor_config.json"
        size = {"size": {"height": side, "width": side}}
        processor.write_text(json.dumps(json.loads(processor.read_text()) | size))
        return change_weights(sample, change) if change else sample

    return get


def change_weights(sample: Sample, change: Callable[[Any], None]) -> Sample:
    """The checkpoint itself with other weights."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(sample.folder)
    with torch.no_grad():
        change(model)
    model.save_pretrained(sample.folder)
    return Sample(sample.folder, read_checkpoint(sample.folder, model="changed"))


@pytest.fixture(scope="session")
def check() -> Check:
    """``check(file, sample)``: what is said of the file."""

    @cache
    def open_reference(folder: Path) -> ReferenceModel:
        return ReferenceModel(folder, read_checkpoint(folder, model=folder.name))

    def run(path: Path, sample: Sample) -> ModelReport:
        candidate = open_candidate(path, threads=1)
        return check_model(candidate, sample.folder, open_reference(sample.folder), file=path.name)

    return run


def names(report: ModelReport) -> list[str]:
    """The names of what is wrong."""
    return [each.fault.name for each in report.faults]
