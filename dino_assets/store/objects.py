"""One object store over obstore: a folder, ``s3://``, ``minio://``, ``az://`` or ``memory://``.

Only what the commit protocol needs: whole-object put and get, ranges, listing, deletion. Every error
names the store, the bucket and the key as the caller spelled them; secrets and resolved paths are
left out, which is why errors of obstore are not chained (their texts carry absolute paths).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore import exceptions as obstore_errors
from obstore import store as backends

from dino_assets.errors import (
    ConfigError,
    MissingExtraError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from dino_assets.records import StorageSettings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")

SCHEMES = ("s3", "minio", "az", "memory")
# Our own keys only: portable over file systems and bucket implementations, nothing to escape.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 60  # one attempt, a 64 MiB part over 10 Mbit/s included
MAX_RETRIES = 6
RETRY_TIMEOUT_S = 120
FILE_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object as a listing or a head request tells it."""

    key: str
    bytes: int
    modified: datetime
    etag: str | None = None


@dataclass(frozen=True)
class StoreUrl:
    """A store's address, taken apart."""

    scheme: str  # "" for a folder
    bucket: str
    prefix: str


def parse_url(url: str) -> StoreUrl:
    """Take a store's address apart.

    Raises:
        ConfigError: the scheme is unknown, or the bucket's name is not one.
    """
    if "://" not in url:
        if not url.strip():
            raise ConfigError(
                "storage is empty: give a folder, s3://bucket, minio://bucket or az://…"
            )
        return StoreUrl("", "", url)
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return StoreUrl("", "", rest)
    if scheme not in SCHEMES:
        raise ConfigError(
            f"storage {url!r} has the unknown scheme {scheme!r}: use a folder, "
            + ", ".join(f"{known}://" for known in SCHEMES)
        )
    bucket, _, prefix = rest.partition("/")
    if scheme != "memory" and not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"storage {url!r} names the bucket {bucket!r}: expected 3 to 63 lower-case letters, "
            "digits, dots and hyphens"
        )
    return StoreUrl(scheme, bucket, prefix.strip("/"))


class ObjectStore:
    """Objects under keys, whole or absent. Made with ``open_store`` or ``ObjectStore.in_memory``."""

    def __init__(self, backend: Any, *, url: str, folder: Path | None = None) -> None:
        self._backend = backend
        self.url = url
        self.folder = folder  # set for local stores: the collector sweeps staging files there

    @classmethod
    def in_memory(cls, url: str = "memory://") -> "ObjectStore":
        """A store that lives and dies with this object: for tests and dry runs."""
        return cls(backends.MemoryStore(), url=url)

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write a whole object, atomically.

        Raises:
            ObjectExistsError: ``if_absent`` and the key is taken. Only local disks and servers with
                conditional PUT promise this between two writers; nothing here relies on it.
        """
        self._check_key(key)
        mode = "create" if if_absent else "overwrite"
        # One request, so that a killed writer leaves nothing: multipart and streams are not atomic
        # on a local disk (a `name#1` stays behind).
        self._call(
            "put",
            key,
            lambda: obstore.put(self._backend, key, data, mode=mode, use_multipart=False),  # type: ignore[arg-type]
        )

    def put_file(self, key: str, path: Path) -> None:
        """Upload a local file of any size, in chunks; the object appears when the last one is in."""
        self._check_key(key)
        self._call(
            "put",
            key,
            lambda: obstore.put(
                self._backend, key, path, chunk_size=FILE_CHUNK_BYTES, max_concurrency=4
            ),
        )

    def get(self, key: str) -> bytes:
        """Read a whole object.

        Raises:
            ObjectNotFoundError: there is none.
        """
        return self._call("get", key, lambda: obstore.get(self._backend, key).bytes().to_bytes())

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read up to ``length`` bytes from ``start``."""
        if start < 0 or length < 1:
            raise ConfigError(
                f"range {start}+{length} of {key!r}: start ≥ 0 and length ≥ 1 expected"
            )
        return self._call(
            "get",
            key,
            lambda: obstore.get_range(self._backend, key, start=start, length=length).to_bytes(),
        )

    def head(self, key: str) -> ObjectInfo:
        """Size and time of an object.

        Raises:
            ObjectNotFoundError: there is none.
        """
        return _info(self._call("head", key, lambda: obstore.head(self._backend, key)))

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
        pages = self._call(
            "list",
            prefix,
            lambda: iter(obstore.list(self._backend, where, chunk_size=1000)),
        )
        while True:
            page = self._call("list", prefix, lambda: next(pages, None))
            if page is None:
                return
            for meta in page:
                yield _info(meta)

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is fine, on every store alike."""
        self._check_key(key)
        try:
            self._call("delete", key, lambda: obstore.delete(self._backend, key))
        except ObjectNotFoundError:
            # Only local stores report it; a bucket that does not exist is another error.
            return

    def _check_key(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            raise ConfigError(
                f"{key!r} is not a key this store writes: letters, digits and ._=- in segments "
                "joined by / are"
            )

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except (obstore_errors.BaseError, OSError, ValueError) as err:
            raise self._translate(err, verb, key) from None

    def _translate(self, err: Exception, verb: str, key: str) -> StoreError:
        text = str(err).partition("\n")[0].strip()
        if self.folder is not None:
            text = text.replace(str(self.folder), "…")
        where = f"{verb} {key!r} in store {self.url!r}"
        known = {"store": self.url, "key": key}
        full = str(err)
        if isinstance(err, obstore_errors.AlreadyExistsError):
            return ObjectExistsError(f"{where}: an object is there already", **known)
        if "NoSuchBucket" in full or "NoSuchContainer" in full:
            return StoreError(
                f"{where}: the bucket does not exist. Create it, or run "
                "`dino-assets doctor --create-bucket`.",
                **known,
            )
        if isinstance(err, FileNotFoundError | obstore_errors.NotFoundError):
            return ObjectNotFoundError(f"{where}: there is no such object", **known)
        if "os error 28" in full or "os error 122" in full:
            return StoreFullError(f"{where}: no space left. Free some and run again.", **known)
        if isinstance(
            err, obstore_errors.PermissionDeniedError | obstore_errors.UnauthenticatedError
        ) or any(sign in full for sign in ("os error 13)", "403 Forbidden", "401 Unauthorized")):
            return StoreAccessError(
                f"{where}: access denied. Check the credentials and what they may do ({text}).",
                **known,
            )
        if "error sending request" in full or ("after " in text and "retries" in text):
            return StoreUnavailableError(
                f"{where}: the store does not answer as it should. Is it running, and is the "
                f"endpoint right? ({text})",
                **known,
            )
        return StoreError(f"{where}: {text}", **known)


def open_store(settings: StorageSettings) -> ObjectStore:
    """Open the store that ``settings`` names; touches nothing yet, except that a folder is made.

    Raises:
        ConfigError: the address or the credentials cannot work.
    """
    url = parse_url(settings.url)
    if url.scheme == "":
        folder = (settings.root / Path(url.prefix).expanduser()).resolve()
        try:
            backend: Any = backends.LocalStore(prefix=folder, mkdir=True)
        except (obstore_errors.BaseError, OSError) as err:
            raise StoreAccessError(
                f"storage {settings.url!r} is not a folder that can be made or written: "
                f"{str(err).partition(chr(10))[0].replace(str(folder), '…')}",
                store=settings.url,
            ) from None
        return ObjectStore(backend, url=settings.url, folder=folder)
    if url.scheme == "memory":
        return ObjectStore.in_memory(settings.url)
    if url.scheme == "az":
        return ObjectStore(_open_azure(settings, url), url=settings.url)
    return ObjectStore(_open_s3(settings, url), url=settings.url)


def create_bucket(settings: StorageSettings) -> bool:
    """Make the bucket of an S3 address if it is missing; True if it was made. Needs the s3 extra.

    Raises:
        ConfigError: the address is no S3 bucket.
        StoreError: the server refused.
    """
    url = parse_url(settings.url)
    if url.scheme not in ("s3", "minio"):
        raise ConfigError(
            f"storage {settings.url!r} is no S3 bucket; only those can be made from here"
        )
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as err:
        raise MissingExtraError("Making a bucket", extra="s3") from err
    session = boto3.Session(profile_name=settings.profile)
    client = session.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region or "us-east-1",
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        # Older S3 clones reject the checksums that boto3 adds by default since 1.36.
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    region = settings.region
    where = {} if region in (None, "us-east-1") else {"LocationConstraint": region}
    try:
        client.create_bucket(
            Bucket=url.bucket, **({"CreateBucketConfiguration": where} if where else {})
        )
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        return False
    except (BotoCoreError, ClientError) as err:
        raise StoreError(
            f"the bucket of {settings.url!r} cannot be made: {err}", store=settings.url
        ) from None
    return True


def _open_s3(settings: StorageSettings, url: StoreUrl) -> Any:
    options: dict[str, Any] = {
        "endpoint": settings.endpoint,
        "region": settings.region or "us-east-1",
        "access_key_id": settings.access_key,
        "secret_access_key": settings.secret_key,
        "session_token": settings.session_token,
    }
    if bool(settings.access_key) != bool(settings.secret_key):
        missing = "secret key" if settings.access_key else "access key"
        raise ConfigError(f"storage {settings.url!r}: the {missing} is missing")
    if settings.profile and not settings.access_key:
        options["credential_provider"] = _profile_credentials(settings.profile)
    if settings.endpoint:
        # MinIO-style servers answer at one host name for all buckets.
        options["virtual_hosted_style_request"] = False
    return backends.S3Store(
        url.bucket,
        prefix=url.prefix or None,
        client_options=_client_options(allow_http=bool(settings.endpoint)),
        retry_config=_retries(),
        **{name: value for name, value in options.items() if value is not None},
    )


def _profile_credentials(profile: str) -> Any:
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as err:
        raise MissingExtraError(f"The AWS profile {profile!r}", extra="s3") from err
    return Boto3CredentialProvider(boto3.Session(profile_name=profile))


def _open_azure(settings: StorageSettings, url: StoreUrl) -> Any:
    fields = dict(
        item.split("=", 1)
        for item in (settings.azure_connection_string or "").split(";")
        if "=" in item
    )
    account, key = fields.get("AccountName"), fields.get("AccountKey")
    signature = fields.get("SharedAccessSignature")
    if not account or not (key or signature):
        raise ConfigError(
            f"storage {settings.url!r}: AZURE_STORAGE_CONNECTION_STRING carries "
            f"{', '.join(sorted(fields)) or 'no fields'}; AccountName and AccountKey (or "
            "SharedAccessSignature) are needed"
        )
    options: dict[str, Any] = {"account_name": account, "account_key": key}
    if signature:
        options = {"account_name": account, "sas_key": signature}
    if fields.get("BlobEndpoint"):
        options["endpoint"] = fields["BlobEndpoint"]
    plain = fields.get("BlobEndpoint", "").startswith("http://")
    try:
        return backends.AzureStore(
            url.bucket,
            prefix=url.prefix or None,
            client_options=_client_options(allow_http=plain),
            retry_config=_retries(),
            **options,
        )
    except (obstore_errors.BaseError, ValueError):
        raise ConfigError(
            f"storage {settings.url!r}: AZURE_STORAGE_CONNECTION_STRING cannot be used; is the "
            "AccountKey whole (base64)?"
        ) from None


def _client_options(*, allow_http: bool) -> "ClientConfig":
    return {
        "allow_http": allow_http,
        "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
    }


def _retries() -> "RetryConfig":
    return {
        "max_retries": MAX_RETRIES,
        "retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(
        key=meta["path"], bytes=meta["size"], modified=meta["last_modified"], etag=meta["e_tag"]
    )
