"""A checkpoint in a folder that somebody named: the documents' ``dino_root``.

It stands alone: nothing in it is shared with a cache, so it can be edited, moved and copied. What it
was when it came is written beside its files; ``.<name>.fetching`` is there while it is being filled.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.store.filling import FetchFile, Filling, Watch, clear_away, taking_turns
from dino_assets.store.folders import write_small
from dino_assets.store.listings import RECORD, Listing, Record, read_record
from dino_assets.store.shelf import Shelf

# What other programs leave in a folder of the Hub, and nobody misses: huggingface_hub, macOS.
_LITTER = (".cache", ".huggingface", ".gitattributes", ".DS_Store")


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
        found = read_record(self.folder / RECORD)
        return found if found and found.is_of_hub else None

    def commit_of(self, revision: str) -> str | None:
        """The commit a revision stands for, as far as this folder or machine knows."""
        record = self.record
        if record and (record.listing.repo, record.revision) == (self.repo, revision):
            return record.listing.commit
        return self.shelf.commit_of(revision)

    def listing_of(self, repo: str, commit: str) -> Listing | None:
        """The listing of a commit that was fetched once, here or into the cache."""
        record = self.record
        if record and (record.listing.repo, record.listing.commit) == (repo, commit):
            return record.listing
        return self.shelf.listing_of(repo, commit)

    def local_listing_of(self, repo: str, commit: str) -> Listing | None:
        """The same; or else what huggingface_hub's cache says."""
        return self.listing_of(repo, commit) or self.shelf.local_listing_of(repo, commit)

    def find(self, listing: Listing) -> Path | None:
        """The folder, if every byte of it is what the listing says, and nothing of another is left."""
        record = self.record
        fetched = {file.name for file in record.listing.files} if record else set()
        stale = fetched - {file.name for file in listing.files}
        if any((self.folder / name).exists() for name in stale):
            return None
        return self.folder if not listing.find_damage(self.folder) else None

    def find_locally(self, listing: Listing, revision: str, watch: Watch) -> Path | None:
        """The same; it is filled from the cache where that has everything."""
        if found := self.find(listing):
            return found
        if not self.shelf.find_locally(listing, revision, watch):
            return None
        return self.fill(listing, revision, _never, watch)

    def fill(self, listing: Listing, revision: str, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch what is missing and exchange the folder for the new one.

        Raises:
            ConfigError: the folder has things that would be lost, or cannot be exchanged.
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        self._check(listing)
        with taking_turns(self.workplace):
            filling = Filling(
                folder=self.folder,
                workplace=self.workplace,
                lenders=[self.folder],
                donors=self.shelf.places(listing.commit),
                room_advice="Free some space, or name a folder on a larger disk, and run again.",
            )
            record = Record(listing, revision)
            try:
                return self.find(listing) or filling.run(
                    listing, fetch, watch, extra={RECORD: record.dump()}
                )
            finally:
                if not filling.is_begun:
                    clear_away(self.workplace)

    def remember(self, listing: Listing, revision: str) -> None:
        """Note which revision this is the last known state of, and clear away what a kill left."""
        record = Record(listing, revision)
        if self.record == record and not self.workplace.exists():
            return
        with taking_turns(self.workplace):
            if self.find(listing):  # else another process has exchanged it meanwhile
                if self.record != record:
                    write_small(self.folder / RECORD, record.dump())
                clear_away(self.workplace)

    def _check(self, listing: Listing) -> None:
        if os.path.ismount(self.folder):
            raise ConfigError(
                f"{self.name} is where a disk is mounted, so it cannot be exchanged in one step. Name "
                "a folder inside it."
            )
        if self.folder in (here := Path.cwd().resolve(), *here.parents):
            raise ConfigError(
                f"{self.name} is where you stand, and would be exchanged under your feet. Name a folder "
                "in it, or run this from another one."
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.name} is a file. Name a folder.")
        if lost := next(self._list_losses(listing), None):
            raise ConfigError(
                f"{self.name} holds a {lost!r} that is no file of {listing.repo!r} and was not fetched by "
                "dino-assets: it would be lost, so everything was left alone. Name another folder, or "
                "move this one away; a checkpoint of your own is used with DINO_MODEL_ID."
            )

    def _list_losses(self, listing: Listing) -> Iterator[str]:
        """Names of what nobody could fetch again if this folder were exchanged."""
        if not self.folder.is_dir():
            return
        record = self.record
        fetched = {file.name for file in record.listing.files} if record else set()
        listed = {file.name: file for file in listing.files}
        for path in sorted(self.folder.iterdir()):
            if path.name in fetched or path.name in (RECORD, *_LITTER):
                continue
            if path.name not in listed or not listed[path.name].is_at(path):
                yield path.name


def _never(*_: object) -> None:
    raise AssertionError("everything was there a moment ago")
