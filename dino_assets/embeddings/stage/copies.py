"""Reuse of vectors that are already stored, in another drop or in an earlier version of this drop.

Vectors are found by tile id in embeddings of the same space that were stored with the same options. The
index in ``holders`` lists the drops to look into. There is no lock: two simultaneous runs may compute the
same tile twice, which is harmless.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.regions import REGIONS
from dino_assets.embeddings.run.shards import Shard
from dino_assets.embeddings.stage.holders import find_holders
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits import tables
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest, OutputId, Part
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _StoredImage:
    """The place of an image whose requested tiles are all stored: a manifest and the parts with its tiles."""

    manifest: Manifest
    parts: tuple[Part, ...]


class ReusableVectors:
    """Stored vectors that some shards can reuse.

    The object keeps in memory where the vectors are stored, and reads rows on request.
    """

    def __init__(
        self,
        store: ObjectStore,
        output: OutputId,
        options: EmbeddingOptions,
        shards: Iterable[Shard],
        *,
        code_version: str,
    ) -> None:
        self._store = store
        self._columns = ["tile_id", "image_id", *options.vector_counts, "thumb"]
        self._read = lru_cache(maxsize=4)(self._read_rows)
        self._stored: dict[str, _StoredImage] = {}
        wanted: dict[str, set[str]] = defaultdict(set)
        for shard in shards:
            ids = (shard.tiles[name].to_pylist() for name in ("image_id", "tile_id"))
            for image_id, tile_id in zip(*ids, strict=True):
                wanted[image_id].add(tile_id)
        self._wanted = wanted
        holders = find_holders(store, output, wanted)
        drops = {drop for drop, *_ in holders}
        embeddings = open_table(store, "embeddings", space=output.space, drops=drops)
        for manifest in embeddings.manifests:
            made_of = (str(manifest.recipe.output.drop), str(manifest.recipe.inputs.get("tiles")))
            is_same_code = manifest.recipe.code_version == code_version
            if made_of in holders and is_same_code and _has_same_options(manifest, options):
                self._index_images(manifest, wanted)

    def list_images(self, shard: Shard) -> list[str]:
        """List the images of a shard whose vectors can be reused."""
        return [image for image in _list_image_ids(shard) if image in self._stored]

    def add_copied_rows(self, shard: Shard) -> Shard:
        """Return the shard with its reusable rows in ``copied_rows``.

        If one of the rows is gone or damaged, ``copied_rows`` is None, so all rows must be computed.
        """
        try:
            rows = [self._read_image(image) for image in self.list_images(shard)]
        except CorruptObjectError:
            return replace(shard, copied_rows=None)
        return replace(shard, copied_rows=pa.concat_tables(rows)) if rows else shard

    def read_facts(self, shard: Shard) -> dict[str, Any]:
        """Return the facts about the engine that computed the vectors of a shard's first reusable image."""
        facts = self._stored[self.list_images(shard)[0]].manifest.facts
        names = ("engine", "engine_version", "batch", "gate", "refused")
        return {name: facts[name] for name in names if name in facts}

    def _index_images(self, manifest: Manifest, wanted: Mapping[str, set[str]]) -> None:
        try:
            stored: dict[str, set[str]] = defaultdict(set)
            parts: dict[str, list[Part]] = defaultdict(list)
            for part in (part for part in manifest.parts if part.name is None):
                rows = tables.decode(read_part(self._store, part), ["image_id", "tile_id"])
                for image, tile in zip(
                    *(rows[name].to_pylist() for name in rows.schema.names), strict=True
                ):
                    if image in wanted:
                        stored[image].add(tile)
                        if part not in parts[image]:
                            parts[image].append(part)
        except CorruptObjectError as err:
            log.warning("%s: its vectors are not reused: %s", manifest.recipe.output, err)
            return
        for image, tiles in stored.items():
            if tiles >= wanted[image]:  # more tiles, if boxes of a detector are left out now
                self._stored.setdefault(image, _StoredImage(manifest, tuple(parts[image])))

    def _read_image(self, image: str) -> pa.Table:
        pieces = [self._read(part) for part in self._stored[image].parts]
        ids = pa.array(sorted(self._wanted[image]), pa.string())
        return pa.concat_tables(rows.filter(pc.is_in(rows["tile_id"], ids)) for rows in pieces)

    def _read_rows(self, part: Part) -> pa.Table:
        return tables.decode(read_part(self._store, part), self._columns)


def _list_image_ids(shard: Shard) -> Iterator[str]:
    return iter(dict.fromkeys(shard.tiles["image_id"].to_pylist()))


def _has_same_options(manifest: Manifest, options: EmbeddingOptions) -> bool:
    # All columns must be equal: a network with more outputs rounds the same tokens differently.
    config = manifest.recipe.config
    return (
        config.get("dtype") == options.dtype
        and config.get("columns") == list(options.columns)
        and config.get(REGIONS, 0) == options.regions
        and not config.get("with_patches")
    )
