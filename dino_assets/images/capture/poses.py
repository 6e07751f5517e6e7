"""Directions of cameras without a gimbal: yaw, pitch and roll as Pix4D and senseFly write them.

The angles are those of the aircraft. If all are 0, the camera looks straight down, and the picture's top is
north. At a pitch of 90 the camera looks ahead; a roll tilts it sideways. Pix4D describes this convention
under "Yaw, Pitch, Roll and Omega, Phi, Kappa angles". senseFly uses the opposite sign for roll (OpenDroneMap
found this from flights).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from dino_assets.images.capture.values import read_height_m, read_number

# A pitch outside these limits is refused: no camera looks back so far, and for a gimbal -90 is straight down.
_LEAST_PITCH_DEG, _MOST_PITCH_DEG = -45.0, 135.0
_DIGITS = 6  # of a degree; further digits are rounding errors


class Direction(NamedTuple):
    """A camera's direction in a gimbal's convention: yaw from north, pitch -90 straight down, then roll."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def read_pose(words: Mapping[str, str], make: str | None) -> Direction | None:
    """Read the direction from XMP names that begin with ``Camera:`` or ``sensefly:``.

    Return None if yaw or pitch is missing, or if an angle is impossible. ``make`` is the camera's maker.
    """
    for space in ("Camera", "sensefly"):
        yaw, pitch, roll = (
            read_number(words.get(f"{space}:{name}")) for name in ("Yaw", "Pitch", "Roll")
        )
        if yaw is None or pitch is None or abs(yaw) > 360 or abs(roll or 0) > 180:
            continue
        if not _LEAST_PITCH_DEG <= pitch <= _MOST_PITCH_DEG:
            continue
        is_mirrored = space == "sensefly" or (make or "").lower().startswith("sensefly")
        return turn_to_gimbal(yaw, pitch, -(roll or 0) if is_mirrored else roll or 0)
    return None


def read_height_above_ground_m(words: Mapping[str, str]) -> float | None:
    """Read ``Camera:AboveGroundAltitude`` in metres; a unit may follow the number."""
    value = (words.get("Camera:AboveGroundAltitude") or "").split()
    return read_height_m(value[0]) if value else None


def is_fisheye(words: Mapping[str, str]) -> bool:
    """Check whether the lens is a fisheye, which no focal length describes."""
    return (words.get("Camera:ModelType") or "").strip().lower() == "fisheye"


def turn_to_gimbal(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Direction:
    """Convert an aircraft's angles to a gimbal's angles, for a camera that is fixed to look down."""
    yaw, pitch, roll = map(math.radians, (yaw_deg, pitch_deg, roll_deg))
    # The picture's right side and the middle ray, as north, east, down.
    right = (
        math.cos(yaw) * math.sin(pitch) * math.sin(roll) - math.sin(yaw) * math.cos(roll),
        math.sin(yaw) * math.sin(pitch) * math.sin(roll) + math.cos(yaw) * math.cos(roll),
        math.cos(pitch) * math.sin(roll),
    )
    ahead = (
        math.cos(yaw) * math.sin(pitch) * math.cos(roll) + math.sin(yaw) * math.sin(roll),
        math.sin(yaw) * math.sin(pitch) * math.cos(roll) - math.cos(yaw) * math.sin(roll),
        math.cos(pitch) * math.cos(roll),
    )
    across = math.hypot(ahead[0], ahead[1])
    # Straight down, yaw and roll are ambiguous: choose a roll of 0.
    looks_down = across < 1e-9 and ahead[2] > 0
    gimbal_yaw = yaw if looks_down else math.atan2(ahead[1], ahead[0])
    gimbal_pitch = -math.atan2(ahead[2], across)
    level_right = (-math.sin(gimbal_yaw), math.cos(gimbal_yaw), 0.0)
    level_down = (
        math.cos(gimbal_yaw) * math.sin(gimbal_pitch),
        math.sin(gimbal_yaw) * math.sin(gimbal_pitch),
        math.cos(gimbal_pitch),
    )
    gimbal_roll = math.atan2(_project(right, level_down), _project(right, level_right))
    angles = (math.degrees(angle) for angle in (gimbal_yaw, gimbal_pitch, gimbal_roll))
    return Direction(*(round(angle, _DIGITS) + 0.0 for angle in angles))


def _project(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
