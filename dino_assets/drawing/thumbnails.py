"""Thumbnails small enough to be shown inline."""

import io

from PIL import Image

from dino_assets.drawing.lettering import encode_picture
from dino_assets.errors import ConfigError

# 40 KB as base64; an inline 200 KB picture costs 1 MB of SQLite per run.
THUMBNAIL_MAX_BYTES = 30_000
THUMBNAIL_MAX_PX = 480


def draw_thumbnail(
    png: bytes, *, max_bytes: int = THUMBNAIL_MAX_BYTES, max_px: int = THUMBNAIL_MAX_PX
) -> bytes:
    """Shrink a PNG to few colours and the largest width that fits ``max_bytes`` and ``max_px``.

    Raises:
        ConfigError: even a picture of 60 px has more than ``max_bytes``.
    """
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    for width in (480, 400, 320, 240, 180, 120, 60):
        width = min(width, picture.width, max_px)
        height = max(1, round(picture.height * width / picture.width))
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
        # Median cut colours dark text like the dots; maximum coverage shows densities as bands.
        few = small.quantize(128, Image.Quantize.FASTOCTREE)
        data = encode_picture(few, "PNG", optimize=True)
        if len(data) <= max_bytes:
            return data
    raise ConfigError(
        f"max_bytes={max_bytes} is too small: a thumbnail of 60 px needs {len(data)} bytes",
        setting="max_bytes",
        value=max_bytes,
    )
