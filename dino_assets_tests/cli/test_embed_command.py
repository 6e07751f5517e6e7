"""``dino-assets embed``: files, exit codes, and the state after a failure."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dino_assets import DINOv2Extractor
from dino_assets.cli import main
from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DiskFullError,
    SourceError,
    TargetError,
)
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.pictures import NAMES, write_pictures
from dino_assets_tests.worlds.targets import mounted


@pytest.fixture(autouse=True)
def engine_home(engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(engine_cache))


@pytest.fixture
def model(checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured model."""
    monkeypatch.setenv("DINO_MODEL_ID", str(checkpoint_dir))
    return str(checkpoint_dir)


@pytest.fixture
def folder(model: str, tmp_path: Path) -> Path:
    write_pictures(tmp_path / "photos")
    return tmp_path


def embedded_by_hand(model: str, paths: list[str]) -> np.ndarray:
    return DINOv2Extractor(model).extract_from_list(paths)[0].numpy()


def test_embed__a_folder_into_parquet(folder, model, capsys):
    assert main(["embed", "photos", "-o", "out/e.parquet"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("out/e.parquet: 4 of 4 images, 16 dims, ")
    assert " on cpu" in printed.err  # the engine, before the first picture
    table = pq.read_table("out/e.parquet")
    ids = table["image_id"].to_pylist()
    assert ids == sorted(NAMES)
    wanted = embedded_by_hand(model, [f"photos/{each}" for each in ids])
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), wanted)


def test_embed__lists_pictures_and_a_summary(folder, model, capsys):
    (folder / "list.csv").write_text(f"file\nphotos/{NAMES[0]}\n")
    (folder / "list.txt").write_text(f"photos/{NAMES[1]}\n")
    sources = ["list.csv", "list.txt", f"photos/{NAMES[2]}", "photos/class2/"]
    options = ["--column", "file", "--pattern", "*4.JPG", "--precision", "fp32", "--json"]
    assert main(["embed", *sources, "-o", "e.npz", *options]) == 0
    summary = json.loads(capsys.readouterr().out)
    with np.load("e.npz", allow_pickle=False) as arrays:
        ids = arrays["image_ids"].tolist()
        assert ids == [*(f"photos/{each}" for each in NAMES)]
        assert arrays["embeddings"].shape == (4, 16)
    assert (summary["images"], summary["embedded"], summary["left_out"]) == (4, 4, [])
    assert (summary["model"], summary["precision"], summary["dim"]) == (model, "fp32", 16)
    assert "random weights" in summary["caveat"]


def test_embed__some_unusable(folder, capsys):
    (folder / "photos" / "no.jpg").write_text("no picture")
    assert main(["embed", "photos", "-o", "e.pt", "--json"]) == 3
    printed = capsys.readouterr()
    assert "left out: no.jpg: not-an-image" in printed.err
    (left_out,) = json.loads(printed.out)["left_out"]
    assert (left_out["image_id"], left_out["reason"]) == ("no.jpg", "not-an-image")
    content = torch.load("e.pt", weights_only=True)
    assert content["image_ids"] == sorted(NAMES)


def test_embed__none_usable(folder, capsys):
    (folder / "no.jpg").write_text("no picture")
    assert main(["embed", "no.jpg", "-o", "e.pt"]) == 1
    *_, left_out, error = capsys.readouterr().err.splitlines()  # after possible lines of an engine
    assert left_out.startswith("left out: no.jpg: not-an-image: ")
    assert error.startswith("SourceError: no picture was usable")
    assert not (folder / "e.pt").exists()


def test_embed__second_command_uses_the_cache(folder, capsys):
    assert main(["embed", "photos", "-o", "e.pt", "--cache", "kept"]) == 0
    first = torch.load("e.pt", weights_only=True)
    assert main(["embed", "photos", "-o", "e.pt", "--cache", "kept"]) == 0
    second = torch.load("e.pt", weights_only=True)
    assert torch.equal(first["embeddings"], second["embeddings"])
    assert "engine" not in second["metadata"]  # no engine was used
    assert len(list((folder / "kept").rglob("*.npz"))) == 4


@pytest.mark.parametrize(
    ("command", "kind", "named"),
    [
        (["absent", "-o", "e.pt"], SourceError, "absent"),
        (["photos", "-o", "e.csv"], ConfigError, ".parquet, .pt or .npz"),
        (["photos", "-o", ""], ConfigError, "--output is empty"),
        (["photos", "-o", "photos/class1/img1.jpg/e.pt"], TargetError, "is a file"),
        (["photos", "-o", "e.pt", "--pattern", "*.png"], ConfigError, "3 .jpg"),
        (["photos", "-o", "e.pt", "--model", "dinov9"], CheckpointNotFoundError, "dinov2-small"),
        (["photos", "-o", "e.pt", "--batch-size", "0"], ConfigError, "batch_size"),
        (["photos", "-o", "e.pt", "--image-size", "225"], ConfigError, "16"),
        (["photos", "-o", "e.pt", "--device", "tpu"], ConfigError, "tpu"),
        (["list.csv", "-o", "e.pt"], SourceError, "Its columns: file"),
    ],
)
def test_embed__invalid_arguments(folder, refuse, command, kind, named):
    (folder / "photos" / NAMES[3]).rename(folder / "photos" / "other.jpg")
    (folder / "photos" / NAMES[1]).unlink()
    (folder / "list.csv").write_text("file\na.jpg\n")
    paths_before = sorted(folder.rglob("*"))
    assert named in refuse(kind, "embed", *command)
    assert sorted(folder.rglob("*")) == paths_before


def test_embed__read_only_or_full_disk(folder, refuse, capsys):
    assert main(["embed", "photos", "-o", "whole.parquet"]) == 0  # after the lines of an engine
    capsys.readouterr()
    with mounted(folder / "disk", "ro"):
        assert "read-only" in refuse(TargetError, "embed", "photos", "-o", "disk/e.parquet")
    with mounted(folder / "disk", "size=8k") as disk:
        (disk / "filling").write_bytes(bytes(8192))
        refuse(DiskFullError, "embed", "photos", "-o", "disk/e.parquet")
        assert [path.name for path in disk.iterdir()] == ["filling"]


@pytest.mark.slow
def test_embed__interrupted(folder):
    write_pictures(folder / "many", [f"{number}.jpg" for number in range(1500)])
    (folder / "e.parquet").write_text("older")
    command = [sys.executable, "-m", "dino_assets.cli", "embed", "many", "-o", "e.parquet"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [*command, "--cache", "kept"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(list((folder / "kept").glob("*/*/*.npz"))) < 5:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    printed = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in printed
    assert "run the command again to continue" in printed
    assert (folder / "e.parquet").read_text() == "older"
    assert list(folder.glob(".*")) == []


def test_embed__one_picture_has_no_rate(folder, capsys):
    (picture_path, *_) = sorted(folder.rglob("*.jpg"))
    assert main(["embed", str(picture_path), "-o", "out/e.npz"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("out/e.npz: 1 of 1 images, ")
    assert "images/s" not in line
