"""Two drawn sites, a farm and a burnt forest: positions of their objects in metres, and their light."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.demo.flights.light import Light, Plume, draw_lit_map, draw_smoke
from dino_assets.demo.flights.surfaces import (
    Crop,
    cover_floor,
    flood_river,
    lay_road,
    lay_track,
    plant_field,
    scorch,
    sow_grass,
)
from dino_assets.demo.flights.terrain import (
    Course,
    Outline,
    Raster,
    blank_canvas,
    grow_blob,
    lies_inside,
    roughen,
)
from dino_assets.demo.flights.things import House, build_house, drop_trunk, lay_bale, park_car
from dino_assets.demo.flights.trees import Tree, plant_trees, scatter_trees


@dataclass(frozen=True)
class Region:
    """A drawn region: class, and outline in map metres. Later regions cover earlier ones."""

    kind: str
    outline: Outline


@dataclass(frozen=True)
class Scene:
    """A drawn map, (rows, columns, 3), and its ground truth."""

    raster: Raster
    picture: NDArray[np.uint8]
    regions: tuple[Region, ...]


def box(left: float, bottom: float, right: float, top: float) -> Outline:
    """Make a rectangle on the map."""
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top)], float)


def draw_farm(rng: np.random.Generator, raster: Raster) -> Scene:
    """Draw mixed forest on the left; a road, a farm, maize, wheat and a meadow on the right."""
    ground, woods, crowns, placing = rng.spawn(4)
    light = Light(70.0, 47.0, sun=(0.92, 0.87, 0.76), sky=(0.30, 0.34, 0.40))
    canvas = blank_canvas(ground, raster)
    sow_grass(canvas, lush=(0.36, 0.46, 0.19), dry=(0.58, 0.57, 0.33))
    road = Course(((-38, -125), (-22, -40), (8, 40), (42, 125)), axis="y")
    track = Course(((-24, -14), (20, -19), (60, -13), (110, -20)), axis="x")
    maize = np.array([(-18, -125), (108, -125), (108, -27), (60, -21), (-8, -26)], float)
    wheat = np.array([(34, 26), (108, 20), (108, 125), (56, 125)], float)
    young = np.array([(-105, 78), (-20, 70), (18, 125), (-105, 125)], float)
    forest = np.array(
        [
            (-110, -125),
            (-58, -125),
            (-46, -70),
            (-52, -30),
            (-34, 5),
            (-30, 35),
            (-46, 58),
            (-110, 68),
        ],
        float,
    )
    forest = roughen(woods, forest, by_m=2.0)
    cover_floor(canvas, forest)
    plant_field(
        canvas,
        maize,
        Crop((0.24, 0.40, 0.12), (0.49, 0.39, 0.28), 0.9, 24.0, plant_m=0.4, cover=0.48),
    )
    plant_field(
        canvas,
        wheat,
        Crop((0.69, 0.59, 0.35), (0.58, 0.47, 0.29), 0.5, -17.0, plant_m=0.12, cover=0.62),
    )
    plant_field(
        canvas,
        young,
        Crop((0.46, 0.55, 0.20), (0.52, 0.42, 0.30), 1.2, 62.0, plant_m=0.25, cover=0.36),
    )
    lay_track(canvas, track, half_width_m=1.5)
    lay_road(canvas, road, half_width_m=3.1)
    red, slate, brown = (0.62, 0.30, 0.21), (0.40, 0.42, 0.46), (0.46, 0.33, 0.25)
    houses = (
        House(38, 4, 17, 10, 72, red),
        House(58, 9, 24, 13, -14, brown, eaves_m=5),
        House(31, -6, 8, 6, 72, slate),
        House(74, -4, 14, 8, 76, slate),
        House(29, 44, 13, 9, 20, red),
    )
    yard = grow_blob(placing, (50, -3), radii_m=(20, 8))
    plant_field(canvas, yard, Crop((0.60, 0.55, 0.47), (0.66, 0.61, 0.53), 7.0, 40.0, plant_m=0.02))
    for house in houses:
        build_house(canvas, house)
    for at in placing.uniform((66, 12), (96, 17), (5, 2)):
        lay_bale(canvas, (float(at[0]), float(at[1])), bearing_deg=float(placing.uniform(0, 180)))
    curve, heading = road.points(raster), np.degrees(np.arctan2(30, 80))
    for share, side, paint in (
        (0.22, 1.6, (0.75, 0.12, 0.10)),
        (0.47, -1.6, (0.90, 0.90, 0.92)),
        (0.71, 1.6, (0.20, 0.30, 0.50)),
    ):
        x, y = curve[int(share * len(curve))]
        park_car(canvas, (float(x) + side, float(y)), bearing_deg=float(heading), paint=paint)
    park_car(canvas, (47.0, -5.0), bearing_deg=80, paint=(0.72, 0.73, 0.75))
    trees = scatter_trees(
        woods,
        forest,
        spacing_m=4.6,
        radii_m=(2.0, 4.4),
        kinds=("conifer", "broadleaf", "broadleaf"),
    )
    hedge = Course(((33, 22), (70, 19), (110, 17)), axis="x").outline(raster, 1.2)
    trees += scatter_trees(
        woods, hedge[hedge[:, 0] > 33], spacing_m=2.4, radii_m=(1.0, 1.9), kinds=("bush",)
    )
    garden = np.array([(25, 12), (48, 14), (50, 22), (28, 24)], float)
    trees += scatter_trees(woods, garden, spacing_m=8.5, radii_m=(1.6, 3.4), kinds=("broadleaf",))
    trees += [
        Tree(-8, 12, 4.2, "broadleaf"),
        Tree(2, -8, 3.4, "broadleaf"),
        Tree(86, 2, 4.6, "broadleaf"),
    ]
    plant_trees(crowns, canvas, trees)
    regions = [Region("field", outline) for outline in (maize, wheat, young)]
    regions += [Region("road", road.outline(raster, 3.1)), Region("forest", forest)]
    regions += [Region("building", house.outline()) for house in houses]
    return Scene(raster, draw_lit_map(canvas, light), tuple(regions))


def draw_burn(rng: np.random.Generator, raster: Raster) -> Scene:
    """Draw a river through conifers, a burnt area that still smokes, and a dirt track."""
    ground, woods, crowns, placing, air = rng.spawn(5)
    light = Light(147.0, 42.0, sun=(0.96, 0.84, 0.67), sky=(0.31, 0.35, 0.42))
    canvas = blank_canvas(ground, raster)
    sow_grass(canvas, lush=(0.40, 0.44, 0.22), dry=(0.64, 0.58, 0.38))
    river = Course(((-28, -105), (-52, -35), (-36, 30), (-58, 105)), axis="y")
    bend = np.linspace(0, 1, len(river.points(raster)))
    width = (12 + 2.5 * np.sin(bend * 11 + 1) + 1.5 * np.sin(bend * 23)).astype(np.float32)
    track = Course(((-22, -60), (20, -66), (60, -52), (95, -60)), axis="x")
    burnt = grow_blob(placing, (30, 8), radii_m=(36, 44))
    forest = np.array([(-12, -48), (95, -44), (95, 110), (-26, 110), (-8, 40), (-24, 0)], float)
    far_bank = np.array(
        [(-95, -110), (-62, -110), (-78, -30), (-66, 20), (-84, 110), (-95, 110)], float
    )
    forest, far_bank = roughen(woods, forest, by_m=2.5), roughen(woods, far_bank, by_m=2.5)
    cover_floor(canvas, forest)
    cover_floor(canvas, far_bank)
    scorch(canvas, burnt)
    lay_track(canvas, track, half_width_m=1.5)
    flood_river(canvas, river, width)
    stand = scatter_trees(
        woods,
        forest,
        spacing_m=3.3,
        radii_m=(1.7, 3.3),
        kinds=("conifer", "conifer", "broadleaf"),
        gaps=0.12,
    )
    stand += scatter_trees(
        woods, far_bank, spacing_m=4.4, radii_m=(1.8, 3.8), kinds=("broadleaf", "conifer")
    )
    stand += scatter_trees(
        woods,
        box(-20, -98, 90, -72),
        spacing_m=7.5,
        radii_m=(1.0, 2.6),
        kinds=("bush", "conifer", "bush"),
        gaps=0.3,
    )
    plant_trees(crowns, canvas, _burn_trees(woods, stand, burnt))
    black, grey = (0.05, 0.045, 0.045), (0.50, 0.48, 0.46)
    for at in placing.uniform(burnt.min(0), burnt.max(0), (120, 2)):
        if lies_inside(at[None], burnt)[0]:
            drop_trunk(
                canvas,
                (float(at[0]), float(at[1])),
                bearing_deg=float(placing.normal(35, 45)),
                length_m=float(placing.uniform(5, 13)),
                colour=black if placing.random() < 0.7 else grey,
            )
    plume = Plume((16.0, 8.0), 58.0, 100.0)
    regions = (
        Region("forest", forest),
        Region("forest", far_bank),
        Region("burnt", burnt),
        Region("water", river.outline(raster, width)),
        Region("smoke", plume.outline()),
    )
    smoke = draw_smoke(air, raster, plume, light)
    return Scene(raster, draw_lit_map(canvas, light, smoke), regions)


def _burn_trees(rng: np.random.Generator, trees: list[Tree], burnt: Outline) -> list[Tree]:
    """Burn trees: inside, a third remains as black skeletons and the rest vanish; around, most turn brown."""
    points = np.array([(tree.x, tree.y) for tree in trees])
    middle = burnt.mean(0)
    inside = lies_inside(points, middle + (burnt - middle) * 0.97)
    near = lies_inside(points, middle + (burnt - middle) * 1.14)
    standing: list[Tree] = []
    for tree, burns, browns, chance in zip(
        trees, inside, near, rng.random(len(trees)), strict=True
    ):
        if burns and chance < 0.35:
            standing.append(Tree(tree.x, tree.y, tree.radius_m * 0.7, "snag"))
        elif not burns:
            standing.append(
                Tree(tree.x, tree.y, tree.radius_m, "scorched")
                if browns and chance < 0.75
                else tree
            )
    return standing
