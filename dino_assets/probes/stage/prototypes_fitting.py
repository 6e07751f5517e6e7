"""Few-shot learning of a prototype from queries, and the tiles that are most like it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.finding import SEARCH_COLUMNS, SimilarTiles, TileQuery, find_tiles
from dino_assets.embeddings.stage.pool import check_embedded, read_parts
from dino_assets.embeddings.stage.queries import QueryVector
from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.neighbours import check_vectors
from dino_assets.probes.prototypes import (
    TileStatistics,
    check_examples,
    fit_direction,
    leave_one_out,
    measure_tiles,
    rank_scores,
)
from dino_assets.probes.stage.prototypes import NamedVector, Prototype
from dino_assets.store.commits.reading import CommittedTable

SAMPLED_TILES = 10_000  # whose mean and covariance stand for those of all tiles
SEED = 0

ReadVector = Callable[[str], QueryVector]


@dataclass(frozen=True)
class FewShot:
    """What a prototype is learned from: queries as ``find`` takes them, examples and counterexamples."""

    name: str
    examples: tuple[str, ...]
    unlike: tuple[str, ...] = ()
    column: EmbeddingColumn = "cls"


@dataclass(frozen=True, eq=False)
class LikeTiles:
    """The tiles that are most like a prototype, and the percentage of all tiles that are less like it than each."""

    prototype: Prototype
    similar: SimilarTiles
    percentiles: tuple[float, ...]


def fit_prototype(
    embeddings: CommittedTable,
    asked: FewShot,
    read: ReadVector,
    *,
    earlier: Prototype | None = None,
) -> Prototype:
    """Learn a prototype from queries; one whose picture is gone is taken from the ``earlier`` prototype.

    Without any query, the examples of the ``earlier`` prototype are compared with the tiles as they are now. An
    ``earlier`` prototype of another column does not count: its vectors have no meaning here.

    Raises:
        ConfigError: there are fewer than 3 different examples or 20 tiles, or a query does not exist.
        InvalidVectorsError: a vector is not one of this space.
        NotCommittedError: nothing is embedded in this space.
    """
    check_embedded(embeddings)
    if earlier is not None and earlier.column != asked.column:
        earlier = None
    if earlier is not None and not asked.examples:
        examples, unlike = earlier.examples, asked.unlike and _read(asked.unlike, read, earlier)
        unlike = unlike or earlier.unlike
    else:
        examples = _read(asked.examples, read, earlier)
        unlike = _read(asked.unlike, read, earlier)
    check_examples(len(examples))
    statistics = sample_tiles(embeddings, asked.column)
    vectors = _stack(examples, statistics)
    others = _stack(unlike, statistics) if unlike else None
    agreement = leave_one_out(vectors, statistics, rng=np.random.default_rng(SEED))
    return Prototype(
        name=asked.name,
        space=str(embeddings.space),
        column=asked.column,
        examples=examples,
        unlike=unlike,
        direction=fit_direction(vectors, statistics, unlike=others),
        percentiles=agreement.percentiles,
        chance=agreement.chance,
        is_better_than_chance=agreement.is_better_than_chance,
        searched=embeddings.rows,
    )


def find_like(
    embeddings: CommittedTable,
    tiles: CommittedTable,
    prototype: Prototype,
    *,
    count: int,
    all_windows: bool = False,
) -> LikeTiles:
    """Find the tiles that are most like a prototype, without its examples and counterexamples.

    Raises:
        ConfigError: ``count`` is below 1.
        NotCommittedError: nothing is embedded in this space.
    """
    given = {each.tile_id for each in (*prototype.examples, *prototype.unlike) if each.tile_id}
    similar = find_tiles(
        embeddings,
        tiles,
        TileQuery(
            prototype.direction,
            count,
            column=prototype.column,
            without=frozenset(given),
            all_windows=all_windows,
            keeps_cosines=True,
        ),
    )
    cosines = np.array([tile.cosine for tile in similar.tiles], np.float32)
    among = np.empty(0) if similar.cosines is None else similar.cosines
    ranks = rank_scores(cosines, among)
    return LikeTiles(prototype, replace(similar, cosines=None), tuple(ranks.tolist()))


def sample_tiles(embeddings: CommittedTable, column: EmbeddingColumn) -> TileStatistics:
    """Measure the mean and the spread of all tiles by a sample; equal embeddings give an equal sample.

    Raises:
        ConfigError: there are fewer than 20 tiles.
    """
    rows = np.arange(embeddings.rows)
    if len(rows) > SAMPLED_TILES:
        rng = np.random.default_rng(SEED)
        rows = np.sort(rng.choice(len(rows), SAMPLED_TILES, replace=False, shuffle=False))
    taken, first = [], 0
    # The columns of a search, so that its copies are read, too.
    for _, part in read_parts(embeddings, column, SEARCH_COLUMNS):
        begin, end = np.searchsorted(rows, (first, first + part.num_rows))
        matrix = to_matrix(part[column])
        taken.append(np.asarray(matrix[rows[begin:end] - first], np.float32))
        first += part.num_rows
    return measure_tiles(np.concatenate(taken))


def _read(
    queries: Sequence[str], read: ReadVector, earlier: Prototype | None
) -> tuple[NamedVector, ...]:
    """Read the vectors of queries; of those that are equal, one stays."""
    stored: dict[str, NamedVector] = {}
    if earlier is not None:
        stored = {each.query: each for each in (*earlier.unlike, *earlier.examples)}
    vectors: dict[bytes, NamedVector] = {}
    for query in queries:
        name = Path(query).name
        try:
            answer = read(query)
        except ConfigError as err:
            if err.value != query or name not in stored:
                raise
            vector = stored[name]
        else:
            vector = NamedVector(name, np.asarray(answer.vector, np.float32), answer.tile_id)
        vectors.setdefault(vector.vector.tobytes(), vector)
    return tuple(vectors.values())


def _stack(examples: Sequence[NamedVector], statistics: TileStatistics) -> NDArray[np.float32]:
    """Stack the vectors of examples (E, D), and check that they are vectors of the tiles' space."""
    dims = statistics.rows.shape[1]
    for each in examples:
        if each.vector.shape != (dims,):
            raise InvalidVectorsError(
                f"the example {each.query!r} has the shape {each.vector.shape}, and the tiles' vectors have {dims} "
                "numbers. Embed it with the same model",
                dims=(each.vector.shape[-1] if each.vector.ndim else 0, dims),
            )
        if not check_vectors(each.vector[None]).any():
            raise InvalidVectorsError(
                f"the example {each.query!r} is a vector of zeros, which has no direction. Give another example"
            )
    return np.stack([each.vector for each in examples])
