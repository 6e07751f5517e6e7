"""The commit protocol: an output is absent or complete.

    parts/<asset>/<drop>/<sha256>.<ext>          immutable, named by content, put first
    receipts/<asset>/<space>/<drop>/<shard>.json a finished shard of an unfinished output (receipts.py)
    manifests/<asset>/<space>/<drop>.json        put last, in one request: now the output exists

``_`` stands for "no space" and "not per drop" (no drop's name can start with it). Nothing is renamed
and nothing relies on conditional PUT, which many S3 servers get wrong. ``commit`` is the only
function that writes manifests, in Dagster, the CLI and the service alike.
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

_READERS = 16


def manifest_key(output: OutputId) -> str:
    """Where an output's manifest lives."""
    return f"{manifest_prefix(output.asset, output.space)}{output.drop or '_'}.json"


def manifest_prefix(asset: str, space: str | None) -> str:
    """Where all manifests of one asset in one space live."""
    return f"manifests/{asset}/{space or '_'}/"


def read_manifest(store: ObjectStore, output: OutputId) -> Manifest:
    """The manifest of a committed output.

    Raises:
        NotCommittedError: nobody has made it.
        CorruptObjectError: its bytes are not what was written.
    """
    key = manifest_key(output)
    try:
        return get_manifest(store, key)
    except ObjectNotFoundError:
        raise NotCommittedError(
            f"{output} is not in store {store.url!r}. Materialise it first.", output=str(output)
        ) from None


def find_manifest(store: ObjectStore, output: OutputId) -> Manifest | None:
    """The manifest of an output, or None when there is none."""
    try:
        return read_manifest(store, output)
    except NotCommittedError:
        return None


def list_manifests(store: ObjectStore, asset: str, space: str | None = None) -> list[Manifest]:
    """All committed outputs of an asset in a space, sorted by drop.

    Raises:
        CorruptObjectError: one of them is not what was written.
    """
    listed = list_objects(store, manifest_prefix(asset, space))
    manifests = raise_damaged(read_listed(store, listed).values())
    # Not in the order of keys: "a-1.json" comes before "a.json".
    return sorted(manifests, key=lambda manifest: manifest.recipe.output.drop or "")


def raise_damaged(manifests: Iterable[Manifest | CorruptObjectError]) -> list[Manifest]:
    """Give manifests that were read, all of them sound.

    Raises:
        CorruptObjectError: one of them is not what was written.
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
    """Read manifests that were listed, many of them from digests; a damaged one is its error.

    ``listed`` are all of an asset's, or of an asset's in a space; by default all are wanted.
    """
    folders: dict[str, dict[str, list[ObjectInfo]]] = {}
    for info in listed:
        folders.setdefault(info.key.rpartition("/")[0], {})[info.key] = [info]

    def read_folder(folder: str) -> dict[str, Any]:
        units = folders[folder]
        asked = None if wanted is None else [key for key in units if key in wanted]
        return read_digested(store, folder, units, _get_body, wanted=asked)

    manifests: dict[str, Manifest | CorruptObjectError] = {}
    with ThreadPoolExecutor(_READERS) as pool, collecting_later():
        for bodies in pool.map(read_folder, folders):
            for key, body in bodies.items():
                is_bad = isinstance(body, CorruptObjectError)
                manifests[key] = body if is_bad else _make_manifest(body)
    return manifests


def read_manifests(store: ObjectStore, keys: Sequence[str]) -> list[Manifest]:
    """Manifests by key, in order, each read itself; those deleted in the meantime are left out."""

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
        ObjectNotFoundError: there is none.
        CorruptObjectError: its bytes are not what was written.
    """
    return _make_manifest(_get_body(store, key))


def _get_body(store: ObjectStore, key: str) -> dict[str, Any]:
    return read_again(lambda: _parse_body(store.get(key), store=store.url, key=key))


def content_hash(manifest: Manifest) -> str:
    """Identity of an output's content: equal for equal parts, whatever recipe led there."""
    parts = [[part.sha256, part.rows, part.name] for part in manifest.parts]
    # What ``digest`` gives: lists have one spelling, and of thousands of drops it is asked for each.
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def dump_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON that carries its own sha256."""
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
    """Read a manifest back.

    Raises:
        CorruptObjectError: not ours, altered since, or of another output.
    """
    return _make_manifest(_parse_body(data, store=store, key=key))


def _parse_body(data: bytes, *, store: str, key: str) -> dict[str, Any]:
    body = unseal(data, store=store, key=key)
    try:
        output = _make_manifest(body).recipe.output
    except (KeyError, TypeError):
        raise corrupt(store=store, key=key, fault="it is no manifest") from None
    if key != manifest_key(output):
        raise corrupt(store=store, key=key, fault=f"it is the manifest of {output}")
    return body


def _make_manifest(body: Mapping[str, Any]) -> Manifest:
    output = OutputId(body["asset"], body["drop"], body["space"])
    recipe = Recipe(output, body["code_version"], body["config"], body["inputs"])
    return Manifest(recipe, read_parts(body), body["facts"])


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """Give a recipe as JSON fields, which two recipes are compared by."""
    output = recipe.output
    return {
        "asset": output.asset,
        "drop": output.drop,
        "space": output.space,
        "code_version": recipe.code_version,
        "config": dict(recipe.config),
        "inputs": dict(recipe.inputs),
    }
