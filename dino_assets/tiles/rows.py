"""Records of tiles: rows of the table, and the columns of an image that decide its tiles."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import pyarrow as pa

from dino_assets.drops.sources.source import Source
from dino_assets.images.pixels import open_pixels
from dino_assets.images.places import GEO_METADATA, StoredView
from dino_assets.images.records import Georeference, Pixels, Place, PlaceQuality
from dino_assets.store.commits.columns import columns_of


@dataclass(frozen=True, slots=True)
class TileRow:
    """A row of the table ``tiles``: a window of an image. The fields define the table's columns."""

    tile_id: str
    image_id: str
    path: str
    x: int
    y: int
    w: int
    h: int
    side_px: int
    # Side of the square in the image, before it is scaled to side_px. 0 stands for a whole image.
    span_px: int
    is_whole: bool
    is_padded: bool
    # A mosaic is read by windows, and its values are scaled from scale_low..scale_high. Other images are read
    # as a whole.
    is_mosaic: bool
    scale_low: float | None
    scale_high: float | None
    place: Place


@dataclass(frozen=True, slots=True)
class TileOrigin:
    """The columns of a tile that say where it comes from: its photograph, and its center on the ground."""

    tile_id: str
    path: str
    center_latitude: float | None
    center_longitude: float | None


@dataclass(frozen=True, slots=True)
class ImageToCut:
    """The columns of a usable image that decide its tiles and their places on the ground."""

    image_id: str
    path: str
    width: int
    height: int
    thermal: str | None
    is_mosaic: bool
    valid: bytes | None
    scale_low: float | None
    scale_high: float | None
    gsd_m: float | None
    place_quality: PlaceQuality
    view: StoredView | None
    georeference: Georeference | None


SCHEMA = pa.schema(columns_of(TileRow), metadata=GEO_METADATA)


def open_tiled(source: Source, tile: TileRow) -> AbstractContextManager[Pixels]:
    """Open the pixels of the image that a tile was cut from."""
    return open_pixels(
        source,
        tile.path,
        tile.image_id,
        is_mosaic=tile.is_mosaic,
        low=tile.scale_low,
        high=tile.scale_high,
    )
