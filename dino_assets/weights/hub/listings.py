"""Listings: the files of a checkpoint with their hashes, to which files on disk are compared."""

import fnmatch
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

RECORD = ".dino-assets.json"  # beside a checkpoint's files: their names and hashes on arrival
_WANTED = ("*.safetensors", "*.json", "readme.md", "license*", "licence*", "notice*")
# Files of huggingface_hub, git and macOS beside a checkpoint, which may be deleted.
_LITTER = (RECORD, ".gitattributes", ".DS_Store")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_commit(revision: str) -> bool:
    """Check whether a revision is a full commit hash, which never moves, unlike a branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def is_digest(text: str) -> bool:
    """Check whether a text has the form of a file's hash: git's sha1 or a sha256."""
    return is_commit(text) or _SHA256.fullmatch(text) is not None


@dataclass(frozen=True)
class HubFile:
    """A file of a repository; ``digest`` is its sha256, or for small files the sha1 that git computes."""

    name: str
    bytes: int
    digest: str

    def hasher(self) -> "_Hash":
        """Make the hash object whose result for the file's bytes is ``digest``."""
        if len(self.digest) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)

    def is_at(self, path: Path) -> bool:
        """Check whether ``path`` holds this file; every byte is read, since size and time prove nothing."""
        try:
            if path.stat().st_size != self.bytes:
                return False
            with path.open("rb", buffering=0) as file:
                return hashlib.file_digest(file, self.hasher).hexdigest() == self.digest
        except OSError:
            return False


@dataclass(frozen=True)
class Listing:
    """The files of one commit that belong to a checkpoint."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.bytes for file in self.files)

    @property
    def names(self) -> frozenset[str]:
        """The files' names."""
        return frozenset(file.name for file in self.files)

    def find_damage(self, folder: Path) -> str | None:
        """Describe the first file in ``folder`` that differs from the listing; return None if none does.

        Every byte is read. A further file of weights in the folder counts as a difference, too.
        """
        for file in self.files:
            if not file.is_at(folder / file.name):
                return f"{file.name} is missing or has changed since it came"
        # An added file could be loaded instead: transformers prefers a single file to an index of shards.
        weights = {path.name for path in folder.glob("[!.]*.safetensors")}
        added = sorted(weights - self.names)
        return f"{added[0]} is not one of the files that came" if added else None


@dataclass(frozen=True)
class Record:
    """A listing stored on the disk, with the branch, tag or commit that was requested.

    An imported checkpoint's record has no repository and no commit. ``is_listed`` is False if the files
    come from another program's cache, which may lack some of the Hub's files.
    """

    listing: Listing
    revision: str
    is_listed: bool = True

    @property
    def is_of_hub(self) -> bool:
        """Whether the checkpoint was fetched from the Hub, not imported."""
        return is_commit(self.listing.commit)

    def dump(self) -> bytes:
        """Encode the record for the file ``RECORD``."""
        fields = {**asdict(self.listing), "revision": self.revision, "is_listed": self.is_listed}
        return json.dumps(fields, indent=1).encode()


def read_record(path: Path) -> Record | None:
    """Read a stored record; return None if the file is missing or not valid.

    If the file names no revision, the commit is taken as the revision.
    """
    try:
        fields = json.loads(path.read_bytes())
        files = tuple(
            HubFile(str(file["name"]), int(file["bytes"]), str(file["digest"]))
            for file in fields["files"]
        )
        if any("/" in file.name or "\0" in file.name for file in files):
            return None  # an attempt to read files outside the folder
        listing = Listing(str(fields["repo"]), str(fields["commit"]), files)
        is_listed = fields.get("is_listed", True) is True
        return Record(listing, str(fields.get("revision", listing.commit)), is_listed)
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def read_hub_record(folder: Path) -> Record | None:
    """Read the record of a folder that was fetched from the Hub; return None for any other folder."""
    record = read_record(folder / RECORD)
    return record if record and record.is_of_hub else None


def is_wanted(name: str) -> bool:
    """Check by its name whether a file of a repository belongs to a checkpoint."""
    lowered = name.lower()
    is_plain = not name.startswith(".") and not set(name) & set("/\\\0")
    return is_plain and any(fnmatch.fnmatchcase(lowered, pattern) for pattern in _WANTED)


def is_litter(path: Path) -> bool:
    """Check whether a file was left by other programs or a killed run, and may be deleted."""
    if path.name == ".cache":
        return {child.name for child in path.iterdir()} <= {"huggingface"}
    return path.name in _LITTER or path.name.startswith(("._", f".{RECORD}."))
