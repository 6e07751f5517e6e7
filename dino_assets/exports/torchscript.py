"""TorchScript export of a network, for LibTorch and Triton's PyTorch backend."""

import contextlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.exports.checking import Compute
from dino_assets.exports.graph import example_shape
from dino_assets.exports.settings import ExportSettings

if TYPE_CHECKING:
    import torch

SCRIPT = "model.pt"
# Records that name the source file of each operation. These are paths of this machine.
_ORIGINS = ".debug_pkl"


def write_torchscript(network: "torch.nn.Module", settings: ExportSettings, path: Path) -> None:
    """Trace a network for any batch size and write it, without the paths of its source files."""
    import torch

    dtype = torch.uint8 if settings.include_preprocessing else torch.float32
    example = torch.zeros(example_shape(settings, batch=2), dtype=dtype)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns about every size that becomes a constant
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    with_origins = path.with_suffix(".whole")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch recommends its newer exporter; LibTorch needs this one
            traced.save(str(with_origins))
        _copy_without_origins(with_origins, path)
    finally:
        with contextlib.suppress(OSError):
            with_origins.unlink()


def open_torchscript(path: Path) -> Compute:
    """Load a TorchScript file on the CPU, and return it as a function.

    The file is opened by ``torch.jit.load`` alone, as by a program without this package.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    def compute(values: NDArray[Any]) -> Vectors:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(np.ascontiguousarray(values))))

    return compute


def _copy_without_origins(with_origins: Path, path: Path) -> None:
    import torch

    reader = torch._C.PyTorchFileReader(str(with_origins))
    writer = torch._C.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if not name.endswith(_ORIGINS) and name not in ("version", ".data/serialization_id"):
            data = reader.get_record(name)
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
