"""A model for looking into, by its name, and the pictures that it looks at."""

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
    """The device, or the CPU with a warning where it is ``"cuda"``, the documents' default, and not here."""
    if str(device) != "cuda":
        return device
    try:
        resolve_devices(device, precision="fp32", batch_size=1)
    except DeviceUnavailableError as err:
        log.warning("%s Computing on the CPU.", err)
        return "cpu"
    return device


def open_reader(
    model_name: str,
    device: str | None,
    *,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
) -> PatchReader:
    """Load a model: a folder, seen from here or from the project, a Hub repository, or a short name.

    Raises:
        CheckpointNotFoundError: it cannot be had; the subclasses say why.
        InvalidCheckpointError: it is no whole checkpoint of ours.
        DeviceUnavailableError: a device was named that is not here.
        ConfigError: a name that is none.
    """
    (compute,) = resolve_devices(device, precision="fp32", batch_size=1)
    model = find_model(model_name, revision=revision, progress=progress)
    return PatchReader(model.folder, model.checkpoint, device=compute.device)


def read_photo(path: str | Path, *, patch_px: int, max_px: int) -> Photo:
    """Read a picture, upright, with the grid over it.

    Raises:
        SourceError: the file cannot be read.
        UnusableImageError: it is no usable picture.
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
