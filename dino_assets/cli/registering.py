"""A drop made known to the store and to Dagster, as ``drops register`` and ``run`` do it."""

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
    from dino_assets.store.objects import ObjectStore


@dataclass(frozen=True)
class Registration:
    """A registered drop; ``lacking`` tells what its images do not have yet, ``doubt`` what looks wrong."""

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
) -> Registration:
    """Register a drop from ``source``, from the inbox, or where it is; listed once, with progress.

    Raises:
        SourceError: there are no files there.
        DropConflictError: the name stands for another source, or for a retired drop.
        ConfigError: the source holds the project or its store.
    """
    from dino_assets.drops.arrivals import summarise_entries
    from dino_assets.drops.registering import list_from_inbox, list_source, register_listing
    from dino_assets.drops.registry import check_tag, find_name

    store = open_store_here(settings, may_be_new=True)
    checked = [check_tag(tag) for tag in tags]
    find_name(store, name)  # what can be refused is, before a long listing
    root = settings.root
    with showing_log("dino_assets.drops.sources"):
        if source:
            # A path is meant from where the person stands, not from the project's folder.
            address = source if "://" in source else str(expand_path(source).absolute())
            _refuse_surroundings(settings, store, address)
            listing = list_source(address, root=root)
        else:
            name, listing = list_from_inbox(store, name, inbox=settings.inbox, root=root)
    drop, has_changed = register_listing(
        store, name, listing, may_replace=may_replace, tags=checked
    )
    look, new = summarise_entries(listing.entries), _describe_new(store, drop, listing)
    del listing  # of a million files it is most of all that is held

    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.observations import record_observation
    from dino_assets.defs.partitions import add_drop_keys

    with open_instance(root) as instance:
        added = add_drop_keys(instance, [drop.name])
        record_observation(
            instance, store, drop.name, look, write=instance.report_runless_asset_event
        )
    doubt = ""
    if not look.photos:
        doubt = f"there is no photograph by its name in the {count_of(look.files, 'file')} there; check the path"
    return Registration(drop, bool(has_changed or added), new, doubt)


def _describe_new(store: "ObjectStore", drop: Drop, listing: "SourceListing") -> str:
    """Say what the drop's images lack; nothing where none are made."""
    from dino_assets.drops.changes import find_changes
    from dino_assets.store.commits.manifests import find_manifest
    from dino_assets.store.commits.protocol import OutputId

    try:
        images = find_manifest(store, OutputId("images", drop.name))
        if images is None:
            return ""
        changes = find_changes(store, images, listing.entries, is_list=listing.is_list)
    except CorruptObjectError:
        return ""  # `verify` says so
    return changes.describe_new() if changes else ""


def _refuse_surroundings(settings: Settings, store: "ObjectStore", address: str) -> None:
    """Keep a drop from holding the project: every run would change it, and read its own pictures.

    Raises:
        ConfigError: it does, as ``/`` and ``.`` do.
    """
    if "://" in address:
        return
    folder = Path(os.path.realpath(address))
    inside = [settings.root, *([store.folder] if store.folder else [])]
    if any(Path(os.path.realpath(each)).is_relative_to(folder) for each in inside):
        raise ConfigError(
            f"{address!r} holds this project and all that is made in it, so it is no drop. Name the folder "
            "that the pictures are in.",
            setting="from",
            value=address,
            reason="holds-the-project",
        )


def find_or_register(
    settings: Settings, name: str, *, source: str | None, may_replace: bool = False
) -> Registration:
    """Find a registered drop, or register it: from ``source``, or from its folder in the inbox.

    Raises:
        UnknownDropError: it is registered nowhere, and the inbox has no such folder.
        DropConflictError: it is registered from another source, or retired.
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
                    f"drop {drop.name!r} is retired. Bring it back with: {name_command()} drops restore "
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
            f"no drop {name!r} is registered (there are: {names}), and the inbox "
            f"{settings.inbox!r} has no folder of that name with files in it. Say where its "
            "pictures are with --from FOLDER.",
            drop=name,
        ) from err


def find_drop_name(store: "ObjectStore", called: str) -> str:
    """Give the name that a drop has in the store, where a person calls it by its original one."""
    from dino_assets.drops.registry import find_names

    return find_names(store, [called])[0]


def find_output_name(store: "ObjectStore", asset: str, called: str) -> str:
    """Give the name of an asset's output as it is in the store: a drop's, or a round's.

    Raises:
        UnknownDropError: there is no such output, and no drop of this name.
        InvalidDropNameError: there cannot be one.
    """
    from dino_assets.drops.registry import find_drop
    from dino_assets.store.commits.listing import find_outputs

    name = find_drop_name(store, called)
    if asset in {each.name for each in PER_DROP}:
        try:
            find_outputs(store, asset, name)
        except NotCommittedError:
            return find_drop(store, called).name
    return name


def refuse_sources(store: "ObjectStore", target: Path) -> None:
    """Keep what is exported out of the folders that photographs are read from.

    Raises:
        ConfigError: the target is in the folder of a drop, whose next run would take it for photographs.
    """
    from dino_assets.drops.registry import find_drops

    place = Path(os.path.realpath(target))
    for name, drop in find_drops(store).items():
        if not isinstance(drop, Drop) or "://" in drop.source:
            continue
        folder = Path(os.path.realpath(drop.source))
        if folder.is_dir() and place.is_relative_to(folder):
            raise ConfigError(
                f"{str(target)!r} is in the folder of drop {name!r}: its next run would take what is "
                "written there for photographs. Name another place, such as out.",
                setting="to",
                value=str(target),
                reason="in-a-drop",
            )


def open_store_here(settings: Settings, *, may_be_new: bool = False) -> "ObjectStore":
    """Open the store; where nothing was ever put, only for what may be the first command.

    Raises:
        ConfigError: there is no project here.
        NotCommittedError: there is no store yet.
    """
    from dino_assets.store.objects import describe_missing_store, open_store

    check_project(settings)
    store = open_store(settings.storage)
    if not store.is_there and not may_be_new:
        raise NotCommittedError(
            f"{describe_missing_store(store)} Make everything of a flight with: {name_command()} run NAME --from "
            "FOLDER",
            reason="no-store",
        )
    return store


def _add_key(settings: Settings, drop: Drop) -> bool:
    """A registered drop's key, should this instance be a new one."""
    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.partitions import add_drop_keys

    with open_instance(settings.root) as instance:
        return bool(add_drop_keys(instance, [drop.name]))
