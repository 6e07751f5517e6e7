"""Where fetched checkpoints stand on this machine: whole or absent, one process at a time.

::

    <HF_HOME>/dino-assets/<organisation>--<name>/
        commits/<commit>/…       a whole checkpoint, renamed into place when every file is verified
        listings/<commit>.json   what the Hub says it consists of
        refs/<branch>            its commit when it was last fetched: written last
        parts/<hash>.part        unfinished files, resumed by whoever comes next
        making/<commit>/…        a checkpoint that is not whole yet
        lock
"""

import contextlib
import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from dino_assets.settings.records import HubSettings
from dino_assets.store.folders import write_small
from dino_assets.weights.hub.filling import FetchFile, Filling, Watch, taking_turns
from dino_assets.weights.hub.listings import (
    HubFile,
    Listing,
    Record,
    is_commit,
    is_wanted,
    read_listing,
)

log = logging.getLogger(__name__)
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Shelf:
    """One repository's place on this machine."""

    folder: Path
    theirs: Path
    where: str = "where HF_HOME points"  # messages show no path that nobody named

    @classmethod
    def of(cls, repo: str, hub: HubSettings) -> "Shelf":
        """The shelf below ``HF_HOME``, and what huggingface_hub itself cached, which is only read."""
        name = repo.replace("/", "--")
        return cls(hub.home / "dino-assets" / name, hub.cache / f"models--{name}")

    @property
    def blobs(self) -> Path:
        """huggingface_hub's files, by their hashes."""
        return self.theirs / "blobs"

    def commit_of(self, revision: str) -> str | None:
        """The commit a revision stands for, as far as this machine knows."""
        if is_commit(revision):
            return revision
        for ref in (self._ref(revision), self.theirs / "refs" / revision):
            if is_commit(text := _read(ref)):
                return text
        return None

    def listing_of(self, repo: str, commit: str) -> Listing | None:
        """The listing of a commit that was fetched once."""
        found = read_listing(self.folder / "listings" / f"{commit}.json")
        return found if found and (found.repo, found.commit) == (repo, commit) else None

    def local_listing_of(self, repo: str, commit: str) -> Listing | None:
        """The same; or else what huggingface_hub's cache has of it."""
        return self.listing_of(repo, commit) or self._list_theirs(repo, commit)

    def find(self, listing: Listing) -> Path | None:
        """The checkpoint's folder, ours or huggingface_hub's, if every byte is what the listing says."""
        for folder in (self.commit(listing.commit), self._snapshot(listing.commit)):
            if folder.is_dir() and not listing.find_damage(folder):
                return folder
        return None

    def find_locally(self, record: Record, watch: Watch) -> Path | None:
        """The same: a cache has nowhere else to take it from."""
        return self.find(record.listing)

    def fill(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch what is missing and put it in place; waits for another process that does so.

        Raises:
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        listing = record.listing
        with taking_turns(self.folder):
            if found := self.find(listing):
                return found
            folder = self.commit(listing.commit)
            if folder.is_dir():
                log.warning(
                    "%s, cached: %s; fetching it again", listing.repo, listing.find_damage(folder)
                )
            others = sorted(self.folder.glob("commits/*"))  # a commit may change the card only
            filling = Filling(
                folder=folder,
                workplace=self.folder,
                lenders=[folder, *others],
                donors=[self.blobs, self._snapshot(listing.commit)],
                room_advice="Free some space, or set HF_HOME to a larger disk, and run again.",
            )
            return filling.run(listing, fetch, watch)

    def remember(self, record: Record) -> None:
        """Note what a commit consists of and, last, that a branch stands for it now."""
        listing, revision = record.listing, record.revision
        if self.listing_of(listing.repo, listing.commit) != listing:
            write_small(
                self.folder / "listings" / f"{listing.commit}.json",
                json.dumps(asdict(listing), indent=1).encode(),
            )
        if not is_commit(revision) and _read(self._ref(revision)) != listing.commit:
            write_small(self._ref(revision), listing.commit.encode())

    def commit(self, commit: str) -> Path:
        """Where a commit's files are, if they are."""
        return self.folder / "commits" / commit

    def places(self, commit: str) -> list[Path]:
        """Where files of a commit may be on this machine."""
        return [self.commit(commit), self.blobs, self._snapshot(commit)]

    def _snapshot(self, commit: str) -> Path:
        return self.theirs / "snapshots" / commit

    def _list_theirs(self, repo: str, commit: str) -> Listing | None:
        """What huggingface_hub's links say, whose targets are named by hash; None if weights lack."""
        snapshot = self._snapshot(commit)
        files = []
        for link in sorted(snapshot.glob("[!.]*")):
            blob = link.resolve()
            if not is_wanted(link.name) or blob.is_dir():
                continue
            if not blob.is_file() or not _DIGEST.fullmatch(blob.name):
                return None  # a copy, whose hash nobody knows
            files.append(HubFile(link.name, blob.stat().st_size, blob.name))
        names = {file.name for file in files}
        needed = _list_shards(snapshot) if INDEX in names and WEIGHTS not in names else {WEIGHTS}
        return Listing(repo, commit, tuple(files)) if needed and needed <= names else None

    def _ref(self, revision: str) -> Path:
        return self.folder / "refs" / quote(revision, safe="")


def _list_shards(folder: Path) -> set[str]:
    try:
        return set(json.loads((folder / INDEX).read_bytes())["weight_map"].values())
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return set()


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""
