"""Records of an image: what it is, how it was taken, where it lies."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

PlaceQuality = Literal["ortho", "rtk-nadir", "gps-nadir", "oblique", "none"]


MAX_IMAGE_SIDE_PX = 99_999  # five digits in a tile id


CELL_PX = 32  # of a mosaic: whether it holds anything is known cell by cell


@dataclass(frozen=True)
class ImageFacts:
    """What one photograph is, in the upright frame; ``stored_*`` is the frame of the file."""

    image_id: str
    format: str
    mode: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    orientation: int
    note: str | None = None  # what was left out or changed, if anything: "first of 3 pages"


@dataclass(frozen=True)
class Capture:
    """What a camera wrote beside the pixels (XMP before EXIF); None where it says nothing.

    ``taken`` is the camera's local time. Angles in degrees as DJI counts them: yaw clockwise from
    north, pitch -90 straight down.
    """

    taken: datetime | None = None
    utc_offset: str | None = None
    edited_by: str | None = None  # the program that wrote the file anew after it was taken
    satellite_date: date | None = None
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    image_source: str | None = None
    focal_mm: float | None = None
    focal_35mm: float | None = None
    focal_px: float | None = None  # of the frame as it is stored, from calibration, tags or a table
    focal_from: str | None = None
    center_x_px: float | None = None  # principal point in the stored frame; None: the middle
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
    """A camera over flat ground: all that decides where a pixel lies.

    Sizes and the principal point are of the stored frame; pixels are asked for in the upright one,
    which ``orientation`` (EXIF) leads to.
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
    is_rtk: bool = False


@dataclass(frozen=True)
class Georeference:
    """Where a mosaic lies: its coordinate system (WKT or EPSG:n) and x, y of a pixel (affine a…f)."""

    crs: str
    transform: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class PixelScores:
    """How a picture came out. ``exposure_ev`` is 0 at middle gray; shares are of all pixels."""

    sharpness: float
    exposure_ev: float
    dark_share: float
    bright_share: float
    look: bytes  # 256 bits; near duplicates differ in few of them
    thumb: bytes  # WebP


class Pixels(Protocol):
    """Upright RGB pixels that are cut like an array (H, W, 3): an array, or a mosaic on the disk."""

    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[np.uint8]:
        """The pixels (h, w, 3) of some rows and columns."""
        ...
