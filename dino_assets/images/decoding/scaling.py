"""Scaling of samples of any number type to 8 bit, for pixels of TIFF files and arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]

BAND_VALUES = 2**22


def scale_to_bytes(
    samples: Samples, *, nodata: float | None = None, band_values: int = BAND_VALUES
) -> NDArray[np.uint8]:
    """Scale samples of any shape to 8 bit; of unsigned 16-bit samples, the high byte is returned.

    Signed, 32- and 64-bit and float samples are scaled linearly from the lowest (0) to the highest finite
    value (255) of the whole picture. Values that are not finite, and ``nodata``, become 0, and so does a
    constant picture. About ``band_values`` values are scaled at a time, which limits memory and changes no
    result.
    """
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8)
    if samples.dtype == np.uint16:
        high_bytes = np.empty(samples.shape, np.uint8)
        for at in _cut(samples, band_values):
            high_bytes[at] = samples[at] >> np.uint16(8)
        return high_bytes
    out = np.zeros(samples.shape, np.uint8)
    low, high = np.inf, -np.inf
    for _, values, good in _bands(samples, nodata, band_values):
        if good.any():
            low = min(low, float(values.min(where=good, initial=np.inf)))
            high = max(high, float(values.max(where=good, initial=-np.inf)))
    span = high * 0.5 - low * 0.5  # halves, because the difference may exceed the largest float
    if not span > 0:
        return out
    for at, values, good in _bands(samples, nodata, band_values):
        share = (np.where(good, values, low) * 0.5 - low * 0.5) / span
        out[at] = np.where(good, np.floor(share * 255 + 0.5), 0).astype(np.uint8)
    return out


def _bands(
    samples: Samples, nodata: float | None, band_values: int
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.bool_]]]:
    for at in _cut(samples, band_values):
        values = samples[at].astype(np.float64)
        good = np.isfinite(values)
        if nodata is not None:
            good &= values != nodata
        yield at, values, good


def _cut(samples: Samples, band_values: int) -> Iterator[slice]:
    rows = max(1, band_values * len(samples) // max(1, samples.size))
    for top in range(0, len(samples), rows):
        yield slice(top, top + rows)
