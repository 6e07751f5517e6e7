"""Rows of the embeddings table: ids, stored vectors and thumbnails."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from dino_assets.embeddings.options import DEFAULT, EmbeddingOptions
from dino_assets.errors import CommitRefusedError

THUMB_PX = 48
_DTYPES = {"fp16": (np.float16, pa.float16()), "fp32": (np.float32, pa.float32())}


def make_schema(dim: int, options: EmbeddingOptions = DEFAULT) -> pa.Schema:
    """Make the table's schema: ids, vectors of ``dim`` numbers, and a thumbnail. Regions lie side by side.

    The thumbnail is in the row, so that pages can be made later without reading photographs.
    """
    number = _DTYPES[options.dtype][1]
    return pa.schema(
        [
            pa.field("tile_id", pa.string(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            *(
                pa.field(column, pa.list_(number, dim * count), nullable=False)
                for column, count in options.vector_counts.items()
            ),
            pa.field("thumb", pa.binary(), nullable=False),
        ]
    )


def make_rows(
    tiles: pa.Table,
    vectors: Mapping[str, NDArray[np.float32]],
    thumbs: Sequence[bytes],
    schema: pa.Schema,
    options: EmbeddingOptions,
) -> pa.Table:
    """Make one row of the embeddings table per tile, from the tiles' ids, vectors and thumbnails.

    Raises:
        CommitRefusedError: a number is NaN, infinite, or too large for fp16.
    """
    names = tiles["tile_id"].to_pylist()
    columns: dict[str, Any] = {
        "tile_id": pa.array(names, pa.string()),
        "image_id": pa.array(tiles["image_id"].to_pylist(), pa.string()),
        "thumb": pa.array(thumbs, pa.binary()),
    }
    for column, values in vectors.items():
        stored = to_stored(values, names, column, options)
        columns[column] = pa.FixedSizeListArray.from_arrays(
            pa.array(stored.ravel()), stored.shape[1]
        )
    return pa.table([columns[name] for name in schema.names], schema=schema)


def to_stored(
    vectors: NDArray[np.float32], names: Sequence[str], column: str, options: EmbeddingOptions
) -> NDArray[Any]:
    """Convert vectors of some tiles to the stored number type.

    ``names`` (the tiles' ids) and ``column`` are only for the error's message.

    Raises:
        CommitRefusedError: a number is NaN, infinite, or too large for fp16.
    """
    with np.errstate(over="ignore"):
        stored = vectors.astype(_DTYPES[options.dtype][0])
    bad = np.flatnonzero(~np.isfinite(stored).reshape(len(stored), -1).all(axis=1))
    if len(bad):
        is_wide = bool(np.isfinite(vectors[bad[0]]).all())
        cause = (
            "a number too large for fp16. Set `dtype: fp32` of `embeddings`."
            if is_wide
            else "NaN or infinity. Check the checkpoint with `dino-assets check-model`."
        )
        raise CommitRefusedError(
            f"{len(bad)} tiles have {column!r} vectors that cannot be stored. The first, {names[bad[0]]!r}, "
            f"has {cause} Nothing of their shard was stored.",
            column=column,
            first=names[bad[0]],
            reason="beyond-fp16" if is_wide else "not-finite",
        )
    return stored


def to_matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Convert stored vectors of any number type to float32 (N, D); those of float32 are not copied."""
    values = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    flat = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.asarray(flat.reshape(len(values), values.type.list_size))


def make_thumb(tile: NDArray[np.uint8]) -> bytes:
    """Encode a tile as a small WebP (about 0.6 KB), for pages."""
    sink = io.BytesIO()
    small = Image.fromarray(tile).resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX)
    small.save(sink, "WEBP", quality=60, method=2)
    return sink.getvalue()
