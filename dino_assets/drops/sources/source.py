"""The interface of sources, and what a listing looked like."""

import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dino_assets.drops.cards import is_photo_name, label_of
from dino_assets.drops.records import SourceEntry
from dino_assets.errors import SourceError


class Source(Protocol):
    """An inbox: lists every file once, reads one."""

    is_list: bool  # somebody named each file: all are wanted, whatever they are called

    def entries(self) -> list[SourceEntry]:
        """All files, sorted by path."""
        ...

    def read(self, path: str) -> bytes:
        """One file's bytes, at most MAX_FILE_BYTES.

        Raises:
            SourceError: this one file cannot be read, or has become larger than that.
            StoreError: the whole source cannot be reached.
        """
        ...

    def open_file(self, path: str) -> AbstractContextManager[Path]:
        """A path under which libraries written in C find the file's bytes, while the context lasts.

        Raises:
            SourceError: this one file cannot be read.
            DiskFullError: it must be fetched, and the temporary folder has no room for it.
            StoreError: the whole source cannot be reached.
        """
        ...


def is_wanted(entry: SourceEntry, *, is_list: bool) -> bool:
    """Tell whether a file is to be read, or explained: a photograph by its name, or named in a list.

    Links, pipes and the like are wanted as well, whatever they are called: each is a row with a reason.
    """
    return is_list or bool(entry.refusal) or is_photo_name(entry.path)


def fingerprint(entries: Iterable[SourceEntry]) -> str:
    """What a drop looked like: every path, size, time stamp (or ETag), refusal, and what a list says.

    This is how a change is noticed without reading. A copy on another machine has other time stamps,
    so its photographs are read again; the parts that come out are equal.
    """
    digest = hashlib.sha256()
    for entry in entries:
        fields: tuple[str, ...] = (entry.path, str(entry.size), entry.stamp, entry.refusal or "")
        # A label that follows from the path says nothing new; one from a list does, and a list marks
        # one that happens to be the same by its metadata.
        if entry.metadata is not None or (entry.label and entry.label != label_of(entry.path)):
            fields += (entry.label or "", entry.metadata or "")
        digest.update("\0".join(fields).encode() + b"\n")
    return digest.hexdigest()


def read_exactly(source: Source, path: str, image_id: str) -> bytes:
    """One file's bytes, if they are still those that ``images`` recorded.

    Raises:
        SourceError: it cannot be read, or is another photograph now.
    """
    data = source.read(path)
    if hashlib.sha256(data).hexdigest() != image_id:
        raise SourceError(
            f"{path!r} is not the photograph that was tiled: its bytes changed since. Materialise "
            "`images` and `tiles` of this drop again.",
            reason="changed",
            path=path,
        )
    return data
