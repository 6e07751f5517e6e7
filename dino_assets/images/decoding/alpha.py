"""Removal of premultiplied alpha: colours stored darker by their transparency are restored.

Pillow divides by alpha for some TIFFs only, depending on depth and compression. This module does it for all
TIFFs: 8-bit samples like Pillow, samples of more than 16 bits before they are scaled to 8.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BAND_VALUES = 2**22


def divide_alpha(pixels: NDArray[Any], *, band_values: int = _BAND_VALUES) -> NDArray[Any]:
    """Divide the colours of (H, W, C + 1) by the last channel, in place; return them as (H, W, C).

    The alpha of an opaque pixel is the largest integer, or 1 for floats. Fully transparent pixels become 0.
    """
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    is_float = pixels.dtype.kind == "f"
    whole = 1.0 if is_float else float(np.iinfo(pixels.dtype).max)
    # The largest 64-bit integer is not exact as a float; the next float below it fits.
    most = whole if is_float or whole <= np.iinfo(pixels.dtype).max else np.nextafter(whole, 0)
    rows = max(1, band_values * len(pixels) // max(1, pixels.size))
    for top in range(0, len(pixels), rows):
        part, shown = colours[top : top + rows], alpha[top : top + rows]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            if pixels.dtype == np.uint8:
                counts = part.astype(np.uint16) * np.uint16(255) // np.maximum(shown, 1)
                divided: NDArray[Any] = np.minimum(counts, 255)
            else:
                divided = part.astype(np.float64) * (whole / shown.astype(np.float64))
                if not is_float:
                    divided = np.minimum(np.rint(np.nan_to_num(divided)), most)
            part[...] = np.where(shown > 0, divided, 0)
    return colours
