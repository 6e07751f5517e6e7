"""One file of a drop as a row of ``images``: read once, checked, decoded, scored and placed."""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from dino_assets.core import geo
from dino_assets.core.capture import read_capture
from dino_assets.core.decoding import MAX_PIXELS, decode_image
from dino_assets.core.images import MAX_FILE_BYTES, inspect_image
from dino_assets.core.mosaics import inspect_mosaic, is_mosaic
from dino_assets.core.scores import score_pixels
from dino_assets.core.thermal import find_thermal_signal
from dino_assets.errors import MissingExtraError, SourceError, UnusableImageError
from dino_assets.records import Drop, PlaceQuality, SourceEntry
from dino_assets.stages import places
from dino_assets.stages.pixels import hash_file
from dino_assets.stages.places import Row
from dino_assets.stages.sources import Source

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


_READERS = {
    "pillow_heif": {".heic", ".heif"},
    "rawpy": {".dng"},
    "rasterio": {".tif", ".tiff"},
}
Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Reading:
    """How files are read; part of the recipe."""

    max_pixels: int = MAX_PIXELS
    ground_m: float | None = None


@dataclass(frozen=True)
class Look:
    """One file's row, and what it took."""

    row: Row
    corners: Corners | None = None
    read_s: float = 0.0
    compute_s: float = 0.0


def look_at_file(drop: Drop, source: Source, entry: SourceEntry, reading: Reading) -> Look:
    """A file's row; what is wrong with it is a reason in the row, never an error.

    Raises:
        StoreError: the whole source cannot be reached.
    """
    row: Row = {"drop": drop.name, "path": entry.path, "bytes": entry.size, "is_usable": False}
    row |= {"label": entry.label, "metadata": entry.metadata}
    if entry.refusal:
        return Look(row | {"reason": entry.refusal, "detail": entry.refusal_detail})
    started = read = time.perf_counter()
    corners = None
    try:
        data = b"" if entry.size > MAX_FILE_BYTES else source.read(entry.path)
        read = time.perf_counter()
        if entry.size > MAX_FILE_BYTES or is_mosaic(data):
            del data
            columns, placed = _examine_mosaic(source, entry)
        else:
            columns, placed = examine_photo(entry.path, data, reading)
        row |= columns | {"is_usable": True}
        corners = _corners(placed)
    except SourceError as err:
        row |= {"reason": "unreadable", "detail": str(err)}
    except UnusableImageError as err:
        row |= {"reason": err.reason, "detail": err.detail}
    except MissingExtraError as err:
        row |= {"reason": "missing-extra", "detail": str(err)}
    return Look(row, corners, read - started, time.perf_counter() - read)


def examine_photo(path: str, data: bytes, reading: Reading) -> tuple[Row, geo.Places | None]:
    """The columns that one photograph's bytes decide, and where it lies.

    Raises:
        UnusableImageError: it is no usable photograph.
    """
    facts = inspect_image(data, max_pixels=reading.max_pixels)
    scores = score_pixels(decode_image(data))
    capture = read_capture(data)
    view = geo.make_view(capture, facts, ground_m=reading.ground_m)
    row: Row = {"bytes": len(data), "is_mosaic": False} | vars(facts) | asdict(capture)
    row |= vars(scores) | places.pose_columns(view)
    row["thermal"] = find_thermal_signal(path, data, capture)
    return _placed(row, geo.judge_view(view))


def _examine_mosaic(source: Source, entry: SourceEntry) -> tuple[Row, geo.Places | None]:
    """The same for a TIFF that is read by windows, block by block."""
    is_tiff = PurePosixPath(entry.path).suffix.lower() in _READERS["rasterio"]
    with source.open_file(entry.path) if is_tiff else nullcontext() as file:
        if file is None or not is_mosaic(file):
            limit = f"{entry.size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
            raise UnusableImageError("too-large", limit)
        found = inspect_mosaic(file, image_id=hash_file(file))
    row: Row = vars(found.facts) | {"is_mosaic": True, "valid": found.valid}
    row |= {"scale_low": found.low, "scale_high": found.high}
    if found.georeference is None:
        return _placed(row, "none")
    return _placed(row | asdict(found.georeference), "ortho")


def _placed(row: Row, quality: PlaceQuality) -> tuple[Row, geo.Places | None]:
    row["place_quality"] = quality
    window = np.array([[0, 0, row["width"], row["height"]]], np.int32)
    found = places.place_windows(dict.fromkeys(places.POSE) | row, window)
    columns = places.place_columns(quality, found, 1)
    return row | {name: values[0] for name, values in columns.items()}, found


def _corners(placed: geo.Places | None) -> Corners | None:
    if placed is None or not np.isfinite(placed.corners).all():
        return None
    return tuple((float(x), float(y)) for x, y in placed.corners[0])


def name_readers(paths: Iterable[str]) -> list[str]:
    """The optional readers that these files call for and that are installed here."""
    suffixes = {PurePosixPath(path).suffix.lower() for path in paths}
    wanted = {module for module, endings in _READERS.items() if suffixes & endings}
    return sorted(module for module in wanted if find_spec(module))
