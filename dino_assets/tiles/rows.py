"""Records of tiles: rows of the table, and the columns of an image that decide its tiles."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.drops.sources.source import Source
from dino_assets.images.ground.camera import Places
from dino_assets.images.pixels import open_pixels
from dino_assets.images.places import GEO_METADATA, StoredView, describe_places
from dino_assets.images.records import Georeference, Pixels, Place, PlaceQuality
from dino_assets.store.commits.columns import columns_of, read_records


@dataclass(frozen=True, slots=True)
class TileBox:
    """The box of a detector that a tile shows: class, score, and its edges in pixels of the upright image.

    ``box_group`` is the id of the first tile of its group: boxes that recur at one place in the pictures of
    one camera are one group.
    """

    box_class: str | None
    box_score: float | None
    box_x: float
    box_y: float
    box_w: float
    box_h: float
    box_group: str


@dataclass(frozen=True, slots=True)
class TileRow:
    """A row of the table ``tiles``: a window of an image. The fields define the table's columns.

    Tables of drops without boxes do not have the columns of ``box``.
    """

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
    box: TileBox | None = None


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


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file of a drop that is a usable image: its size as stored, and how it is turned upright."""

    image_id: str
    path: str
    stored_width: int
    stored_height: int
    orientation: int


SCHEMA = pa.schema(columns_of(TileRow), metadata=GEO_METADATA)
_BOX_NAMES = frozenset(column.name for column in columns_of(TileBox))
# The tables of drops without boxes are as they were before there were boxes: their bytes decide which
# embeddings and rounds are up to date.
GRID_SCHEMA = pa.schema(
    [column for column in SCHEMA if column.name not in _BOX_NAMES], metadata=GEO_METADATA
)


def read_tile_rows(table: pa.Table) -> Iterator[TileRow]:
    """Yield the rows of a table ``tiles``, with boxes or without."""
    for column in SCHEMA:
        if column.name in _BOX_NAMES and column.name not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), column.type))
    return read_records(TileRow, table)


def make_tile_rows(
    image: ImageToCut,
    tile_ids: Sequence[str],
    windows: NDArray[np.integer[Any]],
    placed: Places | None,
    schema: pa.Schema,
    **columns: Any,
) -> pa.RecordBatch:
    """Make the rows of the windows (N, 4) of one image; ``columns`` are all other columns."""
    count = len(windows)
    rows = columns | {
        "tile_id": tile_ids,
        "image_id": [image.image_id] * count,
        "path": [image.path] * count,
        **{name: np.ascontiguousarray(windows[:, i]) for i, name in enumerate("xywh")},
        "is_mosaic": np.full(count, image.is_mosaic),
        "scale_low": [image.scale_low] * count,
        "scale_high": [image.scale_high] * count,
    }
    where = describe_places(image.place_quality, placed, count=count)
    rows |= dict(zip(where.schema.names, where.columns, strict=True))
    return pa.RecordBatch.from_arrays(
        [pa.array(rows[field.name], field.type) for field in schema], schema=schema
    )


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
