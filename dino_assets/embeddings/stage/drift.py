"""Drift check of committed drops: compares each drop with the others and lists its most novel tiles."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.embeddings.drift import (
    MIN_TILES,
    Drift,
    describe_missing,
    measure_drift,
    thin_drop,
)
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import InvalidVectorsError
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.verdicts import Verdict

MAX_PAST_DROPS = 100  # of at most 512 tiles each: 80 MB of vectors of 384 dimensions
SHOWN_TILES = 10
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class NovelTile:
    """One of a drop's most novel tiles."""

    drop: str
    tile_id: str
    image_id: str
    novelty: float


@dataclass(frozen=True)
class DropDrift:
    """A drop's verdict, which never blocks later steps, and the tiles to look at, the most novel first."""

    verdict: Verdict
    novel: tuple[NovelTile, ...]


def compare_embedded(embedded: Mapping[str, CommittedTable]) -> list[DropDrift]:
    """Compare each drop with all other drops of its space; ``embedded`` has the embeddings of each drop.

    Other drops are opened only if a drop has enough tiles to be compared.
    """
    spaces: dict[tuple[str | None, bool], list[str]] = {}
    for drop, table in embedded.items():
        if drop in table.drops:
            is_large = table.manifest(drop).rows >= MIN_TILES
            spaces.setdefault((table.space, is_large), []).append(drop)
    drifts: list[DropDrift] = []
    for (space, is_large), drops in spaces.items():
        own = embedded[drops[0]]
        if is_large:
            drifts += compare_drops(open_table(own.store, own.asset, space=space), drops)
        else:
            drifts += [drift for drop in drops for drift in compare_drops(embedded[drop], [drop])]
    return drifts


def compare_drops(
    embeddings: CommittedTable,
    drops: Sequence[str],
    *,
    column: EmbeddingColumn = "cls",
    past_drops: int = MAX_PAST_DROPS,
) -> list[DropDrift]:
    """Compare drops with all other drops that are committed in the space of ``embeddings``.

    Manifests contain no time, so "past" drops are all other drops, including later ones. If there are more
    than ``past_drops``, a hash of their names decides which are used, always the same. Each past drop is read
    once.

    Raises:
        NotCommittedError: a drop is not committed in this space.
        InvalidVectorsError: a number is not finite, or two drops have vectors of different sizes.
    """
    past = PastDrops(embeddings, column, past_drops)
    return [_compare(embeddings, drop, past) for drop in drops]


@dataclass
class PastDrops:
    """The drops to compare with. Each is read on first use, and only a sample of its vectors is kept."""

    embeddings: CommittedTable
    column: EmbeddingColumn
    most: int = MAX_PAST_DROPS
    read: dict[str, Vectors | None] = field(default_factory=dict)

    def names(self) -> list[str]:
        """List all drops with at least ``MIN_TILES`` tiles, sorted by a hash of their names."""
        names = [
            str(m.recipe.output.drop) for m in self.embeddings.manifests if m.rows >= MIN_TILES
        ]
        return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())

    def read_others(self, drop: str) -> dict[str, Vectors]:
        """Return the vectors of at most ``most`` drops other than ``drop``, by the drop's name.

        Drops that were embedded without the column are left out.
        """
        others: dict[str, Vectors] = {}
        for name in self.names():
            if len(others) == self.most:
                break
            if name == drop:
                continue
            if name not in self.read:
                table = _read(self.embeddings, name, [self.column])
                # A copy, because a view would keep the whole drop in memory.
                self.read[name] = (
                    None if table is None else thin_drop(to_matrix(table[self.column])).copy()
                )
            rows = self.read[name]
            if rows is not None:
                others[name] = rows
        return others


def _compare(embeddings: CommittedTable, drop: str, past: PastDrops) -> DropDrift:
    tiles = embeddings.manifest(drop).rows
    # Checked before any table is read, because most stores have too few drops.
    missing = describe_missing(tiles, len(set(past.names()) - {drop}))
    table = None if missing else _read(embeddings, drop, ["tile_id", "image_id", past.column])
    if table is None:
        missing = missing or f"this drop was embedded without the column {past.column!r}"
        return DropDrift(Verdict(drop, True, f"drift: {missing}"), ())
    vectors, others = to_matrix(table[past.column]), past.read_others(drop)
    other_sizes = [name for name, rows in others.items() if rows.shape[1] != vectors.shape[1]]
    if other_sizes:
        raise InvalidVectorsError(
            f"drop {other_sizes[0]!r} has vectors of {others[other_sizes[0]].shape[1]} dimensions, drop {drop!r} in the same "
            f"space has {vectors.shape[1]}: one of them was not written by dino_assets. Run "
            "`dino-assets verify` to find it, then materialise its `embeddings` again.",
            dims=(others[other_sizes[0]].shape[1], vectors.shape[1]),
        )
    return _describe(drop, measure_drift(vectors, list(others.values())), table)


def _describe(drop: str, drift: Drift, table: pa.Table) -> DropDrift:
    if drift.missing:
        return DropDrift(Verdict(drop, True, f"drift: {drift.missing}"), ())
    rows = drift.find_most_novel(SHOWN_TILES)
    novel = tuple(
        NovelTile(drop, row["tile_id"], row["image_id"], round(float(drift.tiles[at]), 4))
        for at, row in zip(
            rows, table.select(["tile_id", "image_id"]).take(rows).to_pylist(), strict=True
        )
    )
    numbers = f"novelty {drift.novelty:.3f}, unusual above {drift.limit:.3f}"
    if drift.is_alarm:
        sentence = (
            f"drift: this drop differs from the {drift.past_drops} other drops compared ({numbers}); "
            f"look at tile {novel[0].tile_id} first"
        )
    else:
        sentence = f"drift: none, this drop is like the {drift.past_drops} other drops compared ({numbers})"
    return DropDrift(Verdict(drop, True, sentence, warns=drift.is_alarm), novel)


def _read(embeddings: CommittedTable, drop: str, columns: list[str]) -> pa.Table | None:
    """Read ``columns`` of a drop's rows; return None if the drop lacks one of them."""
    try:
        return embeddings.read(drop, columns)
    except pa.ArrowInvalid:
        return None
