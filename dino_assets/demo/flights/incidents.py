"""Short flights over countryside that differs from flight to flight, some with smoke or burnt ground.

The two flights of ``flights.py`` are one place each. What tells an unusual drop from a usual one needs
many usual ones: the same generator gives the same ground with an incident and without.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.demo.flights.camera import Camera, Pose, take_picture
from dino_assets.demo.flights.light import Light, Plume, draw_smoke, look_down
from dino_assets.demo.flights.surfaces import (
    Crop,
    cover_floor,
    lay_road,
    lay_track,
    plant_field,
    scorch,
    sow_grass,
)
from dino_assets.demo.flights.terrain import (
    Canvas,
    Course,
    Outline,
    Raster,
    blank_canvas,
    grow_blob,
    lies_inside,
    roughen,
)
from dino_assets.demo.flights.things import House, build_house
from dino_assets.demo.flights.trees import Kind, Tree, plant_trees, scatter_trees

Incident = Literal["smoke", "burnt"]
Cover = Literal["crop", "wood", "meadow", "orchard", "village"]
COVERS: tuple[Cover, ...] = ("crop", "crop", "wood", "wood", "meadow", "orchard", "village")
PICTURES = 4
WIDTH_PX = 640
ALTITUDES_M = (70.0, 110.0)
FORWARD_OVERLAP = 0.3
# As large as in the drawn drop river-burn, and no larger.
BURN_RADII_M = (36.0, 44.0)
PLUME_M = (130.0, 180.0)
DENSITY = 5.0
MARGIN_M = 6.0  # drawn around what the cameras see: they sway and turn
CROPS = (
    Crop((0.24, 0.40, 0.12), (0.49, 0.39, 0.28), 0.9, 0.0, plant_m=0.4, cover=0.48),
    Crop((0.69, 0.59, 0.35), (0.58, 0.47, 0.29), 0.5, 0.0, plant_m=0.12, cover=0.62),
    Crop((0.46, 0.55, 0.20), (0.52, 0.42, 0.30), 1.2, 0.0, plant_m=0.25, cover=0.36),
    Crop((0.55, 0.46, 0.34), (0.49, 0.39, 0.28), 1.6, 0.0, plant_m=0.05, cover=0.2),
)
ROOFS = ((0.62, 0.30, 0.21), (0.40, 0.42, 0.46), (0.46, 0.33, 0.25))


@dataclass(frozen=True, eq=False)
class Overflight:
    """Pictures (height, width, 3), where each was taken, and the incident's outline in map metres."""

    pictures: tuple[NDArray[np.uint8], ...]
    footprints: tuple[Outline, ...]
    outline: Outline | None


def draw_overflight(
    seed: int,
    *,
    incident: Incident | None = None,
    pictures: int = PICTURES,
    width_px: int = WIDTH_PX,
) -> Overflight:
    """Draw a place and fly along it, at one of many heights and under one of many suns.

    The incident lies under one of the pictures; its neighbours see a part of it or nothing.
    """
    layout, ground, air, wind, sensor = np.random.default_rng(seed).spawn(5)
    camera = Camera(width_px, round(width_px * 3 / 4))
    altitude_m = float(layout.uniform(*ALTITUDES_M))
    ground_px_m = camera.ground_px_m(altitude_m)
    seen_m = camera.height_px * ground_px_m
    step_m = (1 - FORWARD_OVERLAP) * seen_m
    raster = Raster(
        camera.width_px * ground_px_m + 2 * MARGIN_M,
        seen_m + (pictures - 1) * step_m + 2 * MARGIN_M,
        1 / ground_px_m,
    )
    light = _choose_light(layout)
    middles = [(number - (pictures - 1) / 2) * step_m for number in range(pictures)]
    at = air.uniform(-0.25, 0.25) * raster.width_m, middles[air.integers(pictures)]
    burnt = grow_blob(air, at, radii_m=BURN_RADII_M) if incident == "burnt" else None
    canvas = _draw_countryside(layout, ground, raster, burnt)
    # It drifts over the line, not away from it: towards the middle of the map, give or take 60 degrees.
    inwards_deg = float(np.degrees(np.arctan2(-at[0], -at[1])))
    towards_deg, length_m = inwards_deg + air.uniform(-60, 60), air.uniform(*PLUME_M)
    plume = Plume(at, float(towards_deg), float(length_m), DENSITY)
    smoke = draw_smoke(air, raster, plume, light) if incident == "smoke" else None
    whole = Image.fromarray(look_down(canvas, light, smoke))
    poses = [_hold(wind, middle, altitude_m) for middle in middles]
    taken = [take_picture(sensor, whole, raster, camera=camera, pose=pose) for pose in poses]
    return Overflight(
        tuple(np.asarray(picture) for picture in taken),
        tuple(pose.footprint(camera) for pose in poses),
        plume.outline() if incident == "smoke" else burnt,
    )


def _hold(wind: np.random.Generator, middle_m: float, altitude_m: float) -> Pose:
    """Gusts: the margin around the map is what a turned and shifted frame needs."""
    sway, lift, turn = wind.uniform(-1, 1, 2), wind.uniform(-0.2, 0.2), wind.uniform(-1, 1)
    return Pose(float(sway[0]), float(middle_m + sway[1]), altitude_m + float(lift), float(turn))


def _choose_light(rng: np.random.Generator) -> Light:
    """From noon to a low, yellow sun; haze as thick as days have it."""
    low = float(rng.random())
    haze = float(rng.uniform(0.7, 1.5))
    return Light(
        float(rng.uniform(0, 360)),
        60.0 - 25.0 * low,
        sun=(0.92 + 0.04 * low, 0.88 - 0.05 * low, 0.79 - 0.13 * low),
        sky=(0.30, 0.34, 0.41),
        haze=(0.035 * haze, 0.042 * haze, 0.052 * haze),
    )


def _draw_countryside(
    layout: np.random.Generator, ground: np.random.Generator, raster: Raster, burnt: Outline | None
) -> Canvas:
    """Grass, plots of two columns, a road or a track; a burn lies on them, and on its trees."""
    noise, woods, looks, snags = ground.spawn(4)
    canvas = blank_canvas(noise, raster)
    dry = float(layout.random())
    sow_grass(
        canvas,
        lush=(0.36 + 0.06 * dry, 0.46 - 0.02 * dry, 0.19 + 0.04 * dry),
        dry=(0.58 + 0.06 * dry, 0.57 + 0.01 * dry, 0.33 + 0.06 * dry),
    )
    trees: list[Tree] = []
    houses: list[House] = []
    for plot in _divide(layout, raster):
        cover = COVERS[layout.integers(len(COVERS))]
        look = CROPS[layout.integers(len(CROPS))]
        bearing_deg = float(layout.uniform(0, 180))
        if cover == "crop":
            plant_field(canvas, plot, replace(look, bearing_deg=bearing_deg))
        elif cover == "wood":
            edge = roughen(woods, plot, by_m=2.0)
            cover_floor(canvas, edge)
            kinds: tuple[Kind, ...] = ("conifer", "broadleaf", "broadleaf")
            trees += scatter_trees(woods, edge, spacing_m=4.6, radii_m=(2.0, 4.2), kinds=kinds)
        elif cover == "orchard":
            trees += scatter_trees(
                woods, plot, spacing_m=7.5, radii_m=(1.4, 2.6), kinds=("broadleaf", "bush")
            )
        elif cover == "village":
            houses += _place_houses(layout, plot, bearing_deg)
            trees += scatter_trees(
                woods, plot, spacing_m=15, radii_m=(1.5, 3.5), kinds=("broadleaf",)
            )
    road = _choose_course(layout, raster)
    if layout.random() < 0.5:
        lay_road(canvas, road, half_width_m=3.1)
    else:
        lay_track(canvas, road, half_width_m=1.5)
    for house in houses:
        build_house(canvas, house)
    built = [(house.x, house.y, house.length_m) for house in houses]
    trees = [
        tree
        for tree in trees
        if all(np.hypot(tree.x - x, tree.y - y) > size / 2 + tree.radius_m for x, y, size in built)
    ]
    plant_trees(looks, canvas, trees)
    if burnt is not None:
        # After the trees, not before: with fewer of them all others would look different, too.
        scorch(canvas, burnt)
        plant_trees(snags, canvas, _list_snags(snags, trees, burnt))
    return canvas


def _divide(rng: np.random.Generator, raster: Raster) -> list[Outline]:
    """Plots with shared, crooked corners: two columns, a row every 50 to 90 metres."""
    rows = max(2, round(raster.length_m / float(rng.uniform(50, 90))))
    ys = np.linspace(-raster.length_m / 2 - 5, raster.length_m / 2 + 5, rows + 1)
    xs = np.array([-raster.width_m / 2 - 5, 0, raster.width_m / 2 + 5])
    corners = np.stack(np.meshgrid(xs, ys), -1)
    corners[:, 1, 0] += rng.uniform(-0.2, 0.2, rows + 1) * raster.width_m
    corners[1:-1, :, 1] += rng.uniform(-12, 12, (rows - 1, 3))
    return [
        np.array([corners[j, i], corners[j, i + 1], corners[j + 1, i + 1], corners[j + 1, i]])
        for j in range(rows)
        for i in range(2)
    ]


def _choose_course(rng: np.random.Generator, raster: Raster) -> Course:
    across = rng.uniform(-0.35, 0.35, 3) * raster.width_m
    ahead = np.array([-0.55, 0.0, 0.55]) * raster.length_m
    return Course(tuple((float(x), float(y)) for x, y in zip(across, ahead, strict=True)), axis="y")


def _place_houses(rng: np.random.Generator, plot: Outline, bearing_deg: float) -> list[House]:
    low, high = plot.min(0) + 8, plot.max(0) - 8
    spots = rng.uniform(low, np.maximum(low, high), (7, 2))
    houses: list[House] = []
    for x, y in spots.tolist():
        far = all(np.hypot(x - other.x, y - other.y) > 22 for other in houses)
        roof, turned = ROOFS[rng.integers(len(ROOFS))], 90.0 * float(rng.integers(2))
        if far and lies_inside(np.array([[x, y]]), plot)[0]:
            length_m, width_m = float(rng.uniform(10, 18)), float(rng.uniform(7, 10))
            houses.append(House(x, y, length_m, width_m, bearing_deg + turned, roof))
    return houses


def _list_snags(rng: np.random.Generator, trees: list[Tree], burnt: Outline) -> list[Tree]:
    """A third of the trees inside the burn stand on as black skeletons."""
    stay = rng.random(len(trees)) < 0.35
    return [
        replace(tree, radius_m=tree.radius_m * 0.7, kind="snag")
        for tree, stays in zip(trees, stay, strict=True)
        if stays and lies_inside(np.array([(tree.x, tree.y)]), burnt)[0]
    ]
