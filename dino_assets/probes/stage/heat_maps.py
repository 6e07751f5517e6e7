"""Stage *heat maps*: scores of tiles on the ground of each flight, as a table with GeoTIFFs and a picture."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.drawing.thumbnails import draw_thumbnail
from dino_assets.drops.naming import make_drop_name
from dino_assets.embeddings.stage.origins import hash_tiles
from dino_assets.embeddings.stage.pool import hash_inputs
from dino_assets.errors import NotCommittedError
from dino_assets.images.ground.geoparquet import decode_wkb
from dino_assets.labels.stage.reading import hash_labels
from dino_assets.numerics.earth import place_on_ellipsoid
from dino_assets.probes.heat_maps import (
    GroundTiles,
    HeatGrid,
    choose_cell_m,
    choose_utm,
    find_middle,
    gather,
    mark_near,
    weigh_views,
)
from dino_assets.probes.heat_maps_files import (
    HotGround,
    encode_cog,
    outline_hot_ground,
    to_degrees,
    to_metres,
)
from dino_assets.probes.heat_maps_picture import HeatPanel, draw_heat_maps
from dino_assets.probes.stage.heat_maps_sources import (
    ScoreSource,
    TileScores,
    find_sources,
    hash_sources,
    score_tiles,
)
from dino_assets.store.commits.catalogue import PREVIEW
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe, Spent
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.tiles.reading import to_numbers
from dino_assets.weights.records import facts_of_caveat, spell_caveat

CODE_VERSION = "2"
PICTURE = "heat-maps.png"
MOST_PANELS = 12
SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("epsg", pa.int32(), nullable=False),
        pa.field("cell_m", pa.float64(), nullable=False),
        pa.field("cells", pa.int64(), nullable=False),
        pa.field("tiles", pa.int64(), nullable=False),
        pa.field("unplaced", pa.int64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("chosen_by", pa.string(), nullable=False),
        pa.field("f1", pa.float64()),
        pa.field("hot_places", pa.int64(), nullable=False),
        pa.field("hot_m2", pa.float64(), nullable=False),
        pa.field("highest", pa.float64(), nullable=False),
        pa.field("longitude", pa.float64(), nullable=False),
        pa.field("latitude", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True, eq=False)
class PlacedTiles:
    """The tiles of a drop on the plane of a map; ``unplaced`` are the ids of tiles without a place, or far away."""

    tile_ids: tuple[str, ...]
    ground: GroundTiles
    epsg: int
    unplaced: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HeatMap:
    """The heat map of one drop and class: its grid, hot ground, and the tiles that it lacks."""

    drop: str
    scores: TileScores
    grid: HeatGrid
    epsg: int
    hot: tuple[HotGround, ...]
    tiles: int
    unplaced: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The name of its files without ending: drop and class, spelled in ASCII."""
        return f"{self.drop}/{make_drop_name(self.scores.source.name)}"

    def encode(self) -> bytes:
        """Encode the grid as a cloud-optimised GeoTIFF."""
        source, threshold = self.scores.source, self.scores.threshold
        tags = {"drop": self.drop, "class": source.name, "source": source.kind}
        return encode_cog(self.grid, self.epsg, tags | {"threshold": f"{threshold.score:.6f}"})

    def describe(self) -> dict[str, Any]:
        """Return the row of the table ``heat_maps``."""
        source, threshold = self.scores.source, self.scores.threshold
        longitude, latitude = to_degrees(np.array(self.grid.hottest), self.epsg).tolist()
        return {
            "drop": self.drop,
            "class_name": source.name,
            "source": source.kind,
            "file": f"{self.stem}.tif",
            "epsg": self.epsg,
            "cell_m": self.grid.cell_m,
            "cells": int(np.isfinite(self.grid.scores).sum()),
            "tiles": self.tiles,
            "unplaced": len(self.unplaced),
            "threshold": threshold.score,
            "chosen_by": threshold.chosen_by,
            "f1": threshold.f1,
            "hot_places": len(self.hot),
            "hot_m2": float(sum(each.area_m2 for each in self.hot)),
            "highest": float(np.nanmax(self.grid.scores)),
            "longitude": round(longitude, 9),
            "latitude": round(latitude, 9),
        }


def draft_heat_maps(
    embeddings: CommittedTable, tiles: CommittedTable, *, caveat: str | None = None
) -> Draft:
    """Draft the heat maps of all drops of one space, for each class of the probe and each prototype.

    Raises:
        NotCommittedError: nothing is embedded, no tile has a place, or there is no probe and no prototype.
    """
    store = embeddings.store
    if not embeddings.rows:
        raise NotCommittedError(f"no tile is embedded in space {embeddings.space}")
    sources = find_sources(store, str(embeddings.space))
    if not any(_has_places(tiles, drop) for drop in embeddings.drops if drop in tiles.drops):
        tiles_are = count_of(embeddings.rows, "tile")
        raise NotCommittedError(
            f"none of {tiles_are} in space {embeddings.space} has a place on the ground. Photographs need a GPS "
            "position, a height and the camera's angles"
        )
    images = open_table(store, "images", drops=embeddings.drops)
    inputs = hash_inputs(embeddings) | hash_tiles(tiles, embeddings.drops)
    inputs |= {f"images/{m.recipe.output.drop}": content_hash(m) for m in images.manifests}
    inputs |= hash_sources(sources) | {f"{k}/": v for k, v in hash_labels(store).items()}
    config = {"classes": [each.name for each in sources]}
    recipe = Recipe(OutputId("heat_maps", space=embeddings.space), CODE_VERSION, config, inputs)

    def produce(out: OutputWriter) -> None:
        started = time.perf_counter()
        rows: list[dict[str, Any]] = []
        panels: list[HeatPanel] = []
        unplaced: dict[str, int] = {}
        for heat_map in make_heat_maps(embeddings, tiles, sources, embeddings.drops):
            if isinstance(heat_map, Unplaced):
                unplaced[heat_map.drop] = len(heat_map.tile_ids)
                continue
            rows.append(heat_map.describe())
            out.file(rows[-1]["file"], heat_map.encode())
            if heat_map.unplaced:
                unplaced[heat_map.drop] = len(heat_map.unplaced)
            if len(panels) < MOST_PANELS:
                panels.append(
                    HeatPanel(heat_map.grid, f"{heat_map.drop}: {heat_map.scores.source.name}")
                )
        if rows:
            out.rows(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
        notes = [f"{count_of(len(rows), 'map')}; the first {len(panels)} are drawn"]
        if panels:
            title = "Heat maps"
            picture = draw_heat_maps(panels, title=title, notes=notes, caveat=spell_caveat(caveat))
            out.file(PICTURE, picture)
            out.file(PREVIEW, draw_thumbnail(picture))
        out.facts(
            {
                "maps": len(rows),
                "drops": len({row["drop"] for row in rows}),
                "classes": [each.name for each in sources],
                "hot_places": sum(row["hot_places"] for row in rows),
                "unplaced": unplaced,
                **facts_of_caveat(caveat),
            }
        )
        out.spent(Spent(compute_s=time.perf_counter() - started))

    return Draft(recipe, produce, SCHEMA)


@dataclass(frozen=True)
class Unplaced:
    """A drop of which no embedded tile has a place on the ground, perhaps because it was tiled again since."""

    drop: str
    tile_ids: tuple[str, ...]


def make_heat_maps(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    sources: Sequence[ScoreSource],
    drops: Collection[str],
) -> Iterator[HeatMap | Unplaced]:
    """Make the heat maps of some drops, one after the other; the grids of one drop are in memory.

    Classes of the probe are scored drop by drop, and not at all in a drop without places. Prototypes need the
    scores of all tiles before the first map.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    are_ranked = any(source.kind == "prototype" for source in sources)
    at_once = score_tiles(embeddings, tiles, sources, drops) if are_ranked else {}
    manifests = {str(each.recipe.output.drop): each for each in embeddings.manifests}
    for drop in sorted(set(drops)):
        placed = place_tiles(tiles, drop)
        if not len(placed.ground):
            yield Unplaced(drop, placed.unplaced)
        elif are_ranked:
            yield from _map_drop(drop, placed, at_once.pop(drop))
        elif drop in manifests:
            own = replace(embeddings, manifests=(manifests[drop],))
            yield from _map_drop(drop, placed, score_tiles(own, tiles, sources, [drop])[drop])


def _map_drop(
    drop: str, placed: PlacedTiles, of_sources: Sequence[TileScores]
) -> Iterator[HeatMap | Unplaced]:
    """Make the heat maps of one drop, for each source; its tiles are laid on the ground once."""
    if not of_sources:
        return
    ids = of_sources[0].tile_ids
    rows = pc.index_in(pa.array(placed.tile_ids, pa.string()), value_set=ids).fill_null(-1)
    chosen = rows.to_numpy(zero_copy_only=False)
    is_scored = chosen >= 0
    if not is_scored.any():
        yield Unplaced(drop, tuple(ids.to_pylist()))
        return
    ground = _take(placed.ground, is_scored)
    numbers = np.stack([each.scores[chosen[is_scored]] for each in of_sources])
    grids = gather(ground, numbers, cell_m=choose_cell_m(placed.ground.corners))
    for scores, grid in zip(of_sources, grids, strict=True):
        hot = outline_hot_ground(grid, scores.threshold.score)
        yield HeatMap(drop, scores, grid, placed.epsg, tuple(hot), len(ground), placed.unplaced)


def place_tiles(tiles: CommittedTable, drop: str) -> PlacedTiles:
    """Place the tiles of a drop on the plane of its UTM zone, in metres.

    Raises:
        NotCommittedError: the drop's tiles are not committed.
        MissingExtraError: rasterio is not installed.
    """
    table = tiles.read(drop, ["tile_id", "image_id", "geometry"])
    ids: list[str] = table["tile_id"].to_pylist()
    outlines = [_read_corners(wkb) for wkb in table["geometry"].to_pylist()]
    is_placed = np.array([corners is not None for corners in outlines], bool)
    if not is_placed.any():
        none = GroundTiles(np.empty((0, 4, 2)), np.empty(0, np.int64), np.empty(0))
        return PlacedTiles((), none, 0, tuple(ids))
    degrees = np.array([corners for corners in outlines if corners is not None], np.float64)
    is_near = mark_near(place_on_ellipsoid(degrees.mean(axis=1)))
    rows, degrees = np.flatnonzero(is_placed)[is_near], degrees[is_near]
    epsg = choose_utm(*find_middle(degrees.reshape(-1, 2)))
    corners = to_metres(degrees, epsg)
    image_ids = [table["image_id"][row].as_py() for row in rows.tolist()]
    names, numbers = np.unique(np.array(image_ids, object), return_inverse=True)
    weights = _weigh(tiles, drop, corners, names.tolist(), numbers, epsg)
    unplaced = sorted(set(range(len(ids))).difference(rows.tolist()))
    return PlacedTiles(
        tuple(ids[row] for row in rows.tolist()),
        GroundTiles(corners, numbers.astype(np.int64), weights),
        epsg,
        tuple(ids[row] for row in unplaced),
    )


def _has_places(tiles: CommittedTable, drop: str) -> bool:
    column = tiles.read(drop, ["geometry"])["geometry"]
    return bool(column.null_count < len(column))


def _read_corners(wkb: bytes | None) -> list[tuple[float, float]] | None:
    """Read the four corners of an outline; None if it is unknown, or cut at the antimeridian."""
    rings = [] if wkb is None else decode_wkb(wkb)
    return rings[0][:4] if len(rings) == 1 and len(rings[0]) == 5 else None


def _weigh(
    tiles: CommittedTable,
    drop: str,
    corners: NDArray[np.float64],
    image_ids: list[str],
    numbers: NDArray[np.int64],
    epsg: int,
) -> NDArray[np.float64]:
    """Weigh tiles by the angle from the nadir, where the camera's place is known."""
    images = open_table(tiles.store, "images", drops=[drop])
    cameras = np.full((len(image_ids), 3), np.nan)
    if images.manifests:
        columns = ("longitude", "latitude", "height_m")
        table = images.read(drop, ["image_id", *columns])
        places = {name: row for row, name in enumerate(image_ids)}
        for image_id, values in zip(
            table["image_id"].to_pylist(), to_numbers(table, columns), strict=True
        ):
            if image_id in places and np.isfinite(values).all():
                cameras[places[image_id]] = values
    has_camera = np.isfinite(cameras).all(axis=1)
    if has_camera.any():
        cameras[has_camera, :2] = to_metres(cameras[has_camera, :2], epsg)
    of_tile = cameras[numbers]
    distances_m = np.linalg.norm(corners.mean(axis=1) - of_tile[:, :2], axis=1)
    return weigh_views(distances_m, of_tile[:, 2])


def _take(ground: GroundTiles, rows: NDArray[np.bool_]) -> GroundTiles:
    return replace(
        ground,
        corners=ground.corners[rows],
        images=ground.images[rows],
        weights=ground.weights[rows],
    )
