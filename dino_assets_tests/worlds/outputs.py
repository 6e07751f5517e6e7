"""A small output with everything an output can have, and what must be true of it at any time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from dino_assets.errors import ObjectNotFoundError
from dino_assets.store.commits import tables
from dino_assets.store.commits.manifests import manifest_key, parse_manifest
from dino_assets.store.commits.parts import put_part, read_part
from dino_assets.store.commits.protocol import (
    Draft,
    LocalFile,
    NamedBytes,
    OutputId,
    OutputWriter,
    Part,
    Receipt,
    Recipe,
)
from dino_assets.store.commits.receipts import find_receipt, write_receipt
from dino_assets.store.objects import ObjectStore

SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int64())])
OUTPUT = OutputId("things", "flight-1", "space1")
FILE_BYTES = b"a checkpoint file " * 100


def batch(numbers: list[int]) -> pa.RecordBatch:
    return pa.record_batch({"id": [f"r{n}" for n in numbers], "n": numbers}, schema=SCHEMA)


def local_file(folder: Path, content: bytes = FILE_BYTES) -> LocalFile:
    path = folder / f"{hashlib.sha256(content).hexdigest()[:8]}.bin"
    path.write_bytes(content)
    return LocalFile(path, "weights.bin", hashlib.sha256(content).hexdigest(), len(content))


def pushing(
    items: Iterable[object] | Callable[[], Iterable[object]],
) -> Callable[[OutputWriter], None]:
    """A ``produce`` that pushes these things, each by its kind; a mapping is facts."""

    def produce(out: OutputWriter) -> None:
        for item in items() if callable(items) else items:
            if isinstance(item, Mapping):
                out.facts(item)
            elif isinstance(item, Part):
                out.part(item)
            elif isinstance(item, LocalFile):
                out.local_file(item)
            elif isinstance(item, NamedBytes):
                out.file(item.name, item.data)
            else:
                out.rows(item)

    return produce


def rows_draft(
    numbers: list[int], *, output: OutputId = OUTPUT, version: str = "1", **config: object
) -> Draft:
    """Just rows."""
    return Draft(
        Recipe(output, version, config, {"drop": "f00d"}), pushing([batch(numbers)]), SCHEMA
    )


def full_draft(store: ObjectStore, file: LocalFile, *, version: str = "1") -> Draft:
    """Rows for three parts (with two rows per part), a shard with its receipt, a file, facts."""

    def produce() -> Iterator[pa.RecordBatch | object]:
        yield batch([1, 2, 3])
        shard = f"shard-{version}"
        receipt = find_receipt(store, OUTPUT, shard)
        if receipt is None:
            table = pa.Table.from_batches([batch([90, 91])]).replace_schema_metadata({"v": version})
            ((piece, data),) = tables.encode(table)
            part = put_part(store, OUTPUT, data, rows=piece.num_rows)
            receipt = Receipt(OUTPUT, shard, (part,), {"seen": 2})
            write_receipt(store, receipt)
        yield from receipt.parts
        yield {"seen": 7}
        yield file
        yield batch([4, int(version) * 10])

    recipe = Recipe(OUTPUT, version, {"side": 518}, {"drop": "f00d"})
    return Draft(recipe, pushing(produce), SCHEMA)


def snapshot(store: ObjectStore, output: OutputId = OUTPUT) -> dict[str, bytes] | None:
    """All bytes of a committed output, each part verified; None while there is none."""
    key = manifest_key(output)
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        return None
    manifest = parse_manifest(data, store=store.url, key=key)
    return {key: data} | {part.key: read_part(store, part) for part in manifest.parts}


def contents(store: ObjectStore) -> dict[str, bytes]:
    """Every object, by key."""
    return {info.key: store.get(info.key) for info in store.list()}


def restore(store: ObjectStore, objects: dict[str, bytes]) -> None:
    """Put a store back to what ``contents`` saw, every object put again and the others deleted."""
    for info in list(store.list()):
        if info.key not in objects:
            store.delete(info.key)
    for key, data in objects.items():
        store.put(key, data)


def wipe(store: ObjectStore) -> None:
    for info in list(store.list()):
        store.delete(info.key)
