"""What one file is: a usable photograph, or a reason why not."""

import hashlib

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import MAX_PIXELS, read_header
from dino_assets.images.records import MAX_IMAGE_SIDE_PX, ImageFacts
from dino_assets.verdicts import Verdict


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Hash and identify one file's bytes by their header; whether all pixels are there, ``decode_image`` finds.

    Raises:
        UnusableImageError: empty, not-an-image, too-large, animated, unsupported-mode, missing-extra,
            or truncated and undecodable as far as the header tells.
    """
    header = read_header(data)
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise UnusableImageError(
            "too-large", f"{width}×{height} px, the limit is {max_pixels:,} pixels"
        )
    if max(width, height) > MAX_IMAGE_SIDE_PX:
        raise UnusableImageError(
            "too-large", f"{width}×{height} px, a side may have {MAX_IMAGE_SIDE_PX:,} px"
        )
    upright_width, upright_height = header.upright_size
    return ImageFacts(
        image_id=hashlib.sha256(data).hexdigest(),
        format=header.format,
        mode=header.mode,
        width=upright_width,
        height=upright_height,
        stored_width=width,
        stored_height=height,
        orientation=header.orientation,
        note=header.note,
    )


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
        return Verdict(
            drop,
            False,
            f"{sentence}: more than the {allowed} allowed. Copy them again, or take them away",
        )
    return Verdict(drop, True, sentence, warns=quarantined > 0)
