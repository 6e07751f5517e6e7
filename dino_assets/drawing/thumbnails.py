"""Thumbnails small enough for the events in Dagster's database."""

import io

from PIL import Image

from dino_assets.drawing.lettering import encode_picture
from dino_assets.errors import ConfigError

# 40 KB as base64. A picture of 200 KB in an event would add 1 MB to Dagster's SQLite database per run.
THUMBNAIL_MAX_BYTES = 30_000
THUMBNAIL_MAX_PX = 480


def draw_thumbnail(
    png: bytes, *, max_bytes: int = THUMBNAIL_MAX_BYTES, max_px: int = THUMBNAIL_MAX_PX
) -> bytes:
    """Reduce a PNG to 128 colours and to a width at which it fits ``max_bytes`` and ``max_px``.

    Raises:
        ConfigError: a picture 60 px wide still has more than ``max_bytes``.
    """
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    for width in (480, 400, 320, 240, 180, 120, 60):
        width = min(width, picture.width, max_px)
        height = max(1, round(picture.height * width / picture.width))
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
        # Other methods fail: median cut gives dark text the colour of the dots, and maximum coverage shows
        # densities as bands.
        few = small.quantize(128, Image.Quantize.FASTOCTREE)
        data = encode_picture(few, "PNG", optimize=True)
        if len(data) <= max_bytes:
            return data
    raise ConfigError(
        f"max_bytes={max_bytes} is too small: a thumbnail 60 px wide needs {len(data)} bytes. Allow more",
        setting="max_bytes",
        value=max_bytes,
    )
