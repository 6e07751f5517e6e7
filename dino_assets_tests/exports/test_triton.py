"""Model folders for Triton: the documents' values, and a real server that loads them."""

import re
import shutil
import subprocess
import urllib.error
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dino_assets.exports.placing import fill_folder
from dino_assets.exports.triton import Device, fill_model, name_model, write_config
from dino_assets_tests.worlds.exported import (
    ask_whole_model,
    draw_planes,
    hash_folder,
    read_manifest,
)
from dino_assets_tests.worlds.networks import Sample
from dino_assets_tests.worlds.triton_server import serving_triton, unpack_triton

ExportOf = Callable[..., tuple[Sample, Path]]


def describe(model: str = "facebook/dinov2-base", *, side: int = 518, dtype: str = "float32"):
    return {
        "model": {"model": model, "patch_px": 14},
        "side_px": side,
        "input": {"dtype": dtype},
    }


@pytest.mark.parametrize(
    ("manifest", "file", "name"),
    [
        (describe(), "model.onnx", "dinov2_base"),  # the documents' own name
        (describe(side=224), "model.onnx", "dinov2_base_224"),
        (describe(dtype="uint8"), "model.onnx", "dinov2_base_uint8"),
        (describe("/a/fólder/x y"), "model.pt", "x_y_torchscript"),
    ],
)
def test_name_model__includes_what_is_not_default(manifest, file: str, name: str):
    assert name_model(manifest, file=file) == name


def test_write_config__has_the_original_services_values():
    """A GPU and TensorRT are not tried here: their lines are the documents', letter by letter."""
    text = write_config(
        "dinov2_base",
        file="model.onnx",
        data_type="TYPE_FP32",
        dims_in=[3, 518, 518],
        dims_out=[1370, 768],
    )
    flat = re.sub(r"\s+", " ", text)
    for line in (
        'name: "dinov2_base" backend: "onnxruntime" max_batch_size: 8',
        'input [ { name: "pixel_values" data_type: TYPE_FP32 dims: [3, 518, 518] } ]',
        'output [ { name: "last_hidden_state" data_type: TYPE_FP32 dims: [1370, 768] } ]',
        "dynamic_batching { preferred_batch_size: [1, 2, 4, 8] max_queue_delay_microseconds: 100 }",
        "instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0 ] } ]",
        "optimization { execution_accelerators { gpu_execution_accelerator : "
        '[ { name : "tensorrt" } ] } }',
    ):
        assert line in flat
    cpu_config = write_config(
        "x",
        file="model.onnx",
        data_type="TYPE_FP32",
        dims_in=[3, 56, 56],
        dims_out=[17, 48],
        device="cpu",
    )
    assert "instance_group [ { count: 2 kind: KIND_CPU } ]" in re.sub(r"\s+", " ", cpu_config)
    assert "tensorrt" not in cpu_config
    torchscript_config = write_config(
        "x", file="model.pt", data_type="TYPE_UINT8", dims_in=[56, 56, 3], dims_out=[17, 48]
    )
    assert 'backend: "pytorch"' in torchscript_config
    assert "tensorrt" not in torchscript_config


def make_repository(
    export_of: ExportOf, repository: Path, *, device: Device = "cpu"
) -> tuple[Sample, str]:
    sample, folder = export_of("dinov2")
    manifest = read_manifest(folder)
    name = name_model(manifest)
    fill_folder(repository / name, lambda new: fill_model(folder, manifest, new, device=device))
    return sample, name


def test_fill_model__makes_a_triton_model_folder(export_of: ExportOf, tmp_path: Path):
    _, name = make_repository(export_of, tmp_path)
    files = hash_folder(tmp_path / name)
    assert {"config.pbtxt", "1/model.onnx", "1/model.onnx.data", "LICENSE.md"} <= set(files)
    assert "dims: [17, 48]" in (tmp_path / name / "config.pbtxt").read_text()
    manifest = read_manifest(tmp_path / name)
    manifest_digests = {file: value["sha256"] for file, value in manifest["files"].items()}
    assert manifest_digests == {file: sha for file, sha in files.items() if file != "manifest.json"}
    assert manifest["spaces"]
    make_repository(export_of, tmp_path)  # once more: an earlier one is replaced
    assert hash_folder(tmp_path / name) == files


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return unpack_triton(tmp_path_factory.mktemp("triton"))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        pytest.skip(f"Triton cannot be downloaded here: {str(err.stderr)[-300:]}")


@pytest.mark.slow
def test_triton__loads_answers_and_batches(export_of: ExportOf, unpacked: Path, tmp_path: Path):
    sample, name = make_repository(export_of, tmp_path / "models")
    with serving_triton(unpacked, tmp_path / "models", tmp_path / "run") as triton:
        assert triton.is_ready(f"models/{name}/ready"), triton.log.read_text()[-3000:]
        metadata = triton.ask(f"models/{name}")
        shape = {"datatype": "FP32", "name": "pixel_values", "shape": [-1, 3, 56, 56]}
        assert metadata["inputs"] == [shape]
        assert metadata["outputs"] == [
            {"datatype": "FP32", "name": "last_hidden_state", "shape": [-1, 17, 48]}
        ]
        config = triton.ask(f"models/{name}/config")
        assert (config["max_batch_size"], config["backend"]) == (8, "onnxruntime")
        assert config["dynamic_batching"]["preferred_batch_size"] == [1, 2, 4, 8]
        assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100
        (group,) = config["instance_group"]
        assert (group["count"], group["kind"]) == (2, "KIND_CPU")
        for batch in (1, 3, 8):
            planes = draw_planes(batch, 56)
            output = triton.infer(name, planes)
            np.testing.assert_allclose(output, ask_whole_model(sample, planes), rtol=0, atol=1e-4)
        with pytest.raises(urllib.error.HTTPError) as caught:  # more than max_batch_size
            triton.infer(name, draw_planes(9, 56))
        assert caught.value.code in (400, 500)
        requests_before = sum(map(sum, triton.list_batches()))
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda _: triton.infer(name, draw_planes(1, 56)), range(200)))
        calls = triton.list_batches()
        assert sum(map(sum, calls)) - requests_before == 200
        assert max(map(len, calls)) > 1  # requests are put together
        assert max(map(sum, calls)) <= 8


@pytest.mark.slow
def test_triton__needs_the_configured_gpu(export_of: ExportOf, unpacked: Path, tmp_path: Path):
    """As far as a machine without one goes: the server reads the lines and misses that very card."""
    _, name = make_repository(export_of, tmp_path / "models", device="gpu")
    with serving_triton(unpacked, tmp_path / "models", tmp_path / "run") as triton:
        if not triton.is_ready(f"models/{name}/ready"):
            assert f"{name}_0 of model {name} specifies invalid or unsupported gpu id 0" in (
                triton.log.read_text()
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("dims: [17, 48]", "dims: []"),
        ("max_batch_size: 8", "max_batch_size: eight"),
        ("dims: [3, 56, 56]", "dims: [3, 56, -7]"),
    ],
)
def test_triton__refuses_a_wrong_config(
    export_of: ExportOf, unpacked: Path, tmp_path: Path, good: str, bad: str
):
    _, name = make_repository(export_of, tmp_path / "models")
    wrong_model = tmp_path / "models" / "wrong"
    shutil.copytree(tmp_path / "models" / name, wrong_model)
    config = (wrong_model / "config.pbtxt").read_text().replace(f'"{name}"', '"wrong"')
    assert good in config
    (wrong_model / "config.pbtxt").write_text(config.replace(good, bad))
    with serving_triton(unpacked, tmp_path / "models", tmp_path / "run") as triton:
        assert triton.is_ready(f"models/{name}/ready")
        assert not triton.is_ready("models/wrong/ready")
