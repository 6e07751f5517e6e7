"""Columns of ``images``."""

import pyarrow as pa

from dino_assets.images import places

CAPTURE_FIELDS = (
    pa.field("taken", pa.timestamp("ms")),
    pa.field("utc_offset", pa.string()),
    pa.field("edited_by", pa.string()),
    pa.field("satellite_date", pa.date32()),
    pa.field("make", pa.string()),
    pa.field("model", pa.string()),
    pa.field("lens", pa.string()),
    pa.field("image_source", pa.string()),
    pa.field("focal_mm", pa.float64()),
    pa.field("focal_35mm", pa.float64()),
    pa.field("focal_px", pa.float64()),
    pa.field("focal_from", pa.string()),
    pa.field("center_x_px", pa.float64()),
    pa.field("center_y_px", pa.float64()),
    pa.field("latitude", pa.float64()),
    pa.field("longitude", pa.float64()),
    pa.field("altitude_m", pa.float64()),
    pa.field("relative_altitude_m", pa.float64()),
    pa.field("gimbal_yaw_deg", pa.float64()),
    pa.field("gimbal_pitch_deg", pa.float64()),
    pa.field("gimbal_roll_deg", pa.float64()),
    pa.field("flight_yaw_deg", pa.float64()),
    pa.field("flight_pitch_deg", pa.float64()),
    pa.field("flight_roll_deg", pa.float64()),
    pa.field("rtk", pa.string()),
)


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
        *CAPTURE_FIELDS,
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
