"""Tiles that are embedded already, in another drop or before this one grew: copied, not computed again.

Found by the ids in what is committed in the same space, stored in the same way; ``holders`` says where to
look. Best effort, without a lock: two runs at a time may compute the same tile, which harms nobody.
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
class _Home:
    """Where all wanted tiles of an image lie."""

    manifest: Manifest
    parts: tuple[Part, ...]


class KnownTiles:
    """Which images of some shards are embedded. Holds ids; rows are read when they are asked for."""

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
        self._columns = ["tile_id", "image_id", *options.columns, "thumb"]
        self._read = lru_cache(maxsize=4)(self._read_rows)
        self._homes: dict[str, _Home] = {}
        wanted: dict[str, set[str]] = defaultdict(set)
        for shard in shards:
            ids = (shard.tiles[name].to_pylist() for name in ("image_id", "tile_id"))
            for image_id, tile_id in zip(*ids, strict=True):
                wanted[image_id].add(tile_id)
        holders = find_holders(store, output, wanted)
        drops = {drop for drop, *_ in holders}
        embeddings = open_table(store, "embeddings", space=output.space, drops=drops)
        for manifest in embeddings.manifests:
            made_of = (str(manifest.recipe.output.drop), str(manifest.recipe.inputs.get("tiles")))
            is_same_code = manifest.recipe.code_version == code_version
            if made_of in holders and is_same_code and _is_stored_so(manifest, options):
                self._look_into(manifest, wanted)

    def images_of(self, shard: Shard) -> list[str]:
        """The images of a shard that are known."""
        return [image for image in _images(shard) if image in self._homes]

    def add_to(self, shard: Shard) -> Shard:
        """The same shard with the rows that are known of it; without, where they are gone by now."""
        try:
            rows = [self._rows_of(image) for image in self.images_of(shard)]
        except CorruptObjectError:
            return replace(shard, copied_rows=None)
        return replace(shard, copied_rows=pa.concat_tables(rows)) if rows else shard

    def facts_of(self, shard: Shard) -> dict[str, Any]:
        """What computed the rows that are known of a shard."""
        facts = self._homes[self.images_of(shard)[0]].manifest.facts
        names = ("engine", "engine_version", "batch", "gate", "refused")
        return {name: facts[name] for name in names if name in facts}

    def _look_into(self, manifest: Manifest, wanted: Mapping[str, set[str]]) -> None:
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
            log.warning("%s: not copied from, since %s", manifest.recipe.output, err)
            return
        for image, tiles in stored.items():
            if tiles == wanted[image]:
                self._homes.setdefault(image, _Home(manifest, tuple(parts[image])))

    def _rows_of(self, image: str) -> pa.Table:
        pieces = [self._read(part) for part in self._homes[image].parts]
        return pa.concat_tables(rows.filter(pc.equal(rows["image_id"], image)) for rows in pieces)

    def _read_rows(self, part: Part) -> pa.Table:
        return tables.decode(read_part(self._store, part), self._columns)


def _images(shard: Shard) -> Iterator[str]:
    return iter(dict.fromkeys(shard.tiles["image_id"].to_pylist()))


def _is_stored_so(manifest: Manifest, options: EmbeddingOptions) -> bool:
    # Of the very same columns: a network that gives further tokens rounds the same ones otherwise.
    config = manifest.recipe.config
    return (
        config.get("dtype") == options.dtype
        and config.get("columns") == list(options.columns)
        and not config.get("with_patches")
    )
