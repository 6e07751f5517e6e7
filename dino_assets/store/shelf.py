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
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from dino_assets.settings import HubSettings
from dino_assets.store.filling import FetchFile, Filling, Watch, taking_turns
from dino_assets.store.folders import write_small
from dino_assets.store.listings import HubFile, Listing, is_commit, read_listing

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
        """The same; or else what huggingface_hub's links say, whose targets are named by hash."""
        return self.listing_of(repo, commit) or self._listing_of_theirs(repo, commit)

    def find(self, listing: Listing) -> Path | None:
        """The checkpoint's folder, if every byte of it is what the listing says."""
        folder = self.commit(listing.commit)
        return folder if folder.is_dir() and not listing.find_damage(folder) else None

    def find_locally(self, listing: Listing, revision: str, watch: Watch) -> Path | None:
        """The same, or huggingface_hub's own copy."""
        theirs = self._snapshot(listing.commit)
        mine = self.find(listing)
        return mine or (theirs if theirs.is_dir() and not listing.find_damage(theirs) else None)

    def fill(self, listing: Listing, revision: str, fetch: FetchFile, watch: Watch) -> Path:
        """Fetch what is missing and put it in place; waits for another process that does so.

        Raises:
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        with taking_turns(self.folder):
            folder = self.commit(listing.commit)
            others = sorted(self.folder.glob("commits/*"))  # a commit may change the card only
            filling = Filling(
                folder=folder,
                workplace=self.folder,
                lenders=[folder, *others, self.blobs],
                donors=[],
                room_advice="Free some space, or set HF_HOME to a larger disk, and run again.",
            )
            return self.find(listing) or filling.run(listing, fetch, watch)

    def remember(self, listing: Listing, revision: str) -> None:
        """Note what a commit consists of and, last, that a branch stands for it now."""
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

    def _listing_of_theirs(self, repo: str, commit: str) -> Listing | None:
        files = []
        for link in sorted(self._snapshot(commit).glob("*")):
            blob = link.resolve()
            if blob.is_file() and _DIGEST.fullmatch(blob.name):
                files.append(HubFile(link.name, blob.stat().st_size, blob.name))
            elif not blob.is_dir():
                return None  # a copy, whose hash nobody knows
        has_weights = any(file.name.endswith(".safetensors") for file in files)
        return Listing(repo, commit, tuple(files)) if has_weights else None

    def _ref(self, revision: str) -> Path:
        return self.folder / "refs" / quote(revision, safe="")


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""
