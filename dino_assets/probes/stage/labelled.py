"""Labelled tiles of a space: their vectors, classes and places, read without the rest of the pool."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.labels.records import TileLabel
from dino_assets.probes.records import TrainingSet
from dino_assets.probes.splits import TileGround
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.reading import read_windows


@dataclass(frozen=True, eq=False)
class TrainingTiles:
    """Labelled tiles, each once: ids, vectors with classes, and places on the ground."""

    tile_ids: tuple[str, ...]
    training: TrainingSet
    ground: TileGround


def read_labelled(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    labels: Sequence[TileLabel],
    column: EmbeddingColumn,
) -> TrainingTiles:
    """Read the labelled tiles of a pool, sorted by drop; a tile of two drops counts for the first.

    Only their vectors are in memory. The classes are those that a tile of the pool has, in the order of their
    names.
    """
    class_of = {label.tile_id: label.class_name for label in labels}
    wanted = pa.array(sorted(class_of), pa.string())
    drops: list[str] = []
    ids: list[str] = []
    images: list[str] = []
    matrices: list[NDArray[np.float32]] = []
    seen: set[str] = set()
    for drop, part in read_parts(embeddings, column, ["tile_id", "image_id"]):
        chosen = part.filter(pc.is_in(part["tile_id"], wanted))
        fresh = [row for row, each in enumerate(chosen["tile_id"].to_pylist()) if each not in seen]
        chosen = chosen.take(pa.array(fresh, pa.int64()))
        if not len(chosen):
            continue
        ids += chosen["tile_id"].to_pylist()
        seen.update(chosen["tile_id"].to_pylist())
        images += chosen["image_id"].to_pylist()
        drops += [drop] * len(chosen)
        matrices.append(to_matrix(chosen[column]))
    vectors = np.concatenate(matrices) if matrices else np.empty((0, 0), np.float32)
    names = tuple(sorted({class_of[each] for each in ids}))
    places = {name: place for place, name in enumerate(names)}
    classes = np.array([places[class_of[each]] for each in ids], np.int64)
    windows = read_windows(tiles, drops, ids, images)
    ground = TileGround(drops, images, windows.centers, windows.sides_m)
    return TrainingTiles(tuple(ids), TrainingSet(vectors, classes, names), ground)
