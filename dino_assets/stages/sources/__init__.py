"""Listing and reading inboxes as they come: a folder, a CSV or text list, a bucket prefix."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dino_assets.addresses import hide_secrets
from dino_assets.core.cards import label_of
from dino_assets.errors import ConfigError, SourceError
from dino_assets.records import SourceEntry
from dino_assets.settings import load_settings, resolve_storage
from dino_assets.stages.sources.buckets import BucketSource
from dino_assets.stages.sources.folders import FolderSource
from dino_assets.stages.sources.lists import ListSource
from dino_assets.store.objects import open_store

__all__ = [
    "BUCKET_SCHEMES",
    "BucketSource",
    "FolderSource",
    "ListSource",
    "Source",
    "fingerprint",
    "open_source",
    "read_exactly",
]

BUCKET_SCHEMES = ("s3://", "minio://", "az://")


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


def open_source(source: str, *, root: Path, image_roots: Sequence[Path] | None = None) -> Source:
    """Open an inbox by its address; relative paths are relative to ``root``.

    A list may name files below ``image_roots`` too (those of the settings if none are given), not only
    in its own folder.

    Raises:
        SourceError: there is nothing at this address.
        ConfigError: the address makes no sense.
    """
    if source.startswith(BUCKET_SCHEMES):
        return BucketSource(open_store(resolve_storage(source, root=root)))
    if "://" in source:
        raise ConfigError(
            f"{hide_secrets(source)!r} is no source: a folder, a .csv or .txt list, {', '.join(BUCKET_SCHEMES)}"
        )
    try:
        path = (root / Path(source).expanduser()).resolve()
        is_folder, is_file = path.is_dir(), path.is_file()
    # A folder nobody may enter, a name too long; a loop of links or an unknown ~user; a zero byte.
    except (OSError, RuntimeError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err).rstrip(".")
        raise SourceError(
            f"{source!r} cannot be opened: {why}. Check the path, and whether you may read it."
        ) from err
    if is_folder:
        return FolderSource(path, shown=source)
    if is_file and path.suffix.lower() in (".csv", ".txt"):
        roots = load_settings(root).image_roots if image_roots is None else image_roots
        return ListSource(path, shown=source, image_roots=[root / each for each in roots])
    raise SourceError(
        f"there is no folder and no .csv or .txt list at {source!r}. Check the path, and that the "
        "disk or card is mounted."
    )


def read_exactly(source: Source, path: str, image_id: str) -> bytes:
    """One file's bytes, if they are still those that ``images`` recorded.

    Raises:
        SourceError: it cannot be read, or is another photograph now.
    """
    data = source.read(path)
    if hashlib.sha256(data).hexdigest() != image_id:
        raise SourceError(
            f"{path!r} is not the photograph that was tiled: its bytes changed since. Materialise "
            "`images` and `tiles` of this drop again."
        )
    return data
