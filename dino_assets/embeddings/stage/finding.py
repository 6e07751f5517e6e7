"""Tiles that are most similar to given vectors, over all drops of a space."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.embeddings.regions import REGIONS, outline_region
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import check_embedded, has_column, read_parts
from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.neighbours import check_vectors
from dino_assets.numerics.open_rows import OpenRows, exclude_nothing
from dino_assets.numerics.search import Hits, Search, measure_cosines
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.reading import read_tiles
from dino_assets.tiles.rows import TileRow
from dino_assets.tiles.same_ground import SameGround, make_windows
from dino_assets.weights.records import spell_caveat

SEARCH_COLUMNS = ["tile_id", "image_id", "thumb"]  # beside the vectors
_SPARE = 8  # hits per asked one that are searched first: others may show the same place


@dataclass(frozen=True)
class SimilarTile:
    """A tile that is similar to a query: where it is, and its cosine with the query.

    If regions were searched, ``region`` is x, y, width and height of the similar one in the picture.
    """

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
    region: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class SimilarTiles:
    """The tiles in the order of their rank, their thumbnails, and the number of tiles that were searched.

    If regions were searched, ``frames`` are left, top, width and height of each similar region, as shares of
    the thumbnail's sides. ``caveat`` is a warning if the model's weights are random, because then cosines
    mean nothing; else it is empty. ``cosines`` are those of all searched vectors in their order, if the query
    keeps them.
    """

    tiles: tuple[SimilarTile, ...]
    thumbs: tuple[bytes, ...]
    searched: int
    caveat: str = ""
    frames: tuple[tuple[float, float, float, float] | None, ...] = ()
    cosines: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class TileQuery:
    """What is searched: the vector of a query, and how many tiles are wanted.

    A tile that is more similar to one of ``unlike`` than to the query is left out; so are the tiles of
    ``without``. If windows overlap in a picture, or pictures show the same ground, only the most similar
    tile is returned, unless ``all_windows``. With ``regions``, the vectors of regions are searched instead
    of those of ``column``, and a tile has the rank of its most similar region. With ``keeps_cosines``, the
    result has the cosines of all vectors.
    """

    vector: NDArray[np.float32]
    count: int
    column: EmbeddingColumn = "cls"
    unlike: Sequence[NDArray[np.float32]] = ()
    without: Collection[str] = ()
    all_windows: bool = False
    regions: bool = False
    keeps_cosines: bool = False

    @property
    def stored_column(self) -> str:
        """The column that is searched."""
        return REGIONS if self.regions else self.column


@dataclass(frozen=True, eq=False)
class _Hit:
    cosine: float
    drop: str
    tile_id: str
    image_id: str
    thumb: bytes
    vector: NDArray[np.float32]
    region: int | None
    across: int


def find_tiles(embeddings: CommittedTable, tiles: CommittedTable, query: TileQuery) -> SimilarTiles:
    """Find the most similar tiles; tiles of equal cosine are ordered by drop, then by id.

    Raises:
        ConfigError: a drop was embedded without the column, or ``count`` is below 1.
        InvalidVectorsError: a query is not finite, or has another number of dimensions than the tiles.
        NotCommittedError: nothing is embedded in this space.
    """
    if query.count < 1:
        raise ConfigError(
            f"count={query.count}: expected 1 or more", setting="count", value=query.count
        )
    check_embedded(embeddings)
    vectors = sum(
        manifest.rows * _count_across(manifest, query.stored_column) ** 2
        for manifest in embeddings.manifests
    )
    searched = query.count * (1 if query.all_windows and not query.regions else _SPARE)
    while True:
        hits, cosines = _search(embeddings, query, searched)
        chosen = _keep(hits, tiles, query)
        if len(chosen) >= query.count or searched >= vectors:
            break
        searched *= 4
    similar = [_make_tile(rank, hit, row) for rank, (hit, row) in enumerate(chosen, 1)]
    caveats = [manifest.facts.get("caveat") for manifest in embeddings.manifests]
    return SimilarTiles(
        tuple(similar),
        tuple(hit.thumb for hit, _ in chosen),
        embeddings.rows,
        spell_caveat(next(filter(None, caveats), None)),
        tuple(_frame(hit) for hit, _ in chosen),
        cosines if query.keeps_cosines else None,
    )


def read_vector(embeddings: CommittedTable, tile_id: str, column: str) -> NDArray[np.float32]:
    """Read the vector of one tile; for regions, the mean of the tile's regions.

    Raises:
        ConfigError: no tile of this space has the id.
    """
    # Drops without the column cannot hold the tile's vector. They must not cause a refusal.
    manifests = tuple(m for m in embeddings.manifests if has_column(m, column))
    for drop, part in read_parts(replace(embeddings, manifests=manifests), column, SEARCH_COLUMNS):
        row = pc.index(part["tile_id"], tile_id).as_py()
        if row >= 0:
            across = _count_across(embeddings.manifest(drop), column)
            return np.asarray(_read_vectors(part.slice(row, 1), column, across).mean(axis=0))
    raise ConfigError(
        f"no tile of space {embeddings.space} with {column!r} has the id {tile_id!r}. The tables `tiles` and "
        "`selections` hold the ids of tiles; `dino-assets find` prints them, too.",
        setting="query",
        value=tile_id,
    )


def _count_across(manifest: Manifest, column: str) -> int:
    """Return the number of regions across a drop's tiles; 1 for a column with one vector per tile."""
    return int(manifest.recipe.config.get(REGIONS, 1)) if column == REGIONS else 1


def _read_vectors(part: pa.Table, column: str, across: int) -> NDArray[np.float32]:
    """Read the vectors of a stored part, ``across``² for each tile."""
    matrix = to_matrix(part[column])
    return matrix.reshape(len(matrix) * across**2, -1) if len(matrix) else matrix


@dataclass(frozen=True)
class _SearchedPart:
    """A stored part: its drop, the number of its first vector in the search, and the regions across a tile."""

    drop: str
    first: int
    across: int


def _search(
    embeddings: CommittedTable, query: TileQuery, count: int
) -> tuple[list[_Hit], NDArray[np.float32]]:
    """Find the most similar tiles, each only once, even if its picture is in two drops.

    Beside them, return the cosines of all vectors if the query keeps them.
    """
    column = query.stored_column
    search: Search | None = None
    searched: list[_SearchedPart] = []
    for drop, part in read_parts(embeddings, column, SEARCH_COLUMNS):
        across = _count_across(embeddings.manifest(drop), column)
        vectors = _read_vectors(part, column, across)
        if search is None:
            for vector in (query.vector, *query.unlike):
                _check_query(vector, vectors)
            search = Search(query.vector[None], count, keeps_cosines=query.keeps_cosines)
        searched.append(_SearchedPart(drop, search.added, across))
        search.add(vectors)
    assert search is not None
    (hits,) = search.hits()
    firsts = [each.first for each in searched]
    of_part = np.searchsorted(firsts, hits.rows, side="right") - 1
    drops = {searched[number].drop for number in of_part.tolist()}
    numbers = [number for number, each in enumerate(searched) if each.drop in drops]
    manifests = tuple(m for m in embeddings.manifests if m.recipe.output.drop in drops)
    read: dict[int, _Hit] = {}
    again = read_parts(replace(embeddings, manifests=manifests), column, SEARCH_COLUMNS)
    for number, (_, part) in zip(numbers, again, strict=True):
        places = np.flatnonzero(of_part == number).tolist()
        read |= _read_hits(part, searched[number], hits, places, column)
    once: dict[str, _Hit] = {}
    for place in range(len(hits.rows)):
        once.setdefault(read[place].tile_id, read[place])
    return list(once.values()), search.cosines[0]


def _read_hits(
    part: pa.Table, searched: _SearchedPart, hits: Hits, places: list[int], column: str
) -> dict[int, _Hit]:
    """Read the hits inside a stored part, by their places among all hits."""
    if not places:
        return {}
    of_tile = searched.across**2
    tiles, regions = np.divmod(hits.rows[places] - searched.first, of_tile)
    rows = part.take(pa.array(tiles))
    vectors = _read_vectors(rows, column, searched.across).reshape(len(places), of_tile, -1)
    return {
        place: _Hit(
            float(hits.cosines[place]),
            searched.drop,
            row["tile_id"],
            row["image_id"],
            row["thumb"],
            of_row[region],
            region if column == REGIONS else None,
            searched.across,
        )
        for place, row, of_row, region in zip(
            places, rows.select(SEARCH_COLUMNS).to_pylist(), vectors, regions.tolist(), strict=True
        )
    }


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
    # Most hits show places of their own, so the tables of all their drops are seldom needed.
    chosen = _pick(wanted[: 2 * query.count], tiles, query)
    is_all = len(chosen) == query.count or len(wanted) <= 2 * query.count
    return chosen if is_all else _pick(wanted, tiles, query)


def _pick(
    hits: Sequence[_Hit], tiles: CommittedTable, query: TileQuery
) -> list[tuple[_Hit, TileRow]]:
    """Pick the first hits that show different places, with their tiles."""
    ids_by_drop: dict[str, set[str]] = {}
    for hit in hits:
        ids_by_drop.setdefault(hit.drop, set()).add(hit.tile_id)
    rows = {
        (drop, tile_id): row
        for drop, ids in ids_by_drop.items()
        for tile_id, row in read_tiles(tiles, drop, ids).items()
    }
    tiles_of_hits = [rows[hit.drop, hit.tile_id] for hit in hits]
    excludes = exclude_nothing
    if not query.all_windows:
        excludes = SameGround(make_windows(tiles_of_hits)).excludes
    open_rows = OpenRows(np.ones(len(hits), bool), excludes)
    chosen: list[tuple[_Hit, TileRow]] = []
    for place, hit in enumerate(hits):
        if len(chosen) == query.count:
            break
        if open_rows.are_open[place]:
            open_rows.pick(place)
            chosen.append((hit, tiles_of_hits[place]))
    return chosen


def _frame(hit: _Hit) -> tuple[float, float, float, float] | None:
    if hit.region is None:
        return None
    row, column = divmod(hit.region, hit.across)
    return column / hit.across, row / hit.across, 1 / hit.across, 1 / hit.across


def _make_tile(rank: int, hit: _Hit, row: TileRow) -> SimilarTile:
    window = (row.x, row.y, row.w, row.h)
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
        region=None
        if hit.region is None
        else outline_region(hit.region, hit.across, window, span_px=row.span_px),
    )
