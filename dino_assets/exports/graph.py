"""ONNX graph of a network: one input, one output, any batch size, reproducible bytes."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.errors import ConfigError, MissingExtraError
from dino_assets.exports.settings import ExportSettings

if TYPE_CHECKING:
    import torch

GRAPH, DATA = "model.onnx", "model.onnx.data"
INPUT, OUTPUT, BATCH = "pixel_values", "last_hidden_state", "batch"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_packages(packages: tuple[str, ...] = PACKAGES) -> None:
    """Check that the packages for an export are installed, before weights are fetched.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as err:
            raise MissingExtraError("Exporting a model", extra="export") from err


def example_shape(settings: ExportSettings, *, batch: int) -> tuple[int, ...]:
    """Return the shape of the network's input for ``batch`` tiles."""
    side_px = settings.side
    return (
        (batch, side_px, side_px, 3)
        if settings.include_preprocessing
        else (batch, 3, side_px, side_px)
    )


def write_graph(
    network: "torch.nn.Module",
    settings: ExportSettings,
    folder: Path,
    *,
    about: Mapping[str, str],
) -> None:
    """Write a network as an ONNX graph, and its weights in a file beside the graph.

    ``about`` is stored in the graph's metadata. The batch size is dynamic, the side is fixed: DINOv2's
    positions belong to one side, so a graph with a dynamic side would fail when it runs.

    Raises:
        ConfigError: the exporter wrote another opset than the requested one.
    """
    import onnx
    import torch

    dtype = torch.uint8 if settings.include_preprocessing else torch.float32
    # Two tiles: with one tile, torch would make the batch a constant.
    example = torch.zeros(example_shape(settings, batch=2), dtype=dtype)
    with _silence_exporter(), torch.inference_mode():
        program: Any = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=settings.opset,
            dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},),
            dynamo=True,
            verbose=False,  # otherwise the exporter prints its progress
        )
    model = program.model
    opset = model.opset_imports.get("")
    if opset != settings.opset:
        raise ConfigError(
            f"opset {settings.opset} is requested, but torch's exporter writes opset {opset} here. Use "
            f"--opset {opset}.",
            setting="opset",
            value=settings.opset,
        )
    _remove_origins(model)
    model.metadata_props.update(about)
    program.save(folder / GRAPH, external_data=True)
    onnx.checker.check_model(folder / GRAPH)


def _remove_origins(model: Any) -> None:
    """Remove torch's metadata of each operation, which contains paths of this machine."""
    for values in (model.graph, model.graph.inputs, model.graph.outputs):
        for each in values:
            each.metadata_props.clear()
            each.doc_string = None
            for output in getattr(each, "outputs", ()):
                output.metadata_props.clear()
    for tensor in model.graph.initializers.values():
        tensor.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


@contextlib.contextmanager
def _silence_exporter() -> Iterator[None]:
    """Silence the exporter's warnings about missing torchvision and about constants in tracing."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
