"""Parsing and checks of store addresses, server endpoints and paths."""

import contextlib
import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dino_assets.errors import ConfigError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_NAME_BYTES, _PATH_BYTES = 255, 4096  # limits of Linux's file systems
_SHOWN_LETTERS = 60
_CIRCLES = "its symbolic links form a circle"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Scheme:
    """One kind of storage address."""

    backend: str  # key of the opener in store/backends.py; it also decides the credentials
    example: str  # an example of an address, for messages
    is_bucket: bool = True
    alias_of: str | None = None  # the same servers, with other variables for the credentials


# To add a kind of storage, add a row here and an opener in store/backends.py.
SCHEMES = {
    "s3": Scheme("s3", "s3://bucket"),
    "minio": Scheme("s3", "minio://bucket", alias_of="s3"),
    "az": Scheme("azure", "az://…"),
    "memory": Scheme("memory", "memory://", is_bucket=False),
}


def find_scheme(url: str) -> Scheme | None:
    """Find the entry of ``SCHEMES`` for an address; None for a folder, a file and unknown schemes."""
    name, mark, _ = url.partition("://")
    return SCHEMES.get(name) if mark else None


def is_bucket_url(url: str) -> bool:
    """Check whether an address names a bucket (or container)."""
    scheme = find_scheme(url)
    return scheme is not None and scheme.is_bucket


def list_bucket_prefixes() -> list[str]:
    """List the prefixes of bucket addresses."""
    return [f"{name}://" for name, scheme in SCHEMES.items() if scheme.is_bucket]


def show_choices() -> str:
    """List the kinds of storage addresses, for messages."""
    *first, last = (scheme.example for scheme in SCHEMES.values() if scheme.is_bucket)
    return f"a folder, {', '.join(first)} or {last}"


@dataclass(frozen=True)
class StoreUrl:
    """A store's address in its parts."""

    scheme: str  # "" for a folder
    bucket: str
    prefix: str


def parse_url(url: str, *, what: str = "storage") -> StoreUrl:
    """Parse a store's address; messages call it ``what``.

    Raises:
        ConfigError: the scheme is unknown, the bucket's name is invalid, or there are credentials.
    """
    scheme, _, rest = url.partition("://") if "://" in url else ("file", "", url)
    if scheme == "file":
        if not rest.strip():
            raise ConfigError(f"{what} is empty: give {show_choices()}", reason="empty")
        return StoreUrl("", "", rest)
    if "@" in url or "?" in url:
        raise ConfigError(
            f"{what} {hide_secrets(url)} contains credentials or a query: remove them. Set credentials in "
            "MINIO_ACCESS_KEY and MINIO_SECRET_KEY, AWS_… or AZURE_STORAGE_CONNECTION_STRING instead",
            reason="credentials",
        )
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{what} {url!r} has the unknown scheme {scheme!r}: use {show_choices()}",
            reason="scheme",
        )
    bucket, _, prefix = rest.partition("/")
    if SCHEMES[scheme].is_bucket and not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"{what} {url!r} names the bucket {bucket!r}: expected 3 to 63 lower-case letters, "
            "digits, dots and hyphens",
            reason="bucket",
        )
    prefix = prefix.strip("/")
    if any(
        name in ("", ".", "..") or not name.isprintable() for name in prefix.split("/") if prefix
    ):
        raise ConfigError(
            f"{what} {url!r} has the prefix {prefix!r}, which no object can have. Names between "
            "slashes must be printable, and not empty, . or ..",
            reason="prefix",
        )
    return StoreUrl(scheme, bucket, prefix)


def checked_endpoint(endpoint: str | None, *, url: str) -> str | None:
    """Check that the endpoint of the store at ``url`` is an address, and return it; None stays None.

    With any other value the library obstore would crash at the first request.

    Raises:
        ConfigError: the endpoint is not an address, or contains a password.
    """
    if endpoint is None:
        return None
    if is_address(endpoint) and not re.search(r"[\s@?#]", endpoint):
        return endpoint
    raise ConfigError(
        f"storage {url!r}: the endpoint {hide_secrets(endpoint)!r} is not an address; expected "
        "http://host:port or https://host, without user and password",
        reason="endpoint",
    )


def is_address(url: str) -> bool:
    """Check whether an address has a usable scheme, host and port."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removesuffix(".")
        host.encode("idna")  # raises for labels that are empty or too long
        is_whole = bool(host) and (parts.port or 1) > 0 and parts.netloc.isprintable()
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and is_whole and " " not in parts.netloc


def hide_secrets(address: str) -> str:
    """Shorten an address for a message: leave out the text before an ``@`` or after a ``?``."""
    scheme, mark, rest = address.partition("://") if "://" in address else ("", "", address)
    head = f"{scheme if _SCHEME.fullmatch(scheme) else '…'}{mark}" if mark else ""
    if "?" in rest.rpartition("@")[0]:  # a signature with an @, or a password with a ?
        return f"{head}…"
    _, at, after = rest.rpartition("@")
    shown, query, _ = after.partition("?")
    return f"{head}{'…@' if at else ''}{shown}{'?…' if query else ''}"


def expand_path(text: str | Path) -> Path:
    """Replace ``~`` in a path that a user wrote; a relative path stays relative.

    Raises:
        ConfigError: no file can have this path, or ``~`` names an unknown user.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise _no_path(text, "there is no such user") from None
    return _checked_path(path)


def resolve_path(path: Path) -> Path:
    """Make a path absolute and follow its symbolic links; it need not exist.

    Raises:
        ConfigError: no file can have this path, or its symbolic links form a circle.
    """
    try:
        resolved = _checked_path(path).resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            resolved.stat()  # since Python 3.13 resolve() does not raise for circles
    except RuntimeError:
        raise _no_path(path, _CIRCLES) from None
    except OSError as err:
        raise _no_path(path, _CIRCLES if err.errno == errno.ELOOP else err.strerror) from None
    return resolved


def _checked_path(path: Path) -> Path:
    # Checked here, because the disk checks a name only if all parent folders exist.
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise _no_path(path, "it has characters that no file name has") from None
    if b"\0" in encoded:
        raise _no_path(path, "it has a zero byte")
    if len(encoded) >= _PATH_BYTES or any(
        len(os.fsencode(part)) > _NAME_BYTES for part in path.parts
    ):
        raise _no_path(
            path, f"it is too long (at most {_NAME_BYTES} bytes for a name, {_PATH_BYTES} in all)"
        )
    return path


def _no_path(path: str | Path, reason: str | None) -> ConfigError:
    text = str(path)
    shown = text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}…"
    return ConfigError(
        f"{shown!r} cannot be used as a path: {reason}. Choose another path.",
        value=text,
        reason="path",
    )
