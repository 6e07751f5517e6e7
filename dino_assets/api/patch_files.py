"""What ``PatchVisualizer`` writes: pictures, pages and arrays, each in the format of its ending."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dino_assets.drawing.lettering import encode_picture
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.errors import ConfigError
from dino_assets.settings.urls import expand_path

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PAGES = (".html", ".htm")
FEATURES = (".npz", ".pt")


def check_target(
    path: str | Path, endings: tuple[str, ...], *, images: Iterable[str | Path]
) -> Path:
    """Where a file will be written, if it may be.

    Raises:
        ConfigError: an ending that says no format of ours, or one of the pictures would be lost.
    """
    target = expand_path(path)
    if target.suffix.lower() not in endings:
        raise ConfigError(
            f"cannot write {str(path)!r}: a name that ends in {', '.join(endings)} is expected",
            setting="output_path",
            value=str(path),
        )
    whole = target.resolve()
    if any(expand_path(image).resolve() == whole for image in images):
        raise ConfigError(
            f"{str(path)!r} is the photograph itself: name another file",
            setting="output_path",
            value=str(path),
        )
    return target


def encode_sheet(sheet: Image.Image, suffix: str) -> bytes:
    """A picture in the format of an ending."""
    if suffix.lower() == ".png":
        return encode_picture(sheet, "PNG", optimize=True)
    if suffix.lower() == ".webp":
        return encode_picture(sheet, "WEBP", quality=92)
    # 4:2:0 would smear coloured edges of text.
    return encode_picture(sheet, "JPEG", quality=92, subsampling=0)


def encode_features(features: Vectors, facts: Mapping[str, Any], suffix: str) -> bytes:
    """Features (rows, columns, D) and what they are, as ``.npz`` or ``.pt``; neither holds code.

    ``.npz`` opens with ``numpy.load``, ``.pt`` with ``torch.load(…, weights_only=True)``.
    """
    buffer = io.BytesIO()
    if suffix.lower() == ".npz":
        arrays: dict[str, Any] = {"features": features}
        arrays |= {name: np.array(value) for name, value in facts.items()}
        np.savez(buffer, **arrays)
        return buffer.getvalue()
    import torch

    torch.save({"features": torch.from_numpy(features.copy()), **facts}, buffer)
    return buffer.getvalue()
