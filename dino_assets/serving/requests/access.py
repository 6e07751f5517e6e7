"""Access control: API keys; without keys only this machine, unless ``DINO_SERVE_OPEN`` is set."""

import hmac
import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from dino_assets.serving.problems import Problem
from dino_assets.settings.api_keys import hash_key
from dino_assets.settings.records import ApiKey, ServingSettings

_LOCAL_NAMES = ("localhost",)


def find_asker(
    headers: Mapping[str, str], *, client: str, scope: str, settings: ServingSettings
) -> str:
    """Check that a request may do what ``scope`` names; return its API key's name, empty without keys.

    If no keys are configured, only requests from this machine are allowed, unless ``DINO_SERVE_OPEN`` is set.

    Raises:
        Problem: key-needed, scope-lacking, this-machine-only, foreign-page.
    """
    _check_page(headers, settings)
    if not settings.keys:
        if not settings.is_open and not (is_loopback(client) and _names_this_machine(headers)):
            raise Problem("this-machine-only")
        return ""
    key = find_key(_read_key(headers), settings.keys)
    if key is None:
        raise Problem("key-needed")
    if scope not in key.scopes:
        allowed = ", ".join(sorted(key.scopes))
        raise Problem(
            "scope-lacking", f"the key {key.name!r} has the scopes {allowed}; {scope} is needed"
        )
    return key.name


def is_loopback(host: str) -> bool:
    """Check whether an address is this machine's own; True also for an empty one, as a Unix socket has."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("", *_LOCAL_NAMES)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _read_key(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def find_key(
    given: str,
    keys: tuple[ApiKey, ...],
    *,
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest,
) -> ApiKey | None:
    """Find the configured key that is equal to ``given``; None if there is none.

    All keys are compared, so the time that this takes reveals nothing.
    """
    hashed = hash_key(given)
    matching = [key for key in keys if compare(key.sha256, hashed)]
    return matching[0] if matching else None


def _check_page(headers: Mapping[str, str], settings: ServingSettings) -> None:
    """Refuse requests from web pages of other origins, because browsers send forms without asking first."""
    origin = headers.get("origin", "").rstrip("/")
    if not origin or origin in settings.cors_origins:
        return
    if urlsplit(origin).netloc != headers.get("host", ""):
        raise Problem(
            "foreign-page",
            f"a web page of {origin[:100]!r} sent the request, but DINO_CORS_ORIGINS does not list "
            "this origin; add it there to allow the page",
        )


def _names_this_machine(headers: Mapping[str, str]) -> bool:
    """Check whether the Host header names this machine; other names of its address do not count."""
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host)
