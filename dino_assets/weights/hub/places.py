"""Destinations of fetched checkpoints: the cache below ``HF_HOME``, or a given folder.

::

    <HF_HOME>/dino-assets/<organisation>--<name>/
        commits/<commit>/…       a whole checkpoint, renamed into place when every file is verified
        listings/<commit>.json   the Hub's listing of its files
        refs/<branch>            the branch's commit when it was last fetched: written last
        parts/<hash>.part        unfinished files, which the next process resumes
        making/<commit>/…        a checkpoint that is not whole yet
        lock
"""

import contextlib
import json
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from dino_assets.errors import ConfigError
from dino_assets.settings.records import HubSettings
from dino_assets.store.folders import exchange_names, is_mounted, write_small
from dino_assets.weights.checkpoint import INDEX, WEIGHTS
from dino_assets.weights.hub.filling import (
    ASIDES,
    Exchange,
    FetchFile,
    Filling,
    Watch,
    clear_away,
    hold_workplace,
    restore_aside,
)
from dino_assets.weights.hub.listings import (
    RECORD,
    HubFile,
    Listing,
    Record,
    is_commit,
    is_digest,
    is_litter,
    is_wanted,
    read_hub_record,
    read_record,
)

log = logging.getLogger(__name__)
_CARRIED = (".gitignore", ".gitkeep")  # the user's files, copied into the new folder


@dataclass(frozen=True)
class RepoCache:
    """A repository's folder in the cache, and in huggingface_hub's own cache (``hub_folder``, read only)."""

    repo: str
    folder: Path
    hub_folder: Path
    where: str = "in the cache (HF_HOME)"  # for messages: no paths that the user did not give

    @classmethod
    def of(cls, repo: str, hub: HubSettings) -> "RepoCache":
        """Find the place of a repository in both caches; nothing is created."""
        name = repo.replace("/", "--")
        return cls(repo, hub.home / "dino-assets" / name, hub.cache / f"models--{name}")

    def commit_of(self, revision: str) -> str | None:
        """Find the commit of a revision in the local caches; None if unknown."""
        refs = (self._ref(revision), self.hub_folder / "refs" / revision)
        return next((text for text in (revision, *map(_read, refs)) if is_commit(text)), None)

    def recall(self, revision: str) -> Record | None:
        """Return a revision's record: that of the last fetch, or one made from huggingface_hub's cache.

        Return None if both caches lack the revision.
        """
        commit = self.commit_of(revision)
        if commit is None:
            return None
        fetched = read_record(self._listing_path(commit))
        if fetched and (fetched.listing.repo, fetched.listing.commit) == (self.repo, commit):
            return Record(fetched.listing, revision)
        cached = self._list_hub_cache(commit)
        return Record(cached, revision, is_listed=False) if cached else None

    def find(self, listing: Listing) -> Path | None:
        """Find a folder whose every byte is as listed, in this cache or huggingface_hub's; else None."""
        own, _, snapshot = self.list_sources(listing.commit)
        for folder in (own, snapshot):
            if folder.is_dir() and not listing.find_damage(folder):
                return folder
        return None

    def fill(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch missing files, publish the folder and return it.

        If another process is filling the same cache, wait for it first.
        """
        listing = record.listing
        folder, *copyable = self.list_sources(listing.commit)
        with hold_workplace(self.folder):
            if whole := self.find(listing):
                return whole
            if folder.is_dir():
                _warn_of_damage(f"{listing.repo}, cached", listing, folder)
            others = sorted(self.folder.glob("commits/*"))  # commits often share their weights
            filling = Filling(
                folder=folder,
                workplace=self.folder,
                linkable=[folder, *others],
                copyable=copyable,
                room_advice="Free some space, or set HF_HOME to a larger disk, and run again.",
            )
            return filling.run(listing, fetch, watch)

    def remember(self, record: Record) -> None:
        """Write a commit's listing and then, for a branch or tag, the commit that it has now."""
        listing, ref = record.listing, self._ref(record.revision)
        path = self._listing_path(listing.commit)
        stored = read_record(path)
        if stored is None or stored.listing != listing:
            write_small(path, record.dump())
        if not is_commit(record.revision) and _read(ref) != listing.commit:
            write_small(ref, listing.commit.encode())

    def list_sources(self, commit: str) -> tuple[Path, Path, Path]:
        """List folders that may hold files of a commit, by name or hash; this cache's own comes first."""
        snapshot = self.hub_folder / "snapshots" / commit
        return self.folder / "commits" / commit, self.hub_folder / "blobs", snapshot

    def _listing_path(self, commit: str) -> Path:
        return self.folder / "listings" / f"{commit}.json"

    def _ref(self, revision: str) -> Path:
        return self.folder / "refs" / quote(revision, safe="")

    def _list_hub_cache(self, commit: str) -> Listing | None:
        """List a commit in huggingface_hub's cache, whose files are named by hash; None if incomplete."""
        snapshot = self.list_sources(commit)[-1]
        files = []
        for link in sorted(snapshot.glob("[!.]*")):
            blob = link.resolve()
            if not is_wanted(link.name) or blob.is_dir():
                continue
            if not blob.is_file() or not is_digest(blob.name):
                return None  # a copy instead of a link: its hash is unknown
            files.append(HubFile(link.name, blob.stat().st_size, blob.name))
        listing = Listing(self.repo, commit, tuple(files))
        needed = {WEIGHTS}
        if INDEX in listing.names and WEIGHTS not in listing.names:
            needed = _list_shards(snapshot)
        return listing if needed and needed <= listing.names else None


@dataclass(frozen=True)
class TargetFolder:
    """A folder that the user gave (``dino_root`` in the public API), with its ``name`` as given.

    The folder shares no files with a cache, so it can be edited, moved and copied. A record of its files
    lies beside them. A second folder, ``.<name>.fetching``, exists while the first one is filled.
    """

    folder: Path
    cache: RepoCache
    name: str
    exchange: Exchange = exchange_names

    @property
    def where(self) -> str:
        """The place, for messages."""
        return f"in {self.name!r}"

    @property
    def workplace(self) -> Path:
        """The folder beside the target; it exists while the target is filled."""
        return self.folder.with_name(f".{self.folder.name}.fetching")

    @property
    def record(self) -> Record | None:
        """The record of the last fetch into this folder."""
        return read_hub_record(self.folder)

    def restore(self) -> None:
        """Restore the folder if a process was killed while replacing it."""
        if not self.folder.exists() and any(self.workplace.glob(ASIDES)):
            with hold_workplace(self.workplace):
                restore_aside(self.folder, self.workplace)
                clear_away(self.workplace)

    def recall(self, revision: str) -> Record | None:
        """Return the record of a revision, from this folder or else from the cache; None if unknown.

        If both know the same commit, a listing from the Hub is preferred to one of another program's cache.
        """
        own = self.record
        if own is None or own.listing.repo != self.cache.repo:
            return self.cache.recall(revision)
        is_same = own.revision == revision
        commit = own.listing.commit if is_same else self.cache.commit_of(revision)
        cached = self.cache.recall(commit) if commit else None
        if own.listing.commit == commit and (own.is_listed or not (cached and cached.is_listed)):
            return replace(own, revision=revision)
        return cached and replace(cached, revision=revision)

    def find(self, listing: Listing) -> Path | None:
        """Return the folder if every byte is as listed and no file of an older listing remains; else None."""
        record = self.record
        stale = record.listing.names - listing.names if record else frozenset()
        is_mixed = any((self.folder / name).exists() for name in stale)
        return None if is_mixed or listing.find_damage(self.folder) else self.folder

    def fill(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch missing files into a new folder, and replace this folder by it in one step.

        Raises:
            ConfigError: the folder cannot be replaced, or holds other files that would be lost.
        """
        listing = record.listing
        self._check_place()
        self._check_losses(listing, self.folder)
        with hold_workplace(self.workplace):
            try:
                return self.find(listing) or self._exchange(record, fetch, watch)
            finally:
                clear_away(self.workplace)

    def remember(self, record: Record) -> None:
        """Write the record of the current revision, and remove what a killed process left."""
        if self.record == record and not self.workplace.exists():
            return
        with hold_workplace(self.workplace):
            if self.find(record.listing):  # another process may have exchanged the folder
                if self.record != record:
                    write_small(self.folder / RECORD, record.dump())
                clear_away(self.workplace, is_done=True)

    def _exchange(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        listing = record.listing
        before = self.record
        if before and before.listing.commit == listing.commit:
            _warn_of_damage(repr(self.name), listing, self.folder)
        carried = [self.folder / name for name in _CARRIED if (self.folder / name).is_file()]
        filling = Filling(
            folder=self.folder,
            workplace=self.workplace,
            linkable=[self.folder],
            copyable=self.cache.list_sources(listing.commit),
            room_advice="Free some space, or give a folder on a larger disk, and run again.",
            extra={RECORD: record.dump(), **{path.name: path.read_bytes() for path in carried}},
            check_old=partial(self._check_losses, listing),
            exchange=self.exchange,
        )
        return filling.run(listing, fetch, watch)

    def _check_place(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise self._refusal("file", f"{self.name!r} is a file. Give a folder.")
        if is_mounted(self.folder):
            raise self._refusal(
                "mounted",
                f"{self.name!r} is a mount point, so it cannot be replaced in one step. Give a folder "
                "inside it.",
            )
        if self.folder in (current := Path.cwd().resolve(), *current.parents):
            raise self._refusal(
                "working directory",
                f"{self.name!r} is or contains the current folder, so it cannot be replaced. Give a folder "
                "inside it, or run from another folder.",
            )
        if self.folder.parent.is_dir() and not os.access(self.folder.parent, os.W_OK):
            raise self._refusal(
                "parent closed",
                f"the parent folder of {self.name!r} cannot be written, so {self.name!r} can be neither made nor "
                "replaced in one step. Give a folder in a place that can be written.",
            )

    def _refusal(self, reason: str, text: str) -> ConfigError:
        return ConfigError(text, setting="folder", value=self.name, reason=reason)

    def _check_losses(self, listing: Listing, place: Path) -> None:
        """Refuse to replace files that cannot be fetched again."""
        record = read_hub_record(place)
        fetched = record.listing.names if record else frozenset()
        listed = {file.name: file for file in listing.files}
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            if path.name in fetched or path.name in _CARRIED or is_litter(path):
                continue
            if path.name not in listed or not listed[path.name].is_at(path):
                raise ConfigError(
                    f"{self.name!r} holds {path.name!r}, which dino-assets did not fetch and which would "
                    "be lost. Nothing was changed. Give another folder, or move this file; to use a "
                    "checkpoint of your own, set DINO_MODEL_ID.",
                    setting="folder",
                    value=path.name,
                )


Destination = RepoCache | TargetFolder


def _warn_of_damage(name: str, listing: Listing, folder: Path) -> None:
    log.warning("%s: %s; fetching it again", name, listing.find_damage(folder))


def _list_shards(folder: Path) -> set[str]:
    try:
        return set(json.loads((folder / INDEX).read_bytes())["weight_map"].values())
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return set()


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""
