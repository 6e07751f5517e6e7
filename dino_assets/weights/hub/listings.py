"""What the Hub says a checkpoint consists of, and whether a file on the disk is that."""

import fnmatch
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

RECORD = ".dino-assets.json"  # beside the files of a checkpoint: what they were when they came
_WANTED = ("*.safetensors", "*.json", "readme.md", "license*", "licence*", "notice*")
# What other programs leave beside a checkpoint, and nobody misses: huggingface_hub, git, macOS.
_LITTER = (RECORD, ".gitattributes", ".DS_Store")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_commit(revision: str) -> bool:
    """Tell a full commit hash, which never moves, from a branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def is_digest(text: str) -> bool:
    """Tell whether it can be the hash of a file: git's sha1 or a sha256."""
    return is_commit(text) or _SHA256.fullmatch(text) is not None


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
            with path.open("rb", buffering=0) as file:
                return hashlib.file_digest(file, self.hasher).hexdigest() == self.digest
        except OSError:
            return False


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

    @property
    def names(self) -> frozenset[str]:
        """The files' names."""
        return frozenset(file.name for file in self.files)

    def find_damage(self, folder: Path) -> str | None:
        """What is not in ``folder`` as listed, in words; every byte of it is read."""
        for file in self.files:
            if not file.is_at(folder / file.name):
                return f"{file.name} is missing, or no longer what came"
        # Other weights might be loaded instead: transformers takes one file before an index of shards.
        weights = {path.name for path in folder.glob("[!.]*.safetensors")}
        added = sorted(weights - self.names)
        return f"{added[0]} is none of the files that came" if added else None


@dataclass(frozen=True)
class Record:
    """A listing as it stands beside the files, and the branch, tag or commit that was asked for.

    What was imported has one too, which names no repository and no commit. ``is_listed`` is False for
    what another program's cache had of a commit, which may not be all that the Hub lists.
    """

    listing: Listing
    revision: str
    is_listed: bool = True

    @property
    def is_of_hub(self) -> bool:
        """Tell a fetched checkpoint from an imported one."""
        return is_commit(self.listing.commit)

    def dump(self) -> bytes:
        """As bytes for ``RECORD``."""
        fields = {**asdict(self.listing), "revision": self.revision, "is_listed": self.is_listed}
        return json.dumps(fields, indent=1).encode()


def read_record(path: Path) -> Record | None:
    """A record, or a bare listing."""
    try:
        fields = json.loads(path.read_bytes())
        files = tuple(
            HubFile(str(file["name"]), int(file["bytes"]), str(file["digest"]))
            for file in fields["files"]
        )
        if any("/" in file.name or "\0" in file.name for file in files):
            return None  # somebody wants us to look elsewhere
        listing = Listing(str(fields["repo"]), str(fields["commit"]), files)
        is_listed = fields.get("is_listed", True) is True
        return Record(listing, str(fields.get("revision", listing.commit)), is_listed)
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def read_hub_record(folder: Path) -> Record | None:
    """What was fetched from the Hub into a folder last; None for what was imported."""
    record = read_record(folder / RECORD)
    return record if record and record.is_of_hub else None


def is_wanted(name: str) -> bool:
    """Tell the files that we load or carry along from whatever else lies beside them."""
    lowered = name.lower()
    is_plain = not name.startswith(".") and not set(name) & set("/\\\0")
    return is_plain and any(fnmatch.fnmatchcase(lowered, pattern) for pattern in _WANTED)


def is_litter(path: Path) -> bool:
    """Tell what other programs, or we when killed, leave in a folder from what somebody put there."""
    if path.name == ".cache":
        return {child.name for child in path.iterdir()} <= {"huggingface"}
    return path.name in _LITTER or path.name.startswith(("._", f".{RECORD}."))
