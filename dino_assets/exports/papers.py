"""Files that accompany an exported model: licence, model card, configs, and the manifest with hashes."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.space import make_space, name_space
from dino_assets.exports.graph import BATCH, INPUT, OUTPUT, example_shape
from dino_assets.exports.settings import ExportSettings
from dino_assets.weights.architecture import CONFIG, read_object
from dino_assets.weights.checkpoint import LICENCES, PREPROCESSOR, is_paper
from dino_assets.weights.records import Checkpoint

MANIFEST = "manifest.json"
FORMAT = "dino_assets.export"
# Packages whose versions decide the bytes of a graph, besides the settings.
DECIDING = ("torch", "transformers", "onnx", "onnx-ir", "onnxscript")


def list_versions() -> dict[str, str]:
    """List the versions of the packages that decide an export's bytes."""
    return {name: version(name) for name in DECIDING}


def list_spaces(checkpoint: Checkpoint, side_px: int) -> dict[str, str]:
    """Return the ids of the float32 and the half-precision space, by precision.

    An export's vectors can be compared with vectors of both spaces. They are computed in float32, which is
    more exact than the half-precision space requires.
    """
    return {
        precision: name_space(
            make_space(checkpoint, ComputeSettings(precision=precision), side_px=side_px)
        )
        for precision in ("fp32", "half")
    }


def describe_model(checkpoint: Checkpoint) -> dict[str, Any]:
    """Describe the checkpoint for the manifest: origin, architecture and hashes."""
    facts = asdict(checkpoint)
    del facts["files"], facts["mean"], facts["std"], facts["statistics_from"]
    return {name: value for name, value in facts.items() if value is not None}


def describe_tensors(checkpoint: Checkpoint, settings: ExportSettings) -> dict[str, Any]:
    """Describe the input and the output for the manifest: names, types, shapes, token ranges."""
    rows = settings.side // checkpoint.patch_px
    first_patch = 1 + checkpoint.registers
    tokens = first_patch + rows * rows
    takes_pixels = settings.include_preprocessing
    return {
        "input": {
            "name": INPUT,
            "dtype": "uint8" if takes_pixels else "float32",
            "shape": [BATCH, *example_shape(settings, batch=1)[1:]],
            "layout": "NHWC" if takes_pixels else "NCHW",
            "colours": "RGB",
            "values": "0 to 255" if takes_pixels else "(pixel / 255 - mean) / std",
            "mean": list(checkpoint.mean),
            "std": list(checkpoint.std),
            "statistics_from": checkpoint.statistics_from,
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [BATCH, tokens, checkpoint.dim],
            "tokens": {
                "cls": [0, 1],
                "registers": [1, first_patch],
                "patches": [first_patch, tokens],
            },
            "patches": [rows, rows],
        },
    }


def copy_papers(
    source: Path, folder: Path, checkpoint: Checkpoint, settings: ExportSettings
) -> list[str]:
    """Copy licence, notices, model card and config; return a warning if DINOv3's licence is missing.

    The image processor's config is written here, not copied: the Hub's own configs crop or shrink a tile.
    """
    names = [file.name for file in checkpoint.files if is_paper(file.name)]
    for name in (*names, CONFIG):
        shutil.copyfile(source / name, folder / name)
    processor = {
        "image_processor_type": read_object(source / PREPROCESSOR, checkpoint.model).get(
            "image_processor_type"
        ),
        "do_center_crop": False,
        "do_normalize": not settings.include_preprocessing,
        "do_rescale": not settings.include_preprocessing,
        "do_resize": True,
        "image_mean": list(checkpoint.mean),
        "image_std": list(checkpoint.std),
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": settings.side, "width": settings.side},
    }
    stated = {name: value for name, value in processor.items() if value is not None}
    (folder / PREPROCESSOR).write_text(json.dumps(stated, indent=2) + "\n")
    has_licence = any(name.lower().startswith(LICENCES) for name in names)
    if checkpoint.family == "dinov3_vit" and not has_licence and not checkpoint.caveat:
        return [
            "the checkpoint has no licence file, but DINOv3's licence requires its text to accompany the "
            "weights: copy LICENSE.md of the Hub's repository to the exported files before you distribute "
            "them"
        ]
    return []


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write manifest.json with the facts, and with sha256 and size of each file; return its content."""
    files = {
        path.relative_to(folder).as_posix(): _describe_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"format": FORMAT, "version": 1, **facts, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return manifest


def _describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": sha256, "bytes": path.stat().st_size}
