"""From drone flights to the few tiles worth labelling, with full lineage.

Importing this package loads neither Dagster nor torch: public names are resolved when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see of the table below
    from dino_assets.api.cached_extractor import CachedExtractor as CachedExtractor
    from dino_assets.api.constants import DEFAULT_BATCH_SIZE as DEFAULT_BATCH_SIZE
    from dino_assets.api.constants import DEFAULT_DEVICE as DEFAULT_DEVICE
    from dino_assets.api.constants import DEFAULT_NUM_WORKERS as DEFAULT_NUM_WORKERS
    from dino_assets.api.constants import DINOV2_MODELS as DINOV2_MODELS
    from dino_assets.api.constants import IMAGE_EXTENSIONS as IMAGE_EXTENSIONS
    from dino_assets.api.constants import IMAGE_SIZE as IMAGE_SIZE
    from dino_assets.api.constants import UMAP_DEFAULTS as UMAP_DEFAULTS
    from dino_assets.api.embedding_files import save_embeddings as save_embeddings
    from dino_assets.api.extractor import DINOv2Extractor as DINOv2Extractor
    from dino_assets.api.fetcher import fetch_dinov3 as fetch_dinov3
    from dino_assets.api.fetcher import validate_dinov3 as validate_dinov3
    from dino_assets.api.image_dataset import ImageDataset as ImageDataset
    from dino_assets.api.large_sets import extract_embeddings as extract_embeddings
    from dino_assets.api.large_sets import (
        extract_multiscale_features as extract_multiscale_features,
    )
    from dino_assets.api.large_sets import parallel_extract as parallel_extract
    from dino_assets.api.large_sets import process_large_dataset as process_large_dataset
    from dino_assets.api.large_sets import write_embeddings as write_embeddings
    from dino_assets.errors import UnusableImageWarning as UnusableImageWarning

__version__ = "0.1.0"

_LAZY = {
    # Not `defs` or `definitions`: importing the modules of these names would hide it.
    "lineage": ("dino_assets.definitions", "defs"),
    "CachedExtractor": ("dino_assets.api.cached_extractor", "CachedExtractor"),
    "DINOv2Transformer": ("dino_assets.api.transformer", "DINOv2Transformer"),
    "DINOv2Extractor": ("dino_assets.api.extractor", "DINOv2Extractor"),
    "ImageDataset": ("dino_assets.api.image_dataset", "ImageDataset"),
    "UnusableImageWarning": ("dino_assets.errors", "UnusableImageWarning"),
    "extract_embeddings": ("dino_assets.api.large_sets", "extract_embeddings"),
    "extract_multiscale_features": ("dino_assets.api.large_sets", "extract_multiscale_features"),
    "parallel_extract": ("dino_assets.api.large_sets", "parallel_extract"),
    "process_large_dataset": ("dino_assets.api.large_sets", "process_large_dataset"),
    "save_embeddings": ("dino_assets.api.embedding_files", "save_embeddings"),
    "write_embeddings": ("dino_assets.api.large_sets", "write_embeddings"),
    **{
        name: ("dino_assets.api.constants", name)
        for name in (
            "DEFAULT_BATCH_SIZE",
            "DEFAULT_DEVICE",
            "DEFAULT_NUM_WORKERS",
            "DINOV2_MODELS",
            "IMAGE_EXTENSIONS",
            "IMAGE_SIZE",
            "UMAP_DEFAULTS",
        )
    },
    "PatchVisualizer": ("dino_assets.api.patch_visualizer", "PatchVisualizer"),
    "DiverseImageSelector": ("dino_assets.api.selector", "DiverseImageSelector"),
    "UncertaintySelector": ("dino_assets.api.selector", "UncertaintySelector"),
    "UMAPVisualizer": ("dino_assets.api.visualizer", "UMAPVisualizer"),
    "IncrementalUMAP": ("dino_assets.api.visualizer", "IncrementalUMAP"),
    "fetch_dinov3": ("dino_assets.api.fetcher", "fetch_dinov3"),
    "validate_dinov3": ("dino_assets.api.fetcher", "validate_dinov3"),
}


def __getattr__(name: str) -> Any:
    # `dagster … -m dino_assets` looks for Definitions among this module's attributes.
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `dagster … -m dino_assets` loads every name that is listed here: with the others each of its
    # commands would import torch. Editors know them from the block above.
    return sorted([*globals(), "lineage", "fetch_dinov3", "validate_dinov3"])
