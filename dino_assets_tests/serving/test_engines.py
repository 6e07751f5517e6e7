"""The served model: its location, its name, and its engines' batch shapes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.errors import CheckpointNotFoundError
from dino_assets.serving.computing.engines import (
    OUTPUTS,
    EngineSet,
    choose_shapes,
    locate_model,
    name_model,
)
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.stage import draft_weights
from dino_assets_tests.worlds.networks import draw_tiles, spec
from dino_assets_tests.worlds.serving import SMALL_CHECKPOINT, make_settings

BASE = replace(SMALL_CHECKPOINT, dim=768, patch_px=14)


def test_choose_shapes__one_on_a_cpu_several_on_a_gpu():
    assert choose_shapes("cpu", BASE, 518) == (1,)
    assert choose_shapes("cuda", BASE, 518) == (1, 8, 47)
    assert choose_shapes("cuda", replace(BASE, patch_px=1), 200) == (1,)  # 40,001 tokens a tile


def test_encode__uses_the_smallest_shape_that_holds_the_tiles(dinov2):
    source = dinov2.at(70, OUTPUTS)
    engines = EngineSet([build_engine(source, spec("torch", "fp32", batch=n)) for n in (4, 1)])
    assert engines.shapes == (1, 4)
    tiles = draw_tiles(6, 70)
    single_cls = np.concatenate([engines.encode(tile[None])["cls"] for tile in tiles])
    for count in (1, 2, 4, 6):
        tokens = engines.encode(tiles[:count])
        np.testing.assert_allclose(tokens["cls"], single_cls[:count], atol=1e-5)
        assert tokens["patches"].shape == (count, 25, 48)
    assert engines.measure_tile_s() > 0
    assert not engines.widen()  # only OpenVINO can give one call all threads
    assert (engines.name, engines.device) == ("torch fp32 on cpu", "cpu")


def test_app__imports_neither_dagster_nor_torch():
    """`/health` must not wait for the import of libraries that only the model needs."""
    libraries = "{'dagster', 'torch', 'transformers', 'pandas', 'openvino'}"
    code = f"import sys, dino_assets.serving.app; print({libraries} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == "set()", process.stderr


@pytest.mark.slow
def test_open_engines__cached_engines_need_no_torch(project: Path):
    """torch is imported only to convert and check an engine, once per machine."""
    code = """
import sys
from dino_assets.serving.computing.engines import open_engines
from dino_assets.serving.lifespan import open_serving_store
from dino_assets.settings.environment import load_settings
settings = load_settings()
_, engines = open_engines(settings, open_serving_store(settings.storage))
assert engines.measure_tile_s() > 0
print(sorted({"dagster", "torch", "transformers", "pandas", "scipy", "openvino"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    for _ in range(2):
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "['openvino']"


@pytest.mark.parametrize(
    ("model", "name"),
    [("dinov2-base", "facebook/dinov2-base"), ("org/model", "org/model"), ("models/mine", "mine")],
)
def test_name_model__repository_or_last_part_of_a_folder(tmp_path: Path, model, name):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert name_model(replace(make_settings(tmp_path), model=model)) == name
    path_settings = replace(make_settings(tmp_path), model=str(tmp_path / "models" / "mine"))
    assert name_model(path_settings) == "mine"


def test_locate_model__uses_the_stores_copy_if_the_hub_is_unreachable(
    tmp_path: Path, checkpoint_dir, monkeypatch
):
    """If the store has the weights, no network is needed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    settings = replace(make_settings(tmp_path), model="dinov2-base")
    store = ObjectStore.in_memory()
    with pytest.raises(CheckpointNotFoundError):
        locate_model(settings, store)
    commit(store, draft_weights(checkpoint_dir, "dinov2-base"))
    folder, checkpoint = locate_model(settings, store)
    assert checkpoint.dim == 16
    assert (folder / "model.safetensors").is_file()
