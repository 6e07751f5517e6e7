"""Positions and areas on the Earth's ellipsoid (WGS 84), distances on a sphere."""

import math

import numpy as np
from numpy.typing import NDArray

_F64 = NDArray[np.float64]
EQUATOR_M = 6378137.0
FLATTENING = 1 / 298.257223563
POLE_M = EQUATOR_M * (1 - FLATTENING)
_E2 = 0.00669437999014  # the eccentricity, squared
_MOST_REACH_M = 1_000_000.0
# For distances in a drop's report, where an error of half a percent does not matter.
SPHERE_M = 6_371_000.0
SPHERE_M_PER_DEGREE = 111_195.0


def travel(longitude: float, latitude: float, metres: _F64) -> _F64:
    """Compute longitude and latitude (N, 2) of points from their ``metres`` (N, 2) east and north of a start.

    This is Vincenty's direct formula. Over the distances in a drone's photograph it is exact to a micrometre,
    at any latitude.
    """
    east, north = metres.T
    distance, azimuth = np.hypot(east, north), np.arctan2(east, north)
    start = math.radians(latitude)
    reduced = math.atan2((1 - FLATTENING) * math.sin(start), math.cos(start))
    sin_u, cos_u = math.sin(reduced), math.cos(reduced)
    sin_a, cos_a = np.sin(azimuth), np.cos(azimuth)
    sigma_1 = np.arctan2(sin_u, cos_u * cos_a)
    sin_alpha = cos_u * sin_a
    cos2_alpha = 1 - sin_alpha**2
    u2 = cos2_alpha * (EQUATOR_M**2 / POLE_M**2 - 1)
    big_a = 1 + u2 / 16384 * (4096 + u2 * (-768 + u2 * (320 - 175 * u2)))
    big_b = u2 / 1024 * (256 + u2 * (-128 + u2 * (74 - 47 * u2)))
    direct = sigma = distance / (POLE_M * big_a)
    for _ in range(4):  # each step gains three digits
        cos_2m = np.cos(2 * sigma_1 + sigma)
        sin_s, cos_s = np.sin(sigma), np.cos(sigma)
        inner = cos_s * (2 * cos_2m**2 - 1) - big_b / 6 * cos_2m * (4 * sin_s**2 - 3) * (
            4 * cos_2m**2 - 3
        )
        sigma = direct + big_b * sin_s * (cos_2m + big_b / 4 * inner)
    sin_s, cos_s, cos_2m = np.sin(sigma), np.cos(sigma), np.cos(2 * sigma_1 + sigma)
    across = sin_u * sin_s - cos_u * cos_s * cos_a
    end = np.arctan2(
        sin_u * cos_s + cos_u * sin_s * cos_a,
        (1 - FLATTENING) * np.sqrt(sin_alpha**2 + across**2),
    )
    turn = np.arctan2(sin_s * sin_a, cos_u * cos_s - sin_u * sin_s * cos_a)
    c = FLATTENING / 16 * cos2_alpha * (4 + FLATTENING * (4 - 3 * cos2_alpha))
    inner = sigma + c * sin_s * (cos_2m + c * cos_s * (2 * cos_2m**2 - 1))
    ends = longitude + np.degrees(turn - (1 - c) * FLATTENING * sin_alpha * inner)
    return np.stack([(ends + 180) % 360 - 180, np.degrees(end)], 1)


def measure_areas_m2(corners: _F64, centers: _F64) -> _F64:
    """Measure the areas of quadrangles (N, 4, 2) of longitude and latitude around their centers (N, 2).

    Each quadrangle is measured in the plane that touches the Earth at its center. The error is at most half
    a percent everywhere, also at a pole. If a corner is over 1,000 km from the center, the result is NaN,
    because a plane does not fit so much ground.
    """
    longitude, latitude = np.radians(centers).T
    zeros = np.zeros_like(longitude)
    east = np.stack([-np.sin(longitude), np.cos(longitude), zeros], 1)
    north = np.stack(
        [
            -np.sin(latitude) * np.cos(longitude),
            -np.sin(latitude) * np.sin(longitude),
            np.cos(latitude),
        ],
        1,
    )
    offsets = place_on_ellipsoid(corners) - place_on_ellipsoid(centers)[:, None]
    x, y = (np.einsum("nij,nj->ni", offsets, axis) for axis in (east, north))
    doubled = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    reach = np.linalg.norm(offsets, axis=2).max(axis=1)
    return np.asarray(np.where(reach <= _MOST_REACH_M, np.abs(doubled) / 2, np.nan))


def place_on_ellipsoid(degrees: _F64) -> _F64:
    """Convert longitudes and latitudes (…, 2) to x, y, z (…, 3) in metres."""
    longitude, latitude = np.moveaxis(np.radians(degrees), -1, 0)
    around = EQUATOR_M / np.sqrt(1 - _E2 * np.sin(latitude) ** 2)
    return np.stack(
        [
            around * np.cos(latitude) * np.cos(longitude),
            around * np.cos(latitude) * np.sin(longitude),
            around * (1 - _E2) * np.sin(latitude),
        ],
        -1,
    )


def measure_distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Measure the distance in metres on a sphere between two points, (latitude, longitude) in degrees."""
    lat, lon, other_lat, other_lon = map(math.radians, (*one, *other))
    half = math.sin((other_lat - lat) / 2) ** 2
    half += math.cos(lat) * math.cos(other_lat) * math.sin((other_lon - lon) / 2) ** 2
    return 2 * SPHERE_M * math.asin(math.sqrt(min(1.0, half)))


def place_on_sphere(latitude: float, longitude: float) -> tuple[float, float, float]:
    """Convert degrees to x, y, z in metres from the centre of a sphere.

    The straight distance between two near points is about their distance on the ground.
    """
    lat, lon = math.radians(latitude), math.radians(longitude)
    around = SPHERE_M * math.cos(lat)
    return around * math.cos(lon), around * math.sin(lon), SPHERE_M * math.sin(lat)
