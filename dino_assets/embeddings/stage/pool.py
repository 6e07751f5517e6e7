"""Tile pool: all tiles embedded in one space, in a fixed order, with vectors and thumbnails."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.drops.choice import choose_drops, find_chosen
from dino_assets.drops.registry import find_drops
from dino_assets.embeddings.regions import REGIONS
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError, MixedSpacesError, NotCommittedError
from dino_assets.numerics.allocating import allocate_rows
from dino_assets.numerics.neighbours import blocks
from dino_assets.store.commits import tables
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.protocol import Manifest, Recipe
from dino_assets.store.commits.reading import CommittedTable

_AHEAD_BYTES = 64 * 2**20  # of stored parts, while they are read


@dataclass(frozen=True, eq=False)
class TilePool:
    """Tiles sorted by drop, then by id, with ids, float32 vectors (N, D) and thumbnails."""

    drops: list[str]
    tile_ids: list[str]
    image_ids: list[str]
    vectors: NDArray[np.float32]
    thumbs: list[bytes]

    def __len__(self) -> int:
        return len(self.tile_ids)

    def group_by_drop(self) -> tuple[list[str], list[int]]:
        """Return the sorted names of the drops, and for each row the index of its drop."""
        names = sorted(set(self.drops))
        places = {name: place for place, name in enumerate(names)}
        return names, [places[drop] for drop in self.drops]

    def distinct(self) -> "TilePool":
        """Return the pool with each tile once, in its first drop; a picture may be in two drops."""
        _, first = np.unique(np.array(self.tile_ids, object), return_index=True)
        return self._take_rows(np.sort(first).tolist())

    def without(self, drops: Collection[str]) -> "TilePool":
        """Return the pool without the tiles of some drops."""
        return self._take_rows([row for row, drop in enumerate(self.drops) if drop not in drops])

    def _take_rows(self, rows: list[int]) -> "TilePool":
        if len(rows) == len(self):
            return self
        return TilePool(
            [self.drops[i] for i in rows],
            [self.tile_ids[i] for i in rows],
            [self.image_ids[i] for i in rows],
            _take(self.vectors, rows),
            [self.thumbs[i] for i in rows],
        )


def _take(vectors: NDArray[np.float32], rows: list[int]) -> NDArray[np.float32]:
    taken = allocate_rows(len(rows), vectors.shape[1])
    for block in blocks(len(rows)):
        taken[block] = vectors[rows[block]]
    return taken


def choose_pool(
    embeddings: CommittedTable,
    *,
    drops: Collection[str] = (),
    tags: Collection[str] = (),
    committed: Collection[str] | None = None,
) -> CommittedTable:
    """Narrow the embeddings to the drops of a pool: the chosen drops, without retired ones.

    Without ``drops`` and ``tags``, all drops are chosen. ``committed`` are the drops of a result that is
    already committed. They stay in the pool even if they were retired or renamed since. If ``committed`` is
    given, names and tags that do not exist are ignored.

    Raises:
        ConfigError: ``committed`` is None, and a drop or a tag does not exist or a named drop is retired.
    """
    records = find_drops(embeddings.store)
    existing = {*embeddings.drops, *embeddings.unmade}
    choose = choose_drops if committed is None else find_chosen
    chosen = choose(records, existing, drops=drops, tags=tags) | set(committed or ())
    manifests = tuple(m for m in embeddings.manifests if m.recipe.output.drop in chosen)
    unmade = chosen.difference(embeddings.drops)
    return replace(embeddings, manifests=manifests, unmade=tuple(sorted(unmade)))


def read_pool(embeddings: CommittedTable, column: EmbeddingColumn) -> TilePool:
    """Read all tiles of the embeddings, with their vectors in ``column``; many vectors lie in a temporary file.

    Raises:
        MixedSpacesError: a stored part of a drop's table belongs to another space.
        ConfigError: a drop was embedded without the column.
    """
    drops: list[str] = []
    ids: list[str] = []
    images: list[str] = []
    thumbs: list[bytes] = []
    matrix: NDArray[np.float32] = np.empty((0, 0), np.float32)
    for drop, part in read_parts(embeddings, column, ["tile_id", "image_id", "thumb"]):
        drops += [drop] * part.num_rows
        ids += part["tile_id"].to_pylist()
        images += part["image_id"].to_pylist()
        thumbs += part["thumb"].to_pylist()
        vectors = to_matrix(part[column])
        if not matrix.size:
            matrix = allocate_rows(embeddings.rows, vectors.shape[1])
        matrix[len(ids) - len(vectors) : len(ids)] = vectors
    return TilePool(drops, ids, images, matrix, thumbs)


def read_parts(
    embeddings: CommittedTable, column: str, others: list[str]
) -> Iterator[tuple[str, pa.Table]]:
    """Read the stored parts in their order, each with the name of its drop.

    Raises:
        MixedSpacesError: a stored part of a drop's table belongs to another space.
        ConfigError: a drop was embedded without the column.
    """
    for manifest in embeddings.manifests:
        _check_column(manifest, column)
    for manifest, part in embeddings.parts([*others, column], ahead_bytes=_AHEAD_BYTES):
        _check_space(embeddings, manifest, part)
        yield str(manifest.recipe.output.drop), part


def check_embedded(embeddings: CommittedTable) -> None:
    """Check that there are tiles to compare.

    Raises:
        NotCommittedError: nothing is embedded in this space.
    """
    if not embeddings.rows:
        raise NotCommittedError(
            f"no tile is embedded in space {embeddings.space}. Embed a drop first: "
            "`dino-assets run NAME --from FOLDER`."
        )


def has_column(manifest: Manifest, column: str) -> bool:
    """Check whether a drop's embeddings hold a column: cls, mean, or regions."""
    config = manifest.recipe.config
    if column == REGIONS:
        return bool(config.get(REGIONS))
    stored = config.get("columns")
    return not stored or column in stored


def _check_column(manifest: Manifest, column: str) -> None:
    if has_column(manifest, column):
        return
    if column == REGIONS:
        raise ConfigError(
            f"{manifest.recipe.output} holds no regions. Materialise it with `regions: 4x4`, or search whole tiles.",
            setting="regions",
            value=REGIONS,
        )
    stored = manifest.recipe.config["columns"]
    raise ConfigError(
        f"{manifest.recipe.output} holds {', '.join(stored)}, not {column!r}. Materialise it with "
        f"columns: [{', '.join(dict.fromkeys([*stored, column]))}], or use {stored[0]!r}.",
        setting="column",
        value=column,
    )


def _check_space(embeddings: CommittedTable, manifest: Manifest, part: pa.Table) -> None:
    space = tables.read_metadata(part.schema).get("space")
    if space != embeddings.space:
        raise MixedSpacesError(
            f"{manifest.recipe.output} holds vectors of space {space}; vectors of space "
            f"{embeddings.space} are expected. Vectors of two spaces are not comparable. Run "
            "`dino-assets verify`.",
            spaces=(space, embeddings.space),
        )


def list_drops(recipe: Recipe) -> list[str]:
    """List the drops that a map or round was made of: its recipe's inputs without ``/`` in their names."""
    return [name for name in recipe.inputs if "/" not in name]


def hash_inputs(embeddings: CommittedTable) -> dict[str, str]:
    """Return the content hash of each drop's embeddings as recipe inputs, named by drop."""
    return {str(m.recipe.output.drop): content_hash(m) for m in embeddings.manifests}
