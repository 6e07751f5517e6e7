"""The ground of a round: tiles that show the same ground count once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.images.ground.geoparquet import decode_wkb
from dino_assets.numerics.earth import measure_areas_m2
from dino_assets.numerics.open_rows import Excludes, exclude_nothing
from dino_assets.numerics.union_area import measure_union_m2
from dino_assets.selections.stage.paid import PaidRound, read_round
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.grid import is_box_id
from dino_assets.tiles.reading import read_windows, to_numbers
from dino_assets.tiles.same_ground import SameGround, Windows

_PAID_COLUMNS = ("tile_id", "image_id", "x", "y", "w", "h", "longitude", "latitude")


@dataclass(frozen=True, eq=False)
class PoolGround:
    """Rows of a pool that must not be chosen: they show the ground of an earlier round or a chosen row.

    ``paid`` rows show the ground of a tile of an earlier round, or are such a tile.
    """

    paid: NDArray[np.int64]
    excludes: Excludes

    def list_beside(self, rows: Collection[int]) -> set[int]:
        """List the rows that show the ground of some rows, without these rows."""
        return {int(each) for row in rows for each in self.excludes(row)}.difference(rows)

    def list_taken(self, rows: Collection[int]) -> set[int]:
        """List the rows that show the ground of earlier rounds or of some rows, without these rows."""
        return self.list_beside(rows).union(self.paid.tolist()).difference(rows)


EVERY_TILE = PoolGround(np.empty(0, np.int64), exclude_nothing)


def read_ground(tiles: CommittedTable, pool: TilePool, paid: Sequence[PaidRound]) -> PoolGround:
    """Find which tiles of a pool show the same ground as another one, or as a tile of an earlier round.

    Earlier rounds may be of other spaces: their tiles have other sides, and show the same ground.
    """
    windows = read_windows(tiles, pool.drops, pool.tile_ids, pool.image_ids)
    same = SameGround(windows)
    m_per_px = _measure_pixels(windows)
    of_paid = [same.find(_read_paid(each, m_per_px)) for each in paid]
    return PoolGround(np.unique(np.concatenate([*of_paid, np.empty(0, np.int64)])), same.excludes)


def measure_ground(outlines: Sequence[bytes]) -> dict[str, Any]:
    """Measure the ground that tiles show together, from their outlines as WKB; return it as facts.

    Ground that several tiles show is counted once. If no tile has an outline, no fact is returned.
    """
    # An outline at the antimeridian has two rings, and is left out. A ring is closed, so it has five points.
    rings = [rings[0] for rings in map(decode_wkb, outlines) if len(rings) == 1]
    corners = np.array([ring[:4] for ring in rings if len(ring) == 5], np.float64).reshape(-1, 4, 2)
    # No plane fits the tiles of a map of a continent, so they have no area.
    corners = corners[np.isfinite(measure_areas_m2(corners, corners.mean(axis=1)))]
    if not len(corners):
        return {}
    area_m2 = measure_union_m2(corners)
    return {
        "ground_m2": round(area_m2, 1),
        "ground_tiles": len(corners),
        "m2_per_label": round(area_m2 / len(corners), 1),
    }


def _measure_pixels(windows: Windows) -> dict[str, float]:
    """Measure the metres of ground per pixel of each picture, where they are known."""
    lengths_px = windows.boxes[:, 2:].max(axis=1, initial=1)
    scales = (windows.sides_m / lengths_px).tolist()
    return {
        image_id: scale
        for image_id, scale in zip(windows.image_ids, scales, strict=True)
        if scale > 0
    }


def _read_paid(paid: PaidRound, m_per_px: Mapping[str, float]) -> Windows:
    table = read_round(paid.rounds, str(paid.manifest.recipe.output.drop), _PAID_COLUMNS)
    image_ids = table["image_id"].to_pylist()
    boxes = to_numbers(table, ("x", "y", "w", "h")).astype(np.int64)
    centers = to_numbers(table, ("longitude", "latitude"))
    scales = np.array([m_per_px.get(image_id, np.nan) for image_id in image_ids], np.float64)
    # A box is in the group of its own tile, or it is not known in which: the pool has its tile and its group.
    tile_ids = table["tile_id"].to_pylist()
    groups = [each if is_box_id(each) else None for each in tile_ids]
    sides_m = scales * boxes[:, 2:].max(axis=1, initial=0)
    return Windows(image_ids, boxes, centers, sides_m, groups)
