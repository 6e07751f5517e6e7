"""ONNX Runtime: a peer to compare with, and int8 for whoever chooses it."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.converted import label_network, open_kept
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.tokens import Vectors, normalise
from dino_assets.errors import MissingExtraError

NETWORK = "network.onnx"


class OnnxEncoder(Encoder):
    """The network as ONNX, in float32 or with weights and activations of the matrix products in int8.

    int8 is dynamic: every call scales by its own values, so nothing was calibrated on anybody's
    tiles. One thread per call, as in all engines.
    """

    def __init__(
        self, source: NetworkSource, spec: EngineSpec, *, cache_folder: Path | None = None
    ) -> None:
        super().__init__(source, spec)
        onnxruntime = import_onnxruntime()
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        is_int8 = spec.numerics == "int8"
        self._session = open_kept(
            cache_folder,
            {**label_network(source, spec, version=self.version), "int8": is_int8},
            write=lambda folder: write_onnx(
                source, folder / NETWORK, batch=spec.batch, is_int8=is_int8
            ),
            read=lambda folder: onnxruntime.InferenceSession(
                folder / NETWORK, options, providers=["CPUExecutionProvider"]
            ),
        )

    def _run(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        planes = normalise(tiles, self.source.checkpoint)
        return tuple(self._session.run(list(self.outputs), {"planes": planes}))


def import_onnxruntime() -> Any:
    """The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as err:
        raise MissingExtraError("the engine onnxruntime", extra="onnx") from err
    return onnxruntime


def write_onnx(source: NetworkSource, file: Path, *, batch: int, is_int8: bool = False) -> None:
    """Write the network as an ONNX file and, beside it, its weights.

    Raises:
        MissingExtraError: the packages that write ONNX are not installed.
    """
    import torch

    from dino_assets.embeddings.encoder.vit import load_network

    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as err:
        raise MissingExtraError("writing an ONNX file", extra="onnx") from err
    network = load_network(
        source.folder, source.checkpoint, side_px=source.side_px, outputs=source.outputs
    )
    planes = torch.zeros(batch, 3, source.side_px, source.side_px)
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), _hush():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (planes,),
            file,
            input_names=["planes"],
            output_names=list(source.outputs),
            dynamo=True,
            external_data=True,
            verbose=False,  # else it prints its progress
        )
        if is_int8:
            exact = sorted(file.parent.glob(f"{file.name}*"))
            small = file.with_name("int8.onnx")
            quantize_dynamic(
                file,
                small,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
            for old in exact:
                old.unlink()
            small.rename(file)


@contextlib.contextmanager
def _hush() -> Iterator[None]:
    """Keep two warnings that nobody can act upon out of the log, and nothing else."""
    noise = {
        "torch.onnx._internal.exporter._registration": "torchvision is not installed",
        "": "Please consider to run pre-processing before quantization",
    }
    filters = []
    for name, beginning in noise.items():

        def is_wanted(record: logging.LogRecord, beginning: str = beginning) -> bool:
            return not record.getMessage().startswith(beginning)

        filters.append((logging.getLogger(name), is_wanted))
    for logger, is_wanted in filters:
        logger.addFilter(is_wanted)
    handlers = list(logging.root.handlers)
    try:
        yield
    finally:
        for logger, is_wanted in filters:
            logger.removeFilter(is_wanted)
        # A bare logging.warning() gives the root logger a handler, and every line would come twice.
        for handler in [each for each in logging.root.handlers if each not in handlers]:
            logging.root.removeHandler(handler)
