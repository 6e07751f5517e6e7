"""Export of a checkpoint to ONNX with licence, model card and manifest, checked against transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.exports.checking import check_export, compute_expected, open_onnx
from dino_assets.exports.graph import GRAPH, check_packages, write_graph
from dino_assets.exports.papers import (
    copy_papers,
    describe_model,
    describe_tensors,
    list_spaces,
    list_versions,
    write_manifest,
)
from dino_assets.exports.settings import ExportSettings
from dino_assets.exports.torchscript import SCRIPT, open_torchscript, write_torchscript
from dino_assets.store.folders import check_room
from dino_assets.weights.records import Checkpoint

if TYPE_CHECKING:
    import torch

_BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Exported:
    """A finished export; ``manifest`` is the content of its manifest.json."""

    manifest: dict[str, Any]
    warnings: list[str]


def export_onnx(
    source: Path,
    checkpoint: Checkpoint,
    settings: ExportSettings,
    folder: Path,
    *,
    with_torchscript: bool = False,
    say: Callable[[str], object] = lambda line: None,
    checks_against: Callable[..., Any] | None = None,  # in place of transformers' own model
) -> Exported:
    """Export a checkpoint into an empty folder: graph, weights, licence, model card and manifest.

    The export fails if the graph's tokens differ from those of transformers. ``say`` is called with a line
    for each step. ``with_torchscript`` adds the network as TorchScript, model.pt. The bytes of that file are
    not reproducible: torch numbers its classes consecutively, so a process writes other bytes the second
    time. The asset ``deployments`` must be reproducible, so it has no model.pt.

    Raises:
        MissingExtraError: the extra ``export`` is not installed.
        DiskFullError: the disk has not enough space for the weights.
        ConfigError: the side is not a whole number of patches, or the exporter cannot write the opset.
        EngineRefusedError: the graph's tokens differ from those of transformers.
        InvalidCheckpointError: the checkpoint lacks tensors of the model.
    """
    check_packages()
    from dino_assets.embeddings.encoder.vit import load_model

    settings = settings.fit(checkpoint)
    # Checked first, because an export takes minutes, and NumPy's own error names neither disk nor size.
    copies = 3 if with_torchscript else 1  # the script is written, then copied
    check_room(
        folder,
        checkpoint.parameters * _BYTES_PER_PARAMETER * copies,
        what=f"exporting {checkpoint.model!r}",
        advice="Free some space, or choose a folder on a larger disk. Nothing was written.",
    )
    say(f"reading the weights of {checkpoint.model}")
    model = load_model(source, checkpoint)
    spaces = list_spaces(checkpoint, settings.side)
    say(f"writing {GRAPH}: {settings.side} px, opset {settings.opset}")
    network = make_network(model, checkpoint, settings)
    write_graph(
        network,
        settings,
        folder,
        about={
            "model": checkpoint.model,
            "revision": checkpoint.revision,
            "weights_sha256": checkpoint.weights_sha256,
            "space": spaces["fp32"],
        },
    )
    expected = compute_expected(
        (checks_against or (lambda own: own))(model), checkpoint, side_px=settings.side, say=say
    )
    check = partial(
        check_export, expected=expected, takes_pixels=settings.include_preprocessing, say=say
    )
    checks = {GRAPH: check(open_onnx(folder / GRAPH), what=GRAPH).facts}
    if with_torchscript:
        write_torchscript(network, settings, folder / SCRIPT)
        checks[SCRIPT] = check(open_torchscript(folder / SCRIPT), what=SCRIPT).facts
    warnings = copy_papers(source, folder, checkpoint, settings)
    facts = {
        "model": describe_model(checkpoint),
        "spaces": spaces,
        "side_px": settings.side,
        "opset": settings.opset,
        **describe_tensors(checkpoint, settings),
        "check": checks[GRAPH],
        **({"check_of_torchscript": checks[SCRIPT]} if with_torchscript else {}),
        "versions": list_versions(),
    }
    return Exported(write_manifest(folder, facts), warnings)


def make_network(model: Any, checkpoint: Checkpoint, settings: ExportSettings) -> "torch.nn.Module":
    """Make the network to export from transformers' model; it takes tiles of one side only."""
    from dino_assets.embeddings.encoder.vit import FixedVit
    from dino_assets.exports.networks import AllTokens, AllTokensOfPixels

    vit = FixedVit(model, checkpoint, size_px=(settings.side, settings.side), outputs=("patches",))
    network = (
        AllTokensOfPixels(vit, checkpoint) if settings.include_preprocessing else AllTokens(vit)
    )
    return network.eval().requires_grad_(False)
