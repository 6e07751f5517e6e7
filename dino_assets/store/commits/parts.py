"""Parts: immutable objects named by their sha256, which every read verifies."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dino_assets.errors import CommitRefusedError, CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.protocol import LocalFile, OutputId, Part
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.objects import ObjectStore


def part_key(output: OutputId, sha256: str, suffix: str) -> str:
    """Return the key of a part with this content."""
    return f"parts/{output.asset}/{output.drop or '_'}/{sha256}{suffix}"


def put_part(
    store: ObjectStore, output: OutputId, data: bytes, *, rows: int, suffix: str = ".parquet"
) -> Part:
    """Put one part under a key that contains its sha256."""
    sha256 = hashlib.sha256(data).hexdigest()
    key = part_key(output, sha256, suffix)
    store.put(key, data)
    return Part(key, sha256, len(data), rows)


def describe_file(folder: Path, name: str) -> LocalFile:
    """Describe a finished file for the store: path, name, sha256 and size."""
    with (folder / name).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return LocalFile(folder / name, name, sha256, (folder / name).stat().st_size)


def put_local_file(store: ObjectStore, output: OutputId, file: LocalFile) -> Part:
    """Put a local file under a key that contains its sha256, reading it once.

    Raises:
        CommitRefusedError: the file changed or vanished since it was hashed. Nothing is stored then.
    """
    key = part_key(output, file.sha256, Path(file.name).suffix)
    try:
        with file.path.open("rb") as opened:
            chunks = _checked_chunks(opened, file, store.chunk_bytes)
            if file.bytes <= store.chunk_bytes:
                store.put(key, b"".join(chunks))
            else:
                store.put_chunks(key, chunks)
    except FileNotFoundError:
        raise CommitRefusedError(
            f"{output}: file {file.name!r} vanished before it was stored. Run again.",
            reason="vanished",
            file=file.name,
        ) from None
    return Part(key, file.sha256, file.bytes, name=file.name)


def _checked_chunks(opened: BinaryIO, file: LocalFile, chunk_bytes: int) -> Iterator[bytes]:
    read = hashlib.sha256()
    while chunk := opened.read(chunk_bytes):
        read.update(chunk)
        yield chunk
    if read.hexdigest() != file.sha256 or opened.tell() != file.bytes:
        raise CommitRefusedError(
            f"file {file.name!r} changed while it was being stored. Run again.",
            reason="changed",
            file=file.name,
        )


def read_part(store: ObjectStore, part: Part) -> bytes:
    """Read a part and verify its sha256.

    Raises:
        CorruptObjectError: it is missing, or its sha256 is not the committed one.
    """
    return read_again(lambda: _read_part(store, part))


def _read_part(store: ObjectStore, part: Part) -> bytes:
    try:
        data = store.get(part.key)
    except ObjectNotFoundError:
        raise _missing_error(store, part) from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != part.sha256:
        raise _altered_error(store, part, sha256)
    return data


def verify_part(store: ObjectStore, part: Part) -> None:
    """Verify the sha256 of a part of any size, in constant memory.

    Raises:
        CorruptObjectError: it is missing, or its sha256 is not the committed one.
    """
    read_again(lambda: deque(_verified_chunks(store, part), maxlen=0))


def fetch_part(store: ObjectStore, part: Part, path: Path) -> None:
    """Copy a part of any size to a local file, in constant memory, and verify its sha256.

    Raises:
        CorruptObjectError: it is missing, or its sha256 is not the committed one; the file is deleted.
    """

    def fetch() -> None:
        with path.open("wb") as file:
            file.writelines(_verified_chunks(store, part))
            file.flush()
            os.fsync(file.fileno())

    try:
        read_again(fetch)
    except CorruptObjectError:
        path.unlink()
        raise


def _verified_chunks(store: ObjectStore, part: Part) -> Iterator[bytes]:
    """Yield a part's bytes in chunks; after the last one, raise if the sha256 is not the committed one."""
    read = hashlib.sha256()
    try:
        # In ranges: one request for a whole checkpoint would exceed its time limit.
        for start in range(0, store.head(part.key).bytes, store.chunk_bytes):
            chunk = store.get_range(part.key, start=start, length=store.chunk_bytes)
            read.update(chunk)
            yield chunk
    except ObjectNotFoundError:
        raise _missing_error(store, part) from None
    if read.hexdigest() != part.sha256:
        raise _altered_error(store, part, read.hexdigest())


def _missing_error(store: ObjectStore, part: Part) -> CorruptObjectError:
    return CorruptObjectError(
        f"part {part.key!r} of a committed output is missing in store {store.url!r}. If a run has just "
        "replaced the output, open its table again. Otherwise materialise the output again.",
        store=store.url,
        key=part.key,
        is_gone=True,
    )


def _altered_error(store: ObjectStore, part: Part, sha256: str) -> CorruptObjectError:
    name = f" (file {part.name!r})" if part.name else ""
    return CorruptObjectError(
        f"part {part.key!r}{name} in store {store.url!r} has sha256 {sha256[:16]}…, but {part.sha256[:16]}… "
        "was committed. Run `dino-assets verify --repair`, then materialise its output again.",
        store=store.url,
        key=part.key,
        sha256=sha256,
    )


def is_there(store: ObjectStore, part: Part) -> bool:
    """Check whether a part is in the store with its full size."""
    try:
        return store.head(part.key).bytes == part.bytes
    except ObjectNotFoundError:
        return False
