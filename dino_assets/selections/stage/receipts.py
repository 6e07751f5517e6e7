"""Making of a round's receipt, from the tables that it was chosen from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.errors import CommitRefusedError
from dino_assets.selections.receipt import DropParts, RoundReceipt, StoredRow, TileLinks
from dino_assets.selections.records import ChosenTile
from dino_assets.store.commits.manifests import list_content
from dino_assets.store.commits.protocol import Manifest, Recipe
from dino_assets.store.commits.reading import CommittedTable

_NUMBERS = {"fp16": "<f2", "fp32": "<f4"}


def make_receipt(
    recipe: Recipe,
    chosen: Sequence[ChosenTile],
    *,
    embeddings: CommittedTable,
    tiles: CommittedTable,
    pool: TilePool,
) -> RoundReceipt:
    """Make the receipt of a round; ``pool`` are all rows of ``embeddings``, in their stored order."""
    drops = sorted({row.drop for row in chosen})
    vectors = _find_vectors(pool, chosen)
    links: list[TileLinks] = []
    for drop in drops:
        embedded, tiled = embeddings.manifest(drop), tiles.manifest(drop)
        of_drop = [row for row in chosen if row.drop == drop]
        tile_rows = find_rows(tiles, drop, [row.tile_id for row in of_drop])
        number_type = _NUMBERS[embedded.recipe.config.get("dtype", "fp16")]
        first = pool.drops.index(drop)
        for row in of_drop:
            at = vectors[drop, row.tile_id]
            links.append(
                TileLinks(
                    rank=row.rank,
                    drop=drop,
                    tile_id=row.tile_id,
                    image_sha256=row.image_id,
                    path=row.path,
                    window=(row.x, row.y, row.w, row.h),
                    tile=_locate(tiled, tile_rows[row.tile_id]),
                    embedding=_locate(embedded, at - first),
                    vector_sha256=hash_vector(pool.vectors[at].astype(number_type)),
                )
            )
    return RoundReceipt(
        round=str(recipe.output.drop),
        space=str(recipe.output.space),
        preprocessing=dict(embeddings.manifest(drops[0]).recipe.config["space"]) if drops else {},
        code_version=recipe.code_version,
        config=dict(recipe.config),
        inputs=dict(recipe.inputs),
        drops={
            drop: DropParts(*(list_content(table.manifest(drop)) for table in (tiles, embeddings)))
            for drop in drops
        },
        tiles=tuple(sorted(links, key=lambda each: each.rank)),
    )


def hash_vector(stored: NDArray[np.generic]) -> str:
    """Hash the stored numbers of a vector."""
    return hashlib.sha256(np.ascontiguousarray(stored).tobytes()).hexdigest()


def find_rows(table: CommittedTable, drop: str, tile_ids: Sequence[str]) -> dict[str, int]:
    """Find the numbers of some tiles' rows in a drop's table, from 0.

    Raises:
        CommitRefusedError: a tile is not in the table.
    """
    wanted, rows, first = set(tile_ids), dict[str, int](), 0
    for _, part in replace(table, manifests=(table.manifest(drop),)).parts(["tile_id"]):
        for number, tile_id in enumerate(part["tile_id"].to_pylist(), start=first):
            if tile_id in wanted:
                rows.setdefault(tile_id, number)
        first += part.num_rows
    if missing := sorted(wanted - rows.keys()):
        raise CommitRefusedError(
            f"drop {drop!r}: tile {missing[0]!r} is embedded but no longer in `{table.asset}`. Materialise "
            "`embeddings` of this drop again."
        )
    return rows


def _find_vectors(pool: TilePool, chosen: Sequence[ChosenTile]) -> Mapping[tuple[str, str], int]:
    wanted = {(row.drop, row.tile_id) for row in chosen}
    rows: dict[tuple[str, str], int] = {}
    for row, each in enumerate(zip(pool.drops, pool.tile_ids, strict=True)):
        if each in wanted:
            rows.setdefault(each, row)
    return rows


def _locate(manifest: Manifest, number: int) -> StoredRow:
    """Find the stored part that holds a row of a table, and the row's number in this part."""
    for part in manifest.parts:
        if part.name is None:
            if number < part.rows:
                return StoredRow(part.sha256, number)
            number -= part.rows
    raise AssertionError(f"{manifest.recipe.output} has too few rows")
