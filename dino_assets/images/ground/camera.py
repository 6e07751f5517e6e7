"""Camera model: ground positions of a picture and its pixels.

The ground is assumed flat and level, at the height of the take-off or at a given one. If it is not, a pixel's
position error is the height error times the tangent of its angle from straight down. Sizes are wrong by the
ratio of the heights. Lenses are assumed free of distortion.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_assets.images.records import Capture, ImageFacts, PlaceQuality, View
from dino_assets.numerics.earth import travel

_F64 = NDArray[np.float64]
_NADIR_TOLERANCE_DEG = 10.0
# In a ray this flat, an error of one degree of pitch moves the ground point by a fifth of its distance.
_LEAST_BELOW_HORIZON_DEG = 5.0
_MOST_HEIGHT_M, _MOST_FOCAL_PX = 20_000.0, 1e6  # larger values are wrong metadata


@dataclass(frozen=True)
class Places:
    """Ground positions of windows, as arrays; NaN if unknown.

    ``corners`` (N, 4, 2) are longitude and latitude of the upright window's corners: upper left, upper right,
    lower right, lower left. ``centers`` (N, 2) are those of its middle. ``gsd_m`` (N,) is metres of ground
    per pixel.
    """

    corners: _F64
    centers: _F64
    gsd_m: _F64


def make_view(capture: Capture, facts: ImageFacts, *, ground_m: float | None = None) -> View | None:
    """Make the camera view over flat ground; return None if a necessary value is unknown or impossible.

    Necessary are position, height, yaw, pitch and focal length. The height is the one above take-off. If
    ``ground_m``, the ground's height above the sea, is given, the height is the altitude minus ``ground_m``.
    """
    if ground_m is None:
        height_m = capture.relative_altitude_m
    else:
        height_m = None if capture.altitude_m is None else capture.altitude_m - ground_m
    latitude, longitude = capture.latitude, capture.longitude
    # Use the gimbal's yaw: the airframe's is wrong while the drone flies sideways.
    yaw, pitch = capture.gimbal_yaw_deg, capture.gimbal_pitch_deg
    focal = capture.focal_px
    if height_m is None or latitude is None or longitude is None:
        return None
    if yaw is None or pitch is None or focal is None:
        return None
    roll = capture.gimbal_roll_deg or 0.0
    numbers = (height_m, latitude, longitude, yaw, pitch, roll, focal)
    if not all(map(math.isfinite, numbers)) or height_m <= 0 or focal <= 0:
        return None
    if height_m > _MOST_HEIGHT_M or focal > _MOST_FOCAL_PX:
        return None
    width, height = facts.stored_width, facts.stored_height
    return View(
        latitude=latitude,
        longitude=longitude,
        height_m=height_m,
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        focal_px=focal,
        center_x_px=width / 2 if capture.center_x_px is None else capture.center_x_px,
        center_y_px=height / 2 if capture.center_y_px is None else capture.center_y_px,
        width=width,
        height=height,
        orientation=facts.orientation,
        is_rtk=capture.rtk == "fixed",
    )


def judge_view(view: View | None, *, is_edited: bool = False) -> PlaceQuality:
    """Judge how well a picture's ground position is known.

    The result is ``none`` if there is no view, or if the horizon is in the picture or close to it.
    ``is_edited`` marks a picture that a program wrote again after the shot. It may be turned or cropped,
    while its file still has the angles of the shot. So its quality begins with ``edited``.
    """
    if view is None:
        return "none"
    corners = np.array(
        [(0, 0), (view.width, 0), (view.width, view.height), (0, view.height)], np.float64
    )
    # The four corners are enough, because steep rays form a convex cone.
    rays = _aim(view, corners)
    below = rays[:, 2] / np.linalg.norm(rays, axis=1)
    if below.min() < math.sin(math.radians(_LEAST_BELOW_HORIZON_DEG)):
        return "none"
    down = -math.sin(math.radians(view.pitch_deg))
    # The tolerance covers rounding errors, so that 10 degrees in the file count as within 10.
    if down < math.cos(math.radians(_NADIR_TOLERANCE_DEG)) - 1e-12:
        return "edited-oblique" if is_edited else "oblique"
    if is_edited:
        return "edited-nadir"
    return "rtk-nadir" if view.is_rtk else "gps-nadir"


def place_windows(view: View | None, windows: ArrayLike) -> Places:
    """Compute the ground positions of windows (N, 4: x, y, w, h) of the upright picture.

    All positions are NaN if ``judge_view`` returns ``none``.
    """
    boxes = np.asarray(windows, np.float64).reshape(-1, 4)
    n = len(boxes)
    if view is None or judge_view(view) == "none":
        return Places(np.full((n, 4, 2), np.nan), np.full((n, 2), np.nan), np.full(n, np.nan))
    x, y, w, h = boxes.T
    across = np.stack([x, x + w, x + w, x, x + w / 2], 1)
    down = np.stack([y, y, y + h, y + h, y + h / 2], 1)
    ground = _reach_ground(view, np.stack([across, down], 2).reshape(-1, 2)).reshape(n, 5, 2)
    after = np.roll(ground[:, :4], -1, axis=1)
    # Straight lines stay straight on flat ground, so four corners define a window's area.
    doubled = ground[:, :4, 0] * after[..., 1] - ground[:, :4, 1] * after[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        gsd_m = np.sqrt(np.abs(doubled.sum(1)) / 2 / (w * h))
    degrees = travel(view.longitude, view.latitude, ground.reshape(-1, 2)).reshape(n, 5, 2)
    return Places(degrees[:, :4], degrees[:, 4], np.where(np.isfinite(gsd_m), gsd_m, np.nan))


def _to_stored(view: View, points: _F64) -> _F64:
    """Convert points (N, 2) of the upright picture to points of the picture as stored."""
    x, y = points.T
    width, height = view.width, view.height
    stored = {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, height - x),
        7: (width - y, height - x),
        8: (width - y, x),
    }.get(view.orientation, (x, y))
    return np.stack(stored, 1)


def _turn_back(points: _F64, turned_deg: int) -> _F64:
    """Undo a clockwise turn of points (N, 2) around a picture's middle."""
    x, y = points.T
    return np.stack({90: (y, -x), 180: (-x, -y), 270: (-y, x)}[turned_deg], 1)


def _aim(view: View, stored: _F64) -> _F64:
    """Compute rays (N, 3) east, north, down from the camera through points (N, 2) of the picture as stored.

    Yaw, pitch and roll are applied in this order. So for a camera that looks straight down, a roll of 180
    equals a yaw of 180.
    """
    yaw, pitch, roll = np.radians((view.yaw_deg, view.pitch_deg, view.roll_deg))
    ahead = np.array(
        [math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), -math.sin(pitch)]
    )
    level_right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
    level_down = np.array(
        [math.sin(yaw) * math.sin(pitch), math.cos(yaw) * math.sin(pitch), math.cos(pitch)]
    )
    right = level_right * math.cos(roll) + level_down * math.sin(roll)
    down = level_down * math.cos(roll) - level_right * math.sin(roll)
    center = np.array((view.center_x_px, view.center_y_px))
    if view.turned_deg:
        middle = np.array((view.width, view.height)) / 2
        stored, center = _turn_back(stored - middle, view.turned_deg), center - middle
    aside = stored - center
    return np.asarray(aside[:, :1] * right + aside[:, 1:] * down + view.focal_px * ahead)


def _reach_ground(view: View, upright: _F64) -> _F64:
    """Compute where points (N, 2) of the upright picture lie on the ground.

    The result is in metres east and north of the point below the camera; NaN for points above the horizon.
    """
    rays = _aim(view, _to_stored(view, upright))
    with np.errstate(invalid="ignore", divide="ignore"):
        reached = rays[:, :2] * (view.height_m / rays[:, 2:])
    return np.where(rays[:, 2:] > 0, reached, np.nan)
