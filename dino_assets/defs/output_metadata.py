"""What Dagster shows of a committed output: its facts, how it was made, and what this run did."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dino_assets.store.commits.catalogue import PREVIEW
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Committed, Part
from dino_assets.store.objects import ObjectStore

MADE_IN = "made_in_run"
# True of one run alone: never carried over to the event of an output that is reused.
OF_ONE_RUN = frozenset({"was_reused", "run_s", "unmade"})


def describe(name: str, committed: Committed) -> str:
    """One log line for one committed output."""
    manifest = committed.manifest
    size = f"{manifest.rows} rows, " if manifest.rows else ""
    parts = len(manifest.parts)
    size += f"{_size(manifest.bytes)} in {parts} {'part' if parts == 1 else 'parts'}"
    if committed.was_reused:
        return f"{name}: reused, {size}"
    return (
        f"{name}: committed, {size}, {committed.seconds:.2f} s (read {committed.read_s:.2f}, compute "
        f"{committed.compute_s:.2f}, write {committed.write_s:.2f}; summed over threads)"
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def metadata_of(store: ObjectStore, committed: Committed, *, run_id: str) -> dict[str, Any]:
    """What an operator wants to see about an output, for the UI."""
    manifest = committed.manifest
    values: dict[str, Any] = {
        **({"dagster/row_count": manifest.rows} if manifest.rows else {}),
        "stored_bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "was_reused": committed.was_reused,
        "run_s": round(committed.seconds, 3),
        "manifest": manifest_key(manifest.recipe.output),
        "store": store.url,
        "config": dict(manifest.recipe.config),
        "inputs": dict(manifest.recipe.inputs),
    }
    if not committed.was_reused:
        values |= {
            "seconds": round(committed.seconds, 3),
            "read_s": round(committed.read_s, 3),
            "compute_s": round(committed.compute_s, 3),
            "write_s": round(committed.write_s, 3),
        }
        if manifest.rows:
            values["rows_per_s"] = round(manifest.rows / max(committed.seconds, 1e-9), 1)
        values |= committed.metadata
        values[MADE_IN] = dg.MetadataValue.dagster_run(run_id)
    shown = [part for part in manifest.parts if part.name and "/" not in part.name]
    files = {str(part.name): _place(store, part) for part in shown if part.name != PREVIEW}
    preview = [part for part in shown if part.name == PREVIEW]
    facts = {name: value for name, value in manifest.facts.items() if value is not None}
    # Dagster keeps the order: what must be seen first, what it is, how it was made, what is long.
    first = {"caveat": facts["caveat"]} if "caveat" in facts else {}
    if preview:
        first["preview"] = _inline(store, preview[0])
    described = {name: value for name, value in (facts | values).items() if not _is_empty(value)}
    long = {name: value for name, value in described.items() if isinstance(value, dict | list)}
    short = {name: value for name, value in described.items() if name not in long}
    return first | short | files | long


def carry_over(run_id: str, made: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the metadata of a reused output what an earlier event says of how it was made.

    So every event of an output has all of its numbers, and a plot over time has no holes. What is true
    of one run alone is never carried over.
    """
    carried = {name: value for name, value in made.items() if name not in OF_ONE_RUN}
    carried.setdefault(MADE_IN, dg.MetadataValue.dagster_run(run_id))
    missing = {name: value for name, value in carried.items() if name not in values}
    long = {name: value for name, value in values.items() if isinstance(value, dict | list)}
    return {**values, **missing, **long}


def _is_empty(value: Any) -> bool:
    """Tell a value that would be an empty row; zero and false are answers."""
    return value is None or (isinstance(value, str | dict | list | tuple) and not value)


def _place(store: ObjectStore, part: Part) -> dg.MetadataValue:
    if store.folder is not None:
        return dg.MetadataValue.path(str(store.folder / part.key))
    return dg.MetadataValue.text(f"{store.url}/{part.key}")


def _inline(store: ObjectStore, part: Part) -> dg.MetadataValue:
    # Small on purpose: an inline picture of 200 KB costs 1 MB of SQLite per materialisation.
    picture = base64.b64encode(read_part(store, part)).decode()
    return dg.MetadataValue.md(f"![preview](data:image/png;base64,{picture})")
