"""Folders of pictures, and the loop that people write themselves to embed them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.networks import Sample, compute_expected

NAMES = ("class1/img1.jpg", "class1/img2.JPG", "class2/img1.jpg", "class2/deep/img4.jpg")


def write_pictures(folder: Path, names: Iterable[str] = NAMES) -> Path:
    """Seeded pictures of up to sixteen sizes, each its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.lower().endswith("png") else "JPEG"
        path.write_bytes(photo_bytes(300 + 40 * (number % 16), 240, seed=number, kind=kind))
    return folder


def embed_plainly(sample: Sample, paths: Iterable[Path], *, side: int = 224) -> torch.Tensor:
    """Pillow and transformers by hand, in float32."""
    tiles = []
    for path in paths:
        with Image.open(path) as image:
            picture = ImageOps.exif_transpose(image).convert("RGB")
            tiles.append(np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)))
    return torch.from_numpy(compute_expected(sample, np.stack(tiles)).cls)
