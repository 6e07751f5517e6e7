"""What the tests of decoding share."""

import io

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def tiff(samples: np.ndarray, **options: object) -> bytes:
    sink = io.BytesIO()
    tifffile.imwrite(sink, samples, metadata=None, **options)
    return sink.getvalue()


def picture(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """Blotches with grain: neither flat nor noise alone."""
    rng = np.random.default_rng(seed)
    blotches = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def refusal(data: bytes) -> UnusableImageError:
    with pytest.raises(UnusableImageError) as caught:
        decode_image(data)
    return caught.value


def heic(*pictures: Image.Image, primary: int = 0, **options: object) -> bytes:
    file = pillow_heif.from_pillow(pictures[0])
    for next_picture in pictures[1:]:
        file.add_from_pillow(next_picture)
    sink = io.BytesIO()
    file.save(sink, quality=90, primary_index=primary, **options)
    return sink.getvalue()


def dng(orientation: int = 1) -> bytes:
    """A hand-made DNG: a white preview in front, a raw ramp of 128 × 96 behind it."""
    ramp = (np.indices((96, 128)).sum(0) * 100 + 2000).astype(np.uint16)
    shared_tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Test Camera", True),
        (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
        (274, "H", 1, orientation, True),
    ]
    mosaic = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50717, "I", 1, 65535, True),
    ]
    sink = io.BytesIO()
    with tifffile.TiffWriter(sink) as file:
        preview = np.full((24, 32, 3), 255, np.uint8)
        file.write(
            preview,
            photometric="rgb",
            subifds=1,
            subfiletype=1,
            extratags=shared_tags,
            metadata=None,
        )
        file.write(ramp, photometric="cfa", subfiletype=0, extratags=mosaic, metadata=None)
    return sink.getvalue()
