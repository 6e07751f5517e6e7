"""One object store over obstore: a folder, ``s3://``, ``minio://``, ``az://`` or ``memory://``.

Only what the commit protocol needs: whole-object put and get, ranges, listing, moving, deletion.
Every error names the store, the bucket and the key as the caller spelled them (see failures.py).
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
    MissingExtraError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.settings.urls import SCHEMES, StoreUrl, checked_endpoint, parse_url
from dino_assets.store import backends
from dino_assets.store.failures import explain
from dino_assets.store.lasting import LastingFolder
from dino_assets.store.requests import Requests

# Our own keys only: portable over file systems and bucket implementations, nothing to escape.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*")


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object as a listing or a head request tells it."""

    key: str
    bytes: int
    modified: datetime
    etag: str | None = None


class ObjectStore:
    """Objects under keys, whole or absent. Made with ``open_store`` or ``ObjectStore.in_memory``."""

    chunk_bytes = 32 * 2**20  # of what is larger: put, read and hashed piece by piece
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
        # Of a folder that is not there yet: it is made when something is put, and empty until then.
        self._make_folder = make_folder
        self.url = url
        self.folder = folder  # set for local stores: the collector sweeps staging files there
        self.lasting = LastingFolder(folder) if folder else None
        self._settings = settings

    def __reduce__(self) -> tuple[Callable[[StorageSettings], "ObjectStore"], tuple[Any, ...]]:
        """Another process opens it anew: connections do not travel."""
        if self._settings is None:
            raise ConfigError(
                f"{self.url!r} lives in this process alone; use a folder or a bucket",
                setting="storage",
                value=self.url,
                reason="memory",
            )
        return open_store, (self._settings,)

    def with_limits(self, limits: RequestLimits) -> "ObjectStore":
        """The same store, with other limits where it is a bucket."""
        if self.folder is not None or self._settings is None:
            return self
        return open_store(replace(self._settings, limits=limits))

    @classmethod
    def in_memory(cls, url: str = "memory://") -> "ObjectStore":
        """A store that lives and dies with this object: for tests and dry runs."""
        return cls(MemoryStore(), url=url)

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    @property
    def is_there(self) -> bool:
        """Whether anything was ever put; of a bucket this is taken for granted."""
        return self._make_folder is None or (self.folder is not None and self.folder.is_dir())

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, is_lasting: bool = False
    ) -> None:
        """Write a whole object, atomically; with ``is_lasting`` no power cut undoes it (see ``settle``).

        Raises:
            ObjectExistsError: ``if_absent`` and the key is taken. Only local disks and servers with
                conditional PUT promise this between two writers; nothing here relies on it.
        """
        self._check_key(key)
        self._prepare(is_put=True)
        if is_lasting and self.lasting is not None:
            lasting = self.lasting
            self._requests.call("put", key, lambda _, key: lasting.put(key, data))
            return
        self._requests.put(key, data, mode="create" if if_absent else "overwrite")

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object of any size; it appears when ``chunks`` ends, and never if that raises."""
        self._check_key(key)
        self._prepare(is_put=True)
        self._requests.put_chunks(key, chunks, piece_bytes=self.chunk_bytes)

    def settle(self, keys: Iterable[str]) -> None:
        """Have objects that were put outlast a power cut: what a bucket acknowledges does."""
        if self.lasting is not None:
            lasting, wanted = self.lasting, list(keys)
            self._requests.call("put", "", lambda *_: lasting.settle(wanted))

    def get(self, key: str) -> bytes:
        """Read a whole object.

        Raises:
            ObjectNotFoundError: there is none.
        """
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str | None]:
        """Read a whole object, and the ETag of the very version that was read.

        Raises:
            ObjectNotFoundError: there is none.
        """
        self._check_foreign_key(key)
        self._prepare()
        return self._requests.get_tagged(key)

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's bytes from first to last, a few MiB at a time.

        Raises:
            ObjectNotFoundError: there is none; said when the first bytes are asked for.
        """
        self._check_foreign_key(key)
        self._prepare()
        yield from self._requests.stream(key, least_bytes=self.stream_bytes)

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read up to ``length`` bytes from ``start``, which lies inside the object."""
        if start < 0 or length < 1:
            raise ConfigError(
                f"range {start}+{length} of {key!r}: start ≥ 0 and length ≥ 1 expected",
                reason="range",
            )
        self._check_foreign_key(key)
        self._prepare()
        return self._requests.get_range(key, start=start, end=start + length)

    def head(self, key: str) -> ObjectInfo:
        """Size and time of an object.

        Raises:
            ObjectNotFoundError: there is none.
        """
        self._check_foreign_key(key)
        return _info(self._call("head", key, obstore.head))

    def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects below a prefix (whole segments), in no promised order."""
        where = prefix.strip("/") or None
        self._prepare()
        for page in self._requests.list(prefix, where):
            yield from map(_info, page)

    def list_folders(self, prefix: str = "") -> tuple[str, ...]:
        """Names of the folders directly below a prefix, sorted; what lies in them is not listed."""
        where = prefix.strip("/") or None
        listing = self._call(
            "list", prefix, lambda store, _: obstore.list_with_delimiter(store, where)
        )
        return tuple(sorted(path.rpartition("/")[2] for path in listing["common_prefixes"]))

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is fine, on every store alike."""
        self._check_key(key)
        try:
            self._call("delete", key, obstore.delete)
        except ObjectNotFoundError:
            # Only local stores report it; a bucket that does not exist is another error.
            return

    def move(self, key: str, to: str) -> None:
        """Give an object another key: at once on a local disk, elsewhere by a copy and a delete.

        Raises:
            ObjectNotFoundError: there is none.
        """
        self._check_key(to)
        self._prepare()
        self._requests.move(key, to)

    def _check_key(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            raise ConfigError(
                f"{key!r} is not a key this store writes: letters, digits and ._=- in segments "
                "joined by / are",
                reason="key",
            )

    def _check_foreign_key(self, key: str) -> None:
        # An inbox holds keys that others chose; only what no store can hold is refused.
        if any(name in ("", ".", "..") for name in key.split("/")):
            raise ConfigError(
                f"{key!r} is not a key: it has an empty or dotted segment", reason="key"
            )

    def _prepare(self, *, is_put: bool = False) -> None:
        make_folder = self._make_folder  # another thread may make it meanwhile
        if make_folder and (is_put or self.is_there):
            self._requests.backend = make_folder()
            self._make_folder = None

    def _call(self, verb: str, key: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self._prepare()
        return self._requests.call(verb, key, call, *arguments)


def open_store(settings: StorageSettings) -> ObjectStore:
    """Open the store that ``settings`` names; touches nothing. A folder is made when something is put.

    Raises:
        ConfigError: the address or the credentials cannot work.
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
        # What is not a bucket lives in this process alone: no other one can open it.
        settings=settings if scheme.is_bucket else None,
        open_for_pieces=partial(open_for, purpose="pieces") if scheme.is_bucket else None,
    )


def _open_folder(settings: StorageSettings, url: StoreUrl) -> ObjectStore:
    try:
        folder = (settings.root / Path(url.prefix).expanduser()).resolve()
    except (RuntimeError, ValueError):  # ~nobody, or a null byte
        raise ConfigError(f"storage {settings.url!r} is not a path", reason="path") from None

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
    """Whether nothing is at this path, and what is above it can be written."""
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
            f"storage {settings.url!r} is not a folder that can be made or written: "
            f"{reason.rpartition(': ')[2]}",
            store=settings.url,
        )
    raise failure


def spell_absence(store: ObjectStore) -> str:
    """Say that nothing was ever put into a store, and what that may come from."""
    return (
        f"There is no store {store.url!r} yet: nothing is at {str(store.folder)!r}. If there should be "
        "results, look at DINO_STORAGE and at the folder that you stand in."
    )


def create_bucket(settings: StorageSettings) -> bool:
    """Make the bucket of an S3 address if it is missing; True if it was made. Needs the s3 extra.

    Raises:
        ConfigError: the address is no S3 bucket.
        StoreError: the server refused.
    """
    url = parse_url(settings.url)
    if not url.scheme or SCHEMES[url.scheme].backend != "s3":
        raise ConfigError(
            f"storage {settings.url!r} is no S3 bucket; only those can be made from here",
            reason="no-bucket",
        )
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as err:
        raise MissingExtraError("Making a bucket", extra="s3") from err
    try:
        session = boto3.Session(profile_name=settings.profile)
    except BotoCoreError:
        raise ConfigError(
            f"there is no AWS profile {settings.profile!r}", reason="profile"
        ) from None
    client = session.client(
        "s3",
        endpoint_url=checked_endpoint(settings.endpoint, url=settings.url),
        region_name=settings.region or "us-east-1",
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        # Older S3 clones reject the checksums that boto3 adds by default since 1.36.
        config=Config(
            connect_timeout=settings.limits.connect_s,
            read_timeout=settings.limits.stall_s,
            retries={"total_max_attempts": min(settings.limits.retries, 5) + 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    region = settings.region
    where = {} if region in (None, "us-east-1") else {"LocationConstraint": region}
    try:
        if _has_bucket(client, url.bucket):
            return False
        client.create_bucket(
            Bucket=url.bucket, **({"CreateBucketConfiguration": where} if where else {})
        )
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        return False
    except ClientError as err:
        # The server's own words may repeat credentials: its code alone is shown.
        code = str(err.response.get("Error", {}).get("Code", ""))
        status = err.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        kind = StoreAccessError if status in (401, 403) else StoreError
        failure = kind(
            f"the bucket of {settings.url!r} cannot be made: the server says {status} {code}",
            store=settings.url,
        )
    except BotoCoreError as err:
        failure = StoreUnavailableError(
            f"the bucket of {settings.url!r} cannot be made: {err}", store=settings.url
        )
    else:
        return True
    raise failure


def _has_bucket(client: Any, bucket: str) -> bool:
    # Asked first: in us-east-1 making one's own bucket again succeeds.
    try:
        client.head_bucket(Bucket=bucket)
    except client.exceptions.ClientError as err:
        if err.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(
        key=meta["path"], bytes=meta["size"], modified=meta["last_modified"], etag=meta["e_tag"]
    )
