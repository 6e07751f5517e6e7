"""Interface of sources, and the fingerprint of a listing."""

import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dino_assets.drops.cards import find_label, is_photo_name
from dino_assets.drops.records import SourceEntry
from dino_assets.errors import SourceError


class Source(Protocol):
    """A place with image files: lists each file once, and reads single files."""

    is_list: bool  # a person named each file: all are wanted, whatever their suffix

    def entries(self) -> list[SourceEntry]:
        """List all files, sorted by path."""
        ...

    def read(self, path: str) -> bytes:
        """Read one file's bytes, at most MAX_FILE_BYTES.

        Raises:
            SourceError: this one file cannot be read, or has become larger.
            StoreError: the whole source cannot be reached.
        """
        ...

    def open_file(self, path: str) -> AbstractContextManager[Path]:
        """Open one file as a local path that C libraries can read, while the context lasts.

        Raises:
            SourceError: this one file cannot be read.
            DiskFullError: the file must be downloaded, and the temporary folder has too little room.
            StoreError: the whole source cannot be reached.
        """
        ...


def is_wanted(entry: SourceEntry, *, is_list: bool) -> bool:
    """Check whether a file becomes a row of ``images``: it has a photograph's suffix, or a list names it.

    A file that must not be opened, such as a link or a pipe, becomes a row with the reason, whatever its
    suffix.
    """
    return is_list or bool(entry.refusal) or is_photo_name(entry.path)


def fingerprint(entries: Iterable[SourceEntry]) -> str:
    """Hash a listing.

    Of each file: path, size, time stamp (or ETag), why it must not be opened (if so), and the label and metadata
    that a list gives it.

    The hash detects changes without reading files. A copy on another machine has other time stamps, so its
    photographs are read again; the results are equal.
    """
    digest = hashlib.sha256()
    for entry in entries:
        fields: tuple[str, ...] = (entry.path, str(entry.size), entry.stamp, entry.refusal or "")
        # A label that follows from the path adds nothing. A label from a list does; if both are the same,
        # the list's entry has metadata.
        if entry.metadata is not None or (entry.label and entry.label != find_label(entry.path)):
            fields += (entry.label or "", entry.metadata or "")
        digest.update("\0".join(fields).encode() + b"\n")
    return digest.hexdigest()


def read_exactly(source: Source, path: str, image_id: str) -> bytes:
    """Read one file's bytes and check that they have not changed since ``images`` recorded them.

    Raises:
        SourceError: the file cannot be read, or its bytes changed.
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
