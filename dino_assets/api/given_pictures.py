"""Conversion of Python pictures to pixels: paths, bytes, open files, Pillow images, arrays, tensors."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dino_assets.embeddings.run.pictures import Picture
from dino_assets.errors import ConfigError, UnusableImageError
from dino_assets.images.decoding.scaling import scale_to_bytes
from dino_assets.settings.urls import expand_path

_CHANNELS = (1, 3, 4)


def to_picture(image: Any) -> Picture:
    """Convert a picture to a file's path, a file's bytes, or upright RGB pixels (H, W, 3).

    An open file, for example a BytesIO, is read from its current position. Arrays are (H, W), (H, W, 1),
    (H, W, 3) or (H, W, 4); tensors have the channels first, and may be a batch of one. uint8 is used
    unchanged, and uint16 is reduced to its high byte. Floats from 0 to 1, and booleans, are scaled to
    0 … 255.

    Raises:
        UnusableImageError: ``image`` is not a picture, or has floats outside 0 … 1.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        try:
            return expand_path(os.fspath(image))
        except ConfigError as err:  # an invalid file name
            raise UnusableImageError("missing", str(err)) from err
    if isinstance(image, Image.Image):
        return _read_pillow(image)
    if isinstance(image, np.ndarray):
        return _to_rgb(_to_bytes(image))
    if callable(getattr(image, "read", None)):  # before tensors: files have `detach` too
        return _read_open_file(image)
    if hasattr(image, "detach"):
        return _to_rgb(_to_bytes(_put_channels_last(image)))
    raise UnusableImageError(
        "not-an-image",
        f"the picture is a {type(image).__name__}; a path, bytes, an open file, a Pillow image, an array "
        "or a tensor is expected",
    )


def check_batch(batch: Any) -> None:
    """Check that ``batch`` is a batch of pictures, not a single picture.

    Each row of a single picture would otherwise be taken for a picture.

    Raises:
        ConfigError: ``batch`` is a single picture, or holds no pictures.
    """
    is_array = hasattr(batch, "dtype") and hasattr(batch, "shape")
    is_one = isinstance(batch, str | bytes | bytearray | os.PathLike | Image.Image) or (
        is_array and batch.ndim in (2, 3)
    )
    if is_one or not (is_array or isinstance(batch, Iterable)) or hasattr(batch, "keys"):
        kind = f"{type(batch).__name__} {tuple(batch.shape)}" if is_array else type(batch).__name__
        raise ConfigError(
            f"batch is a {kind}; a tensor (B, 3, H, W), an array (B, H, W, 3) or a list of pictures is "
            "expected. For one picture, use extract_single.",
            setting="batch",
            value=kind,
        )


def to_tiles(batch: Any) -> NDArray[np.uint8] | None:
    """Convert a tensor (N, 3, H, W) or an array (N, H, W, 3) to a uint8 array (N, H, W, 3).

    Return None for anything else.

    Raises:
        UnusableImageError: ``batch`` has floats outside 0 … 1.
    """
    if getattr(batch, "ndim", 0) != 4:
        return None
    if hasattr(batch, "detach"):
        if batch.shape[1] != 3:
            return None
        # This does not copy a tensor that was made from channels-last tiles.
        batch = batch.detach().permute(0, 2, 3, 1).cpu().numpy()
    if batch.shape[3] != 3:
        return None
    return np.ascontiguousarray(_to_bytes(batch))


def _read_open_file(file: Any) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as err:  # the file is closed, or open for writing
        raise UnusableImageError("unreadable", str(err)) from err
    if not isinstance(data, bytes):
        raise UnusableImageError("not-an-image", "the file is open as text; open it with 'rb'")
    return data


def _read_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a Pillow image to the pixels that the same picture would give if it was read from a file."""
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):
        return _to_rgb(_to_bytes(np.asarray(turned).astype(np.uint16)))
    if turned.mode in ("I", "F"):
        return _to_rgb(scale_to_bytes(np.asarray(turned)))
    return np.array(turned.convert("RGB"))


def _put_channels_last(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim == 3:
        tensor = tensor.permute(1, 2, 0)
    return np.asarray(tensor.float().numpy() if _is_short(tensor) else tensor.numpy())


def _is_short(tensor: Any) -> bool:
    """Check for bfloat16, which NumPy lacks, or float16, with which NumPy computes inexactly."""
    return bool(tensor.is_floating_point()) and tensor.element_size() < 4


def _to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return scale_to_bytes(pixels)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise UnusableImageError(
            "unsupported-mode", f"pixels are {pixels.dtype}; uint8, or floats 0 … 1 are expected"
        )
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise UnusableImageError(
            "unsupported-mode",
            f"pixels are floats from {low:.4g} to {high:.4g}; 0 … 1 is expected. The extractor normalises "
            "with the model's own mean and std: leave normalisation out of your transform.",
        )
    return np.asarray(np.rint(pixels * 255), np.uint8)


def _to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert to RGB as for files: repeat a gray channel, and remove transparency."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in _CHANNELS:
        raise UnusableImageError(
            "unsupported-mode",
            f"pixels have the shape {pixels.shape}; (H, W, channels) with 1, 3 or 4 channels is expected",
        )
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
