"""The source documents' constants."""

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
DEFAULT_DEVICE: (
    str  # cuda, mps or cpu: looked up when it is first asked for, since it imports torch
)

UMAP_DEFAULTS = {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine"}

IMAGE_EXTENSIONS = [".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"]
IMAGE_SIZE = 224  # whole pictures are scaled to squares of this side


def __getattr__(name: str) -> Any:
    if name == "DEFAULT_DEVICE":
        from dino_assets.compute.devices import resolve_device

        return resolve_device("auto")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
