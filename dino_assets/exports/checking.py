"""Check of exported files: their tokens are compared with those of transformers' own model."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.devices import available_cpus
from dino_assets.compute.threads import one_torch_thread
from dino_assets.embeddings.encoder.gate import GateReport, compare_with_reference, draw_gate_tiles
from dino_assets.embeddings.encoder.tokens import Tokens, Vectors, normalise
from dino_assets.errors import EngineRefusedError
from dino_assets.exports.graph import INPUT, OUTPUT
from dino_assets.weights.records import Checkpoint

# Tiles per call: one, three, eight, and the rest.
BATCHES = (1, 3, 8, 4)
# An exported file as a function: it takes an array for the file's input and returns all tokens (N, T, D).
Compute = Callable[[NDArray[Any]], Vectors]
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Expected:
    """The tiles of the check, and their tokens as transformers' own model computes them in float32."""

    checkpoint: Checkpoint
    tiles: NDArray[np.uint8]
    hidden: Vectors  # (N, T, D)

    def split(self, hidden: Vectors) -> Tokens:
        """Split hidden states (N, T, D) into CLS, registers and patches, and compute the patches' mean."""
        first_patch = 1 + self.checkpoint.registers
        patches = hidden[:, first_patch:]
        mean = patches.mean(axis=1, dtype=np.float64).astype(np.float32)
        return Tokens(hidden[:, 0], mean, hidden[:, 1:first_patch], patches)


@dataclass(frozen=True)
class ExportCheck:
    """Differences between a file's tokens and those of transformers, over all tiles and batches."""

    report: GateReport
    largest_difference: float

    @property
    def facts(self) -> dict[str, Any]:
        """The differences, rounded, for manifests."""
        return {
            "tiles": self.report.tiles,
            "batches": list(BATCHES),
            "cls_cosine": round(self.report.cls_cosine, 6),
            "cls_centred": round(self.report.cls_centred, 5),
            "token_cosine": round(self.report.token_cosine, 6),
            "largest_difference": float(f"{self.largest_difference:.1e}"),
        }


def compute_expected(
    model: Any, checkpoint: Checkpoint, *, side_px: int, say: Callable[[str], object]
) -> Expected:
    """Compute the expected tokens with transformers' own model.

    Each call computes one tile, and as many calls run at the same time as there are cores.
    """
    import torch

    tiles = draw_gate_tiles(side_px)

    def compute(tile: NDArray[np.uint8]) -> Vectors:
        with torch.inference_mode():
            planes = torch.from_numpy(normalise(tile[None], checkpoint))
            hidden: Vectors = model(planes).last_hidden_state.numpy()
        return hidden

    with one_torch_thread(), ThreadPoolExecutor(available_cpus()) as pool:
        hidden = list(
            _report_progress(
                pool.map(compute, tiles), len(tiles), "tiles computed with transformers", say
            )
        )
    return Expected(checkpoint, tiles, np.concatenate(hidden))


def check_export(
    compute: Compute,
    *,
    expected: Expected,
    takes_pixels: bool,
    what: str,
    say: Callable[[str], object],
) -> ExportCheck:
    """Compare an exported file's tokens with the expected ones, in calls of each size in ``BATCHES``.

    ``compute`` runs the file, ``what`` is its name. ``takes_pixels`` says that its input is uint8 pixels and
    not normalised planes. ``say`` is called with sentences about the progress.

    Raises:
        EngineRefusedError: the file's tokens differ from the expected ones.
    """
    tiles, calls, first = expected.tiles, [], 0
    for size in BATCHES:
        piece = tiles[first : first + size]
        calls.append(piece if takes_pixels else normalise(piece, expected.checkpoint))
        first += size
    with ThreadPoolExecutor(min(len(calls), available_cpus())) as pool:
        # The largest call first, so that no core waits for it at the end.
        order = sorted(range(len(calls)), key=lambda number: -len(calls[number]))
        done = zip(order, pool.map(lambda number: compute(calls[number]), order), strict=True)
        outputs = dict(_report_progress(done, len(calls), f"calls of {what} computed", say))
    hidden = np.concatenate([outputs[number] for number in range(len(calls))])
    if hidden.shape == expected.hidden.shape:
        difference = float(np.abs(hidden - expected.hidden).max())
        report = compare_with_reference(
            expected.split(expected.hidden), expected.split(hidden), "fp32"
        )
        if report.passed:
            return ExportCheck(report, difference)
        fault = str(report)
    else:
        fault = f"shape {hidden.shape}, {expected.hidden.shape} expected"
    raise EngineRefusedError(
        f"{what}: its tokens differ from those of transformers ({fault}). Nothing was written. Try another "
        "--opset, or other versions of torch and onnxscript.",
        refused=(f"{what}: {fault}",),
    )


def open_onnx(path: Path) -> Compute:
    """Open an ONNX file in ONNX Runtime on the CPU, and return it as a function.

    Each call of the function uses one thread, as in all engines.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def compute(values: NDArray[Any]) -> Vectors:
        (hidden,) = session.run([OUTPUT], {INPUT: values})
        return np.asarray(hidden)

    return compute


def _report_progress(
    results: Iterator[Result], total: int, what: str, say: Callable[[str], object]
) -> Iterator[Result]:
    for number, result in enumerate(results, start=1):
        if number in (total, total // 2):
            say(f"checking the export: {number} of {total} {what}")
        yield result
