"""Public names: import without torch, and types."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dino_assets
from dino_assets_tests.conftest import REPOSITORY

EXAMPLE = """
from dino_assets import CachedExtractor, DINOv2Extractor, ImageDataset, process_large_dataset
import torch

class ProgressExtractor(DINOv2Extractor):
    def extract_batch(self, batch: torch.Tensor) -> torch.Tensor:
        return super().extract_batch(batch)

embeddings, ids = ProgressExtractor(batch_size=64, num_workers=8).extract_from_directory("images/")
reveal_type(embeddings)
reveal_type(ids)
reveal_type(CachedExtractor(cache_dir="cache/", device="cpu").extract_single("a.jpg"))
reveal_type(process_large_dataset("images/", chunk_size=10000))
reveal_type(len(ImageDataset(["a.jpg"])))
DINOv2Extractor(model="typo")
"""


def list_typed() -> dict[str, tuple[str, str]]:
    """List the names for type checkers, each with its module and its name there."""
    tree = ast.parse(Path(dino_assets.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        str(alias.asname): (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_public_names__same_modules_for_type_checkers_and_at_run_time():
    typed_names = list_typed()
    assert {"DINOv2Extractor", "CachedExtractor", "ImageDataset", "fetch_dinov3"} <= set(
        typed_names
    )
    assert typed_names | {"lineage": ("dino_assets.definitions", "defs")} == dino_assets._LAZY
    for name, (module, attribute) in typed_names.items():
        assert getattr(dino_assets, name) is getattr(import_module(module), attribute)


def test_public_names__listed_without_importing_torch():
    code = (
        "import sys, dino_assets; from dino_assets import DINOV2_MODELS, IMAGE_EXTENSIONS;"
        "assert 'torch' not in sys.modules;"
        "from dino_assets import DEFAULT_DEVICE; assert DEFAULT_DEVICE in ('cpu', 'cuda', 'mps');"
        "assert DINOV2_MODELS['giant'] == "
        "{'name': 'facebook/dinov2-giant', 'dim': 1536, 'patch_size': 14};"
        "assert '.tif' in IMAGE_EXTENSIONS"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_public_names__imported_by_star():
    code = (
        "from dino_assets import *; DINOv2Extractor, extract_embeddings, IMAGE_SIZE;"
        "import sys; assert 'dagster' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_public_names__published_example_passes_mypy(tmp_path: Path):
    (tmp_path / "example.py").write_text(EXAMPLE)
    process = subprocess.run(
        [sys.executable, "-m", "mypy", str(tmp_path / "example.py")],
        cwd=REPOSITORY,  # for its settings and its cache
        capture_output=True,
        text=True,
    )
    lines = [line for line in process.stdout.splitlines() if "example.py:" in line]
    revealed_types = [line.split('"')[1] for line in lines if "Revealed" in line]
    tensor = "torch._tensor.Tensor"
    assert revealed_types == [tensor, "list[str]", tensor, tensor, "int"]
    (error,) = [line for line in lines if "error" in line]
    assert 'Unexpected keyword argument "model"' in error
