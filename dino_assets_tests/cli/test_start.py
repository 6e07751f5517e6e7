"""Imports of commands before they do their work, which decide their first second.

No time is measured here; ``bench/test_bench_start.py`` does that.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dino_assets_tests.conftest import photo_bytes

# Each costs a process a tenth of a second at least, torch and transformers several seconds.
NETWORKS = {"torch", "transformers"}
SCIENCE = {"pandas", "scipy", "sklearn", "umap", "numba", "matplotlib"}
ARRAYS = {"numpy", "pyarrow", "PIL"}
STORES = {"obstore", "boto3", "huggingface_hub", "pydantic"}
LISTING = NETWORKS | SCIENCE | {"dagster", "openvino", "huggingface_hub", "boto3"}

PROGRAM = """
import sys
from dino_assets.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as err:
    code = err.code
print("loaded", code, *sorted(sys.modules), file=sys.stderr)
"""


def loaded_by(*arguments: str, expects: int = 0) -> set[str]:
    """Run a command in a new process; return the modules that it imported."""
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True
    )
    word, code, *modules = process.stderr.splitlines()[-1].split()
    assert (word, code) == ("loaded", str(expects)), process.stderr
    return set(modules)


@pytest.fixture
def card(tmp_path: Path, write_photo: Callable[..., Path]) -> Path:
    """A folder with one photograph that gives a tile."""
    return write_photo(tmp_path / "card" / "a.jpg", 600, 560).parent


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("run", "--help"), ("select", "--help"), ("embed", "--help"), ("--version",)],
)
def test_main__help_imports_only_the_parser(arguments: tuple[str, ...]):
    heavy_modules = NETWORKS | SCIENCE | ARRAYS | STORES | {"dagster", "openvino", "safetensors"}
    assert not heavy_modules & loaded_by(*arguments)


def test_main__no_garbage_collection_at_exit(project: Path):
    """All objects are frozen before the interpreter collects garbage, which it does at every exit."""
    program = f"""
import atexit, gc, sys
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 1000, file=sys.stderr))
{PROGRAM}
"""
    process = subprocess.run(
        [sys.executable, "-c", program, "drops", "list"], capture_output=True, text=True
    )
    assert process.stderr.splitlines()[-1] == "frozen True"


def test_main__drops_list_needs_no_dagster(project: Path, card: Path):
    assert loaded_by("drops", "register", "d", "--from", str(card))
    assert not LISTING & loaded_by("drops", "list")


def test_main__drops_register_needs_dagster_and_no_arrays(project: Path, card: Path):
    modules = loaded_by("drops", "register", "d", "--from", str(card))
    assert "dagster" in modules
    assert not (NETWORKS | SCIENCE | ARRAYS | {"openvino", "huggingface_hub"}) & modules


def test_main__doctor_names_engines_without_torch(project: Path):
    modules = loaded_by("doctor")
    assert {"dagster", "openvino"} <= modules
    assert not (NETWORKS | SCIENCE) & modules


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_main__embed_with_a_kept_engine_needs_no_torch(
    project: Path, ready_engines: None, tmp_path: Path, ending: str
):
    """Converting and checking an engine needs torch once; later commands do not."""
    (tmp_path / "a.jpg").write_bytes(photo_bytes(300, 200))
    arguments = ("embed", str(tmp_path / "a.jpg"), "-o", str(tmp_path / f"x{ending}"))
    loaded_by(*arguments)
    modules = loaded_by(*arguments)
    assert "openvino" in modules
    # pyarrow looks for pandas where it is installed, as it is with our tests.
    assert not (NETWORKS | SCIENCE - {"pandas"} | {"dagster", "huggingface_hub"}) & modules


@pytest.mark.slow
def test_main__run_with_a_kept_engine_needs_no_torch(
    project: Path, ready_engines: None, card: Path
):
    loaded_by("run", "first", "--from", str(card), "--select", "ingest")
    other_card = card.parent / "other"
    other_card.mkdir()
    (other_card / "b.jpg").write_bytes(photo_bytes(600, 560, seed=1))
    modules = loaded_by("run", "second", "--from", str(other_card), "--select", "ingest")
    assert {"dagster", "openvino"} <= modules
    assert not (NETWORKS | SCIENCE - {"pandas"}) & modules
