"""What the Hub says a checkpoint consists of, and whether a file on the disk is that."""

import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

RECORD = ".dino-assets.json"  # beside the files of a checkpoint: what they were when they came
_BLOCK_BYTES = 2**20
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str) -> bool:
    """Tell a full commit hash, which never moves, from a branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True)
class HubFile:
    """A file of a repository; ``digest`` is its sha256, or for small files git's sha1 of the blob."""

    name: str
    bytes: int
    digest: str

    def hasher(self) -> "_Hash":
        """A hash that ends in ``digest`` once it has seen the file."""
        if len(self.digest) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)

    def is_at(self, path: Path) -> bool:
        """Tell whether ``path`` holds this very file. Every byte is read: a mark could go stale."""
        try:
            if path.stat().st_size != self.bytes:
                return False
            hasher = self.hasher()
            with path.open("rb", buffering=0) as file:
                feed(hasher, file)
        except OSError:
            return False
        return hasher.hexdigest() == self.digest


@dataclass(frozen=True)
class Listing:
    """The wanted files of one commit."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(file.bytes for file in self.files)

    def find_damage(self, folder: Path) -> str | None:
        """The first file that is not in ``folder`` as listed, or weights that are not listed.

        Those would be loaded instead: transformers takes one file before an index of shards.
        """
        listed = {file.name for file in self.files}
        weights = sorted(path.name for path in folder.glob("*.safetensors"))
        added = (name for name in weights if name not in listed)
        return next((f.name for f in self.files if not f.is_at(folder / f.name)), None) or next(
            added, None
        )


@dataclass(frozen=True)
class Record:
    """A listing as it stands beside the files, and the branch, tag or commit that was asked for.

    What was imported has one too, which names no repository and no commit.
    """

    listing: Listing
    revision: str

    @property
    def is_of_hub(self) -> bool:
        """Tell a fetched checkpoint from an imported one."""
        return is_commit(self.listing.commit)

    def dump(self) -> bytes:
        """As bytes for ``RECORD``."""
        return json.dumps(asdict(self.listing) | {"revision": self.revision}, indent=1).encode()


def read_listing(path: Path) -> Listing | None:
    """A listing that was written once; None where there is none, or none that makes sense."""
    record = read_record(path)
    return record.listing if record else None


def read_record(path: Path) -> Record | None:
    """A record, or a bare listing."""
    try:
        said = json.loads(path.read_bytes())
        files = tuple(
            HubFile(str(file["name"]), int(file["bytes"]), str(file["digest"]))
            for file in said["files"]
        )
        if any("/" in file.name or "\0" in file.name for file in files):
            return None  # somebody wants us to look elsewhere
        listing = Listing(str(said["repo"]), str(said["commit"]), files)
        return Record(listing, str(said.get("revision", listing.commit)))
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def feed(hasher: "_Hash", file: "io.RawIOBase | io.BufferedIOBase") -> int:
    """Hash a file from where it stands to its end; how many bytes that were."""
    block = memoryview(bytearray(_BLOCK_BYTES))
    seen = 0
    while count := file.readinto(block) or 0:
        hasher.update(block[:count])
        seen += count
    return seen
