"""ONNX Runtime, a peer to compare with."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.converted import label_network, open_converted
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.tokens import Vectors, normalise

NETWORK = "network.onnx"


class OnnxEncoder(Encoder):
    """The network as ONNX in float32, one thread per call as in all engines."""

    def __init__(self, source: NetworkSource, spec: EngineSpec, *, cache_folder: Path) -> None:
        import onnxruntime

        super().__init__(source, spec)
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = open_converted(
            cache_folder,
            label_network(source, spec, version=self.version),
            write=lambda folder: write_onnx(source, folder / NETWORK, batch=spec.batch),
            read=lambda folder: onnxruntime.InferenceSession(
                folder / NETWORK, options, providers=["CPUExecutionProvider"]
            ),
        )

    def run_batch(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        planes = normalise(tiles, self.source.checkpoint)
        return tuple(self._session.run(list(self.outputs), {"planes": planes}))


def write_onnx(source: NetworkSource, file: Path, *, batch: int) -> None:
    """Write the network as an ONNX file and, beside it, its weights."""
    import torch

    from dino_assets.embeddings.encoder.vit import load_network

    network = load_network(
        source.folder, source.checkpoint, side_px=source.side_px, outputs=source.outputs
    )
    planes = torch.zeros(batch, 3, source.side_px, source.side_px)
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
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
