"""``dino-assets attention``: files, messages, exit codes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dino_assets.cli import main
from dino_assets.cli.attention_jobs import plan_jobs
from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DeviceUnavailableError,
    SourceError,
    UnusableImageError,
)
from dino_assets.weights.checkpoint import CAVEAT


@pytest.fixture
def card(project, write_photo):
    """Two photographs and a file that is no picture, in a project."""
    write_photo(project / "card" / "a.jpg", 320, 240, seed=1)
    write_photo(project / "card" / "b.jpg", 240, 320, seed=2)
    (project / "card" / "broken.jpg").write_bytes(b"no picture")
    return project / "card"


def list_files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_attention__into_the_folder_out_by_default(card, capsys):
    files_before = list_files(card)
    assert main(["attention", "card/a.jpg"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("card/a.jpg: out/a.jpg.attention.png (")
    with Image.open("out/a.jpg.attention.png") as picture:
        assert picture.width > 1000
    assert list_files(card) == files_before


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ([], ["a.jpg.attention.png", "b.jpg.attention.png"]),
        (["--head", "0"], ["a.jpg.attention-head0.png", "b.jpg.attention-head0.png"]),
        (
            ["--layer", "-2", "--head", "all"],
            ["a.jpg.heads-layer-2.png", "b.jpg.heads-layer-2.png"],
        ),
        (["--view", "heads"], ["a.jpg.heads.png", "b.jpg.heads.png"]),
        (["--view", "pca"], ["all.pca.png"]),
        (["--view", "similarity"], ["a.jpg.similarity.html", "b.jpg.similarity.html"]),
        (
            ["--view", "similarity", "--point", "10,20"],
            ["a.jpg.similarity.png", "b.jpg.similarity.png"],
        ),
        (["--view", "features"], ["a.jpg.features.npz", "b.jpg.features.npz"]),
    ],
)
def test_attention__every_view_of_several_photographs(card, tmp_path, flags, names):
    folder = tmp_path / "some" / "where"
    command = ["attention", "card/a.jpg", "card/b.jpg", "-o", f"{folder}/", *flags]
    assert main(command) == 0
    assert list_files(folder) == names


def test_attention__one_file(card):
    for name, flags in [
        ("x.webp", []),
        ("x.html", ["--view", "similarity", "--point", "319,239", "--debias", "blank"]),
        ("x.pt", ["--view", "features", "--layer", "0"]),
        ("x.png", ["--view", "pca", "--foreground", "auto"]),
    ]:
        assert main(["attention", "card/a.jpg", "-o", f"new/{name}", *flags]) == 0
    assert list_files(card.parent / "new") == ["x.html", "x.png", "x.pt", "x.webp"]


def test_attention__the_rest_is_written_when_one_fails(card, capsys):
    command = ["attention", "card/a.jpg", "card/broken.jpg", "card/none.jpg", "card/b.jpg"]
    assert main([*command, "-o", "made"]) == 1
    printed = capsys.readouterr()
    assert [line.split(": ")[0] for line in printed.out.splitlines()] == [
        "card/a.jpg",
        "card/b.jpg",
    ]
    failures = [line for line in printed.err.splitlines() if "Error: " in line]
    assert [line.split(": ")[:2] for line in failures] == [
        [UnusableImageError.__name__, "card/broken.jpg"],
        [SourceError.__name__, "card/none.jpg"],
    ]
    assert list_files(card.parent / "made") == ["a.jpg.attention.png", "b.jpg.attention.png"]


def test_attention__json_is_all_of_stdout(card, capsys):
    assert main(["attention", "card/a.jpg", "card/broken.jpg", "-o", "made", "--json"]) == 1
    record, failure = json.loads(capsys.readouterr().out)
    assert record["inputs"] == ["card/a.jpg"]
    assert record["output"] == "made/a.jpg.attention.png"
    assert record["images"][0]["columns"] == 20
    assert (record["layer"], record["layers"], record["head"]) == (1, 2, None)
    assert record["caveat"] == CAVEAT
    assert failure["inputs"] == ["card/broken.jpg"]
    assert failure["error"] == "UnusableImageError"


def test_attention__pca_of_the_readable_photographs(card, capsys):
    command = ["attention", "card/a.jpg", "card/broken.jpg", "card/b.jpg", "--view", "pca"]
    assert main([*command, "-o", "three.png", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert [each["image"] for each in row["images"]] == ["a.jpg", "b.jpg"]
    assert [each["image"] for each in row["left_out"]] == ["card/broken.jpg"]
    assert main(["attention", "card/broken.jpg", "--view", "pca", "-o", "none.png"]) == 1
    assert not (card.parent / "none.png").exists()


def test_attention__warns_of_random_weights(card, capsys, caplog):
    assert main(["attention", "card/a.jpg"]) == 0
    assert CAVEAT in caplog.text


def test_attention__debias_with_photographs_of_a_folder(card, capsys):
    command = ["attention", "card/a.jpg", "--view", "features", "-o", "f.npz", "--debias"]
    (card / "broken.jpg").unlink()
    assert main([*command, "card", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["debias"] == "2 reference pictures"
    assert str(np.load("f.npz")["debias"]) == "2 reference pictures"


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (ConfigError, ["--layer", "2"]),
        (ConfigError, ["--head", "9"]),
        (ConfigError, ["--point", "1,2"]),
        (ConfigError, ["--foreground", "auto"]),
        (ConfigError, ["--debias", "noise"]),
        (ConfigError, ["--view", "pca", "--head", "all"]),
        (ConfigError, ["--view", "similarity", "-o", "x.png"]),
        (ConfigError, ["--view", "similarity", "--point", "320,0"]),
        (ConfigError, ["--view", "similarity", "--debias", "nowhere"]),
        (ConfigError, ["--max-px", "15"]),
        (ConfigError, ["-o", "x.gif"]),
        (ConfigError, ["-o", "card/a.jpg"]),
        (ConfigError, ["card/b.jpg", "-o", "x.png"]),
        (ConfigError, ["--device", "gpu"]),
        (DeviceUnavailableError, ["--device", "cpu:3"]),
        pytest.param(
            DeviceUnavailableError,
            ["--device", "cuda"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here"),
        ),
        (CheckpointNotFoundError, ["--model", "./nothing"]),
    ],
)
def test_attention__refusals_write_nothing(card, refuse, flags, kind):
    files_before = list_files(card.parent)
    refuse(kind, "attention", "card/a.jpg", *flags)
    assert list_files(card.parent) == files_before


@pytest.mark.parametrize(
    "flags",
    [["--head", "some"], ["--point", "1"], ["--point", "a,b"], ["--view", "x"], ["--layer", "x"]],
)
def test_attention__wrong_usage(card, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["attention", "card/a.jpg", *flags])
    assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        main(["attention"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["x/a.jpg", "y/b.jpg"], ["a.jpg.v", "b.jpg.v"]),
        (["x/a.jpg", "y/a.jpg", "y/b.jpg"], ["x-a.jpg.v", "y-a.jpg.v", "b.jpg.v"]),
        (["p/x/a.jpg", "q/x/a.jpg"], ["p-x-a.jpg.v", "q-x-a.jpg.v"]),
        (["x/a.jpg", "x/a.jpg"], ["a.jpg.v", "a.jpg-2.v"]),
    ],
)
def test_plan_jobs__unique_file_names(tmp_path, images, names):
    jobs = plan_jobs(images, str(tmp_path), ending=".v", joins=False)
    assert [job.images for job in jobs] == [(image,) for image in images]
    target_names = [job.target.name for job in jobs]
    assert len(set(target_names)) == len(target_names)
    if images[0] != images[-1]:
        assert target_names == names
    assert all(job.target.parent == tmp_path for job in jobs)
