"""What cannot be opened is refused by name."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from dino_assets.embeddings.checking.candidates import form_input
from dino_assets.embeddings.checking.opening import open_candidate
from dino_assets.errors import InvalidCheckpointError, InvalidModelFileError
from dino_assets_tests.embeddings.checking.conftest import GetSample
from dino_assets_tests.worlds.model_files import write_ir, write_onnx, write_traced_onnx


@pytest.mark.parametrize("name", ["absent.onnx", "model.pt", "model.onnx", "model.xml", "folder"])
def test_open_candidate__refuses_other_files(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    for file_name in ("model.pt", "model.onnx", "model.xml"):
        (tmp_path / file_name).write_bytes(b"\x08\x07not a model")
    with pytest.raises(InvalidModelFileError) as caught:
        open_candidate(tmp_path / name, threads=1)
    assert caught.value.file == name
    assert str(tmp_path) not in str(caught.value)


def test_open_candidate__without_its_weights(shipped_sample: GetSample, tmp_path: Path):
    graph = write_onnx(shipped_sample("dinov2"), tmp_path / "m.onnx", side=70)
    for path in tmp_path.glob("m.onnx?*"):
        path.unlink()
    network = write_ir(shipped_sample("dinov2"), tmp_path / "n.xml", side=70)
    network.with_suffix(".bin").unlink()
    for file in (graph, network):
        with pytest.raises(InvalidModelFileError):
            open_candidate(file, threads=1)


def test_open_candidate__folder_with_one_file(shipped_sample: GetSample, tmp_path: Path):
    """As an export leaves it: its papers are a checkpoint's, without the weights."""
    sample = shipped_sample("dinov2")
    write_onnx(sample, tmp_path / "m.onnx", side=70)
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((sample.folder / name).read_bytes())
    assert open_candidate(tmp_path, threads=1).kind == "ONNX"


def test_open_candidate__folder_whose_weights_do_not_fit(shipped_sample: GetSample, tmp_path: Path):
    for path in shipped_sample("dinov3_vit").folder.iterdir():
        (tmp_path / path.name).write_bytes(
            path.read_bytes().replace(b'"num_register_tokens": 4', b'"num_registers": 4')
        )
    with pytest.raises(InvalidModelFileError) as caught:
        open_candidate(tmp_path, threads=1)
    assert caught.value.file == tmp_path.name


def test_open_candidate__processor_without_numbers(shipped_sample: GetSample, tmp_path: Path):
    for path in shipped_sample("dinov2").folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text('{"rescale_factor": "1/255"}')
    with pytest.raises(InvalidModelFileError) as caught:
        open_candidate(tmp_path, threads=1)
    assert caught.value.file == tmp_path.name


def test_open_candidate__weights_alone_in_8_bits(shipped_sample: GetSample, tmp_path: Path):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    file = write_traced_onnx(shipped_sample("dinov2"), tmp_path / "m.onnx", side=70)
    assert [run.numerics for run in open_candidate(file, threads=1).runs] == ["fp32"]
    quantised = MatMulNBitsQuantizer(onnx.load(file), bits=4, block_size=32)
    quantised.process()
    quantised.model.save_model_to_file(str(file))
    assert [run.numerics for run in open_candidate(file, threads=1).runs] == ["int8"]


def test_open_candidate__folder_of_another_model(shipped_sample: GetSample, tmp_path: Path):
    for path in shipped_sample("dinov2").folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b'"dinov2"', b'"clip"'))
    with pytest.raises(InvalidCheckpointError):
        open_candidate(tmp_path, threads=1)


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [("input_ids", "int64", [None, None])],
        [("a", "float32", [None, 1, 224, 224])],
        [("a", "float32", [None, 3, 224, 224]), ("mask", "bool", [None, 256])],
        [("a", "int8", [None, 3, 224, 224])],
    ],
)
def test_form_input__refuses_other_inputs(inputs):
    with pytest.raises(InvalidModelFileError):
        form_input("m.onnx", inputs)


def test_compute__in_the_batch_of_the_file(shipped_sample: GetSample, tmp_path: Path):
    candidate = open_candidate(
        write_ir(shipped_sample("dinov2"), tmp_path / "m.xml", side=70, batch=4), threads=1
    )
    planes = np.random.default_rng(0).random((6, 3, 70, 70), np.float32)
    run = candidate.runs[0]
    (vectors,) = candidate.compute(planes, run).values()
    (last_vector,) = candidate.compute(planes[5:], run).values()
    assert vectors.shape[0] == 6
    np.testing.assert_allclose(vectors[5:], last_vector, atol=1e-5)
