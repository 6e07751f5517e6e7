"""The commit protocol: an output is absent or complete.

    parts/<asset>/<drop>/<sha256>.<ext>          immutable, named by content, put first
    receipts/<asset>/<space>/<drop>/<shard>.json a finished shard of an unfinished output
    manifests/<asset>/<space>/<drop>.json        put last, in one request: now the output exists

``_`` stands for "no space" and "not per drop" (no drop's name can start with it). Nothing is renamed
and nothing relies on conditional PUT, which many S3 servers get wrong. ``commit`` is the only
function that writes manifests, in Dagster, the CLI and the service alike.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from dino_assets.errors import (
    CommitRefusedError,
    CorruptObjectError,
    NotCommittedError,
    ObjectNotFoundError,
)
from dino_assets.records import (
    Committed,
    Draft,
    Facts,
    LocalFile,
    Manifest,
    OutputId,
    Part,
    Receipt,
    Recipe,
)
from dino_assets.store import tables
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)

FORMAT = 1
# A part this old may be about to be collected (see collection.MIN_AGE); reusing it renews it.
RENEW_AFTER = timedelta(days=1)
_READERS = 16
_RANGE_BYTES = 32 * 2**20


# --- names ----------------------------------------------------------------------------------


def manifest_key(output: OutputId) -> str:
    """Where an output's manifest lives."""
    return f"{manifest_prefix(output.asset, output.space)}{output.drop or '_'}.json"


def manifest_prefix(asset: str, space: str | None) -> str:
    """Where all manifests of one asset in one space live."""
    return f"manifests/{asset}/{space or '_'}/"


def part_key(output: OutputId, sha256: str, suffix: str) -> str:
    """Where a part with this content lives."""
    return f"parts/{output.asset}/{output.drop or '_'}/{sha256}{suffix}"


def receipt_prefix(output: OutputId) -> str:
    """Where the receipts of an output live."""
    return f"receipts/{output.asset}/{output.space or '_'}/{output.drop or '_'}/"


# --- reading --------------------------------------------------------------------------------


def read_manifest(store: ObjectStore, output: OutputId) -> Manifest:
    """The manifest of a committed output.

    Raises:
        NotCommittedError: nobody has made it.
        CorruptObjectError: its bytes are not what was written.
    """
    key = manifest_key(output)
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        raise NotCommittedError(
            f"{output} is not in store {store.url!r}. Materialise it first."
        ) from None
    return parse_manifest(data, store=store.url, key=key)


def find_manifest(store: ObjectStore, output: OutputId) -> Manifest | None:
    """The manifest of an output, or None when there is none."""
    try:
        return read_manifest(store, output)
    except NotCommittedError:
        return None


def list_manifests(store: ObjectStore, asset: str, space: str | None = None) -> list[Manifest]:
    """All committed outputs of an asset in a space, sorted by drop: one LIST, then parallel GETs."""
    keys = sorted(info.key for info in store.list(manifest_prefix(asset, space)))
    return read_manifests(store, keys)


def read_manifests(store: ObjectStore, keys: list[str]) -> list[Manifest]:
    """Manifests by key, in order; those deleted in the meantime are left out."""

    def read(key: str) -> Manifest | None:
        try:
            return parse_manifest(store.get(key), store=store.url, key=key)
        except ObjectNotFoundError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        return [found for found in pool.map(read, keys) if found is not None]


def read_part(store: ObjectStore, part: Part) -> bytes:
    """A part's bytes, verified.

    Raises:
        CorruptObjectError: it is gone, or its sha256 is not the one committed.
    """
    try:
        data = store.get(part.key)
    except ObjectNotFoundError:
        raise _gone(store, part) from None
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        raise _altered(store, part, found)
    return data


def verify_part(store: ObjectStore, part: Part) -> None:
    """Check a part of any size against its sha256, in constant memory.

    Raises:
        CorruptObjectError: it is gone, or its sha256 is not the one committed.
    """
    digest = hashlib.sha256()
    try:
        size = store.head(part.key).bytes
        for start in range(0, size, _RANGE_BYTES):
            digest.update(store.get_range(part.key, start=start, length=_RANGE_BYTES))
    except ObjectNotFoundError:
        raise _gone(store, part) from None
    if digest.hexdigest() != part.sha256:
        raise _altered(store, part, digest.hexdigest())


def _gone(store: ObjectStore, part: Part) -> CorruptObjectError:
    return CorruptObjectError(
        f"part {part.key!r} of a committed output is gone from store {store.url!r}. Materialise "
        "that output again.",
        store=store.url,
        key=part.key,
    )


def _altered(store: ObjectStore, part: Part, found: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"part {part.key!r} in store {store.url!r} has sha256 {found[:16]}…, committed was "
        f"{part.sha256[:16]}…. Run `dino-assets verify --repair`, then materialise again.",
        store=store.url,
        key=part.key,
    )


def content_hash(manifest: Manifest) -> str:
    """Identity of an output's content: equal for equal parts, whatever recipe led there."""
    return _digest([[part.sha256, part.rows, part.name] for part in manifest.parts])


# --- writing --------------------------------------------------------------------------------


def commit(store: ObjectStore, draft: Draft) -> Committed:
    """Make an output exist, or find that it does already; the only writer of manifests.

    A manifest of the same recipe whose parts are all there is reused and nothing is produced.

    Raises:
        CommitRefusedError: the draft broke a promise; nothing became visible.
        StoreError: the store failed; nothing became visible.
    """
    existing = _reusable(store, draft.recipe)
    if existing is not None:
        log.info("%s: reused, %d rows", draft.recipe.output, existing.rows)
        return Committed(existing, was_reused=True)
    writer = _Writer(store, draft)
    started = time.perf_counter()
    manifest = writer.write()
    store.put(manifest_key(draft.recipe.output), dump_manifest(manifest))
    total_s = time.perf_counter() - started
    return Committed(
        manifest, was_reused=False, compute_s=total_s - writer.write_s, write_s=writer.write_s
    )


def _reusable(store: ObjectStore, recipe: Recipe) -> Manifest | None:
    try:
        existing = find_manifest(store, recipe.output)
    except CorruptObjectError as err:
        log.warning("%s: making it again, since %s", recipe.output, err)
        return None
    if existing is None or _canonical(_recipe_fields(existing.recipe)) != _canonical(
        _recipe_fields(recipe)
    ):
        return None
    missing = [part.key for part in existing.parts if not _is_there(store, part)]
    if missing:
        log.warning("%s: making it again, %d parts are gone", recipe.output, len(missing))
        return None
    return existing


def _is_there(store: ObjectStore, part: Part) -> bool:
    try:
        return store.head(part.key).bytes == part.bytes
    except ObjectNotFoundError:
        return False


class _Writer:
    """Consumes one draft: cuts its rows into parts, puts them, gathers facts."""

    def __init__(self, store: ObjectStore, draft: Draft) -> None:
        self.store = store
        self.output = draft.recipe.output
        self.draft = draft
        self.write_s = 0.0
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
                if table.num_rows or not self._parts:
                    for piece, data in tables.encode(table):
                        self._put(data, rows=piece.num_rows)
        return Manifest(self.draft.recipe, tuple(self._parts), self._facts)

    def _rows(self) -> Iterator[pa.RecordBatch]:
        """Pass rows on; take what is not rows out of the stream."""
        for item in self.draft.produce():
            if isinstance(item, Facts):
                self._facts.update(item.values)
            elif isinstance(item, Part):
                if not _is_there(self.store, item):
                    raise CommitRefusedError(
                        f"{self.output}: part {item.key!r} was announced but is not in the store"
                    )
                self._parts.append(item)
            elif isinstance(item, LocalFile):
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

    def _put_file(self, file: LocalFile) -> None:
        started = time.perf_counter()
        key = part_key(self.output, file.sha256, Path(file.name).suffix)
        self.store.put_file(key, file.path)
        if hash_file(file.path) != file.sha256:
            raise CommitRefusedError(
                f"{self.output}: {file.name!r} changed while it was being stored. Run again."
            )
        self.write_s += time.perf_counter() - started
        self._parts.append(Part(key, file.sha256, file.bytes, name=file.name))


def put_part(
    store: ObjectStore, output: OutputId, data: bytes, *, rows: int, suffix: str = ".parquet"
) -> Part:
    """Put one part under the name its content gives it."""
    sha256 = hashlib.sha256(data).hexdigest()
    key = part_key(output, sha256, suffix)
    store.put(key, data)
    return Part(key, sha256, len(data), rows)


def hash_file(path: Path) -> str:
    """sha256 of a local file, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- receipts -------------------------------------------------------------------------------


def write_receipt(store: ObjectStore, receipt: Receipt) -> None:
    """Record that a shard is finished; its parts must be in the store already."""
    body = {"facts": dict(receipt.facts), "format": FORMAT, "parts": _part_fields(receipt.parts)}
    store.put(f"{receipt_prefix(receipt.output)}{receipt.shard}.json", _sealed(body))


def find_receipt(store: ObjectStore, output: OutputId, shard: str) -> Receipt | None:
    """The receipt of a finished shard, if its parts are still there; old parts are renewed.

    Renewing puts them again, so that a collection that saw them unreferenced cannot take them
    between this moment and the commit.
    """
    key = f"{receipt_prefix(output)}{shard}.json"
    try:
        receipt = parse_receipt(store.get(key), output, shard, store=store.url, key=key)
        for part in receipt.parts:
            info = store.head(part.key)
            if info.bytes != part.bytes:
                return None
            if datetime.now(UTC) - info.modified > RENEW_AFTER:
                store.put(part.key, read_part(store, part))
    except (ObjectNotFoundError, CorruptObjectError):
        return None
    return receipt


# --- bytes ----------------------------------------------------------------------------------


def dump_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON that carries its own sha256."""
    return _sealed(
        _recipe_fields(manifest.recipe)
        | {
            "bytes": manifest.bytes,
            "facts": dict(manifest.facts),
            "format": FORMAT,
            "parts": _part_fields(manifest.parts),
            "rows": manifest.rows,
        }
    )


def parse_manifest(data: bytes, *, store: str, key: str) -> Manifest:
    """Read a manifest back.

    Raises:
        CorruptObjectError: not ours, or altered since.
    """
    body = _unsealed(data, store=store, key=key)
    output = OutputId(body["asset"], body["drop"], body["space"])
    recipe = Recipe(output, body["code_version"], body["config"], body["inputs"])
    return Manifest(recipe, _parts(body), body["facts"])


def parse_receipt(data: bytes, output: OutputId, shard: str, *, store: str, key: str) -> Receipt:
    """Read a receipt back.

    Raises:
        CorruptObjectError: not ours, or altered since.
    """
    body = _unsealed(data, store=store, key=key)
    return Receipt(output, shard, _parts(body), body["facts"])


def _recipe_fields(recipe: Recipe) -> dict[str, Any]:
    output = recipe.output
    return {
        "asset": output.asset,
        "drop": output.drop,
        "space": output.space,
        "code_version": recipe.code_version,
        "config": dict(recipe.config),
        "inputs": dict(recipe.inputs),
    }


def _part_fields(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    return [
        {"key": p.key, "sha256": p.sha256, "bytes": p.bytes, "rows": p.rows}
        | ({"name": p.name} if p.name else {})
        for p in parts
    ]


def _parts(body: Mapping[str, Any]) -> tuple[Part, ...]:
    return tuple(Part(**fields) for fields in body["parts"])


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _sealed(body: dict[str, Any]) -> bytes:
    sealed = body | {"sha256": _digest(body)}
    # Indented for the person who opens it at night; still one canonical spelling.
    return json.dumps(sealed, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def _unsealed(data: bytes, *, store: str, key: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
        seal = body.pop("sha256")
        is_whole = _digest(body) == seal and body["format"] == FORMAT
    except (ValueError, KeyError, AttributeError, TypeError):
        is_whole = False
    if not is_whole:
        raise CorruptObjectError(
            f"{key!r} in store {store!r} is not what was committed ({len(data)} bytes). Materialise "
            "that output again.",
            store=store,
            key=key,
        )
    return dict(body)
