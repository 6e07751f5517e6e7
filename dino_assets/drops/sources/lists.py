"""CSV or text list of files as a source; the files lie in the list's folder or in configured roots."""

import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import takewhile
from operator import attrgetter
from pathlib import Path, PurePosixPath

from dino_assets.drops.cards import find_label
from dino_assets.drops.records import MAX_FILE_BYTES, SourceEntry
from dino_assets.drops.sources.folders import (
    FolderSource,
    cannot_read,
    describe_file,
    find_name,
    show_name,
)
from dino_assets.drops.sources.progress import Tally
from dino_assets.drops.sources.tables import Listed, read_list
from dino_assets.errors import ConfigError, SourceError

_LINKED = "in a linked folder; links are not followed, copy the files"
# `http://`, `s3://`: no path begins like this, and normalising would remove a slash.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ELSEWHERE = (
    "is an address; expected a file of this machine: download it, or register its bucket as a "
    "separate drop"
)
_OUTSIDE = "leads out of the list's folder; move the list or the file, or set DINO_IMAGE_ROOTS"


# A path without an empty or hidden part and without `..`; it needs no further check.
_PLAIN = re.compile(r"[^/.\0][^/\0]*(?:/[^/.\0][^/\0]*)*")
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
# Most of a million lines repeat the columns of others, so equal columns share one object.
_MAX_SHARED = 10_000

# One line's columns about a file: a label, and the other values as a JSON object.
_Columns = tuple[str | None, str | None]


@dataclass
class _ListedFile:
    """Labels and values of one file that several lines name, in any spelling of its path."""

    labels: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: _Columns) -> "_ListedFile":
        """Start from the columns of one line."""
        label, values = columns
        read = json.loads(values or "{}").items()
        return cls([] if label is None else [label], {name: [value] for name, value in read})

    def add(self, listed: Listed) -> None:
        if listed.label is not None and listed.label not in self.labels:
            self.labels.append(listed.label)
        for name, value in listed.values:
            values = self.values.setdefault(name, [])
            if value not in values:
                values.append(value)

    def encode(self) -> str | None:
        """Encode the values as a JSON object; values that differ between lines become an array."""
        values = {name: v[0] if len(v) == 1 else v for name, v in self.values.items()}
        return _encode(values) if values else None


class _Lines:
    """For each file of a list, the columns of its lines; compact, because a list may name a million files."""

    def __init__(self) -> None:
        self.of_file: dict[str, _Columns | _ListedFile] = {}
        self._shared: dict[object, _Columns] = {}

    def add(self, path: str, listed: Listed) -> None:
        before = self.of_file.get(path)
        if before is None and len(dict(listed.values)) == len(listed.values):
            self.of_file[path] = self._share(listed)
            return
        named = (
            before if isinstance(before, _ListedFile) else _ListedFile.of(before or (None, None))
        )
        named.add(listed)
        self.of_file[path] = named

    def _share(self, listed: Listed) -> _Columns:
        key = (listed.label, *listed.values)
        columns = self._shared.get(key)
        if columns is None:
            columns = (listed.label, _encode(dict(listed.values)) if listed.values else None)
            if len(self._shared) < _MAX_SHARED:
                self._shared[key] = columns
        return columns


class _LastFolder:
    """The last opened folder, kept open because files are examined folder by folder."""

    def __init__(self) -> None:
        self._place: tuple[Path, str] | None = None
        self._handle = -1
        self._fault = 0

    def look_up(self, source: FolderSource, name: str) -> os.stat_result:
        """Read a file's status like ``FolderSource.look_up``."""
        folder, _, file = name.rpartition("/")
        if self._place != (source.folder, folder):
            self.close()
            try:
                self._handle = source.open_folder(name)
            except OSError as err:
                self._fault = err.errno or errno.EIO
            self._place = (source.folder, folder)
        if self._fault:
            raise OSError(self._fault, os.strerror(self._fault))
        return os.stat(file, dir_fd=self._handle, follow_symlinks=False)

    def close(self) -> None:
        """Close the folder."""
        if self._handle >= 0:
            os.close(self._handle)
        self._place, self._handle, self._fault = None, -1, 0


class ListSource:
    """A CSV (``image_path,label,metadata…``) or a text list (one path per line, no comments).

    A line of a text list that begins with ``#`` is also read as a path, because a file may have this name.
    If there is no such file, the line becomes a row of ``images`` with the reason, so no line is skipped
    without notice.
    """

    is_list = True

    def __init__(
        self,
        file: Path,
        *,
        shown: str,
        column: str = "image_path",
        image_roots: Sequence[Path] = (),
    ) -> None:
        self.file = file
        self.shown = shown
        self.column = column
        self._home = os.fspath(file.parent)
        self._home_folder = FolderSource(file.parent, shown=shown)
        self._spellings: dict[str, str | None] = {}
        # The list may spell a root as configured or with its links resolved.
        self._roots = [
            (spelling, os.path.realpath(root))
            for root in image_roots
            for spelling in dict.fromkeys((os.path.normpath(root), os.path.realpath(root)))
        ]

    def entries(self) -> list[SourceEntry]:
        """List the named files, each once; missing files and files outside the allowed folders get a refusal.

        Raises:
            SourceError: the list cannot be read, or has no column of paths.
            ConfigError: the list names a file in a configured root that does not exist.
        """
        lines = _Lines()
        rows = read_list(self.file, column=self.column, shown=self.shown)
        try:
            for listed in Tally(self.shown, "rows read").count(rows):
                # Two spellings of one path (`a.jpg`, `./a.jpg`) are one file.
                lines.add(self._normalise(listed.path), listed)
        except SourceError:
            raise
        except OSError as err:
            raise SourceError(
                f"cannot read the list {self.shown!r}: {err.strerror}",
                reason="unreadable",
                path=self.shown,
            ) from err
        paths = sorted(lines.of_file, reverse=True)
        columns = [lines.of_file[path] for path in paths]
        del lines  # frees a fifth of the memory; the two lists below shrink entry by entry
        looked_at = Tally(self.shown, "files looked at").count(range(len(paths)))
        with closing(_LastFolder()) as folder:
            entries = [self._entry(paths.pop(), columns.pop(), folder) for _ in looked_at]
        entries.sort(key=attrgetter("path"))
        return entries

    def _normalise(self, listed: str) -> str:
        """Make a path relative to the list's folder; return it unchanged if it leads outside."""
        if _PLAIN.fullmatch(listed):
            return listed
        if _ADDRESS.match(listed):
            return listed
        full = os.path.normpath(os.path.join(self._home, listed))  # noqa: PTH118 - no links followed
        if _is_below(full, self._home):
            return os.path.relpath(full, self._home)
        for spelling, root in self._roots:
            if _is_below(full, spelling):
                full = os.path.normpath(root + full[len(spelling.rstrip("/")) :])
                return os.path.relpath(full, self._home)
        if os.path.isabs(listed) and (home := self._find_home(os.path.dirname(full))):  # noqa: PTH117, PTH120
            return os.path.relpath(full, home)
        return listed

    def _find_home(self, folder: str) -> str | None:
        """Find the start of a path that leads through a link to the list's own folder; None if there is none.

        On macOS, /tmp is such a link.
        """
        if folder not in self._spellings:
            real = os.path.realpath(self._home)
            above = [*reversed(PurePosixPath(folder).parents), PurePosixPath(folder)]
            # Take the outermost match, so that links below it are still refused.
            there = takewhile(os.path.isdir, map(os.fspath, above))
            self._spellings[folder] = next((e for e in there if os.path.realpath(e) == real), None)
        return self._spellings[folder]

    def _entry(self, path: str, columns: _Columns | _ListedFile, last: _LastFolder) -> SourceEntry:
        shown = show_name(path)
        labels = columns.labels if isinstance(columns, _ListedFile) else []
        label, metadata = (
            (labels[0] if labels else None, columns.encode())
            if isinstance(columns, _ListedFile)
            else columns
        )
        if metadata is None and label is not None and label == find_label(shown):
            metadata = (
                "{}"  # marks a label from the list; the fingerprint would take it for a folder's
            )
        if _ADDRESS.match(path):
            return SourceEntry(shown, 0, "", "outside", _ELSEWHERE, label, metadata)
        if (place := self._place(path)) is None:
            return SourceEntry(shown, 0, "", "outside", _OUTSIDE, label, metadata)
        folder, name = place
        try:
            entry = describe_file(path, last.look_up(folder, name), label=label, metadata=metadata)
        except (OSError, ValueError) as err:  # a zero byte is a ValueError
            refusal, detail = _explain_absence(folder, name, err)
            # The system creates a new text for every error; interning keeps one.
            return SourceEntry(shown, 0, "", refusal, sys.intern(detail), label, metadata)
        if len(labels) > 1 and entry.refusal is None:
            each_label = " and ".join(map(repr, sorted(labels)))
            return SourceEntry(
                shown, entry.size, entry.stamp, "conflicting-labels",
                f"the list calls it {each_label}; keep one", None, metadata,
            )  # fmt: skip
        return entry

    def _place(self, path: str) -> tuple[FolderSource, str] | None:
        """Find the folder that a path may be read from, and the path relative to that folder.

        Return None if the path leads out of all allowed folders.
        """
        if _PLAIN.fullmatch(path):
            return self._home_folder, path
        full = os.path.normpath(os.path.join(self._home, path))  # noqa: PTH118
        if _is_below(full, self._home):
            return self._home_folder, os.path.relpath(full, self._home)
        for _, root in self._roots:
            if _is_below(full, root):
                if not os.path.isdir(root):  # noqa: PTH112 - text all along
                    raise ConfigError(
                        f"the list {self.shown!r} names {show_name(path)!r}, which lies in a folder of "
                        "DINO_IMAGE_ROOTS that does not exist. Mount it, or correct the setting.",
                        reason="unmounted",
                    )
                return self._folder(root), os.path.relpath(full, root)
        return None

    def _folder(self, folder: str) -> FolderSource:
        return FolderSource(Path(folder), shown=self.shown)

    def read(self, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Read one listed file's bytes."""
        folder, name = self._placed(path)
        return folder.read(name, max_bytes=max_bytes, shown=path)

    def open_file(self, path: str) -> AbstractContextManager[Path]:
        """Open one listed file as a path that C libraries can open."""
        folder, name = self._placed(path)
        return folder.open_file(name, shown=path)

    def _placed(self, path: str) -> tuple[FolderSource, str]:
        if PurePosixPath(path).is_absolute() or (place := self._place(find_name(path))) is None:
            raise cannot_read(
                path,
                "the path leads out of the list's folder; move the file, or set DINO_IMAGE_ROOTS",
                reason="outside",
            )
        folder, name = place
        return folder, show_name(name)


def _is_below(full: str, folder: str) -> bool:
    return full == folder or full.startswith(folder.rstrip("/") + "/")


def _explain_absence(folder: FolderSource, name: str, err: OSError | ValueError) -> tuple[str, str]:
    if isinstance(err, ValueError):
        return "missing", "the path has a zero byte, which no file's name can have"
    if err.errno in (errno.ELOOP, errno.ENOTDIR) and _is_below_link(folder, name):
        return "link", _LINKED
    hint = "; folders are separated by /, not \\" if "\\" in name else ""
    return "missing", (err.strerror or "cannot be examined") + hint


def _is_below_link(folder: FolderSource, name: str) -> bool:
    above = PurePosixPath(name).parents
    # Path.is_symlink raises for a name that is too long.
    return any(os.path.islink(folder.folder / each) for each in list(above)[:-1])  # noqa: PTH114
