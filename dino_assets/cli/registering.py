"""Registering drops in the store and in Dagster, for ``drops register`` and ``run``."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dino_assets.cli.terminal import name_command, showing_log
from dino_assets.counting import count_of
from dino_assets.drops.records import Drop
from dino_assets.errors import ConfigError, CorruptObjectError, NotCommittedError
from dino_assets.settings.project import check_project
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.store.commits.catalogue import PER_DROP

if TYPE_CHECKING:
    from dino_assets.drops.registering import SourceListing
    from dino_assets.drops.stored_boxes import BoxRequest
    from dino_assets.store.objects import ObjectStore


@dataclass(frozen=True)
class Registration:
    """A registered drop.

    ``is_new`` is True if the drop's record was written or its partition key was added. ``lacking`` describes
    files that its images do not include, and ``doubt`` a likely mistake. Both are empty if there are none.
    """

    drop: Drop
    is_new: bool
    lacking: str = ""
    doubt: str = ""


def register_here(
    settings: Settings,
    name: str,
    *,
    source: str | None,
    may_replace: bool = False,
    tags: Iterable[str] = (),
    boxes: "BoxRequest | None" = None,
) -> Registration:
    """Register a drop from ``source``; by default from its folder in the inbox, else from its current source.

    The source is listed once, with progress lines.

    Raises:
        SourceError: the source does not exist or holds no file.
        DropConflictError: the name is registered with another source, or retired.
        InvalidBoxesError: the file with boxes in the drop's folder cannot be used.
        ConfigError: the source contains the project or its store, or a setting of ``boxes`` is invalid.
    """
    from dino_assets.drops.arrivals import summarise_entries
    from dino_assets.drops.registering import (
        NO_REQUEST,
        list_from_inbox,
        list_source,
        register_listing,
    )
    from dino_assets.drops.registry import check_tag, find_name

    store = open_store_here(settings, may_be_new=True)
    checked = [check_tag(tag) for tag in tags]
    find_name(store, name)  # the checks come first: listing the source may take long
    root = settings.root
    with showing_log("dino_assets.drops.sources"):
        if source:
            # A path is relative to the working directory, not to the project's folder.
            address = source if "://" in source else str(expand_path(source).absolute())
            _refuse_surroundings(settings, store, address)
            listing = list_source(address, root=root)
        else:
            name, listing = list_from_inbox(store, name, inbox=settings.inbox, root=root)
    drop, has_changed = register_listing(
        store, name, listing, may_replace=may_replace, tags=checked, boxes=boxes or NO_REQUEST
    )
    state, new = summarise_entries(listing.entries), _describe_new(store, drop, listing)
    del listing  # with a million files it is most of the memory in use

    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.observations import record_observation
    from dino_assets.defs.partitions import add_drop_keys

    with open_instance(root) as instance:
        added = add_drop_keys(instance, [drop.name])
        record_observation(
            instance, store, drop.name, state, write=instance.report_runless_asset_event
        )
    doubt = ""
    if not state.photos:
        doubt = (
            f"the source has {count_of(state.files, 'file')}, but none with the name of a photograph, such "
            "as DJI_0001.JPG; check the path"
        )
    return Registration(drop, bool(has_changed or added), new, doubt)


def _describe_new(store: "ObjectStore", drop: Drop, listing: "SourceListing") -> str:
    """Describe the files that the drop's images do not include; empty if no images are made yet."""
    from dino_assets.drops.changes import find_changes
    from dino_assets.store.commits.manifests import find_manifest
    from dino_assets.store.commits.protocol import OutputId

    try:
        images = find_manifest(store, OutputId("images", drop.name))
        if images is None:
            return ""
        changes = find_changes(store, images, listing.entries, is_list=listing.is_list)
    except CorruptObjectError:
        return ""  # `dino-assets verify` reports the damage
    return changes.describe_new() if changes else ""


def _refuse_surroundings(settings: Settings, store: "ObjectStore", address: str) -> None:
    """Refuse a source that contains the project: each run would read the results as new photographs.

    Raises:
        ConfigError: the source contains the project or its store, as ``/`` and ``.`` do.
    """
    if "://" in address:
        return
    folder = Path(os.path.realpath(address))
    inside = [settings.root, *([store.folder] if store.folder else [])]
    if any(Path(os.path.realpath(each)).is_relative_to(folder) for each in inside):
        raise ConfigError(
            f"{address!r} contains this project and its results, so it cannot be a drop. Name the folder "
            "with the photographs.",
            setting="from",
            value=address,
            reason="holds-the-project",
        )


def find_or_register(
    settings: Settings, name: str, *, source: str | None, may_replace: bool = False
) -> Registration:
    """Find a registered drop; register it if it is not registered, or if ``source`` is given.

    Without ``source``, it is registered from its folder in the inbox.

    Raises:
        SourceError: ``source`` does not exist or holds no file.
        UnknownDropError: it is not registered, and the inbox has no such folder.
        DropConflictError: it is registered with another source, or retired.
    """
    from dino_assets.drops.registry import find_drop, find_drops
    from dino_assets.errors import DropConflictError, SourceError, UnknownDropError

    store = open_store_here(settings, may_be_new=True)
    if source is None:
        try:
            drop = find_drop(store, name)
        except UnknownDropError:
            pass
        else:
            if drop.is_retired:
                raise DropConflictError(
                    f"drop {drop.name!r} is retired. To use it again: {name_command()} drops restore "
                    f"{drop.name}",
                    drop=drop.name,
                    reason="retired",
                )
            return Registration(drop, _add_key(settings, drop))
    try:
        return register_here(settings, name, source=source, may_replace=may_replace)
    except SourceError as err:
        if source is not None:
            raise
        names = ", ".join(sorted(find_drops(store))) or "none yet"
        raise UnknownDropError(
            f"no drop {name!r} is registered (registered: {names}), and the inbox {settings.inbox!r} has "
            "no folder of that name with files in it. To register a new drop, name the folder of its "
            "photographs: --from FOLDER.",
            drop=name,
        ) from err


def find_drop_name(store: "ObjectStore", named: str) -> str:
    """Find the name of a drop in the store; ``named`` may also be the original name of its folder."""
    from dino_assets.drops.registry import find_names

    return find_names(store, [named])[0]


def find_output_name(store: "ObjectStore", asset: str, named: str) -> str:
    """Find the name of an asset's output in the store: the name of a drop or of a round.

    Raises:
        UnknownDropError: there is no such output, and no drop of this name.
        InvalidDropNameError: the name is not valid.
    """
    from dino_assets.drops.registry import find_drop
    from dino_assets.store.commits.listing import find_outputs

    name = find_drop_name(store, named)
    if asset in {each.name for each in PER_DROP}:
        try:
            find_outputs(store, asset, name)
        except NotCommittedError:
            return find_drop(store, named).name
    return name


def refuse_sources(store: "ObjectStore", target: Path) -> None:
    """Refuse to export into a folder that photographs are read from.

    Raises:
        ConfigError: the target is in a drop's folder, whose next run would read the exported pictures.
    """
    from dino_assets.drops.registry import find_drops

    place = Path(os.path.realpath(target))
    for name, drop in find_drops(store).items():
        if not isinstance(drop, Drop) or "://" in drop.source:
            continue
        folder = Path(os.path.realpath(drop.source))
        if folder.is_dir() and place.is_relative_to(folder):
            raise ConfigError(
                f"{str(target)!r} is in the folder of drop {name!r}: the drop's next run would read the "
                "exported files as photographs. Write to a folder outside it, for example 'out'.",
                setting="to",
                value=str(target),
                reason="in-a-drop",
            )


def open_store_here(settings: Settings, *, may_be_new: bool = False) -> "ObjectStore":
    """Open the store; with ``may_be_new``, an empty store is accepted, too.

    Raises:
        ConfigError: there is no project here.
        NotCommittedError: nothing was ever stored, and ``may_be_new`` is not set.
    """
    from dino_assets.store.objects import describe_missing_store, open_store

    check_project(settings)
    store = open_store(settings.storage)
    if not store.is_there and not may_be_new:
        raise NotCommittedError(
            f"{describe_missing_store(store)} Process a first drop with: {name_command()} run NAME --from "
            "FOLDER",
            reason="no-store",
        )
    return store


def _add_key(settings: Settings, drop: Drop) -> bool:
    """Add a registered drop's partition key if the instance lacks it; return whether it was added."""
    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.partitions import add_drop_keys

    with open_instance(settings.root) as instance:
        return bool(add_drop_keys(instance, [drop.name]))
