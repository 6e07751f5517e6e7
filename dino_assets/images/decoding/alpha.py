"""Removal of premultiplied alpha: colours that were stored multiplied by their alpha are restored.

Pillow divides by alpha for some TIFFs only, depending on depth and compression. With this module, all TIFFs
are divided: 8-bit samples as Pillow does, 16-bit integers after they are scaled to 8 bit, others before.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BAND_VALUES = 2**22


def divide_alpha(pixels: NDArray[Any], *, band_values: int = _BAND_VALUES) -> NDArray[Any]:
    """Divide the colours of pixels (H, W, C + 1) by the last channel, alpha, in place.

    Return the colours (H, W, C). The alpha of an opaque pixel is the largest integer of the type, or 1 for
    floats. Fully transparent pixels become 0.
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
