"""A violation of each rule is planted and seen to be caught."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dino_assets_tests.conftest import REPOSITORY

BIN = Path(sys.executable).parent

PLANTS = [
    ("shell -> faces -> adapters", "store/objects.py", "import dino_assets.checks"),
    ("shell -> faces -> adapters", "settings.py", "import dino_assets.stages.drops"),
    ("shell -> faces -> adapters", "unplaced.py", "X = 1"),
    ("core stages do not know each other", "core/images.py", "import dino_assets.core.tiling"),
    ("core stages do not know each other", "core/unplaced.py", "X = 1"),
    ("only the Dagster shell knows Dagster", "stages/images.py", "import dagster"),
    ("only the Dagster shell knows Dagster", "store/tables.py", "import dagster_aws"),
    ("stages do not borrow the shell", "stages/tiles.py", "import dino_assets.resources.storage"),
    ("core reaches no network", "core/weights.py", "import huggingface_hub"),
    ("core reaches no network", "core/weights.py", "import obstore"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package and its rules."""
    shutil.copytree(
        REPOSITORY / "dino_assets",
        tmp_path / "dino_assets",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def run(tree: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=tree, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("contract", "file", "line"), PLANTS)
def test_layers__planted(tree: Path, contract: str, file: str, line: str):
    path = tree / "dino_assets" / file
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    code, output = run(tree, "lint-imports", "--no-cache")
    assert code == 1
    broken = [text for text in output.splitlines() if text.endswith("BROKEN")]
    if file.endswith("unplaced.py"):
        assert "unplaced" in output
    else:
        assert any(text.startswith(contract) for text in broken), output


def test_layers__kept(tree: Path):
    code, output = run(tree, "lint-imports", "--no-cache")
    assert (code, "0 broken" in output) == (0, True)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("TID251", "import pickle"),
        ("TID251", "from __future__ import annotations"),
        ("TID251", "import os; os.environ['X']"),
        ("TID253", "import torch"),
        ("TID252", "from . import errors"),
        ("T201", "print('hello')"),
        ("BLE001", "try:\n    pass\nexcept Exception:\n    pass"),
        ("NPY002", "import numpy as np; np.random.rand(3)"),
        ("DTZ005", "import datetime; datetime.datetime.now()"),
        ("ANN001", "def f(x) -> None:\n    '''Take.'''"),
        ("ERA001", "# x = 1"),
    ],
)
def test_lint__planted(tree: Path, code: str, line: str):
    (tree / "dino_assets" / "planted.py").write_text(f'"""Planted."""\n\n{line}\n')
    status, output = run(tree, "ruff", "check", "--output-format", "concise", "--no-cache", ".")
    assert status == 1
    assert any("planted.py:" in found and code in found for found in output.splitlines())


@pytest.mark.slow
def test_types__planted(tree: Path):
    (tree / "dino_assets" / "planted.py").write_text("def f(x):\n    return x\n")
    status, output = run(tree, "mypy", "--cache-dir", str(tree / "cache"))
    assert status == 1
    assert "planted.py:1: error: Function is missing a type annotation" in output
