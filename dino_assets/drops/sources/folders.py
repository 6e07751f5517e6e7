"""Local folder as a source, listed and opened so that nothing outside of it is ever read.

The folder is listed with ``os.scandir``, and no link is followed. The library obstore is not used here: it
follows links out of the folder and hides names that end in ``#<n>``. If one name is undecodable, obstore
lists nothing at all.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path, PurePosixPath

from dino_assets.drops.cards import find_label, is_litter_folder
from dino_assets.drops.records import MAX_FILE_BYTES, SourceEntry
from dino_assets.drops.sources.progress import Tally
from dino_assets.errors import SourceError

# O_NONBLOCK: opening a pipe that replaced a file after the listing must not block.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = _READ | os.O_DIRECTORY
_REPLACED = (errno.ELOOP, errno.ENOTDIR)  # a link or another kind of file replaced a folder
# An escaped byte; bytes below 80 (hex) are always text.
_ESCAPED = re.compile(r"\\x[89a-f][0-9a-f]")
_ESCAPE = re.compile(rb"\\(?:\\|x([89a-f][0-9a-f]))")


class FolderSource:
    """A local folder, such as a copy of a camera card."""

    is_list = False

    def __init__(self, folder: Path, *, shown: str) -> None:
        self.folder = folder
        self.shown = shown

    def entries(self) -> list[SourceEntry]:
        """List all files below the folder; links and special files get a refusal."""
        try:
            return sorted(self._walk(), key=attrgetter("path"))
        except OSError as err:
            raise SourceError(
                f"cannot list the folder {self.shown!r}: {err.strerror}. Check that it exists and can be read.",
                reason="unlistable",
                path=self.shown,
            ) from err

    def _walk(self) -> list[SourceEntry]:
        entries: list[SourceEntry] = []
        tally = Tally(self.shown, "files found")
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                # With a handle, a link that replaced the folder after it was listed is not followed.
                # Also, `stat` by name is faster than `stat` by path.
                handle = self.open_folder(folder)
            except OSError as err:
                if not folder or not (
                    isinstance(err, PermissionError | FileNotFoundError) or err.errno in _REPLACED
                ):
                    raise
                # Skip folders that are gone, and folders of an operating system such as .Trashes, which
                # hold no photographs and can be opened by root only.
                if not isinstance(err, FileNotFoundError) and not is_litter_folder(folder):
                    why = f"folder: {err.strerror}"
                    entries.append(SourceEntry(show_name(folder), 0, "", "unreadable", why))
                continue
            try:
                self._list_folder(folder, handle, entries=entries, waiting=waiting)
                tally.show(len(entries))
            finally:
                os.close(handle)
        return entries

    def open_folder(self, folder: str) -> int:
        """Open the folder of a path below this folder and return its handle; no link is followed.

        What comes after the path's last slash is ignored; ``""`` is this folder itself.

        Raises:
            OSError: the folder does not exist.
        """
        return _descend(os.open(self.folder, _FOLDER), folder.split("/")[:-1])

    def _list_folder(
        self, folder: str, handle: int, *, entries: list[SourceEntry], waiting: list[str]
    ) -> None:
        # Computed once per folder, because all its files have it in common.
        label = find_label(show_name(folder))
        is_clean = is_plain(folder)
        is_regular = stat.S_ISREG
        with os.scandir(handle) as scan:
            for item in scan:
                name = item.name
                try:
                    if item.is_dir(follow_symlinks=False):
                        waiting.append(f"{folder}{name}/")
                        continue
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:  # renamed or removed: a copying program's temporary file
                    continue
                except OSError as err:  # the folder may be listed but not entered; a bad sector
                    if not is_litter_folder(folder):
                        shown, why = show_name(folder + name), f"file: {err.strerror}"
                        entries.append(SourceEntry(shown, 0, "", "unreadable", why, label))
                    continue
                if is_clean and is_regular(status.st_mode) and is_plain(name):
                    stamp = str(status.st_mtime_ns)
                    entry = SourceEntry(folder + name, status.st_size, stamp, None, "", label)
                else:
                    entry = describe_file(folder + name, status, label=label)
                entries.append(entry)

    def look_up(self, path: str) -> os.stat_result:
        """Read size, time and kind of one file, without following a link anywhere in its path.

        Raises:
            OSError: the file does not exist; NotADirectoryError or ELOOP if a link replaces a folder.
        """
        handle = self.open_folder(path)
        try:
            return os.stat(path.rpartition("/")[2], dir_fd=handle, follow_symlinks=False)
        finally:
            os.close(handle)

    def read(
        self, path: str, *, max_bytes: int = MAX_FILE_BYTES, shown: str | None = None
    ) -> bytes:
        """Read one file's bytes, never through a link or out of the folder; ``shown`` is for messages.

        Raises:
            SourceError: the file cannot be read, or has more than ``max_bytes``, for instance after it grew.
        """
        shown = shown or path
        with self._opened(path, shown) as handle, os.fdopen(handle, "rb", closefd=False) as file:
            try:
                # Read the expected size: allocating the limit's size for every photograph is slow.
                expected = min(os.fstat(handle).st_size, max_bytes)
                data = file.read(expected + 1)
                if len(data) > expected:  # the file is growing, or its file system reports no size
                    data += file.read(max_bytes + 1 - len(data))
            except OSError as err:
                raise cannot_read(shown, str(err.strerror), reason="unreadable") from err
        if len(data) > max_bytes:
            raise too_large(shown, max_bytes)
        return data

    @contextmanager
    def open_file(self, path: str, *, shown: str | None = None) -> Iterator[Path]:
        """Open a file, and yield a path under ``/dev/fd`` to it; replacing the file meanwhile has no effect.

        Raises:
            SourceError: the file cannot be opened.
        """
        with self._opened(path, shown or path) as handle:
            yield Path(f"/dev/fd/{handle}")

    @contextmanager
    def _opened(self, path: str, shown: str) -> Iterator[int]:
        # The message is stored in a row, so it must not depend on where the folder is mounted.
        try:
            handle = self._open(path, shown)
        except SourceError:
            raise
        except OSError as err:
            raise cannot_read(shown, str(err.strerror), reason="unreadable") from err
        except ValueError:  # a zero byte
            raise cannot_read(shown, "no file can have this name", reason="no-name") from None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _not_a_file(shown)
            yield handle
        finally:
            os.close(handle)

    def _open(self, path: str, shown: str) -> int:
        """Open a file folder by folder: a path that was checked before could contain a link by now."""
        parts = PurePosixPath(find_name(path)).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise cannot_read(shown, "it leads out of the folder", reason="outside")
        below = _descend(os.open(self.folder, _FOLDER), parts[:-1])
        try:
            # Check the kind first: opening a device may already do something (a tape rewinds).
            if not stat.S_ISREG(os.stat(parts[-1], dir_fd=below, follow_symlinks=False).st_mode):
                raise _not_a_file(shown)
            return os.open(parts[-1], _READ, dir_fd=below)
        finally:
            os.close(below)


def describe_file(
    name: str, status: os.stat_result, *, label: str | None = None, metadata: str | None = None
) -> SourceEntry:
    """Make the entry of one listed file; if the file must not be opened, the entry has the reason."""
    refusal, detail = None, ""
    if not is_decodable(name):
        refusal, detail = "undecodable-name", "the name is not UTF-8; rename the file"
    if stat.S_ISLNK(status.st_mode):
        refusal, detail = "link", "links are not followed; copy the file itself"
    elif not stat.S_ISREG(status.st_mode):
        refusal, detail = "special-file", "a pipe, socket, device or folder"
    stamp = str(status.st_mtime_ns)
    return SourceEntry(show_name(name), status.st_size, stamp, refusal, detail, label, metadata)


def is_decodable(name: str) -> bool:
    """Check whether a file's name is UTF-8 text.

    In any other name, Python represents each undecodable byte by a lone surrogate.
    """
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_plain(name: str) -> bool:
    """Check whether ``show_name`` leaves a name unchanged: it is text and does not look escaped."""
    return is_decodable(name) and ("\\x" not in name or _ESCAPED.search(name) is None)


def show_name(name: str) -> str:
    r"""Make a path storable and printable: the byte E9, which is not UTF-8 text, becomes ``\xe9``.

    Different paths stay different. In a part with an escaped byte, or with the literal letters ``\xe9``,
    each backslash is doubled, so that these letters become ``\\xe9``. Other parts are unchanged.
    """
    return name if is_plain(name) else "/".join(map(_show_part, name.split("/")))


def _show_part(name: str) -> str:
    if is_plain(name):
        return name
    doubled = name.replace("\\", "\\\\").encode(errors="surrogateescape")
    return doubled.decode(errors="backslashreplace")


def find_name(shown: str) -> str:
    """Return the path for which ``show_name`` returned this text."""
    return shown if is_plain(shown) else "/".join(map(_find_part, shown.split("/")))


def _find_part(shown: str) -> str:
    if is_plain(shown):
        return shown
    raw = shown.encode(errors="surrogateescape")
    raw = _ESCAPE.sub(_find_byte, raw)
    return raw.decode(errors="surrogateescape")


def _find_byte(escape: re.Match[bytes]) -> bytes:
    return b"\\" if escape[1] is None else bytes.fromhex(escape[1].decode())


def cannot_read(path: str, why: str, *, reason: str) -> SourceError:
    """Make the error for one file that cannot be read."""
    return SourceError(f"cannot read {path!r}: {why}", reason=reason, path=path)


def too_large(path: str, max_bytes: int) -> SourceError:
    """Make the error for a file that has more bytes than may be read."""
    return cannot_read(path, f"it has more than {max_bytes:,} bytes", reason="too-large")


def _not_a_file(path: str) -> SourceError:
    return cannot_read(path, "not a regular file any more", reason="not-a-file")


def _descend(handle: int, folders: tuple[str, ...] | list[str]) -> int:
    """Go down from the open folder ``handle`` through ``folders``, and return a handle of the last one.

    ``handle`` is closed if there are any ``folders``. Links are not followed.
    """
    for folder in folders:
        try:
            inner = os.open(folder, _FOLDER, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    return handle
