"""Committing a draft: the only writer of manifests."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from dino_assets.errors import (
    CommitRefusedError,
    CorruptObjectError,
    StoreUnavailableError,
)
from dino_assets.store.commits import tables
from dino_assets.store.commits.manifests import (
    dump_manifest,
    find_manifest,
    manifest_key,
    parse_manifest,
    recipe_fields,
)
from dino_assets.store.commits.parts import is_there, put_local_file, put_part
from dino_assets.store.commits.protocol import (
    Committed,
    Draft,
    Facts,
    LocalFile,
    Manifest,
    NamedBytes,
    OutputId,
    Part,
    Recipe,
    Spent,
)
from dino_assets.store.commits.sealing import (
    canonical,
)
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)


# How often parts may vanish between their put and the manifest's before we give up.
_ATTEMPTS = 3
_READERS = 16


def commit(store: ObjectStore, draft: Draft) -> Committed:
    """Make an output exist, or find that it does already; the only writer of manifests.

    A manifest of the same recipe whose parts are all there is reused and nothing is produced.

    Raises:
        CommitRefusedError: the draft broke a promise; nothing became visible.
        StoreError: the store failed; the output is absent or complete, and a re-run completes it.
    """
    output = draft.recipe.output
    _check_json(output, "recipe", recipe_fields(draft.recipe))
    existing = _reusable(store, draft.recipe)
    if existing is not None:
        log.debug("%s: reused, %d rows", output, existing.rows)
        return Committed(existing, was_reused=True)
    key = manifest_key(output)
    for _ in range(_ATTEMPTS):
        writer = _Writer(store, draft)
        started = time.perf_counter()
        data = dump_manifest(writer.write())
        store.put(key, data)
        manifest = parse_manifest(data, store=store.url, key=key)
        total_s = time.perf_counter() - started
        # Looked for after the manifest is there: a collector looks for manifests after it moved a
        # part away, so one of the two sees the other, whatever the clocks and pauses.
        missing = _missing(store, manifest)
        if not missing:
            return Committed(
                manifest,
                was_reused=False,
                seconds=total_s,
                read_s=writer.spent.read_s,
                # A stage that does not tell computed all the time that was not writing.
                compute_s=writer.spent.compute_s or total_s - writer.write_s,
                write_s=writer.write_s + writer.spent.write_s,
                told=writer.spent.told,
            )
        store.delete(key)
        log.warning("%s: making it again, %d parts were deleted meanwhile", output, len(missing))
    raise StoreUnavailableError(
        f"{output}: parts vanish from store {store.url!r} while they are being written, "
        f"{missing[0]!r} last. Does something else delete there? Nothing was committed.",
        store=store.url,
        key=missing[0],
    )


def _reusable(store: ObjectStore, recipe: Recipe) -> Manifest | None:
    try:
        existing = find_manifest(store, recipe.output)
    except CorruptObjectError as err:
        log.warning("%s: making it again, since %s", recipe.output, err)
        return None
    if existing is None or canonical(recipe_fields(existing.recipe)) != canonical(
        recipe_fields(recipe)
    ):
        return None
    missing = _missing(store, existing)
    if missing:
        log.warning("%s: making it again, %d parts are gone", recipe.output, len(missing))
        return None
    return existing


def _missing(store: ObjectStore, manifest: Manifest) -> list[str]:
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda part: is_there(store, part), manifest.parts)
        return [
            part.key for part, is_there in zip(manifest.parts, found, strict=True) if not is_there
        ]


def _check_json(output: OutputId, what: str, value: object) -> None:
    try:
        canonical(value)
    except (TypeError, ValueError) as err:
        raise CommitRefusedError(
            f"{output}: its {what} cannot be written as JSON ({err}); nothing was committed"
        ) from err


class _Writer:
    """Consumes one draft: cuts its rows into parts, puts them, gathers facts."""

    def __init__(self, store: ObjectStore, draft: Draft) -> None:
        self.store = store
        self.output = draft.recipe.output
        self.draft = draft
        self.write_s = 0.0
        self.spent = Spent()
        self._parts: list[Part] = []
        self._facts: dict[str, Any] = {}

    def write(self) -> Manifest:
        schema = self.draft.schema
        if schema is None:
            for batch in self._rows():
                raise CommitRefusedError(f"{self.output}: {batch.num_rows} rows without a schema")
        else:
            described = tables.with_metadata(
                schema, {"asset": self.output.asset, "space": self.output.space}
            )
            for table in tables.cut_into_parts(self._rows(), described):
                if table.num_rows or not any(part.name is None for part in self._parts):
                    for piece, data in tables.encode(table):
                        self._put(data, rows=piece.num_rows)
        return Manifest(self.draft.recipe, tuple(self._parts), self._facts)

    def _rows(self) -> Iterator[pa.RecordBatch]:
        """Pass rows on; take what is not rows out of the stream."""
        for item in self.draft.produce():
            if isinstance(item, Facts):
                _check_json(self.output, "facts", dict(item.values))
                self._facts.update(item.values)
            elif isinstance(item, Spent):
                self.spent = item
            elif isinstance(item, Part):
                if not is_there(self.store, item):
                    raise CommitRefusedError(
                        f"{self.output}: part {item.key!r} was announced but is not in the store"
                    )
                self._parts.append(item)
            elif isinstance(item, LocalFile | NamedBytes):
                self._put_file(item)
            else:
                yield item

    def _put(self, data: bytes, *, rows: int) -> None:
        # Always put, even when the key exists: a fresh object cannot be collected under our feet,
        # and one that went bad on the disk is healed.
        started = time.perf_counter()
        part = put_part(self.store, self.output, data, rows=rows)
        self.write_s += time.perf_counter() - started
        self._parts.append(part)

    def _put_file(self, file: LocalFile | NamedBytes) -> None:
        started = time.perf_counter()
        if isinstance(file, NamedBytes):
            suffix = PurePosixPath(file.name).suffix
            part = put_part(self.store, self.output, file.data, rows=0, suffix=suffix)
            part = replace(part, name=file.name)
        else:
            part = put_local_file(self.store, self.output, file)
        self.write_s += time.perf_counter() - started
        self._parts.append(part)
