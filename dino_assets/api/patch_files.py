"""Output files of ``PatchVisualizer``: pictures, pages and arrays; the ending sets the format."""

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
    """Check an output path, and return it.

    Raises:
        ConfigError: the ending is unknown, or the file is one of the input pictures.
    """
    target = expand_path(path)
    if target.suffix.lower() not in endings:
        raise ConfigError(
            f"cannot write {str(path)!r}: the name must end in {', '.join(endings)}",
            setting="output_path",
            value=str(path),
        )
    whole = target.resolve()
    if any(expand_path(image).resolve() == whole for image in images):
        raise ConfigError(
            f"{str(path)!r} is an input picture and would be overwritten: give another output file",
            setting="output_path",
            value=str(path),
        )
    return target


def encode_sheet(sheet: Image.Image, suffix: str) -> bytes:
    """Encode a picture in the format that the file ending ``suffix`` stands for."""
    if suffix.lower() == ".png":
        return encode_picture(sheet, "PNG", optimize=True)
    if suffix.lower() == ".webp":
        return encode_picture(sheet, "WEBP", quality=92)
    # Without chroma subsampling, which blurs coloured edges of text.
    return encode_picture(sheet, "JPEG", quality=92, subsampling=0)


def encode_features(features: Vectors, facts: Mapping[str, Any], suffix: str) -> bytes:
    """Encode features (rows, columns, D) and facts as ``.npz`` or ``.pt``, without pickled code.

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
