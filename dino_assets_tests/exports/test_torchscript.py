"""TorchScript files: the same tokens once loaded, the same bytes, no places of this machine."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dino_assets.exports.torchscript import open_torchscript
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds import exported
from dino_assets_tests.worlds.exported import (
    ask_whole_model,
    draw_planes,
    hash_folder,
    read_manifest,
)
from dino_assets_tests.worlds.networks import Sample, draw_tiles

ExportOf = Callable[..., tuple[Sample, Path]]


def test_torchscript__reloads_equal_at_any_batch(export_of: ExportOf, family: str):
    sample, folder = export_of(family, torchscript=True)
    compute = open_torchscript(folder / "model.pt")
    for batch in (1, 3, 8):
        planes = draw_planes(batch, 4 * sample.checkpoint.patch_px)
        expected = ask_whole_model(sample, planes)
        np.testing.assert_allclose(compute(planes), expected, rtol=0, atol=1e-4)
    manifest = read_manifest(folder)
    assert manifest["check_of_torchscript"]["largest_difference"] <= 1e-4
    assert "model.pt" in manifest["files"]


def test_torchscript__takes_pixels(export_of: ExportOf):
    _, folder = export_of("dinov2", torchscript=True, include_preprocessing=True)
    assert open_torchscript(folder / "model.pt")(draw_tiles(3, 56)).shape == (3, 17, 48)


def test_torchscript__contains_no_path_of_this_machine(export_of: ExportOf):
    _, folder = export_of("dinov2", torchscript=True)
    reader = torch._C.PyTorchFileReader(str(folder / "model.pt"))
    records = b"".join(reader.get_record(name) for name in reader.get_all_records())
    for word in (b"site-packages", str(REPOSITORY).encode(), b".debug_pkl"):
        assert word not in records


@pytest.mark.slow
def test_torchscript__the_same_bytes_in_another_process(export_of: ExportOf, tmp_path: Path):
    sample, _ = export_of("dinov3_vit")
    for name in ("one", "other"):
        arguments = [sample.folder, tmp_path / name, "tiny", 64, "torchscript"]
        subprocess.run(
            [sys.executable, "-m", exported.__name__, *map(str, arguments)],
            check=True,
            capture_output=True,
            cwd=REPOSITORY,
        )
    assert "model.pt" in hash_folder(tmp_path / "one")
    assert hash_folder(tmp_path / "one") == hash_folder(tmp_path / "other")
