"""Version and accelerators of the installed PyTorch, read from its files without importing it.

Importing PyTorch takes seconds, and most commands do not need it.
"""

import ast
import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dino_assets.compute.settings import Accelerator

# The library of NVIDIA's driver. PyTorch opens it by the same name.
DRIVER = "libcuda.so.1"


@dataclass(frozen=True)
class TorchBuild:
    """The version of PyTorch, and the accelerators it was built for."""

    version: str
    cuda: str | None = None
    hip: str | None = None  # for AMD GPUs, which PyTorch also calls cuda


def find_build(folder: Path | None = None) -> TorchBuild | None:
    """Read from PyTorch's files which build is installed.

    ``folder`` defaults to the folder of the package ``torch``. Return None if PyTorch is not installed, or if
    its files do not contain the version and the accelerators.
    """
    folder = folder or _find_folder()
    if folder is None:
        return None
    try:
        tree = ast.parse((folder / "version.py").read_text())
    except (OSError, ValueError, SyntaxError):
        return None
    values: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values |= {t.id: node.value.value for t in targets if isinstance(t, ast.Name)}
    version, cuda, hip = (values.get(name) for name in ("__version__", "cuda", "hip"))
    if not isinstance(version, str) or "cuda" not in values:
        return None
    return TorchBuild(version, str(cuda) if cuda else None, str(hip) if hip else None)


def _find_folder() -> Path | None:
    try:
        spec = importlib.util.find_spec("torch")
    except ValueError:  # another module of this name is loaded
        return None
    return Path(spec.origin).parent if spec and spec.origin else None


def may_see(
    device: Accelerator,
    *,
    build: TorchBuild | None = None,
    has_driver: bool | None = None,
    platform: str = sys.platform,
) -> bool:
    """Check whether PyTorch may be able to use an accelerator here, without importing PyTorch.

    False is certain. True is not: only PyTorch itself can confirm it. ``build`` and ``has_driver`` (whether
    NVIDIA's driver can be loaded) are looked up on this machine by default.
    """
    if device == "mps":
        return platform == "darwin"
    build = build or find_build()
    if build is None or build.hip:
        return True
    if build.cuda is None:
        return False
    if platform != "linux":
        return True
    return has_cuda_driver() if has_driver is None else has_driver


@cache
def has_cuda_driver(name: str = DRIVER) -> bool:
    """Check whether the library of NVIDIA's driver can be loaded; the check starts nothing on a GPU."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
