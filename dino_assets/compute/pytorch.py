"""The installed PyTorch as its files tell it: importing it costs seconds that most commands need not spend."""

import ast
import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dino_assets.compute.settings import Accelerator

# Of NVIDIA's driver. PyTorch, too, opens it by this name before it sees a card.
DRIVER = "libcuda.so.1"


@dataclass(frozen=True)
class TorchBuild:
    """Which PyTorch it is, and which accelerators it was built for."""

    version: str
    cuda: str | None = None
    hip: str | None = None  # AMD's, which PyTorch calls cuda, too


def find_build(folder: Path | None = None) -> TorchBuild | None:
    """Read which PyTorch is installed (in ``folder``); nothing where its files do not tell."""
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
    except ValueError:  # something else stands in its place
        return None
    return Path(spec.origin).parent if spec and spec.origin else None


def may_see(
    device: Accelerator,
    *,
    build: TorchBuild | None = None,
    has_driver: bool | None = None,
    platform: str = sys.platform,
) -> bool:
    """Tell whether it is worth asking PyTorch for an accelerator: False is certain, True is not.

    ``build`` and ``has_driver`` are by default those of this machine.
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
    """Tell whether the driver's library can be loaded, which starts nothing on a card."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
