"""Object store over obstore: a folder, ``s3://``, ``minio://``, ``az://`` or ``memory://``.

It has only what the commit protocol needs: put and get of whole objects, ranges, listing, moving, deletion.
Every error names the store, the bucket and the key as the caller wrote them (see failures.py).
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions as obstore_errors
from obstore.store import LocalStore, MemoryStore

from dino_assets.errors import (
    ConfigError,
    ObjectNotFoundError,
    StoreAccessError,
)
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.settings.urls import SCHEMES, StoreUrl, parse_url
from dino_assets.store import backends
from dino_assets.store.failures import explain
from dino_assets.store.lasting import LastingFolder
from dino_assets.store.requests import Requests

# Keys that this package writes: valid on every file system and bucket, without escaping.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*")


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object, as described by a listing or a head request."""

    key: str
    bytes: int
    modified: datetime
    etag: str | None = None


class ObjectStore:
    """A store of objects by key; each object is complete or absent.

    ``open_store`` and ``ObjectStore.in_memory`` make such a store.
    """

    chunk_bytes = 32 * 2**20  # larger objects are put, read and hashed in pieces of this size
    stream_bytes = 2**20
    _settings: StorageSettings | None = None

    def __init__(
        self,
        backend: Any,
        *,
        url: str,
        folder: Path | None = None,
        settings: StorageSettings | None = None,
        make_folder: Callable[[], Any] | None = None,
        open_for_pieces: Callable[[], Any] | None = None,
    ) -> None:
        self._requests = Requests(
            backend,
            url=url,
            is_local=folder is not None,
            limits=settings.limits if settings and folder is None else None,
            open_for_pieces=open_for_pieces,
        )
        # Set while the store's folder does not exist: the first put makes it.
        self._make_folder = make_folder
        self.url = url
        self.folder = folder  # set for local stores: the collector deletes staging files there
        self.lasting = LastingFolder(folder) if folder else None
        self._settings = settings

    def __reduce__(self) -> tuple[Callable[[StorageSettings], "ObjectStore"], tuple[Any, ...]]:
        """Pickle only the settings: the other process opens its own connections."""
        if self._settings is None:
            raise ConfigError(
                f"{self.url!r} exists only in this process. Use a folder or a bucket as the store.",
                setting="storage",
                value=self.url,
                reason="memory",
            )
        return open_store, (self._settings,)

    def with_limits(self, limits: RequestLimits) -> "ObjectStore":
        """Open the same bucket with other time limits; return a folder unchanged."""
        if self.folder is not None or self._settings is None:
            return self
        return open_store(replace(self._settings, limits=limits))

    @classmethod
    def in_memory(cls, url: str = "memory://") -> "ObjectStore":
        """Make an empty store in memory, for tests and dry runs."""
        return cls(MemoryStore(), url=url)

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    @property
    def is_there(self) -> bool:
        """Whether the store's folder exists. Always True for a bucket."""
        return self._make_folder is None or (self.folder is not None and self.folder.is_dir())

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, is_lasting: bool = False
    ) -> None:
        """Write a whole object, atomically. With ``is_lasting`` it survives a power cut on a local disk.

        Raises:
            ObjectExistsError: ``if_absent`` is set and the key exists. If two writers put at the same time,
                only local disks and servers with conditional PUT guarantee this error. The commit protocol
                does not rely on it.
        """
        self._check_key(key)
        self._prepare(is_put=True)
        if is_lasting and self.lasting is not None:
            lasting = self.lasting
            self._requests.call("put", key, lambda _, key: lasting.put(key, data))
            return
        self._requests.put(key, data, mode="create" if if_absent else "overwrite")

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object of any size. It appears when ``chunks`` ends, and never if ``chunks`` raises."""
        self._check_key(key)
        self._prepare(is_put=True)
        self._requests.put_chunks(key, chunks, piece_bytes=self.chunk_bytes)

    def settle(self, keys: Iterable[str]) -> None:
        """Flush objects to a local disk, so that they survive a power cut. Do nothing for a bucket."""
        if self.lasting is not None:
            lasting, wanted = self.lasting, list(keys)
            self._requests.call("put", "", lambda *_: lasting.settle(wanted))

    def get(self, key: str) -> bytes:
        """Read a whole object.

        Raises:
            ObjectNotFoundError: it does not exist.
        """
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str | None]:
        """Read a whole object and the ETag of the version that was read.

        Raises:
            ObjectNotFoundError: it does not exist.
        """
        self._check_foreign_key(key)
        self._prepare()
        return self._requests.get_tagged(key)

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes in order, a few MiB at a time.

        Raises:
            ObjectNotFoundError: it does not exist. Raised with the first ``next``, not by the call.
        """
        self._check_foreign_key(key)
        self._prepare()
        yield from self._requests.stream(key, least_bytes=self.stream_bytes)

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read ``length`` bytes of an object from ``start``, or fewer if the object ends before.

        ``start`` must be less than the object's size.
        """
        if start < 0 or length < 1:
            raise ConfigError(
                f"range start={start}, length={length} of {key!r}: start ≥ 0 and length ≥ 1 are expected",
                reason="range",
            )
        self._check_foreign_key(key)
        self._prepare()
        return self._requests.get_range(key, start=start, end=start + length)

    def head(self, key: str) -> ObjectInfo:
        """Read the size, time and ETag of an object.

        Raises:
            ObjectNotFoundError: it does not exist.
        """
        self._check_foreign_key(key)
        return _info(self._call("head", key, obstore.head))

    def exists(self, key: str) -> bool:
        """Check whether an object exists."""
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List all objects below a prefix, in no particular order; ``a/b`` does not match ``a/bc``."""
        where = prefix.strip("/") or None
        self._prepare()
        for page in self._requests.list(prefix, where):
            yield from map(_info, page)

    def list_folders(self, prefix: str = "") -> tuple[str, ...]:
        """List the names of the folders directly below a prefix, sorted, without their contents."""
        where = prefix.strip("/") or None
        listing = self._call(
            "list", prefix, lambda store, _: obstore.list_with_delimiter(store, where)
        )
        return tuple(sorted(path.rpartition("/")[2] for path in listing["common_prefixes"]))

    def delete(self, key: str) -> None:
        """Delete an object. Do nothing if it does not exist, on every kind of store."""
        self._check_key(key)
        try:
            self._call("delete", key, obstore.delete)
        except ObjectNotFoundError:
            # Only local stores report a missing object; a missing bucket is another error.
            return

    def move(self, key: str, to: str) -> None:
        """Rename an object: in one step on a local disk, in a bucket by copying and deleting.

        Raises:
            ObjectNotFoundError: it does not exist.
        """
        self._check_key(to)
        self._prepare()
        self._requests.move(key, to)

    def _check_key(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            raise ConfigError(
                f"key {key!r} cannot be written: expected segments of letters, digits and ._=- "
                "joined by /, each beginning with a letter, a digit or _",
                reason="key",
            )

    def _check_foreign_key(self, key: str) -> None:
        # Other programs chose the keys in an inbox: refuse only keys that no store can hold.
        if any(name in ("", ".", "..") for name in key.split("/")):
            raise ConfigError(
                f"key {key!r} has a segment that is empty, '.' or '..': no store can hold such a key",
                reason="key",
            )

    def _prepare(self, *, is_put: bool = False) -> None:
        make_folder = self._make_folder  # read once: another thread may set it to None
        if make_folder and (is_put or self.is_there):
            self._requests.backend = make_folder()
            self._make_folder = None

    def _call(self, verb: str, key: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self._prepare()
        return self._requests.call(verb, key, call, *arguments)


def open_store(settings: StorageSettings) -> ObjectStore:
    """Open the store that ``settings`` names, without a request. The first put makes a missing folder.

    Raises:
        ConfigError: the address or the credentials are invalid.
        StoreAccessError: the folder can neither be opened nor made.
    """
    url = parse_url(settings.url)
    if url.scheme == "":
        return _open_folder(settings, url)
    scheme = SCHEMES[url.scheme]
    open_for = partial(
        backends.OPENERS[scheme.backend], settings, bucket=url.bucket, prefix=url.prefix
    )
    return ObjectStore(
        open_for(purpose="requests"),
        url=settings.url,
        # memory:// exists only in this process, so other processes cannot open it.
        settings=settings if scheme.is_bucket else None,
        open_for_pieces=partial(open_for, purpose="pieces") if scheme.is_bucket else None,
    )


def _open_folder(settings: StorageSettings, url: StoreUrl) -> ObjectStore:
    try:
        folder = (settings.root / Path(url.prefix).expanduser()).resolve()
    except (RuntimeError, ValueError):  # an unknown ~user, or a null byte
        raise ConfigError(
            f"storage {settings.url!r} is not a path: its ~user is unknown, or it has a null byte",
            reason="path",
        ) from None

    def make_folder() -> LocalStore:
        return _make_folder(settings, folder)

    if _can_be_made(folder):
        return ObjectStore(
            MemoryStore(),
            url=settings.url,
            folder=folder,
            settings=settings,
            make_folder=make_folder,
        )
    return ObjectStore(make_folder(), url=settings.url, folder=folder, settings=settings)


def _can_be_made(folder: Path) -> bool:
    """Check whether the path is free and its nearest existing parent is writable."""
    if os.path.lexists(folder):
        return False
    above = next((path for path in folder.parents if os.path.lexists(path)), folder)
    return above.is_dir() and os.access(
        above, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
    )


def _make_folder(settings: StorageSettings, folder: Path) -> LocalStore:
    try:
        return LocalStore(prefix=folder, mkdir=True)
    except (obstore_errors.BaseError, OSError) as err:
        reason = str(explain(err, verb="open", key="", store=settings.url, is_local=True))
        failure = StoreAccessError(
            f"storage {settings.url!r} cannot be made or written as a folder: "
            f"{reason.rpartition(': ')[2]}",
            store=settings.url,
        )
    raise failure


def describe_missing_store(store: ObjectStore) -> str:
    """Write the message for a local store that does not exist, with advice."""
    return (
        f"There is no store {store.url!r} yet: nothing is at {str(store.folder)!r}. If you expected "
        "results, check DINO_STORAGE and the working directory."
    )


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(
        key=meta["path"], bytes=meta["size"], modified=meta["last_modified"], etag=meta["e_tag"]
    )
