"""Whether a drop looks like the others: not blocking, but somebody should see its strangest tiles."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.embeddings.drift import MIN_TILES, Drift, measure_drift, tell_lack, thin_drop
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
    """A verdict that never blocks, and the tiles to look at, the most novel first."""

    verdict: Verdict
    novel: tuple[NovelTile, ...]


def compare_embedded(embedded: Mapping[str, CommittedTable]) -> list[DropDrift]:
    """Hold each of some drops, given with its own embeddings, against all others of its space.

    Those are looked for only where a drop is large enough to be compared.
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
    """Hold each of some drops against all others that are committed in the handle's space.

    Which drop came first the store does not know (manifests hold no time), so "past" are all others,
    later ones too. Of more than ``past_drops`` the same ones are taken every time, by their names'
    hash. Each is read once, however many drops are judged.

    Raises:
        NotCommittedError: a drop is not committed in this space.
        InvalidVectorsError: vectors that are not finite numbers, or of two sizes.
    """
    past = PastDrops(embeddings, column, past_drops)
    return [_compare(embeddings, drop, past) for drop in drops]


@dataclass
class PastDrops:
    """The drops that others are held against, thinned, read when first needed."""

    embeddings: CommittedTable
    column: EmbeddingColumn
    most: int = MAX_PAST_DROPS
    read: dict[str, Vectors | None] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All drops large enough, in an order that has nothing to do with what they show."""
        names = [
            str(m.recipe.output.drop) for m in self.embeddings.manifests if m.rows >= MIN_TILES
        ]
        return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())

    def beside(self, drop: str) -> dict[str, Vectors]:
        """At most ``most`` others, by name. A drop embedded without the column is none."""
        others: dict[str, Vectors] = {}
        for name in self.names():
            if len(others) == self.most:
                break
            if name == drop:
                continue
            if name not in self.read:
                table = _read(self.embeddings, name, [self.column])
                # A copy, not a view, which would keep all of the drop.
                self.read[name] = (
                    None if table is None else thin_drop(to_matrix(table[self.column])).copy()
                )
            rows = self.read[name]
            if rows is not None:
                others[name] = rows
        return others


def _compare(embeddings: CommittedTable, drop: str, past: PastDrops) -> DropDrift:
    tiles = embeddings.manifest(drop).rows
    # Said before anything is read: most stores are young.
    lacking = tell_lack(tiles, len(set(past.names()) - {drop}))
    table = None if lacking else _read(embeddings, drop, ["tile_id", "image_id", past.column])
    if table is None:
        lacking = lacking or f"this drop was embedded without the column {past.column!r}"
        return DropDrift(Verdict(drop, True, f"drift: {lacking}"), ())
    vectors, others = to_matrix(table[past.column]), past.beside(drop)
    odd = [name for name, rows in others.items() if rows.shape[1] != vectors.shape[1]]
    if odd:
        raise InvalidVectorsError(
            f"drop {odd[0]!r} has vectors of {others[odd[0]].shape[1]} dimensions in the space where "
            f"{drop!r} has {vectors.shape[1]}: one of them was written by something else. Materialise "
            "`embeddings` for it again.",
            dims=(others[odd[0]].shape[1], vectors.shape[1]),
        )
    return _describe(drop, measure_drift(vectors, list(others.values())), table)


def _describe(drop: str, drift: Drift, table: pa.Table) -> DropDrift:
    if drift.lacking:
        return DropDrift(Verdict(drop, True, f"drift: {drift.lacking}"), ())
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
            f"drift: it shows what the {drift.past_drops} other drops compared do not ({numbers}); "
            f"look at tile {novel[0].tile_id} first"
        )
    else:
        sentence = (
            f"drift: none, it is like the {drift.past_drops} other drops compared ({numbers})"
        )
    return DropDrift(Verdict(drop, True, sentence, warns=drift.is_alarm), novel)


def _read(embeddings: CommittedTable, drop: str, columns: list[str]) -> pa.Table | None:
    """A drop's rows; None where it has no such column."""
    try:
        return embeddings.read(drop, columns)
    except pa.ArrowInvalid:
        return None
