"""What a store's address and a server's endpoint look like, checked before anybody shows them."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from dino_assets.errors import ConfigError

SCHEMES = ("s3", "minio", "az", "memory")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class StoreUrl:
    """A store's address, taken apart."""

    scheme: str  # "" for a folder
    bucket: str
    prefix: str


def parse_url(url: str, *, what: str = "storage") -> StoreUrl:
    """Take a store's address apart; ``what`` is its name in messages.

    Raises:
        ConfigError: the scheme is unknown, the bucket's name is not one, or there are credentials.
    """
    scheme, _, rest = url.partition("://") if "://" in url else ("file", "", url)
    if scheme == "file":
        if not rest.strip():
            raise ConfigError(
                f"{what} is empty: give a folder, s3://bucket, minio://bucket or az://…"
            )
        return StoreUrl("", "", rest)
    if "@" in url or "?" in url:
        raise ConfigError(
            f"{what} {hide_secrets(url)} carries credentials or a query: give them in "
            "MINIO_ACCESS_KEY and MINIO_SECRET_KEY, AWS_… or AZURE_STORAGE_CONNECTION_STRING instead"
        )
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{what} {url!r} has the unknown scheme {scheme!r}: use a folder, s3://, minio:// or az://"
        )
    bucket, _, prefix = rest.partition("/")
    if scheme != "memory" and not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"{what} {url!r} names the bucket {bucket!r}: expected 3 to 63 lower-case letters, "
            "digits, dots and hyphens"
        )
    prefix = prefix.strip("/")
    if any(
        name in ("", ".", "..") or not name.isprintable() for name in prefix.split("/") if prefix
    ):
        raise ConfigError(f"{what} {url!r}: {prefix!r} is not a prefix that objects can have")
    return StoreUrl(scheme, bucket, prefix)


def checked_endpoint(endpoint: str | None, *, url: str) -> str | None:
    """The endpoint, if it is one: obstore panics at its first request to something else.

    Raises:
        ConfigError: it is no address, or carries a password.
    """
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_usable = is_usable and (parts.port or 1) > 0 and not re.search(r"[\s@?#]", endpoint)
    except ValueError:
        is_usable = False
    if is_usable:
        return endpoint
    # Outside the handler: urlsplit's text may repeat the password.
    raise ConfigError(
        f"storage {url!r}: the endpoint {hide_secrets(endpoint)!r} is not an address; expected "
        "http://host:port or https://host, without user and password"
    )


def hide_secrets(address: str) -> str:
    """An address for a message, without what stands before an ``@`` or after a ``?``."""
    scheme, mark, rest = address.partition("://") if "://" in address else ("", "", address)
    head = f"{scheme if _SCHEME.fullmatch(scheme) else '…'}{mark}" if mark else ""
    if "?" in rest.rpartition("@")[0]:  # a signature with an @, or a password with a ?
        return f"{head}…"
    _, at, after = rest.rpartition("@")
    shown, query, _ = after.partition("?")
    return f"{head}{'…@' if at else ''}{shown}{'?…' if query else ''}"
