"""Inspection of one file: whether it is a usable photograph, and the reason if it is not."""

import hashlib

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import MAX_PIXELS, read_header
from dino_assets.images.records import MAX_IMAGE_SIDE_PX, ImageFacts
from dino_assets.verdicts import Verdict


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Find the facts of a photograph from its bytes: the sha256, and the header's format and size.

    Pixels are not decoded, so missing or damaged ones are not noticed: ``decode_image`` finds them.

    Raises:
        UnusableImageError: ``reason`` is empty, not-an-image, too-large, animated, unsupported-mode or
            missing-extra. If the header shows the damage, it is truncated or undecodable.
    """
    header = read_header(data)
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise UnusableImageError(
            "too-large", f"{width}×{height} px, the limit is {max_pixels:,} pixels"
        )
    if max(width, height) > MAX_IMAGE_SIDE_PX:
        raise UnusableImageError(
            "too-large", f"{width}×{height} px, the limit is {MAX_IMAGE_SIDE_PX:,} px per side"
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
    """Judge a drop by its quarantined files: any of them gives a warning, too many fail the drop.

    Two files are allowed in every drop: a card often holds one stray file, and a last file that is incomplete
    because the battery ran out. In a larger drop, 5 % of all files are allowed. Above that, the card or the
    copy is faulty rather than single files. A drop without a usable file fails as well.
    """
    total = usable + quarantined
    allowed = max(2, int(0.05 * total))
    sentence = f"{usable} of {total} files are usable photographs, {quarantined} quarantined"
    if not usable:
        return Verdict(drop, False, f"{sentence}: expected at least one usable photograph")
    if quarantined > allowed:
        return Verdict(
            drop,
            False,
            f"{sentence}: more than the {allowed} allowed. Copy the bad files again, or remove them",
        )
    return Verdict(drop, True, sentence, warns=quarantined > 0)
