"""A checkpoint in a folder that somebody named: the documents' ``dino_root``.

It stands alone: nothing in it is shared with a cache, so it can be edited, moved and copied. What it
was when it came is written beside its files; ``.<name>.fetching`` is there while it is being filled.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.store.folders import is_mounted, write_small
from dino_assets.weights.hub.filling import (
    FetchFile,
    Filling,
    Watch,
    clear_away,
    remove_workplace,
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
        if not self.folder.exists() and any(self.workplace.glob("making/*.replaced")):
            with taking_turns(self.workplace):
                for aside in self.workplace.glob("making/*.replaced"):
                    if not self.folder.exists():
                        aside.rename(self.folder)
                clear_away(self.workplace)

    def commit_of(self, revision: str) -> str | None:
        """The commit a revision stands for, as far as this folder or machine knows."""
        record = self.record
        if record and (record.listing.repo, record.revision) == (self.repo, revision):
            return record.listing.commit
        return self.shelf.commit_of(revision)

    def listing_of(self, repo: str, commit: str) -> Listing | None:
        """The Hub's listing of a commit that was fetched once, here or into the cache."""
        return self._recorded(repo, commit, is_listed=True) or self.shelf.listing_of(repo, commit)

    def local_listing_of(self, repo: str, commit: str) -> Listing | None:
        """The same; or else what huggingface_hub's cache has of it."""
        return (
            self.listing_of(repo, commit)
            or self._recorded(repo, commit, is_listed=False)
            or self.shelf.local_listing_of(repo, commit)
        )

    def find(self, listing: Listing) -> Path | None:
        """The folder, if every byte of it is what the listing says, and nothing of another is left."""
        record = self.record
        stale = record.listing.names - listing.names if record else frozenset()
        if any((self.folder / name).exists() for name in stale):
            return None
        return self.folder if not listing.find_damage(self.folder) else None

    def find_locally(self, record: Record, watch: Watch) -> Path | None:
        """The same; it is filled from the cache where that has everything."""
        if found := self.find(record.listing):
            return found
        return self.fill(record, _never, watch) if self.shelf.find(record.listing) else None

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
        filling = Filling(
            folder=self.folder,
            workplace=self.workplace,
            lenders=[self.folder],
            donors=self.shelf.places(listing.commit),
            room_advice="Free some space, or name a folder on a larger disk, and run again.",
            check_old=partial(self._check_losses, listing),
        )
        extra = {RECORD: record.dump(), **{path.name: path.read_bytes() for path in carried}}
        return filling.run(listing, fetch, watch, extra=extra)

    def _recorded(self, repo: str, commit: str, *, is_listed: bool) -> Listing | None:
        record = self.record
        if record is None or (is_listed and not record.is_listed):
            return None
        known = record.listing
        return known if (known.repo, known.commit) == (repo, commit) else None

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
                "your own is used with DINO_MODEL_ID."
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


def _never(*_: object) -> None:
    raise AssertionError("everything was there a moment ago")
