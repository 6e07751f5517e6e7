"""Registration of drops: a name, a source, and the source's fingerprint."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from dino_assets.drops.boxes.reading import MAX_BOXES_BYTES
from dino_assets.drops.facts import (
    delete_damaged,
    read_fact,
    read_facts,
)
from dino_assets.drops.records import Drop, SourceEntry
from dino_assets.drops.registry import (
    check_tag,
    find_drop,
    find_drops,
    find_name,
    inbox_address,
    join_tags,
    read_drop,
    write_drop,
)
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import Source, fingerprint
from dino_assets.drops.stored_boxes import BOXES_NAME, BoxRequest, settle_boxes
from dino_assets.errors import (
    CorruptObjectError,
    DropConflictError,
    DropError,
    InvalidBoxesError,
    SourceError,
    UnknownDropError,
)
from dino_assets.settings.urls import is_bucket_url
from dino_assets.store.commits.indexes import Row, add_row, read_index
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore

NO_REQUEST = BoxRequest()
INDEX = "drops"  # index by source and fingerprint, to find drops of the same pictures


@dataclass(frozen=True)
class SourceListing:
    """Files that a source held when it was listed, and the source's absolute address.

    ``boxes`` are the bytes of its file with a detector's boxes, if it has one.
    """

    address: str
    entries: Sequence[SourceEntry]
    is_list: bool
    boxes: bytes | None = None


def register_drop(
    store: ObjectStore,
    name: str,
    *,
    source: str,
    root: Path,
    may_replace: bool = False,
    tags: Iterable[str] = (),
    boxes: BoxRequest = NO_REQUEST,
) -> tuple[Drop, bool]:
    """Register a drop: list its source and write its record; return the drop and whether anything changed.

    Tags are added to the drop's existing tags.

    Raises:
        SourceError: ``source`` does not exist or holds no file.
        InvalidDropNameError: ``name`` cannot be made a valid name.
        DropConflictError: the name is registered for another source and ``may_replace`` is off, or the
            drop is retired.
        InvalidBoxesError: the file with boxes in the drop's folder cannot be used.
        ConfigError: a tag is not one word, or the least score of boxes is not in 0…1.
    """
    checked = [check_tag(tag) for tag in tags]
    find_name(store, name)  # an invalid name fails before a long listing
    listing = list_source(source, root=root)
    return register_listing(
        store, name, listing, may_replace=may_replace, tags=checked, boxes=boxes
    )


def list_source(source: str, *, root: Path) -> SourceListing:
    """List a source, and return the files with the source's absolute address.

    Raises:
        SourceError: the source does not exist or holds no file.
        InvalidBoxesError: its file with boxes is too large.
    """
    open_source(source, root=root)  # raises a precise error for an address that cannot be resolved
    address = _absolute(source, root)
    opened = open_source(address, root=root)
    entries = opened.entries()
    if not entries:
        raise SourceError(
            f"no files at {source!r}. Check the path, and that the disk or card is mounted",
            reason="empty",
            path=source,
        )
    return SourceListing(address, entries, opened.is_list, _read_boxes(opened, entries))


def _read_boxes(source: Source, entries: Sequence[SourceEntry]) -> bytes | None:
    """Read the file with boxes of a folder; None if it has none. A list names photographs only."""
    for entry in entries:
        if entry.path == BOXES_NAME and not entry.refusal and not source.is_list:
            if entry.size > MAX_BOXES_BYTES:
                raise InvalidBoxesError(
                    f"{BOXES_NAME!r} has {entry.size:,} bytes; at most {MAX_BOXES_BYTES:,} are read. Leave out "
                    "boxes of low score, or rename the file if it has no boxes.",
                    reason="too-large",
                    path=BOXES_NAME,
                )
            return source.read(BOXES_NAME)
    return None


def list_from_inbox(
    store: ObjectStore, name: str, *, inbox: str, root: Path
) -> tuple[str, SourceListing]:
    """List the inbox's folder of this name, or else the registered drop's source.

    Returns the name to register and the listing.

    Raises:
        SourceError: neither exists, or neither holds a file.
    """
    address = inbox_address(inbox, name)
    try:
        return name, list_source(address, root=root)
    except SourceError:
        try:
            drop = find_drop(store, name)
        except (DropError, CorruptObjectError):
            drop = None
        if drop is None or drop.source == _absolute(address, root):
            raise
    return drop.name, list_source(drop.source, root=root)


def register_listing(
    store: ObjectStore,
    name: str,
    listing: SourceListing,
    *,
    may_replace: bool = False,
    tags: Iterable[str] = (),
    boxes: BoxRequest = NO_REQUEST,
) -> tuple[Drop, bool]:
    """Register a drop whose source is already listed; otherwise like ``register_drop``."""
    new_tags = [check_tag(tag) for tag in tags]
    key_name = find_name(store, name)
    entries = listing.entries
    drop = Drop(
        name=key_name,
        source=listing.address,
        fingerprint=fingerprint(entries),
        original_name=name.encode(errors="surrogateescape").decode(errors="backslashreplace"),
    )
    registered, before = _find_registered(store, key_name, boxes)
    if registered is not None and registered.is_retired:
        raise DropConflictError(
            f"drop {key_name!r} is retired. Bring it back with: dino-assets drops restore {key_name}",
            drop=key_name,
            reason="retired",
        )
    drop = replace(
        drop,
        # If a registered drop is registered again under its own name, it keeps its folder's original name.
        original_name=registered.original_name
        if registered and name == key_name
        else drop.original_name,
        tags=join_tags(before.tags, new_tags),
        # Stored only if the source has ever changed: outputs may be made from an earlier state.
        observed=drop.fingerprint if _has_changed(before, drop) else "",
    )
    if registered is not None and registered.source != drop.source:
        _check_may_move(store, registered, drop, entries, may_replace=may_replace)
    request = replace(boxes, in_source=listing.boxes)
    drop = replace(drop, boxes=settle_boxes(store, key_name, before.boxes, request))
    if registered == drop:
        return drop, False
    add_row(store, INDEX, (drop.name, drop.source, drop.fingerprint), partial(_list_rows, store))
    write_drop(store, drop, before=before)
    return drop, True


def find_same_pictures(store: ObjectStore, drop: Drop) -> dict[str, Drop]:
    """Find other drops with the same source or fingerprint, by name."""
    rows = read_index(store, INDEX, partial(_list_rows, store))
    names = {
        name
        for name, source, listed_as in rows
        if source == drop.source or listed_as == drop.fingerprint
    }
    alike: dict[str, Drop] = {}
    for name in sorted(names - {drop.name}):
        with suppress(UnknownDropError, CorruptObjectError):
            other = read_drop(store, name)
            if other.source == drop.source or other.fingerprint == drop.fingerprint:
                alike[name] = other
    return alike


def _list_rows(store: ObjectStore) -> list[Row]:
    drops = [drop for drop in find_drops(store).values() if isinstance(drop, Drop)]
    return [(drop.name, drop.source, drop.fingerprint) for drop in drops]


def _find_registered(store: ObjectStore, name: str, boxes: BoxRequest) -> tuple[Drop | None, Drop]:
    """Return the registered drop (None if its record is missing or damaged), and the drop before the change.

    Both are the same if the record can be read. Otherwise the drop before the change has the stored facts,
    and an empty source and fingerprint. If the record or a fact is damaged, damaged facts are deleted first.

    Raises:
        InvalidBoxesError: the fact that names the drop's boxes is damaged, and ``boxes`` asks for no others.
    """
    try:
        registered = read_drop(store, name)
    except UnknownDropError:
        return None, replace(Drop(name, "", "", ""), **read_facts(store, name))
    except CorruptObjectError:
        _check_boxes(store, name, boxes)
        delete_damaged(store, name)
        try:
            registered = read_drop(store, name)
        except CorruptObjectError:
            return None, replace(Drop(name, "", "", ""), **read_facts(store, name))
    return registered, registered


def _check_boxes(store: ObjectStore, name: str, boxes: BoxRequest) -> None:
    """Refuse to lose the boxes of a drop: its photographs would be cut by a grid without a message."""
    try:
        read_fact(store, name, "boxes")
    except CorruptObjectError as err:
        if boxes.file is None and not boxes.is_removal:
            raise InvalidBoxesError(
                f"{err} So the drop's boxes of a detector are unknown. Give their file with --boxes FILE, or "
                "--no-boxes to cut its photographs by a grid.",
                drop=name,
                reason="damaged",
            ) from err


def _check_may_move(
    store: ObjectStore,
    registered: Drop,
    drop: Drop,
    entries: Sequence[SourceEntry],
    *,
    may_replace: bool,
) -> None:
    """Check that a drop may get another source: ``may_replace`` is set, and it has a picture of the drop.

    The pictures are not compared if no ``images`` of the drop are stored, or if these cannot be read.

    Raises:
        DropConflictError: ``may_replace`` is off, or the new source holds none of the drop's pictures.
    """
    images = open_table(store, "images", drops=[drop.name])
    if not may_replace:
        when = (
            "if the same pictures moved there"
            if images.drops
            else "(nothing is lost, because nothing has been made from the drop yet)"
        )
        raise DropConflictError(
            f"drop {drop.name!r} is registered from {registered.source!r}, not {drop.source!r}. Choose "
            f"another name, or pass --replace {when}.",
            drop=drop.name,
        )
    if not images.drops:
        return
    try:
        rows = images.read(drop.name).select(["path", "bytes"]).to_pylist()
    except CorruptObjectError:
        return  # nothing can be compared, and the images will be read again
    before = {(PurePosixPath(row["path"]).name, row["bytes"]) for row in rows}
    if before.isdisjoint((PurePosixPath(entry.path).name, entry.size) for entry in entries):
        raise DropConflictError(
            f"none of the {len(entries)} files at {drop.source!r} is among the {len(rows)} images of drop "
            f"{drop.name!r}: these are other pictures. Register them under another name.",
            drop=drop.name,
            reason="other-pictures",
        )


def _has_changed(before: Drop, now: Drop) -> bool:
    return bool(before.observed) or before.fingerprint not in ("", now.fingerprint)


def _absolute(source: str, root: Path) -> str:
    """Make a local source absolute: the daemon that reads it has another working directory."""
    if is_bucket_url(source):
        return source
    return str((root / Path(source).expanduser()).resolve())
