"""Pictures made small enough to be shown inline."""

import io

from PIL import Image

from dino_assets.drawing.lettering import encode_picture
from dino_assets.errors import ConfigError

THUMBNAIL_MAX_BYTES = (
    30_000  # 40 KB as base64; an inline 200 KB picture costs 1 MB of SQLite per run
)


THUMBNAIL_MAX_PX = 480


def draw_thumbnail(
    png: bytes, *, max_bytes: int = THUMBNAIL_MAX_BYTES, max_px: int = THUMBNAIL_MAX_PX
) -> bytes:
    """The same picture as a PNG of few colours, as wide as fits into the bytes and ``max_px``.

    Raises:
        ConfigError: not even 60 px fit.
    """
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    for width in (480, 400, 320, 240, 180, 120, 60):
        width = min(width, picture.width, max_px)
        height = max(1, round(picture.height * width / picture.width))
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
        # Median cut gives dark text the colour of the dots; maximum coverage makes bands of density.
        few = small.quantize(128, Image.Quantize.FASTOCTREE)
        data = encode_picture(few, "PNG", optimize=True)
        if len(data) <= max_bytes:
            return data
    raise ConfigError(
        f"max_bytes={max_bytes} is too small for a thumbnail ({len(data)} at 60 px)",
        setting="max_bytes",
        value=max_bytes,
    )
