"""The folder of a local store, written so that a power cut takes nothing that was promised."""

import errno
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dino_assets.store.folders import sync

# At once: a disk writes many files down in about the time of one.
_SYNCED_AT_ONCE = 16
# Of file systems that know no fsync of a folder (some network drives and FUSE).
_CANNOT = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


class LastingFolder:
    """Puts what has to last, and settles what obstore has put; ``sync_path`` is fsync by path."""

    def __init__(self, folder: Path, *, sync_path: Callable[[Path], None] = sync) -> None:
        self._folder = folder
        self._sync_path = sync_path

    def put(self, key: str, data: bytes) -> None:
        """Replace an object in one step: the bytes are on the disk before the name, and then the name.

        Raises:
            OSError: the file system refused; what was there is still there.
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
        """Have objects outlast a power cut: their bytes, their names, the folders that hold them.

        One that is not there any more is passed over.

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
        """Sync folders and those above them, up to the one that holds the store: each may be new."""
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
            return  # a folder of somebody else, which the store lies in
        except OSError as err:
            if err.errno not in _CANNOT:
                raise


def _open_aside(path: Path) -> tuple[int, Path]:
    """Open a new file beside a path, of a name that obstore never lists and the collector sweeps."""
    number = 1
    while True:
        aside = path.with_name(f"{path.name}#{number}")
        try:
            return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), aside
        except FileExistsError:
            number += 1  # of another writer, or of one that was killed
