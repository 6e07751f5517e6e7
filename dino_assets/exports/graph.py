"""A network as an ONNX graph: one input, one output, any batch, the same bytes each time."""

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
    """Refuse early, before weights are fetched, what cannot be done here.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as err:
            raise MissingExtraError("Exporting a model", extra="export") from err


def example_shape(settings: ExportSettings, *, batch: int) -> tuple[int, ...]:
    """The shape of an input of so many tiles."""
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
    """Write the graph and, beside it, its weights; ``about`` is kept in the graph's metadata.

    The side is never declared dynamic: positions of DINOv2 belong to one, and a graph that declares
    it fails when it runs.

    Raises:
        ConfigError: the exporter wrote another opset than was asked for.
    """
    import onnx
    import torch

    dtype = torch.uint8 if settings.include_preprocessing else torch.float32
    # Two tiles: of one, torch would take the batch for a constant.
    example = torch.zeros(example_shape(settings, batch=2), dtype=dtype)
    with _quiet(), torch.inference_mode():
        program: Any = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=settings.opset,
            dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},),
            dynamo=True,
            verbose=False,  # else it prints its progress
        )
    model = program.model
    opset = model.opset_imports.get("")
    if opset != settings.opset:
        raise ConfigError(
            f"opset {settings.opset} was asked for, and torch's exporter gives {opset} here. "
            f"Ask for --opset {opset}.",
            setting="opset",
            value=settings.opset,
        )
    _forget_origin(model)
    model.metadata_props.update(about)
    program.save(folder / GRAPH, external_data=True)
    onnx.checker.check_model(folder / GRAPH)


def _forget_origin(model: Any) -> None:
    """Remove what torch notes of each operation: its place in files of this machine, above all."""
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
def _quiet() -> Iterator[None]:
    """Without what the exporter warns of: torchvision, which is not here, and constants of tracing."""
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
