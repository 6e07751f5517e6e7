"""Position bias of patch features, measured on reference pictures, once for all pictures of one size."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.attention.grid import PatchGrid, scale_to_grid
from dino_assets.embeddings.attention.likeness import (
    NOISE_PICTURES,
    NOISE_SEED,
    PositionBias,
    References,
    draw_references,
    measure_bias,
)
from dino_assets.embeddings.attention.pictures import Photo
from dino_assets.embeddings.attention.reader import PatchReader
from dino_assets.errors import ConfigError

# Reference pictures: drawn ones without content, or the user's own files.
Debias = References | Sequence[str | Path]


class BiasFinder:
    """Measurement of position bias: the part of patch features that depends only on a patch's position.

    The last result is kept, since the pictures of a flight share one grid.
    """

    def __init__(self, reader: PatchReader, read: Callable[[str | Path], Photo]) -> None:
        self._reader = reader
        self._read = read
        self._last: tuple[tuple[object, ...], PositionBias] | None = None

    def find(self, grid: PatchGrid, layer: int, debias: Debias) -> PositionBias:
        """Measure the bias of a grid's positions in the features of one layer.

        Raises:
            ConfigError: ``debias`` is an unknown word, or an empty list.
            SourceError, UnusableImageError: a reference picture cannot be read or used.
        """
        references = debias if isinstance(debias, str) else tuple(map(str, debias))
        key = (grid.rows, grid.columns, layer, references)
        if self._last is None or self._last[0] != key:
            pictures, origin = self._open(grid, debias)
            maps = (self._reader.read_features(each, layer=layer) for each in pictures)
            self._last = key, measure_bias(maps, origin=origin)
        return self._last[1]

    def _open(self, grid: PatchGrid, debias: Debias) -> tuple[Iterator[NDArray[np.uint8]], str]:
        """Open or draw reference pictures of the grid's size; also return their description."""
        checkpoint = self._reader.checkpoint
        if debias == "blank":
            rng = np.random.default_rng(NOISE_SEED)
            return draw_references("blank", grid, checkpoint, rng=rng), "a blank picture"
        if debias == "noise":
            rng = np.random.default_rng(NOISE_SEED)
            drawn = draw_references("noise", grid, checkpoint, rng=rng)
            return drawn, f"{NOISE_PICTURES} noise pictures"
        if isinstance(debias, str) or not debias:
            raise ConfigError(
                f"debias is {debias!r}; 'noise', 'blank' or a list of pictures is expected",
                setting="debias",
                value=debias,
            )
        # Each picture is scaled to this grid.
        photos = (scale_to_grid(self._read(path).pixels, grid) for path in debias)
        return photos, f"{len(debias)} reference picture{'s' if len(debias) > 1 else ''}"
