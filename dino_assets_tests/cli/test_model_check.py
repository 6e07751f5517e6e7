"""``dino-assets check-model``."""

import json
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.cli.model_check import WRONG
from dino_assets_tests.worlds.model_faults import bytes_to_planes
from dino_assets_tests.worlds.model_files import Shipped, write_traced_onnx
from dino_assets_tests.worlds.networks import Sample, write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("checked") / "model", "dinov3_vit")


def write(sample: Sample, file: Path, *, is_wrong: bool) -> Path:
    turn = (lambda planes: planes.flip(1)) if is_wrong else (lambda planes: planes)
    prepare = bytes_to_planes(sample.checkpoint, turn=turn)
    return write_traced_onnx(sample, file, Shipped(prepare=prepare, takes="bytes"), side=80)


def test_check_model__agreeing_model(sample: Sample, tmp_path: Path, capsys):
    file = write(sample, tmp_path / "m.onnx", is_wrong=False)
    assert main(["check-model", str(file), "--reference", str(sample.folder)]) == 0
    assert (
        main(["check-model", str(file), "--reference", str(sample.folder), "--precision", "fp32"])
        == 0
    )
    assert str(file) in capsys.readouterr().out


def test_check_model__wrong_model(sample: Sample, tmp_path: Path, capsys):
    file = write(sample, tmp_path / "m.onnx", is_wrong=True)
    assert main(["check-model", str(file), "--reference", str(sample.folder), "--json"]) == WRONG
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"] is False
    assert [each["name"] for each in answer["faults"]] == ["bgr"]
    assert answer["faults"][0]["advice"]
    assert answer["sizes"][0]["grade"] is None
    assert main(["check-model", str(file), "--reference", str(sample.folder)]) == WRONG
    assert "bgr" in capsys.readouterr().out


def test_check_model__folder_compared_with_itself(sample: Sample, capsys):
    assert main(["check-model", str(sample.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["grade"] == "fp32"


@pytest.mark.parametrize("arguments", [["absent.onnx"], [""], ["m.onnx", "--reference", ""]])
def test_check_model__cannot_be_checked(arguments: list[str], tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check-model", *arguments]) == 1
    assert capsys.readouterr().err
