"""Opening of models and pictures for ``PatchVisualizer``."""

import logging
from pathlib import Path

from dino_assets.api.models import find_model, resolve_devices
from dino_assets.drops.sources.folders import show_name
from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.pictures import Photo
from dino_assets.embeddings.attention.reader import PatchReader
from dino_assets.errors import DeviceUnavailableError, SourceError, UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets.settings.urls import expand_path
from dino_assets.weights.hub.filling import Progress

log = logging.getLogger(__name__)


def fall_back(device: str | None) -> str | None:
    """Return the device; for ``"cuda"`` without a GPU, warn and return the CPU."""
    if str(device) != "cuda":
        return device
    try:
        resolve_devices(device, precision="fp32", batch_size=1)
    except DeviceUnavailableError as err:
        log.warning("%s Using the CPU instead.", err)
        return "cpu"
    return device


def open_reader(
    model_name: str,
    device: str | None,
    *,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
) -> PatchReader:
    """Load a model by its folder, Hub repository or short name.

    A relative folder is looked for in the current folder, then in the project.

    Raises:
        CheckpointNotFoundError: the model cannot be found or fetched; the subclasses say why.
        InvalidCheckpointError: the checkpoint is incomplete or not supported.
        DeviceUnavailableError: this machine does not have the device.
        ConfigError: the name is empty.
    """
    (compute,) = resolve_devices(device, precision="fp32", batch_size=1)
    model = find_model(model_name, revision=revision, progress=progress)
    return PatchReader(model.folder, model.checkpoint, device=compute.device)


def read_photo(path: str | Path, *, patch_px: int, max_px: int) -> Photo:
    """Read a picture, turn it upright, and compute its patch grid.

    Raises:
        SourceError: the file cannot be read.
        UnusableImageError: the file is not a usable picture.
    """
    file = expand_path(path)
    try:
        data = file.read_bytes()
    except OSError as err:
        raise SourceError(
            f"cannot read {show_name(str(path))!r}: {err.strerror or err}",
            reason="missing" if isinstance(err, FileNotFoundError) else "unreadable",
            path=str(path),
        ) from err
    name = show_name(file.name)
    try:
        pixels = decode_image(data)
    except UnusableImageError as err:
        raise UnusableImageError(err.reason, f"{name}: {err.detail}") from err
    height, width = pixels.shape[:2]
    grid = fit_grid(width, height, patch_px=patch_px, max_px=max_px)
    return Photo(name, pixels, grid)
