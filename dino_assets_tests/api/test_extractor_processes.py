"""Extractors in other processes: pickled, copied, and after a fork."""

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dino_assets import CachedExtractor, DINOv2Extractor
from dino_assets.errors import ConfigError
from dino_assets_tests.worlds.networks import Sample
from dino_assets_tests.worlds.pictures import write_pictures

_inherited: list[DINOv2Extractor] = []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images")


def make(kind: type[DINOv2Extractor], sample: Sample, **options: Any) -> DINOv2Extractor:
    return kind(model_name=str(sample.folder), device="cpu", precision="fp32", **options)


def embed(extractor: DINOv2Extractor, folder: Path) -> tuple[list[list[float]], list[str]]:
    embeddings, ids = extractor.extract_from_directory(folder)
    return embeddings.tolist(), ids


def embed_inherited(folder: Path) -> str:
    try:
        embed(_inherited[0], folder)
    except ConfigError as err:
        return err.reason
    return "computed"


def through_pickle(extractor: DINOv2Extractor) -> DINOv2Extractor:
    return pickle.loads(pickle.dumps(extractor))  # noqa: S301 - our own


@pytest.mark.parametrize("copying", [copy.deepcopy, through_pickle])
def test_extractor__copies_and_pickles_embed(copying, tiny, folder, tmp_path):
    for extractor in (
        make(DINOv2Extractor, tiny),
        make(CachedExtractor, tiny, cache_dir=tmp_path / "cache"),
    ):
        wanted = embed(extractor, folder)
        assert embed(copying(extractor), folder) == wanted


def test_extractor__pickle_holds_no_weights(small):
    extractor = make(DINOv2Extractor, small)
    extractor.extract_batch(torch.zeros(1, 3, 224, 224))
    assert len(pickle.dumps(extractor)) < 20_000


def test_extractor__in_a_spawned_process(tiny, folder):
    extractor = make(DINOv2Extractor, tiny)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(embed, (extractor, folder)).get(timeout=120)
    assert result == embed(extractor, folder)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on
def test_extractor__does_not_hang_in_a_fork(tiny, folder):
    pytest.importorskip("openvino")
    extractor = make(DINOv2Extractor, tiny)
    embed(extractor, folder)
    if "openvino" not in extractor.describe()["engine"]:
        pytest.skip("another engine computes here")
    _inherited[:] = [extractor]
    try:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(embed_inherited, (folder,)).get(timeout=60) == "forked"
    finally:
        _inherited.clear()
