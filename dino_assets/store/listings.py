"""What the Hub says a checkpoint consists of, and whether a file on the disk is that."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK_BYTES = 2**20


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


def feed(hasher: "_Hash", file: "io.RawIOBase | io.BufferedIOBase") -> int:
    """Hash a file from where it stands to its end; how many bytes that were."""
    block = memoryview(bytearray(_BLOCK_BYTES))
    seen = 0
    while count := file.readinto(block) or 0:
        hasher.update(block[:count])
        seen += count
    return seen
