"""Tiles that are most similar to given vectors, over all drops of a space."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.errors import ConfigError, InvalidVectorsError, NotCommittedError
from dino_assets.numerics.neighbours import check_vectors
from dino_assets.numerics.open_rows import OpenRows, exclude_nothing
from dino_assets.numerics.search import Search, measure_cosines
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.reading import read_tiles
from dino_assets.tiles.rows import TileRow
from dino_assets.tiles.same_ground import SameGround, make_windows
from dino_assets.weights.records import spell_caveat

_SPARE = 8  # hits per asked one that are searched first: others may show the same place


@dataclass(frozen=True)
class SimilarTile:
    """A tile that is similar to a query: where it is, and its cosine with the query."""

    rank: int  # from 1
    cosine: float
    drop: str
    tile_id: str
    image_id: str
    path: str
    x: int
    y: int
    w: int
    h: int
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True, eq=False)
class SimilarTiles:
    """The tiles in the order of their rank, their thumbnails, and the number of tiles that were searched.

    ``caveat`` says if the model has random weights, whose cosines mean nothing; else it is empty.
    """

    tiles: tuple[SimilarTile, ...]
    thumbs: tuple[bytes, ...]
    searched: int
    caveat: str = ""


@dataclass(frozen=True, eq=False)
class TileQuery:
    """What is searched: the vector of a query, and how many tiles are wanted.

    A tile that is more similar to one of ``unlike`` than to the query is left out; so are the tiles of
    ``without``. Unless ``all_windows``, one tile is returned of windows that overlap in a picture, and of
    pictures that show the same ground.
    """

    vector: NDArray[np.float32]
    count: int
    column: EmbeddingColumn = "cls"
    unlike: Sequence[NDArray[np.float32]] = ()
    without: Collection[str] = ()
    all_windows: bool = False


@dataclass(frozen=True, eq=False)
class _Hit:
    cosine: float
    drop: str
    tile_id: str
    image_id: str
    thumb: bytes
    vector: NDArray[np.float32]


def find_tiles(embeddings: CommittedTable, tiles: CommittedTable, query: TileQuery) -> SimilarTiles:
    """Find the most similar tiles; equal cosines go by drop, then by id.

    Raises:
        ConfigError: a drop was embedded without the column, or ``count`` is below 1.
        InvalidVectorsError: a query is not finite, or has another number of dimensions than the tiles.
        NotCommittedError: nothing is embedded in this space.
    """
    if query.count < 1:
        raise ConfigError(
            f"count={query.count}: expected 1 or more", setting="count", value=query.count
        )
    total = embeddings.rows
    if not total:
        raise NotCommittedError(
            f"no tile is embedded in space {embeddings.space}. Embed a drop first: "
            "`dino-assets run NAME --from FOLDER`."
        )
    searched = query.count * (1 if query.all_windows else _SPARE)
    while True:
        chosen = _keep(_search(embeddings, query, searched), tiles, query)
        if len(chosen) >= query.count or searched >= total:
            break
        searched *= 4
    similar = [_make_tile(rank, hit, row) for rank, (hit, row) in enumerate(chosen, 1)]
    caveats = [manifest.facts.get("caveat") for manifest in embeddings.manifests]
    return SimilarTiles(
        tuple(similar),
        tuple(hit.thumb for hit, _ in chosen),
        total,
        spell_caveat(next(filter(None, caveats), None)),
    )


def read_vector(
    embeddings: CommittedTable, tile_id: str, column: EmbeddingColumn
) -> NDArray[np.float32]:
    """Read the vector of one tile.

    Raises:
        ConfigError: no tile of this space has the id.
    """
    for _, part in read_parts(embeddings, column, ["tile_id"]):
        ids = part["tile_id"].to_pylist()
        if tile_id in ids:
            return np.asarray(to_matrix(part[column].slice(ids.index(tile_id), 1))[0])
    raise ConfigError(
        f"no tile of space {embeddings.space} has the id {tile_id!r}. The tables `tiles` and `selections` hold "
        "the ids of tiles; `dino-assets find` prints them, too.",
        setting="query",
        value=tile_id,
    )


def _search(embeddings: CommittedTable, query: TileQuery, count: int) -> list[_Hit]:
    """Find the most similar tiles, each once although its picture may be in two drops."""
    search: Search | None = None
    firsts: list[int] = []
    for _, part in read_parts(embeddings, query.column, ["tile_id"]):
        vectors = to_matrix(part[query.column])
        if search is None:
            for vector in (query.vector, *query.unlike):
                _check_query(vector, vectors)
            search = Search(query.vector[None], count)
        firsts.append(search.added)
        search.add(vectors)
    assert search is not None
    (hits,) = search.hits()
    of_part = np.searchsorted(firsts, hits.rows, side="right") - 1
    read: dict[int, _Hit] = {}
    others = ["tile_id", "image_id", "thumb"]
    for number, (drop, part) in enumerate(read_parts(embeddings, query.column, others)):
        places = np.flatnonzero(of_part == number)
        if not len(places):
            continue
        rows = part.take(pa.array(hits.rows[places] - firsts[number]))
        for place, row in zip(places.tolist(), rows.to_pylist(), strict=True):
            vector = np.asarray(row[query.column], np.float32)
            read[place] = _Hit(
                float(hits.cosines[place]),
                drop,
                row["tile_id"],
                row["image_id"],
                row["thumb"],
                vector,
            )
    once: dict[str, _Hit] = {}
    for place in range(len(hits.rows)):
        once.setdefault(read[place].tile_id, read[place])
    return list(once.values())


def _check_query(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> None:
    if query.shape != vectors.shape[1:]:
        raise InvalidVectorsError(
            f"the query has the shape {query.shape}, and the tiles' vectors have {vectors.shape[1]} numbers. Embed "
            "the query with the same model, or name another space",
            dims=(query.shape[-1] if query.ndim else 0, vectors.shape[1]),
        )
    check_vectors(query[None])


def _keep(
    hits: Sequence[_Hit], tiles: CommittedTable, query: TileQuery
) -> list[tuple[_Hit, TileRow]]:
    """Keep the first hits that the query asks for, with their tiles."""
    wanted = [hit for hit in hits if hit.tile_id not in query.without]
    if query.unlike and wanted:
        vectors = np.stack([hit.vector for hit in wanted])
        nearest = np.max([measure_cosines(vectors, each) for each in query.unlike], axis=0)
        wanted = [hit for hit, other in zip(wanted, nearest, strict=True) if hit.cosine >= other]
    ids_by_drop: dict[str, set[str]] = {}
    for hit in wanted:
        ids_by_drop.setdefault(hit.drop, set()).add(hit.tile_id)
    rows = {
        (drop, tile_id): row
        for drop, ids in ids_by_drop.items()
        for tile_id, row in read_tiles(tiles, drop, ids).items()
    }
    tiles_of_hits = [rows[hit.drop, hit.tile_id] for hit in wanted]
    excludes = exclude_nothing
    if not query.all_windows:
        excludes = SameGround(make_windows(tiles_of_hits)).excludes
    open_rows = OpenRows(np.ones(len(wanted), bool), excludes)
    chosen: list[tuple[_Hit, TileRow]] = []
    for place, hit in enumerate(wanted):
        if len(chosen) == query.count:
            break
        if open_rows.are_open[place]:
            open_rows.pick(place)
            chosen.append((hit, tiles_of_hits[place]))
    return chosen


def _make_tile(rank: int, hit: _Hit, row: TileRow) -> SimilarTile:
    return SimilarTile(
        rank=rank,
        cosine=hit.cosine,
        drop=hit.drop,
        tile_id=hit.tile_id,
        image_id=hit.image_id,
        path=row.path,
        x=row.x,
        y=row.y,
        w=row.w,
        h=row.h,
        latitude=row.place.center_latitude,
        longitude=row.place.center_longitude,
    )
