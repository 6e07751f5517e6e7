"""Messages of `make` about faults of the set-up."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dino_assets_tests.conftest import REPOSITORY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment
    )


def test_make__prints_help_without_a_target(folder: Path):
    process = make(folder)
    assert process.returncode == 0
    targets = [line.split()[0] for line in process.stdout.splitlines()]
    assert targets == [
        "help",
        "install",
        "demo",
        "demo-ui",
        "fetch-dinov3",
        "check",
        "test",
        "test-all",
        "bench",
        "docs",
        "pictures",
        "ui",
        "studio",
        "locks",
        "clean",
    ]


def test_make__no_python(folder: Path):
    process = make(folder, "check", "PYTHON=no-such-python")
    assert process.returncode != 0
    assert "No 'no-such-python' here. Install Python 3.11" in process.stdout


def test_make__old_python(folder: Path):
    old_python = folder / "old-python"
    old_python.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n'
    )
    old_python.chmod(0o755)
    process = make(folder, "test", f"PYTHON={old_python}")
    assert process.returncode != 0
    assert "Python 3.8.1 is not 3.11, 3.12 or 3.13" in process.stdout


def test_make__full_disk(folder: Path):
    process = make(folder, "install", "MIN_FREE_MB=999999999")
    assert process.returncode != 0
    assert "MB free here, the set-up needs 999999999. Free some space" in process.stdout


def test_make__clean_can_be_repeated(folder: Path):
    (folder / ".venv").mkdir()
    (folder / "data").mkdir()
    assert make(folder, "clean").returncode == 0
    assert make(folder, "clean").returncode == 0
    assert (folder / "data").is_dir()
    assert not (folder / ".venv").exists()


def test_make__setup_with_everything_installed(folder: Path):
    """pip then prints no line that is shown, and `make` does not fail."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\ncase "$*" in *-r*) echo "Requirement already satisfied: x";; esac\n'
    )
    python.chmod(0o755)
    assert make(folder, "install").returncode == 0
    assert list((folder / ".venv").glob(".ready-*"))
    assert make(folder, "install").returncode == 0
