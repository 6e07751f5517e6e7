"""OpenVINO engine: bfloat16 on a CPU, close to the peak rate of its matrix units."""

import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.converted import label_network, open_converted
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.tokens import Vectors, normalise
from dino_assets.errors import ConfigError

NETWORK = "network.xml"
_FEW_NUMBERS = 10_000  # for so many, numpy is faster than a call of OpenVINO
_first = threading.Lock()
_threads_in: list[int] = []  # id of the process that started OpenVINO's threads; empty before


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would look up a host and write to the home folder.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    with _first:
        return _import()


def open_core() -> Any:
    """Open OpenVINO's core for a model: one for the whole process, which is never closed.

    The core's CPU plug-in gives the thread that loads it another stack for handling signals, and unmaps that
    stack when the last core is closed. If that happens in another thread, the first thread keeps the address,
    and the next signal with a handler ends the process with a segmentation fault.

    Raises:
        ConfigError: this process was forked after a core was opened.
        ImportError: OpenVINO is not installed.
    """
    refuse_fork()
    with _first:
        return _keep_core()


@cache
def _keep_core() -> Any:
    return _import().Core()


@cache
def _import() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino
    from openvino import opset13 as ops

    # OpenVINO's binding creates some objects on first use. It does so under a lock that it holds while it
    # waits for Python's lock: two threads with simultaneous first inferences deadlock (3 of 14 tries).
    # So one thread uses everything once here. Its core ends here, too: a process may fork after this.
    blank = np.zeros((1, 1), np.float32)
    node = ops.parameter(blank.shape, np.float32)
    compiled = openvino.Core().compile_model(openvino.Model([ops.relu(node)], [node]), "CPU")
    request = compiled.create_infer_request()
    request.infer([blank], share_inputs=True)
    np.array(request.get_output_tensor(0).data)
    return openvino


def has_openvino() -> bool:
    """Check whether OpenVINO can be used here."""
    try:
        import_openvino()
    except (ImportError, OSError):  # not installed, or built for another C library
        return False
    return True


def refuse_fork() -> None:
    """Refuse to compute in a process that was forked after a network was opened.

    OpenVINO's threads do not exist in a forked process, so the process would wait for ever.

    Raises:
        ConfigError: this process was forked after a network was opened.
    """
    if not _threads_in:
        _threads_in.append(os.getpid())
    elif _threads_in[0] != os.getpid():
        raise ConfigError(
            f"this process was forked from process {_threads_in[0]} after a model was opened there, and "
            "OpenVINO does not work after a fork. Start processes with "
            "multiprocessing.get_context('spawn'), or open the first model after the fork",
            setting="start_method",
            value="fork",
            reason="forked",
        )


@cache
def compile_rounding() -> Any:
    """Compile a network that only rounds float32 numbers to 16 bits; all engines of the process share it."""
    core, openvino = open_core(), import_openvino()
    from openvino import opset13 as ops

    numbers = ops.parameter([-1], np.float32)
    network = openvino.Model([ops.convert(numbers, "f16")], [numbers])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return core.compile_model(network, "CPU", options)


@cache
def has_bf16() -> bool:
    """Check whether this CPU multiplies bfloat16; otherwise OpenVINO computes float32 instead."""
    with _first:  # no other thread's core is the last one while this one is closed
        return "BF16" in _import().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEncoder(Encoder):
    """An OpenVINO network, converted once and cached as a file; the next start takes a second.

    OpenVINO computes the calls of different threads in separate streams, each with one thread of its own. So
    threads do not wait for each other at every layer. A widened engine also has a network of one stream with all
    threads, for a call that is alone.
    """

    def __init__(
        self,
        source: NetworkSource,
        spec: EngineSpec,
        *,
        cache_folder: Path | None = None,
        convert: Callable[..., Any] | None = None,  # in place of `convert_network`
    ) -> None:
        super().__init__(source, spec)
        core, openvino = open_core(), import_openvino()
        self.version = openvino.__version__.partition("-")[0]
        # Read from the file even after a conversion: with the graph in memory, results differ by 4e-7.
        self._graph = open_converted(
            cache_folder,
            label_network(source, spec, version=self.version),
            write=lambda folder: openvino.save_model(
                (convert or convert_network)(source, batch=spec.batch),
                folder / NETWORK,
                compress_to_fp16=False,
            ),
            read=lambda folder: core.read_model(folder / NETWORK),
        )
        self.compiled = self._compile(streams=spec.threads)
        self._own = threading.local()
        self._wide: Any = None
        self._wide_turn = threading.Lock()

    def run_batch(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Compute one batch with the calling thread's own inference request."""
        refuse_fork()
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self.compiled.create_infer_request()
        return self._infer(request, tiles)

    def to_half(self, values: Vectors) -> NDArray[np.float16]:
        """Round numbers to 16 bits with OpenVINO, unless they are few."""
        if values.size < _FEW_NUMBERS:
            return super().to_half(values)
        refuse_fork()
        request = getattr(self._own, "rounding", None)
        if request is None:
            request = self._own.rounding = compile_rounding().create_infer_request()
        request.infer([values.ravel()], share_inputs=True, share_outputs=True)
        return np.array(request.get_output_tensor(0).data).reshape(values.shape)

    def widen(self) -> bool:
        """Compile the network a second time, with all threads in one stream, for calls that are alone.

        The weights are in memory twice then. The second network is used only if its numbers are the same
        bit for bit, so that a result does not depend on what else is computed.
        """
        if self.spec.threads < 2:
            return False
        shape = (self.spec.batch, self.source.side_px, self.source.side_px, 3)
        tiles = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        request = self._compile(streams=1).create_infer_request()
        pairs = zip(self._infer(request, tiles), self.run_batch(tiles), strict=True)
        if all(np.array_equal(wide, narrow, equal_nan=True) for wide, narrow in pairs):
            self._wide = request
        return self._wide is not None

    def run_alone(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Compute one batch with all threads, if the engine was widened and no other call does so."""
        if self._wide is None or not self._wide_turn.acquire(blocking=False):
            return self.run_batch(tiles)
        try:
            refuse_fork()
            return self._infer(self._wide, tiles)
        finally:
            self._wide_turn.release()

    def _compile(self, *, streams: int) -> Any:
        return open_core().compile_model(
            self._graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if self.spec.numerics == "bf16" else "f32",
                "INFERENCE_NUM_THREADS": self.spec.threads,
                "NUM_STREAMS": streams,
                "ENABLE_CPU_PINNING": False,  # other work runs on these cores, too
            },
        )

    def _infer(self, request: Any, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        planes = normalise(tiles, self.source.checkpoint)
        request.infer([planes], share_inputs=True, share_outputs=True)  # copied below, once
        return tuple(np.array(request.get_output_tensor(i).data) for i in range(len(self.outputs)))


def convert_network(source: NetworkSource, *, batch: int) -> Any:
    """Convert the network to an OpenVINO graph directly from PyTorch.

    A conversion through ONNX needs more packages, and its graph is not faster.
    """
    import torch

    from dino_assets.embeddings.encoder.vit import load_network

    openvino = import_openvino()
    network = load_network(
        source.folder, source.checkpoint, side_px=source.side_px, outputs=source.outputs
    )
    shape = (batch, 3, source.side_px, source.side_px)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns about every size that becomes a constant
        # Traced here, because OpenVINO's own tracing checks the trace by two more runs: 3 × the time.
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            network, torch.zeros((1, *shape[1:])), check_trace=False
        )
        return openvino.convert_model(traced, input=[shape])
