"""Durable writes to a local store: objects that survive a power cut."""

import errno
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dino_assets.store.folders import sync

# A disk flushes many files in about the time of one.
_SYNCED_AT_ONCE = 16
# Error numbers of file systems without fsync for folders (some network drives and FUSE).
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


class LastingFolder:
    """A local store's folder with durable writes; ``sync_path`` flushes one path to the disk."""

    def __init__(self, folder: Path, *, sync_path: Callable[[Path], None] = sync) -> None:
        self._folder = folder
        self._sync_path = sync_path

    def put(self, key: str, data: bytes) -> None:
        """Replace an object in one step and flush it: first its bytes, then its name.

        Raises:
            OSError: the file system refused. The earlier object is unchanged.
        """
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = _open_aside(path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            self._sync_path(aside)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._sync_folders([path.parent])

    def settle(self, keys: Iterable[str]) -> None:
        """Flush objects that were already put: their bytes, their names and their folders.

        Objects that no longer exist are skipped.

        Raises:
            OSError: the disk failed.
        """
        paths = [self._folder / key for key in keys]
        with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
            list(pool.map(self._sync_file, paths))
        self._sync_folders(path.parent for path in paths)

    def _sync_file(self, path: Path) -> None:
        try:
            self._sync_path(path)
        except FileNotFoundError:
            return

    def _sync_folders(self, folders: Iterable[Path]) -> None:
        """Flush folders and their parents, up to the parent of the store, because each may be new."""
        above = {self._folder.parent}
        for folder in folders:
            while folder not in above:
                above.add(folder)
                folder = folder.parent
        with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
            list(pool.map(self._sync_folder, sorted(above)))

    def _sync_folder(self, folder: Path) -> None:
        try:
            self._sync_path(folder)
        except PermissionError:
            return  # a parent folder that belongs to another user
        except OSError as err:
            if err.errno not in _NO_FOLDER_SYNC:
                raise


def _open_aside(path: Path) -> tuple[int, Path]:
    """Open a temporary file beside a path.

    obstore does not list names that end in ``#`` and digits, as this one does. Garbage collection deletes such a file
    if it is left behind.
    """
    number = 1
    while True:
        aside = path.with_name(f"{path.name}#{number}")
        try:
            return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), aside
        except FileExistsError:
            number += 1  # left by another writer, or by a killed one
