"""Synthetic photographs of a camera's size, for benchmarks."""

import io

import numpy as np
from PIL import Image


def draw_photo(seed: int, *, width: int = 5472, height: int = 3648) -> bytes:
    """Draw a JPEG (quality 90) of random blotches of all sizes with the noise of a small sensor."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 110, np.float32)
    for size, strength in ((512, 30), (64, 20), (8, 14)):
        cells = rng.normal(0, strength, (height // size + 2, width // size + 2))
        layer = Image.fromarray(cells.astype(np.float32))
        pixels += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    pixels += rng.standard_normal((height, width, 1), np.float32) * 5
    sink = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(sink, "JPEG", quality=90)
    return sink.getvalue()
