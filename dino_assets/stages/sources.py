"""Listing and reading inboxes as they come: a folder, a CSV or text list, a bucket prefix.

A local folder is listed with ``os.scandir`` on bytes, without following links: obstore follows links
out of the root, hides names that end in ``#<n>`` and fails whole on one undecodable name.
"""

import csv
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from dino_assets.errors import ConfigError, SourceError
from dino_assets.records import SourceEntry
from dino_assets.settings import resolve_storage
from dino_assets.store.objects import ObjectStore, open_store

BUCKET_SCHEMES = ("s3://", "minio://", "az://")


class Source(Protocol):
    """An inbox: lists every file once, reads one."""

    def entries(self) -> list[SourceEntry]:
        """All files, sorted by path."""
        ...

    def read(self, path: str) -> bytes:
        """One file's bytes.

        Raises:
            SourceError: this one file cannot be read.
            StoreError: the whole source cannot be reached.
        """
        ...


def fingerprint(entries: Iterable[SourceEntry]) -> str:
    """What a drop looked like: every path, size and time stamp (or ETag)."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.path}\0{entry.size}\0{entry.stamp}\n".encode())
    return digest.hexdigest()


def open_source(source: str, *, root: Path) -> Source:
    """Open an inbox by its address; relative paths are relative to ``root``.

    Raises:
        SourceError: there is nothing at this address.
        ConfigError: the address makes no sense.
    """
    if source.startswith(BUCKET_SCHEMES):
        return BucketSource(open_store(resolve_storage(source, root=root)))
    if "://" in source:
        raise ConfigError(
            f"{source!r} is no source: a folder, a .csv or .txt list, {', '.join(BUCKET_SCHEMES)}"
        )
    path = (root / Path(source).expanduser()).resolve()
    if path.is_dir():
        return FolderSource(path, shown=source)
    if path.is_file() and path.suffix.lower() in (".csv", ".txt"):
        return ListSource(path, shown=source)
    raise SourceError(
        f"there is no folder and no .csv or .txt list at {source!r}. Check the path, and that the "
        "disk or card is mounted."
    )


class FolderSource:
    """A folder exactly as it comes off a card."""

    def __init__(self, folder: Path, *, shown: str) -> None:
        self.folder = folder
        self.shown = shown

    def entries(self) -> list[SourceEntry]:
        """All files below the folder; links and special files come with a refusal."""
        try:
            return sorted(self._walk(os.fsencode(self.folder), b""), key=lambda e: e.path)
        except OSError as err:
            raise SourceError(f"cannot list {self.shown!r}: {err.strerror}") from err

    def _walk(self, folder: bytes, prefix: bytes) -> Iterator[SourceEntry]:
        with os.scandir(folder) as found:
            for item in found:
                name = prefix + item.name
                if item.is_dir(follow_symlinks=False):
                    yield from self._walk_below(item.path, name)
                else:
                    yield self.describe(name, item.stat(follow_symlinks=False))

    def _walk_below(self, folder: bytes, name: bytes) -> Iterator[SourceEntry]:
        try:
            yield from self._walk(folder, name + b"/")
        except PermissionError as err:
            yield SourceEntry(_shown(name), 0, "", "unreadable", f"folder: {err.strerror}")

    def describe(self, name: bytes, status: os.stat_result) -> SourceEntry:
        """One listed file, with the reason why it must not be opened, if there is one."""
        refusal, detail = None, ""
        try:
            path = name.decode()
        except UnicodeDecodeError:
            path, refusal = _shown(name), "undecodable-name"
            detail = "the name is not UTF-8; rename the file"
        if stat.S_ISLNK(status.st_mode):
            refusal, detail = "link", "links are not followed; copy the file itself"
        elif not stat.S_ISREG(status.st_mode):
            refusal, detail = "special-file", "a pipe, socket or device"
        return SourceEntry(path, status.st_size, str(status.st_mtime_ns), refusal, detail)

    def read(self, path: str) -> bytes:
        """One file's bytes, never through a link or out of the folder."""
        full = self.folder / path
        try:
            if not full.parent.resolve().is_relative_to(self.folder):
                raise SourceError(f"{path!r} leads out of {self.shown!r}")
            # O_NONBLOCK: a pipe put here since the listing must not hang us.
            handle = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise SourceError(f"{path!r} in {self.shown!r} is not a regular file")
                return file.read()
        except OSError as err:
            if isinstance(err, SourceError):
                raise
            raise SourceError(f"cannot read {path!r} in {self.shown!r}: {err.strerror}") from err


class ListSource:
    """A CSV (column ``image_path``) or a text list; paths inside the list's own folder only."""

    def __init__(self, file: Path, *, shown: str, column: str = "image_path") -> None:
        self.file = file
        self.shown = shown
        self.column = column
        self._folder = FolderSource(file.parent, shown=shown)

    def entries(self) -> list[SourceEntry]:
        """The listed files, each once; what is missing or outside comes with a refusal."""
        return sorted(
            (self._entry(path) for path in dict.fromkeys(self._paths())), key=lambda e: e.path
        )

    def _paths(self) -> Iterator[str]:
        with self.file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            if self.file.suffix.lower() == ".txt":
                yield from (line.strip() for line in file if line.strip())
                return
            reader = csv.DictReader(file)
            if self.column not in (reader.fieldnames or ()):
                raise SourceError(
                    f"{self.shown!r} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; "
                    f"a column {self.column!r} is needed"
                )
            yield from (
                row[self.column].strip() for row in reader if (row[self.column] or "").strip()
            )

    def _entry(self, listed: str) -> SourceEntry:
        clean = listed.encode(errors="surrogateescape").decode(errors="backslashreplace")
        full = Path(os.path.normpath(self.file.parent / listed))
        if not full.is_relative_to(self.file.parent):
            return SourceEntry(
                clean, 0, "", "outside", "leads out of the list's folder; move the list or the file"
            )
        name = PurePosixPath(full.relative_to(self.file.parent)).as_posix()
        try:
            return self._folder.describe(os.fsencode(name), full.lstat())
        except OSError as err:
            return SourceEntry(clean, 0, "", "missing", err.strerror or "cannot be looked at")

    def read(self, path: str) -> bytes:
        """One listed file's bytes."""
        return self._folder.read(path)


class BucketSource:
    """A bucket prefix."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def entries(self) -> list[SourceEntry]:
        """All objects below the prefix; folder markers are no files."""
        return sorted(
            (
                SourceEntry(info.key, info.bytes, info.etag or info.modified.isoformat())
                for info in self.store.list()
                if not info.key.endswith("/")
            ),
            key=lambda entry: entry.path,
        )

    def read(self, path: str) -> bytes:
        """One object's bytes."""
        return self.store.get(path)


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
