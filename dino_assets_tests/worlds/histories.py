"""Drawn histories: the records and manifests of thousands of finished drops, as runs would have left them."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dino_assets.store.commits.manifests import content_hash, dump_manifest, manifest_key
from dino_assets.store.commits.protocol import Manifest, OutputId, Part, Recipe

SPACE = "dinov3-vits16-0123456789abcdef"
FACTS = {
    "images": {"usable": 1, "quarantined": 0, "listed": 1, "bytes": 812_345, "with_place": 1},
    "tiles": {"images": 1, "thermal_left_out": 0, "padded": 0, "nodata_left_out": 0},
    "embeddings": {
        "images": 1,
        "shards": 1,
        "engine": "openvino bf16 on cpu",
        "engine_version": "2026.2.0",
        "batch": [1, 512, 512],
        "gate": {
            "tiles": 16,
            "min_cosine": 0.99981,
            "min_centred_cosine": 0.99743,
            "norms": {"cls": [11.02, 14.73]},
        },
    },
}
CONFIGS = {
    "images": {"max_pixels": 178_956_970, "ground_m": None},
    "tiles": {
        "side_px": 512,
        "overlap": 0.5,
        "whole_max_px": 1024,
        "grid_version": 1,
        "side_m": None,
        "with_thermal": False,
    },
    "embeddings": {
        "space": {"weights_sha256": "ab" * 32, "network": "cd" * 32, "side_px": 512, "layer": -1},
        "columns": ["cls"],
        "dtype": "fp16",
        "with_patches": False,
        "shard_tiles": 256,
    },
}


def name_drop(number: int) -> str:
    return f"flight-{number:05d}"


def name_image(drop: str) -> str:
    return hashlib.sha256(drop.encode()).hexdigest()


def draw_drop(
    drop: str, *, source: str, fingerprint: str, space: str = SPACE, version: str = "3"
) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of each object of a finished drop of one tile: record, tiles' part, three manifests."""
    record = {
        "name": drop,
        "source": source,
        "fingerprint": fingerprint,
        "original_name": drop,
    }
    yield f"drops/{drop}.json", (json.dumps(record, sort_keys=True, indent=1) + "\n").encode()
    input_hash, link = fingerprint, "source"
    for asset in ("images", "tiles", "embeddings"):
        output = OutputId(asset, drop, space if asset == "embeddings" else None)
        data = _draw_tiles(drop) if asset == "tiles" else f"{asset} {drop}".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        part = Part(f"parts/{asset}/{drop}/{sha256}.parquet", sha256, len(data), 1)
        if asset == "tiles":
            yield part.key, data
        recipe = Recipe(output, version, CONFIGS[asset], {link: input_hash})
        manifest = Manifest(recipe, (part,), FACTS[asset])
        yield manifest_key(output), dump_manifest(manifest)
        input_hash, link = content_hash(manifest), asset


def _draw_tiles(drop: str) -> bytes:
    image = name_image(drop)
    table = pa.table({"tile_id": [f"{image[:16]}-x0y0w512h512-g1"], "image_id": [image]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def write_history(
    folder: Path, drops: range, *, sources: Path, fingerprint: str, space: str = SPACE
) -> None:
    """Write finished drops into the folder of a local store, each with a source of its own."""
    for number in drops:
        name = name_drop(number)
        source = str(sources / name)
        for key, data in draw_drop(name, source=source, fingerprint=fingerprint, space=space):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
