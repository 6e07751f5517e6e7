"""``export-model``: what it prints, writes and refuses."""

import json
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets_tests.worlds.exported import draw_planes, run_onnxruntime
from dino_assets_tests.worlds.networks import write_sample


def test_export_model__writes_and_prints_the_folder(tmp_path: Path, capsys):
    write_sample(tmp_path / "tiny", "dinov2")
    assert main(["export-model", "tiny", "--side", "56", "--to", "out/tiny"]) == 0
    printed = capsys.readouterr()
    description, folder = printed.out.splitlines()
    assert folder == str(tmp_path / "out" / "tiny")
    assert "56 px, opset 20, output [batch, 17, 48]" in description
    assert "16 of 16" in printed.err
    hidden = run_onnxruntime(tmp_path / "out" / "tiny" / "model.onnx", draw_planes(3, 56))
    assert hidden.shape == (3, 17, 48)


def test_export_model__json_of_the_configured_model(tmp_path: Path, capsys, monkeypatch):
    write_sample(tmp_path / "tiny", "dinov3_vit")
    monkeypatch.setenv("DINO_MODEL_ID", str(tmp_path / "tiny"))
    options = ["--side", "32", "--opset", "18", "--include-preprocessing"]
    assert main(["export-model", *options, "--to", "out", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["folders"] == [str(tmp_path / "out")]
    assert (summary["side_px"], summary["opset"]) == (32, 18)
    assert (summary["input"]["dtype"], summary["model"]["family"]) == ("uint8", "dinov3_vit")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert summary["files"] == manifest["files"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--to", ""], "ConfigError"),
        (["--triton", " "], "ConfigError"),
        ([], "ConfigError"),
        (["--to", "out", "--opset", "14"], "ConfigError"),
        (["--to", "notes"], "TargetError"),
        (["--to", "out", "--side", "57"], "ConfigError"),
    ],
)
def test_export_model__refusals_write_nothing(tmp_path: Path, capsys, options, error: str):
    write_sample(tmp_path / "tiny", "dinov2")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    paths_before = sorted(tmp_path.rglob("*"))
    assert main(["export-model", "tiny", *options]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith(error)
    assert sorted(tmp_path.rglob("*")) == paths_before


def test_export_model__a_model_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["export-model", "no/such-model", "--to", "out"]) == 1
    assert "LocalEntryNotFoundError" in capsys.readouterr().err


def test_export_model__a_triton_repository(tmp_path: Path, capsys):
    write_sample(tmp_path / "tiny", "dinov2")
    options = ["--side", "56", "--torchscript", "--triton", "models"]
    assert main(["export-model", "tiny", *options]) == 0
    places = capsys.readouterr().out.splitlines()[1:]
    repository = tmp_path / "models"
    assert places == [str(repository / "tiny_56"), str(repository / "tiny_56_torchscript")]
    assert sorted(path.name for path in repository.iterdir()) == ["tiny_56", "tiny_56_torchscript"]
    files = {path.relative_to(repository).as_posix() for path in repository.rglob("*.*")}
    assert {
        "tiny_56/config.pbtxt",
        "tiny_56/1/model.onnx",
        "tiny_56/1/model.onnx.data",
        "tiny_56/manifest.json",
        "tiny_56_torchscript/config.pbtxt",
        "tiny_56_torchscript/1/model.pt",
    } <= files
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
