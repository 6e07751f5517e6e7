"""A shard's rows as parts, then its receipt."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dino_assets.embeddings.run.shards import Shard
from dino_assets.store.commits import tables
from dino_assets.store.commits.parts import put_part
from dino_assets.store.commits.protocol import OutputId, Part, Receipt
from dino_assets.store.commits.receipts import write_receipt
from dino_assets.store.objects import ObjectStore


def store_shard(
    store: ObjectStore,
    output: OutputId,
    shard: Shard,
    rows: pa.Table,
    *,
    facts: Mapping[str, Any],
    patches: Sequence[Part] = (),
) -> Receipt:
    """Put a shard's rows in the order of its tiles, then its receipt."""
    place = {name: row for row, name in enumerate(rows["tile_id"].to_pylist())}
    rows = rows.take([place[name] for name in shard.tiles["tile_id"].to_pylist()])
    about = {"asset": output.asset, "space": output.space}
    described = tables.with_metadata(rows.schema, about)
    table = rows.combine_chunks().replace_schema_metadata(described.metadata)
    parts = tuple(
        put_part(store, output, data, rows=piece.num_rows) for piece, data in tables.encode(table)
    )
    copied = 0 if shard.known is None else shard.known.num_rows
    receipt = Receipt(output, shard.id, (*parts, *patches), {**facts, "copied": copied})
    write_receipt(store, receipt)
    return receipt
