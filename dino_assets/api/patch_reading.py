"""A model for looking into, by its name, and the pictures that it looks at."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import get_args

from dino_assets.compute.devices import resolve_device
from dino_assets.compute.settings import Device
from dino_assets.drops.sources.folders import show_name
from dino_assets.embeddings.attention.grid import fit_grid
from dino_assets.embeddings.attention.pictures import Photo
from dino_assets.embeddings.attention.reader import PatchReader
from dino_assets.errors import ConfigError, DeviceUnavailableError, SourceError, UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets.settings.choices import check_word
from dino_assets.settings.environment import find_root
from dino_assets.settings.urls import expand_path
from dino_assets.weights.architecture import check_config
from dino_assets.weights.fetching import read_located
from dino_assets.weights.hub.filling import Progress, Watch
from dino_assets.weights.hub.locating import locate_checkpoint
from dino_assets.weights.records import spell_caveat

log = logging.getLogger(__name__)


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
    name = str(model_name)
    if not name.strip():
        raise ConfigError(
            "the model's name is empty: name a folder, or a model such as dinov2-base",
            setting="model_name",
        )
    place = find_device(device)
    here = expand_path(name)
    located = locate_checkpoint(
        str(here.absolute()) if here.is_dir() else name,
        root=find_root(),
        revision=revision,
        watch=Watch(progress, glance=lambda folder: check_config(folder, name)),
    )
    folder = located.bring()
    checkpoint = read_located(replace(located, model=name), folder)
    if checkpoint.caveat:
        log.warning("%s: %s", name, spell_caveat(checkpoint.caveat))
    return PatchReader(folder, checkpoint, device=place)


def find_device(wanted: str | None) -> str:
    """The device of a word: ``auto`` (or None), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        DeviceUnavailableError: it was named and is not here.
        ConfigError: the word means nothing.
    """
    word = "auto" if wanted is None else str(wanted)
    kind, _, number = word.partition(":")
    check_word("device", kind, get_args(Device))
    place = resolve_device(kind)  # type: ignore[arg-type]
    if not number:
        return place
    import torch

    cards = torch.cuda.device_count() if place == "cuda" else 0
    if not number.isdecimal() or int(number) >= cards:
        raise DeviceUnavailableError(
            f"device {word!r} was asked for, but PyTorch sees {cards} cards of this kind here",
            setting="device",
            value=word,
        )
    return word


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
