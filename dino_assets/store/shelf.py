"""Where fetched checkpoints stand on this machine: whole or absent, one process at a time.

::

    <HF_HOME>/dino-assets/<organisation>--<name>/
        commits/<commit>/…       a whole checkpoint, renamed into place when every file is verified
        listings/<commit>.json   what the Hub says it consists of
        refs/<branch>            its commit when it was last fetched: written last
        parts/<hash>.part        unfinished files, resumed by whoever comes next
        lock
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from dino_assets.errors import DiskFullError
from dino_assets.settings import HubSettings
from dino_assets.store.listings import HubFile, Listing

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
FetchFile = Callable[[HubFile, Path, Callable[[int], None]], None]
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str) -> bool:
    """Tell a full commit hash, which never moves, from a branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True)
class Shelf:
    """One repository's place on this machine."""

    folder: Path
    theirs: Path

    @classmethod
    def of(cls, repo: str, hub: HubSettings) -> "Shelf":
        """The shelf below ``HF_HOME``, and what huggingface_hub itself cached, which is only read."""
        name = repo.replace("/", "--")
        return cls(hub.home / "dino-assets" / name, hub.cache / f"models--{name}")

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
        try:
            said = json.loads((self.folder / "listings" / f"{commit}.json").read_bytes())
            files = tuple(HubFile(**file) for file in said["files"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Listing(repo, commit, files)

    def find(self, listing: Listing) -> Path | None:
        """The checkpoint's folder, if every byte of it is what the listing says."""
        folder = self._commit(listing.commit)
        whole = folder.is_dir() and all(file.is_at(folder / file.name) for file in listing.files)
        return folder if whole else None

    def find_theirs(self, commit: str) -> Path | None:
        """huggingface_hub's own copy, whose links carry the hashes that it is verified against."""
        folder = self.theirs / "snapshots" / commit
        files = []
        for link in sorted(path for path in folder.glob("*") if not path.is_dir()):
            blob = link.resolve()
            if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name) or not blob.is_file():
                return None
            files.append(HubFile(link.name, blob.stat().st_size, blob.name))
        if not any(file.name.endswith(".safetensors") for file in files):
            return None
        return folder if all(file.is_at(folder / file.name) for file in files) else None

    def fill(self, listing: Listing, fetch: FetchFile, *, progress: Progress) -> Path:
        """Fetch what is missing and put it in place; waits for another process that does so.

        Raises:
            DiskFullError: there is no room, said before the first byte is asked for.
        """
        with self._turn():
            return self._fill(listing, fetch, progress)

    def remember(self, listing: Listing, revision: str) -> None:
        """Note what a commit consists of and, last, that a branch stands for it now."""
        if self.listing_of(listing.repo, listing.commit) != listing:
            _write(
                self.folder / "listings" / f"{listing.commit}.json",
                json.dumps(asdict(listing), indent=1).encode(),
            )
        if not is_commit(revision) and _read(self._ref(revision)) != listing.commit:
            _write(self._ref(revision), listing.commit.encode())

    def _fill(self, listing: Listing, fetch: FetchFile, progress: Progress) -> Path:
        folder = self._commit(listing.commit)
        making = folder.with_name(f".making-{listing.commit}")
        parts = self.folder / "parts"
        for needed in (making, parts):
            needed.mkdir(parents=True, exist_ok=True)
        missing = [  # looked at only now: the process that we waited for may have fetched them
            file
            for file in listing.files
            if not any(file.is_at(place / file.name) for place in (folder, making))
            and not self._link(file, making)
        ]
        self._check_room(missing)
        done = listing.bytes - sum(file.bytes for file in missing)
        for file in missing:
            if not self._copy(file, making):
                part = parts / f"{file.digest}.part"
                fetch(file, part, lambda got, before=done: progress(before + got, listing.bytes))  # type: ignore[misc]
                part.replace(making / file.name)
            done += file.bytes
        _sync_folder(making)
        if folder.is_dir():
            # A damaged checkpoint: its good files stay, each bad one is replaced in one step.
            for fresh in making.iterdir():
                fresh.replace(folder / fresh.name)
            making.rmdir()
            _sync_folder(folder)
        else:
            making.rename(folder)
        _sync_folder(folder.parent)
        shutil.rmtree(parts)
        for given_up in folder.parent.glob(".making-*"):  # of a commit that a branch left behind
            shutil.rmtree(given_up)
        return folder

    def _link(self, file: HubFile, making: Path) -> bool:
        """Take a file from huggingface_hub's cache, as the same inode: nothing here writes in place."""
        blob, mine = self.theirs / "blobs" / file.digest, making / file.name
        mine.unlink(missing_ok=True)
        if blob.is_file():
            with contextlib.suppress(OSError):  # another disk
                mine.hardlink_to(blob)
        return file.is_at(mine)

    def _copy(self, file: HubFile, making: Path) -> bool:
        blob, mine = self.theirs / "blobs" / file.digest, making / file.name
        if not file.is_at(blob):
            return False
        mine.unlink(missing_ok=True)
        shutil.copyfile(blob, mine)
        with mine.open("rb") as copied:
            os.fsync(copied.fileno())
        return file.is_at(mine)

    def _check_room(self, missing: list[HubFile]) -> None:
        parts = self.folder / "parts"
        needed = sum(
            max(0, file.bytes - (part.stat().st_size if part.is_file() else 0))
            for file in missing
            for part in [parts / f"{file.digest}.part"]
        )
        free = shutil.disk_usage(parts).free
        if needed > free:
            raise DiskFullError(
                f"the checkpoint needs {needed:,} more bytes, and only {free:,} are free where HF_HOME "
                "points. Free some space, or set HF_HOME to a larger disk, and run again.",
                needed_bytes=needed,
                free_bytes=free,
            )

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("another process fetches %s; waiting for it", self.folder.name)
                fcntl.flock(lock, fcntl.LOCK_EX)  # ends with its holder, however that ends
            yield

    def _commit(self, commit: str) -> Path:
        return self.folder / "commits" / commit

    def _ref(self, revision: str) -> Path:
        return self.folder / "refs" / quote(revision, safe="")


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""


def _write(path: Path, data: bytes) -> None:
    """Replace a small file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
