"""Rows of the table ``images``: each file of a drop is read, checked, decoded, scored and placed."""

import io
import time
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from dino_assets.drops.records import MAX_FILE_BYTES, Drop, SourceEntry
from dino_assets.drops.sources.source import Source
from dino_assets.errors import MissingExtraError, SourceError, UnusableImageError
from dino_assets.images import places
from dino_assets.images.capture.exif import UNNAMED_PROGRAM
from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.capture.thermal import find_thermal_signal
from dino_assets.images.capture.thumbnail import is_turned_since
from dino_assets.images.decoding import MAX_PIXELS, decode_image
from dino_assets.images.ground import camera as geo
from dino_assets.images.ground.registration import draw_gray
from dino_assets.images.inspection import inspect_image
from dino_assets.images.mosaics import inspect_mosaic, is_mosaic
from dino_assets.images.pixels import hash_file
from dino_assets.images.records import ImageFacts, ImageRow, PixelScores, Place, PlaceQuality, View
from dino_assets.images.scores import draw_thumb, score_pixels
from dino_assets.store.commits.columns import columns_of

SCHEMA = pa.schema(columns_of(ImageRow), metadata=places.GEO_METADATA)
WINDOWED_FROM_BYTES = 64 * 2**20  # a larger TIFF's header is read first, because it may be a mosaic
_READERS = ("pillow_heif", "rasterio", "rawpy")
_TIFF = (".tif", ".tiff")
Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ReadingOptions:
    """Options for reading a drop's files; they are part of the recipe of ``images``.

    A photograph of more than ``max_pixels`` pixels is quarantined. ``ground_m`` is the ground's height above
    the sea. If it is None, the ground is assumed to be as high as the place of take-off.
    """

    max_pixels: int = MAX_PIXELS
    ground_m: float | None = None


@dataclass(frozen=True)
class InspectedFile:
    """One file's row, its camera view, the ground positions of its corners, and the seconds spent on it.

    ``gray``, a small gray picture, is set if overlapping pictures must decide whether this one was turned.
    ``turn_proof`` is the path of an overlapping picture that proves the row's ``turned_deg``.
    """

    row: ImageRow
    corners: Corners | None = None
    view: View | None = None
    gray: NDArray[np.uint8] | None = field(default=None, repr=False)
    turn_proof: str | None = None
    read_s: float = 0.0
    compute_s: float = 0.0


def inspect_file(
    drop: Drop, source: Source, entry: SourceEntry, reading: ReadingOptions
) -> InspectedFile:
    """Read and inspect one file of a drop; a bad file raises no error, but gets a reason in its row.

    Raises:
        StoreError: the whole source cannot be reached.
    """
    row = ImageRow(drop.name, entry.path, entry.size, label=entry.label, metadata=entry.metadata)
    if entry.refusal:
        return InspectedFile(replace(row, reason=entry.refusal, detail=entry.refusal_detail))
    started = read = time.perf_counter()
    try:
        file = _inspect_large(row, source) if entry.size > WINDOWED_FROM_BYTES else None
        if file is None:
            data = source.read(entry.path)
            read = time.perf_counter()
            file = _inspect_mosaic(row, source) if is_mosaic(data) else None
            file = file or inspect_photo(row, data, reading)
    except SourceError as err:
        file = InspectedFile(replace(row, reason="unreadable", detail=str(err)))
    except UnusableImageError as err:
        file = InspectedFile(replace(row, reason=err.reason, detail=err.detail))
    except MissingExtraError as err:
        file = InspectedFile(replace(row, reason="missing-extra", detail=str(err)))
    return replace(file, read_s=read - started, compute_s=time.perf_counter() - read)


def inspect_photo(row: ImageRow, data: bytes, reading: ReadingOptions) -> InspectedFile:
    """Inspect one photograph from its bytes: complete its row, and find its view and its corners.

    Raises:
        UnusableImageError: the file is not a usable photograph.
    """
    facts = inspect_image(data, max_pixels=reading.max_pixels)
    pixels = decode_image(data)
    if pixels.shape[:2] != (facts.height, facts.width):
        # Tiles are cut later by the header's size. A wrong size would then make the whole drop fail.
        height, width = pixels.shape[:2]
        raise UnusableImageError(
            "undecodable",
            f"its header says {facts.width}×{facts.height} px, but it has {width}×{height} px",
        )
    scores = score_pixels(pixels)
    capture = read_capture(data)
    view = geo.make_view(capture, facts, ground_m=reading.ground_m)
    if view is not None and capture.edited_by is None and _is_turned(data, facts, scores):
        capture = replace(capture, edited_by=UNNAMED_PROGRAM)
    row = replace(
        row,
        bytes=len(data),
        scores=scores,
        is_mosaic=False,
        thermal=find_thermal_signal(row.path, data, capture),
    )
    if view is not None:
        # The view uses the middle of the picture if the file has no principal point.
        capture = replace(capture, center_x_px=view.center_x_px, center_y_px=view.center_y_px)
        row = replace(row, height_m=view.height_m)
    quality = geo.judge_view(view, is_edited=capture.edited_by is not None)
    file = _complete(replace(row, capture=capture), facts, quality, view)
    return replace(file, gray=draw_gray(pixels)) if quality == "edited-nadir" else file


def _is_turned(data: bytes, facts: ImageFacts, scores: PixelScores) -> bool:
    """Check whether the EXIF thumbnail of a JPEG proves that a program turned the pixels.

    The answer is no for other formats, and for files whose EXIF orientation is not 1.
    """
    if facts.format not in ("JPEG", "MPO") or facts.orientation != 1 or not scores.thumb:
        return False
    with Image.open(io.BytesIO(scores.thumb)) as small:
        return is_turned_since(data, small)


def place_turned(file: InspectedFile, turned_deg: int, *, proof: str) -> InspectedFile:
    """Compute the place of a photograph again, with the angle by which it was turned after the shot.

    ``proof`` is the path of an overlapping photograph that proves ``turned_deg``.
    """
    facts = file.row.facts
    if file.view is None or facts is None:
        raise ValueError(
            f"cannot place {file.row.path!r} again: its camera's position and direction are not known"
        )
    view = replace(file.view, turned_deg=turned_deg)
    row = replace(file.row, turned_deg=turned_deg)
    placed = _complete(row, facts, geo.judge_view(view), view)
    return replace(file, row=placed.row, corners=placed.corners, view=view, turn_proof=proof)


def _inspect_large(row: ImageRow, source: Source) -> InspectedFile | None:
    """Inspect a large file block by block if it is a mosaic; return None for another file.

    Raises:
        UnusableImageError: the file is not a mosaic and exceeds ``MAX_FILE_BYTES``; ``reason`` is too-large.
    """
    if PurePosixPath(row.path).suffix.lower() in _TIFF:
        file = _inspect_mosaic(row, source)
        if file is not None:
            return file
    if row.bytes > MAX_FILE_BYTES:
        limit = f"{row.bytes:,} bytes, the limit is {MAX_FILE_BYTES:,}"
        raise UnusableImageError("too-large", limit)
    return None


def _inspect_mosaic(row: ImageRow, source: Source) -> InspectedFile | None:
    """Inspect a mosaic block by block; return None if the file is not a mosaic."""
    with source.open_file(row.path) as file:
        if not is_mosaic(file):
            return None
        mosaic = inspect_mosaic(file, image_id=hash_file(file))
        size = file.stat().st_size
    row = replace(
        row,
        bytes=size,
        scores=PixelScores(thumb=draw_thumb(Image.fromarray(mosaic.sample))),
        is_mosaic=True,
        valid=mosaic.valid,
        scale_low=mosaic.low,
        scale_high=mosaic.high,
        georeference=mosaic.georeference,
    )
    return _complete(row, mosaic.facts, "none" if mosaic.georeference is None else "ortho")


def _complete(
    row: ImageRow, facts: ImageFacts, quality: PlaceQuality, view: View | None = None
) -> InspectedFile:
    """Add the facts and the ground position of the whole picture to its row, and mark the row as usable."""
    window = np.array([[0, 0, facts.width, facts.height]], np.int32)
    placed = places.place_windows(window, view=view, georeference=row.georeference)
    (columns,) = places.describe_places(quality, placed, count=1).to_pylist()
    row = replace(row, is_usable=True, facts=facts, place=Place(**columns))
    if placed is None or not np.isfinite(placed.corners).all():
        return InspectedFile(row, view=view)
    return InspectedFile(row, tuple((float(x), float(y)) for x, y in placed.corners[0]), view)


def name_readers() -> list[str]:
    """List which of the optional packages for reading files are installed.

    The recipe of every drop contains all of them, whatever its files' names: phones name a HEIC
    ``IMG_0001.JPG``.
    """
    return sorted(module for module in _READERS if find_spec(module))
