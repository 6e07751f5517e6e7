"""One file of a drop as a row of ``images``: read once, checked, decoded, scored and placed."""

import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from dino_assets.drops.records import MAX_FILE_BYTES, Drop, SourceEntry
from dino_assets.drops.sources.source import Source
from dino_assets.errors import MissingExtraError, SourceError, UnusableImageError
from dino_assets.images import places
from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.capture.thermal import find_thermal_signal
from dino_assets.images.decoding import MAX_PIXELS, decode_image
from dino_assets.images.ground import camera as geo
from dino_assets.images.inspection import inspect_image
from dino_assets.images.mosaics import inspect_mosaic, is_mosaic
from dino_assets.images.pixels import hash_file
from dino_assets.images.places import Row
from dino_assets.images.records import PlaceQuality
from dino_assets.images.scores import draw_thumb, score_pixels

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
