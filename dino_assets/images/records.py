"""Records of an image: format and size, capture metadata, scores, ground position."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PlaceQuality = Literal[
    "ortho", "rtk-nadir", "gps-nadir", "oblique", "edited-nadir", "edited-oblique", "none"
]  # fmt: skip
OBLIQUE: tuple[PlaceQuality, ...] = ("oblique", "edited-oblique")
Data = bytes  # a field of ImageRow is called bytes

MAX_IMAGE_SIDE_PX = 99_999  # five digits in a tile id


CELL_PX = 32  # cell of a mosaic for which it is recorded whether any pixel is valid


@dataclass(frozen=True)
class ImageFacts:
    """Format and size of one photograph, in the upright frame; ``stored_*`` is the file's frame."""

    image_id: str
    format: str
    mode: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    orientation: Annotated[int, pa.int8()]
    note: str | None = None  # what decoding left out or changed: "first of 3 pages"


@dataclass(frozen=True)
class Capture:
    """A camera's metadata (XMP before EXIF); None for a missing value.

    ``taken`` is the camera's local time. Angles are in degrees in DJI's convention: yaw clockwise from
    north, pitch -90 straight down.
    """

    taken: datetime | None = None
    utc_offset: str | None = None
    edited_by: str | None = None  # the program that wrote the file again after the shot
    satellite_date: date | None = None
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    image_source: str | None = None
    focal_mm: float | None = None
    focal_35mm: float | None = None
    focal_px: float | None = None  # of the stored frame, from calibration, tags or a table
    focal_from: str | None = None
    center_x_px: float | None = None  # principal point in the stored frame; None means the middle
    center_y_px: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    relative_altitude_m: float | None = None
    gimbal_yaw_deg: float | None = None
    gimbal_pitch_deg: float | None = None
    gimbal_roll_deg: float | None = None
    flight_yaw_deg: float | None = None
    flight_pitch_deg: float | None = None
    flight_roll_deg: float | None = None
    rtk: Literal["fixed", "float", "single"] | None = None


@dataclass(frozen=True)
class View:
    """A camera over flat ground: all values that decide where a pixel lies.

    Sizes and the principal point are of the stored frame. Pixels are given in the upright frame, to which
    ``orientation`` (EXIF) leads. ``turned_deg`` is the clockwise angle by which a program turned the stored
    frame after the shot. The principal point keeps its distance from the middle, relative to the camera.
    """

    latitude: float
    longitude: float
    height_m: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    focal_px: float
    center_x_px: float
    center_y_px: float
    width: int
    height: int
    orientation: int = 1
    turned_deg: int = 0
    is_rtk: bool = False


@dataclass(frozen=True)
class Georeference:
    """Position of a mosaic: its coordinate system (WKT or EPSG:n) and x, y of a pixel (affine a…f)."""

    crs: str
    transform: Annotated[tuple[float, float, float, float, float, float], pa.list_(pa.float64())]


@dataclass(frozen=True)
class PixelScores:
    """Scores of a picture's quality; a mosaic has only a thumbnail.

    ``exposure_ev`` is 0 at middle gray; shares are of all pixels.
    """

    sharpness: float | None = None
    contrast: float | None = None  # levels; near 0, sharpness means nothing
    exposure_ev: float | None = None
    dark_share: float | None = None
    bright_share: float | None = None
    look: bytes | None = None  # perceptual hash of 256 bits; near duplicates differ in few of them
    thumb: bytes | None = None  # WebP


@dataclass(frozen=True)
class Place:
    """Ground position of a picture or a tile; ``geometry`` is WKB in WGS 84. All None if unusable."""

    place_quality: PlaceQuality | None = None
    center_longitude: float | None = None
    center_latitude: float | None = None
    gsd_m: float | None = None
    geometry: bytes | None = None


@dataclass(frozen=True)
class ImageRow:
    """A row of ``images``: one file. The table's columns are derived from these fields."""

    drop: str
    path: str
    bytes: Annotated[int, pa.int64()]
    is_usable: bool = False
    reason: str | None = None
    detail: str | None = None
    facts: ImageFacts | None = None
    label: str | None = None
    metadata: str | None = None  # JSON: further columns of a list
    raw_path: str | None = None  # the DNG of the same shot
    thermal: str | None = None  # the evidence that it is a thermal picture
    capture: Capture = field(default_factory=Capture)
    scores: PixelScores = field(default_factory=PixelScores)
    is_mosaic: bool | None = None  # read by windows, never whole
    valid: Data | None = None  # of a mosaic: which cells of 32 px have a valid pixel
    scale_low: float | None = None
    scale_high: float | None = None
    georeference: Georeference | None = None
    # Angle by which a program turned the pixels after the shot, if overlapping pictures prove it.
    turned_deg: int | None = None
    height_m: float | None = None  # of the camera above the ground, as computed
    place: Place = field(default_factory=Place)


class Pixels(Protocol):
    """Upright RGB pixels that can be sliced like an array (H, W, 3): an array, or a mosaic on disk."""

    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[np.uint8]:
        """Read the pixels (h, w, 3) of some rows and columns."""
        ...
