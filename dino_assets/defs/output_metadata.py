"""What Dagster shows of a committed output: its facts, how it was made, and what this run did."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dino_assets.defs.file_links import SMALL, link_to
from dino_assets.drawing.thumbnails import THUMBNAIL_MAX_BYTES, draw_thumbnail
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.catalogue import PICTURES, PREVIEW
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Committed, Manifest, OutputId, Part
from dino_assets.store.objects import ObjectStore

MAX_VALUE_BYTES = 4_000  # of one list or mapping: SQLite holds an event twice
MADE_IN = "made_in_run"
# True of one run alone: never carried over to the event of an output that is reused.
OF_ONE_RUN = frozenset({"was_reused", "run_s", "unmade"})


def describe(name: str, committed: Committed) -> str:
    """One log line for one committed output."""
    manifest = committed.manifest
    size = f"{manifest.rows} rows, " if manifest.rows else ""
    size += f"{spell_size(manifest.bytes)} in {_count_parts(manifest)}"
    if committed.was_reused:
        return f"{name}: reused, {size}"
    return (
        f"{name}: committed, {size}, {committed.seconds:.2f} s (read {committed.read_s:.2f}, compute "
        f"{committed.compute_s:.2f}, write {committed.write_s:.2f}; summed over threads)"
    )


def spell_size(count: int) -> str:
    """A number of bytes as people read it: ``12.3 MB``."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _count_parts(manifest: Manifest) -> str:
    count = len(manifest.parts)
    return f"{count} {'part' if count == 1 else 'parts'}"


def _is_table(manifest: Manifest) -> bool:
    return any(part.name is None for part in manifest.parts)


def _spell_uri(store: ObjectStore, manifest: Manifest) -> str:
    """Where an output is: the object that makes it exist and names its parts."""
    key = manifest_key(manifest.recipe.output)
    return (store.folder / key).as_uri() if store.folder else f"{store.url}/{key}"


def shorten(value: Any) -> Any:
    """Cut a long list or mapping, so that an event stays small; the manifest has all of it."""
    if not isinstance(value, dict | list) or len(json.dumps(value)) <= MAX_VALUE_BYTES:
        return value
    items = list(value.items()) if isinstance(value, dict) else list(value)
    shown, size = [], 0
    for item in items:
        size += len(json.dumps(item)) + 2
        if size > MAX_VALUE_BYTES:
            break
        shown.append(item)
    rest = f"{len(items) - len(shown):,} more, in the manifest"
    return dict(shown) | {"…": rest} if isinstance(value, dict) else [*shown, f"… {rest}"]


def metadata_of(store: ObjectStore, committed: Committed, *, run_id: str) -> dict[str, Any]:
    """What an operator wants to see about an output, for the UI."""
    manifest = committed.manifest
    values: dict[str, Any] = {
        **({"dagster/row_count": manifest.rows} if _is_table(manifest) else {}),
        "dagster/uri": _spell_uri(store, manifest),
        "stored": f"{spell_size(manifest.bytes)} in {_count_parts(manifest)}",
        "stored_bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "was_reused": committed.was_reused,
        "run_s": round(committed.seconds, 3),
        "manifest": manifest_key(manifest.recipe.output),
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
    output = manifest.recipe.output
    files = {str(part.name): _place(store, output, part) for part in shown if part.name != PREVIEW}
    if any(part.name for part in manifest.parts):
        values["export"] = spell_export(output)
    facts = {name: value for name, value in manifest.facts.items() if value is not None}
    # Dagster keeps the order: what must be seen first, what it is, how it was made, what is long.
    first = {"caveat": facts["caveat"]} if "caveat" in facts else {}
    if pictures := _show_pictures(store, manifest):
        first["pictures"] = pictures
    everything = (facts | values).items()
    described = {name: shorten(value) for name, value in everything if not _is_empty(value)}
    long = {name: value for name, value in described.items() if isinstance(value, dict | list)}
    short = {name: value for name, value in described.items() if name not in long}
    # The preview repeats the pictures, for a UI that does not open our links.
    return first | short | files | long | _preview(store, manifest)


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
    return value is None or (isinstance(value, str | dict | list) and not value)


def spell_export(output: OutputId) -> str:
    """Spell the command that writes an output's files to a folder, where no UI opens the links."""
    name = [output.drop] if output.drop else []
    folder = "/".join(["out", output.asset, *name])
    space = ["--space", output.space] if output.space else []
    return " ".join(["dino-assets export", output.asset, *name, *space, "--to", folder])


def _place(store: ObjectStore, output: OutputId, part: Part) -> dg.MetadataValue:
    if link := link_to(output, part):
        return dg.MetadataValue.url(link)
    if store.folder is not None:
        return dg.MetadataValue.path(str(store.folder / part.key))
    return dg.MetadataValue.text(f"{store.url}/{part.key}")


def _show_pictures(store: ObjectStore, manifest: Manifest) -> dg.MetadataValue | None:
    """The pictures of an output, shown at once: each leads to what it is a part of.

    By link, since the UI hides what is longer than some hundred letters behind a button.
    """
    named = {part.name: part for part in manifest.parts}
    output = manifest.recipe.output
    shown = []
    for picture, opens in PICTURES.get(output.asset, {}).items():
        if picture not in named:
            continue
        whole = named.get(opens, named[picture])
        source, target = link_to(output, named[picture]), link_to(output, whole)
        shown.append(f'[![{whole.name}]({source}{SMALL} "{whole.name}")]({target})')
    return dg.MetadataValue.md("\n\n".join(shown)) if shown else None


def _preview(store: ObjectStore, manifest: Manifest) -> dict[str, dg.MetadataValue]:
    """A small picture that is in the event itself, for a UI that is not ours."""
    named = {part.name: part for part in manifest.parts}
    pictures = [PREVIEW, *PICTURES.get(manifest.recipe.output.asset, {})]
    part = next((named[name] for name in pictures if name in named), None)
    if part is None:
        return {}
    try:
        data = read_part(store, part)
    except CorruptObjectError:
        return {}  # `verify` says so; the run has its output
    if len(data) > THUMBNAIL_MAX_BYTES or part.name != PREVIEW:
        data = draw_thumbnail(data)
    # Small on purpose: an inline picture of 200 KB costs 1 MB of SQLite per materialisation.
    picture = base64.b64encode(data).decode()
    return {"preview": dg.MetadataValue.md(f"![preview](data:image/png;base64,{picture})")}
