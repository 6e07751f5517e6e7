"""One file of a drop as a row of ``images``: read once, checked, decoded, scored and placed."""

import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
from PIL import Image

from dino_assets.core import geo
from dino_assets.core.capture import read_capture
from dino_assets.core.decoding import MAX_PIXELS, decode_image
from dino_assets.core.images import MAX_FILE_BYTES, inspect_image
from dino_assets.core.mosaics import inspect_mosaic, is_mosaic
from dino_assets.core.scores import draw_thumb, score_pixels
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


_READERS = ("pillow_heif", "rasterio", "rawpy")
_TIFF = (".tif", ".tiff")
WINDOWED_FROM_BYTES = 64 * 2**20  # a larger TIFF is asked for its header before it is read
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
        found = _examine_large(source, entry) if entry.size > WINDOWED_FROM_BYTES else None
        if found is None:
            data = source.read(entry.path)
            read = time.perf_counter()
            found = _examine_mosaic(source, entry.path) if is_mosaic(data) else None
            found = found or examine_photo(entry.path, data, reading)
        columns, placed = found
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
    pixels = decode_image(data)
    if pixels.shape[:2] != (facts.height, facts.width):
        # Windows are cut by the facts, much later and for the whole drop.
        height, width = pixels.shape[:2]
        raise UnusableImageError(
            "undecodable",
            f"its header says {facts.width}×{facts.height} px, its pixels are {width}×{height}",
        )
    scores = score_pixels(pixels)
    capture = read_capture(data)
    view = geo.make_view(capture, facts, ground_m=reading.ground_m)
    row: Row = {"bytes": len(data), "is_mosaic": False} | vars(facts) | asdict(capture)
    row |= vars(scores) | places.pose_columns(view)
    row["thermal"] = find_thermal_signal(path, data, capture)
    return _placed(row, geo.judge_view(view))


def _examine_large(source: Source, entry: SourceEntry) -> tuple[Row, geo.Places | None] | None:
    """A large TIFF, looked at where it lies: a mosaic must not be read into memory whole."""
    if PurePosixPath(entry.path).suffix.lower() in _TIFF:
        found = _examine_mosaic(source, entry.path)
        if found is not None:
            return found
    if entry.size > MAX_FILE_BYTES:
        limit = f"{entry.size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
        raise UnusableImageError("too-large", limit)
    return None


def _examine_mosaic(source: Source, path: str) -> tuple[Row, geo.Places | None] | None:
    """The same for a TIFF that is read by windows, block by block; None if it is none."""
    with source.open_file(path) as file:
        if not is_mosaic(file):
            return None
        found = inspect_mosaic(file, image_id=hash_file(file))
        size = file.stat().st_size
    row: Row = vars(found.facts) | {"bytes": size, "is_mosaic": True, "valid": found.valid}
    row |= {"scale_low": found.low, "scale_high": found.high}
    row["thumb"] = draw_thumb(Image.fromarray(found.sample))
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


def name_readers() -> list[str]:
    """The optional readers that are installed here.

    All of them, whatever the files are called: phones name a HEIC ``IMG_0001.JPG``.
    """
    return sorted(module for module in _READERS if find_spec(module))
