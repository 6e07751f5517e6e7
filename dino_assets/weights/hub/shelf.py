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
    read_record,
)

log = logging.getLogger(__name__)
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Shelf:
    """One repository's place on this machine."""

    repo: str
    folder: Path
    theirs: Path
    where: str = "where HF_HOME points"  # messages show no path that nobody named

    @classmethod
    def of(cls, repo: str, hub: HubSettings) -> "Shelf":
        """The shelf below ``HF_HOME``, and what huggingface_hub itself cached, which is only read."""
        name = repo.replace("/", "--")
        return cls(repo, hub.home / "dino-assets" / name, hub.cache / f"models--{name}")

    def commit_of(self, revision: str) -> str | None:
        """The commit a revision stands for, as far as this machine knows."""
        if is_commit(revision):
            return revision
        for ref in (self._ref(revision), self.theirs / "refs" / revision):
            if is_commit(text := _read(ref)):
                return text
        return None

    def recall(self, revision: str) -> Record | None:
        """Return what was last fetched as a revision; or else what huggingface_hub's cache has of it."""
        commit = self.commit_of(revision)
        if commit is None:
            return None
        fetched = read_record(self._listing_path(commit))
        if fetched and (fetched.listing.repo, fetched.listing.commit) == (self.repo, commit):
            return Record(fetched.listing, revision)
        cached = self._list_theirs(commit)
        return Record(cached, revision, is_listed=False) if cached else None

    def find(self, listing: Listing) -> Path | None:
        """Return the folder, ours or huggingface_hub's, whose every byte is as listed."""
        for folder in (self._commit_folder(listing.commit), self._snapshot(listing.commit)):
            if folder.is_dir() and not listing.find_damage(folder):
                return folder
        return None

    def fill(self, record: Record, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch what is missing and put it in place; waits for another process that does so.

        Raises:
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        listing = record.listing
        folder = self._commit_folder(listing.commit)
        with taking_turns(self.folder):
            if whole := self.find(listing):
                return whole
            if folder.is_dir():
                log.warning(
                    "%s, cached: %s; fetching it again", listing.repo, listing.find_damage(folder)
                )
            others = sorted(self.folder.glob("commits/*"))  # a commit may change the card only
            filling = Filling(
                folder=folder,
                workplace=self.folder,
                lenders=[folder, *others],
                donors=self.list_sources(listing.commit)[1:],
                room_advice="Free some space, or set HF_HOME to a larger disk, and run again.",
            )
            return filling.run(listing, fetch, watch)

    def remember(self, record: Record) -> None:
        """Note what a commit consists of and, last, that a branch stands for it now."""
        listing, revision = record.listing, record.revision
        path = self._listing_path(listing.commit)
        noted = read_record(path)
        if noted is None or noted.listing != listing:
            write_small(path, json.dumps(asdict(listing), indent=1).encode())
        if not is_commit(revision) and _read(self._ref(revision)) != listing.commit:
            write_small(self._ref(revision), listing.commit.encode())

    def list_sources(self, commit: str) -> list[Path]:
        """List the folders of this machine that may hold files of a commit, by name or by hash."""
        return [self._commit_folder(commit), self.theirs / "blobs", self._snapshot(commit)]

    def _commit_folder(self, commit: str) -> Path:
        return self.folder / "commits" / commit

    def _listing_path(self, commit: str) -> Path:
        return self.folder / "listings" / f"{commit}.json"

    def _snapshot(self, commit: str) -> Path:
        return self.theirs / "snapshots" / commit

    def _list_theirs(self, commit: str) -> Listing | None:
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
        return Listing(self.repo, commit, tuple(files)) if needed and needed <= names else None

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
