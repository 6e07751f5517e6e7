"""Near-duplicates: tiles whose vectors are nearly equal, grouped, with the cause of each likeness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import check_embedded, read_parts
from dino_assets.errors import ConfigError
from dino_assets.numerics.allocating import allocate_rows
from dino_assets.numerics.first_wins import Groups, group_similar
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.reading import read_windows
from dino_assets.tiles.same_ground import Windows, show_same
from dino_assets.weights.records import spell_caveat

Cause = Literal["same file", "same ground", "elsewhere"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
LEAST_COSINE = 0.98
_IDS = ("drop", "tile_id", "image_id")


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """The tiles that repeat an earlier one, as a table, and the number of all tiles.

    Each row of ``table`` is one repeating tile: the number of its group, its ids, and the ids of the group's
    first tile (``first_…``). It also has the cosine of both tiles, and the cause of the likeness. Groups are
    numbered by size, the largest is 1. ``caveat`` is a warning if the model's weights are random, because
    then cosines mean nothing; else it is empty.
    """

    table: pa.Table
    tiles: int
    embeddings: CommittedTable
    column: EmbeddingColumn
    caveat: str = ""

    @property
    def groups(self) -> int:
        """The number of groups of two or more tiles."""
        return int(pc.max(self.table["group"]).as_py() or 0)

    def count_causes(self) -> Mapping[Cause, int]:
        """Count the tiles that repeat an earlier one, by the cause."""
        counted = {
            each["values"]: each["counts"]
            for each in pc.value_counts(self.table["cause"]).to_pylist()
        }
        return {cause: counted.get(cause, 0) for cause in CAUSES}

    def read_thumbs(self, places: Sequence[tuple[str, str]]) -> list[bytes]:
        """Read the thumbnails of some tiles, each given by its drop and id."""
        wanted, thumbs = set(places), dict[tuple[str, str], bytes]()
        drops = {drop for drop, _ in places}
        manifests = tuple(m for m in self.embeddings.manifests if m.recipe.output.drop in drops)
        chosen = replace(self.embeddings, manifests=manifests)
        for drop, part in read_parts(chosen, self.column, ["tile_id", "thumb"]):
            for row, tile_id in enumerate(part["tile_id"].to_pylist()):
                if (drop, tile_id) in wanted:
                    thumbs[drop, tile_id] = part["thumb"][row].as_py()
        return [thumbs[place] for place in places]


def find_near_duplicates(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    *,
    column: EmbeddingColumn = "cls",
    least: float = LEAST_COSINE,
) -> NearDuplicates:
    """Group tiles whose cosine with an earlier tile is at least ``least``, in the order of drops and ids.

    A tile joins the first such earlier tile that has not itself joined another. The causes: the picture is
    in two drops (``same file``), the tiles show the same ground, or they only look alike (``elsewhere``).
    Many vectors lie in a temporary file, so memory does not grow with their size.

    Raises:
        ConfigError: a drop was embedded without the column, or ``least`` is not above 0 and at most 1.
        NotCommittedError: nothing is embedded in this space.
    """
    if not 0 < least <= 1:
        raise ConfigError(
            f"cosine={least}: expected more than 0 and at most 1, such as {LEAST_COSINE}",
            setting="cosine",
            value=least,
        )
    check_embedded(embeddings)
    ids, vectors = _read_vectors(embeddings, column)
    groups = group_similar(vectors, least)
    caveats = [manifest.facts.get("caveat") for manifest in embeddings.manifests]
    return NearDuplicates(
        _make_table(ids, groups, tiles),
        len(ids),
        embeddings,
        column,
        spell_caveat(next(filter(None, caveats), None)),
    )


def _read_vectors(
    embeddings: CommittedTable, column: EmbeddingColumn
) -> tuple[pa.Table, np.ndarray]:
    """Read all ids, and all vectors in their stored number type."""
    ids: list[pa.Table] = []
    matrix: np.ndarray | None = None
    rows = 0
    for drop, part in read_parts(embeddings, column, ["tile_id", "image_id"]):
        vectors = part[column].combine_chunks()
        dims = vectors.type.list_size
        numbers = vectors.flatten().to_numpy().reshape(-1, dims)
        if matrix is None:
            matrix = allocate_rows(embeddings.rows, dims, numbers.dtype)
        matrix[rows : rows + len(numbers)] = numbers
        rows += len(numbers)
        of_drop = pa.array([drop] * len(numbers), pa.string())
        ids.append(pa.table([of_drop, part["tile_id"], part["image_id"]], names=list(_IDS)))
    assert matrix is not None
    return pa.concat_tables(ids), matrix


def _make_table(ids: pa.Table, groups: Groups, tiles: CommittedTable) -> pa.Table:
    joined = np.flatnonzero(groups.firsts != np.arange(len(groups.firsts)))
    firsts = groups.firsts[joined]
    names, numbers, sizes = np.unique(firsts, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((names, -sizes))] = np.arange(1, len(names) + 1)
    tile, first = ids.take(pa.array(joined)), ids.take(pa.array(firsts))
    table = pa.table(
        {
            "group": rank[numbers],
            **{name: tile[name] for name in _IDS},
            **{f"first_{name}": first[name] for name in _IDS},
            "cosine": groups.cosines[joined],
            "cause": pa.array(_find_causes(tile, first, tiles), pa.string()),
        }
    )
    return table.take(pa.array(np.lexsort((joined, rank[numbers]))))


def _find_causes(tile: pa.Table, first: pa.Table, tiles: CommittedTable) -> list[Cause]:
    is_same_file = pc.equal(tile["tile_id"], first["tile_id"]).to_numpy(zero_copy_only=False)
    is_same_ground = show_same(_read_windows(tile, tiles), _read_windows(first, tiles))
    numbers: NDArray[np.int64] = np.where(is_same_file, 0, np.where(is_same_ground, 1, 2))
    return [CAUSES[number] for number in numbers.tolist()]


def _read_windows(ids: pa.Table, tiles: CommittedTable) -> Windows:
    return read_windows(tiles, *(ids[name].to_pylist() for name in _IDS))
