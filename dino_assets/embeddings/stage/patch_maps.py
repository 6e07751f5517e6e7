"""Patch maps: an opt-in Zarr array (tile, row, column, feature) beside a drop's embeddings.

There is one chunk per tile, about a megabyte. Each chunk is stored as soon as it is computed, and can be read
without the others. The files are in Zarr's format 3, so exported ones open with ``zarr.open_array``.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.errors import NotCommittedError
from dino_assets.store.commits.parts import put_part, read_part
from dino_assets.store.commits.protocol import NamedBytes, OutputId, Part
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore

ARRAY = "patches.zarr"
_LEVEL = 1


def put_patches(
    store: ObjectStore, output: OutputId, patches: NDArray[Any], rows: Sequence[int]
) -> list[Part]:
    """Store the patch maps (N, P, D) of the table's ``rows``; return one part per row."""
    codec = pa.Codec("zstd", compression_level=_LEVEL)
    parts = []
    for row, patch_map in zip(rows, patches, strict=True):
        data = codec.compress(np.ascontiguousarray(patch_map).tobytes(), asbytes=True)
        part = put_part(store, output, data, rows=0, suffix=".chunk")
        parts.append(replace(part, name=f"{ARRAY}/c/{row}/0/0/0"))
    return parts


def describe_array(*, tiles: int, side: int, dim: int, dtype: str, space: str) -> NamedBytes:
    """Make the array's ``zarr.json``; ``side`` is in patches."""
    body = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [tiles, side, side, dim],
        "data_type": dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [1, side, side, dim]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": _LEVEL, "checksum": False}},
        ],
        "dimension_names": ["tile", "row", "column", "feature"],
        "attributes": {"space": space, "tiles": "the rows of the embeddings' table, in order"},
    }
    return NamedBytes(f"{ARRAY}/zarr.json", json.dumps(body, indent=1).encode())


def read_patches(embeddings: CommittedTable, drop: str, rows: Sequence[int]) -> NDArray[Any]:
    """Read the patch maps (N, side, side, D) of some rows of a drop's table.

    Raises:
        NotCommittedError: the drop was embedded without patch maps, or has no row of this number.
        CorruptObjectError: a chunk differs from what was committed.
    """
    manifest = embeddings.manifest(drop)
    output = manifest.recipe.output
    files = {part.name: part for part in manifest.parts}
    if f"{ARRAY}/zarr.json" not in files:
        raise NotCommittedError(
            f"{output} has no patch maps. Materialise it again with `with_patches: true`.",
            output=str(output),
            reason="no-patches",
        )
    about = json.loads(read_part(embeddings.store, files[f"{ARRAY}/zarr.json"]))
    maps = np.empty((len(rows), *about["shape"][1:]), about["data_type"])
    for patch_map, row in zip(maps, rows, strict=True):
        part = files.get(f"{ARRAY}/c/{row}/0/0/0")
        if part is None:
            raise NotCommittedError(
                f"{output} has no row {row}; its table has {about['shape'][0]} rows",
                output=str(output),
                reason="no-row",
            )
        data = read_part(embeddings.store, part)
        data = pa.Codec("zstd").decompress(data, decompressed_size=patch_map.nbytes)
        patch_map[...] = np.frombuffer(data, maps.dtype).reshape(patch_map.shape)
    return maps
