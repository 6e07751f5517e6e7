"""Labelled tiles with all that curves and slices need: vectors, classes, ground, capture, and measured seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.labels.records import TileLabel
from dino_assets.labels.stage.reading import read_tile_labels
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.probes.splits import TileGround
from dino_assets.store.commits.reading import CommittedTable

# Curves of more labels take long, and say the same about small budgets.
MOST = 4_000
_PLACE = ["tile_id", "center_longitude", "center_latitude", "gsd_m", "side_px", "span_px"]
_CAPTURE = ["image_id", "taken", "make", "model"]


@dataclass(frozen=True, slots=True)
class CapturedTile:
    """A labelled tile: where it is, and how its photograph was taken; None for what is not known."""

    tile_id: str
    drop: str
    image_id: str
    longitude: float | None = None
    latitude: float | None = None
    gsd_m: float | None = None
    span_px: int = 0
    taken: datetime | None = None
    camera: str | None = None


@dataclass(frozen=True, eq=False)
class CapturedLabels:
    """Labelled tiles in the order of their ids, their unit vectors (N, D) and classes (N,).

    ``left_out`` counts labelled tiles above ``MOST``, which were left out at random.
    """

    tiles: tuple[CapturedTile, ...]
    vectors: NDArray[np.float32]
    classes: NDArray[np.int64]
    class_names: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.tiles)

    def locate(self) -> TileGround:
        """Return the drops, photographs and places of the tiles."""
        nothing = float("nan")
        centers = [
            (nothing, nothing)
            if tile.longitude is None or tile.latitude is None
            else (tile.longitude, tile.latitude)
            for tile in self.tiles
        ]
        sides = [nothing if t.gsd_m is None else t.gsd_m * t.span_px for t in self.tiles]
        return TileGround(
            [tile.drop for tile in self.tiles],
            [tile.image_id for tile in self.tiles],
            np.array(centers, np.float64).reshape(-1, 2),
            np.array(sides, np.float64),
        )


def read_captured(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    images: CommittedTable,
    column: EmbeddingColumn,
    *,
    most: int = MOST,
) -> CapturedLabels:
    """Read the labelled tiles of the embeddings' drops, at most ``most`` of them.

    A tile that is in two drops is read once, from the first. Only labelled tiles are held in memory.

    Raises:
        MixedSpacesError: a stored part of a drop's table belongs to another space.
        ConfigError: a drop was embedded without the column.
    """
    labels = read_tile_labels(embeddings.store, tiles, embeddings.drops)
    class_of, left_out = _limit(labels, most)
    wanted = pa.array(sorted(class_of), pa.string())
    read: dict[str, CapturedTile] = {}
    vectors: dict[str, NDArray[np.float32]] = {}
    for drop, part in read_parts(embeddings, column, ["tile_id", "image_id"]):
        rows = part.filter(pc.is_in(part["tile_id"], wanted))
        matrix = to_matrix(rows[column]) if rows.num_rows else np.empty((0, 0), np.float32)
        for row, vector in zip(
            rows.select(["tile_id", "image_id"]).to_pylist(), matrix, strict=True
        ):
            if row["tile_id"] not in read:
                read[row["tile_id"]] = CapturedTile(row["tile_id"], drop, row["image_id"])
                vectors[row["tile_id"]] = vector
    _add_places(read, tiles)
    _add_captures(read, images)
    ids = sorted(read)
    names = tuple(sorted({class_of[tile_id] for tile_id in ids}))
    matrix = np.stack([vectors[each] for each in ids]) if ids else np.empty((0, 0), np.float32)
    return CapturedLabels(
        tuple(read[tile_id] for tile_id in ids),
        scale_to_unit(matrix) if ids else matrix,
        np.array([names.index(class_of[tile_id]) for tile_id in ids], np.int64),
        names,
        left_out,
    )


def _limit(labels: list[TileLabel], most: int) -> tuple[dict[str, str], int]:
    rows = np.sort(np.random.default_rng(0).permutation(len(labels))[:most]).tolist()
    chosen = {labels[row].tile_id: labels[row].class_name for row in rows}
    return chosen, max(0, len(labels) - most)


def _add_places(read: dict[str, CapturedTile], tiles: CommittedTable) -> None:
    of_drops = {tile.drop for tile in read.values()}
    wanted = pa.array(sorted(read), pa.string())
    for drop, row in _walk_rows(tiles, of_drops, _PLACE, wanted):
        tile = read[row["tile_id"]]
        if tile.drop == drop:
            read[tile.tile_id] = replace(
                tile,
                longitude=row["center_longitude"],
                latitude=row["center_latitude"],
                gsd_m=row["gsd_m"],
                span_px=row["span_px"] or row["side_px"],
            )


def _add_captures(read: dict[str, CapturedTile], images: CommittedTable) -> None:
    of_image: dict[tuple[str, str], list[CapturedTile]] = {}
    for tile in read.values():
        of_image.setdefault((tile.drop, tile.image_id), []).append(tile)
    wanted = pa.array(sorted({image_id for _, image_id in of_image}), pa.string())
    for drop, row in _walk_rows(images, {drop for drop, _ in of_image}, _CAPTURE, wanted):
        camera = " ".join(filter(None, (row["make"], row["model"]))) or None
        for tile in of_image.get((drop, row["image_id"]), ()):
            read[tile.tile_id] = replace(read[tile.tile_id], taken=row["taken"], camera=camera)


def _walk_rows(
    table: CommittedTable, drops: set[str], columns: list[str], wanted: pa.Array
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of some drops whose first column is among the ``wanted`` ids."""
    of_drops = tuple(m for m in table.manifests if m.recipe.output.drop in drops)
    for manifest, part in replace(table, manifests=of_drops).parts(columns):
        for row in part.filter(pc.is_in(part[columns[0]], wanted)).to_pylist():
            yield str(manifest.recipe.output.drop), row
