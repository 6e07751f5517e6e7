"""Columns of ``images``."""

import pyarrow as pa

from dino_assets.images import places
from dino_assets.images.records import Capture
from dino_assets.store.commits.columns import columns_of

SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("is_usable", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("image_id", pa.string()),
        pa.field("format", pa.string()),
        pa.field("mode", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("stored_width", pa.int32()),
        pa.field("stored_height", pa.int32()),
        pa.field("orientation", pa.int8()),
        pa.field("note", pa.string()),
        pa.field("label", pa.string()),
        pa.field("metadata", pa.string()),  # JSON: the further columns of a list
        pa.field("raw_path", pa.string()),  # the DNG of the same shot
        pa.field("thermal", pa.string()),  # by which sign it is a thermal picture
        *columns_of(Capture),
        pa.field("sharpness", pa.float64()),
        pa.field("exposure_ev", pa.float64()),
        pa.field("dark_share", pa.float64()),
        pa.field("bright_share", pa.float64()),
        pa.field("look", pa.binary()),
        pa.field("thumb", pa.binary()),
        pa.field("is_mosaic", pa.bool_()),  # read by windows, never whole
        pa.field("valid", pa.binary()),  # of a mosaic: which cells of 32 px hold anything
        pa.field("scale_low", pa.float64()),
        pa.field("scale_high", pa.float64()),
        pa.field("crs", pa.string()),
        pa.field("transform", pa.list_(pa.float64())),
        pa.field("height_m", pa.float64()),  # of the camera above the ground, as it was reckoned
        *places.FIELDS,
    ],
    metadata=places.GEO_METADATA,
)
