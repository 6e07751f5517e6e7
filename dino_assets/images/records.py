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
Data = bytes  # a second name, because ImageRow has a field called bytes

MAX_IMAGE_SIDE_PX = 99_999  # five digits in a tile id


CELL_PX = 32  # side of a mosaic's cells; for each cell it is recorded whether any pixel is valid


@dataclass(frozen=True)
class ImageFacts:
    """Format and size of one photograph or mosaic; ``image_id`` is the sha256 of its file.

    ``width`` and ``height`` are those of the upright picture, ``stored_*`` those of the picture in the file.
    """

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
    """Metadata that a camera stored with a photograph; None for a missing value.

    If XMP and EXIF both have a value, the value of XMP is used. Only the time is taken from EXIF.
    ``taken`` is the camera's local time. Angles are in degrees in DJI's convention: yaw clockwise from north,
    pitch -90 straight down.
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
    focal_px: float | None = None  # for the picture as stored; from calibration, tags or a table
    focal_from: str | None = None
    center_x_px: float | None = None  # principal point of the picture as stored; None is the middle
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
    """A camera over flat ground: all values that decide where on the ground a pixel lies.

    ``width``, ``height`` and the principal point (``center_*``) refer to the picture as stored.
    ``orientation`` (EXIF) says how the stored picture is turned upright. Pixels to be placed are those of the
    upright picture. ``turned_deg`` is the clockwise angle by which a program turned the stored picture after
    the shot. The principal point's offset from the picture's middle is the offset before that turn.
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
    """Position of a mosaic: its coordinate system ``crs`` (WKT or EPSG:n), and the coordinates of its pixels.

    ``transform`` holds the numbers a…f of the affine map from column and row to x and y.
    """

    crs: str
    transform: Annotated[tuple[float, float, float, float, float, float], pa.list_(pa.float64())]


@dataclass(frozen=True)
class PixelScores:
    """Scores of a picture's quality; a mosaic has only a thumbnail.

    ``exposure_ev`` is in stops, 0 at middle gray. ``dark_share`` and ``bright_share`` are shares of the
    pixels.
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
    """Ground position of a picture or a tile.

    If the position is unknown, ``place_quality`` is ``none`` and the other fields are None. If the picture is
    unusable, ``place_quality`` is None as well. ``gsd_m`` is metres of ground per pixel. ``geometry`` is the
    outline on the ground, as WKB in WGS 84.
    """

    place_quality: PlaceQuality | None = None
    center_longitude: float | None = None
    center_latitude: float | None = None
    gsd_m: float | None = None
    geometry: bytes | None = None


@dataclass(frozen=True)
class ImageRow:
    """A row of the table ``images``: one file of a drop. The table's columns are derived from the fields."""

    drop: str
    path: str
    bytes: Annotated[int, pa.int64()]
    is_usable: bool = False
    reason: str | None = None
    detail: str | None = None
    facts: ImageFacts | None = None
    label: str | None = None
    metadata: str | None = None  # JSON: the further columns of a list that names the file
    raw_path: str | None = None  # the DNG of the same shot
    thermal: str | None = None  # the evidence that it is a thermal picture
    capture: Capture = field(default_factory=Capture)
    scores: PixelScores = field(default_factory=PixelScores)
    is_mosaic: bool | None = None  # read by windows, never whole
    valid: Data | None = None  # for a mosaic: which cells of 32 px have a valid pixel, a bit each
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
