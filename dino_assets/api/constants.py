"""Constants of the Python API: models, defaults, image file endings."""

from typing import Any

from dino_assets.weights.catalogue import PUBLISHED

DINOV2_MODELS = {
    size: {
        "name": f"facebook/dinov2-{size}",
        "dim": PUBLISHED[f"facebook/dinov2-{size}"].dim,
        "patch_size": 14,
    }
    for size in ("small", "base", "large", "giant")
}
DEFAULT_BATCH_SIZE = 32
DEFAULT_NUM_WORKERS = 4
DEFAULT_DEVICE: str  # cuda, mps or cpu; computed on first use, since that imports torch

UMAP_DEFAULTS = {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine"}

IMAGE_EXTENSIONS = [".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"]
IMAGE_SIZE = 224  # side of the squares that whole pictures are scaled to


def __getattr__(name: str) -> Any:
    if name == "DEFAULT_DEVICE":
        from dino_assets.compute.devices import resolve_device

        return resolve_device("auto")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
