"""From drone flights to the few tiles worth labelling, with full lineage.

Importing this package loads neither Dagster nor torch: public names are resolved when first used.
"""

from importlib import import_module
from typing import Any

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
    return sorted([*globals(), *_LAZY])
