"""Dagster's newer command `dg` works in this project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dino_assets.store.commits.catalogue import ASSETS
from dino_assets_tests.conftest import REPOSITORY


@pytest.fixture
def dg_command(tmp_path: Path):
    """`dg` in the project's folder, with its instance, whose dagster.yaml turns telemetry off."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).parent / "dg"), *arguments]
        home = {"DAGSTER_HOME": str(REPOSITORY), "HOME": str(tmp_path / "home")}
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **home},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_dg__check_defs(dg_command):
    process = dg_command("check", "defs")
    assert process.returncode == 0, process.stdout + process.stderr


def test_dg__list_defs(dg_command, tmp_path: Path):
    process = dg_command("list", "defs", "--json")
    assert process.returncode == 0, process.stdout + process.stderr
    answer = json.loads(process.stdout)
    assert {asset["asset_key"] for asset in answer["assets"]} == {"inbox", *ASSETS}
    assert not list(tmp_path.rglob("event.log"))
