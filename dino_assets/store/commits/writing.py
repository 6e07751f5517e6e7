"""The commit function, the only writer of manifests."""

import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from dino_assets.errors import CommitRefusedError, CorruptObjectError, StoreUnavailableError
from dino_assets.store.commits import tables
from dino_assets.store.commits.claiming import take_turn
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
    LocalFile,
    Manifest,
    OutputId,
    Part,
    Recipe,
    Spent,
    Turns,
)
from dino_assets.store.commits.records import copy_missing, copy_record
from dino_assets.store.commits.sealing import canonical
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)
# Attempts of one commit. It fails if another program deletes its parts during each of them.
_ATTEMPTS = 3
_READERS = 16


def commit(store: ObjectStore, draft: Draft) -> Committed:
    """Produce a draft's output and write its manifest, or reuse the committed output of an equal recipe.

    An output is reused if all its parts exist and the draft does not ask to be produced again (``is_anew``).

    Raises:
        CommitRefusedError: the draft cannot be committed; nothing became visible.
        StoreError: the store failed. The output is then absent or complete; if it is absent, a re-run makes
            it.
    """
    begun = time.perf_counter()
    output = draft.recipe.output
    _check_json(output, "recipe", recipe_fields(draft.recipe))
    existing = None if draft.is_anew else _reusable(store, draft.recipe)
    if existing is not None:
        log.debug("%s: reused, %d rows", output, existing.rows)
        copy_missing(store, manifest_key(output), dump_manifest(existing))
        return Committed(existing, was_reused=True, seconds=time.perf_counter() - begun)
    key = manifest_key(output)
    for _ in range(_ATTEMPTS):
        writer = _Writer(store, draft)
        started = time.perf_counter()
        draft.produce(writer)
        data = dump_manifest(writer.finish())
        manifest = parse_manifest(data, store=store.url, key=key)
        # Parts reach the disk before the manifest. Flushing all at once takes a tenth of the time.
        store.settle(part.key for part in manifest.parts)
        _put_manifest(store, key, data, draft.turns)
        total_s = time.perf_counter() - started
        # Check the parts after putting the manifest. A garbage collection reads the manifests after moving
        # a part aside, so one of the two always sees the other, without comparing clocks.
        missing = _missing(store, manifest)
        if not missing:
            return Committed(
                manifest,
                was_reused=False,
                seconds=total_s,
                read_s=writer.reported.read_s,
                # Without a report of the stage, all time except writing counts as computing.
                compute_s=writer.reported.compute_s or total_s - writer.write_s,
                write_s=writer.write_s + writer.reported.write_s,
                metadata=writer.reported.metadata,
            )
        store.delete(key)
        log.warning(
            "%s: %d of its parts were deleted during the commit; producing it again",
            output,
            len(missing),
        )
    raise StoreUnavailableError(
        f"{output}: parts disappear from store {store.url!r} during the commit, for example "
        f"{missing[0]!r}. Nothing was committed. Check whether another program deletes objects there.",
        store=store.url,
        key=missing[0],
    )


def _put_manifest(store: ObjectStore, key: str, data: bytes, turns: Turns | None) -> None:
    if turns is None:
        _put_lasting(store, key, data)
        return
    with take_turn(store, turns.name) as turn:
        turns.check()
        turn.check()
        _put_lasting(store, key, data)


def _put_lasting(store: ObjectStore, key: str, data: bytes) -> None:
    copy_record(store, key, data)
    store.put(key, data, is_lasting=True)


def _reusable(store: ObjectStore, recipe: Recipe) -> Manifest | None:
    try:
        existing = find_manifest(store, recipe.output)
    except CorruptObjectError as err:
        log.warning("%s: producing it again, because %s", recipe.output, err)
        return None
    if existing is None:
        return None
    if canonical(recipe_fields(existing.recipe)) != canonical(recipe_fields(recipe)):
        return None
    missing = _missing(store, existing)
    if missing:
        log.warning(
            "%s: producing it again, because %d parts are missing", recipe.output, len(missing)
        )
        return None
    return existing


def _missing(store: ObjectStore, manifest: Manifest) -> list[str]:
    with ThreadPoolExecutor(_READERS) as pool:
        are_there = pool.map(lambda part: is_there(store, part), manifest.parts)
        return [p.key for p, is_here in zip(manifest.parts, are_there, strict=True) if not is_here]


def _check_json(output: OutputId, what: str, value: object) -> None:
    try:
        canonical(value)
    except (TypeError, ValueError) as err:
        raise CommitRefusedError(
            f"{output}: its {what} cannot be written as JSON ({err}). Nothing was committed. Use only values "
            "that JSON can hold.",
            reason=f"{what}-not-json",
        ) from err


class _Writer:
    """The OutputWriter of a commit: cuts rows into parts, puts these into the store, and collects facts."""

    def __init__(self, store: ObjectStore, draft: Draft) -> None:
        self.write_s = 0.0
        self.reported = Spent()
        self._store = store
        self._recipe = draft.recipe
        self._output = draft.recipe.output
        self._cutter: tables.PartCutter | None = None
        if draft.schema is not None:
            about = {"asset": self._output.asset, "space": self._output.space}
            self._cutter = tables.PartCutter(tables.with_metadata(draft.schema, about))
        self._parts: list[Part] = []
        self._facts: dict[str, Any] = {}

    def rows(self, batch: pa.RecordBatch) -> None:
        if self._cutter is None:
            raise CommitRefusedError(
                f"{self._output}: {batch.num_rows} rows were added, but the draft has no schema. Give it "
                "one.",
                reason="no-schema",
            )
        for table in self._cutter.add(batch):
            self._put_table(table)

    def part(self, part: Part) -> None:
        if not is_there(self._store, part):
            raise CommitRefusedError(
                f"{self._output}: part {part.key!r} is not in the store. Put it there before adding it.",
                reason="no-part",
                file=part.key,
            )
        self._parts.append(part)

    def file(self, name: str, data: bytes) -> None:
        with self._timing():
            suffix = PurePosixPath(name).suffix
            part = put_part(self._store, self._output, data, rows=0, suffix=suffix)
        self._parts.append(replace(part, name=name))

    def local_file(self, file: LocalFile) -> None:
        with self._timing():
            part = put_local_file(self._store, self._output, file)
        self._parts.append(part)

    def facts(self, values: Mapping[str, Any]) -> None:
        _check_json(self._output, "facts", dict(values))
        self._facts.update(values)

    def spent(self, spent: Spent) -> None:
        self.reported = spent

    def finish(self) -> Manifest:
        """Store the last rows and make the manifest. A table without rows gets one empty part."""
        if self._cutter is not None:
            table = self._cutter.finish()
            if table.num_rows or not any(part.name is None for part in self._parts):
                self._put_table(table)
        return Manifest(self._recipe, tuple(self._parts), self._facts)

    def _put_table(self, table: pa.Table) -> None:
        for piece, data in tables.encode(table):
            # Put even if the key exists: a garbage collection spares a new object, and a damaged one is
            # replaced.
            with self._timing():
                part = put_part(self._store, self._output, data, rows=piece.num_rows)
            self._parts.append(part)

    @contextmanager
    def _timing(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.write_s += time.perf_counter() - started
