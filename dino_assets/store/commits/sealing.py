"""Canonical JSON that carries its own sha256: what manifests, receipts and records of drops are written in."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.protocol import Part

FORMAT = 1


def is_json(key: str) -> bool:
    """Tell ours from what a file manager leaves (.DS_Store, ._flight-1.json)."""
    return key.endswith(".json") and not key.rpartition("/")[2].startswith(".")


def part_fields(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    """Parts as JSON."""
    return [
        {"key": p.key, "sha256": p.sha256, "bytes": p.bytes, "rows": p.rows}
        | ({"name": p.name} if p.name else {})
        for p in parts
    ]


def read_parts(body: Mapping[str, Any]) -> tuple[Part, ...]:
    """Parts from JSON."""
    return tuple(Part(**fields) for fields in body["parts"])


def canonical(value: Any) -> bytes:
    """One spelling for equal JSON values.

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def digest(value: Any) -> str:
    """sha256 of a JSON value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def seal(body: Mapping[str, Any]) -> bytes:
    """A body with its format and its sha256, indented for the person who opens it at night."""
    plain = _plain(dict(body) | {"format": FORMAT})
    sealed = plain | {"sha256": digest(plain)}
    return json.dumps(sealed, sort_keys=True, indent=1).encode() + b"\n"


def unseal(data: bytes, *, store: str, key: str) -> dict[str, Any]:
    """The body that ``seal`` was given.

    Raises:
        CorruptObjectError: a single byte is not what ``seal`` wrote.
    """
    try:
        body: dict[str, Any] = json.loads(data)
        del body["sha256"]
        is_whole = body["format"] == FORMAT and seal(body) == data
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise corrupt(
            store=store,
            key=key,
            fault=f"{len(data)} bytes that were not written here",
            sha256=hashlib.sha256(data).hexdigest(),
        )
    return body


def read_sealed(data: bytes, *, store: str, key: str) -> Any:
    """The JSON value of an object that is sealed, or that an earlier version wrote without a seal.

    Raises:
        CorruptObjectError: it is sealed and not what was written, or no JSON.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = {"sha256": ""}
    # Either is enough: one flipped bit may be in the name of the other.
    if isinstance(value, dict) and not value.keys().isdisjoint({"format", "sha256"}):
        value = unseal(data, store=store, key=key)
        del value["format"]
    return value


def corrupt(*, store: str, key: str, fault: str, sha256: str = "") -> CorruptObjectError:
    """The error for a manifest or receipt that is not what was committed."""
    return CorruptObjectError(
        f"{key!r} in store {store!r} is not what was committed: {fault}. Run `dino-assets verify "
        "--repair`, then materialise that output again.",
        store=store,
        key=key,
        sha256=sha256,
    )


def _plain(value: Any) -> Any:
    # Twice through JSON: it turns keys into strings, and 2 < 10 but "10" < "2" when they are sorted.
    return json.loads(json.dumps(value, allow_nan=False))
