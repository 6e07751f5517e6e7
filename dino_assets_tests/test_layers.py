"""Rules of imports, lint and types: each catches a violation in a copy of the package."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dino_assets_tests.conftest import REPOSITORY

BIN = Path(sys.executable).parent

ORDER = "the lineage is the import order"
PURE = "pure rooms know no store and no network"
PLANTS = [
    (ORDER, "store/objects.py", "import dino_assets.defs.checks"),
    (ORDER, "settings/environment.py", "import dino_assets.drops.registry"),
    (ORDER, "images/rows.py", "import dino_assets.tiles.grid"),
    (ORDER, "projections/layout.py", "import dino_assets.selections.rounds"),
    (ORDER, "unplaced.py", "X = 1"),
    ("inside images", "images/scores.py", "import dino_assets.images.rows"),
    ("inside images", "images/unplaced.py", "X = 1"),
    ("inside store", "store/objects.py", "import dino_assets.store.commits.parts"),
    ("only the Dagster shell knows Dagster", "images/stage/drafting.py", "import dagster"),
    ("only the Dagster shell knows Dagster", "store/commits/tables.py", "import dagster_aws"),
    ("only the Dagster shell knows Dagster", "serving/service.py", "import dagster"),
    (ORDER, "serving/service.py", "import dino_assets.api.models"),
    ("inside serving", "serving/problems.py", "import dino_assets.serving.service"),
    (PURE, "images/rows.py", "import dino_assets.store.commits.reading"),
    (PURE, "tiles/grid.py", "import dino_assets.tiles.stage"),
    (PURE, "weights/checkpoint.py", "import huggingface_hub"),
    (PURE, "weights/checkpoint.py", "import obstore"),
]
# Modules that join a room's pure modules with the store, the disk or the network.
JOINING = {
    "drops": {
        "arrivals",
        "changes",
        "duplicates",
        "examination",
        "facts",
        "finished",
        "late",
        "listing",
        "marks",
        "observing",
        "registering",
        "registry",
        "sources",
        "stored_boxes",
        "survey",
    },
    "tiles": {"reading", "stage"},
    "weights": {"fetching", "hub", "importing", "stage"},
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, the examples and their rules."""
    for folder in ("dino_assets", "examples"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def run(tree: Path, *command: str) -> tuple[int, str]:
    process = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=tree, capture_output=True, text=True
    )
    return process.returncode, process.stdout + process.stderr


@pytest.mark.parametrize(("contract", "file", "line"), PLANTS)
def test_layers__rule_catches_a_violation(tree: Path, contract: str, file: str, line: str):
    path = tree / "dino_assets" / file
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    code, output = run(tree, "lint-imports", "--no-cache")
    assert code == 1
    broken_contracts = [text for text in output.splitlines() if text.endswith("BROKEN")]
    if file.endswith("unplaced.py"):
        assert "unplaced" in output
    else:
        assert any(text.startswith(contract) for text in broken_contracts), output


def test_layers__every_module_of_a_room_is_pure_or_joining():
    rules = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [each for each in rules["contracts"] if each["name"].startswith(PURE)]
    pure_modules = set(contract["source_modules"])
    for noun in (
        "weights",
        "drops",
        "images",
        "tiles",
        "embeddings",
        "projections",
        "selections",
        "exports",
    ):
        rooms = {path.stem for path in (REPOSITORY / "dino_assets" / noun).glob("*[!_]*")}
        rooms -= {"__init__", "__pycache__"} | JOINING.get(noun, {"stage"})
        assert {f"dino_assets.{noun}.{room}" for room in rooms} <= pure_modules


def test_layers__no_violation(tree: Path):
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
def test_lint__rule_catches_a_violation(tree: Path, code: str, line: str):
    (tree / "dino_assets" / "planted.py").write_text(f'"""Planted."""\n\n{line}\n')
    status, output = run(tree, "ruff", "check", "--output-format", "concise", "--no-cache", ".")
    assert status == 1
    assert any("planted.py:" in line and code in line for line in output.splitlines())


@pytest.mark.slow
def test_types__mypy_catches_a_violation(tree: Path):
    (tree / "dino_assets" / "planted.py").write_text("def f(x):\n    return x\n")
    if (REPOSITORY / ".mypy_cache").is_dir():  # from `make check`: only the planted file is new
        shutil.copytree(REPOSITORY / ".mypy_cache", tree / ".mypy_cache")
    status, output = run(tree, "mypy")
    assert status == 1
    assert "planted.py:1: error: Function is missing a type annotation" in output
