"""Index of the drops that hold an image's vectors, so that not every drop must be read."""

import logging
from collections.abc import Collection, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.threads import map_ahead
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits import tables
from dino_assets.store.commits.digests import list_objects
from dino_assets.store.commits.indexes import Row, add_row, read_index
from dino_assets.store.commits.manifests import (
    content_hash,
    find_manifest,
    manifest_prefix,
    read_listed,
)
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)
_NAME_CHARS = 16  # of an image's id; a collision costs only one unnecessary read of a drop
_READERS = 16


def find_holders(store: ObjectStore, output: OutputId, images: Collection[str]) -> list[Row]:
    """List the drops that may hold vectors of ``images`` in an output's space.

    Each entry is a drop's name and the content hash of the tiles that were embedded. The index may be wrong,
    so the caller must check the drop's manifest and rows.
    """
    rows = read_index(store, _name_index(output), partial(_list_rows, store, output))
    ordered = sorted(rows)
    names = _to_array("".join(packed for _, _, packed in ordered))
    counts = [len(packed) // _NAME_CHARS for _, _, packed in ordered]
    of_row = np.repeat(np.arange(len(ordered)), counts)
    wanted = _to_array(_pack(images))
    return [ordered[row][:2] for row in np.unique(of_row[np.isin(names, wanted)]).tolist()]


def add_holder(store: ObjectStore, output: OutputId, tiles: str, images: Iterable[str]) -> None:
    """Add a drop's images to the index; call this before the drop's embeddings are committed.

    ``tiles`` is the content hash of the tiles that were embedded.
    """
    row = _make_row(output, tiles, images)
    add_row(store, _name_index(output), row, partial(_list_rows, store, output))


def _name_index(output: OutputId) -> str:
    return f"{output.asset}/{output.space}"


def _make_row(output: OutputId, tiles: str, images: Iterable[str]) -> Row:
    return (str(output.drop), tiles, _pack(images))


def _list_rows(store: ObjectStore, output: OutputId) -> Iterator[Row]:
    """List the index rows, one per drop, of all embeddings that are committed in a space."""
    listed = list_objects(store, manifest_prefix(output.asset, output.space))
    manifests = []
    for key, manifest in read_listed(store, listed).items():
        if isinstance(manifest, Manifest):
            manifests.append(manifest)
        else:
            log.warning("%s: its vectors are not reused: %s", key, manifest)
    for row in map_ahead(partial(_read_row, store), manifests, threads=_READERS):
        if row is not None:
            yield row


def _read_row(store: ObjectStore, embeddings: Manifest) -> Row | None:
    """Make a drop's index row from the ids of its images; return None if they cannot be read.

    The ids are read from the drop's ``tiles`` if possible: their size is a fiftieth of the embeddings' size.
    """
    output, made_of = embeddings.recipe.output, str(embeddings.recipe.inputs.get("tiles"))
    for manifest in (_find_tiles(store, output, made_of), embeddings):
        try:
            if manifest is not None:
                return _make_row(output, made_of, _read_images(store, manifest))
        except CorruptObjectError as err:
            log.warning("%s: its vectors are not reused: %s", output, err)
    return None


def _find_tiles(store: ObjectStore, output: OutputId, content: str) -> Manifest | None:
    tiles = find_manifest(store, OutputId("tiles", output.drop))
    return tiles if tiles is not None and content_hash(tiles) == content else None


def _read_images(store: ObjectStore, manifest: Manifest) -> set[str]:
    images: set[str] = set()
    for part in manifest.parts:
        if part.name is None:
            rows = tables.decode(read_part(store, part), ["image_id"])
            images.update(rows["image_id"].unique().to_pylist())
    return images


def _pack(images: Iterable[str]) -> str:
    return "".join(sorted(image[:_NAME_CHARS] for image in images))


def _to_array(packed: str) -> NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex(packed), np.uint64)
