"""Build and accelerators of the installed PyTorch, read without importing it."""

import subprocess
import sys
from pathlib import Path

import pytest

from dino_assets.compute.devices import find_accelerators, sees_accelerator
from dino_assets.compute.pytorch import TorchBuild, find_build, has_cuda_driver, may_see

CPU = TorchBuild("2.9.0+cpu")
CUDA = TorchBuild("2.9.0+cu128", cuda="12.8")
ROCM = TorchBuild("2.9.0+rocm6.4", hip="6.4")


def test_find_build__equals_imported_torch():
    import torch

    build = find_build()
    assert build is not None
    assert (build.version, build.cuda, build.hip) == (
        torch.__version__,
        torch.version.cuda,
        torch.version.hip,
    )


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("__version__ = '2.9.0+cpu'\ncuda: str | None = None\nhip: str | None = None", CPU),
        ("__version__ = '2.9.0+cu128'\ncuda = '12.8'\nhip = None", CUDA),
        ("__version__ = '2.9.0+rocm6.4'\ncuda = None\nhip = '6.4'", ROCM),
        ("__version__ = '2.9.0'", None),  # no field for accelerators
        ("__version__ = read()\ncuda = None", None),
        ("cuda = None", None),
        ("__version__ = '2", None),
        ("", None),
    ],
)
def test_find_build__version_file(tmp_path: Path, text: str, build: TorchBuild | None):
    (tmp_path / "version.py").write_text(text)
    assert find_build(tmp_path) == build


def test_find_build__no_file(tmp_path: Path):
    assert find_build(tmp_path) is None


@pytest.mark.parametrize(
    ("build", "platform", "has_driver", "may"),
    [
        (CPU, "linux", True, False),
        (CUDA, "linux", True, True),
        (CUDA, "linux", False, False),
        (ROCM, "linux", False, True),  # unknown without PyTorch
        (CPU, "darwin", True, False),
        (CUDA, "win32", False, True),
    ],
)
def test_may_see__cuda(build: TorchBuild, platform: str, has_driver: bool, may: bool):
    assert may_see("cuda", build=build, has_driver=has_driver, platform=platform) is may


def test_may_see__mps_only_on_macos():
    assert may_see("mps", build=CPU, platform="darwin")
    assert not may_see("mps", build=CPU, platform="linux")


def test_may_see__true_where_torch_finds_an_accelerator():
    import torch

    assert may_see("cuda") or not torch.cuda.is_available()
    assert may_see("mps") or not torch.backends.mps.is_available()
    assert sees_accelerator("cuda") is torch.cuda.is_available()


def test_has_cuda_driver__missing_library():
    assert not has_cuda_driver("libnothing-of-this-name.so.1")
    assert has_cuda_driver("libc.so.6")


def test_find_accelerators__does_not_import_torch_if_there_can_be_none():
    if may_see("cuda") or may_see("mps"):
        pytest.skip("this machine may have one")
    code = (
        "import sys; from dino_assets.compute.devices import find_accelerators;"
        "assert find_accelerators() == []; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert find_accelerators() == []
