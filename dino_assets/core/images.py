"""What one file is: a usable photograph, or a reason why not."""

import hashlib
import io
import warnings
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dino_assets.errors import UnusableImageError
from dino_assets.records import MAX_IMAGE_SIDE_PX, ImageFacts, Verdict

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tiff", ".tif", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # never "try whatever plug-in is installed"
# Not "I" and "F": elevation and temperature rasters, whose scale nobody wrote down.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B")
MAX_FILE_BYTES = 512 * 2**20
# Pillow's own hard limit. Between half of it and this it only warns; the header check below decides.
MAX_PIXELS = 178_956_970
_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)

# Pillow warns about damaged metadata without saying in which file; a damaged picture gets a row.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def is_photo_name(path: str) -> bool:
    """Tell whether a file's name says photograph. ``._*`` are macOS side files, never pictures."""
    name = PurePosixPath(path)
    return name.suffix.lower() in IMAGE_EXTENSIONS and not name.name.startswith("._")


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Hash, identify and decode one file's bytes to the end.

    Raises:
        UnusableImageError: empty, not an image, too large, animated, truncated or undecodable.
    """
    if not data:
        raise UnusableImageError("empty", "the file has no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise UnusableImageError(
                    "too-large", f"{width}×{height} px, the limit is {max_pixels:,} pixels"
                )
            if max(width, height) > MAX_IMAGE_SIDE_PX:
                raise UnusableImageError(
                    "too-large", f"{width}×{height} px, a side may have {MAX_IMAGE_SIDE_PX:,} px"
                )
            facts = _describe(image, hashlib.sha256(data).hexdigest())
            # A JPEG decoded at 1/8 scale still reads the whole scan: same truncations found, 5× faster.
            image.draft("L", (max(1, width // 8), max(1, height // 8)))
            image.load()
            return facts
    except UnusableImageError:
        raise
    except UnidentifiedImageError:
        raise UnusableImageError(
            "not-an-image",
            f"no whole header of {', '.join(FORMATS)}; it starts with {data[:8]!r}",
        ) from None
    except Image.DecompressionBombError:
        limit = min(max_pixels, MAX_PIXELS)
        raise UnusableImageError("too-large", f"more than {limit:,} pixels") from None
    except Exception as err:  # Pillow's plug-ins raise nearly anything on bad bytes
        truncated = any(sign in str(err).lower() for sign in ("truncated", "incomplete"))
        raise UnusableImageError(
            "truncated" if truncated else "undecodable", f"{type(err).__name__}: {err}"
        ) from err


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Pixels of a usable photograph, upright, RGB: (H, W, 3).

    16-bit gray is scaled to 8 bits (Pillow would clip it), gray is repeated over the three channels,
    transparency is dropped.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            gray = np.asarray(upright).astype(np.float32) * np.float32(255 / 65535)
            return np.repeat(np.rint(gray).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(upright.convert("RGB"))


def _describe(image: Image.Image, image_id: str) -> ImageFacts:
    if image.mode not in MODES:
        raise UnusableImageError("unsupported-mode", f"pixels are {image.mode!r}")
    # Further pages of a TIFF or an MPO are previews; further frames here are a film.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise UnusableImageError("animated", "several frames; export the one that is meant")
    orientation = _orientation(image)
    turned = orientation in _TURNED
    # Pillow turns TIFF upright itself, size included; other formats come as they are stored.
    width, height = image.size[::-1] if turned and image.format == "TIFF" else image.size
    return ImageFacts(
        image_id=image_id,
        format=image.format or "",
        mode=image.mode,
        width=height if turned else width,
        height=width if turned else height,
        stored_width=width,
        stored_height=height,
        orientation=orientation,
    )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; a damaged EXIF block does not make a photograph unusable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - struct, Syntax and Value errors, depending on the damage
        return 1
    return int(value) if value in range(1, 9) else 1


def judge_quarantine(drop: str, *, usable: int, quarantined: int) -> Verdict:
    """Warn at one bad file; fail when nothing is usable or above max(2 files, 5 %).

    Two, because a card often holds a last file cut off by the battery and one stray; 5 %, because
    above it something is wrong with the card or the copy rather than with single files.
    """
    total = usable + quarantined
    allowed = max(2, int(0.05 * total))
    sentence = f"{usable} of {total} files are usable photographs, {quarantined} quarantined"
    if not usable:
        return Verdict(drop, False, f"{sentence}: nothing to work with")
    if quarantined > allowed:
        return Verdict(drop, False, f"{sentence}: more than the {allowed} allowed")
    return Verdict(drop, True, sentence, warns=quarantined > 0)
