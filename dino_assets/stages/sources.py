"""Listing and reading inboxes as they come: a folder, a CSV or text list, a bucket prefix.

A local folder is listed with ``os.scandir`` on bytes, without following links: obstore follows links
out of the root, hides names that end in ``#<n>`` and fails whole on one undecodable name.
"""

import csv
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from dino_assets.addresses import hide_secrets
from dino_assets.errors import ConfigError, ObjectNotFoundError, SourceError, StoreError
from dino_assets.records import SourceEntry
from dino_assets.settings import resolve_storage
from dino_assets.store.objects import ObjectStore, open_store

BUCKET_SCHEMES = ("s3://", "minio://", "az://")
# O_NONBLOCK: a pipe put in a file's place since the listing must not hang us.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# obstore's words for a key with an empty or dotted segment or a control character.
_ODD_KEY = re.compile(
    r'object with invalid path: .*?Path "(.*)"(?: contained|: Encountered)', re.DOTALL
)


class Source(Protocol):
    """An inbox: lists every file once, reads one."""

    is_list: bool  # somebody named each file: all are wanted, whatever they are called

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
    """What a drop looked like: every path, size, time stamp (or ETag) and refusal.

    This is how a change is noticed without reading. A copy on another machine has other time stamps,
    so its photographs are read again; the parts that come out are equal.
    """
    digest = hashlib.sha256()
    for entry in entries:
        fields = (entry.path, str(entry.size), entry.stamp, entry.refusal or "")
        digest.update("\0".join(fields).encode() + b"\n")
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
            f"{hide_secrets(source)!r} is no source: a folder, a .csv or .txt list, {', '.join(BUCKET_SCHEMES)}"
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

    is_list = False

    def __init__(self, folder: Path, *, shown: str) -> None:
        self.folder = folder
        self.shown = shown

    def entries(self) -> list[SourceEntry]:
        """All files below the folder; links and special files come with a refusal."""
        try:
            return sorted(self._walk(), key=lambda e: e.path)
        except OSError as err:
            raise SourceError(f"cannot list {self.shown!r}: {err.strerror}") from err

    def _walk(self) -> Iterator[SourceEntry]:
        root = os.fsencode(self.folder)
        waiting = [b""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(os.path.join(root, folder)) as scan:  # noqa: PTH118 - bytes
                    found = list(scan)
            except PermissionError as err:
                if not folder:
                    raise
                yield SourceEntry(_shown(folder), 0, "", "unreadable", f"folder: {err.strerror}")
                continue
            for item in found:
                name = folder + item.name
                if item.is_dir(follow_symlinks=False):
                    waiting.append(name + b"/")
                else:
                    yield self.describe(name, item.stat(follow_symlinks=False))

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
            refusal, detail = "special-file", "a pipe, socket, device or folder"
        return SourceEntry(path, status.st_size, str(status.st_mtime_ns), refusal, detail)

    def read(self, path: str) -> bytes:
        """One file's bytes, never through a link or out of the folder."""
        # The message becomes part of a row, so it must not depend on where the folder is mounted.
        try:
            handle = self._open(path)
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise SourceError(f"cannot read {path!r}: not a regular file any more")
                with os.fdopen(handle, "rb", closefd=False) as file:
                    return file.read()
            finally:
                os.close(handle)
        except SourceError:
            raise
        except OSError as err:
            raise SourceError(f"cannot read {path!r}: {err.strerror}") from err

    def _open(self, path: str) -> int:
        """Open folder by folder: what was checked by its path could be a link when it is opened."""
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise SourceError(f"cannot read {path!r}: it leads out of the folder")
        below = os.open(self.folder, _READ | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _READ | os.O_DIRECTORY, dir_fd=below)
                os.close(below)
                below = inner
            return os.open(parts[-1], _READ, dir_fd=below)
        finally:
            os.close(below)


class ListSource:
    """A CSV (column ``image_path``) or a text list; paths inside the list's own folder only."""

    is_list = True

    def __init__(self, file: Path, *, shown: str, column: str = "image_path") -> None:
        self.file = file
        self.shown = shown
        self.column = column
        self._folder = FolderSource(file.parent, shown=shown)

    def entries(self) -> list[SourceEntry]:
        """The listed files, each once; what is missing or outside comes with a refusal."""
        try:
            self._refuse_utf16()
            # Two spellings of one path (`a.jpg`, `./a.jpg`) are one file.
            found = {entry.path: entry for entry in map(self._entry, self._paths())}
        except SourceError:
            raise
        except (OSError, csv.Error) as err:
            why = err.strerror if isinstance(err, OSError) else str(err)
            raise SourceError(f"cannot read the list {self.shown!r}: {why}") from err
        return [found[path] for path in sorted(found)]

    def _refuse_utf16(self) -> None:
        with self.file.open("rb") as file:
            start = file.read(2)
        if start in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
            raise SourceError(
                f"the list {self.shown!r} is UTF-16 text: save it as UTF-8 (Excel calls it 'CSV "
                "UTF-8')"
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
            if self._is_below_link(name):
                detail = "in a linked folder; links are not followed, copy the files"
                return SourceEntry(_shown(os.fsencode(name)), 0, "", "link", detail)
            return self._folder.describe(os.fsencode(name), full.lstat())
        except OSError as err:
            return SourceEntry(clean, 0, "", "missing", err.strerror or "cannot be looked at")
        except ValueError as err:  # a zero byte
            return SourceEntry(clean, 0, "", "missing", str(err))

    def _is_below_link(self, name: str) -> bool:
        above = PurePosixPath(name).parents
        return any((self.file.parent / folder).is_symlink() for folder in list(above)[:-1])

    def read(self, path: str) -> bytes:
        """One listed file's bytes."""
        return self._folder.read(path)


class BucketSource:
    """A bucket prefix."""

    is_list = False

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def entries(self) -> list[SourceEntry]:
        """All objects below the prefix. A folder marker looks like an empty file without suffix.

        Raises:
            SourceError: a key cannot be a path; obstore then lists nothing at all.
            StoreError: the bucket cannot be listed.
        """
        try:
            found = [
                SourceEntry(info.key, info.bytes, info.etag or info.modified.isoformat())
                for info in self.store.list()
            ]
        except StoreError as err:
            if "object with invalid path" not in str(err):
                raise
            odd = _ODD_KEY.search(str(err))
            key = odd[1] if odd else str(err).rpartition("invalid path: ")[2]
            raise SourceError(
                f"{self.store.url!r} cannot be listed because of the key "
                f"{key!r}: a part of it is empty, . or .., or has a control "
                "character. Rename or remove this object."
            ) from err
        return sorted(found, key=lambda entry: entry.path)

    def read(self, path: str) -> bytes:
        """One object's bytes."""
        try:
            return self.store.get(path)
        except ObjectNotFoundError as err:
            raise SourceError(f"cannot read {path!r}: there is no such object any more") from err


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


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
