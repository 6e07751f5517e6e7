"""A checkpoint in a folder that somebody named: the documents' ``dino_root``.

It stands alone: nothing in it is shared with a cache, so it can be edited, moved and copied. What it
was when it came is written beside its files; ``.<name>.fetching`` is there while it is being filled.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.store.folders import is_mounted, write_small
from dino_assets.weights.hub.filling import (
    FetchFile,
    Filling,
    Watch,
    clear_away,
    list_asides,
    remove_workplace,
    restore_aside,
    taking_turns,
)
from dino_assets.weights.hub.listings import RECORD, Listing, Record, is_litter, read_record
from dino_assets.weights.hub.shelf import Shelf

log = logging.getLogger(__name__)
_CARRIED = (".gitignore", ".gitkeep")  # somebody's, and taken along


@dataclass(frozen=True)
class Root:
    """One such folder, by the ``name`` it was given."""

    folder: Path
    repo: str
    shelf: Shelf
    name: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"in {self.name}"

    @property
    def workplace(self) -> Path:
        """Its neighbour while it is being filled."""
        return self.folder.with_name(f".{self.folder.name}.fetching")

    @property
    def record(self) -> Record | None:
        """What was fetched into it last."""
        return _record_in(self.folder)

    def restore(self) -> None:
        """Put a folder back that was on its way to be replaced when its process was killed."""
        if not self.folder.exists() and list_asides(self.workplace):
            with taking_turns(self.workplace):
                restore_aside(self.folder, self.workplace)
                clear_away(self.workplace)

    def recall(self, revision: str) -> Record | None:
        """Return what this folder, or else the cache, last knew of a revision.

        Of one commit, a listing by the Hub comes before what another program's cache had of it.
        """
        own = self.record
        if own is not None and own.listing.repo != self.repo:
            own = None
        is_same = own is not None and own.revision == revision
        commit = own.listing.commit if own and is_same else self.shelf.commit_of(revision)
        if commit is None:
            return None
        cached = self.shelf.recall(commit)
        is_better = own is not None and (own.is_listed or cached is None or not cached.is_listed)
        best = own if own and is_better and own.listing.commit == commit else cached
        return replace(best, revision=revision) if best else None

    def find(self, listing: Listing) -> Path | None:
        """The folder, if every byte of it is what the listing says, and nothing of another is left."""
        record = self.record
        stale = record.listing.names - listing.names if record else frozenset()
        if any((self.folder / name).exists() for name in stale):
            return None
        return self.folder if not listing.find_damage(self.folder) else None

    def fill(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch what is missing and exchange the folder for the new one.

        Raises:
            ConfigError: the folder has things that would be lost, or cannot be exchanged.
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        listing = record.listing
        self._check_place()
        self._check_losses(listing, self.folder)
        with taking_turns(self.workplace):
            try:
                return self.find(listing) or self._exchange(record, fetch, watch)
            finally:
                clear_away(self.workplace)

    def remember(self, record: Record) -> None:
        """Note which revision this is the last known state of, and clear away what a kill left."""
        if self.record == record and not self.workplace.exists():
            return
        with taking_turns(self.workplace):
            if self.find(record.listing):  # else another process has exchanged it meanwhile
                if self.record != record:
                    write_small(self.folder / RECORD, record.dump())
                remove_workplace(self.workplace)

    def _exchange(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        listing = record.listing
        self._tell_damage(listing)
        carried = [self.folder / name for name in _CARRIED if (self.folder / name).is_file()]
        extra = {RECORD: record.dump(), **{path.name: path.read_bytes() for path in carried}}
        filling = Filling(
            folder=self.folder,
            workplace=self.workplace,
            lenders=[self.folder],
            donors=self.shelf.list_sources(listing.commit),
            room_advice="Free some space, or name a folder on a larger disk, and run again.",
            check_old=partial(self._check_losses, listing),
        )
        return filling.run(listing, fetch, watch, extra=extra)

    def _tell_damage(self, listing: Listing) -> None:
        record = self.record
        if record and record.listing.commit == listing.commit:
            log.warning("%s: %s; fetching it again", self.name, listing.find_damage(self.folder))

    def _check_place(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.name} is a file. Name a folder.")
        if is_mounted(self.folder):
            raise ConfigError(
                f"{self.name} is where a disk is mounted, so it cannot be exchanged in one step. Name "
                "a folder inside it."
            )
        if self.folder in (here := Path.cwd().resolve(), *here.parents):
            raise ConfigError(
                f"{self.name} is where you stand, and would be exchanged under your feet. Name a folder "
                "in it, or run this from another one."
            )
        if self.folder.parent.is_dir() and not os.access(self.folder.parent, os.W_OK):
            raise ConfigError(
                f"the folder around {self.name} cannot be written, so {self.name} cannot be exchanged in "
                "one step. Name a folder inside it."
            )

    def _check_losses(self, listing: Listing, place: Path) -> None:
        for name in self._list_losses(listing, place):
            raise ConfigError(
                f"{self.name} holds {name!r}, which dino-assets did not fetch and which would be lost: "
                "everything was left alone. Name another folder, or move this one away; a checkpoint of "
                "your own is used with DINO_MODEL_ID.",
                setting="folder",
                value=name,
            )

    def _list_losses(self, listing: Listing, place: Path) -> Iterator[str]:
        """Names of what nobody could fetch again if this place were cleared."""
        record = _record_in(place)
        fetched = record.listing.names if record else frozenset()
        listed = {file.name: file for file in listing.files}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(place.iterdir()):
                if path.name in fetched or path.name in _CARRIED or is_litter(path):
                    continue
                if path.name not in listed or not listed[path.name].is_at(path):
                    yield path.name


def _record_in(place: Path) -> Record | None:
    found = read_record(place / RECORD)
    return found if found and found.is_of_hub else None
