"""Sealed JSON objects, which hold their own sha256, such as manifests, receipts and records of drops."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.protocol import Part

FORMAT = 1


def is_json(key: str) -> bool:
    """Check whether a key names a JSON object; hidden files such as ``._flight-1.json`` do not count."""
    return key.endswith(".json") and not key.rpartition("/")[2].startswith(".")


def part_fields(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    """Convert parts to JSON fields."""
    return [
        {"key": p.key, "sha256": p.sha256, "bytes": p.bytes, "rows": p.rows}
        | ({"name": p.name} if p.name else {})
        for p in parts
    ]


def read_parts(body: Mapping[str, Any]) -> tuple[Part, ...]:
    """Read parts from the JSON fields of a manifest or receipt."""
    return tuple(Part(**fields) for fields in body["parts"])


def canonical(value: Any) -> bytes:
    """Encode a JSON value so that equal values give equal bytes.

    Raises:
        TypeError, ValueError: JSON cannot hold the value.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def digest(value: Any) -> str:
    """Compute the sha256 of a JSON value; equal values have equal hashes."""
    return hashlib.sha256(canonical(value)).hexdigest()


def seal(body: Mapping[str, Any]) -> bytes:
    """Encode a body as indented JSON, with the number of this format and the body's sha256."""
    plain = _plain(dict(body) | {"format": FORMAT})
    sealed = plain | {"sha256": digest(plain)}
    return json.dumps(sealed, sort_keys=True, indent=1).encode() + b"\n"


def unseal(data: bytes, *, store: str, key: str) -> dict[str, Any]:
    """Read back the body that ``seal`` wrote.

    Raises:
        CorruptObjectError: at least one byte is not what ``seal`` wrote.
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
            fault=f"its {len(data)} bytes do not match the sha256 that it holds",
            sha256=hashlib.sha256(data).hexdigest(),
        )
    return body


def read_sealed(data: bytes, *, store: str, key: str) -> Any:
    """Read the JSON value of a sealed object, or of one that an earlier version wrote without sha256.

    Raises:
        CorruptObjectError: it does not match its own sha256, or is not JSON.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = {"sha256": ""}
    # Either name shows that the object is sealed: a flipped bit may have damaged the other one.
    if isinstance(value, dict) and not value.keys().isdisjoint({"format", "sha256"}):
        value = unseal(data, store=store, key=key)
        del value["format"]
    return value


def corrupt(*, store: str, key: str, fault: str, sha256: str = "") -> CorruptObjectError:
    """Make the error for a sealed object that is damaged, or that lies under another object's key."""
    return CorruptObjectError(
        f"{key!r} in store {store!r} is not what was committed: {fault}. Run `dino-assets verify "
        "--repair`, then materialise its output again.",
        store=store,
        key=key,
        sha256=sha256,
    )


def _plain(value: Any) -> Any:
    # Convert keys to strings before sorting: 2 < 10, but "10" < "2".
    return json.loads(json.dumps(value, allow_nan=False))
