"""Camera above a drawn map: poses, pictures, and positions on Earth."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dino_assets.demo.flights.terrain import F, Outline, Raster


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks straight down. The numbers are from a DJI FC300S (Phantom 3)."""

    width_px: int
    height_px: int
    sensor_width_mm: float = 6.17
    focal_mm: float = 3.61

    def ground_px_m(self, altitude_m: float) -> float:
        """Compute the ground size of one pixel in metres."""
        return altitude_m * self.sensor_width_mm / (self.focal_mm * self.width_px)


@dataclass(frozen=True)
class Site:
    """Position of a map: its middle in degrees (WGS 84), the ground's height, the bearing of its y axis."""

    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    bearing_deg: float

    def to_degrees(self, points: Outline) -> Outline:
        """Convert points (N, 2) from metres on the map to longitude and latitude (N, 2).

        The map is the ellipsoid's tangent plane, which is exact to a millimetre over 200 m.
        """
        turn, latitude = np.radians((self.bearing_deg, self.latitude_deg))
        east = points[:, 0] * np.cos(turn) + points[:, 1] * np.sin(turn)
        north = points[:, 1] * np.cos(turn) - points[:, 0] * np.sin(turn)
        bulge = 1 - 0.00669437999 * np.sin(latitude) ** 2
        east_radius = 6378137.0 / np.sqrt(bulge)
        north_radius = 6378137.0 * (1 - 0.00669437999) / bulge**1.5
        longitude = self.longitude_deg + np.degrees(east / (east_radius * np.cos(latitude)))
        return np.stack([longitude, self.latitude_deg + np.degrees(north / north_radius)], 1)


@dataclass(frozen=True)
class Pose:
    """Position of the camera when it takes a picture: map metres, metres above the ground.

    ``turn_deg`` is the direction of the picture's upper edge, clockwise from the map's y axis.
    """

    x: float
    y: float
    altitude_m: float
    turn_deg: float

    def footprint(self, camera: Camera) -> Outline:
        """Compute the picture's corners on the map, clockwise from its upper left."""
        half = (
            np.array([camera.width_px, camera.height_px]) * camera.ground_px_m(self.altitude_m) / 2
        )
        corners = np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)]) * half
        sin, cos = np.sin(np.radians(self.turn_deg)), np.cos(np.radians(self.turn_deg))
        turned = np.stack([corners @ (cos, sin), corners @ (-sin, cos)], 1)
        return np.asarray(turned + np.array([self.x, self.y]))


def take_picture(
    rng: np.random.Generator, ground: Image.Image, raster: Raster, *, camera: Camera, pose: Pose
) -> Image.Image:
    """Take the picture of a drawn map (``ground``): sample its footprint, darken the corners, add noise.

    Raises:
        ValueError: the footprint is outside the drawn map.
    """
    corners = raster.to_px(pose.footprint(camera))
    if corners.min() < 0 or (corners.max(0) > ground.size).any():
        raise ValueError(
            f"the footprint is outside the drawn map: corners at {corners.round()} px, expected within "
            f"{ground.size} px"
        )
    origin = corners[0]
    across = (corners[1] - origin) / camera.width_px
    down = (corners[3] - origin) / camera.height_px
    affine = (across[0], down[0], origin[0], across[1], down[1], origin[1])
    size = camera.width_px, camera.height_px
    sampled = ground.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    pixels = np.array(sampled)
    aside = np.linspace(-0.8, 0.8, camera.width_px, dtype=F) ** 2
    above = np.linspace(-0.6, 0.6, camera.height_px, dtype=F) ** 2
    rows = pixels.reshape(
        camera.height_px, -1
    )  # three columns per pixel: three times as fast as a third axis
    for top in range(0, camera.height_px, 128):
        band = rows[top : top + 128]
        light = F(1.02) - F(0.16) * (aside[None, :] + above[top : top + 128, None])
        noise = rng.standard_normal(light.shape, dtype=F) * F(1.8)
        band[...] = np.clip(band * light.repeat(3, 1) + noise.repeat(3, 1), 0, 255)
    return Image.fromarray(pixels)
