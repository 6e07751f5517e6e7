"""Metadata of a committed output in the UI: its facts, how it was made, and what this run did."""

import base64
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from dino_assets.defs.file_links import SMALL, link_to
from dino_assets.defs.metadata_rows import arrange, is_empty, shape_facts, shorten
from dino_assets.drawing.thumbnails import THUMBNAIL_MAX_BYTES, draw_thumbnail
from dino_assets.errors import CorruptObjectError
from dino_assets.settings.environment import find_root
from dino_assets.store.commits.catalogue import PICTURES, PREVIEW
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Committed, Manifest, OutputId
from dino_assets.store.objects import ObjectStore

MADE_IN = "made_in_run"
# Values of one run, never copied to the event of a reused output.
OF_ONE_RUN = frozenset({"was_reused", "unmade"})
# Rows per second would mislead elsewhere: embeddings measure their own rate, rounds are a few rows of many.
RATED = frozenset({"images", "tiles", "projections", "labels", "probes"})


def describe(name: str, committed: Committed) -> str:
    """Describe a committed output in one log line."""
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
    """Write a number of bytes for people: ``12.3 MB``."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _count_parts(manifest: Manifest) -> str:
    count = len(manifest.parts)
    return f"{count} {'part' if count == 1 else 'parts'}"


def _is_table(manifest: Manifest) -> bool:
    return any(part.name is None for part in manifest.parts)


def _spell_uri(store: ObjectStore, manifest: Manifest) -> str:
    """Write the address of an output's manifest, which names its parts."""
    key = manifest_key(manifest.recipe.output)
    return (store.folder / key).as_uri() if store.folder else f"{store.url}/{key}"


def metadata_of(store: ObjectStore, committed: Committed, *, run_id: str | None) -> dict[str, Any]:
    """Make the metadata of an output for the UI; ``run_id`` is None if a command made it without a run."""
    manifest, output = committed.manifest, committed.manifest.recipe.output
    values: dict[str, Any] = {
        **({"dagster/row_count": manifest.rows} if _is_table(manifest) else {}),
        "dagster/uri": _spell_uri(store, manifest),
        "stored_mb": round(manifest.bytes / 1e6, 3),
        "was_reused": committed.was_reused,
        "config": dict(manifest.recipe.config),
        "inputs": dict(manifest.recipe.inputs),
        **_list_links(manifest),
    }
    if any(part.name for part in manifest.parts):
        values["export"] = spell_export(output)
    if pictures := _show_pictures(manifest):
        values["pictures"] = pictures
    facts = dict(manifest.facts)
    if not committed.was_reused:
        facts |= committed.metadata
        values |= {
            **_split_seconds(committed),
            "spent": f"{_spell_spent(committed)}, summed over threads",
            **({MADE_IN: dg.MetadataValue.dagster_run(run_id)} if run_id else {}),
        }
        if manifest.rows and output.asset in RATED:
            values["rows_per_s"] = round(manifest.rows / max(committed.seconds, 1e-9), 1)
    rows = {
        name: shorten(value)
        for name, value in (shape_facts(output.asset, facts) | values).items()
        if not is_empty(value)
    }
    # The preview repeats the pictures, for a UI that cannot open the links to the store.
    return arrange(rows | _preview(store, manifest))


def _split_seconds(committed: Committed) -> dict[str, float]:
    """Split an output's seconds into the work itself and the time before it until the engine was ready."""
    took_s = committed.metadata.get("took_s")
    if took_s is None:
        return {"seconds": round(committed.seconds, 3)}
    before_s = max(0.0, committed.seconds - float(took_s))
    return {"seconds": took_s, "ready_after_s": round(before_s, 1)}


def find_manifest_key(metadata: Mapping[str, Any]) -> str:
    """Find the key of an output's manifest, from the address in the metadata of the output's event."""
    uri = metadata.get("dagster/uri", "")
    return f"manifests/{str(getattr(uri, 'value', uri)).rpartition('/manifests/')[2]}"


def carry_over(run_id: str, made: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the metadata of a reused output how it was made, from an earlier event.

    So every event of an output has all of its numbers, and a plot over time has no gaps. ``run_id`` and
    ``made`` are the run and the metadata of the earlier event, ``values`` is the metadata of this run. Values
    that belong to one run only are not copied.
    """
    carried = {name: value for name, value in made.items() if name not in OF_ONE_RUN}
    if run_id and not made["was_reused"].value:  # an event of a command has no run id
        carried[MADE_IN] = dg.MetadataValue.dagster_run(run_id)
    return arrange(carried | dict(values))


def _spell_spent(committed: Committed) -> str:
    times = {
        "read": committed.read_s,
        "compute": committed.compute_s,
        "write": committed.write_s,
    }
    return ", ".join(f"{word} {seconds:.2f} s" for word, seconds in times.items())


def spell_export(output: OutputId) -> str:
    """Write the command that exports an output's files to a folder, for use without the UI's links.

    It runs from any folder, since it names the project's folder and the path of the program.
    """
    name = [output.drop] if output.drop else []
    folder = "/".join(["out", output.asset, *name])
    space = ["--space", output.space] if output.space else []
    words = [*find_program(), "export", output.asset, *name, *space, "--to", folder]
    return f"cd {shlex.quote(str(find_root()))} && {shlex.join(words)}"


def find_program() -> list[str]:
    """Find the program ``dino-assets`` of this environment, activated or not."""
    script = Path(sys.executable).parent / "dino-assets"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "dino_assets.cli"]


def _list_links(manifest: Manifest) -> dict[str, dg.MetadataValue]:
    """List links to the files that a browser shows; other files need `dino-assets export`."""
    output = manifest.recipe.output
    links = {
        part.name: link_to(output, part)
        for part in manifest.parts
        if part.name and "/" not in part.name and part.name != PREVIEW
    }
    return {name: dg.MetadataValue.url(link) for name, link in links.items() if link}


def _show_pictures(manifest: Manifest) -> dg.MetadataValue | None:
    """Show the pictures of an output inline; each links to the page or picture that it is from.

    The metadata has links instead of the pictures' bytes, since the UI hides values of more than some hundred
    letters behind a button. Return None if the output has no pictures.
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
    """Put a small picture into the event itself, for a UI without the route to the store's files."""
    named = {part.name: part for part in manifest.parts}
    pictures = [PREVIEW, *PICTURES.get(manifest.recipe.output.asset, {})]
    part = next((named[name] for name in pictures if name in named), None)
    if part is None:
        return {}
    try:
        data = read_part(store, part)
    except CorruptObjectError:
        return {}  # `dino-assets verify` reports the damage; the output itself is committed
    if len(data) > THUMBNAIL_MAX_BYTES or part.name != PREVIEW:
        data = draw_thumbnail(data)
    # Small on purpose: an inline picture of 200 KB costs 1 MB of SQLite per materialisation.
    picture = base64.b64encode(data).decode()
    return {"preview": dg.MetadataValue.md(f"![preview](data:image/png;base64,{picture})")}
