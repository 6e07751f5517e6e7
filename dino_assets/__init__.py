"""From drone flights to the few tiles worth labelling, with full lineage.

Importing this package loads neither Dagster nor torch. Each public name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the table below, for type checkers and editors
    from dino_assets.api.cached_extractor import CachedExtractor as CachedExtractor
    from dino_assets.api.constants import DEFAULT_BATCH_SIZE as DEFAULT_BATCH_SIZE
    from dino_assets.api.constants import DEFAULT_DEVICE as DEFAULT_DEVICE
    from dino_assets.api.constants import DEFAULT_NUM_WORKERS as DEFAULT_NUM_WORKERS
    from dino_assets.api.constants import DINOV2_MODELS as DINOV2_MODELS
    from dino_assets.api.constants import IMAGE_EXTENSIONS as IMAGE_EXTENSIONS
    from dino_assets.api.constants import IMAGE_SIZE as IMAGE_SIZE
    from dino_assets.api.constants import UMAP_DEFAULTS as UMAP_DEFAULTS
    from dino_assets.api.embed import EmbeddedTiles as EmbeddedTiles
    from dino_assets.api.embed import embed as embed
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
    from dino_assets.api.patch_visualizer import PatchVisualizer as PatchVisualizer
    from dino_assets.api.project import Project as Project
    from dino_assets.api.project import TileVectors as TileVectors
    from dino_assets.api.project import open_project as open_project
    from dino_assets.api.selector import DiverseImageSelector as DiverseImageSelector
    from dino_assets.api.selector import FewerThanAskedWarning as FewerThanAskedWarning
    from dino_assets.api.selector import UncertaintySelector as UncertaintySelector
    from dino_assets.api.teacher import DinoV3Config as DinoV3Config
    from dino_assets.api.teacher import DinoV3Teacher as DinoV3Teacher
    from dino_assets.api.transformer import DINOv2Transformer as DINOv2Transformer
    from dino_assets.api.visualizer import IncrementalUMAP as IncrementalUMAP
    from dino_assets.api.visualizer import UMAPVisualizer as UMAPVisualizer
    from dino_assets.errors import UnusableImageWarning as UnusableImageWarning

__version__ = "0.1.0"

_PUBLIC = {
    "api.cached_extractor": ("CachedExtractor",),
    "api.constants": (
        "DEFAULT_BATCH_SIZE",
        "DEFAULT_DEVICE",
        "DEFAULT_NUM_WORKERS",
        "DINOV2_MODELS",
        "IMAGE_EXTENSIONS",
        "IMAGE_SIZE",
        "UMAP_DEFAULTS",
    ),
    "api.embed": ("EmbeddedTiles", "embed"),
    "api.embedding_files": ("save_embeddings",),
    "api.extractor": ("DINOv2Extractor",),
    "api.fetcher": ("fetch_dinov3", "validate_dinov3"),
    "api.image_dataset": ("ImageDataset",),
    "api.large_sets": (
        "extract_embeddings",
        "extract_multiscale_features",
        "parallel_extract",
        "process_large_dataset",
        "write_embeddings",
    ),
    "api.patch_visualizer": ("PatchVisualizer",),
    "api.project": ("Project", "TileVectors", "open_project"),
    "api.selector": ("DiverseImageSelector", "FewerThanAskedWarning", "UncertaintySelector"),
    "api.teacher": ("DinoV3Config", "DinoV3Teacher"),
    "api.transformer": ("DINOv2Transformer",),
    "api.visualizer": ("IncrementalUMAP", "UMAPVisualizer"),
    "errors": ("UnusableImageWarning",),
}
_LAZY = {
    name: (f"{__name__}.{module}", name) for module, names in _PUBLIC.items() for name in names
}
# For `from dino_assets import *`.
__all__ = [name for names in _PUBLIC.values() for name in names]
# Not named `defs` or `definitions`: importing the modules with these names would overwrite it.
_LAZY["lineage"] = (f"{__name__}.definitions", "defs")
# Modules that are part of the public surface.
_MODULES = ("testing",)


def __getattr__(name: str) -> Any:
    # `dagster … -m dino_assets` looks for Definitions among this module's attributes.
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `dagster … -m dino_assets` loads every name that is listed here. If all public names were listed, each
    # of its commands would import torch. Editors find the public names in the block under TYPE_CHECKING.
    return sorted([*globals(), "lineage", "fetch_dinov3", "validate_dinov3"])
