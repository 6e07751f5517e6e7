"""Records of a tile: its row, and what of an image's row decides its tiles."""

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
    """A row of ``tiles``: a window of an image. Its columns follow from here."""

    tile_id: str
    image_id: str
    path: str
    x: int
    y: int
    w: int
    h: int
    side_px: int
    # The square of the image that the tile shows, before it is scaled to side_px; 0: a whole image.
    span_px: int
    is_whole: bool
    is_padded: bool
    # How its pixels are read: all at once, or by windows, scaled from this range.
    is_mosaic: bool
    scale_low: float | None
    scale_high: float | None
    place: Place


@dataclass(frozen=True, slots=True)
class TileOrigin:
    """What of a tile's row says where it comes from: its photograph, and its middle on the ground."""

    tile_id: str
    path: str
    center_latitude: float | None
    center_longitude: float | None


@dataclass(frozen=True, slots=True)
class ImageToCut:
    """What of a usable image decides its tiles, and where they lie."""

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
    """The image that a tile was cut from."""
    return open_pixels(
        source,
        tile.path,
        tile.image_id,
        is_mosaic=tile.is_mosaic,
        low=tile.scale_low,
        high=tile.scale_high,
    )
