"""Commands as CI and people type them, in processes of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets_tests.worlds.ui import LINEAR

BIN = Path(sys.executable).parent

pytestmark = pytest.mark.usefixtures("ready_engines")


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def materialise(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    options = ("--config-json", json.dumps(LINEAR))
    command = ("dagster", "asset", "materialize", "-m", "dino_assets", *arguments, *options)
    return run(*command, **environment)


@pytest.fixture
def drops(project: Path, write_photo) -> Path:
    """Three registered drops."""
    for name in ("a", "b", "c"):
        write_photo(project / "cards" / name / "DCIM" / "DJI_0001.JPG", 1600, 1200)
        assert main(["drops", "register", name, "--from", f"cards/{name}"]) == 0
    return project


def test_materialize__whole_lineage_of_one_drop(drops: Path):
    """Without DAGSTER_HOME or another variable; nothing is written outside the folder and its data."""
    assert "DAGSTER_HOME" not in os.environ
    home = drops.parent / "home"
    home.mkdir()
    command = ("dagster", "asset", "materialize", "-m", "dino_assets", "--select", "*")
    process = run(*command, "--partition", "a", HOME=str(home))
    assert process.returncode == 0, process.stderr
    assert not [path for path in home.rglob("*") if path.is_file()]
    names = {path.name for path in drops.iterdir()}
    assert names == {"dagster.yaml", "workspace.yaml", "cards", "data", ".dagster", ".cache"}
    lines = run("dino-assets", "drops", "list").stdout.splitlines()
    assert lines[0].split()[:7] == ["a", "images", "1", "tiles", "24", "embeddings", "24"]
    assert lines[1].split()[:5] == ["b", "images", "–", "tiles", "–"]
    assert run("dino-assets", "verify").returncode == 0


def test_materialize__a_failing_step_is_exit_1(drops: Path):
    process = materialise("--select", "*", "--partition", "a", DINO_MODEL_ID="./no-such-checkpoint")
    assert process.returncode == 1
    assert (
        "there is no checkpoint directory './no-such-checkpoint'" in process.stderr + process.stdout
    )


def list_embedded(listed: list[str]) -> list[str]:
    """Count the embedded tiles of each drop in `drops list`."""
    counts = [line.partition("  embeddings ")[2] for line in listed if "  embeddings " in line]
    return [count.split()[0] for count in counts]


def test_materialize__a_range_with_one_bad_drop(drops: Path, write_photo):
    photo = drops / "cards" / "b" / "DCIM" / "DJI_0001.JPG"
    photo.write_text("not a picture")
    process = materialise("--select", "*", "--partition-range", "a...c")
    assert process.returncode == 1
    assert "1 of 3 drops were stopped by a check" in process.stderr + process.stdout
    lines = run("dino-assets", "drops", "list").stdout.splitlines()
    assert list_embedded(lines) == ["24", "–", "24"]
    # With corrected files the range completes; finished outputs are not made again.
    write_photo(photo, 1600, 1200)
    process = materialise("--select", "*", "--partition-range", "a...c")
    log = process.stderr + process.stdout
    assert process.returncode == 0, log
    for asset in ("images", "tiles", "embeddings"):
        assert f"{asset} - a: reused, " in log
        assert f"{asset} - b: committed, " in log
        assert f"{asset} - c: reused, " in log
    # The drops hold the same photograph, which has room for six tiles without a common pixel.
    (rows,) = re.findall(r"selections - selections: committed, (\d+) rows", log)
    assert 2 <= int(rows) <= 6
    lines = run("dino-assets", "drops", "list").stdout.splitlines()
    assert list_embedded(lines) == ["24", "24", "24"]
    assert run("dino-assets", "verify").returncode == 0


def test_materialize__log_has_the_reason_of_a_failed_check(drops: Path):
    (drops / "cards" / "b" / "DCIM" / "DJI_0001.JPG").write_text("not a picture")
    process = materialise("--select", "*", "--partition", "b")
    assert process.returncode == 1
    assert "b: 0 of 1 files are usable photographs" in process.stderr + process.stdout


def test_commands__read_the_dot_env_file(drops: Path, checkpoint_dir: Path):
    shutil.copytree(checkpoint_dir, drops / "models" / "mine")
    (drops / ".env").write_text("DINO_MODEL_ID=models/mine\nDINO_STORAGE=elsewhere\n")
    environment = {k: v for k, v in os.environ.items() if k != "DINO_MODEL_ID"}
    for command in (
        ["dino-assets", "drops", "register", "a", "--from", "cards/a"],
        [
            "dagster",
            "asset",
            "materialize",
            "-m",
            "dino_assets",
            "--select",
            "weights,images,tiles",
            "--partition",
            "a",
        ],
    ):
        process = subprocess.run(
            [str(BIN / command[0]), *command[1:]], env=environment, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
    assert (drops / "elsewhere" / "manifests" / "tiles" / "_" / "a.json").is_file()
