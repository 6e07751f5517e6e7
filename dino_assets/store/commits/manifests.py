"""Manifests of committed outputs, and the layout of the commit protocol.

    parts/<asset>/<drop>/<sha256>.<ext>          immutable, named by content, put first
    receipts/<asset>/<space>/<drop>/<shard>.json a finished shard of an unfinished output (receipts.py)
    manifests/<asset>/<space>/<drop>.json        put last, in one request: from then on the output exists

An output is therefore absent or complete. ``_`` stands for "no space" or "all drops"; no drop's name can
start with it. A commit renames no object. Conditional PUT (write only if the key is free) is not used,
because many S3 servers implement it wrongly. ``commit`` is the only function that writes manifests; Dagster
and the commands call it.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dino_assets.errors import CorruptObjectError, NotCommittedError, ObjectNotFoundError
from dino_assets.store.commits.digests import collecting_later, list_objects, read_digested
from dino_assets.store.commits.protocol import Manifest, OutputId, Recipe
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import (
    corrupt,
    part_fields,
    read_parts,
    seal,
    unseal,
)
from dino_assets.store.objects import ObjectInfo, ObjectStore

_ENCODER = json.JSONEncoder(separators=(",", ":"))  # `json.dumps` would make one per call
_READERS = 16


def manifest_key(output: OutputId) -> str:
    """Return the key of an output's manifest."""
    return f"{manifest_prefix(output.asset, output.space)}{output.drop or '_'}.json"


def manifest_prefix(asset: str, space: str | None) -> str:
    """Return the prefix of all manifests of one asset in one space."""
    return f"manifests/{asset}/{space or '_'}/"


def read_manifest(store: ObjectStore, output: OutputId) -> Manifest:
    """Read the manifest of a committed output.

    Raises:
        NotCommittedError: the output is not committed.
        CorruptObjectError: the manifest's bytes are not what was written.
    """
    key = manifest_key(output)
    try:
        return get_manifest(store, key)
    except ObjectNotFoundError:
        raise NotCommittedError(
            f"{output} is not in store {store.url!r}. Materialise it first, in Dagster's UI or by a "
            "command such as `dino-assets run`.",
            output=str(output),
        ) from None


def find_manifest(store: ObjectStore, output: OutputId) -> Manifest | None:
    """Read the manifest of an output; return None if it is not committed."""
    try:
        return read_manifest(store, output)
    except NotCommittedError:
        return None


def list_manifests(store: ObjectStore, asset: str, space: str | None = None) -> list[Manifest]:
    """Read the manifests of all committed outputs of an asset in a space, sorted by drop.

    Raises:
        CorruptObjectError: a manifest differs from what was written.
    """
    listed = list_objects(store, manifest_prefix(asset, space))
    manifests = raise_damaged(read_listed(store, listed).values())
    # Keys are in another order: "a-1.json" comes before "a.json".
    return sorted(manifests, key=lambda manifest: manifest.recipe.output.drop or "")


def raise_damaged(manifests: Iterable[Manifest | CorruptObjectError]) -> list[Manifest]:
    """Check that no manifest is damaged, and return all of them.

    Raises:
        CorruptObjectError: a manifest differs from what was written.
    """
    sound = []
    for manifest in manifests:
        if isinstance(manifest, CorruptObjectError):
            raise manifest
        sound.append(manifest)
    return sound


def read_listed(
    store: ObjectStore, listed: Iterable[ObjectInfo], *, wanted: Collection[str] | None = None
) -> dict[str, Manifest | CorruptObjectError]:
    """Read listed manifests, most of them from digests; return them by key, a damaged one as its error.

    ``listed`` must hold all manifests of an asset, or all of an asset in one space, because new digests are
    written from it. ``wanted`` are the keys to read, by default all.
    """
    folders: dict[str, dict[str, list[ObjectInfo]]] = {}
    for info in listed:
        folders.setdefault(info.key.rpartition("/")[0], {})[info.key] = [info]

    def read_folder(folder: str) -> dict[str, Any]:
        units = folders[folder]
        keys = None if wanted is None else [key for key in units if key in wanted]
        return read_digested(store, folder, units, _get_body, wanted=keys)

    manifests: dict[str, Manifest | CorruptObjectError] = {}
    with ThreadPoolExecutor(_READERS) as pool, collecting_later():
        for bodies in pool.map(read_folder, folders):
            for key, body in bodies.items():
                is_bad = isinstance(body, CorruptObjectError)
                manifests[key] = body if is_bad else _make_manifest(body)
    return manifests


def read_manifests(store: ObjectStore, keys: Sequence[str]) -> list[Manifest]:
    """Read the manifests of ``keys``, in that order, without digests. Missing ones are left out."""

    def read(key: str) -> Manifest | None:
        try:
            return get_manifest(store, key)
        except ObjectNotFoundError:
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        return [manifest for manifest in pool.map(read, keys) if manifest is not None]


def get_manifest(store: ObjectStore, key: str) -> Manifest:
    """Read a manifest by its key.

    Raises:
        ObjectNotFoundError: it does not exist.
        CorruptObjectError: its bytes are not what was written.
    """
    return _make_manifest(_get_body(store, key))


def _get_body(store: ObjectStore, key: str) -> dict[str, Any]:
    return read_again(lambda: _parse_body(store.get(key), store=store.url, key=key))


def list_content(manifest: Manifest) -> tuple[tuple[str, int, str | None], ...]:
    """List what an output's content consists of: the sha256, rows and name of each part."""
    return tuple((part.sha256, part.rows, part.name) for part in manifest.parts)


def content_hash(manifest: Manifest) -> str:
    """Hash an output's content: equal for equal parts, even if the recipes differ."""
    return hash_content(list_content(manifest))


def hash_content(parts: Iterable[tuple[str, int, str | None]]) -> str:
    """Hash a content as ``list_content`` lists it."""
    # The same as ``digest``, but faster: it is called for thousands of drops.
    return hashlib.sha256(_ENCODER.encode(list(parts)).encode()).hexdigest()


def dump_manifest(manifest: Manifest) -> bytes:
    """Encode a manifest as JSON bytes, which include the sha256 of all other fields."""
    return seal(
        recipe_fields(manifest.recipe)
        | {
            "bytes": manifest.bytes,
            "facts": dict(manifest.facts),
            "parts": part_fields(manifest.parts),
            "rows": manifest.rows,
        }
    )


def parse_manifest(data: bytes, *, store: str, key: str) -> Manifest:
    """Parse a manifest.

    Raises:
        CorruptObjectError: it is not a manifest, was altered, or belongs to another output.
    """
    return _make_manifest(_parse_body(data, store=store, key=key))


def _parse_body(data: bytes, *, store: str, key: str) -> dict[str, Any]:
    body = unseal(data, store=store, key=key)
    try:
        output = _make_manifest(body).recipe.output
    except (KeyError, TypeError):
        raise corrupt(store=store, key=key, fault="it is not a manifest") from None
    if key != manifest_key(output):
        raise corrupt(store=store, key=key, fault=f"it is the manifest of {output}")
    return body


def _make_manifest(body: Mapping[str, Any]) -> Manifest:
    output = OutputId(body["asset"], body["drop"], body["space"])
    recipe = Recipe(output, body["code_version"], body["config"], body["inputs"])
    return Manifest(recipe, read_parts(body), body["facts"])


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """Convert a recipe to JSON fields; recipes with equal fields are equal."""
    output = recipe.output
    return {
        "asset": output.asset,
        "drop": output.drop,
        "space": output.space,
        "code_version": recipe.code_version,
        "config": dict(recipe.config),
        "inputs": dict(recipe.inputs),
    }
